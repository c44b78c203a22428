"""Namespaces, pods, nodes and services of a snapshot as one typed Cluster.

Reading is forgiving here: a pod with an odd field still is a pod. What a policy needs and cannot find is said by
the stage that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from migrate.model.addresses import Address, AddressSet, Network, parse_address, parse_network
from migrate.model.cluster import (
    Cluster,
    NamedPort,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
    ServicePort,
    families_of_pods,
)
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject, as_list, as_map, as_number, as_text
from migrate.sources.kubernetes import NAMESPACE_NAME

SERVICE_ACCOUNT_NAME = "kubernetes.io/metadata.name"
"""The key under which a service account's own name stands among its labels (ours; Kubernetes has none)."""

SERVICE_NAME = "kubernetes.io/service-name"
"""The label by which an EndpointSlice says whose it is."""
FINISHED = ("Succeeded", "Failed")
"""Phases of pods that ended: they have no traffic any more."""


def read_cluster(objects: Iterable[RawObject], *, complete: bool) -> Cluster:
    """The cluster that the objects describe; `complete` says whether everything of it could be read."""
    by_kind: dict[str, list[RawObject]] = {}
    for raw in objects:
        ref = raw.ref
        if ref.group in ("", "discovery.k8s.io", "crd.projectcalico.org", "projectcalico.org"):
            by_kind.setdefault(ref.kind, []).append(raw)
    namespaces = _namespaces(by_kind)
    accounts = {
        (raw.ref.namespace, raw.ref.name): _labels(raw, SERVICE_ACCOUNT_NAME)
        for raw in by_kind.get("ServiceAccount", ())
    }
    read_pod = _PodReader(namespaces, accounts).read
    pods = tuple(sorted((read_pod(raw) for raw in by_kind.get("Pod", ()) if _alive(raw)), key=str))
    nodes = tuple(sorted((_node(raw) for raw in by_kind.get("Node", ())), key=lambda node: node.name))
    pools = [as_text(_map(raw.data, "spec").get("cidr")) for raw in by_kind.get("IPPool", ())]
    pod_networks = AddressSet.of(_networks(pools))
    for node in nodes:
        pod_networks |= node.pod_networks
    services = sorted((_service(raw) for raw in by_kind.get("Service", ())), key=lambda s: (s.namespace, s.name))
    return Cluster(
        namespaces=tuple(sorted(namespaces.values(), key=lambda namespace: namespace.name)),
        pods=pods,
        nodes=nodes,
        services=tuple(services),
        accounts=_all_accounts(accounts, pods),
        accounts_given=bool(accounts),
        api_server=_api_server(by_kind.get("EndpointSlice", ())),
        pod_networks=pod_networks,
        complete=complete,
        ip_families=frozenset(a.version for found in (pods, nodes) for owner in found for a in owner.addresses),
        pod_families=families_of_pods(pods),
    )


def _all_accounts(given: Mapping[tuple[str | None, str], Labels], pods: Iterable[Pod]) -> tuple[ServiceAccount, ...]:
    """Accounts that were given, and those that only show as the account of a pod."""
    found = {(namespace or "default", name): labels for (namespace, name), labels in given.items()}
    for pod in pods:
        found.setdefault((pod.namespace, pod.service_account), pod.service_account_labels)
    return tuple(ServiceAccount(*key, labels) for key, labels in sorted(found.items(), key=lambda item: item[0]))


def _namespaces(by_kind: Mapping[str, list[RawObject]]) -> dict[str, Namespace]:
    """Given namespaces, and those that only show in a pod's metadata (with just the label that Kubernetes sets)."""
    found = {
        raw.ref.name: Namespace(raw.ref.name, _labels(raw, NAMESPACE_NAME)) for raw in by_kind.get("Namespace", ())
    }
    for raw in by_kind.get("Pod", ()):
        name = raw.ref.namespace or "default"
        found.setdefault(name, Namespace(name, Labels(((NAMESPACE_NAME, name),))))
    return found


def _alive(raw: RawObject) -> bool:
    return as_text(_map(raw.data, "status").get("phase")) not in FINISHED


@dataclass(frozen=True, slots=True)
class _PodReader:
    """Reads pods one by one. Most have the labels and ports of many others: those are one value for all of them."""

    namespaces: Mapping[str, Namespace]
    accounts: Mapping[tuple[str | None, str], Labels]
    _labels: dict[tuple[tuple[str, str], ...], Labels] = field(default_factory=dict)
    _ports: dict[tuple[tuple[str, str, int], ...], tuple[NamedPort, ...]] = field(default_factory=dict)
    _unnamed_accounts: dict[str, Labels] = field(default_factory=dict)

    def read(self, raw: RawObject) -> Pod:
        """The pod of an object."""
        ref, metadata, spec, status = (
            raw.ref,
            _map(raw.data, "metadata"),
            _map(raw.data, "spec"),
            _map(raw.data, "status"),
        )
        namespace = ref.namespace or "default"
        account = as_text(spec.get("serviceAccountName")) or as_text(spec.get("serviceAccount")) or "default"
        labels = self._labels_of(metadata)
        return Pod(
            namespace=namespace,
            name=ref.name,
            labels=labels,
            namespace_labels=self.namespaces[namespace].labels,
            service_account=account,
            service_account_labels=self.accounts.get((namespace, account)) or self._account_labels(account),
            addresses=_pod_addresses(status),
            named_ports=self._named_ports(spec),
            node=as_text(spec.get("nodeName")) or None,
            host_network=spec.get("hostNetwork") is True,
            workload=_workload(metadata, labels),
        )

    def _labels_of(self, metadata: Mapping[str, Json]) -> Labels:
        pairs = tuple([(key, as_text(value)) for key, value in _map(metadata, "labels").items()])
        found = self._labels.get(pairs)
        if found is None:
            found = self._labels[pairs] = Labels(pairs)
        return found

    def _account_labels(self, account: str) -> Labels:
        return self._unnamed_accounts.setdefault(account, Labels(((SERVICE_ACCOUNT_NAME, account),)))

    def _named_ports(self, spec: Mapping[str, Json]) -> tuple[NamedPort, ...]:
        """Ports with names of containers and of init containers that keep running (sidecars)."""
        sidecars = [c for c in as_list(spec.get("initContainers")) if as_map(c).get("restartPolicy") == "Always"]
        named = tuple([port for c in (*as_list(spec.get("containers")), *sidecars) for port in _ports(as_map(c))])
        found = self._ports.get(named)
        if found is None:
            found = self._ports[named] = tuple(NamedPort(*port) for port in sorted(set(named)))
        return found


def _ports(container: Mapping[str, Json]) -> Iterator[tuple[str, str, int]]:
    for entry in as_list(container.get("ports")):
        port = as_map(entry)
        name, number = as_text(port.get("name")), port.get("containerPort")
        if name and isinstance(number, int):
            yield name, as_text(port.get("protocol")) or "TCP", number


def _pod_addresses(status: Mapping[str, Json]) -> tuple[Address, ...]:
    several = [as_text(as_map(entry).get("ip")) for entry in as_list(status.get("podIPs"))]
    return _addresses(several or [as_text(status.get("podIP"))])


def _workload(metadata: Mapping[str, Json], labels: Labels) -> str | None:
    """The controller at the top: a ReplicaSet stands for the Deployment whose name it carries."""
    for entry in as_list(metadata.get("ownerReferences")):
        owner = as_map(entry)
        kind, name = as_text(owner.get("kind")), as_text(owner.get("name"))
        if owner.get("controller") is not True or not name:
            continue
        template_hash = labels.get("pod-template-hash")
        if kind == "ReplicaSet" and template_hash and name.endswith(f"-{template_hash}"):
            return f"Deployment/{name.removesuffix(f'-{template_hash}')}"
        return f"{kind}/{name}"
    return None


def _node(raw: RawObject) -> Node:
    spec, status = _map(raw.data, "spec"), _map(raw.data, "status")
    blocks = [as_text(block) for block in as_list(spec.get("podCIDRs"))] or [as_text(spec.get("podCIDR"))]
    addresses = [
        as_text(as_map(entry).get("address"))
        for entry in as_list(status.get("addresses"))
        if as_map(entry).get("type") in ("InternalIP", "ExternalIP")
    ]
    labels = _labels(raw)
    info = as_map(status.get("nodeInfo"))
    system = as_text(info.get("operatingSystem")) or labels.get("kubernetes.io/os") or "linux"
    return Node(raw.ref.name, labels, _addresses(addresses), AddressSet.of(_networks(blocks)), system)


def _service(raw: RawObject) -> Service:
    spec = _map(raw.data, "spec")
    selector = {key: as_text(value) for key, value in _map(spec, "selector").items()}
    ingress = as_list(_map(_map(raw.data, "status"), "loadBalancer").get("ingress"))
    texts = [as_text(value) for value in (spec.get("clusterIP"), *as_list(spec.get("clusterIPs")))]
    texts += [as_text(value) for value in as_list(spec.get("externalIPs"))]
    texts += [as_text(as_map(entry).get("ip")) for entry in ingress]
    return Service(
        namespace=raw.ref.namespace or "default",
        name=raw.ref.name,
        type=as_text(spec.get("type")) or "ClusterIP",
        selector=Labels.of(selector) if selector else None,
        labels=_labels(raw),
        addresses=tuple(dict.fromkeys(_addresses(texts))),
        ports=tuple(_service_port(as_map(entry)) for entry in as_list(spec.get("ports"))),
        external_traffic_policy=as_text(spec.get("externalTrafficPolicy")) or "Cluster",
        headless=spec.get("clusterIP") == "None",
    )


def _service_port(entry: Mapping[str, Json]) -> ServicePort:
    target = entry.get("targetPort")
    return ServicePort(
        protocol=as_text(entry.get("protocol")) or "TCP",
        port=as_number(entry.get("port")) or 0,
        target=target if isinstance(target, int | str) else None,
        node_port=as_number(entry.get("nodePort")),
        name=as_text(entry.get("name")),
    )


def _api_server(slices: Iterable[RawObject]) -> tuple[Address, ...]:
    """Addresses behind the Service default/kubernetes."""
    found: list[str] = []
    for raw in slices:
        if raw.ref.namespace != "default" or _labels(raw).get(SERVICE_NAME) != "kubernetes":
            continue
        for entry in as_list(raw.data.get("endpoints")):
            found += [as_text(address) for address in as_list(as_map(entry).get("addresses"))]
    return tuple(sorted(_addresses(found), key=lambda address: (address.version, int(address))))


def _labels(raw: RawObject, name_key: str | None = None) -> Labels:
    labels = {key: as_text(value) for key, value in _map(_map(raw.data, "metadata"), "labels").items()}
    if name_key is not None:
        labels[name_key] = raw.ref.name
    return Labels.of(labels)


def _addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    found: list[Address] = []
    for text in texts:
        try:
            found.append(parse_address(text))
        except ValueError:
            continue
    return tuple(found)


def _networks(texts: Iterable[str]) -> list[Network]:
    found: list[Network] = []
    for text in texts:
        try:
            found.append(parse_network(text))
        except ValueError:
            continue
    return found


def _map(owner: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    return as_map(owner.get(key))
