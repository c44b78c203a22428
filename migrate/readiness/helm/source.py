"""Today's data plane as Helm values need it: address pools, agent settings, kube-proxy, who is not masqueraded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import yaml

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.documents import Evidence
from migrate.model.raw import Json, RawObject
from migrate.readiness.documents import Documents
from migrate.scan.inventory.look import dig, evidence, number, text, texts
from migrate.sources.calico import GROUPS

_OPERATOR = "operator.tigera.io"
_ENCAPSULATIONS = {
    "IPIP": ("Always", "Never"),
    "IPIPCrossSubnet": ("CrossSubnet", "Never"),
    "VXLAN": ("Never", "Always"),
    "VXLANCrossSubnet": ("Never", "CrossSubnet"),
    "None": ("Never", "Never"),
}


@dataclass(frozen=True, slots=True)
class Pool:
    """A block of pod addresses. `ipip` and `vxlan` are Always, CrossSubnet or Never.

    `raw` and `path` say where it stands, for evidence. A disabled pool gives out no addresses, and destinations in it
    are still not masqueraded.
    """

    raw: RawObject
    path: tuple[str | int, ...]
    network: Network
    ipip: str = "Never"
    vxlan: str = "Never"
    masquerades: bool = False
    node_selector: str = ""
    disabled: bool = False
    exported: bool = True

    def field(self, key: str) -> Evidence:
        """That a setting of the pool stands there."""
        return evidence(self.raw, *self.path, key)


@dataclass(frozen=True, slots=True)
class Masquerade:
    """What ip-masq-agent is told: destinations that see the pod's own address."""

    shown: Evidence
    exceptions: tuple[Network, ...]
    link_local: bool


@dataclass(frozen=True)
class DataPlane:
    """The settings of today's data plane, read from the documents as they are asked for."""

    documents: Documents

    def calico(self, kind: str) -> tuple[RawObject, ...]:
        """Objects of one of Calico's kinds."""
        return tuple(raw for raw in self.documents.by_kind.get(kind, ()) if raw.ref.group in GROUPS)

    @cached_property
    def installation(self) -> RawObject | None:
        """What Calico's operator was told."""
        found = self.documents.by_kind.get("Installation", ())
        return next((raw for raw in found if raw.ref.group == _OPERATOR), None)

    @cached_property
    def felix(self) -> RawObject | None:
        """The settings of Calico's agent on all nodes."""
        return next((raw for raw in self.calico("FelixConfiguration") if raw.ref.name == "default"), None)

    @cached_property
    def bgp(self) -> RawObject | None:
        """How all nodes speak BGP."""
        return next((raw for raw in self.calico("BGPConfiguration") if raw.ref.name == "default"), None)

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """Calico's address pools: the objects, or else what the operator was told to make."""
        found = [pool for raw in self.calico("IPPool") if (pool := _pool(raw)) is not None]
        return tuple(sorted(found, key=lambda pool: pool.raw.ref.name)) or tuple(_planned_pools(self.installation))

    @cached_property
    def taken(self) -> AddressSet:
        """All addresses that are known to be in use: of pods, services and nodes."""
        cluster = self.documents.cluster
        addresses = [address for pod in cluster.pods for address in pod.addresses]
        addresses += [address for node in cluster.nodes for address in node.addresses]
        addresses += [address for service in cluster.services for address in service.addresses]
        return (
            AddressSet.of_addresses(addresses)
            | AddressSet.of(pool.network for pool in self.pools)
            | AddressSet.of(_networks(self._named_networks()))
            | cluster.pod_networks
            | cluster.service_networks
        )

    def config(self, name: str) -> RawObject | None:
        """A ConfigMap of kube-system."""
        maps = self.documents.by_kind.get("ConfigMap", ())
        return next((raw for raw in maps if raw.ref.namespace == "kube-system" and raw.ref.name == name), None)

    def api_server(self) -> tuple[str, int, Evidence] | None:
        """Where nodes reach the API server without any service: host, port, and where that stands."""
        for name, key, path in (
            ("kube-proxy", "kubeconfig.conf", ("clusters", 0, "cluster", "server")),
            ("kubeadm-config", "ClusterConfiguration", ("controlPlaneEndpoint",)),
        ):
            raw = self.config(name)
            url = None if raw is None else dig(parsed(text(raw, "data", key)), *path)
            if raw is None or not isinstance(url, str) or not url:
                continue
            split = urlsplit(url if "//" in url else f"//{url}")
            if split.hostname:
                shown = Evidence(object=str(raw.ref), field=f'data["{key}"]', value=url)
                return split.hostname, _port_of(split.netloc), shown
        return None

    def masquerade(self) -> Masquerade | None:
        """What ip-masq-agent is told, by the first of its ConfigMaps that says something."""
        for name in ("azure-ip-masq-agent-config", "azure-ip-masq-agent-config-reconciled", "ip-masq-agent"):
            raw = self.config(name)
            data = None if raw is None else dig(raw.data, "data")
            for key, body in sorted(data.items()) if isinstance(data, dict) else ():
                said = parsed(body if isinstance(body, str) else "")
                listed = dig(said, "nonMasqueradeCIDRs")
                if raw is not None and isinstance(listed, list):
                    named = [entry for entry in listed if isinstance(entry, str)]
                    shown = Evidence(object=str(raw.ref), field=f'data["{key}"]', value=", ".join(named))
                    return Masquerade(shown, tuple(_networks(named)), dig(said, "masqLinkLocal") is True)
        return None

    def _named_networks(self) -> Iterator[str]:
        """Networks that settings name for pods and services."""
        azure, kubeadm = self.documents.azure, self.config("kubeadm-config")
        if self.installation is not None:
            yield from texts(self.installation, "spec", "serviceCIDRs")
        for key in ("podCidrs", "serviceCidrs"):
            yield from () if azure is None else texts(azure, "spec", "networkProfile", key)
        said = None if kubeadm is None else parsed(text(kubeadm, "data", "ClusterConfiguration"))
        for key in ("podSubnet", "serviceSubnet"):
            value = dig(said, "networking", key)
            yield from value.split(",") if isinstance(value, str) else ()
        for fact in (*self.documents.facts("pod-networks"), *self.documents.facts("service-network")):
            yield from fact.value.split(",")


def _pool(raw: RawObject) -> Pool | None:
    network = next(_networks([text(raw, "spec", "cidr")]), None)
    if network is None:
        return None
    return Pool(
        raw=raw,
        path=("spec",),
        network=network,
        ipip=text(raw, "spec", "ipipMode") or "Never",
        vxlan=text(raw, "spec", "vxlanMode") or "Never",
        masquerades=dig(raw.data, "spec", "natOutgoing") is True,
        node_selector=text(raw, "spec", "nodeSelector"),
        disabled=dig(raw.data, "spec", "disabled") is True,
        exported=dig(raw.data, "spec", "disableBGPExport") is not True,
    )


def _planned_pools(installation: RawObject | None) -> Iterator[Pool]:
    path = ("spec", "calicoNetwork", "ipPools")
    planned = None if installation is None else dig(installation.data, *path)
    for index, _ in enumerate(planned if isinstance(planned, list) and installation is not None else ()):
        if installation is None:
            return
        network = next(_networks([text(installation, *path, index, "cidr")]), None)
        if network is None:
            continue
        ipip, vxlan = _ENCAPSULATIONS.get(text(installation, *path, index, "encapsulation") or "IPIP", ("Never",) * 2)
        yield Pool(
            raw=installation,
            path=(*path, index),
            network=network,
            ipip=ipip,
            vxlan=vxlan,
            masquerades=text(installation, *path, index, "natOutgoing") != "Disabled",
            node_selector=text(installation, *path, index, "nodeSelector"),
            exported=dig(installation.data, *path, index, "disableBGPExport") is not True,
        )


def felix_number(plane: DataPlane, key: str) -> int:
    """A number among the agent's settings; 0 when it is not set, which everywhere means "find it out"."""
    return 0 if plane.felix is None else number(plane.felix, "spec", key) or 0


def felix_flag(plane: DataPlane, key: str) -> bool:
    """Whether the agent was told to do something."""
    return plane.felix is not None and dig(plane.felix.data, "spec", key) is True


def installed(plane: DataPlane, key: str) -> str:
    """A word among the operator's network settings; empty when it is not set."""
    return "" if plane.installation is None else text(plane.installation, "spec", "calicoNetwork", key)


def spec_of(raw: RawObject, *path: str) -> Mapping[str, Json]:
    """The settings at a path of an object."""
    found = dig(raw.data, *path)
    return found if isinstance(found, dict) else {}


def _networks(values: Iterable[str]) -> Iterator[Network]:
    for value in values:
        try:
            yield parse_network(value.strip())
        except ValueError:
            continue


def parsed(document: str) -> Json:
    """YAML inside a ConfigMap; None when it is none."""
    try:
        loaded: Json = yaml.load(document, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    return loaded


def _port_of(place: str) -> int:
    _, _, port = place.rpartition(":")
    return int(port) if port.isdecimal() else 443
