"""With which source address a node's pods appear at which destinations: the walk of a packet through nat POSTROUTING.

The packet is a pod's own, the first of its connection, and no Service's: unmarked. The destination is not one address
but a set of them, which each rule cuts in two. Behind a rule that changes marks, what asks for one is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from migrate.model.addresses import Address, AddressSet, Network
from migrate.model.ip_sets import IpSet, SetName
from migrate.model.node_state import (
    AddressIs,
    AddressTypeIs,
    Comment,
    Condition,
    ConnectionIn,
    DeviceIs,
    End,
    Ending,
    InSet,
    Jump,
    MarkChange,
    MarkIs,
    Match,
    Rule,
    Ruleset,
    Table,
    Translate,
    Translation,
)
from migrate.model.refs import Location

OWN = "own"
NODE = "the node's"
_DEEPEST = 64
_LISTS = 1
"""A list holds no lists: the kernel takes none into one."""
_MOST_WORK = 100_000
"""Ranges of addresses that are looked at; a table that needs more says nothing."""


@dataclass(frozen=True, slots=True)
class Appears:
    """At these destinations pods appear with a source address: OWN, NODE, or the text of another one.

    `always` is False when the rule holds for some packets only (a protocol, a port, or what cannot be told).
    """

    destinations: AddressSet
    source: str
    at: Location | None = None
    always: bool = True


@dataclass(frozen=True, slots=True)
class World:
    """What conditions ask beside the packet. `leaves_by` are the destinations that routes send to each device."""

    pod: Address
    local: AddressSet = AddressSet()
    leaves_by: Mapping[str, AddressSet] = field(default_factory=dict)
    sets: Mapping[str, IpSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """The destinations for which a condition holds; not `exact`: for some of their packets."""

    destinations: AddressSet
    exact: bool = True


def appearances(ruleset: Ruleset, table: Table, world: World) -> tuple[Appears, ...]:
    """All destinations of the pod's family, by what happens to them in this nat table; first what decides first."""
    everything = AddressSet.everything()
    start = AddressSet(everything.v4) if world.pod.version == 4 else AddressSet(v6=everything.v6)
    walk = _Walk(ruleset, {chain.name: chain.rules for chain in table.chains}, world)
    rest = walk.chain("POSTROUTING", start, 0)
    if walk.work > _MOST_WORK:
        return ()
    walk.found.append(Appears(rest | walk.accepted, OWN))
    return tuple(appears for appears in walk.found if appears.destinations)


@dataclass(slots=True)
class _Walk:
    ruleset: Ruleset
    chains: Mapping[str, Sequence[Rule]]
    world: World
    found: list[Appears] = field(default_factory=list)
    accepted: AddressSet = AddressSet()
    marked: bool = False
    work: int = 0

    def chain(self, name: str, destinations: AddressSet, depth: int) -> AddressSet:
        """Walk through a chain; what comes out at its end, or by RETURN."""
        returned = AddressSet()
        left = destinations
        for rule in self.chains.get(name, ()) if depth < _DEEPEST else ():
            self.work += 1 + len(left.v4.ranges) + len(left.v6.ranges)
            if not left or self.work > _MOST_WORK:
                break
            part = self._part(rule, left)
            if not part.destinations:
                continue
            gone, back = self._apply(rule, part, depth)
            left -= gone
            returned |= back
        return left | returned

    def _apply(self, rule: Rule, part: _Part, depth: int) -> tuple[AddressSet, AddressSet]:
        """What does not go on to the next rule, and what of it returns from the chain."""
        target, nothing = rule.target, AddressSet()
        if isinstance(target, Translate) and target.kind in {Translation.MASQUERADE, Translation.SNAT}:
            self.found.append(Appears(part.destinations, _source(target), self.ruleset.at(rule), part.exact))
            return (part.destinations if part.exact else nothing), nothing
        if isinstance(target, Jump):
            return self._jump(target, part, depth)
        if isinstance(target, MarkChange):
            self.marked = self.marked or target.applied(0) != 0
            return nothing, nothing
        if not isinstance(target, Ending) or not part.exact:
            return nothing, nothing
        if target is Ending.RETURN:
            return part.destinations, part.destinations
        self.accepted |= part.destinations
        return part.destinations, nothing

    def _jump(self, target: Jump, part: _Part, depth: int) -> tuple[AddressSet, AddressSet]:
        """Through another chain; what that decides for some packets only is said, and all go on."""
        before, accepted = len(self.found), self.accepted
        out = self.chain(target.chain, part.destinations, depth + 1)
        if not part.exact:
            self.found[before:] = [replace(each, always=False) for each in self.found[before:]]
            self.accepted = accepted
            return AddressSet(), AddressSet()
        return (part.destinations, out) if target.final else (part.destinations - out, AddressSet())

    def _part(self, rule: Rule, destinations: AddressSet) -> _Part:
        exact = not rule.unread
        for match in rule.matches:
            for condition in match.conditions:
                part = self._holds(match, condition, destinations)
                destinations, exact = part.destinations, exact and part.exact
                if not destinations:
                    return _Part(destinations)
        return _Part(destinations, exact)

    def _holds(self, match: Match, condition: Condition, destinations: AddressSet) -> _Part:
        """The destinations for which one condition holds. IPsec's (-m policy --pol none) holds for a pod's packets."""
        if isinstance(condition, Comment) or match.module == "policy":
            return _Part(destinations)
        if isinstance(condition, AddressIs):
            return self._address(condition, destinations)
        if isinstance(condition, MarkIs) and not condition.connection and not self.marked:
            return _all_or_none((condition.value == 0) is not condition.negated, destinations)
        if isinstance(condition, ConnectionIn):
            return _all_or_none(("NEW" in condition.states) is not condition.negated, destinations)
        if isinstance(condition, AddressTypeIs):
            return self._type(condition, destinations)
        if isinstance(condition, DeviceIs) and condition.end is End.DESTINATION and not condition.bridged:
            return self._device(condition, destinations)
        if isinstance(condition, InSet):
            return self._member(condition, destinations)
        return _Part(destinations, exact=False)

    def _address(self, condition: AddressIs, destinations: AddressSet) -> _Part:
        network = AddressSet.of([condition.network])
        if condition.end is End.SOURCE:
            return _all_or_none((self.world.pod in network) is not condition.negated, destinations)
        return _Part(destinations - network if condition.negated else destinations & network)

    def _type(self, condition: AddressTypeIs, destinations: AddressSet) -> _Part:
        if condition.limit is not None or condition.types != ("LOCAL",):
            return _Part(destinations, exact=False)
        if condition.end is End.SOURCE:
            return _all_or_none(condition.negated, destinations)
        local = self.world.local
        return _Part(destinations - local if condition.negated else destinations & local)

    def _device(self, condition: DeviceIs, destinations: AddressSet) -> _Part:
        """By the routes where the dump has them."""
        if not self.world.leaves_by:
            return _Part(destinations, exact=False)
        by_it = AddressSet()
        for device, several in self.world.leaves_by.items():
            if condition.holds(device):
                by_it |= several
        return _Part(destinations & by_it)

    def _member(self, condition: InSet, destinations: AddressSet) -> _Part:
        found = self.world.sets.get(condition.name)
        if found is None or len(condition.ends) != 1:
            return _Part(destinations, exact=False)
        members, exact = set_addresses(found, self.world.sets)
        if condition.ends[0] is End.SOURCE:
            answer = _all_or_none((self.world.pod in members) is not condition.negated, destinations)
            return answer if exact else _Part(destinations, exact=False)
        return _Part(destinations - members if condition.negated else destinations & members, exact)


def set_addresses(found: IpSet, sets: Mapping[str, IpSet], depth: int = 0) -> tuple[AddressSet, bool]:
    """The addresses in a set of addresses, networks or such sets, and whether they are all that it means.

    Of two nested networks the longer one counts, so an exception (nomatch) has to be taken out before what lies in it
    is put back.
    """
    entries: list[tuple[int, bool, AddressSet]] = []
    exact = True
    for member in found.members:
        part = member.parts[0] if len(member.parts) == 1 else None
        if isinstance(part, SetName) and part.name in sets and depth < _LISTS:
            inner, whole = set_addresses(sets[part.name], sets, depth + 1)
            entries.append((0, False, inner))
            exact = exact and whole
        elif isinstance(part, Network):
            entries.append((part.prefixlen, member.nomatch, AddressSet.of([part])))
        else:
            exact = False
    if not any(nomatch for _, nomatch, _ in entries):
        several = [addresses for _, _, addresses in entries]
        return _union(several), exact
    members = AddressSet()
    for _, nomatch, addresses in sorted(entries, key=lambda entry: entry[0]):
        members = members - addresses if nomatch else members | addresses
    return members, exact


def _union(several: list[AddressSet]) -> AddressSet:
    """Pairwise, so that large sets take n log n steps."""
    while len(several) > 1:
        several = [
            several[i] | several[i + 1] if i + 1 < len(several) else several[i] for i in range(0, len(several), 2)
        ]
    return several[0] if several else AddressSet()


def leaves_by(routes: Iterator[tuple[Network, str | None]]) -> dict[str, AddressSet]:
    """The destinations of each device: of all routes that hold an address the longest one counts."""
    found: dict[str, AddressSet] = {}
    taken = AddressSet()
    for network, device in sorted(routes, key=lambda route: -route[0].prefixlen):
        own = AddressSet.of([network]) - taken
        taken |= own
        if device is not None:
            found[device] = found.get(device, AddressSet()) | own
    return found


def _source(target: Translate) -> str:
    if target.kind is Translation.MASQUERADE or target.addresses is None:
        return NODE
    low, high = target.addresses
    return str(low) if low == high else f"{low}-{high}"


def _all_or_none(holds: bool, destinations: AddressSet) -> _Part:
    return _Part(destinations if holds else AddressSet())
