"""Random HostEndpoints, Felix settings and backends of Services, and flows to and from nodes."""

from __future__ import annotations

from typing import TypeAlias

from tests.differential.blocks import OUTSIDE
from tests.differential.chance import Chance
from tests.differential.clusters import POD_LABELS, Families, Traits, labels, versions
from tests.reference.cases import Case, End, Flow, Node
from tests.simulate.calico_rules import SERVICE

Object: TypeAlias = dict[str, object]

_V3 = "projectcalico.org/v3"
_ALLOW = "projectcalico-default-allow"
_TRAFFIC = (
    *(("TCP", port) for port in (22, 80, 179, 443, 6443, 8080, 9999)),
    *(("UDP", port) for port in (53, 67, 68, 4789)),
    *(("SCTP", 9999), ("UDPLite", 80)),
)
_ICMP = (0, 3, 8, 128, 133, 135, 255)
_SOURCE_PORTS = (0, 0, 22, 53, 6443, 40000)
_FLOWS_A_PAIR = 4


def draw_hosts(chance: Chance, case: Case) -> list[Object]:
    """HostEndpoints of the cluster's nodes: of one interface, of all, or of both."""
    found: list[Object] = []
    for node in case.nodes:
        kinds = chance.pick((("eth0",), ("*",), ("",), ("eth0", "*"), ("eth0", "eth0"), ("", "*"), ()))
        found += [_host(chance, f"{chance.pick('az')}-{node.name}-{i}", node, kind) for i, kind in enumerate(kinds)]
    return found


def elsewhere(chance: Chance, case: Case, name: str) -> Object:
    """A host endpoint that is a peer only: it stands on a host that no flow of the case passes."""
    node = chance.pick(case.nodes)
    found = _host(chance, name, Node("elsewhere"), "eth0")
    spec = found["spec"]
    assert isinstance(spec, dict)
    spec["expectedIPs"] = chance.pick((list(node.ips), ["8.8.8.8"], ["203.0.113.1", *node.ips]))
    return found


def _host(chance: Chance, name: str, node: Node, interface: str) -> Object:
    spec: Object = {"node": node.name}
    if interface:
        spec["interfaceName"] = interface
    if not interface or chance.happens(0.6):
        spec["expectedIPs"] = list(node.ips)
    if chance.happens(0.5):
        spec["profiles"] = [_ALLOW]
    metadata = {"name": name, "labels": labels(chance, POD_LABELS, 0.5)}
    return {"apiVersion": _V3, "kind": "HostEndpoint", "metadata": metadata, "spec": spec}


def draw_felix(chance: Chance, traits: Traits) -> Object:
    """Felix's settings that change verdicts."""
    spec: Object = {}
    if chance.happens(0.5):
        spec["defaultEndpointToHostAction"] = chance.pick(("Drop", "Drop", "Accept", "Return"))
    if chance.happens(0.4):
        spec["vxlanPort"] = chance.pick((4789, 8472))
    if chance.happens(0.3):
        spec["allowVXLANPacketsFromWorkloads"] = True
    for key in ("failsafeInboundHostPorts", "failsafeOutboundHostPorts"):
        if chance.happens(0.4):
            spec[key] = chance.repeat(0, 2, lambda: _failsafe(chance, traits))
    metadata = {"name": "default"}
    return {"apiVersion": _V3, "kind": "FelixConfiguration", "metadata": metadata, "spec": spec}


def _failsafe(chance: Chance, traits: Traits) -> Object:
    protocol, port = chance.pick((("tcp", 80), ("TCP", 22), ("udp", 53), ("sctp", 9999)))
    found: Object = {"protocol": protocol, "port": port}
    if chance.happens(0.4):
        version = chance.pick(versions(traits.families))
        found["net"] = chance.pick((*OUTSIDE[version], {4: "10.0.0.0/8", 6: "fd00::/8"}[version]))
    return found


def draw_slices(chance: Chance, case: Case, traits: Traits) -> list[Object]:
    """What stands behind a Service: pods, nodes and an address outside, with ports in up to two slices."""
    outside = [OUTSIDE[version][0].rpartition("/")[0] for version in versions(traits.families)]
    return [_slice(chance, case, outside, f"{SERVICE}-{index}") for index in range(chance.number(1, 2))]


def _slice(chance: Chance, case: Case, outside: list[str], name: str) -> Object:
    addresses = [*(ip for pod in case.pods for ip in pod.ips), *case.nodes[0].ips, *outside]
    chosen = chance.some(list(dict.fromkeys(addresses)), 2, 7)
    ports: tuple[Object, ...] = (
        {"port": 80},
        {"port": 443, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP"},
        {"name": "any"},
    )
    namespace = next((pod.namespace for pod in case.pods if not pod.host_network), case.pods[0].namespace)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": "IPv6" if ":" in chosen[0] else "IPv4",
        "endpoints": [{"addresses": [ip], "conditions": {"ready": chance.happens(0.7)}} for ip in chosen],
        "ports": [dict(port) for port in chance.some(ports, 0 if chance.happens(0.1) else 1, 4)],
    }


def host_flows(chance: Chance, case: Case, families: Families) -> tuple[Flow, ...]:
    """Flows between nodes, and between nodes and the outside, to ports that Felix leaves open and others."""
    found: list[Flow] = []
    for version in versions(families):
        nodes = [ip for node in case.nodes for ip in node.ips if (":" in ip) == (version == 6)]
        others = [*nodes, *(text.rpartition("/")[0] for text in OUTSIDE[version][1:4])]
        pairs = [(node, other) for node in nodes for other in others if node != other]
        for pair in pairs:
            for source, destination in (pair, pair[::-1]):
                found += [_flow(chance, source, destination, version) for _ in range(_FLOWS_A_PAIR)]
    return tuple(dict.fromkeys(found))


def _flow(chance: Chance, source: str, destination: str, version: int) -> Flow:
    ends = End(ip=source), End(ip=destination)
    if chance.happens(0.2):
        protocol = {4: "ICMP", 6: "ICMPv6"}[version]
        return Flow(*ends, protocol, chance.pick(_ICMP), icmp_code=chance.pick((0, 0, 1)))
    return Flow(*ends, *chance.pick(_TRAFFIC), src_port=chance.pick(_SOURCE_PORTS))
