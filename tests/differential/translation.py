"""The program's translation of a case, through its library entry."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, cast

import msgspec
import yaml

from migrate.model.documents import Result, Translation, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import translate
from migrate.translate.profiles import load_profile
from tests.differential.harness import ANYTHING, Claim, Excuse, Key, Object, Reach, Translated, is_policy, key_of
from tests.reference.cases import Case, Node, Pod

Mode: TypeAlias = Literal["rewrite", "supplement"]
"""What becomes of NetworkPolicies: all are rewritten and deleted, or they stay and get what they lack."""


def translate_case(
    case: Case,
    target: str,
    mode: Mode = "rewrite",
    cluster: Case | None = None,
    widen: bool = False,
    ordered: str = "cilium",
) -> Translated:
    """What the case's policies become, with everything that is in force after the move.

    The translation sees the case's own cluster, or `cluster`.
    """
    engines = ("calico",) if case.engine == "calico" else ()
    given = [*cluster_objects(cluster or case), *case.policies]
    objects, translation = translate_objects(given, target, engines, mode, widen, ordered)
    claims = {_source(result): _claim(result) for result in translation.results}
    return Translated((*objects, *_staying(case, translation)), claims)


def exact_part(case: Case, target: str, cluster: Case) -> Case:
    """The case with the policies only whose translation, made for another cluster, is said to hold for any pods."""
    claims = translate_case(case, target, cluster=cluster).claims
    kept = (item for item in case.policies if not is_policy(item) or claims[key_of(item)].result == "exact")
    return msgspec.structs.replace(case, policies=tuple(kept))


def _source(result: TranslationResult) -> Key:
    source = result.source
    return (source.api_version, source.kind, source.namespace or "", source.name)


def _staying(case: Case, translation: Translation) -> list[Object]:
    """NetworkPolicies that nobody is told to delete."""
    if translation.networkpolicy == "rewrite":
        return []
    replaced = {_source(r) for r in translation.results if any(f.id == "POL-SOURCE-STAYS" for f in r.findings)}
    kubernetes = [item for item in case.policies if item["apiVersion"] == "networking.k8s.io/v1"]
    return [item for item in kubernetes if key_of(item) not in replaced]


_REACH: dict[str, Reach] = {
    "POL-IPBLOCK-PODS": "pods",
    "POL-IPBLOCK-NODES": "nodes",
}
"""Which flows a finding is about, where it is not about all that its policy decides."""


def _claim(result: TranslationResult) -> Claim:
    """A changed policy is excused as far as its findings say, an unsupported one, which is just gone, wholly."""
    if result.result is Result.UNSUPPORTED:
        return Claim(result.result.value, ANYTHING)
    if result.result is not Result.CHANGED:
        return Claim(result.result.value)
    findings = (finding for finding in result.findings if finding.id != "POL-EGRESS-OWN-NODE")
    return Claim(result.result.value, frozenset(excuse for finding in findings for excuse in _excuses(finding)))


def _excuses(finding: Finding) -> Iterator[Excuse]:
    """What a finding declares against the policies' text, in the direction of the field that it names."""
    place = finding.field or ""
    egress, ingress = not place.startswith("spec.ingress"), not place.startswith("spec.egress")
    reach: Reach = _REACH.get(finding.id, "any")
    if finding.effect_on_intent in (Effect.WIDENS, Effect.UNKNOWN):
        yield Excuse("widens", egress, ingress, reach)
    if finding.effect_on_intent in (Effect.NARROWS, Effect.UNKNOWN):
        yield Excuse("narrows", egress, ingress, reach)


def translate_objects(
    objects: Sequence[Object],
    target: str,
    engines: tuple[str, ...] = (),
    mode: Mode = "rewrite",
    widen: bool = False,
    ordered: str = "cilium",
) -> tuple[list[Object], Translation]:
    """The objects that the translation writes, read back from its files, and its document.

    The agents of the target are taken to have SCTP support switched on, as those of the engines have: without it
    every SCTP packet is dropped, and there is nothing to compare.
    """
    raw = [RawObject(cast("dict[str, Json]", item)) for item in objects]
    profile = msgspec.structs.replace(load_profile(target), sctp=True)
    outcome = translate(raw, profile=profile, engines=engines, networkpolicy=mode, widen=widen, ordered=ordered)
    emitted = [item for file in outcome.to_apply for item in yaml.safe_load_all(file.text)]
    return emitted, outcome.translation


def cluster_objects(case: Case) -> list[Object]:
    """The case's cluster as objects of the Kubernetes API."""
    found: list[Object] = [_object("v1", "Namespace", n.name, labels=n.labels) for n in case.namespaces]
    found += [_object("v1", "ServiceAccount", a.name, a.namespace, a.labels) for a in case.service_accounts]
    found += [_node(case, node) for node in case.nodes]
    found += [_pod(pod) for pod in case.pods]
    if case.api_server.ips:
        labels = {"kubernetes.io/service-name": "kubernetes"}
        slice_ = _object("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default", labels)
        found.append(slice_ | {"endpoints": [{"addresses": list(case.api_server.ips)}]})
    return found


def _object(version: str, kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name, "labels": labels or {}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _node(case: Case, node: Node) -> Object:
    addresses = [{"type": "InternalIP", "address": ip} for ip in node.ips]
    return _object("v1", "Node", node.name, labels=node.labels) | {
        "spec": {"podCIDRs": _pod_networks(case, node)},
        "status": {"addresses": addresses},
    }


def _pod_networks(case: Case, node: Node) -> list[str]:
    """The block of each family that holds the node's pods."""
    found: dict[int, str] = {}
    for pod in case.pods:
        for ip in pod.ips if pod.node == node.name and not pod.host_network else ():
            version = ipaddress.ip_address(ip).version
            found[version] = str(ipaddress.ip_network(f"{ip}/{24 if version == 4 else 64}", strict=False))
    return [found[version] for version in sorted(found)]


def _pod(pod: Pod) -> Object:
    ports = [{"name": p.name, "protocol": p.protocol, "containerPort": p.port} for p in pod.named_ports]
    spec = {
        "nodeName": pod.node,
        "serviceAccountName": pod.service_account,
        "hostNetwork": pod.host_network,
        "containers": [{"name": "main", "ports": ports}],
    }
    status = {"phase": "Running", "podIP": pod.ips[0], "podIPs": [{"ip": ip} for ip in pod.ips]}
    return _object("v1", "Pod", pod.name, pod.namespace, pod.labels) | {"spec": spec, "status": status}
