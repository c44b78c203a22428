"""Rules about addresses: the pods' range, routes, masquerade and what filters between nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from migrate.model.addresses import Network, parse_network
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.readiness import around
from migrate.readiness.aks import limits
from migrate.readiness.azure import ManagedCluster, Pool, managed_cluster
from migrate.readiness.checks.concern import (
    at_pool,
    azure,
    may_be_kubenet,
    may_take_overlay,
    takes,
    to_managed_cilium,
    unsaid,
    way,
    way_unknown,
)
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.scan.inventory.look import counted, text

_MASQUERADE = "azure-ip-masq-agent-config"
_SUBNET = re.compile(
    r"/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Network/virtualNetworks/(?P<network>[^/]+)/subnets/(?P<subnet>[^/]+)",
    re.IGNORECASE,
)
_NAMES = {"group": "resource group", "network": "virtual network", "subnet": "subnet"}
_GATEWAY_CLASSES = ("azure/application-gateway", "azure-application-gateway")
_OF_AKS = "aks-"
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_NEEDED = (Need.SNAPSHOT, Need.AZURE)


def check_pod_range_size(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Fewer blocks for nodes than nodes there can be."""
    cluster = azure(documents)
    blocks = _blocks(cluster)
    sizes = [(pool, pool.largest) for pool in cluster.pools]
    yield from unsaid(cluster, "how many nodes there may be", lambda pool: pool.largest is not None)
    if blocks is None:
        if way(documents).cni != "azure-cni-node-subnet":
            yield Missing("the range of the pods (networkProfile.podCidr), which the given settings do not say")
        return
    nodes = sum(largest for _, largest in sizes if largest is not None)
    surge = sum(pool.surge_nodes(largest) for pool, largest in sizes if largest is not None)
    if nodes + surge > blocks:
        yield _too_small(cluster, blocks, nodes, surge)
    elif cluster.provisioning_mode == "auto":
        yield Missing("how many nodes auto-provisioning may add: the limits of the NodePools")


def _too_small(cluster: ManagedCluster, blocks: int, nodes: int, surge: int) -> Finding:
    prefix = limits().node_block_prefix.value
    detail = (
        f"{', '.join(cluster.pod_ranges)} has {counted(blocks, 'block')} of /{prefix}, one for a node; the "
        f"pools may have {counted(nodes, 'node')} and {surge} more during an upgrade"
    )
    subject = cluster.raw.ref
    return Finding(id="NET-PODCIDR-SIZE", detail=detail, subject=subject, field="networkProfile.podCidr")


def _blocks(cluster: ManagedCluster) -> int | None:
    """How many nodes the IPv4 ranges of the pods have room for; None when none is known."""
    prefix = limits().node_block_prefix.value
    ranges = [network for network in _networks(cluster.pod_ranges) if network.version == 4]
    return sum(2 ** (prefix - each.prefixlen) for each in ranges if each.prefixlen <= prefix) if ranges else None


def check_pod_range_overlap(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """The pods' range in a range that is taken, as far as the ranges are known."""
    cluster = azure(documents)
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    taken = [(network, "reserved by AKS") for network in _networks(limits().reserved_ranges.value)]
    taken += [(network, "the range of services") for network in _networks(cluster.service_ranges)]
    taken += [(network, f"an address of node {name}") for network, name in _node_addresses(documents)]
    given = list(around.networks(documents))
    taken += given
    for pods in _networks(cluster.pod_ranges):
        met = [f"{network} ({what})" for network, what in taken if _overlap(pods, network)]
        if met:
            more = f" and {len(met) - 3} more" if len(met) > 3 else ""
            detail = f"the pods' range {pods} meets {', '.join(met[:3])}{more}"
            subject = cluster.raw.ref
            yield Finding(id="NET-PODCIDR-OVERLAP", detail=detail, subject=subject, field="networkProfile.podCidr")
    asked = (
        "" if given else "the address spaces of the virtual network and of peered ones (`az network vnet show`), and "
    )
    yield Missing(f"{asked}networks that are reached by a gateway or by routes")


def _node_addresses(documents: Documents) -> Iterator[tuple[Network, str]]:
    for node in documents.cluster.nodes:
        for address in node.addresses:
            yield parse_network(str(address)), node.name


def check_pod_range_needed(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Going to overlay without a range for the pods."""
    cluster = azure(documents)
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    elif way(documents).cni == "azure-cni-node-subnet" and not cluster.pod_ranges:
        detail = "the cluster has no range for pods yet: the step to overlay has to name one with --pod-cidr"
        subject = cluster.raw.ref
        yield Finding(id="NET-PODCIDR-REQUIRED", detail=detail, subject=subject, field="networkProfile.podCidr")


def check_exposed_pods(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Pods that the network outside reaches by their own addresses, where they lose these."""
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    cluster = azure(documents)
    if cluster.gateway_addon:
        detail = "the add-on for Application Gateway sends requests to the addresses of pods"
        subject = cluster.raw.ref
        yield Finding(id="NET-POD-IP-EXPOSED", detail=detail, effect=Effect.NARROWS, subject=subject)
    for raw in documents.by_kind.get("Ingress", ()):
        if _class_of(raw) in _GATEWAY_CLASSES:
            detail = f"its class {_class_of(raw)} sends requests to the addresses of pods"
            yield Finding(id="NET-POD-IP-EXPOSED", detail=detail, effect=Effect.NARROWS, subject=raw.ref)
    if not documents.was_read("Ingress"):
        yield Missing("objects of kind Ingress, which were not read")
    yield Missing(
        "what outside of the cluster names addresses of pods: lists of firewalls and of data stores, DNS records"
    )


def _class_of(raw: RawObject) -> str:
    return text(raw, "spec", "ingressClassName") or text(raw, "metadata", "annotations", _CLASS_ANNOTATION)


def check_routes(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A route table of the owner's under kubenet."""
    cluster = azure(documents)
    if cluster.outbound == "userdefinedrouting":
        detail = (
            "outgoing traffic follows routes of the owner (outboundType userDefinedRouting), in the table in which "
        )
        detail += "kubenet keeps a route for the pods of each node"
        subject = cluster.raw.ref
        yield Finding(id="NET-UDR-ROUTES", detail=detail, subject=subject, field="networkProfile.outboundType")
    elif cluster.own_network is None:
        yield from unsaid(cluster, "vnetSubnetId", _says_subnet)
    elif cluster.own_network and not around.has_routes(documents):
        yield Missing(
            "the routes of the node subnet's table: `az network route-table show`, in the folder of --az-json"
        )
    elif not cluster.outbound:
        yield Missing("networkProfile.outboundType, which the given settings do not say")
    pods = _networks(cluster.pod_ranges)
    for raw, index, name, destination in around.routes(documents):
        if not name.startswith(_OF_AKS) and any(_overlap(destination, each) for each in pods if destination.prefixlen):
            detail = f"route {name} to {destination} lies in the pods' range, and AKS did not make it"
            yield Finding(id="NET-UDR-ROUTES", detail=detail, subject=raw.ref, field=f"routes[{index}]")


def check_identity(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """An identity that cannot take the route table from a virtual network of the owner's."""
    cluster = azure(documents)
    if cluster.own_network is None and "userassigned" not in (cluster.identity or ""):
        yield from unsaid(cluster, "vnetSubnetId", _says_subnet)
    if not cluster.own_network:
        return
    if cluster.identity is None:
        yield Missing("the identity of the cluster (identity.type), which the given settings do not say")
    elif "userassigned" not in cluster.identity:
        what = "system-assigned" if cluster.identity == "systemassigned" else "no managed one"
        detail = (
            f"the cluster's identity is {what}, and its nodes are in a virtual network with a route table of its own"
        )
        yield Finding(id="NET-KUBENET-IDENTITY", detail=detail, subject=cluster.raw.ref, field="identity.type")


def check_masquerade(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """A masquerade configuration of the owner's, or one that was left over."""
    settings = [raw for raw in documents.by_kind.get("ConfigMap", ()) if raw.ref.namespace == "kube-system"]
    for raw in settings:
        if raw.ref.name == _MASQUERADE:
            later = "pods in the overlay cannot reach the ranges that it exempts from masquerade"
            then = later if takes(documents, "overlay") else "it decides which address other networks see"
            yield Finding(id="NET-IPMASQ-CUSTOM", detail=then, effect=Effect.UNKNOWN, subject=raw.ref, field="data")
    files = documents.header is not None and documents.header.origin == "files"
    if files and not settings:
        yield Missing(f"ConfigMaps of kube-system: `kubectl -n kube-system get configmap {_MASQUERADE} -o yaml`")


def check_security_groups(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Rules of security groups that cut nodes and pods from each other."""
    if not around.has_filters(documents):
        yield Missing(
            "the rules of the security groups on the node subnets (`az network nsg show`, in the folder of --az-json): "
            "node to node, node to pods and pods to pods have to be allowed"
        )
        return
    cluster = managed_cluster(documents)
    addresses = tuple(network for network, _ in _node_addresses(documents))
    nodes = around.Side("nodes", addresses or tuple(network for network, _ in around.networks(documents)), True)
    pods = around.Side("pods", tuple(_networks(cluster.pod_ranges)) if cluster is not None else (), False)
    if not (nodes.ranges and pods.ranges):
        yield Missing("the addresses of nodes and the range of pods, which the rules of security groups are about")
        return
    cut: dict[tuple[ObjectRef, int], list[str]] = {}
    for sources, destinations in ((nodes, nodes), (nodes, pods), (pods, pods)):
        for denying in _denying(around.filters(documents), sources, destinations):
            cut.setdefault((denying.raw.ref, denying.index), []).append(f"{sources.name} to {destinations.name}")
    for rule in around.filters(documents):
        if ways := cut.get((rule.raw.ref, rule.index)):
            detail = f"its rule {rule.name} ({'in' if rule.inbound else 'out'}bound) denies {', '.join(ways)}"
            subject, field = rule.raw.ref, f"securityRules[{rule.index}]"
            yield Finding(id="NET-NSG-POD-TRAFFIC", detail=detail, effect=Effect.NARROWS, subject=subject, field=field)


def _denying(rules: list[around.Filter], sources: around.Side, destinations: around.Side) -> Iterator[around.Filter]:
    """The rules that deny a part of what goes from one side to the other, and come before one that allows it all."""
    for group in dict.fromkeys((rule.raw.ref, rule.inbound) for rule in rules):
        for rule in (each for each in rules if (each.raw.ref, each.inbound) == group):
            if rule.holds(sources, destinations) and not rule.denies:
                break
            if rule.denies and rule.touches(sources, destinations):
                yield rule


def check_names(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Names of networks that are too long for a label of a node."""
    if takes(documents, "overlay") is None:
        yield from way_unknown(documents)
    cluster = azure(documents)
    for pool in cluster.pools:
        yield from _long_names(cluster, pool)
    yield from unsaid(cluster, "vnetSubnetId", _names_subnet)


def _long_names(cluster: ManagedCluster, pool: Pool) -> Iterator[Finding]:
    most = limits().name_length
    found = _SUBNET.search(pool.node_subnet or "")
    for key, what in _NAMES.items() if found is not None else ():
        name = found[key] if found is not None else ""
        if len(name) > most.value:
            subject, field = at_pool(cluster, pool, "vnetSubnetId")
            detail = (
                f"the {what} of pool {pool.name} has a name of {len(name)} characters, {most.value} are allowed: {name}"
            )
            yield Finding(id="NET-NAME-LENGTH", detail=detail, subject=subject, field=field)


def _networks(texts: tuple[str, ...]) -> list[Network]:
    """The ranges that are some; Azure writes no others."""
    found: list[Network] = []
    for each in texts:
        try:
            found.append(parse_network(each))
        except ValueError:
            continue
    return found


def _overlap(one: Network, other: Network) -> bool:
    if one.version != other.version:
        return False
    return one[0] in other or other[0] in one


def _says_subnet(pool: Pool) -> bool:
    return pool.node_subnet is not None


def _names_subnet(pool: Pool) -> bool:
    return pool.node_subnet == "" or _SUBNET.search(pool.node_subnet or "") is not None


def _concerned_by_range(documents: Documents) -> bool:
    """Whether a range has to hold the pods of all nodes: now, or at the end of the way."""
    route = way(documents)
    has_range = route.cni in ("kubenet", "azure-cni-overlay", "unknown")
    return to_managed_cilium(documents) and (has_range or takes(documents, "overlay") is not False)


def _takes_addresses_away(documents: Documents) -> bool:
    return may_take_overlay(documents) and way(documents).cni != "kubenet"


def _in_overlay(documents: Documents) -> bool:
    return to_managed_cilium(documents) and (
        way(documents).cni == "azure-cni-overlay" or takes(documents, "overlay") is not False
    )


CHECKS: tuple[Check, ...] = (
    Check("NET-PODCIDR-SIZE", check_pod_range_size, _NEEDED, concerns=_concerned_by_range),
    Check("NET-PODCIDR-OVERLAP", check_pod_range_overlap, _NEEDED, concerns=may_take_overlay),
    Check("NET-PODCIDR-REQUIRED", check_pod_range_needed, _NEEDED, concerns=may_take_overlay),
    Check("NET-POD-IP-EXPOSED", check_exposed_pods, _NEEDED, concerns=_takes_addresses_away),
    Check("NET-UDR-ROUTES", check_routes, _NEEDED, concerns=may_be_kubenet),
    Check("NET-KUBENET-IDENTITY", check_identity, _NEEDED, concerns=may_be_kubenet),
    Check("NET-IPMASQ-CUSTOM", check_masquerade, kinds=("ConfigMap",), concerns=to_managed_cilium),
    Check("NET-NSG-POD-TRAFFIC", check_security_groups, concerns=_in_overlay),
    Check("NET-NAME-LENGTH", check_names, _NEEDED, concerns=may_take_overlay),
)
