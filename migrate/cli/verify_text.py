"""A verification as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from migrate.cli.emit import decided_text, plain, table_text, wrapped
from migrate.model.documents import Cause, CauseEnds, FlowExample, Matrix, Verification, WitnessProof

_WIDTH = 80
_MOST = 50
_CHANGES = {"newly_denied": "newly denied", "newly_allowed": "newly allowed"}
_LETTERS = {"a": "all", "s": "some", "-": "none", " ": "nothing to see"}
_HOLDS = {
    "witness": "holds for any pods",
    "snapshot": "holds for the pods of this snapshot",
    "none": "nothing is proved",
}
_NAME_WIDTH = 24
_CELL = 4


def verification_text(done: Verification) -> str:
    """What was compared, what was found, and one block for each cause."""
    head, *rest = _lines(done)
    return table_text(plain(head, "bold"), *(plain(line) for line in rest))


def _lines(done: Verification) -> Iterator[str]:
    proof = f" ({_HOLDS[done.proof]})" if done.result != "different" else ""
    yield from wrapped(f"{done.result}{proof}: {done.before} | {done.after}")
    yield f"{done.classes} classes of pods, {done.ends} ends, {done.packets} kinds of packets"
    for number, place in enumerate(done.left_out):
        if number == _MOST:
            yield f"and {len(done.left_out) - _MOST} more, which -o json shows"
            break
        yield from wrapped(f"not read or not modelled: {place}", "  ")
    yield from _causes(done.causes)
    if done.witness is not None:
        yield from _witness(done.witness, alone=done.proof != "snapshot" or done.result != "equivalent")
    if done.matrix is not None:
        yield ""
        yield from _matrix(done.matrix)


def _causes(causes: tuple[Cause, ...], *, made_up: bool = False) -> Iterator[str]:
    """One block each; how many made-up pods a cause touches says nothing."""
    for number, cause in enumerate(causes[:_MOST], start=1):
        yield ""
        yield from _cause(number, cause)
        if not made_up:
            yield from _touched(cause)
    if len(causes) > _MOST:
        yield ""
        yield f"and {len(causes) - _MOST} more causes, which -o json shows"


def _cause(number: int, cause: Cause) -> Iterator[str]:
    flow = cause.counterexample
    ends = f"{flow.source} to {flow.destination}"
    yield from wrapped(f"{number}. {_CHANGES[cause.change]} at {cause.side}: {ends} {_packet(flow)}", "   ")
    for end, traits in ((flow.source, flow.source_traits), (flow.destination, flow.destination_traits)):
        if traits:
            yield from wrapped(f"{end} has {', '.join(traits)}", "     ", "   ")
    yield from wrapped(f"before  {decided_text(cause.before)}", " " * 11, "   ")
    yield from wrapped(f"after   {decided_text(cause.after)}", " " * 11, "   ")


def _touched(cause: Cause) -> list[str]:
    pairs = f"; {_count(cause.pod_pairs, 'pair')} of pods" if cause.pod_pairs else ""
    return wrapped(f"touches {_ends(cause.sources)} to {_ends(cause.destinations)}{pairs}", " " * 11, "   ")


def _packet(flow: FlowExample) -> str:
    if flow.protocol in ("ICMP", "ICMPv6"):
        return f"{flow.protocol} type {flow.port} code {flow.icmp_code}"
    if not flow.protocol.isdigit():
        return f"{flow.protocol}/{flow.port}" + (f" from port {flow.source_port}" if flow.source_port else "")
    return f"IP protocol {flow.protocol}"


def _ends(ends: CauseEnds) -> str:
    parts: list[str] = []
    if ends.pods:
        where = ", ".join(ends.namespaces[:3]) + (", ..." if len(ends.namespaces) > 3 else "")
        parts.append(f"{_count(ends.pods, 'pod')} of {_count(ends.workloads, 'workload')} in {where}")
    parts += ["nodes"] if ends.nodes else []
    parts += ["the outside"] if ends.outside else []
    return " and ".join(parts) or "nobody"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _witness(witness: WitnessProof, *, alone: bool) -> Iterator[str]:
    yield ""
    if witness.result == "undecided":
        yield from wrapped(f"not proved for any pods: {witness.reason}")
        return
    yield from wrapped(f"{_count(witness.pods, 'kind')} of made-up pods: {witness.result}")
    for assumption in witness.assumptions:
        yield from wrapped(f"as long as {assumption}", "    ", "  ")
    if not alone:
        yield from wrapped("so other pods than those of today would see a difference, such as")
    yield from _causes(witness.causes, made_up=True)


def _matrix(matrix: Matrix) -> Iterator[str]:
    yield f"by {matrix.by}: a all flows, s some, - none; before>after where it changes"
    if _NAME_WIDTH + _CELL * len(matrix.names) <= _WIDTH:
        yield from _grid(matrix)
        return
    changed = list(_changed(matrix))
    yield from changed[:_MOST]
    left = len(changed) - _MOST
    yield f"and {left} more; -o json has the whole matrix" if left > 0 else "-o json has the whole matrix"


def _grid(matrix: Matrix) -> Iterator[str]:
    yield " " * _NAME_WIDTH + "".join(f"{number:<{_CELL}}" for number in range(1, len(matrix.names) + 1)).rstrip()
    for number, (name, before, after) in enumerate(zip(matrix.names, matrix.before, matrix.after, strict=True), 1):
        cells = (was if was == now else f"{was}>{now}" for was, now in zip(before, after, strict=True))
        label = textwrap.shorten(f"{number} {name}", _NAME_WIDTH - 1, placeholder="...")
        yield f"{label:<{_NAME_WIDTH}}" + "".join(f"{cell:<{_CELL}}" for cell in cells)


def _changed(matrix: Matrix) -> Iterable[str]:
    rows = zip(matrix.names, matrix.before, matrix.after, strict=True)
    for source, before, after in rows:
        for destination, was, now in zip(matrix.names, before, after, strict=True):
            if was != now:
                yield from wrapped(f"{source} to {destination}: {_LETTERS[was]}, then {_LETTERS[now]}", "    ")
