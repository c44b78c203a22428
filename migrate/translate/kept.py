"""NetworkPolicies that stay as they are: Cilium reads them itself, with the differences listed here.

Facts (measured on Cilium 1.18.8 and 1.20.2): rules that policyTypes leave out isolate all the same; a CIDR is never a
pod or node; up to 1.18 a namespaceSelector of negations admits the world, and in 1.17 and 1.18 ::/0 does in an IPv4
cluster; before 1.20 a named egress port is one number for the whole cluster.
"""

from __future__ import annotations

from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.model.selectors import NEGATIVE, disjuncts, requirements
from migrate.sources.kubernetes import NetworkPolicy, PodPeer, Rule
from migrate.translate.context import Context
from migrate.translate.kubernetes import block_peers, note_sctp_ports, selected_by
from migrate.translate.notes import Notes
from migrate.translate.objects import CiliumPolicy, CiliumRule, Peers, PolicySpec, Port
from migrate.translate.selectors import filtered_labels, possible
from migrate.translate.zero_prefix import outside_blocks


def differences(policy: NetworkPolicy, context: Context) -> list[tuple[Effect, str]]:
    """How the object itself would mean something else under the target, other than by its CIDRs."""
    found: list[tuple[Effect, str]] = [
        (Effect.UNKNOWN, f"Cilium isolates {direction.value} by rules that policyTypes leave out, and admits by them")
        for direction in policy.excluded
    ]
    rules = [(direction, rule) for direction in Direction for rule in policy.rules(direction)]
    found += _hidden(policy, [rule for _, rule in rules], context)
    if context.profile.negative_namespace_selector_admits_world and any(_negative(rule) for _, rule in rules):
        text = f"in {context.profile.name} a namespaceSelector made of negations also admits the outside and nodes"
        found.append((Effect.WIDENS, text))
    families = context.cluster.pod_families
    for block in outside_blocks(policy, context.profile, families):
        if families:
            text = f"in {context.profile.name} {block.cidr} also means every address outside of IPv{min(families)}"
            found.append((Effect.WIDENS, text))
        else:
            text = f"in {context.profile.name} {block.cidr} means every address outside unless both IP versions run"
            found.append((Effect.UNKNOWN, text))
    if not context.profile.named_ports_per_identity and any(_named(*pair) for pair in rules):
        text = f"{context.profile.name} takes a named egress port as one number for the whole cluster"
        found.append((Effect.WIDENS, text))
    return found


def _hidden(policy: NetworkPolicy, rules: list[Rule], context: Context) -> list[tuple[Effect, str]]:
    """Selectors that read labels which Cilium leaves out of identities: a negation then matches every pod."""
    peers = [c for r in rules for peer in r.peers or () if isinstance(peer, PodPeer) for c in selected_by(peer)]
    by_peer = [requirement for c in peers for requirement in filtered_labels(c, context.profile)]
    by_subject = [r for c in disjuncts(policy.subject) for r in filtered_labels(c, context.profile)]
    found: list[tuple[Effect, str]] = []
    for requirement in by_peer:
        text = f"label {requirement.key} is no part of pod identities, so a peer that reads it matches"
        negative = requirement.operator in NEGATIVE
        found.append((Effect.WIDENS, f"{text} every pod") if negative else (Effect.NARROWS, f"{text} no pod"))
    for requirement in by_subject:
        text = f"label {requirement.key} is no part of pod identities, so the policy isolates"
        negative = requirement.operator in NEGATIVE
        found.append((Effect.NARROWS, f"{text} more pods") if negative else (Effect.WIDENS, f"{text} no pod"))
    return found


def _negative(rule: Rule) -> bool:
    for peer in rule.peers or ():
        if isinstance(peer, PodPeer) and peer.namespaces is not None:
            asked = list(requirements(peer.namespaces))
            if asked and all(requirement.operator in NEGATIVE for requirement in asked):
                return True
    return False


def _named(direction: Direction, rule: Rule) -> bool:
    return direction is Direction.EGRESS and any(isinstance(match.port, str) for match in rule.ports or ())


def keep(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    """The policy stays and nothing is written beside it; what Cilium then does otherwise is noted."""
    wanted = Notes(notes.subject, notes.at)
    added = supplement(policy, policy.ref.name, context, wanted)
    if added is not None or wanted.result is Result.CHANGED:
        notes.find(
            "POL-IPBLOCK-PODS",
            "its CIDRs cover pods or nodes today and will not in Cilium; nothing was written, since the policy is kept",
            effect=context.changes(Effect.NARROWS),
            on_intent=Effect.NARROWS,
            result=Result.CHANGED,
        )
    else:
        notes.findings += wanted.findings
        notes.assumptions += wanted.assumptions
    note_sctp(policy, context, notes)
    for effect, text in differences(policy, context):
        notes.find(
            "POL-SOURCE-STAYS",
            f"{text}; the policy is kept, so this will happen",
            effect=context.changes(effect),
            on_intent=effect,
            result=Result.CHANGED,
        )
    if notes.result in (Result.EXACT, Result.EXACT_HERE):
        notes.result = Result.KEPT


def supplement(policy: NetworkPolicy, name: str, context: Context, notes: Notes) -> CiliumPolicy | None:
    """What has to be added beside the policy: the pods and nodes that its CIDRs cover. None when nothing has to."""
    subjects = [c for c in (possible(d) for d in disjuncts(policy.subject)) if c is not None]
    if not subjects:
        return None
    rules: list[CiliumRule] = []
    for direction in Direction:
        for rule in policy.rules(direction):
            found = block_peers(rule, context, notes)
            extra = Peers(endpoints=found.endpoints, entities=found.entities)
            if extra:
                rules.append(CiliumRule(direction, extra, _ports(rule)))
    if not rules:
        return None
    return CiliumPolicy(
        namespace=policy.ref.namespace or "default",
        name=name,
        specs=(PolicySpec(subjects[0], frozenset(), tuple(rules)),),
        source=policy.ref,
        at=policy.at,
        description="only what its CIDRs cover inside the cluster; the NetworkPolicy stays",
    )


def note_sctp(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    """SCTP that the policy allows and the target drops."""
    for direction in Direction:
        for rule in policy.rules(direction):
            note_sctp_ports(rule.ports or (), context, notes)


def _ports(rule: Rule) -> tuple[Port, ...] | None:
    if rule.ports is None:
        return None
    return tuple(Port(match.protocol, 0 if match.port is None else match.port, match.end) for match in rule.ports)
