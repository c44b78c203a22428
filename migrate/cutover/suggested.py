"""The smallest policies that would let through what Cilium drops now, made as `migrate audit suggest` makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate import yaml_out
from migrate.audit.suggest import Needed, Seen, suggest
from migrate.cutover.compare import Compared
from migrate.model.cluster import Cluster
from migrate.model.cutover_documents import CutoverSuggestion
from migrate.model.flow import Direction, EndKind
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.translate.profiles import Profile
from migrate.translate.render import render_policy


def suggestions_for(
    compared: Iterable[Compared], cluster: Cluster, profile: Profile, taken: Iterable[ObjectRef]
) -> tuple[CutoverSuggestion, ...]:
    """For missed drops, and for new traffic that the policies deny; what no added policy can help is not among them."""
    needed = dict.fromkeys(_needed(compared))
    found = suggest(needed, cluster, profile, taken)
    made = ((one, render_policy(one.policy)) for one in found.made)
    return tuple(
        CutoverSuggestion(
            object=RawObject(data).ref, flows=tuple(flow for flow, _ in one.reasons), text=yaml_out.dump(data)
        )
        for one, data in made
    )


def _needed(compared: Iterable[Compared]) -> Iterator[Needed]:
    for one in compared:
        flow = one.prediction.flow
        is_new = one.outcome == "new_traffic" and one.observed in ("dropped", "audited")
        if flow is None or not one.side or not (is_new or one.outcome == "missed_drop"):
            continue
        direction = Direction(one.side)
        subject, peer = flow.source, flow.destination
        if direction is Direction.INGRESS:
            subject, peer = peer, subject
        if subject.kind is EndKind.POD:
            seen = Seen(one.seen.times, one.seen.first, one.seen.last)
            by = f"{one.decided.object} {one.decided.rule}" if one.decided.object and is_new else ""
            yield Needed(direction, subject, peer, flow.packet, seen, denied_by=by)
