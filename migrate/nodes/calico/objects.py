"""The objects of a cluster as Felix sees them: policies, and everything that has labels and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from migrate.model.addresses import Address, AddressSet, Network, parse_network
from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import Direction
from migrate.model.labels import Labels
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.nodes.calico.names import INTERFACES, interface_of
from migrate.nodes.calico.policies import (
    ACCOUNT,
    ACCOUNT_PREFIX,
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    PROTOCOLS,
    End,
    FelixPolicy,
    FelixRule,
    read_policies,
)
from migrate.nodes.calico.selector_text import Constant, Text, selector_id, unique_id
from migrate.sources.calico import GROUPS, HOST_ENDPOINT, read_network_set
from migrate.sources.calico_tiers import Tier, read_tier
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.endpoints import Backend, read_backends
from migrate.sources.fields import Fields, Reading

_SET_KINDS = ("NetworkSet", "GlobalNetworkSet", HOST_ENDPOINT)
_OWN_NAME = "projectcalico.org/name"
_LONGEST_ACCOUNT = 63
_OF_ACCOUNTS = re.compile(r"pcsa\.(?!projectcalico\.org/name)")
_OF_NAMESPACES = re.compile(r"pcns\.(?!projectcalico\.org/name|kubernetes\.io/metadata\.name)")
_WITH_NAMES = {17: "udp", 132: "sctp"}
_PORT_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}

PortMember: TypeAlias = tuple[Address, int, int]
"""Address, protocol number and port."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A pod, network set or host endpoint: labels, own and inherited, with addresses and named ports."""

    name: str
    labels: Mapping[str, str]
    nets: tuple[Network, ...]
    ports: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SetNeed:
    """An IP set that a rule asks for: by selector, by a selector's named ports, or a Service's backends."""

    id: str
    source: bool
    negated: bool = False
    with_ports: bool = False
    selector: Text | None = None
    port: tuple[str, int] | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True)
class Members:
    """What an IP set holds."""

    nets: AddressSet = AddressSet()
    ports: frozenset[PortMember] = frozenset()


@dataclass(frozen=True, eq=False)
class CalicoObjects:
    """What Felix works with. `whole`: all namespaces and kinds of the cluster were read."""

    cluster: Cluster
    objects: tuple[RawObject, ...]
    whole: bool = True
    _members: dict[str, Members] = field(default_factory=dict)
    _selecting: dict[frozenset[tuple[str, str]], tuple[FelixPolicy, ...]] = field(default_factory=dict)

    @cached_property
    def policies(self) -> tuple[FelixPolicy, ...]:
        """All policies that Felix enforces."""
        return read_policies(self.objects)

    @cached_property
    def by_name(self) -> Mapping[str, FelixPolicy]:
        """Policies by each name that their chains may have."""
        return {name: policy for policy in self.policies for name in policy.names}

    @cached_property
    def tiers(self) -> Mapping[str, Tier]:
        """The tiers that were read."""
        tiers = [read_tier(raw) for raw in self._of_kind("Tier")]
        return {tier.name: tier for tier in tiers}

    @cached_property
    def pods(self) -> tuple[tuple[Pod, Mapping[str, str]], ...]:
        """Pods that Calico has an endpoint for, with their labels."""
        return tuple(
            (pod, _pod_labels(pod)) for pod in self.cluster.pods if pod.addresses and not pod.host_network and pod.node
        )

    @cached_property
    def hosts(self) -> tuple[tuple[str, Carrier], ...]:
        """Host endpoints, each behind its node's name."""
        return tuple((_spec(raw).text("node"), _set_carrier(raw, {})) for raw in self._of_kind(HOST_ENDPOINT))

    @cached_property
    def carriers(self) -> tuple[Carrier, ...]:
        """Everything that a selector can find."""
        namespaces = {namespace.name: namespace.labels for namespace in self.cluster.namespaces}
        sets = (raw for raw in self.objects if raw.ref.kind in _SET_KINDS and raw.ref.group in GROUPS)
        return (*(_pod_carrier(pod, labels) for pod, labels in self.pods), *(_set_carrier(s, namespaces) for s in sets))

    def by_programs(self, node: str) -> bool:
        """Whether the eBPF data plane is asked for, by FelixConfiguration or the operator's Installation."""
        settings = {raw.ref.name: _spec(raw) for raw in self._of_kind("FelixConfiguration")}
        for name in (f"node.{node}", "default"):
            if name in settings and settings[name].has("bpfEnabled"):
                return settings[name].flag("bpfEnabled")
        networks = (_spec(raw).child("calicoNetwork") for raw in self.objects if raw.ref.kind == "Installation")
        return any(network is not None and network.text("linuxDataplane") == "BPF" for network in networks)

    def _of_kind(self, kind: str) -> tuple[RawObject, ...]:
        return tuple(raw for raw in self.objects if raw.ref.kind == kind and raw.ref.group in GROUPS)

    def appends(self, node: str) -> bool:
        """Whether Felix is told to put its jumps behind the rules of others (chainInsertMode)."""
        raws = self._of_kind("FelixConfiguration")
        modes = {raw.ref.name: _spec(raw).text("chainInsertMode").lower() for raw in raws}
        return (modes.get(f"node.{node}") or modes.get("default")) == "append"

    @cached_property
    def backends(self) -> tuple[Backend, ...]:
        """What stands behind Services."""
        return read_backends(self.objects)

    @cached_property
    def node_of_interface(self) -> Mapping[str, str]:
        """Where each interface that a pod may have is."""
        pods = [pod for pod, _ in self.pods]
        return {interface_of(p.namespace, p.name, prefix): p.node or "" for p in pods for prefix in self.prefixes}

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """What interfaces of pods may begin with: the usual ones, and what Felix is told."""
        told = (_spec(raw).text("interfacePrefix").split(",") for raw in self._of_kind("FelixConfiguration"))
        return tuple(dict.fromkeys((*INTERFACES, *(name for names in told for name in names if name))))

    def local(self, node: str) -> tuple[tuple[Pod, Mapping[str, str]], ...]:
        """The pods of a node that have an endpoint."""
        return tuple((pod, labels) for pod, labels in self.pods if pod.node == node)

    @cached_property
    def needs(self) -> tuple[tuple[FelixPolicy, SetNeed], ...]:
        """Every IP set that a policy asks for."""
        return tuple(
            (policy, need)
            for policy in self.policies
            for rule in (*policy.ingress, *policy.egress)
            for need in set_needs(rule)
        )

    def selecting(self, labels: Mapping[str, str], direction: Direction) -> tuple[FelixPolicy, ...]:
        """The policies in force for a pod in a direction, in no order."""
        return tuple(p for p in self._holding(labels) if p.on_pods and direction in p.directions)

    def active(self, node: str) -> tuple[FelixPolicy, ...]:
        """The policies that select something on a node: Felix has their IP sets there."""
        labels = [own for _, own in self.local(node)]
        labels += [carrier.labels for where, carrier in self.hosts if where == node]
        return tuple({policy.ref: policy for own in labels for policy in self._holding(own)}.values())

    @cached_property
    def decided(self) -> tuple[FelixPolicy, ...]:
        """The policies of which it is known whom they select."""
        return tuple(p for p in self.policies if p.readable and p.selector is not None and self.decides(p.selector))

    @cached_property
    def decided_refs(self) -> frozenset[ObjectRef]:
        """Those policies by their objects."""
        return frozenset(policy.ref for policy in self.decided)

    def _holding(self, labels: Mapping[str, str]) -> tuple[FelixPolicy, ...]:
        """The policies whose selector these labels satisfy."""
        key = frozenset(labels.items())
        found = self._selecting.get(key)
        if found is None:
            found = tuple(p for p in self.decided if p.selector is not None and p.selector.holds(labels))
            self._selecting[key] = found
        return found

    def members(self, need: SetNeed) -> Members:
        """What the set should hold."""
        found = self._members.get(need.id)
        if found is None:
            found = self._members[need.id] = self._found(need)
        return found

    @property
    def complete(self) -> bool:
        """Whether what is not here does not exist: a snapshot without any pod was not taken of a whole cluster."""
        return self.whole and self.cluster.complete and bool(self.cluster.pods)

    def knows_members(self, need: SetNeed) -> bool:
        """Whether all that decides about a set's members was read."""
        if need.service is not None:
            return self.complete and any(raw.ref.kind == "EndpointSlice" for raw in self.objects)
        return self.complete and (need.selector is None or self.decides(need.selector))

    def decides(self, selector: Text) -> bool:
        """Whether the labels that a selector asks for were read: those of namespaces and accounts may not be."""
        text = selector.written()
        accounts = self.cluster.accounts_given or not _OF_ACCOUNTS.search(text)
        return accounts and (self._namespaces_given or not _OF_NAMESPACES.search(text))

    @cached_property
    def _namespaces_given(self) -> bool:
        return any(raw.ref.kind == "Namespace" for raw in self.objects)

    def _found(self, need: SetNeed) -> Members:
        if need.service is not None:
            return self._behind(need)
        chosen = [c for c in self.carriers if need.selector is None or need.selector.holds(c.labels)]
        if need.port is None:
            return Members(AddressSet.of(net for carrier in chosen for net in carrier.nets))
        return Members(ports=frozenset(_ports(chosen, *need.port)))

    def _behind(self, need: SetNeed) -> Members:
        backends = [b for b in self.backends if f"{b.namespace}/{b.service}" == need.service]
        if not need.with_ports:
            return Members(AddressSet.of_addresses(backend.address for backend in backends))
        return Members(
            ports=frozenset(
                (backend.address, _PORT_PROTOCOLS.get(protocol, 6), number)
                for backend in backends
                for _, protocol, number in backend.ports
                if number is not None
            )
        )


def set_needs(rule: FelixRule) -> Iterator[SetNeed]:
    """The IP sets that a rule asks for, in Felix's terms."""
    for source, end in ((True, rule.source), (False, rule.destination)):
        if end.selector is not None and end.selector_is_used:
            yield SetNeed(selector_id(end.selector), source, selector=end.selector)
        if end.not_selector is not None:
            yield SetNeed(selector_id(end.not_selector), source, negated=True, selector=end.not_selector)
        if end.service is not None:
            prefix = "svcnoport" if source else "svc"
            yield SetNeed(unique_id(prefix, end.service), source, with_ports=not source, service=end.service)
        yield from _named(rule, end, source)


def _named(rule: FelixRule, end: End, source: bool) -> Iterator[SetNeed]:
    selector = end.selector or Constant()
    word = _WITH_NAMES.get(rule.protocol or 0, "tcp")
    for negated, names in ((False, end.names), (True, end.not_names)):
        for name in names:
            made = unique_id("n", f"{selector_id(selector)},{word},{name}")
            port = (name, PROTOCOLS[word.upper()])
            yield SetNeed(made, source, negated, with_ports=True, selector=selector, port=port)


def _ports(carriers: Iterable[Carrier], name: str, protocol: int) -> Iterator[PortMember]:
    for carrier in carriers:
        for port_name, port_protocol, number in carrier.ports:
            if (port_name, port_protocol) == (name, protocol):
                yield from ((net.network_address, protocol, number) for net in carrier.nets)


def _pod_labels(pod: Pod) -> Mapping[str, str]:
    inherited = {
        **_inherited(NAMESPACE_PREFIX, pod.namespace_labels, pod.namespace),
        **_inherited(ACCOUNT_PREFIX, pod.service_account_labels, pod.service_account),
    }
    own = dict(pod.labels.pairs) | {NAMESPACE: pod.namespace, ORCHESTRATOR: "k8s"}
    if len(pod.service_account) < _LONGEST_ACCOUNT:
        own[ACCOUNT] = pod.service_account
    return inherited | own


def _inherited(prefix: str, labels: Labels, name: str) -> Mapping[str, str]:
    hidden = SERVICE_ACCOUNT_NAME if prefix == ACCOUNT_PREFIX else ""
    found = {prefix + key: value for key, value in labels.pairs if key != hidden}
    return found | {prefix + _OWN_NAME: name}


def _pod_carrier(pod: Pod, labels: Mapping[str, str]) -> Carrier:
    nets = tuple(parse_network(str(address)) for address in pod.addresses)
    ports = ((port.name, _PORT_PROTOCOLS.get(port.protocol, 0), port.port) for port in pod.named_ports)
    return Carrier(f"pod {pod}", labels, nets, tuple(ports))


def _set_carrier(raw: RawObject, namespaces: Mapping[str, Labels]) -> Carrier:
    read = read_network_set(raw, namespaces)
    labels = dict(read.labels.pairs)
    if read.namespace is not None:
        labels = {**_inherited(NAMESPACE_PREFIX, read.namespace_labels, read.namespace), **labels}
        labels[NAMESPACE] = read.namespace
    ports = tuple(_host_ports(raw)) if raw.ref.kind == HOST_ENDPOINT else ()
    return Carrier(str(raw.ref), labels, read.nets, ports)


def _host_ports(raw: RawObject) -> Iterator[tuple[str, int, int]]:
    for port in _spec(raw).children("ports") or ():
        number = port.integer("port")
        protocol = port.scalar("protocol")
        if number is not None and isinstance(protocol, str):
            yield port.text("name"), _PORT_PROTOCOLS.get(protocol.upper(), 0), number


def _spec(raw: RawObject) -> Fields:
    reading = Reading(raw)
    return reading.root().child("spec") or Fields(reading, {}, ("spec",))
