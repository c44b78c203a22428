"""Who reaches whom before and after: the matrix, the causes of each change, and which pairs changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.model.documents import Cause, CauseEnds, DecidedBy, FlowExample, Matrix
from migrate.report.document import Report

NODES, OUTSIDE = "nodes", "outside"
_MOST_NAMES = 24
_MOST_PAIRS = 60
_RANKS = "- sa"
_SYMBOLS = {"a": "●", "s": "◐", "-": "○", " ": ""}
_WORDS = {"a": "all flows", "s": "some flows", "-": "no flow", " ": "nothing that policies see"}
_SIGNS = {"lost": "−", "new": "+", "both": "±", "": ""}


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of the matrix. `change` is lost, new, both or empty; `anchor` leads to more about a change."""

    text: str
    words: str
    change: str
    sign: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Line:
    """All that one name reaches."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class CauseView:
    """One cause of changed flows, in words. `lost` is False where flows become possible."""

    anchor: str
    lost: bool
    headline: str
    sources: str
    destinations: str
    example: str
    traits: str
    side: str
    before: str
    after: str
    pairs: int
    names: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A changed cell with the causes that can reach it."""

    anchor: str
    title: str
    words: str
    change: str
    sign: str
    causes: tuple[CauseView, ...]


@dataclass(frozen=True, slots=True)
class MatrixView:
    """The matrix as the page shows it; `hidden` names are left out, as nothing changes there. `more` pairs are too."""

    names: tuple[str, ...]
    lines: tuple[Line, ...]
    hidden: int
    pairs: tuple[Pair, ...]
    more: int


@dataclass(frozen=True, slots=True)
class ChangedPair:
    """Two places between which something changes for sure."""

    source: str
    destination: str
    change: str

    @property
    def sign(self) -> str:
        """The sign beside the colour."""
        return _SIGNS[self.change]


def causes_of(report: Report) -> tuple[CauseView, ...]:
    """The causes of the comparison, else those that the translation declares against today."""
    found = report.verification.causes if report.verification else report.against_today
    return tuple(_view(number, cause) for number, cause in enumerate(found, start=1))


def _view(number: int, cause: Cause) -> CauseView:
    lost = cause.change == "newly_denied"
    sources, destinations = ends_text(cause.sources), ends_text(cause.destinations)
    return CauseView(
        anchor=f"cause-{number}",
        lost=lost,
        headline=f"{sources} to {destinations}",
        sources=sources,
        destinations=destinations,
        example=example_text(cause.counterexample),
        traits=_traits(cause.counterexample),
        side=cause.side,
        before=decided_text(cause.before),
        after=decided_text(cause.after),
        pairs=cause.pod_pairs,
        names=frozenset((one, other) for one in _names(cause.sources) for other in _names(cause.destinations)),
    )


def ends_text(ends: CauseEnds) -> str:
    """Who is at one end of changed flows, in words."""
    parts = []
    if ends.pods:
        spaces = ", ".join(ends.namespaces[:4]) + (
            f" and {len(ends.namespaces) - 4} more" if ends.namespaces[4:] else ""
        )
        parts.append(f"{ends.pods} pod{'' if ends.pods == 1 else 's'} in {spaces}")
    parts += ["nodes"] if ends.nodes else []
    parts += ["outside"] if ends.outside else []
    return ", ".join(parts) or "nobody known"


def _names(ends: CauseEnds) -> Iterator[str]:
    yield from ends.namespaces
    if ends.nodes:
        yield NODES
    if ends.outside:
        yield OUTSIDE


def example_text(flow: FlowExample) -> str:
    """One concrete flow in words."""
    if flow.protocol in ("ICMP", "ICMPv6"):
        packet = f"{flow.protocol} type {flow.port} code {flow.icmp_code}"
    else:
        packet = f"{flow.protocol}/{flow.port}" if flow.port else flow.protocol
    ends = f"{flow.source} ({flow.source_address}) → {flow.destination} ({flow.destination_address})"
    return f"{ends}, {packet}"


def _traits(flow: FlowExample) -> str:
    sides = ((flow.source_traits, "source"), (flow.destination_traits, "destination"))
    return "; ".join(f"{name}: {', '.join(traits)}" for traits, name in sides if traits)


def decided_text(by: DecidedBy) -> str:
    """Which rule decided, and where it stands; or why none did."""
    if by.object is None:
        return by.reason or "no rule"
    rule = f" {by.rule}" if by.rule else ""
    place = f" ({by.at})" if by.at else ""
    return f"{by.object}{rule}{place}" + (f": {by.reason}" if by.reason else "")


def changed_pairs(report: Report) -> tuple[ChangedPair, ...]:
    """Pairs that change for sure: cells of the matrix with other words, and the ends of each counterexample."""
    found: dict[tuple[str, str], set[str]] = {}
    matrix = report.verification.matrix if report.verification else None
    if matrix is not None:
        for row, source in enumerate(matrix.names):
            for column, destination in enumerate(matrix.names):
                change = _cell_change(matrix, row, column)
                if change:
                    found.setdefault((_place(matrix, source), _place(matrix, destination)), set()).add(change)
    for cause in report.verification.causes if report.verification else report.against_today:
        flow = cause.counterexample
        ends = (_end(flow.source), _end(flow.destination))
        found.setdefault(ends, set()).add("lost" if cause.change == "newly_denied" else "new")
    return tuple(
        ChangedPair(source, destination, "both" if len(changes) > 1 else next(iter(changes)))
        for (source, destination), changes in sorted(found.items())
        if report.scope is None or not {source, destination}.isdisjoint(report.scope)
    )


def _place(matrix: Matrix, name: str) -> str:
    """The namespace of a name of the matrix."""
    return name.split("/", 1)[0] if matrix.by == "workload" else name


def _end(text: str) -> str:
    """The namespace of an end of a flow, or that it is a node or outside."""
    kind, _, name = text.partition(" ")
    if kind == "pod":
        return name.split("/", 1)[0]
    return NODES if kind == "node" else OUTSIDE


def _cell_change(matrix: Matrix, row: int, column: int) -> str:
    before, after = _RANKS.find(matrix.before[row][column]), _RANKS.find(matrix.after[row][column])
    if before == after:
        return ""
    return "new" if after > before else "lost"


def matrix_view(report: Report, causes: Sequence[CauseView]) -> MatrixView | None:
    """The matrix with each change led to its causes; None when nobody asked for one."""
    matrix = report.verification.matrix if report.verification else None
    if matrix is None:
        return None
    changes = {
        (row, column): change
        for row in range(len(matrix.names))
        for column in range(len(matrix.names))
        if (change := _change(matrix, row, column, causes))
    }
    shown = _shown(matrix, changes)
    pairs = [(key, changes[key]) for key in sorted(changes) if set(key) <= set(shown)]
    linked = {key for key, _ in pairs[:_MOST_PAIRS]}
    return MatrixView(
        names=tuple(matrix.names[index] for index in shown),
        lines=tuple(
            Line(matrix.names[row], tuple(_cell(matrix, row, column, changes, linked) for column in shown))
            for row in shown
        ),
        hidden=len(matrix.names) - len(shown),
        pairs=tuple(_pair(matrix, key, change, causes) for key, change in pairs[:_MOST_PAIRS]),
        more=len(changes) - len(linked),
    )


def _change(matrix: Matrix, row: int, column: int, causes: Iterable[CauseView]) -> str:
    """What changes in a cell: by its letters, or by a counterexample in it."""
    letters = _cell_change(matrix, row, column)
    ends = (_place(matrix, matrix.names[row]), _place(matrix, matrix.names[column]))
    if letters or matrix.before[row][column] != "s":
        return letters
    inside = {cause.lost for cause in causes if ends in cause.names}
    return "both" if len(inside) > 1 else "lost" if True in inside else "new" if inside else ""


def _shown(matrix: Matrix, changes: Iterable[tuple[int, int]]) -> list[int]:
    """Which names are shown: all, or where something changes if they are many."""
    if len(matrix.names) <= _MOST_NAMES:
        return list(range(len(matrix.names)))
    changed = sorted({index for pair in changes for index in pair})
    last = [len(matrix.names) - 2, len(matrix.names) - 1]
    return sorted({*[index for index in changed if index not in last][: _MOST_NAMES - 2], *last})


def _cell(
    matrix: Matrix, row: int, column: int, changes: dict[tuple[int, int], str], linked: set[tuple[int, int]]
) -> Cell:
    change = changes.get((row, column), "")
    before, after = matrix.before[row][column], matrix.after[row][column]
    text = _SYMBOLS[before] if before == after else f"{_SYMBOLS[before] or '·'}→{_SYMBOLS[after] or '·'}"
    anchor = f"pair-{row}-{column}" if (row, column) in linked else ""
    return Cell(text, _cell_words(before, after, change), change, _SIGNS[change], anchor)


def _cell_words(before: str, after: str, change: str) -> str:
    if before != after:
        return f"{_WORDS[before]} before, {_WORDS[after]} after"
    return f"{_WORDS[before]} before and after, but others" if change else f"{_WORDS[before]} before and after"


def _pair(matrix: Matrix, key: tuple[int, int], change: str, causes: Sequence[CauseView]) -> Pair:
    row, column = key
    source, destination = matrix.names[row], matrix.names[column]
    ends = (_place(matrix, source), _place(matrix, destination))
    return Pair(
        anchor=f"pair-{row}-{column}",
        title=f"{source} to {destination}",
        words=_cell_words(matrix.before[row][column], matrix.after[row][column], change),
        change=change,
        sign=_SIGNS[change],
        causes=tuple(cause for cause in causes if ends in cause.names),
    )
