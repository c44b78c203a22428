"""Whom an observation is about: the pods that a program names, or who has the addresses; and the way it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from migrate.audit.layout import bytes_of
from migrate.audit.reading import Owner
from migrate.audit.replay import Scene
from migrate.audit.services import Services
from migrate.audit.world import Who, World
from migrate.cutover.observed import Ends, Observation
from migrate.evidence.seen import SeenPod
from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP, End, EndKind, Flow, Packet
from migrate.model.labels import Labels
from migrate.sources.kubernetes import NAMESPACE_NAME

JUDGED = (TCP, UDP, SCTP, ICMP, ICMPV6)
"""Protocols of which policies speak, and of which Cilium tells the ports."""
_ANSWERS = {ICMP: frozenset((0, 3, 4, 5, 11, 12, 14)), ICMPV6: frozenset((*range(1, 5), 129, *range(133, 138)))}
"""ICMP types that answer something, and those of IPv6 by which neighbours find each other (RFC 792, 4443, 4861)."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The flows that an observation may be; all of them are where it has to be asked about each. None: `reason`.

    `ends` are for people to read.
    """

    flows: tuple[Flow, ...] = ()
    ends: tuple[End | None, End | None] = (None, None)
    packet: Packet = Packet(0)
    service: str = ""
    reason: str = ""


class Meaning:
    """Looks the ends of observations up. `later` are pods of a newer snapshot."""

    def __init__(self, scene: Scene, observations: Iterable[Observation], later: Sequence[Pod] = ()) -> None:
        named = _named(observations)
        cluster = _with_pods(scene.cluster, named, later)
        self.world = World(cluster, tuple(_owners(named, later)), (), "")
        self._services = Services(scene.cluster, scene.backends)
        self._by_workload = _by_workload(cluster.pods)

    def of(self, seen: Observation) -> Meant:
        """The flows of one observation."""
        ends, packet = seen.ends, _packet(seen.ends)
        if packet.protocol not in JUDGED:
            return Meant(packet=packet, reason=f"policies say nothing of {packet}")
        if packet.port in _ANSWERS.get(packet.protocol, ()):
            return Meant(packet=packet, reason="an ICMP message that answers others opens nothing")
        family = _family(ends)
        source = self._who(ends.source, ends.source_pod, seen, family)
        destinations, service, reason = self._destinations(seen, packet, family)
        flows = tuple(
            Flow(first, second, sent)
            for first, (second, sent) in product(source.ends, destinations)
            if first.address.version == second.address.version
        )
        near, far = next(iter(source.ends), None), next((end for end, _ in destinations), None)
        missing = "" if flows else source.reason or reason or "its ends are of two IP families"
        return Meant(flows, (near, far), packet, service, missing)

    def _destinations(
        self, seen: Observation, packet: Packet, family: int
    ) -> tuple[list[tuple[End, Packet]], str, str]:
        """Who may be meant by the destination, behind a Service its backends; the Service, and why there is nobody."""
        ends = seen.ends
        if ends.destination is not None and ends.destination_pod is None and packet.protocol in (TCP, UDP, SCTP):
            hit = self._services.at(bytes_of(ends.destination), family, packet.protocol, packet.port)
            if hit is not None and not hit.node_port:
                behind = [(target.end, replace(packet, port=target.port)) for target in hit.targets]
                return behind, hit.name, hit.reason
        who = self._who(ends.destination, ends.destination_pod, seen, family)
        return [(end, packet) for end in who.ends], "", who.reason

    def _who(self, address: Address | None, pod: SeenPod | None, seen: Observation, family: int) -> Who:
        """A pod that is named is believed; an address may have had several owners."""
        if pod is not None and not pod.name:
            return self._of_workload(pod, address, family)
        if address is None:
            return self._by_name(pod, family) if pod is not None else Who((), "the program tells no end")
        who = self.world.who(bytes_of(address), seen.first, seen.last)
        if pod is None:
            return who
        for end in who.ends:
            if end.pod is not None and (end.pod.namespace, end.pod.name) == (pod.namespace, pod.name):
                return Who((end,))
        known = self.world.pod(pod.namespace, pod.name)
        if known is None:
            return Who((), f"{pod.namespace}/{pod.name}: not in the snapshot, so its labels are not known")
        if known.host_network:
            return who
        return Who((End(EndKind.POD, address, pod=known),))

    def _of_workload(self, pod: SeenPod, address: Address | None, family: int) -> Who:
        """Any pod of a workload stands for it."""
        for one in self._by_workload.get((pod.namespace, pod.workload), ()):
            own = [a for a in one.addresses if a.version == family]
            if own and not one.host_network:
                return Who((End(EndKind.POD, address or own[0], pod=one),))
        return Who((), f"{pod.workload} in {pod.namespace}: no pod of it is in the snapshot")

    def _by_name(self, pod: SeenPod, family: int) -> Who:
        known = self.world.pod(pod.namespace, pod.name)
        own = [address for address in known.addresses if address.version == family] if known is not None else []
        if known is None or not own:
            return Who((), f"{pod.namespace}/{pod.name}: neither its address nor its labels are known")
        return Who((End(EndKind.POD, own[0], pod=known),))


class _Name(NamedTuple):
    """A pod that a program names, at an address if it told one."""

    address: Address | None
    namespace: str
    name: str


class _Life(NamedTuple):
    """When it was seen first and last there, and as what."""

    first: int
    last: int
    pod: SeenPod


def _named(observations: Iterable[Observation]) -> dict[_Name, _Life]:
    """The pods that programs name."""
    found: dict[_Name, _Life] = {}
    for seen in observations:
        ends = seen.ends
        for address, pod in ((ends.source, ends.source_pod), (ends.destination, ends.destination_pod)):
            if pod is not None and pod.name:
                key = _Name(address, pod.namespace, pod.name)
                first, last, known = found.get(key, _Life(seen.first, seen.last, pod))
                found[key] = _Life(min(first, seen.first), max(last, seen.last), known if known.labels else pod)
    return found


def _owners(named: Mapping[_Name, _Life], later: Sequence[Pod]) -> Iterator[Owner]:
    """Who had which address in the time in which it was seen; where no time is told, always."""
    for (address, namespace, name), life in named.items():
        if address is not None:
            yield Owner(address, "pod", namespace, name, "", life.first, life.last or None)
    for pod in later:
        for address in pod.addresses if not pod.host_network else ():
            if _Name(address, pod.namespace, pod.name) not in named:
                yield Owner(address, "pod", pod.namespace, pod.name, "", 1, None)


def _with_pods(cluster: Cluster, named: Mapping[_Name, _Life], later: Sequence[Pod]) -> Cluster:
    """The cluster with pods that came after its snapshot, where anything tells their labels.

    Those of a newer snapshot are as they are there. One that a template tells of is left to that; of others the
    program that saw them tells the labels.
    """
    known = {str(pod) for pod in cluster.pods}
    extra = [pod for pod in later if str(pod) not in known]
    grown = replace(cluster, pods=(*cluster.pods, *extra))
    world = World(grown, (), (), "")
    by_labels: dict[str, Pod] = {}
    for (_, namespace, name), life in named.items():
        if life.pod.labels and world.pod(namespace, name) is None:
            labels, workload = Labels(life.pod.labels), life.pod.workload or None
            made = Pod(namespace, name, labels, _namespace_labels(cluster, namespace), workload=workload)
            by_labels[str(made)] = made
    return replace(grown, pods=(*grown.pods, *by_labels.values())) if by_labels else grown


def _namespace_labels(cluster: Cluster, namespace: str) -> Labels:
    for known in cluster.namespaces:
        if known.name == namespace:
            return known.labels
    return Labels.of({NAMESPACE_NAME: namespace})


def _by_workload(pods: Iterable[Pod]) -> dict[tuple[str, str], list[Pod]]:
    found: dict[tuple[str, str], list[Pod]] = {}
    for pod in pods:
        found.setdefault((pod.namespace, pod.workload or f"Pod/{pod.name}"), []).append(pod)
    return found


def _packet(ends: Ends) -> Packet:
    if ends.icmp is not None:
        return Packet(ends.protocol, ends.icmp[0], code=ends.icmp[1])
    return Packet(ends.protocol, ends.port)


def _family(ends: Ends) -> int:
    """Where no address is told it is IPv4, or IPv6 for ICMPv6."""
    for address in (ends.source, ends.destination):
        if address is not None:
            return address.version
    return 6 if ends.protocol == ICMPV6 else 4
