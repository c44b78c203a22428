"""Services as kube-proxy names them on a node."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from migrate.model.addresses import Address, Network, parse_address, parse_network
from migrate.model.raw import Json, RawObject, as_list, as_map
from migrate.model.refs import ObjectRef

_OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
_HEADLESS = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True)
class ServicePortName:
    """One port of a Service. Its name in rules is "namespace/name:port", without ":port" where the port has no name."""

    namespace: str
    name: str
    port: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f":{self.port}" if self.port else "")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What its chains end in: KUBE-SVC-, KUBE-SVL-, KUBE-FW-, KUBE-XLB-, KUBE-EXT- and one of these.

        Older releases write a port without a name as "namespace/name:" and hash that.
        Source: kubernetes/kubernetes, pkg/proxy/iptables/proxier.go, portProtoHash, and pkg/proxy/types.go.
        """
        names = (str(self),) if self.port else (str(self), f"{self}:")
        return tuple(_hash(f"{name}{self.protocol.lower()}", 16) for name in names)

    @property
    def chain_base(self) -> str:
        """What its chains of mode nftables end in, after "service-", "firewall-" and so on.

        Source: kubernetes/kubernetes, pkg/proxy/nftables/proxier.go, servicePortChainNameBase.
        """
        text = f"{self.namespace}/{self.name}/{self.protocol.lower()}/{self.port}"
        return f"{_hash(text, 8)}-{text}"


def _hash(text: str, length: int) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:length].decode()


@dataclass(frozen=True, slots=True)
class ServedPort:
    """A port of a Service that kube-proxy has to serve. `ranges` are spec.loadBalancerSourceRanges, None without any.

    `balancers` are the addresses of its load balancer whose packets arrive with that destination, `external` its
    external IPs. `created` is RFC 3339 in UTC, "" where it is not known.
    """

    name: ServicePortName
    ref: ObjectRef
    number: int
    cluster: tuple[Address, ...]
    balancers: tuple[Address, ...]
    ranges: tuple[Network, ...] | None
    external: tuple[Address, ...] = ()
    node_port: int | None = None
    created: str = ""

    def families(self) -> frozenset[int]:
        """The families in which it has a cluster address."""
        return frozenset(address.version for address in self.cluster)


def served_ports(raws: tuple[RawObject, ...]) -> Iterator[ServedPort]:
    """The ports of Services, without headless ones and those that another proxy serves."""
    for raw in raws:
        spec, labels = as_map(raw.data.get("spec")), as_map(as_map(raw.data.get("metadata")).get("labels"))
        cluster = tuple(_addresses([spec.get("clusterIP"), *as_list(spec.get("clusterIPs"))]))
        if spec.get("type") == "ExternalName" or not cluster or {_OTHER_PROXY, _HEADLESS} & labels.keys():
            continue
        for entry in as_list(spec.get("ports")):
            yield _served(raw, spec, as_map(entry), cluster)


def _served(
    raw: RawObject, spec: Mapping[str, Json], port: Mapping[str, Json], cluster: tuple[Address, ...]
) -> ServedPort:
    number, node_port = port.get("port"), port.get("nodePort")
    return ServedPort(
        name=ServicePortName(
            raw.ref.namespace or "default", raw.ref.name, _text(port.get("name")), _text(port.get("protocol"), "TCP")
        ),
        ref=raw.ref,
        number=number if isinstance(number, int) else 0,
        cluster=cluster,
        balancers=tuple(_addresses(_balancers(raw))),
        ranges=_ranges(spec),
        external=tuple(_addresses(as_list(spec.get("externalIPs")))),
        node_port=node_port if isinstance(node_port, int) else None,
        created=_text(as_map(raw.data.get("metadata")).get("creationTimestamp")),
    )


def _ranges(spec: Mapping[str, Json]) -> tuple[Network, ...] | None:
    """The ranges; a text that is none is left out, as kube-proxy does."""
    found: list[Network] = []
    for text in as_list(spec.get("loadBalancerSourceRanges")):
        try:
            found.append(parse_network(_text(text).strip()))
        except ValueError:
            continue
    return tuple(found) if found and spec.get("type") == "LoadBalancer" else None


def _balancers(raw: RawObject) -> Iterator[Json]:
    status = as_map(as_map(raw.data.get("status")).get("loadBalancer"))
    for entry in as_list(status.get("ingress")):
        if as_map(entry).get("ipMode", "VIP") == "VIP":
            yield as_map(entry).get("ip")


def _addresses(texts: list[Json] | Iterator[Json]) -> Iterator[Address]:
    seen: set[Address] = set()
    for text in texts:
        try:
            address = parse_address(_text(text))
        except ValueError:
            continue
        if address not in seen:
            seen.add(address)
            yield address


def _text(value: Json, otherwise: str = "") -> str:
    return value if isinstance(value, str) and value else otherwise
