"""An engine's policies over a space: for each class and direction, which packets which ends may exchange.

Sets of ends and of packet atoms are Python integers. A form (pieces of packets with the ends allowed for each) is
canonical and interned: two classes, or two engines, mean the same exactly where the numbers of their forms are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from migrate.model.cluster import Pod
from migrate.model.flow import Direction
from migrate.model.intervals import IntervalSet
from migrate.model.ruleset import (
    ANY_END,
    Action,
    Chain,
    Engine,
    Pods,
    PortSet,
    Predicate,
    Rule,
    Stage,
    Traffic,
)
from migrate.verify.bits import bits, members, union
from migrate.verify.ends import Ends, named_numbers
from migrate.verify.packets import PacketReads, Packets
from migrate.verify.space import NamedNumbers, NamedPorts, PodClass, Reads, Space

Form: TypeAlias = tuple[tuple[int, int], ...]
"""Pieces: (atoms, ends allowed for them), disjoint, ascending, without pieces for which nobody is allowed."""


class Forms:
    """Canonical numbers of forms, shared by all engines that are compared."""

    def __init__(self) -> None:
        self._numbers: dict[Form, int] = {}
        self.forms: list[Form] = []

    def number(self, pieces: dict[int, int]) -> int:
        """The number of a form given as ends → atoms."""
        form = tuple(sorted((atoms, ends) for ends, atoms in pieces.items() if ends and atoms))
        found = self._numbers.get(form)
        if found is None:
            found = self._numbers[form] = len(self.forms)
            self.forms.append(form)
        return found


def read_engine(engine: Engine, reads: Reads, packets: PacketReads) -> None:
    """Note everything that any rule of an engine looks at."""
    everyone = tuple(range(len(engine.subjects)))
    for subject in engine.subjects:
        reads.selector(subject.selector)
    for direction in Direction:
        reads.predicate(engine.exempt[direction])
        for policies in (everyone, ()):
            for stage in engine.chain(direction, policies).stages:
                for rule in stage.rules:
                    _read_rule(rule, reads, packets)


def _read_rule(rule: Rule, reads: Reads, packets: PacketReads) -> None:
    reads.predicate(rule.peer)
    reads.predicate(rule.own)
    for traffic in rule.traffic:
        packets.traffic(traffic)
        for ports in (traffic.ports, traffic.not_ports, traffic.source_ports, traffic.not_source_ports):
            if ports is not None:
                reads.names |= set(ports.names)


def read_named_ports(pods: Sequence[Pod], reads: Reads, packets: PacketReads) -> None:
    """Note the numbers that pods give to the port names in play."""
    for number in {port.port for pod in pods for port in pod.named_ports if port.name in reads.names}:
        packets.number(number)


@dataclass(frozen=True, slots=True)
class ClassForms:
    """Numbers of the forms of one class. Peers of the ingress form are sources, of the egress form destinations."""

    ingress: int
    egress: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """The chain of some policies, with what of a pod's own it looks at: predicates on its end, names of its ports."""

    chain: Chain
    own: tuple[Predicate, ...]
    names: frozenset[str]


class Compiled:
    """One engine over one space."""

    def __init__(self, engine: Engine, space: Space, ends: Ends, packets: Packets, forms: Forms) -> None:
        self.engine = engine
        self._space = space
        self._ends = ends
        self._packets = packets
        self._forms = forms
        self._memo: dict[object, int] = {}
        self._known_terms: dict[tuple[int, bool, NamedPorts], tuple[Rule, list[tuple[int, int]]]] = {}
        self._plans: dict[tuple[Direction, tuple[int, ...]], _Plan] = {}
        self._exempt = {direction: self._ends.holding(predicate) for direction, predicate in engine.exempt.items()}
        self._selected = self._select()
        self._form_of: dict[tuple[int, bool], int] = {}

    @cached_property
    def classes(self) -> tuple[ClassForms, ...]:
        """The forms of all classes."""
        return tuple(
            ClassForms(self.form(index, Direction.INGRESS), self.form(index, Direction.EGRESS))
            for index in range(len(self._space.pod_classes))
        )

    def form(self, index: int, direction: Direction) -> int:
        """The number of a class's form, which is worked out when it is asked for."""
        key = (index, direction is Direction.INGRESS)
        found = self._form_of.get(key)
        if found is None:
            found = self._form_of[key] = self._work_out_form(index, direction)
        return found

    def pieces(self, index: int, direction: Direction) -> Form:
        """The form itself of a class."""
        return self._forms.forms[self.form(index, direction)]

    def policies(self, index: int, direction: Direction) -> tuple[int, ...]:
        """The policies that select a class for a direction."""
        return self._selected[direction][index]

    def chain(self, index: int, direction: Direction) -> Chain:
        """The chain of a class."""
        return self._plan(direction, self._selected[direction][index]).chain

    def reach(self, rule: Rule, index: int, direction: Direction) -> list[tuple[int, int]]:
        """A rule of a class's chain as pairs of atoms and ends; what it asks of the class's own end is left out."""
        return self._terms(rule, self._space.pod_classes[index], direction, {})[1]

    def _select(self) -> dict[Direction, list[tuple[int, ...]]]:
        classes = self._space.pod_classes
        first = {pod_class.ends[0]: number for number, pod_class in enumerate(classes)}
        firsts = bits(first)
        chosen: dict[Direction, list[list[int]]] = {direction: [[] for _ in classes] for direction in Direction}
        for index, subject in enumerate(self.engine.subjects):
            for end in members(self._ends.holding(Pods(subject.selector)) & firsts):
                for direction in subject.directions:
                    chosen[direction][first[end]].append(index)
        return {direction: [tuple(indexes) for indexes in lists] for direction, lists in chosen.items()}

    def _work_out_form(self, index: int, direction: Direction) -> int:
        pod_class, policies = self._space.pod_classes[index], self._selected[direction][index]
        plan = self._plan(direction, policies)
        ports = frozenset(port for port in pod_class.named_ports if port[0] in plan.names) if plan.names else None
        own = tuple(self._own(predicate, pod_class) for predicate in plan.own) if plan.own else ()
        key = (direction, policies, ports, pod_class.node_class, own)
        found = self._memo.get(key)
        if found is None:
            masks = dict(zip(plan.own, own, strict=True))
            found = self._memo[key] = self._forms.number(self._decide(plan, pod_class, direction, masks))
        return found

    def _plan(self, direction: Direction, policies: tuple[int, ...]) -> _Plan:
        found = self._plans.get((direction, policies))
        if found is None:
            chain = self.engine.chain(direction, policies)
            rules = [rule for stage in chain.stages for rule in stage.rules]
            own = dict.fromkeys(rule.own for rule in rules if rule.own != ANY_END)
            names = (_names(traffic, own=True, direction=direction) for rule in rules for traffic in rule.traffic)
            found = self._plans[direction, policies] = _Plan(chain, tuple(own), frozenset().union(*names))
        return found

    def _own(self, predicate: Predicate, pod_class: PodClass) -> int:
        """The families (as a mask of all ends of them) for which a class's own end satisfies a predicate."""
        holding = self._ends.holding(predicate)
        addresses = (self._space.ends[end].end.address for end in pod_class.ends if holding >> end & 1)
        return union(self._space.families[address.version] for address in addresses)

    def _decide(
        self, plan: _Plan, pod_class: PodClass, direction: Direction, own: dict[Predicate, int]
    ) -> dict[int, int]:
        """Ends allowed → atoms, worked out piece by piece of the packets that the rules tell apart."""
        stages = [
            (stage, [self._terms(rule, pod_class, direction, own) for rule in stage.rules])
            for stage in plan.chain.stages
        ]
        seen = self._space.seen_from(pod_class)
        exempt = self._exempt[direction] & seen
        masks = {mask for _, rules in stages for _, terms in rules for mask, _ in terms}
        found: dict[int, int] = {}
        for piece in _partition(self._packets.everything, masks):
            allowed = _walk(stages, plan.chain, piece, seen) | exempt
            found[allowed] = found.get(allowed, 0) | piece
        return found

    def _terms(
        self, rule: Rule, pod_class: PodClass, direction: Direction, own: dict[Predicate, int]
    ) -> tuple[Action, list[tuple[int, int]]]:
        """A rule as pairs of atoms and ends."""
        key = (id(rule), direction is Direction.INGRESS, pod_class.named_ports)
        known = self._known_terms.get(key)
        if known is None:
            known = self._known_terms[key] = rule, self._work_out_terms(rule, pod_class, direction)
        terms = known[1]
        if own and rule.own != ANY_END:
            limit = own[rule.own]
            terms = [(atoms, ends & limit) for atoms, ends in terms if ends & limit]
        return rule.action, terms

    def _work_out_terms(self, rule: Rule, pod_class: PodClass, direction: Direction) -> list[tuple[int, int]]:
        peers = self._ends.holding(rule.peer)
        terms: list[tuple[int, int]] = []
        for traffic in rule.traffic:
            ends = peers if traffic.family is None else peers & self._space.families[traffic.family]
            terms += self._traffic(traffic, ends, pod_class, direction)
        return [(atoms, ends) for atoms, ends in terms if atoms and ends]

    def _traffic(self, traffic: Traffic, ends: int, pod_class: PodClass, direction: Direction) -> list[tuple[int, int]]:
        """Atoms and ends; where a name is looked up in the peer, one pair for each set of numbers that peers have."""
        ours = _names(traffic, own=True, direction=direction)
        theirs = _names(traffic, own=False, direction=direction)
        if not ours and not theirs:
            return [(self._packets.mask(traffic), ends)]
        found: list[tuple[int, int]] = []
        for low, high in traffic.protocols or ():
            for protocol in range(low, high + 1):
                mine = named_numbers(ours, protocol, pod_class.named_ports)
                for numbers, owners in self._ends.by_number(theirs, protocol).items():
                    pair = (mine, numbers) if direction is Direction.INGRESS else (numbers, mine)
                    found.append((self._packets.mask(_numbered(traffic, protocol, *pair)), ends & owners))
        return found


def _walk(
    stages: list[tuple[Stage, list[tuple[Action, list[tuple[int, int]]]]]], chain: Chain, piece: int, seen: int
) -> int:
    """The ends allowed for a piece of packets: first match in each stage, what passes goes on."""
    incoming, allowed = seen, 0
    for stage, rules in stages:
        undecided, passed = incoming, 0
        for action, terms in rules:
            hit = 0
            for atoms, ends in terms:
                if atoms & piece:
                    hit |= ends
            hit &= undecided
            undecided &= ~hit
            if action is Action.ALLOW:
                allowed |= hit
            elif action is Action.PASS:
                passed |= hit
        if stage.end is Action.ALLOW:
            allowed |= undecided
        incoming = passed | undecided if stage.end is Action.PASS else passed
    return allowed | incoming if chain.default is Action.ALLOW else allowed


def _partition(everything: int, masks: set[int]) -> list[int]:
    """The pieces that the masks cut everything into."""
    pieces = [everything]
    for mask in sorted(masks):
        cut: list[int] = []
        for piece in pieces:
            inside = piece & mask
            if inside and inside != piece:
                cut += [inside, piece & ~mask]
            else:
                cut.append(piece)
        pieces = cut
    return pieces


def _names(traffic: Traffic, *, own: bool, direction: Direction) -> frozenset[str]:
    """Port names that are looked up in the class's own pod, or in the peer."""
    destination = own is (direction is Direction.INGRESS)
    sets = (traffic.ports, traffic.not_ports) if destination else (traffic.source_ports, traffic.not_source_ports)
    return frozenset(name for ports in sets if ports is not None for name in ports.names)


def _numbered(traffic: Traffic, protocol: int, destination: NamedNumbers, source: NamedNumbers) -> Traffic:
    """The value for one protocol, with numbers in place of port names."""
    return replace(
        traffic,
        protocols=IntervalSet(((protocol, protocol),)),
        ports=_known(traffic.ports, destination),
        not_ports=_known(traffic.not_ports, destination),
        source_ports=_known(traffic.source_ports, source),
        not_source_ports=_known(traffic.not_source_ports, source),
    )


def _known(ports: PortSet | None, numbers: NamedNumbers) -> PortSet | None:
    if ports is None:
        return None
    return PortSet(ports.numbers | IntervalSet.of((number, number) for name, number in numbers if name in ports.names))
