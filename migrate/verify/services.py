"""Flows through a Service put to an engine: all its backends, all nodes it may come in at, all readings of its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from migrate.model.flow import Direction, Flow, Via, Word
from migrate.verify.simulate import Side, Simulator
from migrate.verify.ways import Check, NotModelledError, Passage, Reading, Ways

_NAMED_AT_MOST = 3
_STRONGEST = (Word.DENY, Word.ALLOW, Word.UNENFORCED)
_NOTHING = Side(Word.UNENFORCED, None)


@dataclass(frozen=True, slots=True)
class Judged:
    """What an engine says of a flow through a Service; a side is None where its word is not known.

    `reasons` say why.
    """

    sides: dict[Direction, Side | None]
    verdict: Literal["allow", "deny", "unknown"]
    reasons: dict[Direction, str]


@dataclass(frozen=True, slots=True)
class _Said:
    """The answer to one reading; `name` tells it from the others."""

    name: str
    sides: dict[Direction, Side]

    @property
    def verdict(self) -> Literal["allow", "deny"]:
        return "deny" if any(side.word is Word.DENY for side in self.sides.values()) else "allow"


def judge(simulator: Simulator, flow: Flow, via: Via, ways: Ways) -> Judged:
    """What an engine with these ways says of a flow: one answer where all its ways lead to the same."""
    try:
        found = list(_answers(simulator, flow, via, ways))
    except NotModelledError as error:
        return Judged(dict.fromkeys(Direction), "unknown", dict.fromkeys(Direction, f"not modelled: {error}"))
    verdicts: set[Literal["allow", "deny"]] = {said.verdict for said in found}
    sides: dict[Direction, Side | None] = {}
    reasons: dict[Direction, str] = {}
    for direction in Direction:
        by_word: dict[Word, list[str]] = {}
        for said in found:
            by_word.setdefault(said.sides[direction].word, []).append(said.name)
        sides[direction] = found[0].sides[direction] if len(by_word) == 1 else None
        if len(by_word) > 1:
            reasons[direction] = "; ".join(f"{word.value} {_listed(names)}" for word, names in by_word.items())
    return Judged(sides, verdicts.pop() if len(verdicts) == 1 else "unknown", reasons)


def _answers(simulator: Simulator, flow: Flow, via: Via, ways: Ways) -> Iterator[_Said]:
    if via.not_modelled:
        raise NotModelledError(via.not_modelled)
    passages = list(_passages(flow, via))
    if not passages:
        raise NotModelledError(
            f"where it goes: with externalTrafficPolicy Local a node passes connections only to its own backends, "
            f"and {flow.destination} is not on {via.entries[0]}"
        )
    for passage in passages:
        for reading in ways(passage):
            yield _Said(_name(passage, reading), {d: _side(simulator, reading.checks, d) for d in Direction})


def _passages(flow: Flow, via: Via) -> Iterator[Passage]:
    for target in via.targets:
        for entry in via.entries or (None,):
            passage = Passage(flow, via, target, entry)
            if passage.backend_is_local or not (via.keeps_source and passage.enters):
                yield passage


def _side(simulator: Simulator, checks: Sequence[Check], direction: Direction) -> Side:
    """All checks of a direction together: one that denies is enough."""
    found = [_NOTHING]
    for check in checks:
        if check.direction is not direction:
            continue
        side = simulator.side(direction, check.flow, everyone=check.everyone)
        if not check.port_known and side.word is not Word.UNENFORCED:
            raise NotModelledError("the number of the node port, which the client's egress policies see; give it")
        found.append(side)
    return min(found, key=lambda side: _STRONGEST.index(side.word))


def _name(passage: Passage, reading: Reading) -> str:
    via = passage.via
    parts = [
        f"to {passage.target.end}" if len(via.targets) > 1 else "",
        f"in at {passage.entry}" if len(via.entries) > 1 else "",
        reading.name,
    ]
    return " ".join(part for part in parts if part)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(names[:_NAMED_AT_MOST]) + more
