"""IP sets of policies against their members by selectors, network sets and Services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, summarize_address_range

from migrate.model.addresses import AddressSet, Network
from migrate.model.finding import Finding
from migrate.model.ip_sets import AddressSpan, IpSet, IpSets, Part, ProtocolPort
from migrate.nodes.calico.names import set_name
from migrate.nodes.calico.node import SET_DRIFT, Compared
from migrate.nodes.calico.objects import Members, PortMember, SetNeed
from migrate.nodes.calico.policies import FelixPolicy
from migrate.nodes.wording import first_few

_MOST_PORTS = 1000
"""Felix writes one port an entry; of a range that others wrote as many are looked at."""
_OF_POLICIES = ("s:", "n:", "svc:", "svcnoport:")


def set_drift(node: Compared, sets: IpSets) -> Iterator[Finding]:
    """Sets that are missing or that hold other members than they should. `sets` are all that the node has."""
    there = sets.by_name()
    active = {policy.ref for policy in node.objects.active(node.name)}
    needed = _needed(node)
    for name, (users, need) in needed.items():
        found = there.get(name)
        policy = next((policy for policy in users if policy.ref in active), None)
        if found is not None:
            yield from _members(node, sets, found, policy or users[0], need)
        elif policy is not None and _has_sets(node.family, there):
            detail = f"there is no set {name} for {policy.ref}"
            yield node.finding(SET_DRIFT, detail, policy.ref, policy.at)
    if node.everything_read and all(policy.readable for policy in node.objects.policies):
        for found in sets.sets:
            if _is_of_a_policy(found.name, node.family) and found.name not in needed:
                detail = f"no rule of a policy asks for the set {found.name}"
                yield node.finding(SET_DRIFT, detail, None, sets.at(found))


def _needed(node: Compared) -> Mapping[str, tuple[list[FelixPolicy], SetNeed]]:
    """The sets by name, each with the policies that ask for it."""
    found: dict[str, tuple[list[FelixPolicy], SetNeed]] = {}
    for policy, need in node.objects.needs:
        found.setdefault(set_name(need.id, node.family), ([], need))[0].append(policy)
    return found


def _has_sets(family: int, there: Mapping[str, IpSet]) -> bool:
    """Whether Felix keeps sets of the IP version at all."""
    return any(name.startswith(f"cali{family}0") for name in there)


def _is_of_a_policy(name: str, family: int) -> bool:
    return name.startswith(tuple(f"cali{family}0{kind}" for kind in _OF_POLICIES))


def _members(node: Compared, sets: IpSets, found: IpSet, policy: FelixPolicy, need: SetNeed) -> Iterator[Finding]:
    if not node.objects.knows_members(need):
        return
    expected, actual = _of_family(node.objects.members(need), node.family), _actual(found)
    if expected == actual:
        return
    missing, extra = _less(expected, actual), _less(actual, expected)
    if missing or extra:
        parts = [f"lacks {first_few(missing)}"] if missing else []
        parts += [f"holds {first_few(extra)} too much"] if extra else []
        detail = f"set {found.name} of {policy.ref} {' and '.join(parts)}"
        yield node.finding(SET_DRIFT, detail, policy.ref, sets.at(found))


def _of_family(members: Members, family: int) -> Members:
    nets = AddressSet(members.nets.v4) if family == 4 else AddressSet(v6=members.nets.v6)
    return Members(nets, frozenset(port for port in members.ports if port[0].version == family))


def _less(one: Members, other: Members) -> list[str]:
    """What one holds and the other does not, as ipset prints members."""
    nets = [_shown(net) for net in (one.nets - other.nets).networks()]
    ports = sorted(one.ports - other.ports, key=lambda port: (port[0].version, int(port[0]), *port[1:]))
    return nets + [f"{address},{_PROTOCOLS.get(protocol, protocol)}:{number}" for address, protocol, number in ports]


_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}


def _shown(net: Network) -> str:
    return str(net.network_address if net.prefixlen == net.max_prefixlen else net)


def _actual(found: IpSet) -> Members:
    """What a set holds. Entries of other kinds than Felix writes are left out."""
    nets: list[Network] = []
    exceptions: list[Network] = []
    ports: set[PortMember] = set()
    for member in found.members:
        several, rest = _networks(member.parts[0]), member.parts[1:]
        if not rest:
            (exceptions if member.nomatch else nets).extend(several)
        elif isinstance(rest[0], ProtocolPort) and rest[0].ports is not None:
            low, high = rest[0].ports
            numbers = range(low, min(high, low + _MOST_PORTS) + 1)
            ports |= {(net.network_address, rest[0].protocol, number) for net in several for number in numbers}
    return Members(AddressSet.of(nets) - AddressSet.of(exceptions), frozenset(ports))


def _networks(part: Part) -> list[Network]:
    if isinstance(part, AddressSpan):
        return list(summarize_address_range(part.low, part.high))
    return [part] if isinstance(part, IPv4Network | IPv6Network) else []
