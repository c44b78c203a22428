"""The rules of every node: those of kube-proxy for the lab's Services, and a policy engine's that drop a port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from migrate.nodes.kube_proxy.services import ServicePortName
from tests.cluster_lab.wire import POD_NETWORK, POD_NETWORK_6, feed

_CHAINS = ("KUBE-SERVICES", "KUBE-MARK-MASQ", "KUBE-POSTROUTING")
_FIXED = (
    "-A PREROUTING -j KUBE-SERVICES",
    "-A OUTPUT -j KUBE-SERVICES",
    "-A POSTROUTING -j KUBE-POSTROUTING",
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    "-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully",
)


@dataclass(frozen=True, slots=True)
class Proxied:
    """A port of a Service, as kube-proxy sees it. `backends` are addresses of pods."""

    namespace: str
    service: str
    address: str
    port: int
    protocol: str
    backends: Sequence[str]
    target: int


@dataclass(frozen=True, slots=True)
class Forbidden:
    """What the engine of today drops on its way to a pod."""

    address: str
    protocol: str
    port: int


def load(namespace: str, services: Sequence[Proxied], forbidden: Sequence[Forbidden]) -> None:
    """Replace the rules of a node."""
    for version, command in ((4, "iptables-restore"), (6, "ip6tables-restore")):
        chosen = [service for service in services if ip_address(service.address).version == version]
        dropped = [rule for rule in forbidden if ip_address(rule.address).version == version]
        text = _rules(POD_NETWORK if version == 4 else POD_NETWORK_6, chosen, dropped)
        feed(text, "ip", "netns", "exec", namespace, command, "-w")


def _rules(pods: str, services: Sequence[Proxied], forbidden: Sequence[Forbidden]) -> str:
    chains, rules = list(_CHAINS), [*_FIXED, f"-A KUBE-POSTROUTING -s {pods} ! -d {pods} -o uplink -j MASQUERADE"]
    for service in services:
        made = _service(service)
        chains += [name for name, _ in made]
        rules += [rule for _, found in made for rule in found]
    nat = ["*nat", *(f":{name} -" for name in chains), *rules, "COMMIT"]
    drops = [
        f"-A engine-FORWARD -d {rule.address} -p {rule.protocol} --dport {rule.port} -j DROP" for rule in forbidden
    ]
    return "\n".join([*nat, "*filter", ":engine-FORWARD -", "-A FORWARD -j engine-FORWARD", *drops, "COMMIT", ""])


def _service(service: Proxied) -> list[tuple[str, list[str]]]:
    """Chains with their rules; backends take turns."""
    suffix = ServicePortName(service.namespace, service.service, "", service.protocol.upper()).suffixes[0]
    chain, protocol = f"KUBE-SVC-{suffix}", service.protocol
    entry = f"-A KUBE-SERVICES -d {service.address} -p {protocol} --dport {service.port} -j {chain}"
    chains: list[tuple[str, list[str]]] = [(chain, [entry])]
    for index, backend in enumerate(service.backends):
        left, end = len(service.backends) - index, f"KUBE-SEP-{suffix[:12]}{index}"
        turn = f" -m statistic --mode nth --every {left} --packet 0" if left > 1 else ""
        target = f"[{backend}]:{service.target}" if ":" in backend else f"{backend}:{service.target}"
        rules = [
            f"-A {chain}{turn} -j {end}",
            f"-A {end} -s {backend} -j KUBE-MARK-MASQ",
            f"-A {end} -p {protocol} -j DNAT --to-destination {target}",
        ]
        chains.append((end, rules))
    return chains
