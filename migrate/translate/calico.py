"""Calico policies of Allow rules in the default tier, to CNP and CCNP, policy by policy.

With only Allow rules in one tier order does not matter: Calico admits the union, as Cilium does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Pod
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.selectors import And, Conjunction, Operator, Requirement, Selector, matches
from migrate.sources.calico import HOST_ENDPOINT, CalicoPolicy, CalicoRule, EntityMatch, NetworkSet, PortRange
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.blocks import split_blocks
from migrate.translate.calico_selectors import hidden_keys, pod_conjunctions
from migrate.translate.context import Context
from migrate.translate.kubernetes import note_filtered_peer
from migrate.translate.named_ports import resolved
from migrate.translate.notes import Notes
from migrate.translate.objects import ANYONE, Block, CiliumPolicy, CiliumRule, IcmpType, Peers, PolicySpec, Port
from migrate.translate.selectors import in_namespaces, narrowed_to, without_filtered

GroupName = Callable[[NetworkSet], str]
_PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")
_ICMP_FAMILY = {"ICMP": "IPv4", "ICMPv6": "IPv6"}


@dataclass(frozen=True, slots=True)
class CalicoTranslation:
    """The policy to write, and the network sets that it refers to by their CIDR groups."""

    policy: CiliumPolicy
    groups: tuple[NetworkSet, ...]


class _Scribe:
    """Translates one policy; notes go to `notes`, network sets that rules refer to are gathered in `groups`."""

    def __init__(self, policy: CalicoPolicy, context: Context, notes: Notes, group_name: GroupName) -> None:
        self.policy = policy
        self.context = context
        self.notes = notes
        self.group_name = group_name
        self.groups: dict[str, NetworkSet] = {}

    def translate(self, name: str) -> CalicoTranslation | None:
        subjects = policy_subjects(self.policy, self.context, self.notes)
        if not subjects:
            return None
        rules, groups = self.rules()
        if self.notes.result is Result.UNSUPPORTED:
            return None
        written = CiliumPolicy(
            namespace=self.policy.namespace,
            name=name,
            specs=tuple(PolicySpec(subject, self.policy.directions, tuple(rules)) for subject in subjects),
            source=self.policy.ref,
            at=self.policy.at,
            description="the same flows by label, address and port",
        )
        return CalicoTranslation(written, groups)

    def rules(self) -> tuple[list[CiliumRule], tuple[NetworkSet, ...]]:
        """All rules, and the network sets that they refer to."""
        self._note_logs()
        found = [
            written
            for direction in Direction
            for rule in self.policy.rules(direction)
            for written in self._rule(rule, direction)
        ]
        return found, tuple(self.groups[key] for key in sorted(self.groups))

    def _note_logs(self) -> None:
        for rule in (rule for direction in Direction for rule in self.policy.rules(direction)):
            note_log(rule, self.notes)

    def _rule(self, rule: CalicoRule, direction: Direction) -> list[CiliumRule]:
        if rule.action == "Log":
            return []
        other = rule.source if direction is Direction.INGRESS else rule.destination
        peers = self._peers(other)
        if not peers:
            return []
        if rule.icmp is not None and rule.icmp.type is not None:
            kind = IcmpType(_ICMP_FAMILY[rule.protocol or "ICMP"], rule.icmp.type)
            return [CiliumRule(direction, peers, icmp=(kind,))]
        ports = rule.destination.ports
        if rule.protocol is None and not ports:
            return [CiliumRule(direction, peers)]
        self._note_sctp(rule)
        return self._with_ports(rule, direction, peers, other)

    def _with_ports(self, rule: CalicoRule, direction: Direction, peers: Peers, other: EntityMatch) -> list[CiliumRule]:
        protocol = rule.protocol or ""
        if not rule.destination.ports:
            return [CiliumRule(direction, peers, (Port(protocol, 0),))]
        looked_up = direction is Direction.EGRESS and not self.context.profile.named_ports_per_identity
        plain = tuple(
            _port(protocol, match) for match in rule.destination.ports if not (isinstance(match, str) and looked_up)
        )
        found = [CiliumRule(direction, peers, plain)] if plain else []
        for name in rule.destination.ports:
            if isinstance(name, str) and looked_up:
                targets = self._targets(other)
                found += resolved(name, protocol, targets, rule.destination.field, self.context, self.notes)
        return found

    def _note_sctp(self, rule: CalicoRule) -> None:
        if rule.protocol == "SCTP" and not self.context.profile.sctp:
            self.notes.find(
                "POL-SCTP",
                f"it allows SCTP, which {self.context.profile.name} drops whatever policy says (enable-sctp is off)",
                place=rule.field,
                effect=self.context.changes(Effect.NARROWS),
                on_intent=Effect.NARROWS,
                result=Result.CHANGED,
            )

    def _peers(self, entity: EntityMatch) -> Peers:
        if entity.nets:
            blocks = [Block(net) for net in entity.nets]
            return split_blocks(blocks, AddressSet.of(entity.nets), entity.field, self.context, self.notes)
        if not entity.is_labelled(None):
            return ANYONE
        found = Peers(endpoints=self._endpoints(entity))
        wanted = And(entity.terms(self.policy.namespace))
        sets = [network_set for network_set in self.context.sets if matches(wanted, network_set)]
        hosts = [network_set for network_set in sets if network_set.ref.kind == HOST_ENDPOINT]
        if hosts:
            what = "its flows with that node are denied"
            _note_hosts(hosts, entity.field, Effect.NARROWS, what, self.context, self.notes)
        sets = [network_set for network_set in sets if network_set not in hosts and self._usable(network_set, entity)]
        return found | self._set_peers(sets, entity) if sets else found

    def _usable(self, network_set: NetworkSet, entity: EntityMatch) -> bool:
        """Whether all addresses of a set could be read; one that could not be is left out, with a finding."""
        if network_set.problems:
            self.notes.find(
                "POL-NETWORKSET",
                f"the selector matches {network_set.ref}, which has fields that cannot be used; it was left out, so "
                "flows with its addresses are denied",
                place=entity.field,
                effect=self.context.changes(Effect.NARROWS),
                on_intent=Effect.NARROWS,
                result=Result.CHANGED,
            )
        return not network_set.problems

    def _endpoints(self, entity: EntityMatch) -> tuple[Conjunction, ...]:
        found = pod_conjunctions(entity.terms(self.policy.namespace), entity.field, self.context, self.notes)
        kept: list[Conjunction] = []
        for conjunction in found or ():
            keys = hidden_keys([conjunction], self.context)
            if not keys:
                kept.append(self._shortened(conjunction))
                continue
            if self.context.widen:
                kept.append(self._shortened(without_filtered(conjunction, self.context.profile)))
            note_filtered_peer(keys, entity.field, self.context, self.notes)
        return tuple(kept)

    def _shortened(self, conjunction: Conjunction) -> Conjunction:
        """Without the policy's own namespace, which a CNP adds to a peer that reads no namespace label."""
        own = Requirement(NAMESPACE_NAME, Operator.IN, (self.policy.namespace or "",), Scope.NAMESPACE)
        rest = tuple(r for r in conjunction if r != own)
        if self.policy.namespace and len(rest) < len(conjunction) and all(r.scope is not Scope.NAMESPACE for r in rest):
            return rest
        return in_namespaces(conjunction)

    def _set_peers(self, sets: Iterable[NetworkSet], entity: EntityMatch) -> Peers:
        blocks: list[Block] = []
        addresses = AddressSet()
        for network_set in sets:
            name = self.group_name(network_set)
            self.groups[name] = network_set
            blocks.append(Block(None, group=name))
            addresses |= AddressSet.of(network_set.nets)
        self.notes.assume("network sets keep their labels")
        return split_blocks(blocks, addresses, entity.field, self.context, self.notes)

    def _targets(self, entity: EntityMatch) -> list[Pod]:
        """Today's pods that one end of a rule means."""
        if entity.nets:
            addresses = AddressSet.of(entity.nets)
            return [pod for pod in self.context.pods if all(address in addresses for address in pod.addresses)]
        if not entity.is_labelled(None):
            return list(self.context.pods)
        selector = And(entity.terms(self.policy.namespace))
        return [pod for pod in self.context.pods if matches(selector, pod)]


def is_plain(policy: CalicoPolicy) -> bool:
    """Whether each rule of the policy can be said by itself: it allows, and has no field that needs arithmetic."""
    for direction in Direction:
        for rule in policy.rules(direction):
            ingress = direction is Direction.INGRESS
            own, other = (rule.destination, rule.source) if ingress else (rule.source, rule.destination)
            if rule.action != "Log" and (rule.action != "Allow" or _unsaid(rule, own, other, direction)):
                return False
    return True


def note_log(rule: CalicoRule, notes: Notes) -> None:
    """Say that a Log rule is gone."""
    if rule.action == "Log":
        notes.find("POL-LOG", "the Log rule was left out: it decides nothing", place=rule.field, at=rule.at)


def policy_subjects(policy: CalicoPolicy, context: Context, notes: Notes) -> tuple[Conjunction, ...] | None:
    """The pods that a policy selects, for a CNP without its namespace; None (and a finding) when it cannot be said."""
    terms = [policy.selector, policy.namespace_selector, policy.account_selector]
    given = [term for term in terms if term is not None]
    found = pod_conjunctions(given, "spec.selector", context, notes)
    if found is None:
        return None
    keys = hidden_keys(found, context)
    if keys:
        notes.find(
            "POL-LABEL-FILTERED",
            f"its selector reads {keys}, which Cilium leaves out of pod identities: it would select other pods "
            "than today, so nothing was written",
            place="spec.selector",
            effect=Effect.UNKNOWN,
            on_intent=Effect.UNKNOWN,
            result=Result.UNSUPPORTED,
        )
        return None
    if policy.namespace:
        inside = [narrowed_to(conjunction, policy.namespace) for conjunction in found]
        found = tuple(conjunction for conjunction in inside if conjunction is not None)
    else:
        _note_subject_hosts(given, context, notes)
        # Without this a CCNP would also select Cilium's own health and ingress endpoints.
        found = tuple(in_namespaces(conjunction) for conjunction in found)
    if not found:
        effect = Effect.UNKNOWN if notes.assumptions else Effect.NONE
        text = "its selectors select no pod"
        notes.find("POL-SELECTS-NOTHING", text, place="spec.selector", effect=effect, on_intent=effect)
    return found


def _note_subject_hosts(terms: Sequence[Selector], context: Context, notes: Notes) -> None:
    """A global policy also holds for the HostEndpoints that it selects."""
    hosts = [s for s in context.sets if s.ref.kind == HOST_ENDPOINT and matches(And(tuple(terms)), s)]
    hosts = [host for host in hosts if host.ref not in context.hosts_said]
    if hosts:
        what = "it is not protected by the translated policy"
        _note_hosts(hosts, "spec.selector", Effect.WIDENS, what, context, notes)


def _note_hosts(
    hosts: Sequence[NetworkSet], place: str, effect: Effect, what: str, context: Context, notes: Notes
) -> None:
    notes.find(
        "POL-HOSTENDPOINT",
        f"the selector also matches HostEndpoint {hosts[0].name}, which Cilium knows only as a node: {what}",
        place=place,
        effect=context.changes(effect),
        on_intent=effect,
        result=Result.CHANGED,
    )


def translate_calico(
    policy: CalicoPolicy, name: str, context: Context, notes: Notes, group_name: GroupName
) -> CalicoTranslation | None:
    """The CNP or CCNP that admits what the policy's Allow rules admit; None (and findings) when it cannot be said."""
    return _Scribe(policy, context, notes, group_name).translate(name)


def allow_rules(
    policy: CalicoPolicy, context: Context, notes: Notes, group_name: GroupName
) -> tuple[list[CiliumRule], tuple[NetworkSet, ...]]:
    """What a plain policy allows to whatever it selects, and the network sets that its rules refer to."""
    return _Scribe(policy, context, notes, group_name).rules()


def _unsaid(rule: CalicoRule, own: EntityMatch, other: EntityMatch, direction: Direction) -> list[str]:
    """Fields of a rule that are not translated, as people write them."""
    own_name, other_name = ("destination", "source") if direction is Direction.INGRESS else ("source", "destination")
    found = [
        f"{other_name}.{name}" for name in other.used() if name in ("notSelector", "notNets", "notPorts", "services")
    ]
    if other.nets and other.is_labelled(None):
        found.append(f"{other_name}.nets beside a selector")
    allowed = ("ports",) if direction is Direction.INGRESS else ()
    found += [f"{own_name}.{name}" for name in own.used() if name not in allowed]
    if direction is Direction.INGRESS and other.ports:
        found.append("source.ports")
    parts = {"notProtocol": rule.not_protocol, "notICMP": rule.not_icmp, "ipVersion": rule.ip_version}
    found += [name for name, value in parts.items() if value is not None]
    if rule.has_http:
        found.append("http")
    return found + _unsaid_protocol(rule)


def _unsaid_protocol(rule: CalicoRule) -> list[str]:
    if rule.icmp is not None:
        if rule.icmp.code is not None:
            return ["icmp.code"]
        if rule.icmp.type in (None, 0) or rule.protocol not in _ICMP_FAMILY:
            return [f"icmp type {rule.icmp.type} of protocol {rule.protocol}"]
        return []
    if rule.protocol is not None and rule.protocol not in _PORT_PROTOCOLS:
        return [f"protocol {rule.protocol}"]
    return []


def _port(protocol: str, match: PortRange | str) -> Port:
    """One port as Cilium writes it."""
    if isinstance(match, str):
        return Port(protocol, match)
    return Port(protocol, match.low, match.high if match.high > match.low else None)
