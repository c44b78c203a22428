"""A recording judged under a revision of the policies: every record gets a verdict, and many alike are one line."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, TypeAlias

from migrate.audit.judge import Future, Judge, Outcome, Revision, combined
from migrate.audit.layout import bytes_of
from migrate.audit.reading import TO_ITSELF, TO_POD, Dropped, FlowRow, Reading, row_of, spot_of, veth_of
from migrate.audit.resolver import CLOUD, Asked, Resolver
from migrate.audit.service_times import ServiceTimes
from migrate.audit.services import Services
from migrate.audit.strangers import Strangers
from migrate.audit.whole import Whole
from migrate.audit.world import World
from migrate.model.audit_documents import AuditVerdict
from migrate.model.cluster import Cluster
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, End, EndKind, Flow
from migrate.scan.collector import collector_off
from migrate.sources.endpoints import Backend

MOST_ADDRESSES = 50
Today: TypeAlias = Literal["works", "denied", "unanswered"]
_LineKey: TypeAlias = tuple[int, int, int, Today]
"""A spot, the number of the group of the peer, a source port where rules look at it."""
_Ends: TypeAlias = tuple[bytes, bytes, int, int]


@dataclass(slots=True, eq=False)
class Line:
    """Records of one interface that every rule treats alike, and what becomes of them.

    `hours` counts events by hours since 1970, `addresses` are of peers outside.
    """

    asked: Asked
    outcome: Outcome
    verdict: AuditVerdict
    outgoing: bool
    kind: int
    today: Today
    outside: bool
    records: int = 0
    events: int = 0
    answered: int = 0
    refused: int = 0
    first: int = 1 << 63
    last: int = 0
    hours: dict[int, int] = field(default_factory=dict)
    addresses: set[bytes] = field(default_factory=set)

    def add(self, peer: bytes, hour: int, first: int, last: int, events: int, answered: int, refused: int) -> None:
        """Count one record."""
        self.records += 1
        self.events += events
        self.answered += answered
        self.refused += refused
        self.hours[hour] = self.hours.get(hour, 0) + events
        if first < self.first:
            self.first = first
        if last > self.last:
            self.last = last
        if self.outside and len(self.addresses) <= MOST_ADDRESSES:
            self.addresses.add(peer)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a recording is judged with besides the policies.

    `probes` are the ports that the kubelet asks, by pod ("namespace/name"); None when they are not known.
    """

    cluster: Cluster
    backends: Sequence[Backend] = ()
    probes: Mapping[str, frozenset[int]] | None = None


class Replay:
    """One recording under one revision. `lines` are there once `rows` or `run` has read all records."""

    def __init__(self, reading: Reading, revision: Revision, scene: Scene) -> None:
        self.reading, self.revision, self.scene = reading, revision, scene
        veths = reading.veths()
        self.world = World(scene.cluster, reading.owners(), veths, reading.node)
        times = ServiceTimes(reading.backends(), reading.owners())
        self.services = Services(scene.cluster, scene.backends, times, self.world)
        self.resolver = Resolver(reading, self.world, self.services, scene.probes)
        self.judge = Judge(revision, self.world.cluster)
        self._imported = reading.imported()
        self._whole = Whole(reading, veths)
        self._lines: dict[_LineKey, Line] = {}
        self._groups: dict[bytes, int] = {}
        self._numbers: dict[object, int] = {}
        known = map(bytes_of, (*CLOUD, *scene.cluster.api_server))
        self._special = self.services.addresses.union(known)
        self._strangers = Strangers(self.world, self.judge, self._special)
        self._dropped: dict[_Ends, list[Dropped]] = {}
        for entry in reading.dropped():
            self._dropped.setdefault(entry[2:6], []).append(entry)
        self._matched: set[_Ends] = set()
        several = len({veth.node for veth in veths}) > 1
        self._masks = {node.name: tuple(map(bytes_of, node.addresses)) for node in scene.cluster.nodes if several}

    @property
    def lines(self) -> list[Line]:
        """The lines so far, in no particular order."""
        return list(self._lines.values())

    def traffic(self) -> dict[int, dict[int, int]]:
        """Connections of the records so far by interface and hour since 1970, each counted where it was watched."""
        found: dict[int, dict[int, int]] = {}
        for (spot, *_), line in self._lines.items():
            if veth_of(spot) in self._imported:
                continue
            hours = found.setdefault(veth_of(spot), {})
            for hour, events in line.hours.items():
                hours[hour] = hours.get(hour, 0) + events
        return found

    def run(self) -> list[Line]:
        """All lines, after reading all records."""
        with collector_off(), self.reading.unchanging():
            self._count_opened()
            for _ in chain(self._unanswered(), self._only_dropped()):
                pass
        return self.lines

    def _count_opened(self) -> None:
        """As `rows` does with the same records; nearly all of the time of a replay is spent here."""
        lines, groups, number, rest = self._lines, self._groups, self._number, self._group
        known, lows, pieces = self._strangers.known, self._strangers.lows, self._strangers.pieces
        by_source = self.judge.reads_source_ports
        for row in self.reading.opened():
            spot, hour, source, destination, first, last, events, answered, refused, source_port = row
            peer = source if spot & TO_POD else destination
            if spot & TO_ITSELF:
                spot, group = spot ^ TO_ITSELF, number(peer)
            elif peer in known or (piece := pieces[bisect_right(lows, peer) - 1]) is None:
                group = groups.get(peer) or rest(peer, first, last)
            else:
                group = number(piece)
            key: _LineKey = (spot, group, source_port if by_source else 0, "works")
            line = lines.get(key)
            if line is None:
                line = lines[key] = self._line(row_of(row), "works")
            line.add(peer, hour, first, last, events, answered, refused)

    def rows(self) -> Iterator[tuple[FlowRow, Line]]:
        """Every record with its line. Records of which only answers were seen have none."""
        with self.reading.unchanging():
            for row in self.reading.flows():
                if row[11] and (row[13] or row[3] or row[4] or (row[2] and row[0] not in self._imported)):
                    yield row, self._added(row, "works")
            yield from self._unanswered()
            yield from self._only_dropped()

    def _added(self, row: FlowRow, today: Today, asked: Asked | None = None) -> Line:
        """The line of a record, which is counted there."""
        peer = row[5] if row[2] else row[6]
        key: _LineKey = (spot_of(row) & ~TO_ITSELF, self._group_of(row, peer), self._source_port(row), today)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = self._line(row, today, asked)
        line.add(peer, row[1], row[9], row[10], row[11], row[13], row[14])
        return line

    def _group_of(self, row: FlowRow, peer: bytes) -> int:
        """A number for what the answer can depend on of a peer: workload and class, or its piece of the outside."""
        if row[5] == row[6]:
            return self._number(peer)
        piece = self._strangers.piece(peer)
        if piece is not None:
            return self._number(piece)
        return self._groups.get(peer) or self._group(peer, row[9], row[10])

    def _group(self, peer: bytes, first: int, last: int) -> int:
        """Of somebody who may have had the address for some time only."""
        who = self.world.who(peer, first, last)
        state = self.services.state(peer, first, last)
        if state is not None or not self.world.is_static(peer):
            return self._number((peer, state, tuple((end.kind, id(end.pod)) for end in who.ends)))
        found = self._groups[peer] = self._number(self._class_of(peer, who.ends))
        return found

    def _class_of(self, peer: bytes, ends: tuple[End, ...]) -> object:
        """Only pods stand for others of their workload."""
        pod = ends[0].pod if len(ends) == 1 else None
        index = None if pod is None or peer in self._special else self.judge.index(ends[0], ends[0])
        if index is None or pod is None:
            return peer
        return index, pod.namespace, pod.workload or pod.name

    def _number(self, thing: object) -> int:
        return self._numbers.setdefault(thing, len(self._numbers) + 1)

    def _line(self, row: FlowRow, today: Today, asked: Asked | None = None) -> Line:
        asked = asked or self.resolver.asked(row)
        outcome = self._outcome(asked)
        verdict: AuditVerdict = outcome.future
        if asked.topic == "icmp_error":
            verdict = "not_judged"
        elif today == "denied":
            verdict = "denied_today"
        elif today == "unanswered" and outcome.future == "would_drop":
            reason = _UNSAID if row[0] in self._imported else _UNANSWERED
            verdict, outcome = "unknown", replace(outcome, reason=reason)
        outside = any(end is not None and end.kind is EndKind.OUTSIDE for end in asked.ends)
        return Line(asked, outcome, verdict, row[2] == 0, row[3], today, outside)

    def _outcome(self, asked: Asked) -> Outcome:
        """One answer where all that may have happened leads to the same."""
        found = [combined([self.judge.outcome(flow) for flow in flows]) for flows in asked.alternatives]
        if asked.world and found[0].flow is not None:
            found.append(self._from_anywhere(found[0].flow))
        if not found:
            return Outcome("unknown", reason=asked.reason)
        if asked.unsure and any(outcome.future == "would_allow" for outcome in found):
            return Outcome("unknown", found[0].flow, reason=asked.unsure)
        if len({outcome.future for outcome in found}) == 1:
            return replace(found[0], reason=found[0].reason or asked.reason) if asked.reason else found[0]
        said = "; ".join(f"{outcome.future} {_as(outcome)}" for outcome in found)
        return Outcome("unknown", found[0].flow, reason=f"{asked.reason or _SEVERAL}: {said}")

    def _from_anywhere(self, flow: Flow) -> Outcome:
        let_in = self.judge.from_anywhere(flow.destination, flow.packet)
        words: dict[str, Future] = {"all": "would_allow", "some": "unknown", "none": "would_drop"}
        outside = End(EndKind.OUTSIDE, flow.source.address)
        return Outcome(words[let_in], Flow(outside, flow.destination, flow.packet))

    def _unanswered(self) -> Iterator[tuple[FlowRow, Line]]:
        """What pods sent and nobody answered: whether the old engine drops it today."""
        wanted: set[_Ends] = set()
        for row in self.reading.unanswered():
            ends = self._ends(row, self.resolver.asked(row))
            wanted.update(ends, self._masked(row, ends))
        if not wanted:
            return
        delivered = {key for key in self.reading.delivered() if key in wanted}
        answers = {key for key in self.reading.answers() if key[1:] in wanted}
        for row in self.reading.unanswered():
            asked = self.resolver.asked(row)
            today: Today = "works"
            if (row[0], *row[5:9]) not in answers:
                today = self._today(row, asked, delivered)
            yield row, self._added(row, today, asked)

    def _ends(self, row: FlowRow, asked: Asked) -> list[_Ends]:
        """How what was sent may be seen elsewhere: as it was sent, and as it is behind a Service."""
        ends: list[_Ends] = [row[5:9]]
        if row[7] not in (ICMP, ICMPV6):
            flows = (flow for flows in asked.alternatives for flow in flows)
            ends += [(row[5], bytes_of(flow.destination.address), row[7], flow.packet.port) for flow in flows]
        return ends

    def _masked(self, row: FlowRow, ends: Iterable[_Ends]) -> list[_Ends]:
        """The same with the address of the sender's node, which nodes may put in its place on the way to another."""
        addresses = self._masks.get(self.resolver.node_of(row[0]), ())
        return [(address, *key[1:]) for key in ends for address in addresses]

    def _today(self, row: FlowRow, asked: Asked, delivered: set[_Ends]) -> Today:
        """Only TCP and SCTP always answer; of others it is not known that nobody took what was sent.

        What came to the peer, on whatever node, was let through. What did not, though the peer was watched all the
        time, was dropped on the way. Where the peer was not watched, or may be somebody unknown, nobody knows; nor
        where another program tells of the flow and not of its end.
        """
        ends = self._ends(row, asked)
        if any(key in self._dropped for key in ends):
            self._matched.update(ends)
            return "denied"
        if any(key in delivered for key in ends):
            return "works"
        if row[0] in self._imported:
            return "unanswered"
        node = self.resolver.node_of(row[0])
        flows = [flow for flows in asked.alternatives for flow in flows]
        if any(key in delivered for key in self._masked(row, ends)):
            return "unanswered" if row[7] in (TCP, SCTP) else "works"
        known = flows and not asked.unsure and not asked.world
        if known and all(self._whole.saw(flow, row[9], row[10], node) for flow in flows):
            return "denied"
        return "unanswered" if row[7] in (TCP, SCTP) else "works"

    def _only_dropped(self) -> Iterator[tuple[FlowRow, Line]]:
        """What the old engine dropped and no record tells of."""
        for ends, entries in self._dropped.items():
            for entry in entries if ends not in self._matched else ():
                own = self.resolver.own(entry.veth, entry.source, entry.first, entry.last).ends
                sender = self.world.who(entry.source, entry.first, entry.last).ends
                direction = int(not own or own[0] not in sender)
                head = (entry.veth, entry.hour, direction, 0, 0, *entry[2:6])
                row: FlowRow = (*head, entry.first, entry.last, entry.events, 0, 0, 0, 0, 0)
                yield row, self._added(row, "denied")

    def _source_port(self, row: FlowRow) -> int:
        return row[16] if self.judge.reads_source_ports else 0


_SEVERAL = "whose connection it is cannot be told, and the answers differ"
_UNANSWERED = "nobody answered it today, so that it is not known whether it works now"
_UNSAID = "the program that saw it does not say whether it was let through"


def _as(outcome: Outcome) -> str:
    return f"as {outcome.flow}" if outcome.flow is not None else ""
