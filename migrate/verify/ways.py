"""The way of a connection through a Service: where each engine looks at the packet, and what it sees there.

Facts: kube-proxy translates before the FORWARD chain. What comes in by a node port or balancer with
externalTrafficPolicy Cluster it marks, and a marked packet gets the entry node's address on its way out. KUBE-FORWARD
accepts the mark; it stands before NPM's chain (measured with packets between two nodes) and behind Calico's. Cilium
in place of kube-proxy rewrites only what leaves the entry node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from migrate.model.flow import Direction, End, EndKind, Flow, ServiceTarget, Via
from migrate.model.raw import Json, RawObject
from migrate.sources.calico import HOST_ENDPOINT
from migrate.sources.npm_settings import NpmSettings


class NotModelledError(Exception):
    """The way is not modelled; the message says what of it."""


@dataclass(frozen=True, slots=True)
class Check:
    """A packet as policy sees it at one place.

    `everyone`: it is seen there also when the engine lets such peers pass at the pod itself. `port_known` is False
    when the number of the node port, which the packet has there, is not known.
    """

    direction: Direction
    flow: Flow
    everyone: bool = False
    port_known: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """One way that the packet may take, and all checks on it; `name` tells it from the others."""

    checks: tuple[Check, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A connection to one backend, in at one node (None: translated where the client is)."""

    flow: Flow
    via: Via
    target: ServiceTarget
    entry: End | None = None

    @property
    def direct(self) -> Flow:
        """Client to backend, after translation."""
        return Flow(self.flow.source, self.target.end, replace(self.flow.packet, port=self.target.port))

    def by(self, source: End) -> Flow:
        """The same from another source."""
        return replace(self.direct, source=source)

    @property
    def from_pod(self) -> bool:
        """Whether the client is a pod, whose own policies hold."""
        return self.flow.source.kind is EndKind.POD

    @property
    def to_itself(self) -> bool:
        """Whether a pod reaches itself."""
        return self.flow.source.pod is not None and self.flow.source.pod == self.target.end.pod

    @property
    def client_is_local(self) -> bool:
        """Whether the client is the entry node or on it."""
        return _same_node(self.flow.source, self.entry)

    @property
    def backend_is_local(self) -> bool:
        """Whether the backend is the entry node or on it."""
        return _same_node(self.target.end, self.entry)

    @property
    def enters(self) -> bool:
        """Whether the packet is translated on an entry node, for it or as for any client from elsewhere.

        externalTrafficPolicy Local does not bind the entry node itself and the pods on it.
        """
        return self.entry is not None and not (self.via.keeps_source and self.client_is_local)


Ways: TypeAlias = Callable[[Passage], Sequence[Reading]]
"""All readings of one passage. They raise NotModelledError."""


def _same_node(first: End, second: End | None) -> bool:
    return second is not None and first.node_name is not None and first.node_name == second.node_name


def kubernetes(passage: Passage) -> Sequence[Reading]:
    """The API leaves open where addresses are rewritten, before policy or behind it."""
    if passage.entry is None or not passage.enters:
        return (_translated(passage),)
    leaving = [_leaves(passage.direct)]
    if passage.from_pod and not passage.client_is_local:
        leaving.append(_to_entry(passage, passage.entry))
    arriving = {"with the client's address": passage.direct}
    if not passage.via.keeps_source:
        arriving["with the entry node's address"] = passage.by(passage.entry)
    return [
        Reading((check, _arrives(flow)), f"{name}{_before(check.flow, passage)}")
        for check, (name, flow) in product(leaving, arriving.items())
    ]


def _before(flow: Flow, passage: Passage) -> str:
    return ", egress judged before translation" if flow.destination != passage.target.end else ""


def npm(passage: Passage) -> Sequence[Reading]:
    """What kube-proxy marks, NPM does not see on the entry node; elsewhere it comes from that node."""
    return _npm(passage, first=False)


def npm_first(passage: Passage) -> Sequence[Reading]:
    """With PlaceAzureChainFirst NPM's chain comes before the one that accepts the mark."""
    return _npm(passage, first=True)


def _npm(passage: Passage, *, first: bool) -> Sequence[Reading]:
    if passage.direct.source.address.version == 6:
        return (Reading(),)
    direct = passage.direct
    forwarded = (_leaves(direct, everyone=True), _arrives(direct, everyone=True))
    if passage.entry is None or not passage.enters:
        marked = passage.to_itself
        return (Reading(forwarded if first else ()) if marked else _translated(passage),)
    checks: list[Check] = []
    if passage.from_pod and not passage.client_is_local:
        checks.append(_to_entry(passage, passage.entry))
    if (first or passage.via.keeps_source) and _is_forwarded(passage):
        checks += forwarded
    if not passage.backend_is_local:
        checks.append(_arrives(passage.by(passage.entry)))
    return (Reading(tuple(checks)),)


def _is_forwarded(passage: Passage) -> bool:
    """Whether the packet passes the entry node's FORWARD chain: it neither begins nor ends on the node itself."""
    from_entry = passage.client_is_local and not passage.from_pod
    to_entry = passage.backend_is_local and passage.target.end.kind is EndKind.NODE
    return not from_entry and not to_entry


def npm_windows(passage: Passage) -> Sequence[Reading]:
    """The switch of Windows nodes translates and polices by itself; what comes in at a node was never measured."""
    if passage.entry is not None:
        raise NotModelledError("what NPM on Windows sees of connections that come in at a node")
    if passage.to_itself:
        raise NotModelledError("what NPM on Windows sees of a pod that reaches itself through a service")
    return (_translated(passage),)


def calico(passage: Passage) -> Sequence[Reading]:
    """Calico's chains stand first, so it sees a client's own address on the entry node, also a pod's own."""
    everyone = passage.to_itself
    leaving, arriving = _leaves(passage.direct, everyone=everyone), _arrives(passage.direct, everyone=everyone)
    if passage.entry is None or not passage.enters:
        return (Reading((leaving, arriving)),)
    if passage.from_pod and not passage.client_is_local:
        leaving = _to_entry(passage, passage.entry)
    if not passage.backend_is_local:
        arriving = _arrives(passage.by(passage.entry))
    return (Reading((leaving, arriving)),)


def cilium(passage: Passage) -> Sequence[Reading]:
    """Cilium in place of kube-proxy. What another node passes on has that node's identity, or the world's."""
    if passage.to_itself:
        return (replace(_translated(passage), name="checked as the pod itself"), Reading(name="not checked"))
    if passage.entry is None or not passage.enters or passage.client_is_local:
        return (_translated(passage),)
    if passage.backend_is_local:
        arriving = {"with the client's identity": passage.direct}
    else:
        arriving = {f"as from {name}": passage.by(end) for name, end in _senders(passage, passage.entry).items()}
    leaving = (_to_entry(passage, passage.entry),) if passage.from_pod else ()
    found = [Reading((*leaving, _arrives(flow)), name) for name, flow in arriving.items()]
    if passage.flow.source.kind is not EndKind.OUTSIDE:
        found.append(replace(_translated(passage), name="translated where the client is"))
    return found


def _senders(passage: Passage, entry: End) -> dict[str, End]:
    """Who a backend on another node may take for the sender."""
    found = {"the entry node": entry, "the world": End(EndKind.OUTSIDE, entry.address)}
    if passage.flow.source.kind is EndKind.OUTSIDE:
        found["the client"] = passage.flow.source
    return found


def _translated(passage: Passage) -> Reading:
    """Translation comes first, so that it is as the direct flow."""
    return Reading((_leaves(passage.direct), _arrives(passage.direct)))


def _leaves(flow: Flow, *, everyone: bool = False) -> Check:
    return Check(Direction.EGRESS, flow, everyone)


def _arrives(flow: Flow, *, everyone: bool = False) -> Check:
    return Check(Direction.INGRESS, flow, everyone)


def _to_entry(passage: Passage, entry: End) -> Check:
    """What the client's own node sees: a packet to the node port of another node."""
    number = passage.via.node_port
    packet = replace(passage.flow.packet, port=number or 0)
    return Check(Direction.EGRESS, Flow(passage.flow.source, entry, packet), port_known=number is not None)


def _calico_with_host_endpoints(passage: Passage) -> Sequence[Reading]:
    """Policies of host endpoints may be applied to what the entry node forwards, some before translation."""
    if passage.entry is not None and passage.enters:
        raise NotModelledError("policies of host endpoints on the node that connections come in at")
    return calico(passage)


_WAYS: dict[str, Ways] = {
    "kubernetes": kubernetes,
    "npm": npm,
    "npm-windows": npm_windows,
    "calico": calico,
    "cilium": cilium,
}


def ways_of(engine: str, options: Mapping[str, Json], policies: Iterable[RawObject]) -> Ways:
    """The ways of the engine of that name, which knows these options and policies."""
    if engine == "npm" and NpmSettings.of(options).chain_first:
        return npm_first
    if engine == "calico" and any(raw.ref.kind == HOST_ENDPOINT for raw in policies):
        return _calico_with_host_endpoints
    return _WAYS[engine]
