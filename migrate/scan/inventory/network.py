"""How pods get their network: CNI, addresses, kube-proxy, and what answers DNS on the node."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import yaml

from migrate.model.documents import Evidence, Fact
from migrate.model.raw import RawObject
from migrate.scan.inventory.addresses import address_facts
from migrate.scan.inventory.enforcement import unknown_network_daemons
from migrate.scan.inventory.gather import Inventory
from migrate.scan.inventory.look import counted, dig, evidence, first_few, text, texts
from migrate.scan.inventory.machines import azure_pools, grouped, is_aks
from migrate.scan.inventory.sightings import Sighting, with_role

_PROFILE = ("spec", "networkProfile")
_OVERLAY_LABEL = "kubernetes.azure.com/podnetwork-type"
_LOCAL_DNS_LABEL = "kubernetes.azure.com/localdns-state"
_AZURE_POD_NETWORKS = {
    "overlay": "azure-cni-overlay",
    "vnet": "azure-cni-pod-subnet",
    "vnetblock": "azure-cni-pod-subnet",
}
_IPAM_OF_CNI = {
    "azure-cni-node-subnet": "node-subnet",
    "azure-cni-pod-subnet": "pod-subnet",
    "azure-cni-overlay": "overlay",
    "kubenet": "host-local",
    "flannel": "host-local",
    "kindnet": "host-local",
    "aws-vpc-cni": "vpc",
}
_ASK_AZURE = "`az aks show -o json`, given with --az-json, would tell"


def network_facts(inventory: Inventory, seen: Sequence[Sighting], cni: Sequence[Fact]) -> list[Fact]:
    """Facts about the pod network of the cluster, with the facts about its CNI."""
    return [
        *cni,
        _kubenet(inventory, cni),
        _ipam(inventory, cni),
        _kube_proxy(inventory),
        _node_local_dns(inventory, seen),
        *address_facts(inventory, cni[0].value),
    ]


def cni_facts(inventory: Inventory, seen: Sequence[Sighting]) -> list[Fact]:
    """The CNI by the best witness: Azure, AKS node labels, Calico's operator, what runs, then what AKS nodes lack."""
    witnesses = (_azure_cni, _labelled_cni, _installed_cni)
    found = next((fact for witness in witnesses if (fact := witness(inventory)) is not None), None)
    if found is not None:
        return [found]
    running = [s for s in with_role(seen, "cni") if s.state in ("active", "unknown") and not _chained(inventory, s)]
    leading = [s for s in running if s.id != "calico"] or running
    if leading:
        return [sighting.fact("cni") for sighting in leading]
    others = unknown_network_daemons(inventory)
    if others:
        return [Fact(topic="cni", value=f"other: {raw.ref.namespace}/{raw.ref.name}") for raw in others]
    return [_inferred_cni(inventory)]


def _azure_cni(inventory: Inventory) -> Fact | None:
    azure = inventory.azure
    plugin = "" if azure is None else text(azure, *_PROFILE, "networkPlugin")
    if azure is None or plugin not in ("azure", "kubenet"):
        return None
    shown = [evidence(azure, *_PROFILE, key) for key in ("networkPlugin", "networkPluginMode")]
    pools = grouped((raw, (*path, "podSubnetId")) for raw, path in azure_pools(inventory))
    shown += [one for several in pools.values() for one in several[:1]]
    if plugin == "kubenet":
        value = "kubenet"
    elif text(azure, *_PROFILE, "networkPluginMode").lower() == "overlay":
        value = "azure-cni-overlay"
    else:
        value = "azure-cni-pod-subnet" if pools else "azure-cni-node-subnet"
    plane = text(azure, *_PROFILE, "networkDataplane")
    return Fact(topic="cni", value=value, detail=f"data plane {plane}" if plane else "", evidence=tuple(shown))


def _labelled_cni(inventory: Inventory) -> Fact | None:
    nodes = [(node, ("metadata", "labels", _OVERLAY_LABEL)) for node in inventory.all("Node")]
    for kind, shown in grouped(nodes).items():
        if kind in _AZURE_POD_NETWORKS:
            detail = f"by the label of {counted(len(shown), 'node')}"
            return Fact(topic="cni", value=_AZURE_POD_NETWORKS[kind], detail=detail, evidence=first_few(shown))
    return None


def _installed_cni(inventory: Inventory) -> Fact | None:
    types = {"Calico": "calico", "AzureVNET": "azure-cni-node-subnet", "AmazonVPC": "aws-vpc-cni", "GKE": "gke"}
    for raw in inventory.all("Installation"):
        value = types.get(text(raw, "spec", "cni", "type"))
        if value is not None:
            return Fact(topic="cni", value=value, evidence=(evidence(raw, "spec", "cni", "type"),))
    return None


def _chained(inventory: Inventory, sighting: Sighting) -> bool:
    """Whether a Cilium only adds policy to another CNI."""
    config = inventory.named("ConfigMap", "kube-system", "cilium-config")
    mode = "" if config is None else text(config, "data", "cni-chaining-mode")
    return sighting.id == "cilium" and mode not in ("", "none")


def _inferred_cni(inventory: Inventory) -> Fact:
    """On AKS, nodes without a CNI DaemonSet run kubenet when each has a pod CIDR, else Azure CNI."""
    nodes = inventory.all("Node")
    if not (is_aks(inventory) and inventory.shows_workloads):
        detail = _ASK_AZURE if is_aks(inventory) else "no CNI DaemonSet was read; /etc/cni/net.d on a node would tell"
        return Fact(topic="cni", value="unknown", state="unknown", detail=detail)
    with_block = [node for node in nodes if text(node, "spec", "podCIDR")]
    value = "kubenet" if len(with_block) == len(nodes) else "azure-cni-node-subnet"
    shown = first_few(evidence(node, "spec", "podCIDR") for node in nodes)
    having = f"{len(with_block)} of {counted(len(nodes), 'node')} having a pod CIDR"
    detail = f"told from {having} and no CNI DaemonSet; {_ASK_AZURE}"
    return Fact(topic="cni", value=value, detail=detail, evidence=shown)


def _kubenet(inventory: Inventory, cni: Sequence[Fact]) -> Fact:
    first = cni[0]
    if first.value == "kubenet":
        return Fact(topic="kubenet", value="kubenet", detail=first.detail, evidence=first.evidence)
    in_doubt = first.state == "unknown" or (first.value == "calico" and inventory.azure is None)
    if in_doubt and (is_aks(inventory) or not inventory.all("Node")):
        return Fact(topic="kubenet", value="unknown", state="unknown", detail=_ASK_AZURE)
    return Fact(topic="kubenet", value="none", state="absent", evidence=first.evidence)


def _ipam(inventory: Inventory, cni: Sequence[Fact]) -> Fact:
    value = cni[0].value
    if value.startswith("azure-cni") or value == "kubenet":
        return Fact(topic="ipam", value=_IPAM_OF_CNI[value], evidence=cni[0].evidence)
    for raw in inventory.all("Installation"):
        if kind := text(raw, "spec", "cni", "ipam", "type"):
            return Fact(topic="ipam", value=kind.lower(), evidence=(evidence(raw, "spec", "cni", "ipam", "type"),))
    config = inventory.named("ConfigMap", "kube-system", "cilium-config")
    if config is not None and (mode := text(config, "data", "ipam")):
        return Fact(topic="ipam", value=mode, evidence=(evidence(config, "data", "ipam"),))
    if value in _IPAM_OF_CNI:
        return Fact(topic="ipam", value=_IPAM_OF_CNI[value], evidence=cni[0].evidence)
    pools = inventory.all("IPPool")
    if value == "calico" and pools:
        shown = first_few(evidence(pool, "spec", "cidr") for pool in pools)
        return Fact(topic="ipam", value="calico", detail=counted(len(pools), "IPPool"), evidence=shown)
    detail = "the CNI's configuration in /etc/cni/net.d on a node would tell"
    return Fact(topic="ipam", value="unknown", state="unknown", detail=detail)


def _kube_proxy(inventory: Inventory) -> Fact:
    """The mode that Azure, the configuration or the arguments name; iptables when none of them names one."""
    topic = "kube-proxy-mode"
    said = None if inventory.azure is None else _kube_proxy_of_azure(inventory.azure)
    if said is not None:
        return said
    config = inventory.named("ConfigMap", "kube-system", "kube-proxy")
    configured = None if config is None else _configured_mode(text(config, "data", "config.conf"))
    if config is not None and configured is not None:
        shown = Evidence(object=str(config.ref), field='data["config.conf"]: mode', value=configured)
        return Fact(topic=topic, value=configured or "iptables", evidence=(shown,))
    daemons = [raw for raw in inventory.all("DaemonSet") if raw.ref.name.startswith("kube-proxy")]
    if daemons:
        return _kube_proxy_by_arguments(daemons[0])
    if inventory.shows_workloads and not inventory.pods.run_kube_proxy and not _k3s(inventory):
        return Fact(topic=topic, value="none", state="absent", detail="no DaemonSet or pod named kube-proxy")
    detail = "ConfigMap kube-system/kube-proxy, or `curl localhost:10249/proxyMode` on a node, would tell"
    return Fact(topic=topic, value="unknown", state="unknown", detail=detail)


def _kube_proxy_of_azure(azure: RawObject) -> Fact | None:
    topic, config = "kube-proxy-mode", (*_PROFILE, "kubeProxyConfig")
    if dig(azure.data, *config, "enabled") is False:
        return Fact(topic=topic, value="none", state="absent", evidence=(evidence(azure, *config, "enabled"),))
    if mode := text(azure, *config, "mode"):
        return Fact(topic=topic, value=mode.lower(), evidence=(evidence(azure, *config, "mode"),))
    if text(azure, *_PROFILE, "networkDataplane") == "cilium":
        shown = evidence(azure, *_PROFILE, "networkDataplane")
        return Fact(topic=topic, value="none", state="absent", detail="Cilium takes its place", evidence=(shown,))
    return None


def _configured_mode(document: str) -> str | None:
    """The mode in a KubeProxyConfiguration, empty when it names none; None when it is no such document."""
    try:
        configuration = yaml.load(document, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    mode = dig(configuration, "mode") or ""
    return mode if isinstance(configuration, dict) and isinstance(mode, str) else None


def _kube_proxy_by_arguments(daemon: RawObject) -> Fact:
    container = ("spec", "template", "spec", "containers", 0)
    words = (*texts(daemon, *container, "command"), *texts(daemon, *container, "args"))
    shown = tuple(evidence(daemon, *container, key) for key in ("command", "args"))
    modes = [after for word, after in pairwise(words) if word == "--proxy-mode"]
    modes += [word.partition("=")[2] for word in words if word.startswith("--proxy-mode=")]
    if not words or (not modes and any(word.startswith("--config") for word in words)):
        detail = "its DaemonSet names no mode; ConfigMap kube-system/kube-proxy would tell"
        return Fact(topic="kube-proxy-mode", value="unknown", state="unknown", detail=detail, evidence=shown)
    detail = "" if modes else "its arguments name none, and iptables is what it then takes on Linux"
    return Fact(topic="kube-proxy-mode", value=modes[-1] if modes else "iptables", detail=detail, evidence=shown)


def _k3s(inventory: Inventory) -> bool:
    return any("+k3s" in text(node, "status", "nodeInfo", "kubeletVersion") for node in inventory.all("Node"))


def _node_local_dns(inventory: Inventory, seen: Sequence[Sighting]) -> Fact:
    for sighting in with_role(seen, "node-local-dns"):
        return sighting.fact("node-local-dns")
    nodes = [(node, ("metadata", "labels", _LOCAL_DNS_LABEL)) for node in inventory.all("Node")]
    enabled = grouped(nodes).get("enabled")
    if enabled:
        detail = f"AKS LocalDNS, by the label of {counted(len(enabled), 'node')}"
        return Fact(topic="node-local-dns", value="aks-localdns", detail=detail, evidence=first_few(enabled))
    for raw, path in azure_pools(inventory):
        for key, value in (("state", "Enabled"), ("mode", "Required")):
            if text(raw, *path, "localDnsProfile", key) == value:
                shown = (evidence(raw, *path, "localDnsProfile", key),)
                return Fact(topic="node-local-dns", value="aks-localdns", detail="AKS LocalDNS", evidence=shown)
    if inventory.shows_workloads:
        return Fact(topic="node-local-dns", value="none", state="absent", detail="no DaemonSet and no node label")
    detail = "not every DaemonSet and node was read; `kubectl get daemonsets,nodes -A -o yaml` would tell"
    return Fact(topic="node-local-dns", value="unknown", state="unknown", detail=detail)
