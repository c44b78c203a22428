"""A node's packet filter, asked about packets: hooks and tables in the kernel's order, of both backends.

Source: Linux 6.12, include/uapi/linux/netfilter_ipv4.h (the order of the tables), net/netfilter/nf_nat_core.c (only
the first packet of a connection comes to nat, and the first rule that translates is the only one).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from migrate.model.flow import ICMP, ICMPV6
from migrate.model.ip_sets import IpSets
from migrate.model.node_state import Ending, Ruleset, Table
from migrate.nodes.netfilter.chains import ReadyTable
from migrate.nodes.netfilter.conditions import Conditions
from migrate.nodes.netfilter.judgement import Judgement, Step, Verdict
from migrate.nodes.netfilter.own_addresses import OwnAddresses
from migrate.nodes.netfilter.passing import Packet, Passing, Way
from migrate.nodes.netfilter.set_index import Sets
from migrate.nodes.netfilter.walk import Fate, Met, OneWay, TooFarError, Walk

_LOOPBACK = "lo"
_TRACK = "connection tracking"
_HOOKS = {
    "PREROUTING": ("raw", _TRACK, "mangle", "nat"),
    "INPUT": ("mangle", "filter", "security", "nat"),
    "FORWARD": ("mangle", "filter", "security"),
    "OUTPUT": ("raw", _TRACK, "mangle", "nat", "filter", "security"),
    "POSTROUTING": ("mangle", "nat"),
}
"""What stands at each hook, in the order of the priorities."""
_HIDES = "is incompatible"
"""Part of the remark of iptables-nft-save that it cannot show a table which others changed."""
_TRANSLATES = frozenset({"NEW", "RELATED"})


class NodeFilter:
    """The rules of a node, ready for many packets. `families` are those that the dump has rules of.

    `beside` says, for each family, what else may drop packets that these rules let through.
    """

    def __init__(
        self,
        rulesets: Iterable[Ruleset],
        sets: IpSets | None = None,
        host: OwnAddresses | None = None,
        families: frozenset[int] = frozenset({4, 6}),
        beside: Mapping[int, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self._host = host or OwnAddresses()
        self._families = families
        self._beside = beside
        self._conditions = Conditions(Sets(sets), self._host)
        self._tables: dict[tuple[int, str], list[ReadyTable]] = {}
        self._notes: dict[str, None] = {}
        seen: set[tuple[object, ...]] = set()
        for ruleset in rulesets:
            self._notes |= {f"{ruleset.at(note)}: {note.text}": None for note in ruleset.notes if _HIDES in note.text}
            for table in ruleset.tables:
                key = (table.family or 4, table.name, table.backend)
                if key not in seen and not (table.complete and _is_idle(table)):
                    seen.add(key)
                    ready = ReadyTable(ruleset, table, self._conditions)
                    self._tables.setdefault(key[:2], []).append(ready)

    @property
    def there(self) -> Container[tuple[int, str]]:
        """Families and names of the tables."""
        return self._tables

    def judge(self, packet: Packet) -> Judgement:
        """What becomes of a packet. Where both backends have rules it must pass both."""
        start = Passing.of(packet)
        if start.version not in self._families:
            return Judgement("unknown", (), (f"the dump has no rules of IPv{start.version}",), start)
        doubts = (*self._notes, *self._beside.get(start.version, ()))
        orders = [False, True] if self._both_backends(start.version) else [False]
        found = [_Journey(self, packet, turned).judgement() for turned in orders]
        first = found[0]
        if any(other.verdict != first.verdict for other in found):
            order = "the two backends come to different ends, by which of them is asked first"
            first = replace(first, verdict="unknown", doubts=(*first.doubts, order))
        if doubts and first.verdict == "allow":
            return replace(first, verdict="unknown", doubts=(*first.doubts, *doubts))
        return first

    def tables(self, version: int, name: str, turned: bool) -> Iterator[ReadyTable]:
        """The tables of both backends; which of them was there first, and so is asked first, nothing tells."""
        found = self._tables.get((version, name), [])
        return reversed(found) if turned else iter(found)

    def delivered(self, passing: Passing) -> bool | None:
        """Whether a packet is for the node itself, after a translation."""
        if passing.delivered:
            return True
        kind = self._host.kind(passing.version, passing.ends.destination)
        return None if kind is None else kind == "LOCAL"

    def _both_backends(self, version: int) -> bool:
        return any(len(tables) > 1 for (family, _), tables in self._tables.items() if family == version)


@dataclass(slots=True)
class _Journey:
    """One packet from hook to hook."""

    rules: NodeFilter
    packet: Packet
    turned: bool
    home: bool = False
    walk: Walk = field(default_factory=lambda: Walk(""))
    torn: dict[str, None] = field(default_factory=dict)

    def judgement(self) -> Judgement:
        """What becomes of it."""
        start: list[OneWay] = [(Passing.of(self.packet), None)]
        try:
            arrived = self._all_hooks(start)
        except TooFarError as error:
            return Judgement("unknown", (), (str(error),), start[0][0])
        ways = [*self.walk.ended, *((Fate.ACCEPTED, way) for way in arrived)]
        fates = {fate for fate, _ in ways}
        sure = len(fates) == 1 and Fate.UNKNOWN not in fates and not self.torn
        wanted = next(fate for fate in (Fate.DROPPED, Fate.UNKNOWN, Fate.ACCEPTED) if fate in fates)
        passing, met = next(way for fate, way in ways if fate is wanted)
        verdict: Verdict = "unknown" if not sure else "allow" if wanted is Fate.ACCEPTED else "deny"
        doubts = () if sure else (*self.torn, *self.walk.doubts)
        return Judgement(verdict, tuple(_steps(met)), doubts, passing)

    def _all_hooks(self, start: list[OneWay]) -> list[OneWay]:
        """The ways that lead through all hooks."""
        if self.packet.way is Way.OUT:
            return self._back_in(self._hook("POSTROUTING", self._hook("OUTPUT", start)))
        ways = self._hook("PREROUTING", start)
        inward = [way for way in ways if self._goes_in(way[0]) is not False]
        through = [way for way in ways if self._goes_in(way[0]) is not True]
        return [*self._hook("INPUT", inward), *self._hook("POSTROUTING", self._hook("FORWARD", through))]

    def _back_in(self, ways: list[OneWay]) -> list[OneWay]:
        """What a process sends to its own node comes in again by the loopback interface."""
        home = [way for way in ways if self._comes_home(way[0]) is not False]
        away = [way for way in ways if self._comes_home(way[0]) is not True]
        self.home = True
        return [*away, *self._hook("INPUT", self._hook("PREROUTING", home))]

    def _comes_home(self, passing: Passing) -> bool | None:
        home = self.rules.delivered(passing)
        return home if "DNAT" in passing.translated else bool(home)

    def _goes_in(self, passing: Passing) -> bool | None:
        if "DNAT" not in passing.translated and not passing.delivered:
            return self.packet.way is Way.IN
        return self.rules.delivered(passing)

    def _hook(self, hook: str, ways: list[OneWay]) -> list[OneWay]:
        if not ways:
            return []
        self.walk.hook = hook
        version = self.packet.source.version
        if any((version, name) in self.rules.there for name in _HOOKS[hook]):
            ways = [(self._at(hook, passing), met) for passing, met in ways]
        for name in _HOOKS[hook]:
            ways = self._tracked(ways) if name == _TRACK else self._tables(name, hook, ways) if ways else []
        return ways

    def _at(self, hook: str, passing: Passing) -> Passing:
        """The packet with the interfaces that rules see at a hook. Where it came home nat was asked before."""
        return replace(
            passing,
            came_by=self._came_by(hook),
            leaves_by=self._leaves_by(hook, passing),
            mapped=self.home and hook == "PREROUTING",
        )

    def _came_by(self, hook: str) -> str | None:
        if self.home:
            return _LOOPBACK
        return "" if hook == "OUTPUT" else None if self.packet.way is Way.OUT else self.packet.came_by

    def _leaves_by(self, hook: str, passing: Passing) -> str | None:
        if hook in ("PREROUTING", "INPUT"):
            return ""
        return None if "DNAT" in passing.translated else self.packet.leaves_by

    def _tracked(self, ways: list[OneWay]) -> list[OneWay]:
        if self.home:
            return ways
        state = self.packet.tracked_as
        return [(p if p.state == "UNTRACKED" else replace(p, state=state), met) for p, met in ways]

    def _tables(self, name: str, hook: str, ways: list[OneWay]) -> list[OneWay]:
        for table in self.rules.tables(self.packet.source.version, name, self.turned):
            chain = table.chain(hook)
            if not table.table.complete:
                place = table.ruleset.at(table.table)
                self.torn[f"{place}: lines of the table {name} are missing, which may decide"] = None
            if chain is None:
                continue
            aside = [way for way in ways if name == "nat" and not _asks_nat(way[0])]
            asked = [way for way in ways if name != "nat" or _asks_nat(way[0])]
            ways = [*aside, *(self.walk.table(chain, asked) if asked else ())]
        return ways


def _is_idle(table: Table) -> bool:
    """Whether a table lets every packet through as it is."""
    return all(not chain.rules and chain.policy in (None, Ending.ACCEPT) for chain in table.chains)


def _asks_nat(passing: Passing) -> bool:
    """Whether the rules of nat are asked: of complaints by ICMP they are not. Source: nf_nat_proto.c."""
    complaint = passing.state == "RELATED" and passing.protocol in (ICMP, ICMPV6)
    return passing.state in _TRANSLATES and not passing.mapped and not complaint


def _steps(met: Met | None) -> list[Step]:
    found: list[Step] = []
    while met is not None:
        step = met.rule.step
        found.append(replace(step, unsure=met.unsure) if met.unsure else step)
        met = met.before
    return found[::-1]
