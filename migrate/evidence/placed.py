"""What another program saw as a record at the interface of a pod: the pod, the way, and what is known of today.

Connections are told from their openers: a reply is turned around and counts as an answer. A TCP segment that neither
opens nor answers an opening is kept as one of the middle of a connection, which is shown and not judged as a drop.
So is a datagram that has the ports of an answer, where nobody tells whether it is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from migrate.audit.layout import Direction, Kind
from migrate.evidence.seen import SeenFlow, SeenPod
from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP

_ECHO_REPLIES = {(ICMP, 0): 8, (ICMPV6, 129): 128}
"""Answers of ping, and what asks for them."""
_ERRORS = {ICMP: frozenset((3, 4, 5, 11, 12)), ICMPV6: frozenset((1, 2, 3, 4))}
_WITH_PORTS = (TCP, UDP, SCTP, 136)
EPHEMERAL = 32768
"""Linux takes ports from here on for the client's end (ip_local_port_range)."""


class Unusable(NamedTuple):
    """Why a flow is no record. unusable: it may be one that matters. no_flow: it is none of a pod, or opens nothing."""

    kind: Literal["unusable", "no_flow"]
    reason: str


class Owner(NamedTuple):
    """A pod; without a name nothing but that the address is a pod's is known."""

    namespace: str
    name: str


class Record(NamedTuple):
    """A record at a pod. `port` has type and code of ICMP. `is_dropped`: the packet did not go on."""

    node: str
    owner: Owner
    direction: Direction
    kind: Kind
    source: Address
    destination: Address
    protocol: int
    port: int
    source_port: int
    events: int
    answered: int
    is_dropped: bool


class _Ends(NamedTuple):
    """The initiator's and the responder's."""

    source: Address
    destination: Address
    source_pod: SeenPod | None
    destination_pod: SeenPod | None


class Places:
    """Where flows belong in a cluster. `node` is that of flows which name none."""

    def __init__(self, cluster: Cluster, node: str = "") -> None:
        self._node = node
        self._networks = cluster.pod_networks
        self._pods: Mapping[tuple[str, str], Pod] = {(pod.namespace, pod.name): pod for pod in cluster.pods}
        placed = [pod for pod in cluster.pods if not pod.host_network]
        self._by_address = {address: pod for pod in placed for address in pod.addresses}
        self._by_workload: dict[tuple[str, str], list[Pod]] = {}
        self._spaces: dict[str, list[Pod]] = {}
        for pod in (pod for pod in placed if pod.addresses):
            self._spaces.setdefault(pod.namespace, []).append(pod)
            if pod.workload:
                self._by_workload.setdefault((pod.namespace, pod.workload), []).append(pod)
        self._nodes_addresses = frozenset(address for entry in cluster.nodes for address in entry.addresses)
        self._found: dict[tuple[str, str, str, int], Address | None] = {}

    def place(self, flow: SeenFlow) -> Record | Unusable:
        """The record that a flow is."""
        if flow.verdict == "error":
            return Unusable("no_flow", "an error of the data plane")
        icmp, is_reply = self._opening(flow)
        if flow.protocol in (ICMP, ICMPV6) and icmp is None:
            return Unusable("unusable", "ICMP without its type")
        if flow.protocol in _WITH_PORTS and not flow.port:
            return Unusable("unusable", "no port is told")
        if is_reply and flow.verdict not in ("forwarded", "unknown"):
            return Unusable("no_flow", "a reply that did not go on, which no policy decides")
        ends = self._ends(flow, bool(is_reply))
        if isinstance(ends, Unusable):
            return ends
        return self._at_a_pod(flow, ends, icmp, is_reply)

    def _opening(self, flow: SeenFlow) -> tuple[tuple[int, int] | None, bool | None]:
        """Type and code of what opened the exchange, and whether the flow is an answer."""
        if flow.icmp is None:
            return None, flow.is_reply
        asked = _ECHO_REPLIES.get((flow.protocol, flow.icmp[0]))
        if asked is not None:
            return (asked, flow.icmp[1]), True
        return flow.icmp, False

    def _ends(self, flow: SeenFlow, is_reply: bool) -> _Ends | Unusable:
        source = flow.source or self._address_of(flow.source_pod, flow.destination)
        destination = flow.destination or self._address_of(flow.destination_pod, source)
        if source is None or destination is None:
            return Unusable("unusable", "a pod without an address that the snapshot does not have")
        if source.version != destination.version:
            return Unusable("unusable", "ends of two IP families")
        if is_reply:
            return _Ends(destination, source, flow.destination_pod, flow.source_pod)
        return _Ends(source, destination, flow.source_pod, flow.destination_pod)

    def _address_of(self, seen: SeenPod | None, other: Address | None) -> Address | None:
        """Of a pod that is named alone, or of one that stands for its workload; of the family of the other end."""
        if seen is None:
            return None
        version = other.version if other is not None else 0
        key = (seen.namespace, seen.name, seen.workload, version)
        if key not in self._found and len(self._found) < 1 << 16:
            self._found[key] = self._look_up(seen, version)
        return self._found[key] if key in self._found else self._look_up(seen, version)

    def _look_up(self, seen: SeenPod, version: int) -> Address | None:
        if seen.name:
            pod = self._pods.get((seen.namespace, seen.name))
            pods = [] if pod is None or pod.host_network else [pod]
        elif seen.workload.endswith("*"):
            beginning = seen.workload[:-1]
            pods = [pod for pod in self._spaces.get(seen.namespace, ()) if pod.name.startswith(beginning)]
        else:
            pods = self._by_workload.get((seen.namespace, seen.workload), [])
        addresses = (address for pod in pods for address in pod.addresses)
        return next((address for address in addresses if not version or address.version == version), None)

    def _at_a_pod(
        self, flow: SeenFlow, ends: _Ends, icmp: tuple[int, int] | None, is_reply: bool | None
    ) -> Record | Unusable:
        owners = self.owner(ends.source, ends.source_pod), self.owner(ends.destination, ends.destination_pod)
        way = Direction.TO_POD if flow.direction == "ingress" else Direction.FROM_POD
        owner = owners[way]
        if owner is None:
            way = Direction.FROM_POD if way is Direction.TO_POD else Direction.TO_POD
            owner = owners[way]
        if owner is None:
            return Unusable("no_flow", "no pod of the cluster is at either end")
        return Record(
            node=self._node_of(flow, owner),
            owner=owner,
            direction=way,
            kind=_kind(flow, is_reply),
            source=ends.source,
            destination=ends.destination,
            protocol=flow.protocol,
            port=icmp[0] << 8 | icmp[1] if icmp is not None else flow.port,
            source_port=flow.source_port,
            events=0 if is_reply else flow.times,
            answered=flow.times if is_reply or flow.verdict in ("forwarded", "audit") else 0,
            is_dropped=flow.verdict == "dropped",
        )

    def owner(self, address: Address, seen: SeenPod | None) -> Owner | None:
        """The pod that has an address: as the program says, else by the snapshot; None for what is no pod.

        A pod that came later and is said to have a node's address is on its node's network.
        """
        if seen is not None and seen.name:
            known = self._pods.get((seen.namespace, seen.name))
            on_node = address in self._nodes_addresses if known is None else known.host_network
            return None if on_node else Owner(seen.namespace, seen.name)
        pod = self._by_address.get(address)
        if pod is not None:
            return Owner(pod.namespace, pod.name)
        return Owner("", "") if address in self._networks and address not in self._nodes_addresses else None

    def has(self, address: Address, owner: Owner) -> bool:
        """Whether the snapshot says the same of an address."""
        pod = self._by_address.get(address)
        return pod is not None and (pod.namespace, pod.name) == owner

    def _node_of(self, flow: SeenFlow, owner: Owner) -> str:
        pod = self._pods.get(owner)
        return flow.node or self._node or (pod.node or "" if pod is not None else "")


def _kind(flow: SeenFlow, is_reply: bool | None) -> Kind:
    if flow.icmp is not None and flow.icmp[0] in _ERRORS[flow.protocol]:
        return Kind.ICMP_ERROR
    is_open = flow.verdict in ("forwarded", "unknown")
    return Kind.MID_STREAM if is_reply is None and is_open and _may_be_later(flow) else Kind.NEW


def _may_be_later(flow: SeenFlow) -> bool:
    """Whether a packet of which nobody tells who opened may be another than the first, or an answer."""
    return flow.protocol == TCP or (flow.protocol in (UDP, SCTP) and 0 < flow.source_port < EPHEMERAL <= flow.port)
