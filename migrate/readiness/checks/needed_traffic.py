"""Rules about what pods reach and who reaches them once Cilium enforces: asked of its engine, not of policy text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from migrate.audit.resolver import CLOUD
from migrate.model.addresses import Address, parse_address
from migrate.model.audit_documents import ObservedGroup
from migrate.model.cluster import Cluster, Node, Pod, Service
from migrate.model.finding import Effect, Finding
from migrate.model.flow import TCP, UDP, Direction, End, EndKind, Flow, Packet
from migrate.model.labels import Labels
from migrate.model.raw import RawObject
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.readiness.future import Future, Isolated, end_of
from migrate.readiness.seen import is_on, may_run, minor
from migrate.scan.inventory.look import counted, dig, items
from migrate.sources.endpoints import read_backends
from migrate.sources.probes import probe_ports

_DNS_NAMES = ("kube-dns", "coredns", "dns-default", "rke2-coredns-rke2-coredns")
_DNS_PORT = 53
_METADATA = parse_address("169.254.169.254")
_PLATFORM = parse_address("168.63.129.16")
_NODE_CACHES = {"node-local-dns": "169.254.20.10", "aks-localdns": "169.254.10.11"}
_CACHE_IS_HOST = (1, 17)
"""From this Cilium on an address of the node's own, such as that of LocalDNS, is the entity host; before, a CIDR."""
_PROTOCOLS = {"TCP": TCP, "UDP": UDP}


@dataclass(frozen=True, slots=True)
class _Way:
    """Something that pods reach: a name for it, and where one end of it is."""

    name: str
    end: End
    packet: Packet


@dataclass(frozen=True, slots=True)
class _Said:
    """What holds for a group of pods, and what that means against today."""

    group: Isolated
    what: str
    effect: Effect


def _dns_missing(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    future = documents.future
    if future is None:
        return
    caches = [fact.value for fact in documents.facts("node-local-dns")]
    servers = () if "aks-localdns" in caches else tuple(_dns_servers(documents.cluster))
    if not servers and not caches:
        yield Missing("where DNS is: no Service of a cluster DNS with running pods was read")
        return
    yield from _merged(documents, "POL-DNS-MISSING", _without_dns(documents, future, servers, caches))


def _without_dns(
    documents: Documents, future: Future, servers: Sequence[_Way], caches: Sequence[str]
) -> Iterator[_Said]:
    own = {way.end.pod for way in servers}
    for group in future.isolated(Direction.EGRESS):
        if group.pod in own:
            continue
        caches_of = (_node_cache(group.pod, name, documents.cluster, future) for name in caches)
        denied = _denied([*servers, *caches_of], group, future)
        if denied:
            names = ", ".join(dict.fromkeys(way.name for way in denied))
            yield _Said(group, f"cannot reach {names}", _effect(denied, group, future))


def _dns_servers(cluster: Cluster) -> Iterator[_Way]:
    """Each pod behind the cluster's DNS service, by both protocols, at the port behind the service."""
    for service in cluster.services:
        if not _is_dns(service):
            continue
        pods = [pod for pod in cluster.pods if _selects(service, pod) and pod.addresses]
        for port in service.ports:
            if port.port == _DNS_PORT and port.protocol in _PROTOCOLS:
                for pod in pods:
                    number = _number(port.target, pod, port.protocol)
                    name = f"{service.namespace}/{service.name} ({port.protocol} {number})"
                    yield _Way(name, _end_or_node(pod, cluster), Packet(_PROTOCOLS[port.protocol], number))


def _is_dns(service: Service) -> bool:
    return service.name in _DNS_NAMES or service.labels.get("k8s-app") == "kube-dns"


def _selects(service: Service, pod: Pod) -> bool:
    wanted = service.selector
    return wanted is not None and pod.namespace == service.namespace and _holds(wanted, pod.labels)


def _holds(wanted: Labels, labels: Labels) -> bool:
    return all(labels.get(key) == value for key, value in wanted.pairs)


def _number(wanted: int | str | None, pod: Pod, protocol: str) -> int:
    if isinstance(wanted, int):
        return wanted
    named = (port.port for port in pod.named_ports if port.name == wanted and port.protocol == protocol)
    return next(named, _DNS_PORT)


def _end_or_node(pod: Pod, cluster: Cluster) -> End:
    if not pod.host_network:
        return end_of(pod)
    return End(EndKind.NODE, pod.addresses[0], node=_node(pod, cluster))


def _node(pod: Pod, cluster: Cluster) -> Node:
    return next((node for node in cluster.nodes if node.name == pod.node), Node(pod.node or ""))


def _node_cache(pod: Pod, name: str, cluster: Cluster, future: Future) -> _Way:
    """A DNS cache on the pod's own node."""
    address, release = parse_address(_NODE_CACHES.get(name, _NODE_CACHES["node-local-dns"])), minor(future.profile.crds)
    outside = name == "aks-localdns" and release is not None and release < _CACHE_IS_HOST
    end = End(EndKind.OUTSIDE, address) if outside else End(EndKind.NODE, address, node=_node(pod, cluster))
    return _Way(f"{name} at {address} on the own node (UDP {_DNS_PORT})", end, Packet(UDP, _DNS_PORT))


def _api_server(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    future = documents.future
    if future is None:
        return
    ways = tuple(_api_ways(documents))
    if not ways:
        yield Missing("the API server's addresses: the EndpointSlice of default/kubernetes was not read")
        return
    yield from _merged(documents, "POL-APISERVER-EGRESS", _without_api(documents, future, ways))


def _without_api(documents: Documents, future: Future, ways: Sequence[_Way]) -> Iterator[_Said]:
    """Pods that have a reason to ask the API server: a service account of their own, or they were seen to."""
    address = ways[0].end.address
    seen = _seen_at(documents.audit.api_server.groups if documents.audit else ())
    for group in future.isolated(Direction.EGRESS):
        users = [pod for pod in group.pods if pod.service_account != "default" or _names(pod) in seen]
        denied = _denied(ways, group, future) if users else []
        if denied and len(denied) == len(_of_family(ways, group)):
            recorded = any(_names(pod) in seen for pod in users)
            why = "were seen to use it" if recorded else "have a service account of their own"
            what = f"cannot reach the API server ({address}), and pods of them {why}"
            yield _Said(group, what, _effect(denied, group, future))


def _api_ways(documents: Documents) -> Iterator[_Way]:
    owners = {address: node for node in documents.cluster.nodes for address in node.addresses}
    for backend in read_backends(documents.by_kind.get("EndpointSlice", ())):
        if (backend.namespace, backend.service) == ("default", "kubernetes"):
            node = owners.get(backend.address)
            kind = EndKind.OUTSIDE if node is None else EndKind.NODE
            end = End(kind, backend.address, node=node, api_server=True)
            for _, protocol, port in backend.ports or (("", "TCP", 443),):
                yield _Way("the API server", end, Packet(_PROTOCOLS.get(protocol, TCP), port or 443))


def _metadata(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """What the recording shows to be used, what will be cut off, and who can ask Azure's platform."""
    future = documents.future
    if future is None:
        return
    for used in documents.audit.cloud_metadata.groups if documents.audit else ():
        if used.future == "would_drop":
            detail = f"{used.source} uses {used.destination} ({used.events} times recorded), which will be denied"
            yield Finding(id="POL-METADATA-EGRESS", detail=detail, effect=Effect.NARROWS)
    yield from _merged(documents, "POL-METADATA-EGRESS", _cloud_addresses(documents, future))


def _cloud_addresses(documents: Documents, future: Future) -> Iterator[_Said]:
    service = _Way("instance metadata", End(EndKind.OUTSIDE, _METADATA), Packet(TCP, 80))
    platform = End(EndKind.OUTSIDE, _PLATFORM)
    for group in future.isolated(Direction.EGRESS):
        denied = _denied([service], group, future)
        if denied and _effect(denied, group, future) is Effect.NARROWS:
            yield _Said(group, f"cannot reach {CLOUD[_METADATA]} ({_METADATA}) any more", Effect.NARROWS)
        if is_on(documents, "aks") and future.lets_out(group.pod, platform, Packet(TCP, 80)):
            yield _Said(group, f"can reach {CLOUD[_PLATFORM]} ({_PLATFORM}:80)", Effect.NONE)


def _from_nodes(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Isolated pods that take nothing from other nodes, where there are clients on the host's network."""
    clients = [pod for pod in documents.cluster.pods if pod.host_network]
    if documents.future is not None and clients:
        yield from _merged(documents, "POL-INGRESS-FROM-NODE", _closed_to_nodes(documents, documents.future, clients))


def _closed_to_nodes(documents: Documents, future: Future, clients: Sequence[Pod]) -> Iterator[_Said]:
    ports = _ports(documents.by_kind.get("Pod", ()))
    for group in future.isolated(Direction.INGRESS):
        node = _other_node(group.pod, documents.cluster.nodes)
        asked = [Packet(TCP, port) for port in sorted(ports.get(str(group.pod), frozenset({80})))]
        if node is None or any(future.lets_in(group.pod, node, packet) for packet in asked):
            continue
        flow = Flow(node, end_of(group.pod), asked[0])
        what = f"take no connection from other nodes, so none of {clients[0]} or others on the host's network there"
        yield _Said(group, what, future.effect(Direction.INGRESS, flow))


def _ports(pods: Iterable[RawObject]) -> Mapping[str, frozenset[int]]:
    """The TCP ports of pods: those that they declare and those of their probes."""
    pods = list(pods)
    probes = probe_ports(pods)
    found: dict[str, frozenset[int]] = {}
    for raw in pods:
        name = f"{raw.ref.namespace or 'default'}/{raw.ref.name}"
        containers = items(dig(raw.data, "spec", "containers"))
        entries = (entry for one in containers for entry in items(dig(one, "ports")))
        numbers = {dig(e, "containerPort") for e in entries if dig(e, "protocol") in (None, "TCP")}
        given = frozenset(number for number in numbers if isinstance(number, int)) | probes.get(name, frozenset())
        if given:
            found[name] = given
    return found


def _other_node(pod: Pod, nodes: Sequence[Node]) -> End | None:
    for node in nodes:
        address = next((one for one in node.addresses if _same_family(one, pod.addresses[0])), None)
        if node.name != pod.node and address is not None:
            return End(EndKind.NODE, address, node=node)
    return None


def _same_family(one: Address, other: Address) -> bool:
    return one.version == other.version


def _seen_at(groups: Iterable[ObservedGroup]) -> frozenset[tuple[str, str]]:
    """Namespace and workload of everybody at the source of recorded traffic."""
    return frozenset((group.source.namespace, group.source.name) for group in groups)


def _names(pod: Pod) -> tuple[str, str]:
    return pod.namespace, pod.workload or pod.name


def _denied(ways: Iterable[_Way], group: Isolated, future: Future) -> list[_Way]:
    """Ways of the pods' own IP family that they will not be let out by."""
    return [way for way in _of_family(ways, group) if not future.lets_out(group.pod, way.end, way.packet)]


def _of_family(ways: Iterable[_Way], group: Isolated) -> list[_Way]:
    return [way for way in ways if _same_family(way.end.address, group.pod.addresses[0])]


def _effect(denied: Iterable[_Way], group: Isolated, future: Future) -> Effect:
    """Narrower than today when any of the ways is open today."""
    flows = [Flow(end_of(group.pod), way.end, way.packet) for way in denied]
    effects = {future.effect(Direction.EGRESS, flow) for flow in flows}
    return next((effect for effect in (Effect.NARROWS, Effect.UNKNOWN) if effect in effects), Effect.NONE)


def _merged(documents: Documents, identity: str, said: Iterable[_Said]) -> Iterator[Finding]:
    """One finding for all pods of a namespace of which the same holds; it is about the policy of the first ones."""
    alike: dict[tuple[str, str, Effect], list[Isolated]] = {}
    for one in said:
        alike.setdefault((one.group.pod.namespace, one.what, one.effect), []).append(one.group)
    for (_, what, effect), groups in alike.items():
        pods = sorted((pod for group in groups for pod in group.pods), key=str)
        shown = str(pods[0]) if len(pods) == 1 else f"{len(pods)} pods, such as {pods[0]},"
        sources = sorted({group.source for group in groups}, key=str)
        others = f" (also by {counted(len(sources) - 1, 'other policy')})" if len(sources) > 1 else ""
        raw = documents.find(sources[0])
        yield Finding(
            id=identity,
            detail=f"{shown} {what}{others}",
            effect=effect,
            subject=sources[0],
            at=None if raw is None else raw.at(),
        )


def _on_npm(documents: Documents) -> bool:
    return may_run(documents, "npm-linux", "npm-windows")


_FUTURE = (Need.SNAPSHOT, Need.TRANSLATION)
CHECKS = (
    Check("POL-DNS-MISSING", _dns_missing, needs=_FUTURE, kinds=("Pod", "Service")),
    Check("POL-APISERVER-EGRESS", _api_server, needs=_FUTURE, kinds=("Pod",)),
    Check("POL-METADATA-EGRESS", _metadata, needs=_FUTURE, kinds=("Pod",)),
    Check("POL-INGRESS-FROM-NODE", _from_nodes, needs=_FUTURE, kinds=("Pod", "Node"), concerns=_on_npm),
)
