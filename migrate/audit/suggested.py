"""Suggestions over a recording: made, judged again with them, and made again until nothing is left that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from migrate.audit.layout import address_of
from migrate.audit.replay import MOST_ADDRESSES, Line
from migrate.audit.suggest import Needed, Seen, Suggestion, Suggestions
from migrate.audit.times import rfc3339
from migrate.model.documents import Cause
from migrate.model.flow import Direction, EndKind
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.words import one_line
from migrate.translate.render import JsonMap, render_policy

_ROUNDS = 8
"""A flow can be dropped at both sides, and a record can stand for several flows; each round helps all it can."""


class SuggestedFor(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that a policy was made for, with how often it was seen."""

    flow: str
    events: int
    first: str
    last: str


class SuggestedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy to add. `wider` says what else it admits by its form. `text` is YAML with the evidence above it."""

    object: ObjectRef
    flows: tuple[SuggestedFor, ...]
    wider: tuple[str, ...] = ()
    text: str = ""


class Unhelped(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that would be dropped and for which no policy was made."""

    flow: str
    reason: str


class AuditSuggestions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`migrate audit suggest`. `dropped_before` and `dropped_after` count connections of the recording.

    `opens` is what `migrate verify` says of the policies with and without these: all that is newly allowed, with
    counterexamples. `complete` is False where something that may decide was not read, or is not modelled.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["AuditSuggestions"] = "AuditSuggestions"
    tool_version: str
    policies: str
    complete: bool
    dropped_before: int
    dropped_after: int
    suggested: tuple[SuggestedPolicy, ...] = ()
    unhelped: tuple[Unhelped, ...] = ()
    opens: tuple[Cause, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """The last suggestions, and the connections that would be dropped without and with them."""

    suggestions: Suggestions
    before: int
    after: int


def suggested(
    judge: Callable[[Sequence[RawObject]], Iterable[Line]],
    make: Callable[[Iterable[Needed]], Suggestions],
    wanted: Callable[[Needed], bool],
) -> Round:
    """Policies until nothing is left that a policy could help. `judge` gives the lines with some policies added."""
    needed: dict[Needed, None] = {}
    lines = list(judge(()))
    before = after = _dropped(lines)
    found = Suggestions((), ())
    for _ in range(_ROUNDS):
        more = dict.fromkeys(one for one in _needed(lines) if wanted(one))
        if more.keys() <= needed.keys():
            break
        needed |= more
        found = make(needed)
        lines = list(judge(objects_of(found)))
        after = _dropped(lines)
    return Round(found, before, after)


def objects_of(found: Suggestions) -> list[RawObject]:
    """The policies as they would be read back."""
    return [RawObject(render_policy(one.policy), "suggested") for one in found.made]


def policy_of(suggestion: Suggestion) -> SuggestedPolicy:
    """A suggestion as it is printed."""
    data = render_policy(suggestion.policy)
    flows = tuple(
        SuggestedFor(flow=flow, events=seen.events, first=rfc3339(seen.first), last=rfc3339(seen.last))
        for flow, seen in suggestion.reasons
    )
    return SuggestedPolicy(
        object=RawObject(data).ref, flows=flows, wider=suggestion.wider, text=_text(data, flows, suggestion.wider)
    )


def _text(data: JsonMap, flows: Iterable[SuggestedFor], wider: Iterable[str]) -> str:
    from migrate import yaml_out

    lines = [f"{one.flow}: {one.events} times, {one.first} to {one.last}" for one in flows]
    lines += [f"Also admits: {text}" for text in wider]
    return "".join(f"# {one_line(line)}\n" for line in lines) + yaml_out.dump(data)


def _dropped(lines: Iterable[Line]) -> int:
    return sum(line.events for line in lines if line.verdict == "would_drop")


def _needed(lines: Iterable[Line]) -> Iterator[Needed]:
    """What has to be let through, one flow for each address outside."""
    for line in lines:
        flow, side = line.outcome.flow, line.outcome.side
        if line.verdict != "would_drop" or flow is None or not side:
            continue
        direction = Direction(side)
        subject, peer = flow.source, flow.destination
        if direction is Direction.INGRESS:
            subject, peer = peer, subject
        decided = line.outcome.decided
        one = Needed(
            side=direction,
            subject=subject,
            peer=peer,
            packet=replace(flow.packet, source_port=0),
            seen=Seen(line.events, line.first, line.last),
            denied_by=f"{decided.object} {decided.rule}" if decided.rule else "",
            inexact="parts of the record were cut" if line.asked.topic == "coarse" else "",
        )
        if peer.kind is not EndKind.OUTSIDE or peer.api_server or line.asked.service:
            yield one
        elif len(line.addresses) > MOST_ADDRESSES:
            yield replace(one, inexact=f"more than {MOST_ADDRESSES} addresses outside were seen; allow a block by hand")
        else:
            for address in sorted(line.addresses):
                yield replace(one, peer=replace(peer, address=address_of(address)))
