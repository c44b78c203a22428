"""Rules about the audit before the cutover, the hours of it, and what to look at after."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from migrate.audit.cycles import cron_cycles
from migrate.audit.durations import duration_text
from migrate.model.audit_documents import Audit
from migrate.model.finding import Effect, Finding
from migrate.model.selectors import requirements
from migrate.readiness import limits
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.readiness.route import Route, route_of
from migrate.readiness.seen import for_aks, may_run, minor, target
from migrate.readiness.traffic import hours_of, watched_nodes
from migrate.scan.inventory import engines
from migrate.scan.inventory.look import counted
from migrate.sources.calico import GROUPS as CALICO_GROUPS
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer
from migrate.translate.kinds import is_policy

_HOUR = 3600
_RACING = (1, 18)
_SHOWN = 5
_SEES_POD = ("azure-cni-node-subnet", "azure-cni-pod-subnet")
_ENFORCES = ("policy-none", "overlay", "dataplane")


def _coverage(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    audit = documents.audit
    if audit is None:
        return
    seconds, hours = _seconds(audit), limits.number("audit_hours")
    if seconds < hours * _HOUR:
        yield _found("AUD-COVERAGE", f"it watched for {duration_text(seconds)}, and a day has {hours}h")
    yield from _cycles(documents, seconds)
    if documents.was_read("Node"):
        seen = watched_nodes(audit)
        others = [node.name for node in documents.cluster.nodes if node.name not in seen]
        if others:
            detail = f"{counted(len(others), 'node')} without a recording: {_some(others)}"
            yield _found("AUD-COVERAGE", detail)
    else:
        yield Missing("which nodes have no recording: objects of kind Node, which were not read")
    if audit.balance.lost or audit.losses or not audit.balance.holds:
        lost = audit.balance.lost + sum(loss.count for loss in audit.losses)
        detail = f"{counted(lost, 'record')} lost or not kept, of {audit.balance.new} new flows"
        yield _found("AUD-COVERAGE", detail)
    quiet = sorted(_spaces(documents) - _watched(audit))
    if quiet:
        yield _found("AUD-COVERAGE", f"no pod was watched in {counted(len(quiet), 'namespace')}: {_some(quiet)}")


def _cycles(documents: Documents, seconds: float) -> Iterator[Finding | Missing]:
    if not documents.was_read("CronJob"):
        yield Missing("the longest time between two runs of a CronJob: objects of kind CronJob, which were not read")
        return
    cycles = cron_cycles(documents.by_kind.get("CronJob", ()))
    longest = cycles.longest
    if longest is not None and longest.seconds > seconds:
        detail = f"it watched for {duration_text(seconds)}; {longest.job} ({longest.schedule}) runs every"
        yield Finding(
            id="AUD-COVERAGE", detail=f"{detail} {duration_text(longest.seconds)} at most", subject=longest.job
        )
    yield from (Missing(sentence) for sentence in cycles.unreadable)


def _seconds(audit: Audit) -> float:
    """How long it was recorded."""
    return (hours_of(audit) or 0.0) * _HOUR


def _spaces(documents: Documents) -> set[str]:
    """The namespaces with pods that have a network of their own."""
    return {pod.namespace for pod in documents.cluster.pods if pod.addresses and not pod.host_network}


def _watched(audit: Audit) -> set[str]:
    return {pod.namespace for pod in audit.coverage if pod.namespace is not None and pod.watched_seconds > 0}


def _no_audit_mode(documents: Documents, today: date) -> Iterator[Finding]:
    detail = f"{target(documents).title} cannot run policies without enforcing them"
    yield _found("AUD-NO-CILIUM-AUDIT-MODE", detail)


def _gap(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Steps in which nothing enforces, where something does today."""
    route = route_of(documents)
    yield from (Missing(sentence) for sentence in route.missing)
    policies = sum(is_policy(raw.ref) for raw in documents.objects)
    if route.path in ("unknown", "already-cilium") or not route.engine:
        return
    if not policies:
        if not documents.was_read("NetworkPolicy"):
            yield Missing("whether there are policies: objects of kind NetworkPolicy, which were not read")
        return
    times = f"; all nodes are made anew {route.reimages} times" if route.reimages > 1 else ""
    detail = f"{route.title}: {_unenforced(route)}{times} ({counted(policies, 'policy')} in the cluster)"
    yield Finding(id="CUT-ENFORCEMENT-GAP", detail=detail, effect=Effect.UNKNOWN)


def _unenforced(route: Route) -> str:
    if route.path == "dual-overlay":
        return "nothing is enforced for moved pods until Cilium is told to enforce"
    if route.takes("policy-none"):
        return "nothing is enforced from the step --network-policy none until Cilium runs on all nodes"
    return "a node enforces nothing from its old engine's end until Cilium runs on all nodes"


def _empty_maps(documents: Documents, today: date) -> Iterator[Finding]:
    """The releases for which it was reported, with the policies that look like those of the report."""
    if minor(target(documents).cilium) != _RACING:
        return
    policies = [policy for _, policy in documents.network_policies]
    large = [policy for policy in policies if _looks_large(policy)]
    if policies:
        detail = f"{target(documents).title}; {len(large)} of {counted(len(policies), 'NetworkPolicy')}"
        yield _found("CUT-EMPTY-POLICY-MAP", f"{detail} have many blocks beside a selector of all namespaces")


def _looks_large(policy: NetworkPolicy) -> bool:
    peers = [peer for rule in (*policy.ingress, *policy.egress) for peer in rule.peers or ()]
    blocks = sum(isinstance(peer, BlockPeer) for peer in peers)
    spaces = (peer.namespaces for peer in peers if isinstance(peer, PodPeer) and peer.namespaces is not None)
    return blocks > limits.number("npm_ip_blocks") and any(not list(requirements(asked)) for asked in spaces)


def _post_checks(documents: Documents, today: date) -> Iterator[Finding]:
    detail = "look at the data plane, its pods on every node, drops, services and leftovers after the update"
    yield _found("CUT-POST-CHECKS", detail)


def _source_addresses(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Ways on which others see another address than today for what pods send out of the cluster."""
    route = route_of(documents)
    yield from (Missing(sentence) for sentence in route.missing)
    if route.takes("overlay") and route.cni in _SEES_POD:
        detail = "the network outside sees pod addresses today, and node addresses from the overlay step on"
    elif route.takes("overlay"):
        detail = "pods get addresses of another range, and what is rewritten to node addresses is decided anew"
    elif route.path == "dual-overlay":
        detail = "pods get addresses of another range; Cilium rewrites what leaves it by its own masquerade settings"
    else:
        return
    yield Finding(id="CUT-SNAT", detail=detail, effect=Effect.UNKNOWN)


def _calico_kinds(documents: Documents, today: date) -> Iterator[Finding]:
    """Kinds of Calico that its removal leaves in the API."""
    kinds = documents.header.kinds if documents.header else ()
    groups = {count.api_version.partition("/")[0] for count in kinds if count.status == "read"}
    left = sorted(group for group in groups if group in CALICO_GROUPS or group.endswith("tigera.io"))
    if left and "calico" in engines(documents.header.facts if documents.header else ()):
        yield _found("CUT-CALICO-CRDS", f"kinds of {', '.join(left)} stay in the API when Calico goes")


def _found(identity: str, detail: str) -> Finding:
    return Finding(id=identity, detail=detail)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _on_calico(documents: Documents) -> bool:
    return may_run(documents, "calico")


CHECKS = (
    Check("AUD-COVERAGE", _coverage, needs=(Need.SNAPSHOT, Need.AUDIT)),
    Check("AUD-NO-CILIUM-AUDIT-MODE", _no_audit_mode, concerns=for_aks),
    Check("CUT-ENFORCEMENT-GAP", _gap),
    Check("CUT-EMPTY-POLICY-MAP", _empty_maps, kinds=("NetworkPolicy",), concerns=for_aks),
    Check("CUT-POST-CHECKS", _post_checks, concerns=for_aks),
    Check("CUT-SNAT", _source_addresses),
    Check("CUT-CALICO-CRDS", _calico_kinds, concerns=_on_calico),
)
