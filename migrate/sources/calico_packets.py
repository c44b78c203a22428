"""Rules of Calico's policies as rules of the model: which ends and which packets they are about.

Facts: felix/rules policy.go (packet match), felix/calc rule_scanner.go (what a rule's conditions mean together),
felix/serviceindex (what stands behind a Service).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from migrate.model.addresses import AddressSet
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, Direction
from migrate.model.intervals import IntervalSet
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import (
    ANY_END,
    Action,
    Addresses,
    AllOf,
    AnyOf,
    Except,
    Pods,
    PortSet,
    Predicate,
    Provenance,
    Rule,
    Traffic,
)
from migrate.model.selectors import EVERYTHING, NOTHING, And, Not, Or, Requirement, Selector, matches
from migrate.sources.calico import ORCHESTRATOR, CalicoPolicy, NetworkSet
from migrate.sources.calico_rules import CalicoRule, EntityMatch, IcmpMatch, PortRange, ServiceMatch
from migrate.sources.endpoints import Backend
from migrate.sources.kubernetes import NetworkPolicy
from migrate.sources.kubernetes_engine import in_namespace, policy_rules

_ACTIONS = {"Allow": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}
_EVERY_PROTOCOL = IntervalSet(((0, 255),))


class RuleCompiler:
    """Makes the model's rules for one cluster's sets of addresses and backends of Services."""

    def __init__(self, sets: Iterable[NetworkSet], backends: Iterable[Backend]) -> None:
        self._sets = tuple(sets)
        self._backends: dict[tuple[str, str], list[Backend]] = {}
        for backend in backends:
            self._backends.setdefault((backend.namespace, backend.service), []).append(backend)

    def rules(self, policy: CalicoPolicy | NetworkPolicy, direction: Direction) -> list[Rule]:
        """The rules of one policy in one direction; Log decides nothing and is left out."""
        if isinstance(policy, NetworkPolicy):
            return policy_rules(policy, direction)
        rules = (rule for rule in policy.rules(direction) if rule.action != "Log")
        return [made for rule in rules for made in self._rule(rule, policy, direction)]

    def _rule(self, rule: CalicoRule, policy: CalicoPolicy, direction: Direction) -> list[Rule]:
        source, destination = self._end(rule.source, policy), self._end(rule.destination, policy)
        ingress = direction is Direction.INGRESS
        made = Rule(
            action=_ACTIONS[rule.action],
            peer=source if ingress else destination,
            own=destination if ingress else source,
            traffic=_traffic(rule),
            provenance=Provenance(policy.ref, rule.field, rule.at),
        )
        if rule.destination.service is not None:
            return list(_to_backends(made, self._behind(rule.destination.service)))
        return [made]

    def _behind(self, service: ServiceMatch) -> list[Backend]:
        """Nobody where no namespace is named: updateprocessors/rules.go does not fill in the policy's own."""
        return self._backends.get((service.namespace, service.name), [])

    def _end(self, entity: EntityMatch, policy: CalicoPolicy) -> Predicate:
        terms: list[Predicate] = []
        if entity.is_labelled(policy.namespace):
            terms.append(self._labelled(entity, policy))
        elif entity.not_selector is not None:
            terms.append(Except(self._owners(entity.not_selector, None, None)))
        if entity.nets:
            terms.append(Addresses(AddressSet.of(entity.nets)))
        if entity.not_nets:
            terms.append(Except(Addresses(AddressSet.of(entity.not_nets))))
        if entity.service is not None:
            backends = self._behind(entity.service)
            terms.append(Addresses(AddressSet.of_addresses(backend.address for backend in backends)))
        return AllOf(tuple(terms)) if terms else ANY_END

    def _labelled(self, entity: EntityMatch, policy: CalicoPolicy) -> Predicate:
        """Endpoints and sets for which all label conditions hold together."""
        return self._owners(And(entity.label_terms()), entity.namespaces, policy.namespace)

    def _owners(self, selector: Selector, namespaces: Selector | None, namespace: str | None) -> Predicate:
        """Whoever has the labels, by the namespaces that a rule names or (None) those its policy implies."""
        within = selector
        if namespaces is not None:
            within = And((namespaces, selector))
        elif namespace:
            within = in_namespace(selector, namespace)
        return AnyOf((Pods(of_pods(within)), _in_sets([s for s in self._sets if matches(within, s)])))


def of_pods(selector: Selector) -> Selector:
    """The selector as it holds for pods, which all have the label ORCHESTRATOR with the value k8s."""
    if isinstance(selector, Requirement):
        if (selector.scope, selector.key) != (Scope.POD, ORCHESTRATOR):
            return selector
        return EVERYTHING if selector.matches(Labels(((ORCHESTRATOR, "k8s"),))) else NOTHING
    if isinstance(selector, Not):
        return Not(of_pods(selector.term))
    terms = tuple(of_pods(term) for term in selector.terms)
    return And(terms) if isinstance(selector, And) else Or(terms)


def _in_sets(sets: Sequence[NetworkSet]) -> Predicate:
    return Addresses(AddressSet.of(net for network_set in sets for net in network_set.nets))


def _to_backends(rule: Rule, backends: Iterable[Backend]) -> Iterable[Rule]:
    """One rule for each list of ports that backends have. A port without a number is none."""
    by_ports: dict[tuple[tuple[str, int], ...], list[Backend]] = {}
    for backend in backends:
        ports = tuple((protocol, number) for _, protocol, number in backend.ports if number is not None)
        by_ports.setdefault(ports, []).append(backend)
    for ports, found in by_ports.items():
        peer = Addresses(AddressSet.of_addresses(backend.address for backend in found))
        traffic = tuple(_at_port(one, *port) for one in rule.traffic for port in ports)
        yield replace(rule, peer=AllOf((rule.peer, peer)), traffic=traffic)


def _at_port(traffic: Traffic, protocol: str, number: int) -> Traffic:
    """The packets of a rule that go to one port of a Service; a rule about services has no ports of its own."""
    asked = _EVERY_PROTOCOL if traffic.protocols is None else traffic.protocols
    return replace(traffic, protocols=asked & _number(protocol), ports=PortSet(IntervalSet(((number, number),))))


def _traffic(rule: CalicoRule) -> tuple[Traffic, ...]:
    """The packets of a rule: one value, or none when its address lists rule out both families."""
    families = _families(rule)
    if not families:
        return ()
    destination, source = rule.destination, rule.source
    common = Traffic(
        protocols=_protocols(rule),
        ports=_port_set(destination.ports),
        not_ports=_port_set(destination.not_ports),
        source_ports=_port_set(source.ports),
        not_source_ports=_port_set(source.not_ports),
        icmp=_icmp(rule.icmp),
        not_icmp=_icmp(rule.not_icmp),
        family=None if len(families) == 2 else min(families),
    )
    return (common,)


def _families(rule: CalicoRule) -> frozenset[int]:
    """The IP versions that a rule holds for; a protocol of one version leaves that."""
    if rule.protocol in ("ICMP", "ICMPv6"):
        return rule.families & {4 if rule.protocol == "ICMP" else 6}
    return rule.families


def _protocols(rule: CalicoRule) -> IntervalSet | None:
    found = _EVERY_PROTOCOL
    if rule.protocol is not None:
        found &= _number(rule.protocol)
    if rule.not_protocol is not None:
        found -= _number(rule.not_protocol)
    if rule.icmp is not None or rule.not_icmp is not None:
        found &= IntervalSet.of(((ICMP, ICMP), (ICMPV6, ICMPV6)))
    return None if found == _EVERY_PROTOCOL else found


def _number(protocol: str) -> IntervalSet:
    number = PROTOCOL_NUMBERS.get(protocol) or int(protocol)
    return IntervalSet(((number, number),))


def _port_set(ports: Sequence[PortRange | str]) -> PortSet | None:
    if not ports:
        return None
    numbers = IntervalSet.of((port.low, port.high) for port in ports if isinstance(port, PortRange))
    return PortSet(numbers, tuple(sorted({port for port in ports if isinstance(port, str)})))


def _icmp(match: IcmpMatch | None) -> tuple[tuple[int, int | None], ...] | None:
    return None if match is None or match.type is None else ((match.type, match.code),)
