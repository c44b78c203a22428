"""spec.loadBalancerSourceRanges compared with what a node lets in to the balancer's address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network

from migrate.model.addresses import Address, AddressSet, Network
from migrate.model.finding import Effect, Finding
from migrate.model.ip_sets import IpSet, Member, ProtocolPort
from migrate.model.refs import Location
from migrate.nodes.host import Host
from migrate.nodes.kube_proxy.programmed import Mode, Programmed
from migrate.nodes.kube_proxy.services import ServedPort
from migrate.nodes.wording import ranges

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def range_findings(host: Host, sets: Sequence[Programmed], ports: Sequence[ServedPort]) -> Iterator[Finding]:
    """Services whose ranges are others on the node than in the object, in each family."""
    for rules in sets:
        if not rules.hooked or not rules.complete:
            continue
        for port in ports:
            if not any(address.version == rules.family for address in port.balancers):
                continue
            found = _of_ipvs(host, rules, port) if rules.mode is Mode.IPVS else _of_chains(rules, port)
            if found is not None:
                yield from _compared(host, rules, port, *found)


def _of_chains(rules: Programmed, port: ServedPort) -> tuple[AddressSet, Location] | None:
    """Who is let in, and where that stands; None where the Service has no chains at all."""
    key = next((key for key in rules.keys(port.name) if key in rules.chains), None)
    if key is None:
        return None
    everybody, guarded = _everybody(rules.family), rules.mode is Mode.NFTABLES or key in rules.drops
    for address in port.balancers:
        guarded = guarded or (address, port.number) in rules.drops
    return rules.firewalls.get(key, everybody) if guarded else everybody, rules.chains[key]


def _of_ipvs(host: Host, rules: Programmed, port: ServedPort) -> tuple[AddressSet, Location] | None:
    """Mode ipvs keeps ranges in sets: of addresses that are guarded, and of sources that may go there.

    Source: kubernetes/kubernetes, pkg/proxy/ipvs/proxier.go, the sets KUBE-LOAD-BALANCER-FW and
    KUBE-LOAD-BALANCER-SOURCE-CIDR, and the one for the node's own address.
    """
    if host.dump.sets is None:
        return None
    sets = host.dump.sets.by_name()
    prefix = "KUBE-" if rules.family == 4 else "KUBE-6-"
    guarded, sources = sets.get(f"{prefix}LOAD-BALANCER-FW"), sets.get(f"{prefix}LOAD-BALANCER-SOURCE-CIDR")
    if guarded is None:
        return None
    address = next(address for address in port.balancers if address.version == rules.family)
    if not any(_is_of(member, port, address) for member in guarded.members):
        return _everybody(rules.family), host.dump.sets.at(guarded)
    return AddressSet.of(_sources(sources, port, address)), host.dump.sets.at(sources or guarded)


def _sources(found: IpSet | None, port: ServedPort, address: Address) -> Iterator[Network]:
    for member in found.members if found is not None else ():
        source = member.parts[-1]
        if _is_of(member, port, address) and isinstance(source, IPv4Network | IPv6Network) and not member.nomatch:
            yield source


def _is_of(member: Member, port: ServedPort, address: Address) -> bool:
    """Whether an entry ip,port[,net] is about the balancer's address and this port."""
    if len(member.parts) < 2:
        return False
    first, second = member.parts[0], member.parts[1]
    wanted = ProtocolPort(_PROTOCOLS.get(port.name.protocol, 0), (port.number, port.number))
    return isinstance(first, IPv4Network | IPv6Network) and first.network_address == address and second == wanted


def _everybody(family: int) -> AddressSet:
    everything = AddressSet.everything()
    return AddressSet(everything.v4) if family == 4 else AddressSet(v6=everything.v6)


def _compared(host: Host, rules: Programmed, port: ServedPort, let_in: AddressSet, at: Location) -> Iterator[Finding]:
    """The node may also let in the balancer's own address: with it nodes in the ranges reach the Service.

    kube-proxy reads ranges of its family only: where all are of the other one, everybody is let in.
    """
    everybody = _everybody(rules.family)
    own = [network for network in port.ranges or () if network.version == rules.family]
    wanted = AddressSet.of(own) if own else everybody
    more = (let_in - wanted) - AddressSet.of_addresses(port.balancers)
    less = wanted - let_in
    if not more and not less:
        return
    said = "none in its spec" if not own else f"{ranges(wanted)} in its spec"
    parts = [f"{ranges(more)} beyond that is let in"] if more else []
    parts += [f"{ranges(less)} of that is refused"] if less else []
    yield Finding(
        id="NODE-PROXY-RANGES",
        detail=(
            f"node {host.dump.manifest.name}: clients of the balancer of {port.name}: {said}, "
            f"but on the node {' and '.join(parts)}"
        ),
        effect=Effect.UNKNOWN if more and less else (Effect.NARROWS if more else Effect.WIDENS),
        subject=port.ref,
        field="spec.loadBalancerSourceRanges",
        at=at,
    )
