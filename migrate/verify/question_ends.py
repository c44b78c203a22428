"""Names of ends looked up in a cluster: which pods, nodes, Services or addresses are meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from migrate.errors import InputError
from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, NamedPort, Node, Pod, Service
from migrate.model.flow import End, EndKind
from migrate.model.ruleset import ends_of
from migrate.sources.endpoints import Backend
from migrate.verify.question import NODE, POD, SERVICE, SHORT, Name, is_kind

_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """The cluster that is asked about, with what stands behind its Services and the pods that ended (ns/name)."""

    cluster: Cluster
    backends: tuple[Backend, ...] = ()
    finished: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Member:
    """One end that is meant, and the ports that it names (a pod on its host's network has them, though not its End)."""

    end: End
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Party:
    """What a name of an end means. `members` has one entry for each address; it is empty for a Service."""

    title: str
    members: tuple[Member, ...] = ()
    service: Service | None = None
    notes: tuple[str, ...] = ()


class Directory:
    """Looks names up in one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        cluster = scene.cluster
        self._api_server = frozenset(cluster.api_server)
        self._by_address = ends_of(cluster)
        self._pods = {str(pod): pod for pod in cluster.pods}
        self._nodes = {node.name: node for node in cluster.nodes}
        self._services = {f"{service.namespace}/{service.name}": service for service in cluster.services}
        self._workloads: dict[tuple[str, str], list[Pod]] = {}
        for pod in cluster.pods:
            kind, _, name = (pod.workload or "").partition("/")
            if name:
                self._workloads.setdefault((kind, f"{pod.namespace}/{name}"), []).append(pod)

    def party(self, asked: Name | Address) -> Party:
        """What is meant. Raises InputError when there is none of that name, or more than one."""
        if not isinstance(asked, Name):
            return self._address(asked)
        if asked.kind == NODE:
            return self._node(asked)
        place = f"{asked.namespace}/{asked.name}"
        if asked.kind == SERVICE:
            if place not in self._services:
                raise self._unknown(asked, self._services)
            return self._service(self._services[place])
        found = self._named(asked.kind, place)
        if len(found) > 1:
            names = " or ".join(f"{SHORT.get(kind, kind)}/{place}" for kind in sorted(found))
            raise InputError(f"{asked.text}: could be {names}; write one of them")
        for kind, pods in found.items():
            return self._of_pods(kind, place, pods)
        candidates = [name for kind, name in self._workloads if asked.kind in ("", kind)]
        raise self._unknown(asked, [*candidates, *(self._pods if asked.kind in ("", POD) else ())])

    def member_at(self, address: Address) -> Member:
        """Who has an address; the outside when nobody of the cluster does."""
        end = self._by_address.get(str(address))
        if end is None:
            return Member(self._end(EndKind.OUTSIDE, address))
        return Member(end, end.pod.named_ports if end.pod else ())

    def members_of_pod(self, pod: Pod) -> list[Member]:
        """One for each IP family. On the host's network a pod is its node."""
        if pod.host_network:
            node = self._nodes.get(pod.node or "") or Node(pod.node or "", addresses=pod.addresses)
            ends = [self._end(EndKind.NODE, address, node=node) for address in _one_a_family(pod.addresses)]
        else:
            ends = [self._end(EndKind.POD, address, pod=pod) for address in _one_a_family(pod.addresses)]
        return [Member(end, pod.named_ports) for end in ends]

    def node_ends(self, version: int) -> tuple[End, ...]:
        """Every node by its first address of an IP family."""
        found = ((node, _one_a_family(node.addresses)) for node in self._nodes.values())
        return tuple(
            self._end(EndKind.NODE, address, node=node)
            for node, addresses in found
            for address in addresses
            if address.version == version
        )

    def _end(self, kind: EndKind, address: Address, *, pod: Pod | None = None, node: Node | None = None) -> End:
        return End(kind, address, pod=pod, node=node, api_server=address in self._api_server)

    def _named(self, kind: str, place: str) -> dict[str, Sequence[Pod]]:
        """The pods of each kind of thing that has this name; only those of `kind` when it is given."""
        found: dict[str, Sequence[Pod]] = {k: pods for (k, name), pods in self._workloads.items() if name == place}
        if place in self._pods:
            found[POD] = [self._pods[place]]
        return {k: pods for k, pods in found.items() if kind in ("", k)}

    def _of_pods(self, kind: str, place: str, pods: Sequence[Pod]) -> Party:
        running = [pod for pod in pods if pod.addresses]
        title = f"{kind} {place}"
        if not running:
            what = "it has no address" if kind == POD else "none of its pods has an address"
            raise InputError(f"{title}: {what} in the snapshot, so it does not run and has no traffic; ask for another")
        notes = list(_on_host(place, [pod for pod in running if pod.host_network]))
        if kind != POD and len(running) > 1:
            notes.append(f"{place} is a {kind} of {len(running)} pods, and all of them were asked about")
        elif kind != POD:
            notes.append(f"{place} is a {kind}; its pod is {running[0].name}")
        if len(running) < len(pods):
            notes.append(f"{len(pods) - len(running)} pods of {place} have no address and were left out")
        return Party(title, tuple(m for pod in running for m in self.members_of_pod(pod)), notes=tuple(notes))

    def _node(self, asked: Name) -> Party:
        node = self._nodes.get(asked.name)
        if node is None:
            raise self._unknown(asked, self._nodes)
        if not node.addresses:
            raise InputError(f"node {node.name}: it has no address in the snapshot; ask by an address")
        ends = [self._end(EndKind.NODE, address, node=node) for address in _one_a_family(node.addresses)]
        return Party(f"node {node.name}", tuple(map(Member, ends)))

    def _service(self, service: Service) -> Party:
        place = f"{service.namespace}/{service.name}"
        if service.type == "ExternalName":
            raise InputError(f"Service {place}: it only is another name for a host outside; ask for the host's address")
        return Party(f"Service {place}", service=service)

    def _address(self, address: Address) -> Party:
        for place, service in self._services.items():
            if address in service.addresses:
                return Party(f"Service {place}", service=service, notes=(f"{address} is Service {place}",))
        if str(address) not in self._by_address and address in self.scene.cluster.pod_networks:
            raise InputError(
                f"{address}: in the cluster's pod networks, but no pod of the snapshot has it, so its labels are not "
                "known; take a new snapshot with migrate scan, or name the pod"
            )
        member = self.member_at(address)
        end = member.end
        if end.kind is EndKind.POD:
            return Party(f"pod {end}", (member,), notes=(f"{address} is pod {end}",))
        if end.kind is EndKind.NODE:
            return Party(f"{end}", (member,), notes=(f"{address} is {end}, with every pod on its host's network",))
        what = " (the API server)" if end.api_server else " (outside the cluster)"
        return Party(f"{address}{what}", (member,))

    def _unknown(self, asked: Name, candidates: Iterable[str]) -> InputError:
        """What to say of a name that is not there: why that may be, and the nearest names."""
        place = f"{asked.namespace}/{asked.name}" if asked.namespace else asked.name
        if place in self.scene.finished:
            return InputError(f"pod {place}: it has ended (Succeeded or Failed), so it has no traffic; ask for another")
        words = {"": "no pod, and no workload with pods,", POD: "no pod", NODE: "no node", SERVICE: "no Service"}
        what = words.get(asked.kind)
        said = f"{asked.text}: {what or f'no {asked.kind} with pods'} of that name in the snapshot"
        near = _nearest(place, candidates)
        if asked.kind != SERVICE and place in self._services:
            near = [f"svc/{place}"]
        namespaces = [namespace.name for namespace in self.scene.cluster.namespaces]
        if not asked.kind and asked.namespace not in namespaces and is_kind(asked.namespace):
            return InputError(f"{asked.text}: lacks the namespace; write {asked.namespace}/NAMESPACE/{asked.name}")
        if asked.namespace and asked.namespace not in namespaces:
            said = f"{asked.text}: no namespace {asked.namespace} in the snapshot"
            near = near or get_close_matches(asked.namespace, namespaces, 1)
        return InputError(f"{said}; did you mean {' or '.join(near)}?" if near else f"{said}; check the name")


def _on_host(place: str, pods: Sequence[Pod]) -> Iterator[str]:
    if len(pods) == 1:
        yield f"{pods[0]} is on its host's network: for every policy it is node {pods[0].node or '(not known)'}"
    elif pods:
        yield f"{len(pods)} pods of {place} are on their hosts' network: for every policy they are their nodes"


def _one_a_family(addresses: Iterable[Address]) -> list[Address]:
    """The first address of each IP family, IPv4 first."""
    found: dict[int, Address] = {}
    for address in addresses:
        found.setdefault(address.version, address)
    return [found[family] for family in sorted(found)]


def _nearest(place: str, candidates: Iterable[str]) -> list[str]:
    known = sorted(set(candidates))
    begins = [name for name in known if name.startswith(place)]
    return (begins or get_close_matches(place, known, _SUGGESTIONS))[:_SUGGESTIONS]
