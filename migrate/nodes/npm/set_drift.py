"""The members of NPM's sets against the objects of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from migrate.model.addresses import Network
from migrate.model.finding import Effect, Finding
from migrate.model.ip_sets import IpSet, IpSets, Member, Part, ProtocolPort, SetName
from migrate.model.refs import Location
from migrate.nodes.dump import UNREAD, NodeDump
from migrate.nodes.moments import is_after
from migrate.nodes.npm.expected import Expected
from migrate.nodes.npm.found import NpmTable
from migrate.nodes.npm.names import SET_PREFIX, Names, set_name
from migrate.nodes.npm.policies import network_text
from migrate.nodes.npm.rules import PROTOCOLS, port_text

MEMBERS, FOREIGN = "NODE-NPM-DRIFT-MEMBERS", "NODE-NPM-OTHER-CLUSTER"
_MOST_OF_A_SET = 10
"""So many members that differ in one set are told of the set, fewer ones by address."""
_MOST_ADDRESSES = 50
_BY_CHANCE = 20
"""Clusters use the same addresses: one in so many may fit by chance."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Odd:
    """A member that is missing in a set (`found` is None), or that should not be there."""

    set: IpSet
    name: str
    member: str
    found: Member | None

    @property
    def address(self) -> str:
        """What several sets may have in common."""
        return self.member.partition(",")[0]


@dataclass(frozen=True)
class SetDrift:
    """Compares what belongs in the sets with one node's sets. `whole`: nothing of the dump of sets was lost."""

    dump: NodeDump
    sets: IpSets
    npm: NpmTable
    expected: Expected
    names: Names
    whole: bool
    sees_all: bool
    """Whether all pods and namespaces were read, so that an address that nobody has is a fault."""
    _own: dict[str, IpSet] = field(init=False)

    def __post_init__(self) -> None:
        own = {found.name: found for found in self.sets.sets if found.name.startswith(SET_PREFIX)}
        object.__setattr__(self, "_own", own)

    def is_foreign(self) -> bool:
        """Whether next to no address in the sets of pods belongs there, by the pods of the snapshot."""
        if not self.sees_all:
            return False
        of_pods = [
            (name, found)
            for found in self._own.values()
            if found.kind == "hash:net" and not (name := self.names.name(found.name)).startswith("cidr-")
        ]
        most = sum(len(found.members) for _, found in of_pods)
        right = 0
        for name, found in of_pods if self._has_pods() else ():
            must, may = self.expected.sets.members(name)
            right += sum(text in must or text in may for text, _ in self._texts(found))
            if right > most // _BY_CHANCE:
                return False
        return bool(most) and self._has_pods()

    def _has_pods(self) -> bool:
        return any(not pod.why_not for pods in self.expected.sets.pods.values() for pod in pods)

    def foreign(self) -> Finding:
        """The one finding for a node whose sets are of another cluster."""
        strange = sum(not self.names.knows(kernel) for kernel in self._own)
        detail = (
            f"node {self.dump.manifest.name}: no pod of the snapshot is in the sets of NPM that it belongs in, and "
            f"{strange} of {len(self._own)} sets have names that no object leads to; dump and snapshot are of "
            "different clusters or days"
        )
        at = Location(self.sets.source, None)
        return Finding(id=FOREIGN, detail=detail, effect=Effect.UNKNOWN, subject=self.dump.node, at=at)

    def findings(self) -> Iterator[Finding]:
        """All that differs."""
        lost = sorted(self.npm.used_sets - self._own.keys())
        if lost and self.whole:
            yield self._cut(lost)
        absent = [] if lost else self._absent()
        odd: list[_Odd] = []
        strange: list[IpSet] = []
        for found in self._own.values():
            if self._is_asked(found):
                last_of_cut = bool(lost or absent) and found is self.sets.sets[-1]
                odd += self._of_set(found, missing_too=self.whole and not last_of_cut)
            elif found.members and found.name not in self.npm.used_sets:
                strange.append(found)
        yield from self._told(odd)
        if strange and self.sees_all:
            yield self._of_nobody(strange)
        if absent and self.whole:
            kernel = set_name(self.expected.sets.spellings[absent[0]][0], self.names.scheme)
            yield self._finding(f"there is no set {_some(absent)} ({kernel}), or the dump of sets is cut off", None)

    def _of_set(self, found: IpSet, *, missing_too: bool) -> Iterator[_Odd]:
        name = self.names.name(found.name)
        must, may = self._members(name)
        here = dict(self._texts(found))
        shared = self.names.stands_for(name) != name or any(name in each.names for each in self.names.shared)
        if missing_too and not shared:
            for member in sorted(must - here.keys()):
                if not self._excused(member):
                    yield _Odd(found, name, member, None)
        if self.sees_all:
            for member in sorted(here.keys() - must - may):
                if not (name.startswith("nslabel-") and member in self.expected.sets.unlabelled):
                    yield _Odd(found, name, member, here[member])

    def _members(self, name: str) -> tuple[set[str], set[str]]:
        """What belongs in a set, under the names that stand for sets; of names that share it, of all of them."""
        several = next((each.names for each in self.names.shared if name in each.names), (name,))
        must: set[str] = set()
        may: set[str] = set()
        for each in several:
            asked, allowed = self.expected.sets.members(each)
            must |= {self.names.stands_for(member) for member in asked} if self.names.shared else asked
            may |= {self.names.stands_for(member) for member in allowed} if self.names.shared else allowed
        return must, may

    def _excused(self, member: str) -> bool:
        """Pods that came after the dump; in lite mode NPM may know the pods of its own node only."""
        pods = self.expected.sets.pods.get(member.partition(",")[0], [])
        elsewhere = self.expected.toggles.lite and all(pod.node != self.dump.manifest.name for pod in pods)
        return elsewhere or bool(pods and all(is_after(pod.created, self.dump.manifest.taken) for pod in pods))

    def _is_asked(self, found: IpSet) -> bool:
        name = self.names.name(found.name)
        return name in self.expected.sets.spellings

    def _of_nobody(self, strange: list[IpSet]) -> Finding:
        """Sets that no object leads to, and no rule: where a rule uses one, it is told with the rule."""
        names = ((self.names.name(found.name), found.name) for found in strange)
        said = _some(kernel if name == kernel else f"{name} ({kernel})" for name, kernel in names)
        word = "a set has" if len(strange) == 1 else f"{len(strange)} sets have"
        at = self.sets.at(strange[0])
        detail = f"node {self.dump.manifest.name}: {word} members, though no object of the snapshot leads there: {said}"
        return Finding(id=MEMBERS, detail=detail, effect=Effect.UNKNOWN, subject=self.dump.node, at=at)

    def _told(self, odd: list[_Odd]) -> Iterator[Finding]:
        by_set: dict[tuple[str, bool], list[_Odd]] = {}
        for each in odd:
            by_set.setdefault((each.set.name, each.found is None), []).append(each)
        by_address: dict[tuple[bool, str], list[_Odd]] = {}
        for several in by_set.values():
            if len(several) >= _MOST_OF_A_SET or not _is_address(several[0].member):
                yield self._set_differs(several)
            else:
                for each in several:
                    by_address.setdefault((each.found is None, each.address), []).append(each)
        for missing, address in sorted(by_address)[:_MOST_ADDRESSES]:
            yield self._address_differs(address, by_address[missing, address])
        if len(by_address) > _MOST_ADDRESSES:
            more = len(by_address) - _MOST_ADDRESSES
            yield self._finding(f"{more} more addresses are missing in sets of NPM or do not belong there", None)

    def _set_differs(self, odd: list[_Odd]) -> Finding:
        first = odd[0]
        members = _some(each.member for each in odd)
        word = "lacks" if first.found is None else "holds"
        tail = "" if first.found is None else ", which no object of the snapshot asks for"
        return self._finding(f"set {_called(first)} {word} {members}{tail}", first)

    def _address_differs(self, address: str, odd: list[_Odd]) -> Finding:
        pods = self.expected.sets.pods.get(address, [])
        sets = _some(_called(each) for each in odd)
        members = _some(sorted({each.member for each in odd}))
        if odd[0].found is None:
            owner = _some(pod.key for pod in pods if not pod.why_not)
            return self._finding(f"{members} of pod {owner} is missing in set {sets}", odd[0])
        if not pods:
            return self._finding(f"{members} is in set {sets}, and no pod of the snapshot has it", odd[0])
        owner = _some(f"{pod.key}{f', which {pod.why_not}' if pod.why_not else ''}" for pod in pods)
        return self._finding(f"{members} is in set {sets}, where it does not belong: it is of pod {owner}", odd[0])

    def _absent(self) -> list[str]:
        """Sets with members that are not there at all, where NPM makes also those that no rule uses."""
        on_need = self.expected.toggles.on_need
        if on_need is None:
            on_need = not self._own.keys() - self._needed()
        if on_need or self.expected.toggles.lite:
            return []
        known = {self.names.name(kernel) for kernel in self._own}
        wanted = sorted(name for name in self.expected.sets.must if self.names.stands_for(name) not in known)
        return [n for n in wanted if not all(self._excused(member) for member in self.expected.sets.must[n])]

    def _needed(self) -> set[str]:
        """The sets that rules use, and the members of those that are lists."""
        used = self.npm.used_sets
        members = (member for name in used if name in self._own for member in self._own[name].members)
        return {*used} | {part.name for member in members for part in member.parts if isinstance(part, SetName)}

    def _texts(self, found: IpSet) -> Iterator[tuple[str, Member]]:
        for member in found.members:
            yield self._text(member), member

    def _text(self, member: Member) -> str:
        parts = ",".join(self._part(part) for part in member.parts)
        return f"{parts} nomatch" if member.nomatch else parts

    def _part(self, part: Part) -> str:
        if isinstance(part, Network):
            return network_text(part)
        if isinstance(part, SetName):
            return self.names.name(part.name)
        if isinstance(part, ProtocolPort) and part.ports is not None and part.protocol in PROTOCOLS:
            return f"{PROTOCOLS[part.protocol].lower()}:{port_text(*part.ports)}"
        return repr(part)

    def _cut(self, lost: list[str]) -> Finding:
        detail = (
            f"{self.sets.source}: rules use {_some(lost)}, which the dump of sets does not have; "
            "it is cut off or of another moment, take it again"
        )
        return Finding(id=UNREAD, detail=detail, effect=Effect.UNKNOWN, subject=self.dump.node)

    def _finding(self, said: str, odd: _Odd | None) -> Finding:
        place = self.sets.at(odd.found or odd.set) if odd is not None else Location(self.sets.source, None)
        detail = f"node {self.dump.manifest.name}: {said}"
        return Finding(id=MEMBERS, detail=detail, effect=Effect.UNKNOWN, subject=self.dump.node, at=place)


def _is_address(member: str) -> bool:
    return member[:1].isdigit() and "/" not in member


def _called(odd: _Odd) -> str:
    return odd.name if odd.name == odd.set.name else f"{odd.name} ({odd.set.name})"


def _some(texts: Iterable[str]) -> str:
    several = sorted(texts)
    more = f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
    return ", ".join(several[:_SHOWN]) + more
