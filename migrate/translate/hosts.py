"""HostEndpoints as policies of Cilium's host firewall, where these can say what Calico does; only when asked for.

Facts: Calico's failsafe ports go before every policy; a HostEndpoint without the profile that allows denies what no
policy allows. A host policy of Cilium is for whole nodes, also polices what pods send to their own node, and selects
by node labels that the identity filter keeps (kubernetes.io/hostname is none).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Node
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import PROTOCOL_NUMBERS, Direction
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.selectors import Conjunction, Operator, Requirement, matches
from migrate.sources.calico import GROUPS, HOST_ENDPOINT, CalicoPolicy
from migrate.sources.calico_hosts import ALL_INTERFACES, HostEndpoint, Hosts, read_host_endpoint
from migrate.sources.calico_tiers import Tier, read_tier
from migrate.sources.felix import FailsafePort, FelixSettings
from migrate.translate.blocks import split_blocks
from migrate.translate.calico import GroupName, allow_rules, is_plain
from migrate.translate.calico_order import order_decides
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.objects import ANYONE, Block, CiliumPolicy, CiliumRule, IcmpType, Peers, PolicySpec, Port
from migrate.translate.render import JsonMap, render_policy
from migrate.translate.selectors import ANY_NAMESPACE, pod_label_is_visible
from migrate.translate.zero_prefix import in_halves

_PROTOCOLS = {number: name for name, number in PROTOCOL_NUMBERS.items()}
_NODES, _HEALTH = Peers(entities=("remote-node",)), Peers(entities=("health",))
_ECHO = (IcmpType("IPv4", 8),)
_NEEDS = {
    Direction.INGRESS: (
        CiliumRule(Direction.INGRESS, _NODES, (Port("TCP", 4240), Port("UDP", 8472)), _ECHO),
        CiliumRule(Direction.INGRESS, _HEALTH, (Port("TCP", 4240),), _ECHO),
    ),
    Direction.EGRESS: (
        CiliumRule(Direction.EGRESS, _NODES, (Port("TCP", 4240), Port("UDP", 8472)), _ECHO),
        CiliumRule(Direction.EGRESS, _HEALTH, (Port("TCP", 4240),), _ECHO),
        CiliumRule(Direction.EGRESS, Peers(endpoints=((ANY_NAMESPACE,),))),
    ),
}
"""What Cilium itself sends between nodes with its defaults: health checks and the VXLAN overlay.

And what a node sends to its own pods, such as the kubelet's probes: Calico never polices that, and by Cilium's policy
alone the host is policed on the way to any pod; pods' own policies still judge what comes.
"""
_NEEDS_TEXT = {
    Direction.INGRESS: "from other nodes Cilium's health checks (TCP 4240, ICMP echo) and VXLAN (UDP 8472)",
    Direction.EGRESS: (
        "to other nodes Cilium's health checks and VXLAN, and to pods everything: the kubelet's probes need the node's "
        "own pods, and no label tells these from others, such as node {node} -> a pod of another node TCP/8080"
    ),
}


class _NotSaidError(Exception):
    """Why a host policy would not mean what Calico does."""


@dataclass(frozen=True, slots=True)
class HostSources:
    """What of a cluster decides over its nodes. `policies` are the global ones, read."""

    endpoints: tuple[HostEndpoint, ...]
    policies: tuple[CalicoPolicy, ...]
    tiers: tuple[Tier, ...]
    felix: FelixSettings


def host_sources(
    objects: Iterable[RawObject], context: Context, felix: FelixSettings, read: Callable[[RawObject], CalicoPolicy]
) -> HostSources:
    """What decides over nodes among the objects."""
    own = [raw for raw in objects if raw.ref.group in GROUPS]
    nets = {network_set.ref: AddressSet.of(network_set.nets) for network_set in context.sets}
    return HostSources(
        endpoints=tuple(read_host_endpoint(raw, nets[raw.ref]) for raw in own if raw.ref.kind == HOST_ENDPOINT),
        policies=tuple(read(raw) for raw in own if raw.ref.kind == "GlobalNetworkPolicy"),
        tiers=tuple(read_tier(raw) for raw in own if raw.ref.kind == "Tier"),
        felix=felix,
    )


@dataclass(slots=True)
class HostsSaid:
    """`notes` are of every HostEndpoint, `said` those that the written objects stand for; `used` are network sets.

    Each of `written` is an object, the HostEndpoints that it is for, and what it says.
    """

    notes: dict[ObjectRef, Notes]
    said: set[ObjectRef] = field(default_factory=set)
    used: set[ObjectRef] = field(default_factory=set)
    written: list[tuple[JsonMap, tuple[ObjectRef, ...], str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Group:
    """Nodes with one policy: what selects their HostEndpoints, and what holds where nothing decides."""

    policies: tuple[CalicoPolicy, ...]
    allows: bool
    members: tuple[tuple[Node, HostEndpoint], ...]

    def isolates(self) -> frozenset[Direction]:
        """The directions in which something is denied."""
        return frozenset(d for d in Direction if not self.allows or any(d in p.directions for p in self.policies))


def said_hosts(
    sources: HostSources, context: Context, group_name: GroupName, give_name: Callable[[str], str]
) -> HostsSaid:
    """The host policies for what Calico does with nodes; HostEndpoints that cannot be said have a finding."""
    found = HostsSaid({endpoint.ref: Notes(endpoint.ref, endpoint.at) for endpoint in sources.endpoints})
    for group in _groups(sources, context, found):
        first = group.members[0][1]
        notes = Notes(first.ref, first.at)
        try:
            data = _policy(group, sources, context, notes, group_name, give_name, found)
        except _NotSaidError as reason:
            for node, endpoint in group.members:
                _not_said(found.notes[endpoint.ref], node.name, str(reason), context)
            continue
        for _, endpoint in group.members:
            _note_said(found.notes[endpoint.ref], notes, group, data, sources.felix, context)
            found.said.add(endpoint.ref)
        if data is not None:
            refs = tuple(endpoint.ref for _, endpoint in group.members)
            found.written.append((data, refs, _description(group)))
    return found


def _not_said(notes: Notes, node: str, reason: str, context: Context) -> None:
    notes.find(
        "POL-HOSTENDPOINT",
        f"no host policy was written, since {reason}; what Calico denies to and from node {node} is let through, such "
        f"as 203.0.113.7 -> {node} TCP/10250 where no policy allows it",
        effect=context.changes(Effect.WIDENS),
        on_intent=Effect.WIDENS,
        result=Result.UNSUPPORTED,
    )


def _groups(sources: HostSources, context: Context, found: HostsSaid) -> list[_Group]:
    """Nodes by what holds for them; those that cannot be said are noted."""
    hosts = Hosts(sources.endpoints, (), sources.felix, lambda policies, direction: [])
    members: dict[tuple[tuple[ObjectRef, ...], bool], list[tuple[Node, HostEndpoint]]] = {}
    selecting: dict[tuple[ObjectRef, ...], tuple[CalicoPolicy, ...]] = {}
    nodes = {node.name: node for node in context.cluster.nodes}
    for endpoint in sorted(sources.endpoints, key=lambda endpoint: endpoint.name):
        node = nodes.get(endpoint.node)
        notes = found.notes[endpoint.ref]
        reason = _whole_node(endpoint, node, sources, hosts, complete=context.cluster.complete)
        if reason or node is None:
            _not_said(notes, endpoint.node, reason, context)
            continue
        if hosts.of_node(node) is not endpoint:
            notes.find("POL-HOST-FIREWALL", f"another HostEndpoint of node {node.name} is in force in its place")
            found.said.add(endpoint.ref)
            continue
        policies = tuple(policy for policy in sources.policies if matches(policy.selects_hosts, endpoint))
        refs = tuple(policy.ref for policy in policies)
        selecting[refs] = policies
        members.setdefault((refs, endpoint.allows), []).append((node, endpoint))
    return [_Group(selecting[refs], allows, tuple(those)) for (refs, allows), those in members.items()]


def _whole_node(
    endpoint: HostEndpoint, node: Node | None, sources: HostSources, hosts: Hosts, *, complete: bool
) -> str:
    """Why the HostEndpoint cannot be said by a policy for its whole node; "" when it can."""
    if endpoint.problems:
        return f"{endpoint.problems[0].field} cannot be used"
    if sources.felix.bpf or sources.felix.problems:
        return "FelixConfiguration has settings that change what holds for hosts"
    if not complete:
        return "not everything of the cluster was read"
    if node is None:
        return f"node {endpoint.node} is not in the snapshot"
    if endpoint.interface != ALL_INTERFACES or any(other.fits(node) for other in sources.endpoints):
        return "Calico polices a single interface of the node, and Cilium only whole nodes"
    if any(address.version != 4 for address in node.addresses):
        return "the node has IPv6 addresses, whose neighbour discovery the two treat differently"
    return ""


def _policy(
    group: _Group,
    sources: HostSources,
    context: Context,
    notes: Notes,
    group_name: GroupName,
    give_name: Callable[[str], str],
    found: HostsSaid,
) -> JsonMap | None:
    """The object for the group's nodes; None where Calico denies nothing. Raises _NotSaidError."""
    isolates = group.isolates()
    if not isolates:
        return None
    if context.profile.managed:
        raise _NotSaidError(f"the host firewall of {context.profile.name} cannot be switched on")
    _check_policies(group.policies, sources.tiers)
    subject = _nodes_selector(group, context)
    rules = [
        rule for direction in Direction if direction in isolates for rule in _safe(direction, sources, context, notes)
    ]
    used: set[ObjectRef] = set()
    for policy in group.policies:
        allowed, sets = allow_rules(policy, context, notes, group_name)
        rules += allowed
        used |= {network_set.ref for network_set in sets}
    if notes.result is Result.UNSUPPORTED:
        raise _NotSaidError(notes.findings[-1].detail)
    found.used |= used
    first = group.members[0][1]
    name = give_name(f"host-{first.name}")
    spec = PolicySpec(subject, isolates, tuple(dict.fromkeys(rules)))
    data = render_policy(in_halves(CiliumPolicy(None, name, (spec,), first.ref, first.at, ""), context, notes))
    whole = data["spec"]
    if isinstance(whole, dict):
        data["spec"] = {"nodeSelector": whole.pop("endpointSelector"), **whole}
    return data


def _check_policies(policies: Sequence[CalicoPolicy], tiers: Sequence[Tier]) -> None:
    for policy in policies:
        special = {
            "preDNAT": policy.pre_dnat,
            "doNotTrack": policy.do_not_track,
            "applyOnForward": policy.apply_on_forward,
            "fields that cannot be read": bool(policy.problems),
            "rules that need arithmetic or deny": not policy.problems and not is_plain(policy),
            "named ports": any(isinstance(port, str) for port in _ports(policy)),
        }
        there = next((text for text, is_there in special.items() if is_there), None)
        if there:
            raise _NotSaidError(f"{policy.ref}, which selects it, has {there}")
    if order_decides(policies, tiers):
        raise _NotSaidError("the order of the policies that select it decides")


def _ports(policy: CalicoPolicy) -> Iterable[object]:
    return (
        port
        for direction in Direction
        for rule in policy.rules(direction)
        for end in (rule.source, rule.destination)
        for port in end.ports or ()
    )


def _nodes_selector(group: _Group, context: Context) -> Conjunction:
    """Labels that exactly the group's nodes have. Raises _NotSaidError when no two labels tell them apart."""
    own = [node for node, _ in group.members]
    names = {node.name for node in own}
    others = [frozenset(node.labels.pairs) for node in context.cluster.nodes if node.name not in names]
    if not others:
        return ()
    shared = frozenset.intersection(*(frozenset(node.labels.pairs) for node in own))
    visible = sorted(pair for pair in shared if pod_label_is_visible(context.profile, pair[0]))
    for chosen in (*combinations(visible, 1), *combinations(visible, 2)):
        if not any(set(chosen) <= other for other in others):
            return tuple(Requirement(key, Operator.IN, (value,)) for key, value in chosen)
    text = "no label that Cilium's policies read tells its nodes from others (kubernetes.io/hostname is none of these)"
    raise _NotSaidError(f"{text}: put one on node {', '.join(sorted(names))}")


def _safe(direction: Direction, sources: HostSources, context: Context, notes: Notes) -> list[CiliumRule]:
    """Calico's failsafe ports and what Cilium itself needs."""
    inwards = direction is Direction.INGRESS
    ports = sources.felix.inbound if inwards else sources.felix.outbound
    by_net: dict[Peers, list[Port]] = {}
    for port in ports:
        by_net.setdefault(_failsafe_peers(port, context, notes), []).append(Port(_PROTOCOLS[port.protocol], port.port))
    rules = [CiliumRule(direction, peers, tuple(ports)) for peers, ports in by_net.items() if peers]
    return [*rules, *_NEEDS[direction]]


def _failsafe_peers(port: FailsafePort, context: Context, notes: Notes) -> Peers:
    if port.net is None:
        return ANYONE
    return split_blocks([Block(port.net)], AddressSet.of([port.net]), "failsafe ports", context, notes)


def _note_said(
    notes: Notes, told: Notes, group: _Group, data: JsonMap | None, felix: FelixSettings, context: Context
) -> None:
    """What was written for a HostEndpoint, and where it differs."""
    if data is None:
        notes.find("POL-HOST-FIREWALL", "it denies nothing: no policy selects it, and its profile allows")
        return
    metadata = data["metadata"]
    name = metadata["name"] if isinstance(metadata, dict) else ""
    notes.add(Notes(notes.subject, notes.at, told.result, [], told.assumptions))
    for finding in told.findings:
        notes.find(
            finding.id,
            finding.detail,
            place=finding.field,
            effect=finding.effect,
            on_intent=finding.effect_on_intent,
        )
    text = f"host policy {name} is in force only where Cilium runs with its host firewall (hostFirewall.enabled)"
    notes.find("POL-HOST-FIREWALL", f"{text}; it denies to whole nodes what neither it nor its failsafe ports allow")
    notes.assume("no node is added, and nodes keep their labels")
    isolates = group.isolates()
    ways = "; ".join(_NEEDS_TEXT[d].format(node=group.members[0][0].name) for d in Direction if d in isolates)
    needs = f"it lets through what Calico's policies do not ask for and the cluster needs: {ways}"
    widens = Effect.WIDENS
    notes.find("POL-HOST-NEEDS", needs, effect=context.changes(widens), on_intent=widens, result=Result.CHANGED)
    if Direction.INGRESS in isolates and felix.endpoint_to_host != "Drop":
        detail = (
            "pods that connect to their own node are past Calico's host policies, but not Cilium's: what these do not "
            f"allow to everybody is denied, such as a pod of node {group.members[0][0].name} -> that node TCP/10250"
        )
        narrows = Effect.NARROWS
        notes.find(
            "POL-HOST-OWN-PODS", detail, effect=context.changes(narrows), on_intent=narrows, result=Result.CHANGED
        )


def _description(group: _Group) -> str:
    names = ", ".join(sorted(node.name for node, _ in group.members))
    return f"what Calico's host policies, failsafe ports and Cilium itself need on {names}"


def note_refused(refused: Iterable[str], refs: Iterable[ObjectRef], said: HostsSaid, target: str) -> None:
    """What the target would not take of a host policy, so that it is not written."""
    for text in refused:
        for ref in refs:
            said.said.discard(ref)
            said.notes[ref].find(
                "POL-PROFILE-REFUSES",
                f"{target} would refuse the host policy: {text}",
                effect=Effect.UNKNOWN,
                on_intent=Effect.UNKNOWN,
                result=Result.UNSUPPORTED,
            )
