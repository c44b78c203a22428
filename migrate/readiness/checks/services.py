"""Rules about services: who gets in from outside, and what took kube-proxy for granted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date

from migrate.model.cluster import Pod
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.readiness.aks import limits, release_of, versions
from migrate.readiness.azure import managed_cluster
from migrate.readiness.checks.concern import VERSION_UNKNOWN, kubernetes_version, to_any_cilium, to_managed_cilium
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.readiness.policed import KINDS, isolating
from migrate.scan.inventory.look import dig, items, label, number, text, texts
from migrate.translate.profiles import load_profile

_OPEN = ("LoadBalancer", "NodePort")
_RANGES = (
    "service.beta.kubernetes.io/azure-allowed-ip-ranges",
    "service.beta.kubernetes.io/load-balancer-source-ranges",
)
_TAGS = "service.beta.kubernetes.io/azure-allowed-service-tags"
_PROBE = "service.beta.kubernetes.io/azure-load-balancer-health-probe-"
_PROXY = "kube-proxy"
_PROXY_LABELS = ("k8s-app", "component", "app", "app.kubernetes.io/name")


def check_cluster_policy(documents: Documents, today: date) -> Iterator[Finding]:
    """What the translation says of services whose clients are checked otherwise than today."""
    translation = documents.translation
    if translation is not None:
        said = [*translation.findings, *(finding for result in translation.results for finding in result.findings)]
        yield from (finding for finding in said if finding.id == "SVC-ETP-CLUSTER")


def check_source_ranges(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Services with ranges of clients, and those whose clients policies try to tell apart."""
    bare: list[RawObject] = []
    for raw in documents.by_kind.get("Service", ()):
        if text(raw, "spec", "type") == "LoadBalancer":
            listed = texts(raw, "spec", "loadBalancerSourceRanges")
            noted = [text(raw, "metadata", "annotations", key) for key in (*_RANGES, _TAGS)]
            said = [*listed, *filter(None, noted)]
            if said:
                yield _ranges(raw, f"its clients are limited to {', '.join(said)}: this stays in force", "")
            elif text(raw, "spec", "externalTrafficPolicy") != "Local":
                bare.append(raw)
    yield from _restricted(documents, bare)


def _restricted(documents: Documents, services: list[RawObject]) -> Iterator[Finding | Missing]:
    lacking = list(_unread(documents)) if services else []
    yield from lacking
    policies = isolating(documents) if services and not lacking else None
    for raw in services if policies is not None else ():
        if policies is not None and any(policies.names_clients(pod) for pod in _backends(raw, documents)):
            detail = (
                "it lists no ranges of clients, and policies of its pods do: with externalTrafficPolicy Cluster these "
            )
            yield _ranges(raw, detail + "need not see the client's address", "spec.externalTrafficPolicy")


def _ranges(raw: RawObject, detail: str, field: str) -> Finding:
    place = field or "spec.loadBalancerSourceRanges"
    return Finding(id="SVC-LB-SOURCE-RANGES", detail=detail, subject=raw.ref, field=place, at=raw.at("spec"))


def check_health_probes(documents: Documents, today: date) -> Iterator[Finding]:
    """Services whose balancer asks nodes for their health, and those with probes of the owner's."""
    for raw in documents.by_kind.get("Service", ()):
        if text(raw, "spec", "type") != "LoadBalancer":
            continue
        annotations = dig(raw.data, "metadata", "annotations")
        custom = sorted(key for key in annotations if key.startswith(_PROBE)) if isinstance(annotations, dict) else []
        said = []
        if text(raw, "spec", "externalTrafficPolicy") == "Local":
            port = number(raw, "spec", "healthCheckNodePort")
            said.append(
                f"the balancer asks each node on port {port or 'healthCheckNodePort'} whether a backend runs there"
            )
        said += [f"{key.removeprefix('service.beta.kubernetes.io/')} is set" for key in custom]
        if said:
            yield Finding(id="SVC-HEALTH-PROBE", detail="; ".join(said), subject=raw.ref, at=raw.at("spec"))


def check_both_protocols(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A port of nodes that is used with TCP and with UDP, on a Cilium that cannot."""
    version = _cilium(documents)
    if isinstance(version, Missing):
        yield version
        return
    least = limits().host_port_cilium
    release, enough = release_of(version), release_of(least.value)
    if release is None or enough is None or release >= enough:
        return
    for what, used in (("host port", _host_ports(documents)), ("node port", _node_ports(documents))):
        for port, by_protocol in sorted(used.items()):
            if {"TCP", "UDP"} <= by_protocol.keys():
                first, second = by_protocol["TCP"], by_protocol["UDP"]
                detail = (
                    f"{what} {port} is used with TCP by {first.ref} and with UDP by {second.ref}, and Cilium {version} "
                )
                detail += f"keeps one of them (from {least.value} on both)"
                yield Finding(id="SVC-HOSTPORT-DUAL-PROTO", detail=detail, effect=Effect.NARROWS, subject=first.ref)


def _cilium(documents: Documents) -> str | Missing:
    """The oldest Cilium that the target may have."""
    if documents.translation is not None:
        version = load_profile(documents.translation.target).cilium
        return version or Missing(f"the Cilium version of {documents.translation.target}, which no document names")
    known = kubernetes_version(documents)
    if known is None:
        return VERSION_UNKNOWN
    table = versions().versions
    oldest = release_of(table[0].kubernetes)
    row = table[0] if oldest is not None and known[1] < oldest else versions().find(known[1])
    named = [row.cilium, *(old.cilium for old in row.superseded)] if row is not None else []
    found = next((version for version in named if version), None)
    return found or Missing(f"the Cilium version of AKS with Kubernetes {known[0]}, which no document names")


def _host_ports(documents: Documents) -> Mapping[int, dict[str, RawObject]]:
    """The pods that take a port of their node, by port and protocol; pods on the node's network need no mapping."""
    found: dict[int, dict[str, RawObject]] = defaultdict(dict)
    for raw in documents.by_kind.get("Pod", ()):
        if dig(raw.data, "spec", "hostNetwork") is True:
            continue
        for kind in ("containers", "initContainers"):
            for container in items(dig(raw.data, "spec", kind)):
                for port in items(dig(container, "ports")):
                    taken = dig(port, "hostPort")
                    if isinstance(taken, int) and taken:
                        found[taken].setdefault(str(dig(port, "protocol") or "TCP"), raw)
    return found


def _node_ports(documents: Documents) -> Mapping[int, dict[str, RawObject]]:
    found: dict[int, dict[str, RawObject]] = defaultdict(dict)
    for raw in documents.by_kind.get("Service", ()):
        for port in items(dig(raw.data, "spec", "ports")):
            taken = dig(port, "nodePort")
            if isinstance(taken, int) and taken:
                found[taken].setdefault(str(dig(port, "protocol") or "TCP"), raw)
    return found


def check_kube_proxy(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A kube-proxy that somebody configured, and what asks it for its state."""
    yield from _proxy_settings(documents)
    ports = limits().kube_proxy_ports.value
    for raw in documents.by_kind.get("Service", ()):
        asked = [port for port in _targets(raw) if port in ports]
        if asked or _selects_proxy(raw):
            what = f"port {asked[0]}, which is kube-proxy's" if asked else "the pods of kube-proxy"
            detail = f"it leads to {what}; there is no kube-proxy after the update"
            yield Finding(id="SVC-KUBE-PROXY-CONFIG", detail=detail, subject=raw.ref, at=raw.at("spec"))
    if not documents.was_read("Service"):
        yield Missing("objects of kind Service, which were not read")


def _proxy_settings(documents: Documents) -> Iterator[Finding | Missing]:
    cluster = managed_cluster(documents)
    facts = [fact for fact in documents.header.facts if fact.topic == "kube-proxy-mode"] if documents.header else []
    for fact in facts:
        if fact.state == "unknown":
            yield Missing(f"the mode of kube-proxy: {fact.detail}")
        elif fact.state == "active" and fact.value != "iptables":
            shown = f" ({fact.evidence[0].object}, {fact.evidence[0].field})" if fact.evidence else ""
            yield Finding(id="SVC-KUBE-PROXY-CONFIG", detail=f"kube-proxy runs in mode {fact.value}{shown}")
    if cluster is not None and cluster.proxy_off:
        detail = "AKS's kube-proxy is switched off: something else serves its place today"
        subject, field = cluster.raw.ref, "networkProfile.kubeProxyConfig.enabled"
        yield Finding(id="SVC-KUBE-PROXY-CONFIG", detail=detail, subject=subject, field=field)


def _targets(raw: RawObject) -> Iterator[int]:
    for port in items(dig(raw.data, "spec", "ports")):
        for key in ("targetPort", "port"):
            value = dig(port, key)
            if isinstance(value, int):
                yield value


def _selects_proxy(raw: RawObject) -> bool:
    return any(text(raw, "spec", "selector", key) == _PROXY for key in _PROXY_LABELS) or label(raw, "k8s-app") == _PROXY


def check_external_addresses(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Services with external addresses whose backends are isolated."""
    services = [raw for raw in documents.by_kind.get("Service", ()) if texts(raw, "spec", "externalIPs")]
    lacking = list(_unread(documents)) if services else []
    yield from lacking
    policies = isolating(documents) if services and not lacking else None
    for raw in services if policies is not None else ():
        if policies is not None and any(policies.isolates(pod) for pod in _backends(raw, documents)):
            listed = ", ".join(texts(raw, "spec", "externalIPs"))
            detail = f"clients come in by {listed}, and policies isolate its pods: Cilium checks these clients as well"
            field, at = "spec.externalIPs", raw.at("spec", "externalIPs")
            subject = raw.ref
            yield Finding(
                id="SVC-EXTERNAL-IPS", detail=detail, effect=Effect.UNKNOWN, subject=subject, field=field, at=at
            )


def _unread(documents: Documents) -> Iterator[Missing]:
    """What is lacking to say which backends are isolated."""
    if not documents.was_read("Pod"):
        yield Missing("objects of kind Pod, which were not read")
    if not any(documents.was_read(kind) for kind in KINDS):
        yield Missing("objects of kind NetworkPolicy, which were not read")


def _backends(raw: RawObject, documents: Documents) -> list[Pod]:
    """The pods behind a service, one for each set of labels."""
    selector = dig(raw.data, "spec", "selector")
    wanted = {key: str(value) for key, value in selector.items()} if isinstance(selector, dict) else {}
    inside = [pod for pod in documents.cluster.pods if pod.namespace == (raw.ref.namespace or "default")]
    found = {pod.labels: pod for pod in inside if wanted and wanted.items() <= pod.labels.items()}
    return list(found.values())


CHECKS: tuple[Check, ...] = (
    Check("SVC-ETP-CLUSTER", check_cluster_policy, (Need.TRANSLATION,), concerns=to_any_cilium),
    Check("SVC-LB-SOURCE-RANGES", check_source_ranges, kinds=("Service",), concerns=to_managed_cilium),
    Check("SVC-HEALTH-PROBE", check_health_probes, kinds=("Service",), concerns=to_managed_cilium),
    Check("SVC-HOSTPORT-DUAL-PROTO", check_both_protocols, kinds=("Pod", "Service"), concerns=to_managed_cilium),
    Check("SVC-KUBE-PROXY-CONFIG", check_kube_proxy, concerns=to_managed_cilium),
    Check("SVC-EXTERNAL-IPS", check_external_addresses, kinds=("Service",), concerns=to_any_cilium),
)
