"""The program's translation of a case, through its library entry."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

import msgspec
import yaml

from migrate.model.documents import Result, Translation, TranslationResult
from migrate.model.finding import Effect
from migrate.model.raw import Json, RawObject
from migrate.translate import translate
from migrate.translate.profiles import load_profile
from tests.differential.harness import Claim, Key, Object, Translated, is_policy, key_of
from tests.reference.cases import Case, Node, Pod

Mode: TypeAlias = Literal["rewrite", "supplement", "keep"]
"""What becomes of NetworkPolicies: all are rewritten and deleted, or they stay and get what they lack, or they stay."""


def translate_case(case: Case, target: str, mode: Mode = "rewrite", cluster: Case | None = None) -> Translated:
    """What the case's policies become, with everything that is in force after the move.

    The translation sees the case's own cluster, or `cluster`.
    """
    engines = ("calico",) if case.engine == "calico" else ()
    given = [*cluster_objects(cluster or case), *case.policies]
    objects, translation = translate_objects(given, target, engines, mode)
    claims = {_source(result): _claim(result) for result in translation.results}
    return Translated((*objects, *_staying(case, translation)), claims)


def exact_part(case: Case, target: str, cluster: Case) -> tuple[Case, Translated]:
    """The policies whose translation, seeing another cluster, is said to hold for any pods, and that translation."""
    translated = translate_case(case, target, cluster=cluster)
    inexact = {key for key, claim in translated.claims.items() if claim.result != "exact"}
    policies = tuple(item for item in case.policies if key_of(item) not in inexact or not is_policy(item))
    return msgspec.structs.replace(case, policies=policies), translate_case(
        msgspec.structs.replace(case, policies=policies), target, cluster=cluster
    )


def _source(result: TranslationResult) -> Key:
    source = result.source
    return (source.api_version, source.kind, source.namespace or "", source.name)


def _staying(case: Case, translation: Translation) -> list[Object]:
    """NetworkPolicies that nobody is told to delete."""
    if translation.networkpolicy == "rewrite":
        return []
    replaced = {_source(r) for r in translation.results if any(f.id == "POL-SOURCE-STAYS" for f in r.findings)}
    keep_all = translation.networkpolicy == "keep"
    kubernetes = [item for item in case.policies if item["apiVersion"] == "networking.k8s.io/v1"]
    return [item for item in kubernetes if keep_all or key_of(item) not in replaced]


def _claim(result: TranslationResult) -> Claim:
    """A changed policy is excused in the ways that its findings say, an unsupported one (it is just gone) in both."""
    word = result.result.value
    if result.result is Result.UNSUPPORTED:
        return Claim(word, widens=True, narrows=True)
    effects = {finding.effect_on_intent for finding in result.findings if result.result is Result.CHANGED}
    widens = not effects.isdisjoint({Effect.WIDENS, Effect.UNKNOWN})
    narrows = not effects.isdisjoint({Effect.NARROWS, Effect.UNKNOWN})
    return Claim(word, widens=widens, narrows=narrows)


def translate_objects(
    objects: Sequence[Object], target: str, engines: tuple[str, ...] = (), mode: Mode = "rewrite"
) -> tuple[list[Object], Translation]:
    """The objects that the translation writes, read back from its files, and its document."""
    raw = [RawObject(cast("dict[str, Json]", item)) for item in objects]
    outcome = translate(raw, profile=load_profile(target), engines=engines, networkpolicy=mode)
    emitted = [item for file in outcome.files for item in yaml.safe_load_all(file.text)]
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
