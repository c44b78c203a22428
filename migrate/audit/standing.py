"""Long-lived connections at the cutover: Cilium knows none of them, and judges each by the first packet it sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from migrate.audit import words
from migrate.audit.judge import Outcome
from migrate.audit.layout import bytes_of
from migrate.audit.reading import IMPORTED, Connection
from migrate.audit.replay import Line, Replay
from migrate.model.audit_documents import AuditEnd, StandingConnection
from migrate.model.documents import DecidedBy, FlowExample
from migrate.model.flow import SCTP, TCP, End, EndKind, Flow, Packet

Effect: TypeAlias = Literal["cut", "cut_unless_client_speaks", "cut_unless_server_speaks", "unknown"]
Seen: TypeAlias = Literal["start_and_end", "end", "start", "mid_stream"]
_NO_RULE = DecidedBy()


class _Head(NamedTuple):
    """What makes a group of connections."""

    effect: Effect
    client: AuditEnd
    server: AuditEnd
    protocol: str
    port: int
    side: Literal["", "egress", "ingress"]
    decided_by: DecidedBy
    reason: str
    seen: Seen


def standing(replay: Replay, lines: Iterable[Line]) -> tuple[StandingConnection, ...]:
    """All connections that the cutover may cut, by their ends; those that go on in any case are left out."""
    counts: dict[_Head, int] = {}
    examples: dict[_Head, FlowExample] = {}
    for head, example, count in (*_inventory(replay), *_mid_stream(replay, lines)):
        counts[head] = counts.get(head, 0) + count
        examples.setdefault(head, example)
    found = [StandingConnection(**head._asdict(), count=n, example=examples[head]) for head, n in counts.items()]
    return tuple(sorted(found, key=lambda one: (one.effect, -one.count, str(one.client), str(one.server), str(one))))


def _inventory(replay: Replay) -> Iterator[tuple[_Head, FlowExample, int]]:
    """What stood at the end of each node's last run. Where it has no inventory of its end, that of its start is all.

    What another program told is no run and has no inventory.
    """
    moments: dict[Connection, set[str]] = {}
    ended: set[int] = set()
    for one in replay.reading.connections():
        if one.protocol in (TCP, SCTP):
            moments.setdefault(one._replace(moment=""), set()).add(one.moment)
        if one.moment == "end":
            ended.add(one.segment)
    runs = (one for one in replay.reading.segments() if one.attach != IMPORTED)
    segments = sorted(runs, key=lambda segment: segment.id)
    times = {one.id: (one.started, one.ended or one.started) for one in segments}
    last = {segment.node: segment.id for segment in segments}.values()
    for one, seen in moments.items():
        if one.segment not in last or ("end" not in seen and one.segment in ended):
            continue
        at = times[one.segment][1 if "end" in seen else 0]
        how: Seen = "start" if "end" not in seen else "end" if len(seen) == 1 else "start_and_end"
        client, server = _owner(replay, bytes_of(one.client), at), _owner(replay, bytes_of(one.backend), at)
        if client is None or server is None or EndKind.POD in (client.kind, server.kind):
            found = _judged(replay, client, server, Packet(one.protocol, one.backend_port, one.source_port), how)
            if found is not None:
                yield *found, 1


def _mid_stream(replay: Replay, lines: Iterable[Line]) -> Iterator[tuple[_Head, FlowExample, int]]:
    """Sampled segments of connections that began before the audit. The lower port is taken for the server's."""
    for line in lines:
        if line.kind != 1:
            continue
        source, destination = line.asked.ends
        packet = line.asked.packet
        if line.outcome.flow is not None:
            source, destination = line.outcome.flow.source, line.outcome.flow.destination
        if packet.port > packet.source_port > 0:
            source, destination = destination, source
            packet = Packet(packet.protocol, packet.source_port, packet.port)
        found = _judged(replay, source, destination, packet, "mid_stream")
        if found is not None:
            yield *found, line.events


def _owner(replay: Replay, address: bytes, at: int) -> End | None:
    """Who has an address; None when that is not certain."""
    ends = replay.world.who(address, at, at).ends
    return ends[0] if len(ends) == 1 else None


def _judged(
    replay: Replay, client: End | None, server: End | None, packet: Packet, seen: Seen
) -> tuple[_Head, FlowExample] | None:
    """What becomes of a connection; None when it goes on, whoever speaks first."""
    example = words.example(client, server, packet)
    ends = (words.audit_end(client), words.audit_end(server), words.protocol(packet.protocol), packet.port)
    if client is None or server is None:
        return _Head("unknown", *ends, "", _NO_RULE, "who had an address then is not known", seen), example
    forth = replay.judge.outcome(Flow(client, server, packet))
    back = replay.judge.outcome(Flow(server, client, Packet(packet.protocol, packet.source_port, packet.port)))
    effect = _effect(forth, back)
    if effect is None:
        return None
    by = back if effect == "cut_unless_client_speaks" else forth
    return _Head(effect, *ends, by.side, by.decided, by.reason, seen), example


def _effect(forth: Outcome, back: Outcome) -> Effect | None:
    if "unknown" in (forth.future, back.future):
        return "unknown"
    dropped = (forth.future == "would_drop", back.future == "would_drop")
    effects: dict[tuple[bool, bool], Effect] = {
        (True, True): "cut",
        (False, True): "cut_unless_client_speaks",
        (True, False): "cut_unless_server_speaks",
    }
    return effects.get(dropped)
