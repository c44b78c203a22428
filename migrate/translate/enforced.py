"""Where today's engine enforces something else than the policy's text, so that the move changes flows.

Facts: Azure NPM on Linux, measured with packets (deviations L1 to L13 of its data plane): only forwarded traffic is
checked; negative namespace selectors match the outside; NotIn with several values admits everything; a policy with an
IPv6 block is refused whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.selectors import And, matches
from migrate.sources.calico import CalicoPolicy
from migrate.sources.kubernetes import NetworkPolicy, PodPeer, Rule
from migrate.sources.npm_refusals import linux_refusal, odd_values
from migrate.translate import exposed
from migrate.translate.context import Context
from migrate.translate.kubernetes import block_peers
from migrate.translate.notes import Notes
from migrate.translate.npm_peers import opening
from migrate.translate.objects import ANYONE


def refusal(policy: NetworkPolicy, raw: RawObject, context: Context) -> str:
    """Why NPM refuses a policy whole and enforces nothing of it; empty when it does not."""
    if "npm-linux" not in context.engines:
        return ""
    return odd_values([raw]).get(raw.ref) or linux_refusal(policy, lite=False)


def note_policy(policy: NetworkPolicy, refused: str, context: Context, notes: Notes) -> None:
    """Findings for one NetworkPolicy whose enforcement differs from its text today; `refused` says why NPM refuses."""
    if leaves_own_node(policy, context):
        _note_own_node(context, notes)
    _note_host_network(policy, context, notes)
    if refused:
        text = f"{refused}, so Azure NPM refuses the policy whole and enforces nothing of it today; Cilium will"
        notes.find("POL-NOT-ENFORCED-BY-NPM", text, place="spec", effect=Effect.NARROWS)
    elif "npm-linux" in context.engines:
        for direction in Direction:
            for rule in policy.rules(direction):
                _note_negative_namespaces(rule, notes)


def leaves_own_node(policy: NetworkPolicy, context: Context) -> bool:
    """Whether the policy isolates egress and no rule of it lets its pods reach their own node on all ports."""
    wide = [rule for rule in policy.rules(Direction.EGRESS) if rule.ports is None]
    return Direction.EGRESS in policy.directions and not any(_covers_host(rule, policy, context) for rule in wide)


def _covers_host(rule: Rule, policy: NetworkPolicy, context: Context) -> bool:
    if rule.peers is None:
        return True
    found = block_peers(rule, context, Notes(policy.ref, policy.at))
    return found == ANYONE or "host" in found.entities


def same_namespace(one: NetworkPolicy, other: NetworkPolicy) -> bool:
    """Whether both are in one namespace; where none is written it is "default"."""
    return (one.ref.namespace or "default") == (other.ref.namespace or "default")


def _note_own_node(context: Context, notes: Notes) -> None:
    """By the API's text a pod and its own node may always talk; Cilium lets only the node start."""
    notes.find(
        "POL-EGRESS-OWN-NODE",
        "it isolates egress: connections from its pods to their own node (node-local DNS, kubelet, agents on host "
        "ports) are denied unless a rule allows them",
        place="spec.egress",
        effect=context.enforced(Effect.NARROWS, "npm-linux", "npm-windows"),
        on_intent=Effect.NARROWS,
    )


def _note_host_network(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    """Pods on the host's network are their node for every engine: no selector finds them."""
    own = policy.ref.namespace or "default"
    selected = [pod for pod in context.host_pods if pod.namespace == own and matches(policy.subject, pod)]
    if selected:
        text = f"its podSelector matches {selected[0]} on the host's network, for which no policy holds, then as now"
        notes.find("POL-HOSTNET-SUBJECT", text, place="spec.podSelector")
    for direction in Direction:
        for rule in policy.rules(direction):
            for peer in rule.peers or ():
                if isinstance(peer, PodPeer):
                    _note_host_peer(peer, own, context, notes)


def _note_host_peer(peer: PodPeer, own: str, context: Context, notes: Notes) -> None:
    for pod in context.host_pods:
        inside = pod.namespace == own if peer.namespaces is None else matches(peer.namespaces, pod)
        if inside and matches(peer.pods, pod):
            text = (
                f"the selector matches {pod} on the host's network, whose flows it does not admit, today or in Cilium"
            )
            notes.find("POL-HOSTNET-PEER", text, place=peer.field)
            return


def _note_negative_namespaces(rule: Rule, notes: Notes) -> None:
    for peer in rule.peers or ():
        opened = opening(peer) if isinstance(peer, PodPeer) else None
        if opened is None:
            continue
        text = (
            "Azure NPM also lets addresses outside the cluster and nodes through a namespaceSelector made of "
            "negations; Cilium admits only pods of other namespaces"
        )
        if opened.pods is not None:
            also = "everybody gets" if opened.everybody else "pods of these namespaces get"
            outside = ", the outside included" if opened.outside else ""
            text = (
                f"Azure NPM reads NotIn with several namespaces as OR, so today {also} through this rule{outside}; "
                "Cilium admits only pods of other namespaces"
            )
        notes.find(opened.finding_id, text, place=peer.field, effect=Effect.NARROWS)


def cluster_findings(
    policies: Sequence[NetworkPolicy],
    refused: Collection[ObjectRef],
    context: Context,
    others: Iterable[CalicoPolicy] = (),
) -> list[Finding]:
    """What the move changes for the cluster as a whole; NPM refuses the `refused` policies, `others` are Calico's."""
    enforced = [policy for policy in policies if policy.ref not in refused]
    services = {item.ref: item for item in exposed.exposed_services(enforced, context)}
    if "calico" in context.engines:
        services |= {item.ref: item for item in exposed.services_behind_calico(others, context)}
    found = [exposed.finding(item, context) for item in services.values()]
    found += [
        finding for policy in policies if policy.ref in refused for finding in _joining(policy, enforced, context)
    ]
    if context.profile.cilium is None:
        text = f"no source names the Cilium version of {context.profile.name}"
        found.append(Finding(id="CLU-VERSION-UNKNOWN", detail=text, effect=Effect.UNKNOWN))
    if "npm-linux" in context.engines or "calico" in context.engines:
        text = "connections that stand at the cutover are judged anew by Cilium, today only the first packet is"
        found.append(Finding(id="POL-ESTABLISHED", detail=text, effect=Effect.NARROWS))
    return found


def _joining(policy: NetworkPolicy, enforced: Sequence[NetworkPolicy], context: Context) -> Iterator[Finding]:
    """Allows of a refused policy that come into force for pods which other policies isolate today."""
    beside = [other for other in enforced if same_namespace(other, policy)]
    for direction in Direction:
        if not policy.rules(direction):
            continue
        both = [And((policy.subject, other.subject)) for other in beside if direction in other.directions]
        pods = context.neighbours.get(policy.ref.namespace or "default", ())
        found = next((pod for pod in pods if any(matches(selector, pod) for selector in both)), None)
        if found is not None:
            yield Finding(
                id="POL-REFUSED-JOINS",
                detail=f"NPM refuses it; for {found} and others, which other policies isolate today, Cilium adds its "
                f"{direction.value} allows to theirs",
                effect=Effect.WIDENS,
                subject=policy.ref,
                field=f"spec.{direction.value}",
                at=policy.at,
            )
