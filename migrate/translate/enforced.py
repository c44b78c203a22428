"""Where today's engine enforces something else than the policy's text, so that the move changes flows.

Facts: Azure NPM on Linux, measured with packets (deviations L1 to L13 of its data plane): only forwarded traffic is
checked; negative namespace selectors match the outside; NotIn with several values admits everything; a policy with an
IPv6 block is refused whole.
"""

from __future__ import annotations

from migrate.model.cluster import Service
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.refs import ObjectRef
from migrate.model.selectors import EVERYTHING, NEGATIVE, Operator, disjuncts, matches, requirements
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer, Rule
from migrate.translate.context import Context
from migrate.translate.notes import Notes


def note_policy(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    """Findings for one NetworkPolicy whose enforcement differs from its text today."""
    _note_own_node(policy, context, notes)
    _note_host_network(policy, context, notes)
    if "npm-linux" in context.engines:
        _note_refused(policy, context, notes)
        for direction in Direction:
            for rule in policy.rules(direction):
                _note_negative_namespaces(rule, notes)


def _note_own_node(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    """By the API's text a pod and its own node may always talk; Cilium lets only the node start."""
    rules = policy.rules(Direction.EGRESS)
    if Direction.EGRESS not in policy.directions or any(r.peers is None and r.ports is None for r in rules):
        return
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


def _note_refused(policy: NetworkPolicy, context: Context, notes: Notes) -> None:
    for direction in Direction:
        for rule in policy.rules(direction):
            for peer in rule.peers or ():
                if isinstance(peer, BlockPeer) and peer.cidr.version == 6:
                    notes.find(
                        "POL-NOT-ENFORCED-BY-NPM",
                        f"it has the IPv6 block {peer.cidr}, so Azure NPM refuses it whole and enforces nothing of "
                        "it today; Cilium will",
                        place=peer.field,
                        effect=Effect.NARROWS,
                    )
                    return


def _note_negative_namespaces(rule: Rule, notes: Notes) -> None:
    for peer in rule.peers or ():
        if not isinstance(peer, PodPeer) or peer.namespaces is None or disjuncts(peer.pods) != ((),):
            continue
        asked = list(requirements(peer.namespaces))
        if any(r.operator is Operator.NOT_IN and len(r.values) > 1 for r in asked):
            notes.find(
                "POL-NS-NOTIN-MULTI",
                "Azure NPM reads NotIn with several namespaces as OR, so today everybody gets through this rule, the "
                "outside included; Cilium admits only pods of other namespaces",
                place=peer.field,
                effect=Effect.NARROWS,
            )
        elif asked and all(r.operator in NEGATIVE for r in asked):
            notes.find(
                "POL-NS-NEGATIVE-ONLY",
                "Azure NPM also lets addresses outside the cluster and nodes through a namespaceSelector made of "
                "negations; Cilium admits only pods of other namespaces",
                place=peer.field,
                effect=Effect.NARROWS,
            )


def cluster_findings(policies: list[NetworkPolicy], context: Context) -> list[Finding]:
    """What the move changes for the cluster as a whole."""
    found = service_findings(policies, context)
    if context.profile.cilium is None:
        text = f"no source names the Cilium version of {context.profile.name}"
        found.append(Finding(id="CLU-VERSION-UNKNOWN", detail=text, effect=Effect.UNKNOWN))
    if "npm-linux" in context.engines or "calico" in context.engines:
        text = "connections that stand at the cutover are judged anew by Cilium, today only the first packet is"
        found.append(Finding(id="POL-ESTABLISHED", detail=text, effect=Effect.NARROWS))
    return found


def service_findings(policies: list[NetworkPolicy], context: Context) -> list[Finding]:
    """Services whose outside clients skip today's policy on the entry node and meet it in Cilium."""
    found: list[Finding] = []
    for service in context.cluster.services:
        exposed = service.type in ("NodePort", "LoadBalancer") and service.external_traffic_policy != "Local"
        if exposed and service.selector is not None and _isolating(service, policies, context):
            found.append(_service_finding(service, context))
    return found


def _isolating(service: Service, policies: list[NetworkPolicy], context: Context) -> bool:
    """Whether an ingress policy that does not admit everybody selects a backend of the Service."""
    backends = [
        pod
        for pod in context.pods_by_namespace.get(service.namespace, ())
        if service.selector is not None and service.selector.items() <= pod.labels.items()
    ]
    return any(
        Direction.INGRESS in policy.directions
        and (policy.ref.namespace or "default") == service.namespace
        and not any(rule.peers is None for rule in policy.ingress)
        and any(policy.subject == EVERYTHING or matches(policy.subject, pod) for pod in backends)
        for policy in policies
    )


def _service_finding(service: Service, context: Context) -> Finding:
    return Finding(
        id="SVC-ETP-CLUSTER",
        detail=f"{service.type} with externalTrafficPolicy Cluster: its backends are isolated; outside clients reach "
        "them today where the entry node runs the backend, and are judged by Cilium after the move",
        effect=context.enforced(Effect.NARROWS, "npm-linux", "npm-windows"),
        subject=ObjectRef("v1", "Service", service.namespace, service.name),
        field="spec.externalTrafficPolicy",
    )
