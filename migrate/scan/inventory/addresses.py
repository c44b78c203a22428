"""Which addresses a cluster uses: IP families, pod networks, service networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.documents import Evidence, Fact
from migrate.model.raw import FieldPath, RawObject
from migrate.scan.inventory.gather import Inventory
from migrate.scan.inventory.look import counted, dig, evidence, first_few, text, texts

_PROFILE = ("spec", "networkProfile")


def address_facts(inventory: Inventory, cni: str) -> list[Fact]:
    """Facts about the addresses of services and pods."""
    return [_families(inventory), _pod_networks(inventory, cni), _service_network(inventory)]


def _families(inventory: Inventory) -> Fact:
    """By Azure's word, else by the addresses of services, nodes and pods."""
    azure, path = inventory.azure, (*_PROFILE, "ipFamilies")
    if azure is not None and (named := texts(azure, *path)):
        found = {family.lower(): evidence(azure, *path) for family in named}
    else:
        found = dict(inventory.families)
    if not found:
        detail = "no address of a service, node or pod was read"
        return Fact(topic="ip-families", value="unknown", state="unknown", detail=detail)
    value = "dual-stack" if len(found) == 2 else next(iter(found))
    return Fact(topic="ip-families", value=value, evidence=tuple(found[family] for family in sorted(found)))


def _pod_networks(inventory: Inventory, cni: str) -> Fact:
    """By the best witness: Azure's pod CIDRs, Calico's address pools, else the blocks of the nodes."""
    azure = [(raw, (*_PROFILE, "podCidrs")) for raw in _azure(inventory)]
    pools = [
        (raw, ("spec", "cidr")) for raw in inventory.all("IPPool") if dig(raw.data, "spec", "disabled") is not True
    ]
    nodes = [(node, ("spec", "podCIDRs")) for node in inventory.all("Node")]
    for places in (azure, pools, nodes):
        fact = _networks("pod-networks", places)
        if fact is not None:
            return fact
    if cni.startswith("azure-cni"):
        detail = "pods take addresses from a subnet of the VNet; `az network vnet subnet show` would tell"
    else:
        detail = "neither Azure, nodes nor address pools name one; the CNI's configuration would tell"
    return Fact(topic="pod-networks", value="unknown", state="unknown", detail=detail)


def _service_network(inventory: Inventory) -> Fact:
    places: list[tuple[RawObject, FieldPath]] = [(raw, (*_PROFILE, "serviceCidrs")) for raw in _azure(inventory)]
    places += [(raw, ("spec", "serviceCIDRs")) for raw in inventory.all("Installation")]
    fact = _networks("service-network", places)
    if fact is not None:
        return fact
    seen = inventory.cluster_ips
    detail = f"cluster IPs seen from {seen[0]} to {seen[1]}; " if seen else ""
    detail += "the API server's --service-cluster-ip-range would tell"
    return Fact(topic="service-network", value="unknown", state="unknown", detail=detail)


def _azure(inventory: Inventory) -> tuple[RawObject, ...]:
    return () if inventory.azure is None else (inventory.azure,)


def _networks(topic: str, places: Sequence[tuple[RawObject, FieldPath]]) -> Fact | None:
    """The prefixes at some places as one statement, merged where they touch; None when there are none."""
    found: list[Network] = []
    shown: list[Evidence] = []
    for raw, path in places:
        networks = _parsed(texts(raw, *path) or (text(raw, *path),))
        found += networks
        shown += [evidence(raw, *path)] if networks else []
    if not found:
        return None
    merged = ", ".join(str(network) for network in AddressSet.of(found).networks())
    return Fact(topic=topic, value=merged, detail=f"from {counted(len(shown), 'object')}", evidence=first_few(shown))


def _parsed(values: Iterable[str]) -> list[Network]:
    found: list[Network] = []
    for value in values:
        try:
            found.append(parse_network(value))
        except ValueError:
            continue
    return found
