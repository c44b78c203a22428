"""Kubernetes NetworkPolicy to CiliumNetworkPolicy."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Pod
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.model.selectors import Conjunction, disjuncts
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer, PortMatch, Rule
from migrate.translate.blocks import split_blocks
from migrate.translate.context import Context
from migrate.translate.named_ports import resolved
from migrate.translate.notes import Notes
from migrate.translate.objects import ANYONE, Block, CiliumPolicy, CiliumRule, Peers, PolicySpec, Port
from migrate.translate.selectors import filtered_labels, in_namespaces, possible, without_filtered


def translate_policy(policy: NetworkPolicy, name: str, context: Context, notes: Notes) -> CiliumPolicy | None:
    """The CNP that says what the policy's text says; None when nothing may or need be written."""
    subject = subject_of(policy, context, notes)
    if subject is None:
        return None
    _note_directions(policy, context, notes)
    rules = [
        found
        for direction in Direction
        for rule in policy.rules(direction)
        for found in translate_rule(rule, direction, policy, context, notes)
    ]
    return CiliumPolicy(
        namespace=policy.ref.namespace or "default",
        name=name,
        specs=(PolicySpec(subject, policy.directions, tuple(rules)),),
        source=policy.ref,
        at=policy.at,
        description="the same flows by label, address and port",
    )


def subject_of(policy: NetworkPolicy, context: Context, notes: Notes) -> Conjunction | None:
    """The pods that the policy selects; None (and a finding) when Cilium cannot select them, or nobody can be."""
    found = [c for c in (possible(d) for d in disjuncts(policy.subject)) if c is not None]
    if not found:
        notes.find(
            "POL-SELECTS-NOTHING", "its podSelector contradicts itself, so it selects no pod", place="spec.podSelector"
        )
        return None
    hidden = filtered_labels(found[0], context.profile)
    if hidden:
        keys = ", ".join(requirement.key for requirement in hidden)
        notes.find(
            "POL-LABEL-FILTERED",
            f"its podSelector reads {keys}, which Cilium leaves out of pod identities: it would select no pod and "
            "isolate nobody, so nothing was written",
            place="spec.podSelector",
            effect=context.changes(Effect.WIDENS),
            on_intent=Effect.WIDENS,
            result=Result.UNSUPPORTED,
        )
        return None
    return found[0]


def _note_directions(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    for direction in policy.excluded:
        notes.find(
            "POL-TYPES-EXCLUDED",
            f"it has {direction.value} rules that its policyTypes leave out; they were left out here too, but Cilium "
            f"would isolate {direction.value} by the original while that stays in the cluster",
            place=f"spec.{direction.value}",
        )


def translate_rule(
    rule: Rule, direction: Direction, policy: NetworkPolicy, context: Context, notes: Notes
) -> list[CiliumRule]:
    """One or more Cilium rules; none when no peer of it can be said."""
    peers = rule_peers(rule, context, notes)
    if not peers:
        return []
    if rule.ports is None:
        return [CiliumRule(direction, peers)]
    plain, named = _ports(rule.ports, direction, context)
    note_sctp_ports(rule.ports, context, notes)
    found = [CiliumRule(direction, peers, plain)] if plain else []
    for match in named:
        targets = _targets(rule, policy, context)
        found += resolved(str(match.port), match.protocol, targets, match.field, context, notes)
    return found


def _ports(
    matches: Sequence[PortMatch], direction: Direction, context: Context
) -> tuple[tuple[Port, ...], list[PortMatch]]:
    """Ports as Cilium writes them, and those names that the target release cannot look up."""
    plain: list[Port] = []
    named: list[PortMatch] = []
    for match in matches:
        by_name = isinstance(match.port, str) and direction is Direction.EGRESS
        if by_name and not context.profile.named_ports_per_identity:
            named.append(match)
            continue
        end = match.end if match.end is not None and match.end != match.port else None
        plain.append(Port(match.protocol, 0 if match.port is None else match.port, end))
    return tuple(plain), named


def note_sctp_ports(matches: Sequence[PortMatch], context: Context, notes: Notes) -> None:
    """Say that the target drops SCTP, where ports of it are allowed."""
    for match in matches:
        if match.protocol == "SCTP" and not context.profile.sctp:
            notes.find(
                "POL-SCTP",
                f"it allows SCTP, which {context.profile.name} drops whatever policy says (enable-sctp is off)",
                place=match.field,
                effect=context.changes(Effect.NARROWS),
                on_intent=Effect.NARROWS,
                result=Result.CHANGED,
            )


def rule_peers(rule: Rule, context: Context, notes: Notes) -> Peers:
    """All peers of a rule in Cilium's words."""
    if rule.peers is None:
        return ANYONE
    found = Peers(endpoints=tuple(c for peer in rule.peers for c in _endpoints(peer, context, notes)))
    outside = block_peers(rule, context, notes)
    return ANYONE if outside == ANYONE else found | outside


def block_peers(rule: Rule, context: Context, notes: Notes) -> Peers:
    """What the CIDRs of a rule cover together, outside and inside the cluster; nothing when it has none."""
    blocks = [peer for peer in rule.peers or () if isinstance(peer, BlockPeer)]
    if not blocks:
        return Peers()
    written = [Block(block.cidr, block.excepts) for block in blocks]
    return split_blocks(written, block_addresses(rule), blocks[0].field, context, notes)


def block_addresses(rule: Rule) -> AddressSet:
    """The addresses that the CIDRs of a rule cover together."""
    found = AddressSet()
    for peer in rule.peers or ():
        if isinstance(peer, BlockPeer):
            found |= peer.addresses()
    return found


def _endpoints(peer: object, context: Context, notes: Notes) -> list[Conjunction]:
    """Selectors of a pod peer; what reads labels that Cilium hides is left out, with a finding."""
    if not isinstance(peer, PodPeer):
        return []
    found: list[Conjunction] = []
    for conjunction in selected_by(peer):
        hidden = filtered_labels(conjunction, context.profile)
        if not hidden:
            found.append(conjunction)
            continue
        if context.widen:
            found.append(without_filtered(conjunction, context.profile))
        note_filtered_peer(", ".join(r.key for r in hidden), peer.field, context, notes)
    return found


def note_filtered_peer(keys: str, place: str, context: Context, notes: Notes) -> None:
    """Say what became of a peer that reads labels which policy cannot see."""
    effect = Effect.WIDENS if context.widen else Effect.NARROWS
    outcome = (
        "these labels were left out, so more pods are allowed"
        if context.widen
        else ("the peer was left out, so its flows are denied")
    )
    notes.find(
        "POL-LABEL-FILTERED",
        f"the peer reads {keys}, which Cilium leaves out of pod identities; {outcome}",
        place=place,
        effect=context.changes(effect),
        on_intent=effect,
        result=Result.CHANGED,
    )


def selected_by(peer: PodPeer) -> list[Conjunction]:
    """The peer as conjunctions; with a positive namespace requirement unless it stays in its own namespace."""
    found: list[Conjunction] = []
    for pods in disjuncts(peer.pods):
        if peer.namespaces is None:
            combined = possible(pods)
            if combined is not None:
                found.append(combined)
            continue
        for namespaces in disjuncts(peer.namespaces):
            combined = possible((*pods, *namespaces))
            if combined is not None:
                found.append(in_namespaces(combined))
    return found


def _targets(rule: Rule, policy: NetworkPolicy, context: Context) -> list[Pod]:
    """Today's pods that an egress rule reaches, by label or by address."""
    if rule.peers is None:
        return list(context.pods)
    found: dict[str, Pod] = {}
    for peer in rule.peers:
        if isinstance(peer, BlockPeer):
            addresses = peer.addresses()
            pods = [pod for pod in context.pods if all(address in addresses for address in pod.addresses)]
        else:
            own = (policy.ref.namespace or "default") if peer.namespaces is None else None
            pods = [pod for c in selected_by(peer) for pod in context.pods_of(c, own)]
        found |= {str(pod): pod for pod in pods}
    return [found[key] for key in sorted(found)]
