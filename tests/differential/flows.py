"""Flows on the edges of everything that policies name: addresses beside CIDRs, ports beside ranges."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

from tests.differential.blocks import OUTSIDE, Network
from tests.differential.chance import Chance
from tests.differential.clusters import Families, versions
from tests.reference.cases import Case, Directory, End, Flow, same_pod

Traffic: TypeAlias = tuple[str, int]

FLOWS_A_PAIR = 2
MOST_OUTSIDE = 16
VXLAN = 4789
"""The UDP port that Calico lets no pod send to, whatever policy says."""
_NUMBERS = re.compile(r"^(\d+)(?::(\d+))?$")
_COMMON: tuple[Traffic, ...] = (("TCP", 80), ("TCP", 1), ("UDP", 53), ("UDP", 65535), ("SCTP", 9999), ("UDP", VXLAN))
_ICMP: tuple[Traffic, ...] = (("ICMP", 8), ("ICMP", 3), ("ICMPv6", 128), ("ICMPv6", 3))


def draw_flows(chance: Chance, case: Case, families: Families) -> tuple[Flow, ...]:
    """A few flows for every pair of ends of which at least one is a pod with addresses of its own."""
    directory = Directory(case)
    ends = [*_inside(case), *chance.some(list(_outside(case, families)), MOST_OUTSIDE, MOST_OUTSIDE)]
    traffic = sorted(_traffic(case))
    pairs = [(source, destination) for source in ends for destination in ends if source != destination]
    candidates = (
        Flow(source, destination, *chance.pick(traffic if chance.happens(0.85) else _ICMP))
        for source, destination in pairs
        for _ in range(FLOWS_A_PAIR)
    )
    return tuple(dict.fromkeys(flow for flow in candidates if _is_judged(directory, flow)))


def _is_judged(directory: Directory, flow: Flow) -> bool:
    try:
        source, destination = directory.parties(flow)
    except ValueError:
        return False
    has_pod = source.pod is not None or destination.pod is not None
    return has_pod and not same_pod(source, destination)


def _inside(case: Case) -> Iterator[End]:
    """Pods and nodes by name, and by each further address."""
    for pod in case.pods:
        yield End(pod=pod.key)
        if not pod.host_network:
            yield from (End(ip=ip) for ip in pod.ips[1:])
    for node in case.nodes:
        yield End(node=node.name)
        yield from (End(ip=ip) for ip in node.ips[1:])


def _outside(case: Case, families: Families) -> Iterator[End]:
    """Addresses of no pod and no node: the edges of CIDRs, both just inside and just outside, and a few others."""
    owned = set(case.addresses())
    candidates: dict[str, None] = dict.fromkeys(case.api_server.ips)
    named = [*(case.dns or {}).values(), *(service.endpoints for service in case.services)]
    candidates |= dict.fromkeys(ip for ips in named for ip in ips)
    for version in versions(families):
        candidates |= dict.fromkeys(str(ipaddress.ip_network(text)[0]) for text in OUTSIDE[version][:2])
        candidates["9.9.9.9" if version == 4 else "2606:4700::1111"] = None
    for network in _networks(case.policies):
        if network.version in versions(families):
            candidates |= dict.fromkeys(_edges(network))
    yield from (End(ip=ip) for ip in candidates if ip not in owned)


def _edges(network: Network) -> Iterator[str]:
    low, high = int(network.network_address), int(network.broadcast_address)
    kind = type(network.network_address)
    for value in (low - 1, low, high, high + 1):
        if 0 < value < 2**network.max_prefixlen - 1:
            yield str(kind(value))


def _networks(objects: object) -> Iterator[Network]:
    """Every CIDR anywhere in the objects."""
    for _, value in _plain_values(objects):
        if isinstance(value, str) and "/" in value:
            with suppress(ValueError):
                yield ipaddress.ip_network(value)


def _traffic(case: Case) -> set[Traffic]:
    """Protocols with ports on both sides of every number that policies and pods name."""
    numbers = {port.port for pod in case.pods for port in pod.named_ports}
    for key, value in _plain_values(case.policies):
        found = _NUMBERS.match(str(value))
        if found and key in ("port", "endPort", "ports", "notPorts"):
            numbers |= {int(number) for number in found.groups() if number}
    near = {number + step for number in numbers for step in (-1, 0, 1)}
    named = {(port.protocol, port.port) for pod in case.pods for port in pod.named_ports}
    return {
        *_COMMON,
        *named,
        *((protocol, port) for protocol in ("TCP", "UDP", "SCTP") for port in near if 1 <= port <= 65535),
    }


def _plain_values(value: object, field: str = "") -> Iterator[tuple[str, object]]:
    """Every plain value with the field that it stands in."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _plain_values(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _plain_values(item, field)
    else:
        yield field, value
