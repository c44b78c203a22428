"""Two states compared, and the changed flows grouped by what decides them, as the document of `migrate verify`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import migrate
from migrate.model.cluster import Cluster
from migrate.model.documents import Cause, DecidedBy, FlowExample, Verification
from migrate.model.flow import PROTOCOL_NAMES, End, EndKind, Flow
from migrate.verify.compare import Change, ChangeKind, Comparison
from migrate.verify.engines import Built
from migrate.verify.simulate import Answer, Simulator
from migrate.verify.simulation import decided_by


class DisagreementError(AssertionError):
    """The class engine and the walk over the rules give two answers for one flow: a bug of ours."""


@dataclass(frozen=True, slots=True)
class State:
    """A policy state: an engine over its policies, and what people call it."""

    name: str
    built: Built


@dataclass(slots=True)
class _Found:
    """Changes of one cause, gathered."""

    flow: Flow
    before: Answer
    after: Answer
    sources: int = 0
    destinations: int = 0


def verify(before: State, after: State, cluster: Cluster, *, complete: bool) -> Verification:
    """Compare two states over the whole flow space of a cluster; `complete` says whether all of it was read.

    Raises DisagreementError when a counterexample does not hold up.
    """
    left_out = sorted({str(p).strip() for s in (before, after) for p in (*s.built.left_out, *s.built.engine.unknown)})
    comparison = Comparison(before.built.engine, after.built.engine, cluster)
    simulators = Simulator(before.built.engine, cluster), Simulator(after.built.engine, cluster)
    causes = tuple(_causes(comparison, simulators))
    whole = complete and not left_out
    return Verification(
        tool_version=migrate.__version__,
        before=before.name,
        after=after.name,
        result="different" if causes else "equivalent" if whole else "undecided",
        complete=whole,
        classes=len(comparison.space.pod_classes),
        ends=len(comparison.space.ends),
        packets=len(comparison.packets.atoms),
        causes=causes,
        left_out=tuple(left_out),
    )


def _causes(comparison: Comparison, simulators: tuple[Simulator, Simulator]) -> Iterator[Cause]:
    found: dict[tuple[str, str, str, str], _Found] = {}
    for change in comparison.changes():
        flow = comparison.flow(change)
        before, after = simulators[0].answer(flow), simulators[1].answer(flow)
        _check(change, flow, before, after)
        side = change.side.value
        key = (change.kind.value, side, _rule(before, side), _rule(after, side))
        entry = found.setdefault(key, _Found(flow, before, after))
        entry.sources |= change.sources
        entry.destinations |= change.destinations
    for (kind, side, _, _), entry in sorted(found.items()):
        yield _cause(kind, side, entry, comparison)


def _check(change: Change, flow: Flow, before: Answer, after: Answer) -> None:
    wanted = ("allow", "deny") if change.kind is ChangeKind.NEWLY_DENIED else ("deny", "allow")
    if (before.verdict, after.verdict) != wanted:
        raise DisagreementError(f"{flow}: {before.verdict} before, {after.verdict} after, not {change.kind.value}")


def _rule(answer: Answer, side: str) -> str:
    decided = _decided(answer, side)
    return f"{decided.object} {decided.rule} {decided.at} {decided.reason}"


def _decided(answer: Answer, side: str) -> DecidedBy:
    if side == "egress":
        return decided_by(answer.egress, answer.egress_decision)
    return decided_by(answer.ingress, answer.ingress_decision)


def _cause(kind: str, side: str, entry: _Found, comparison: Comparison) -> Cause:
    source_pods, first = _pods(entry.sources, comparison)
    destination_pods, second = _pods(entry.destinations, comparison)
    return Cause(
        change="newly_denied" if kind == "newly_denied" else "newly_allowed",
        side="egress" if side == "egress" else "ingress",
        before=_decided(entry.before, side),
        after=_decided(entry.after, side),
        counterexample=_example(entry.flow),
        source_pods=source_pods,
        destination_pods=destination_pods,
        namespaces=tuple(sorted(first | second)),
    )


def _pods(bits: int, comparison: Comparison) -> tuple[int, set[str]]:
    """How many pods are among the ends, and their namespaces."""
    count = 0
    namespaces: set[str] = set()
    for pod_class in comparison.space.pod_classes:
        if any(bits >> end & 1 for end in pod_class.ends):
            count += len(pod_class.pods)
            namespaces |= {pod.namespace for pod in pod_class.pods}
    return count, namespaces


def _example(flow: Flow) -> FlowExample:
    packet = flow.packet
    return FlowExample(
        source=_end(flow.source),
        source_address=str(flow.source.address),
        destination=_end(flow.destination),
        destination_address=str(flow.destination.address),
        protocol=PROTOCOL_NAMES.get(packet.protocol, str(packet.protocol)),
        port=packet.port,
        source_port=packet.source_port,
        icmp_code=packet.code,
    )


def _end(end: End) -> str:
    if end.kind is EndKind.POD:
        return f"pod {end.pod}"
    return f"node {end.node_name}" if end.kind is EndKind.NODE else f"outside {end.address}"
