"""A packet's way through chains. Where nothing tells whether a rule holds, it goes both ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from migrate.model.node_state import (
    ConnectionMarkChange,
    ConnectionMarkCopy,
    Ending,
    Jump,
    MarkChange,
    Option,
    OtherTarget,
    Reject,
    Target,
    Translate,
    Translation,
    Untracked,
)
from migrate.nodes.netfilter.chains import ReadyChain, ReadyRule
from migrate.nodes.netfilter.passing import Ends, Passing

_MOST_WAYS = 128
"""Ways of one packet that are followed at the same time."""
_MOST_RULES = 500_000
"""Rules that one packet is asked about: more than any kernel would bear."""
_DEEPEST = 64
"""Chains within chains. nf_tables takes 16."""
_MOST_PLACES = 16
"""Addresses of one DNAT rule that are followed one by one."""
_LOOPBACK = {4: 0x7F000001, 6: 1}
_CHANGES_SETS = frozenset({"add-set", "del-set"})
_TRANSLATED_HERE = frozenset({Translation.DNAT, Translation.REDIRECT})


class Fate(Enum):
    """How a packet leaves a table before its chains end."""

    ACCEPTED = "accepted"
    DROPPED = "dropped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Met:
    """A rule that holds for a packet, or may hold, or a chain whose policy decides, and what was met before."""

    before: Met | None
    rule: ReadyRule | ReadyChain
    unsure: tuple[str, ...] = ()


OneWay: TypeAlias = "tuple[Passing, Met | None]"
"""A packet at some point of its way, and what it met last."""


class TooFarError(Exception):
    """The rules lead a packet further than a kernel would go. The message says how."""


@dataclass(slots=True)
class Walk:
    """One packet's ways. `doubts` are those about rules that may or may not hold."""

    hook: str
    ended: list[tuple[Fate, OneWay]] = field(default_factory=list)
    doubts: dict[str, None] = field(default_factory=dict)
    asked: int = 0

    def table(self, chain: ReadyChain, arriving: list[OneWay]) -> list[OneWay]:
        """The ways that go on behind one of the kernel's own chains; `ended` holds the others. Raises TooFarError."""
        self.ended, before = [], self.ended
        at_end = self._chain(chain, arriving, 0)
        accepted = [way for fate, way in self.ended if fate is Fate.ACCEPTED]
        self.ended = [*before, *((fate, way) for fate, way in self.ended if fate is not Fate.ACCEPTED)]
        by_policy = [(passing, Met(met, chain)) for passing, met in at_end]
        if chain.policy is Ending.ACCEPT:
            return _different([*accepted, *by_policy])
        fate = Fate.DROPPED if chain.policy is Ending.DROP else Fate.UNKNOWN
        self.ended += [(fate, way) for way in by_policy]
        return _different(accepted)

    def _chain(self, chain: ReadyChain, arriving: list[OneWay], depth: int) -> list[OneWay]:
        """The ways that lead back to where the chain was entered from."""
        if depth > _DEEPEST:
            raise TooFarError(f"more than {_DEEPEST} chains within each other; {chain.chain.name} is one of them")
        here, back = arriving, list[OneWay]()
        rules = chain.candidates(here[0][0]) if len(here) == 1 else iter(chain.rules)
        for rule in rules:
            self._count(len(here))
            if len(here) == 1 and rule.holds(here[0][0]) is False:
                continue
            here = _different(self._rule(rule, here, back, depth))
            if not here:
                break
        return _different([*back, *here])

    def _count(self, ways: int) -> None:
        self.asked += ways
        if self.asked > _MOST_RULES:
            raise TooFarError(f"more than {_MOST_RULES} rules are asked about one packet")

    def _rule(self, rule: ReadyRule, here: list[OneWay], back: list[OneWay], depth: int) -> list[OneWay]:
        """The ways that come to the next rule."""
        on: list[OneWay] = []
        taken: list[OneWay] = []
        for passing, met in here:
            holds = rule.holds(passing)
            if holds is not True:
                on.append((passing, met))
            if holds is not False:
                unsure = rule.unsure(passing) if holds is None else ()
                self._doubt(rule, unsure)
                taken.append((passing, Met(met, rule, unsure)))
        return [*on, *self._act(rule, taken, back, depth)] if taken else on

    def _doubt(self, rule: ReadyRule, unsure: Iterable[str]) -> None:
        for about in unsure:
            at = rule.chain.table.ruleset.at(rule.rule)
            self.doubts[f"{at}: nothing tells about {about}"] = None

    def _act(self, rule: ReadyRule, taken: list[OneWay], back: list[OneWay], depth: int) -> list[OneWay]:
        """The ways that come to the next rule, of those that the rule holds for."""
        target = rule.target
        if isinstance(target, Jump):
            return self._jump(rule, target, taken, back, depth)
        if target is Ending.RETURN:
            back += taken
            return []
        fate = _fate(target)
        if fate is not None:
            if fate is Fate.UNKNOWN:
                self._doubt(rule, (f"what {_name(target)} does",))
            self.ended += [(fate, way) for way in taken]
            return []
        if isinstance(target, Translate):
            self.ended += [ended for way in taken for ended in _translated(target, way, self.hook)]
            return []
        on = [(_changed(passing, target), met) for passing, met in taken]
        if isinstance(target, OtherTarget) and target.goes_on is None:
            self._doubt(rule, (f"what {_name(target)} does",))
            self.ended += [(Fate.UNKNOWN, way) for way in taken]
        return on

    def _jump(self, rule: ReadyRule, jump: Jump, taken: list[OneWay], back: list[OneWay], depth: int) -> list[OneWay]:
        chain = rule.chain.table.chain(jump.chain)
        if chain is None:
            self._doubt(rule, (f"the chain {jump.chain}",))
            self.ended += [(Fate.UNKNOWN, way) for way in taken]
            return taken
        returned = self._chain(chain, taken, depth + 1)
        if not jump.final:
            return returned
        back += returned
        return []


def _different(ways: list[OneWay]) -> list[OneWay]:
    """The ways on which the packet differs. Raises TooFarError when they are too many."""
    if len(ways) < 2:
        return ways
    found: dict[Passing, Met | None] = {}
    for passing, met in ways:
        found.setdefault(passing, met)
    if len(found) > _MOST_WAYS:
        raise TooFarError(f"a packet may take more than {_MOST_WAYS} ways")
    return list(found.items())


def _fate(target: Target | None) -> Fate | None:
    if target is Ending.ACCEPT:
        return Fate.ACCEPTED
    if target is Ending.DROP or isinstance(target, Reject):
        return Fate.DROPPED
    if target is Ending.QUEUE or (isinstance(target, OtherTarget) and target.goes_on is False):
        return Fate.UNKNOWN
    return None


def _name(target: Target | None) -> str:
    return target.value if isinstance(target, Ending) else target.name if isinstance(target, OtherTarget) else ""


def _changed(passing: Passing, target: Target | None) -> Passing:
    """The packet behind a rule after which it goes on."""
    if isinstance(target, MarkChange):
        return passing.marked(target)
    if isinstance(target, ConnectionMarkChange):
        return passing.connection_marked(target)
    if isinstance(target, ConnectionMarkCopy):
        return passing.copied(target)
    if isinstance(target, Untracked):
        return passing if passing.has_connection else replace(passing, state="UNTRACKED")
    if isinstance(target, OtherTarget):
        return _touched(passing, target)
    return passing


def _touched(passing: Passing, target: OtherTarget) -> Passing:
    """The packet behind SET, and behind targets that this program does not know."""
    given = {option.name: option.values for option in target.options if isinstance(option, Option)}
    sets = {values[0] for name, values in given.items() if name in _CHANGES_SETS}
    if "map-set" in given or target.goes_on is None:
        passing = replace(passing, mark=None)
    return replace(passing, touched=passing.touched | sets) if sets else passing


def _translated(target: Translate, way: OneWay, hook: str) -> list[tuple[Fate, OneWay]]:
    """The packet behind a rule of nat: its addresses are settled, and no other rule of the hook is asked."""
    passing, met = way
    ends = passing.ends
    if target.kind in _TRANSLATED_HERE:
        found = [replace(ends, destination=place) for place in _places(target, passing, hook)]
        if target.ports is not None:
            found = [replace(one, destination_port=_port(target.ports)) for one in found]
        name = "DNAT"
    else:
        found = [replace(ends, source=place) for place in _places(target, passing, hook)]
        if target.ports is not None or target.flags:
            found = [replace(one, source_port=_port(target.ports)) for one in found]
        name = "SNAT"
    redirected = target.kind is Translation.REDIRECT
    return [(Fate.ACCEPTED, (_settled(passing, one, name, redirected), met)) for one in found]


def _settled(passing: Passing, ends: Ends, name: str, redirected: bool) -> Passing:
    changed = {name} if ends != passing.ends or None in (ends.source, ends.destination) else set()
    leaves_by = None if name == "DNAT" and changed and passing.leaves_by else passing.leaves_by
    return replace(
        passing,
        ends=ends,
        mapped=True,
        translated=passing.translated | changed,
        delivered=passing.delivered or redirected,
        leaves_by=leaves_by,
    )


def _places(target: Translate, passing: Passing, hook: str) -> list[int | None]:
    """The addresses that may come in the place of the old one; None where nothing tells."""
    old = passing.ends.destination if target.kind in _TRANSLATED_HERE else passing.ends.source
    if target.kind is Translation.REDIRECT:
        return [_LOOPBACK[passing.version] if hook == "OUTPUT" else None]
    if target.kind is Translation.MASQUERADE:
        return [None]
    if target.addresses is None:
        return [old]
    low, high = (int(address) for address in target.addresses)
    return [None] if high - low >= _MOST_PLACES else list(range(low, high + 1))


def _port(ports: tuple[int, int] | None) -> int | None:
    return ports[0] if ports is not None and ports[0] == ports[1] else None
