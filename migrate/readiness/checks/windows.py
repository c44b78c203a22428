"""Rules about policies of pods on Windows nodes, as Azure NPM programs them there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from migrate.model.cluster import Pod
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.selectors import EVERYTHING, NEGATIVE, Selector, matches, requirements
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check
from migrate.readiness.seen import may_run
from migrate.scan.inventory.look import counted, dig, text
from migrate.sources.kubernetes import NetworkPolicy, PodPeer
from migrate.sources.kubernetes_engine import in_namespace
from migrate.sources.npm_refusals import linux_refusal, translated_rules, windows_refusal

_WINDOWS = "windows"
_DENIES_BY_DEFAULT = "Windows Server 2025"
_KINDS = ("NetworkPolicy", "Node", "Pod")


def _unsupported(documents: Documents, today: date) -> Iterator[Finding]:
    pods = _windows_pods(documents)
    for raw, policy in documents.network_policies:
        selected, refusal = _selected(policy, pods), _refusal(policy)
        if selected and refusal:
            detail = f"{refusal}, so NPM enforces nothing of it for {_shown(selected)} on Windows"
            yield Finding(id="POL-WIN-UNSUPPORTED", detail=detail, effect=Effect.NARROWS, subject=raw.ref, at=raw.at())


def _inverted(documents: Documents, today: date) -> Iterator[Finding]:
    """Egress peers of policies that NPM takes: of a refused one nothing is programmed, turned around or not."""
    pods = _windows_pods(documents)
    for raw, policy in documents.network_policies:
        selected = _selected(policy, pods)
        if not selected or _refusal(policy):
            continue
        for peer in _negated_egress(policy):
            detail = f"NPM allows {_shown(selected)} on Windows exactly the namespaces that this peer leaves out"
            yield Finding(
                id="POL-WIN-EGRESS-INVERTED",
                detail=detail,
                effect=Effect.UNKNOWN,
                subject=raw.ref,
                field=f"{peer.field}.namespaceSelector",
                at=raw.at(),
            )


def _closed_by_any_rule(documents: Documents, today: date) -> Iterator[Finding]:
    """Nodes on which one ACL is enough to close both directions, and policies that would bring some."""
    policies = [policy for _, policy in documents.network_policies]
    one_way = [policy for policy in policies if len(policy.directions) == 1]
    for raw in documents.by_kind.get("Node", ()):
        system = text(raw, "status", "nodeInfo", "osImage")
        pods = [pod for pod in documents.cluster.pods if pod.node == raw.ref.name and not pod.host_network]
        hit = [policy for policy in one_way if _selected(policy, pods)]
        if _DENIES_BY_DEFAULT in system and hit:
            detail = f"{system}: {counted(len(hit), 'policy')} for one direction may close both for pods here"
            yield Finding(id="WRK-WIN2025-ACL", detail=f"{detail}, such as {hit[0].ref}", subject=raw.ref, at=raw.at())


def _refusal(policy: NetworkPolicy) -> str:
    return windows_refusal(policy, lite=False) or linux_refusal(policy, lite=False)


def _negated_egress(policy: NetworkPolicy) -> Iterator[PodPeer]:
    for direction, rule in translated_rules(policy):
        for peer in rule.peers or ():
            if direction is Direction.EGRESS and isinstance(peer, PodPeer) and _negates(peer.namespaces or EVERYTHING):
                yield peer


def _negates(selector: Selector) -> bool:
    return any(requirement.operator in NEGATIVE for requirement in requirements(selector))


def _windows_pods(documents: Documents) -> list[Pod]:
    """Pods on Windows nodes, and those that wait for one."""
    nodes = {node.name for node in documents.cluster.nodes if node.operating_system == _WINDOWS}
    bound = {
        f"{raw.ref.namespace or 'default'}/{raw.ref.name}"
        for raw in documents.by_kind.get("Pod", ())
        if dig(raw.data, "spec", "nodeSelector", "kubernetes.io/os") == _WINDOWS
    }
    return [pod for pod in documents.cluster.pods if pod.node in nodes or str(pod) in bound]


def _selected(policy: NetworkPolicy, pods: list[Pod]) -> list[Pod]:
    selector = in_namespace(policy.subject, policy.ref.namespace)
    return [pod for pod in pods if not pod.host_network and matches(selector, pod)]


def _shown(pods: list[Pod]) -> str:
    return str(pods[0]) if len(pods) == 1 else f"{len(pods)} pods, such as {pods[0]},"


def _on_windows(documents: Documents) -> bool:
    """NPM and a Windows pool; where either is not known the rule concerns the cluster."""
    known = [fact for fact in documents.header.facts if fact.topic == "windows-pool"] if documents.header else []
    return may_run(documents, "npm-windows", "npm-linux") and any(fact.state != "absent" for fact in known)


def _has_windows(documents: Documents) -> bool:
    known = [fact for fact in documents.header.facts if fact.topic == "windows-pool"] if documents.header else []
    return not known or any(fact.state != "absent" for fact in known)


CHECKS = (
    Check("POL-WIN-UNSUPPORTED", _unsupported, kinds=_KINDS, concerns=_on_windows),
    Check("POL-WIN-EGRESS-INVERTED", _inverted, kinds=_KINDS, concerns=_on_windows),
    Check("WRK-WIN2025-ACL", _closed_by_any_rule, kinds=_KINDS, concerns=_has_windows),
)
