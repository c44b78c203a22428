"""A recording judged under a revision of the policies: every record gets a verdict, and many alike are one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from migrate.audit.judge import Future, Judge, Outcome, Revision, combined
from migrate.audit.layout import bytes_of
from migrate.audit.reading import Dropped, FlowRow, Reading
from migrate.audit.resolver import CLOUD, Asked, Resolver
from migrate.audit.services import Services
from migrate.audit.world import World
from migrate.model.audit_documents import AuditVerdict
from migrate.model.cluster import Cluster
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, End, EndKind, Flow
from migrate.scan.collector import collector_off
from migrate.sources.endpoints import Backend

MOST_ADDRESSES = 50
Today: TypeAlias = Literal["works", "denied", "unanswered"]
_LineKey: TypeAlias = tuple[int, int, int, int, int, int, int, int, Today]
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

    def add(self, row: FlowRow) -> None:
        """Count one record."""
        _, hour, _, _, _, source, destination, _, _, first, last, events, _, answered, refused, _, _ = row
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
            self.addresses.add(destination if self.outgoing else source)


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
        self.services = Services(scene.cluster, scene.backends)
        self.resolver = Resolver(reading, self.world, self.services, scene.probes)
        self.judge = Judge(revision, self.world.cluster)
        self._watched: dict[tuple[str | None, str | None], list[tuple[int, int | None]]] = {}
        with_gaps = {gap.veth for gap in reading.gaps()}
        whole = not reading.losses() and not any(one.coarse or one.lost for one in reading.sums().values())
        for veth in veths if whole else ():
            if veth.id not in with_gaps:
                self._watched.setdefault((veth.namespace, veth.pod), []).append((veth.since, veth.until))
        self._lines: dict[_LineKey, Line] = {}
        self._groups: dict[bytes, int] = {}
        self._numbers: dict[object, int] = {}
        known = map(bytes_of, (*CLOUD, *scene.cluster.api_server))
        self._special = self.services.addresses.union(known)
        self._dropped: dict[_Ends, list[Dropped]] = {}
        for entry in reading.dropped():
            self._dropped.setdefault(entry[2:6], []).append(entry)
        self._matched: set[_Ends] = set()

    @property
    def lines(self) -> list[Line]:
        """The lines so far, in no particular order."""
        return list(self._lines.values())

    def run(self) -> list[Line]:
        """All lines, after reading all records."""
        with collector_off():
            for _ in self.rows():
                pass
        return self.lines

    def rows(self) -> Iterator[tuple[FlowRow, Line]]:
        """Every record with its line. Records of which only answers were seen have none."""
        unanswered: list[FlowRow] = []
        answers: set[tuple[int, _Ends]] = set()
        lines, groups, group_of = self._lines, self._groups, self._group
        by_source = self.judge.reads_source_ports
        for row in self.reading.flows():
            veth, _, direction, kind, coarse, source, destination, protocol, port, _, _, events, _, answered, *_ = row
            if answered > events:
                answers.add((veth, row[5:9]))
            if not events:
                continue
            if not (direction or answered or kind or coarse):
                unanswered.append(row)
                continue
            peer = source if direction else destination
            group = groups.get(peer) or group_of(row, peer)
            if source == destination:
                group = self._number(peer)
            key: _LineKey = (veth, direction, kind, coarse, group, protocol, port, row[16] if by_source else 0, "works")
            line = lines.get(key)
            if line is None:
                line = lines[key] = self._line(row, "works")
            line.add(row)
            yield row, line
        yield from self._unanswered(unanswered, answers)
        yield from self._only_dropped()

    def _group(self, row: FlowRow, peer: bytes) -> int:
        """A number for what the answer can depend on of a peer: workload and class, or its piece of the outside."""
        if peer not in self._special and self.world.is_stranger(peer):
            piece = self.judge.piece(peer)
            if piece is not None:
                found = self._groups[peer] = self._number(piece)
                return found
        who = self.world.who(peer, row[9], row[10])
        if not self.world.is_static(peer):
            return self._number((peer, tuple((end.kind, id(end.pod)) for end in who.ends)))
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
            verdict, outcome = "unknown", replace(outcome, reason=_UNANSWERED)
        outside = any(end is not None and end.kind is EndKind.OUTSIDE for end in asked.ends)
        return Line(asked, outcome, verdict, row[2] == 0, row[3], today, outside)

    def _outcome(self, asked: Asked) -> Outcome:
        """One answer where all that may have happened leads to the same."""
        found = [combined([self.judge.outcome(flow) for flow in flows]) for flows in asked.alternatives]
        if asked.world and found[0].flow is not None:
            found.append(self._from_anywhere(found[0].flow))
        if not found:
            return Outcome("unknown", reason=asked.reason)
        if len({outcome.future for outcome in found}) == 1:
            return replace(found[0], reason=found[0].reason or asked.reason) if asked.reason else found[0]
        said = "; ".join(f"{outcome.future} {_as(outcome)}" for outcome in found)
        return Outcome("unknown", found[0].flow, reason=f"{asked.reason or _SEVERAL}: {said}")

    def _from_anywhere(self, flow: Flow) -> Outcome:
        let_in = self.judge.from_anywhere(flow.destination, flow.packet)
        words: dict[str, Future] = {"all": "would_allow", "some": "unknown", "none": "would_drop"}
        outside = End(EndKind.OUTSIDE, flow.source.address)
        return Outcome(words[let_in], Flow(outside, flow.destination, flow.packet))

    def _unanswered(self, rows: list[FlowRow], answers: set[tuple[int, _Ends]]) -> Iterator[tuple[FlowRow, Line]]:
        """What pods sent and nobody answered: whether the old engine drops it today."""
        delivered = set(self.reading.delivered()) if rows else set()
        for row in rows:
            asked = self.resolver.asked(row)
            today: Today = "works"
            if (row[0], row[5:9]) not in answers:
                today = self._today(row, asked, delivered)
            group = self._group_for(row, row[6])
            key: _LineKey = (row[0], 0, 0, 0, group, row[7], row[8], self._source_port(row), today)
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = self._line(row, today, asked)
            line.add(row)
            yield row, line

    def _today(self, row: FlowRow, asked: Asked, delivered: set[_Ends]) -> Today:
        """Only TCP and SCTP always answer; of others it is not known that nobody took what was sent."""
        flows = [flow for flows in asked.alternatives for flow in flows]
        ends = [(row[5], bytes_of(flow.destination.address), row[7], flow.packet.port) for flow in flows]
        ends = [row[5:9], *(ends if row[7] not in (ICMP, ICMPV6) else ())]
        if any(key in self._dropped for key in ends):
            self._matched.update(ends)
            return "denied"
        if any(key in delivered for key in ends):
            return "works"
        if flows and all(self._was_watched(flow, row) for flow in flows):
            return "denied"
        return "unanswered" if row[7] in (TCP, SCTP) else "works"

    def _was_watched(self, flow: Flow, row: FlowRow) -> bool:
        """Whether the destination was seen all the time and nothing was lost, so that what is not there never came."""
        pod = flow.destination.pod
        if pod is None or flow.via is not None:
            return False
        lives = self._watched.get((pod.namespace, pod.name), ())
        return any(since <= row[9] and (until is None or until >= row[10]) for since, until in lives)

    def _only_dropped(self) -> Iterator[tuple[FlowRow, Line]]:
        """What the old engine dropped and no record tells of."""
        for ends, entries in self._dropped.items():
            for entry in entries if ends not in self._matched else ():
                own = self.resolver.own(entry.veth, entry.source, entry.first, entry.last).ends
                sender = self.world.who(entry.source, entry.first, entry.last).ends
                direction = int(not own or own[0] not in sender)
                head = (entry.veth, entry.hour, direction, 0, 0, *entry[2:6])
                row: FlowRow = (*head, entry.first, entry.last, entry.events, 0, 0, 0, 0, 0)
                group = self._group_for(row, entry.source if direction else entry.destination)
                key: _LineKey = (entry.veth, direction, 0, 0, group, entry.protocol, entry.port, 0, "denied")
                line = self._lines.get(key)
                if line is None:
                    line = self._lines[key] = self._line(row, "denied")
                line.add(row)
                yield row, line

    def _group_for(self, row: FlowRow, peer: bytes) -> int:
        if row[5] == row[6]:
            return self._number(peer)
        return self._groups.get(peer) or self._group(row, peer)

    def _source_port(self, row: FlowRow) -> int:
        return row[16] if self.judge.reads_source_ports else 0


_SEVERAL = "whose connection it is cannot be told, and the answers differ"
_UNANSWERED = "nobody answered it today, so that it is not known whether it works now"


def _as(outcome: Outcome) -> str:
    return f"as {outcome.flow}" if outcome.flow is not None else ""
