"""The Services of a case: whole Service and EndpointSlice objects, or a short form; and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from migrate.model.addresses import Address, parse_address
from migrate.model.cluster import Cluster, Pod, Service, ServicePort
from migrate.model.flow import End, EndKind, ServiceTarget
from migrate.model.labels import Labels
from migrate.model.ruleset import ends_of
from migrate.sources.cluster import SERVICE_NAME
from migrate.sources.endpoints import Backend
from migrate.sources.fields import Fields

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_POLICIES = ("Cluster", "Local")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_HEADLESS = "None"


@dataclass(frozen=True, slots=True)
class CaseService:
    """A Service of a case. `backends` is None where its selector says what stands behind it.

    `not_modelled` says what of it no engine's model knows, `not_modelled_outside` the same for clients outside.
    `other_addresses` are its external and balancer IPs, by which it is reached at a node.
    """

    service: Service
    backends: tuple[Backend, ...] | None = None
    headless: bool = False
    not_modelled: str = ""
    not_modelled_outside: str = ""
    other_addresses: tuple[Address, ...] = ()


class CaseServices:
    """What is known of the Services of a case, by namespace/name."""

    def __init__(self, services: Mapping[str, CaseService], cluster: Cluster) -> None:
        self._services = services
        self._cluster = cluster
        self._ends = ends_of(cluster)
        self._nodes = {node.name: node.addresses for node in cluster.nodes}

    def __bool__(self) -> bool:
        return bool(self._services)

    def named(self, name: str) -> CaseService | None:
        """The Service of that name."""
        return self._services.get(name)

    def at(self, address: Address) -> str | None:
        """The name of the Service that has an address."""
        return next((name for name, known in self._services.items() if address in _addresses(known)), None)

    def is_other_address(self, address: Address) -> bool:
        """Whether it is an external or a balancer's IP of a Service."""
        return any(address in known.other_addresses for known in self._services.values())

    def end(self, address: Address) -> End:
        """Who has an address; the outside when nobody in the case does."""
        known = self._ends.get(str(address))
        return known or End(EndKind.OUTSIDE, address, api_server=address in self._cluster.api_server)

    def targets(self, known: CaseService, port: ServicePort) -> tuple[ServiceTarget, ...]:
        """Everything that a port of a Service passes connections on to, of all IP families."""
        if known.backends is None:
            return tuple(self._selected(known, port))
        return tuple(
            ServiceTarget(self.end(backend.address), port.port if number is None else number)
            for backend in known.backends
            for name, protocol, number in backend.ports
            if backend.ready and (name, protocol) == (port.name, port.protocol)
        )

    def _selected(self, known: CaseService, port: ServicePort) -> Iterable[ServiceTarget]:
        wanted = known.service.selector
        for pod in self._cluster.pods:
            if wanted is None or pod.namespace != known.service.namespace or not wanted.items() <= pod.labels.items():
                continue
            number = port.port if known.headless else _target_number(port, pod)
            if number is not None:
                addresses = addresses_of(pod, self._nodes)
                yield from (ServiceTarget(self.end(address), number) for address in addresses)


def _addresses(known: CaseService) -> tuple[Address, ...]:
    return known.service.addresses + known.other_addresses


def addresses_of(pod: Pod, nodes: Mapping[str, Sequence[Address]]) -> Sequence[Address]:
    """A pod's addresses; on the host's network those of its node."""
    return nodes.get(pod.node or "", pod.addresses) if pod.host_network else pod.addresses


def _target_number(port: ServicePort, pod: Pod) -> int | None:
    """The number that a target port is on a pod; None for a name that the pod does not have."""
    if not isinstance(port.target, str):
        return port.target or port.port
    named = (p.port for p in pod.named_ports if (p.name, p.protocol) == (port.target, port.protocol))
    return next(named, None)


@dataclass(slots=True)
class _Reader:
    """Reads services against the pods and nodes of the case."""

    pods: Mapping[str, Pod]
    nodes: Mapping[str, Sequence[Address]]
    found: dict[str, CaseService] = field(default_factory=dict)
    slices: dict[str, list[Backend]] = field(default_factory=dict)

    def read(self, fields: Fields) -> None:
        kind = fields.text("kind")
        if kind == "EndpointSlice":
            self._slice(fields)
        elif kind in ("", "Service"):
            known = self._service(fields, whole=bool(kind))
            name = f"{known.service.namespace}/{known.service.name}"
            if name in self.found:
                fields.invalid(f"service {name} stands here twice")
            self.found[name] = known
        else:
            fields.invalid(f'"{kind}" is not Service or EndpointSlice', "kind")
            fields.ignore(*fields.keys())
        fields.close()

    def _service(self, fields: Fields, *, whole: bool) -> CaseService:
        spec = (fields.child("spec") or Fields(fields.reading, {}, fields.path)) if whole else fields
        names = _metadata(fields) if whole else fields
        kind, policy = _word(spec, "type", _TYPES), _word(spec, "externalTrafficPolicy", _POLICIES)
        selector = spec.string_map("selector")
        cluster_ips = [text for text in (spec.text("clusterIP"), *spec.texts("clusterIPs")) if text]
        service = Service(
            namespace=names.text("namespace") or "default",
            name=names.text("name"),
            type=kind,
            selector=Labels.of(selector) if selector else None,
            labels=Labels.of(names.string_map("labels")),
            addresses=_parsed(spec, "clusterIP", (text for text in cluster_ips if text != _HEADLESS)),
            ports=tuple(_service_port(port) for port in spec.children("ports") or ()),
            external_traffic_policy=policy,
        )
        if not service.name:
            names.invalid("a service needs a name", "name")
        known = CaseService(
            service,
            backends=None if whole else self._short_backends(fields, service),
            headless=_HEADLESS in cluster_ips,
            not_modelled=_not_modelled(spec, kind),
            other_addresses=_parsed(
                spec, "externalIPs", (*spec.texts("externalIPs"), *_balancer_ips(fields, whole=whole))
            ),
            not_modelled_outside="its loadBalancerSourceRanges" if spec.texts("loadBalancerSourceRanges") else "",
        )
        if whole:
            spec.ignore(*spec.keys())
            fields.ignore("apiVersion")
        return known

    def _short_backends(self, fields: Fields, service: Service) -> tuple[Backend, ...] | None:
        """`endpoints`: pods, nodes and addresses; an endpoint without a port of its own has the target ports."""
        if fields.items("endpoints") is None:
            return None
        entries = _endpoints(fields)
        found: list[Backend] = []
        for entry in entries:
            number, pod, addresses = _port(entry, "port"), self.pods.get(entry.text("pod")), self._owned(entry)
            ports = tuple((p.name, p.protocol, number or self._number(p, pod, entry)) for p in service.ports)
            found += [Backend(service.namespace, service.name, address, True, ports) for address in addresses]
            entry.close()
        return tuple(found)

    def _number(self, port: ServicePort, pod: Pod | None, entry: Fields) -> int | None:
        if pod is None and isinstance(port.target, str):
            entry.invalid(f'needs a port, since targetPort "{port.target}" is a name', "port")
            return None
        return _target_number(port, pod) if pod is not None else int(port.target or port.port)

    def _owned(self, entry: Fields) -> Sequence[Address]:
        named = [key for key in ("pod", "node", "ip") if entry.has(key)]
        if len(named) != 1:
            entry.invalid("must name one end by pod, node, ip")
            return ()
        kind, name = named[0], entry.text(named[0])
        if kind == "ip":
            address = _address(entry, name, kind)
            return () if address is None else (address,)
        owner = self.pods.get(name) if kind == "pod" else None
        addresses = self.nodes.get(name) if owner is None else addresses_of(owner, self.nodes)
        if addresses is None:
            entry.invalid(f"{kind} {name} is not in the case", kind)
        return addresses or ()

    def _slice(self, fields: Fields) -> None:
        metadata = _metadata(fields)
        service = metadata.string_map("labels").get(SERVICE_NAME, "")
        namespace = metadata.text("namespace") or "default"
        if not service:
            metadata.invalid(f"an EndpointSlice needs the label {SERVICE_NAME}", "labels")
        ports = tuple(
            (port.text("name"), _word(port, "protocol", _PROTOCOLS), _port(port, "port"))
            for port in fields.children("ports") or ()
        )
        for entry in fields.children("endpoints") or ():
            conditions = entry.child("conditions")
            ready = conditions is None or not conditions.has("ready") or conditions.flag("ready")
            for index, text in enumerate(entry.texts("addresses")):
                address = _address(entry, text, "addresses", index)
                if address is not None:
                    backend = Backend(namespace, service, address, ready, ports)
                    self.slices.setdefault(f"{namespace}/{service}", []).append(backend)
        fields.ignore("apiVersion", "addressType")


def read_services(
    root: Fields, pods: Mapping[str, Pod], nodes: Mapping[str, Sequence[Address]]
) -> dict[str, CaseService]:
    """The Services of a case by namespace/name; `pods` and `nodes` are the addresses of each.

    EndpointSlices go before selectors; those of a Service that is not in the case are of no use.
    """
    reader = _Reader(pods, nodes)
    for fields in root.children("services") or ():
        reader.read(fields)
    for name, backends in reader.slices.items():
        if name in reader.found:
            reader.found[name] = replace(reader.found[name], backends=tuple(backends))
    return {name: _with_endpoints(known) for name, known in reader.found.items()}


def _with_endpoints(known: CaseService) -> CaseService:
    """The same with the addresses behind a service that has no selector to say what they are."""
    if known.service.selector:
        return known
    endpoints = tuple(backend.address for backend in known.backends or () if backend.ready)
    return replace(known, service=replace(known.service, endpoints=endpoints))


def _endpoints(fields: Fields) -> tuple[Fields, ...]:
    """The entries of `endpoints`; an address alone is short for that address."""
    found: list[Fields] = []
    for index, entry in enumerate(fields.items("endpoints") or ()):
        value = {"ip": entry} if isinstance(entry, str) else entry
        if isinstance(value, dict):
            found.append(Fields(fields.reading, value, (*fields.path, "endpoints", index)))
        else:
            fields.invalid("must be an address or a mapping", "endpoints", index)
    return tuple(found)


def _metadata(fields: Fields) -> Fields:
    return fields.child("metadata") or Fields(fields.reading, {}, fields.path)


def _not_modelled(spec: Fields, kind: str) -> str:
    if kind == "ExternalName":
        return "type ExternalName, which only is another name for a host outside"
    if spec.text("internalTrafficPolicy") == "Local":
        return "internalTrafficPolicy Local"
    return ""


def _balancer_ips(fields: Fields, *, whole: bool) -> Iterator[str]:
    status = fields.child("status") if whole else None
    balancer = None if status is None else status.child("loadBalancer")
    for entry in (None if balancer is None else balancer.children("ingress")) or ():
        if entry.has("ip"):
            yield entry.text("ip")


def _parsed(fields: Fields, key: str, texts: Iterable[str]) -> tuple[Address, ...]:
    found = [_address(fields, text, key) for text in texts]
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _service_port(fields: Fields) -> ServicePort:
    target = fields.scalar("targetPort")
    found = ServicePort(
        protocol=_word(fields, "protocol", _PROTOCOLS),
        port=_port(fields, "port") or 0,
        target=_port(fields, "targetPort") if isinstance(target, int) else target,
        node_port=_port(fields, "nodePort"),
        name=fields.text("name"),
    )
    if not fields.has("port"):
        fields.invalid("a service port needs its number", "port")
    fields.ignore("appProtocol")
    fields.close()
    return found


def _word(fields: Fields, key: str, allowed: Sequence[str]) -> str:
    """One of the allowed words; the first where nothing is said."""
    found = fields.text(key, allowed[0])
    if found not in allowed:
        fields.invalid(f'"{found}" is not one of {", ".join(allowed)}', key)
    return found


def _port(fields: Fields, key: str) -> int | None:
    return number_in(fields, key, 1, 65535)


def number_in(fields: Fields, key: str, lowest: int, highest: int) -> int | None:
    """A number between two bounds; a problem is noted when it lies outside of them."""
    value = fields.integer(key)
    if value is not None and not lowest <= value <= highest:
        fields.invalid(f"must be from {lowest} to {highest}", key)
    return value


def _address(fields: Fields, text: str, *path: str | int) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        fields.invalid(f'"{text}" is not an IP address', *path)
        return None
