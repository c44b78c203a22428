"""The smallest Cilium policies that let through what the translated ones would drop.

One policy for each workload at whose side something is dropped. It only adds: it never asks for default deny.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from migrate.audit.narrow import Narrow, Workloads, workload_of
from migrate.model.addresses import parse_network
from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NAMES, SCTP, TCP, UDP, Direction, End, EndKind, Packet
from migrate.model.labels import Scope
from migrate.model.refs import ObjectRef
from migrate.model.selectors import Operator, Requirement
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.names import Names
from migrate.translate.objects import CNP, Block, CiliumPolicy, CiliumRule, IcmpType, Peers, PolicySpec, Port
from migrate.translate.profiles import Profile

SUGGESTED = ("cilium-migrate/suggested", "audit")
"""The label by which these policies are known."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How often something was seen, and when first and last, in nanoseconds since 1970."""

    events: int
    first: int
    last: int

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.events + other.events, min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True, slots=True)
class Needed:
    """A flow that Cilium would drop at one side and that has to go through.

    `denied_by` is the deny rule that takes it, empty for default deny. `inexact` says what of the record was cut.
    """

    side: Direction
    subject: End
    peer: End
    packet: Packet
    seen: Seen
    denied_by: str = ""
    inexact: str = ""

    def __str__(self) -> str:
        ends = (self.subject, self.peer) if self.side is Direction.EGRESS else (self.peer, self.subject)
        return f"{_end_text(ends[0])} → {_end_text(ends[1])} {self.packet} ({self.side.value})"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A policy to add. `reasons` are the flows that it is for; `wider` says what else it admits by its form."""

    policy: CiliumPolicy
    reasons: tuple[tuple[str, Seen], ...]
    wider: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Policies to add, and the flows for which there is none, with the reason and what to do."""

    made: tuple[Suggestion, ...]
    not_made: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Draft:
    """What one workload needs: for each direction the traffic of each peer."""

    subject: Narrow
    source: ObjectRef
    peers: dict[Direction, dict[Peers, set[Port | IcmpType]]] = field(default_factory=dict)
    reasons: dict[str, Seen] = field(default_factory=dict)
    wider: set[str] = field(default_factory=set)


def suggest(
    needed: Iterable[Needed], cluster: Cluster, profile: Profile, existing: Iterable[ObjectRef] = ()
) -> Suggestions:
    """Policies for all flows that can be let through by adding one. `existing` are names that are taken."""
    settings = CiliumSettings(label_patterns=profile.identity_label_patterns)
    workloads = Workloads(cluster, settings.is_identity_label)
    drafts: dict[tuple[str, str], _Draft] = {}
    not_made: dict[str, str] = {}
    for flow in sorted(needed, key=str):
        reason = _problem(flow, profile) or _draft(flow, workloads, drafts)
        if reason:
            not_made[str(flow)] = reason
    names = Names.beside(existing)
    made = [_suggestion(key, drafts[key], names) for key in sorted(drafts)]
    return Suggestions(tuple(made), tuple(not_made.items()))


def _problem(flow: Needed, profile: Profile) -> str:
    """Why no added policy can let a flow through; empty when one can."""
    if flow.subject.pod is None:
        return "only pods have policies; what drops it is not at a pod's side"
    address = flow.peer.address
    if address.is_multicast or (address.version == 6 and address.is_link_local):
        return "an address of one link only (neighbour discovery and the like), which policies are not made for"
    if flow.inexact:
        return f"{flow.inexact}, so its real ends are not known; audit again with larger tables"
    if flow.denied_by:
        return f"a deny wins over every allow: change {flow.denied_by}"
    packet = flow.packet
    if packet.protocol in (ICMP, ICMPV6):
        if not profile.icmp_rules:
            return f"{profile.title} has no ICMP rules"
        return "" if packet.port else "type 0 in a rule would open all of ICMP; allow the request it answers instead"
    if packet.protocol not in (TCP, UDP, SCTP):
        return f"a rule for {packet} would open every protocol; decide by hand"
    if packet.protocol == SCTP and not profile.sctp:
        return f"SCTP is switched off in {profile.title}"
    return "" if packet.port else "port 0 in a rule would open all ports; decide by hand"


def _draft(flow: Needed, workloads: Workloads, drafts: dict[tuple[str, str], _Draft]) -> str:
    """Put a flow into the draft of its workload; the reason where that cannot be."""
    pod = flow.subject.pod
    assert pod is not None
    subject = workloads.narrow(pod)
    if subject is None:
        return _no_labels(pod)
    wider = _also_selected(pod, subject)
    peer = flow.peer
    if peer.pod is not None:
        narrow = workloads.narrow(peer.pod)
        if narrow is None:
            return _no_labels(peer.pod)
        wider |= _also_selected(peer.pod, narrow)
        peers = _pods(peer.pod, narrow)
    else:
        peers = _others(flow)
        if peers.entities == ("remote-node",):
            wider.add("remote-node: every other node, with all that runs on the hosts' network")
    kind, _, name = workload_of(pod).partition("/")
    draft = drafts.setdefault(
        (pod.namespace, workload_of(pod)), _Draft(subject, ObjectRef("", kind, pod.namespace, name))
    )
    draft.peers.setdefault(flow.side, {}).setdefault(peers, set()).add(_traffic(flow.packet))
    draft.wider |= wider
    text = str(flow)
    draft.reasons[text] = draft.reasons[text] | flow.seen if text in draft.reasons else flow.seen
    return ""


def _no_labels(pod: Pod) -> str:
    return f"no label tells {workload_of(pod)} from the rest of namespace {pod.namespace}; give its pods one"


def _also_selected(pod: Pod, narrow: Narrow) -> set[str]:
    if not narrow.others:
        return set()
    names = sorted({workload_of(other) for other in narrow.others})
    return {f"the labels of {pod.namespace} {workload_of(pod)} also select {', '.join(names)}"}


def _pods(pod: Pod, narrow: Narrow) -> Peers:
    namespace = Requirement(NAMESPACE_NAME, Operator.IN, (pod.namespace,), Scope.NAMESPACE)
    return Peers(endpoints=((namespace, *narrow.selector),))


def _others(flow: Needed) -> Peers:
    """The API server, a node, or an address outside."""
    peer = flow.peer
    if peer.api_server:
        return Peers(entities=("kube-apiserver",))
    if peer.kind is EndKind.NODE:
        own = peer.node_name is not None and peer.node_name == flow.subject.node_name
        return Peers(entities=("host" if own else "remote-node",))
    return Peers(blocks=(Block(parse_network(str(peer.address))),))


def _traffic(packet: Packet) -> Port | IcmpType:
    if packet.protocol in (ICMP, ICMPV6):
        return IcmpType("IPv4" if packet.protocol == ICMP else "IPv6", packet.port)
    return Port(PROTOCOL_NAMES[packet.protocol], packet.port)


def _suggestion(key: tuple[str, str], draft: _Draft, names: Names) -> Suggestion:
    namespace, workload = key
    kind, _, name = workload.partition("/")
    rules = [rule for side in Direction for rule in _rules(side, draft.peers.get(side, {}))]
    policy = CiliumPolicy(
        namespace=namespace,
        name=names.give(CNP, namespace, f"audited-{name}", kind.lower()),
        specs=(PolicySpec(draft.subject.selector, frozenset(), tuple(rules)),),
        source=draft.source,
        at=None,
        description="what was seen and would be dropped",
        labels=(SUGGESTED,),
    )
    return Suggestion(policy, tuple(sorted(draft.reasons.items())), tuple(sorted(draft.wider)))


def _rules(side: Direction, peers: dict[Peers, set[Port | IcmpType]]) -> list[CiliumRule]:
    """Peers that need the same traffic share a rule."""
    shared: dict[frozenset[Port | IcmpType], Peers] = {}
    for peer, traffic in peers.items():
        key = frozenset(traffic)
        shared[key] = shared[key] | peer if key in shared else peer
    return [_rule(side, peer, list(traffic)) for traffic, peer in sorted(shared.items(), key=lambda item: str(item[1]))]


def _rule(side: Direction, peers: Peers, traffic: Sequence[Port | IcmpType]) -> CiliumRule:
    ports = sorted((one for one in traffic if isinstance(one, Port)), key=Port.sort_key)
    icmp = sorted((one for one in traffic if isinstance(one, IcmpType)), key=lambda one: (one.family, one.type))
    return CiliumRule(side, peers, tuple(ports) or None, tuple(icmp) or None)


def _end_text(end: End) -> str:
    if end.pod is not None:
        return f"{end.pod.namespace} {workload_of(end.pod)}"
    if end.api_server:
        return "the API server"
    return f"node {end.node_name}" if end.kind is EndKind.NODE else str(end.address)
