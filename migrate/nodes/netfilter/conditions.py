"""Conditions of rules as functions of a packet.

Source: Linux 6.12, net/netfilter/xt_*.c and net/ipv4/netfilter/ip_tables.c, where each match stands in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar, cast

from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP
from migrate.model.node_state import (
    AddressBetween,
    AddressIs,
    AddressTypeIs,
    BridgeState,
    Comment,
    Condition,
    ConnectionDirection,
    ConnectionIn,
    ConnectionStatusIn,
    DeviceIs,
    End,
    EveryNth,
    IcmpIs,
    InSet,
    IsLaterFragment,
    MarkIs,
    Match,
    Option,
    OwnerIs,
    PortIn,
    ProtocolIs,
    RandomShare,
    TcpFlagsAre,
    TrackedAddressIs,
    TrackedPortIs,
    Unread,
)
from migrate.nodes.netfilter.own_addresses import OwnAddresses
from migrate.nodes.netfilter.passing import Passing
from migrate.nodes.netfilter.set_index import Answer, Sets

Test: TypeAlias = Callable[[Passing], Answer]
_Kind = TypeVar("_Kind", bound=Condition)

_DCCP, _UDP_LITE = 33, 136
_WITH_PORTS = frozenset({TCP, UDP, SCTP, _DCCP, _UDP_LITE})
_ALL_PORTS = 0xFFFF
_TRANSLATED = frozenset({"SNAT", "DNAT"})
_ALL_FLAGS = frozenset({"FIN", "SYN", "RST", "PSH", "ACK", "URG"})
_OF_MODULE = {
    "tcp": TCP,
    "udp": UDP,
    "udplite": _UDP_LITE,
    "dccp": _DCCP,
    "sctp": SCTP,
    "icmp": ICMP,
    "icmp6": ICMPV6,
    "esp": 50,
}
_NO_QUESTION = frozenset({"", "comment"})


class Conditions:
    """Makes tests of conditions, with the sets and addresses of a node."""

    def __init__(self, sets: Sets, host: OwnAddresses) -> None:
        self._sets = sets
        self._host = host

    def tests(self, match: Match) -> tuple[tuple[Test, str], ...]:
        """What one `-m module` asks for, each with what it is about, for a reader. All of them must hold."""
        if not match.conditions:
            return _alone(match.module)
        if match.module == "conntrack":
            return ((_connection(match), "the state of the connection"),)
        found = ((self._test(one), about(one)) for one in match.conditions if not isinstance(one, Comment))
        protocol = _alone(match.module) if match.module in _OF_MODULE else ()
        return (*protocol, *found)

    def _test(self, condition: Condition) -> Test:
        if isinstance(condition, InSet):
            return self._in_set(condition)
        if isinstance(condition, AddressTypeIs):
            return self._address_type(condition)
        maker = _MAKERS.get(type(condition))
        return _unknown if maker is None else maker(condition)

    def _in_set(self, asked: InSet) -> Test:
        sets = self._sets

        def test(passing: Passing) -> Answer:
            return _turned(sets.holds(asked.name, asked.ends, passing, asked.exceptions_only), asked.negated)

        return test

    def _address_type(self, asked: AddressTypeIs) -> Test:
        host = self._host

        def test(passing: Passing) -> Answer:
            ends = passing.ends
            address = ends.source if asked.end is End.SOURCE else ends.destination
            if asked.limit is not None and host.kind(passing.version, address) != "UNICAST":
                return None
            return _turned(host.is_of(passing.version, address, asked.types), asked.negated)

        return test


def about(condition: Condition) -> str:
    """What a condition asks, for a reader who is told that nothing answers it."""
    if isinstance(condition, Unread):
        return f"{condition.text!r}, which is not understood"
    if isinstance(condition, Option):
        return " ".join([f"--{condition.name}", *condition.values])
    if isinstance(condition, InSet):
        return f"the set {condition.name}"
    if isinstance(condition, DeviceIs):
        return f"the interface {condition.name}"
    if isinstance(condition, RandomShare | EveryNth):
        return "chance"
    if isinstance(condition, OwnerIs):
        return "which process sends it"
    return _ABOUT.get(type(condition), "a condition")


def _alone(module: str) -> tuple[tuple[Test, str], ...]:
    """A match without options: of a protocol's it is the protocol, of others what they look up."""
    if module in _NO_QUESTION:
        return ()
    if module in _OF_MODULE:
        return ((_protocol(ProtocolIs(_OF_MODULE[module])), "the protocol"),)
    return ((_unknown, f"-m {module}"),)


def _unknown(_passing: Passing) -> Answer:
    return None


def _always(_passing: Passing) -> Answer:
    return True


def _never(_passing: Passing) -> Answer:
    return False


def _constant(answer: bool) -> Test:
    return _always if answer else _never


def _turned(answer: Answer, negated: bool) -> Answer:
    return None if answer is None else answer is not negated


def _address(asked: AddressIs) -> Test:
    network, negated = asked.network, asked.negated
    version, shift = network.version, network.max_prefixlen - network.prefixlen
    wanted, source = int(network.network_address) >> shift, asked.end is End.SOURCE

    def test(passing: Passing) -> Answer:
        address = passing.ends.source if source else passing.ends.destination
        if passing.version != version:
            return negated
        if address is None:
            return (not negated) if shift == network.max_prefixlen else None
        return (address >> shift == wanted) is not negated

    return test


def _between(asked: AddressBetween) -> Test:
    low, high, version = int(asked.low), int(asked.high), asked.low.version

    def test(passing: Passing) -> Answer:
        address = passing.ends.source if asked.end is End.SOURCE else passing.ends.destination
        if address is None:
            return None
        return (passing.version == version and low <= address <= high) is not asked.negated

    return test


def _device(asked: DeviceIs) -> Test:
    if asked.bridged:
        return _unknown
    if asked.name == "+":
        return _constant(not asked.negated)

    def test(passing: Passing) -> Answer:
        device = passing.came_by if asked.end is End.SOURCE else passing.leaves_by
        return None if device is None else asked.holds(device)

    return test


def _protocol(asked: ProtocolIs) -> Test:
    number, negated = asked.number, asked.negated
    if number == 0:
        return _constant(not negated)
    return lambda passing: (passing.protocol == number) is not negated


def _port(asked: PortIn) -> Test:
    ranges, negated = asked.ranges, asked.negated
    everything = any(low == 0 and high == _ALL_PORTS for low, high in ranges)

    def one(port: int | None) -> Answer:
        if port is None:
            return True if everything else None
        return any(low <= port <= high for low, high in ranges)

    def test(passing: Passing) -> Answer:
        if passing.protocol not in _WITH_PORTS:
            return False
        ends = passing.ends
        if asked.end is not End.EITHER:
            answer = one(ends.source_port if asked.end is End.SOURCE else ends.destination_port)
        else:
            answers = (one(ends.source_port), one(ends.destination_port))
            answer = True if True in answers else None if None in answers else False
        return _turned(answer, negated)

    return test


def _mark(asked: MarkIs) -> Test:
    value, mask, negated = asked.value, asked.mask, asked.negated

    def test(passing: Passing) -> Answer:
        if asked.connection and not passing.has_connection:
            return False
        mark = passing.connection_mark if asked.connection else passing.mark
        return None if mark is None else (mark & mask == value) is not negated

    return test


def _flags(asked: TcpFlagsAre) -> Test:
    looked_at, present = _flag_names(asked.looked_at), _flag_names(asked.present)

    def test(passing: Passing) -> Answer:
        if passing.protocol != TCP:
            return False
        return None if passing.flags is None else (passing.flags & looked_at == present) is not asked.negated

    return test


def _flag_names(names: tuple[str, ...]) -> frozenset[str]:
    return _ALL_FLAGS if "ALL" in names else frozenset(names) - {"NONE"}


def _icmp(asked: IcmpIs) -> Test:
    def test(passing: Passing) -> Answer:
        if passing.protocol not in (ICMP, ICMPV6):
            return False
        if asked.type is None:
            return not asked.negated
        if passing.icmp is None:
            return None
        kind, code = passing.icmp
        return (kind == asked.type and asked.code in (None, code)) is not asked.negated

    return test


def _fragment(asked: IsLaterFragment) -> Test:
    return _constant(asked.negated)


def _share(asked: RandomShare) -> Test:
    if asked.probability in (0.0, 1.0):
        return _constant((asked.probability == 1.0) is not asked.negated)
    return _unknown


def _nth(asked: EveryNth) -> Test:
    return _constant(not asked.negated) if asked.every == 1 else _unknown


def _connection(match: Match) -> Test:
    """conntrack: of a packet without a connection only the state can be asked, and what else is asked holds."""
    tests = tuple(_tracked(condition) for condition in match.conditions)
    states = tuple(one for one in match.conditions if isinstance(one, ConnectionIn))

    def test(passing: Passing) -> Answer:
        if not passing.has_connection:
            return bool(states) and all((passing.state in one.states) is not one.negated for one in states)
        answers = [test(passing) for test in tests]
        return False if False in answers else None if None in answers else True

    return test


def _tracked(condition: Condition) -> Test:
    maker = _OF_CONNECTIONS.get(type(condition))
    return _unknown if maker is None else maker(condition)


def _state(asked: ConnectionIn) -> Test:
    translated = _TRANSLATED.intersection(asked.states)

    def test(passing: Passing) -> Answer:
        if passing.state in asked.states or passing.translated & translated:
            return not asked.negated
        if translated and passing.state != "NEW" and passing.has_connection:
            return None
        return asked.negated

    return test


def _status(asked: ConnectionStatusIn) -> Test:
    def test(passing: Passing) -> Answer:
        if set(asked.statuses) == {"NONE"}:
            return asked.negated
        return asked.negated if passing.state == "NEW" else None

    return test


def _direction(asked: ConnectionDirection) -> Test:
    return lambda passing: None if passing.reply is None else passing.reply is not asked.original


def _tracked_address(asked: TrackedAddressIs) -> Test:
    network = asked.network
    shift = network.max_prefixlen - network.prefixlen

    def test(passing: Passing) -> Answer:
        if passing.version != network.version:
            return asked.negated
        if passing.state != "NEW":
            return None
        ends = passing.original if asked.original else passing.ends
        source = (asked.end is End.SOURCE) is asked.original
        address = ends.source if source else ends.destination
        return (
            None
            if address is None
            else (address >> shift == int(network.network_address) >> shift) is not (asked.negated)
        )

    return test


def _tracked_port(asked: TrackedPortIs) -> Test:
    def test(passing: Passing) -> Answer:
        if passing.state != "NEW" or passing.protocol not in _WITH_PORTS:
            return None
        ends = passing.original if asked.original else passing.ends
        source = (asked.end is End.SOURCE) is asked.original
        port = ends.source_port if source else ends.destination_port
        return None if port is None else (asked.low <= port <= asked.high) is not asked.negated

    return test


def _maker(kind: type[_Kind], make: Callable[[_Kind], Test]) -> tuple[type[object], Callable[[Condition], Test]]:
    """An entry of the tables below: only conditions of the class come to its function."""
    return kind, lambda condition: make(cast(_Kind, condition))


_OF_CONNECTIONS: Mapping[type[object], Callable[[Condition], Test]] = dict(
    (
        _maker(ConnectionIn, _state),
        _maker(ConnectionStatusIn, _status),
        _maker(ConnectionDirection, _direction),
        _maker(TrackedAddressIs, _tracked_address),
        _maker(TrackedPortIs, _tracked_port),
    )
)
_MAKERS: Mapping[type[object], Callable[[Condition], Test]] = dict(
    (
        _maker(AddressIs, _address),
        _maker(AddressBetween, _between),
        _maker(DeviceIs, _device),
        _maker(ProtocolIs, _protocol),
        _maker(IsLaterFragment, _fragment),
        _maker(MarkIs, _mark),
        _maker(ConnectionIn, _state),
        _maker(PortIn, _port),
        _maker(TcpFlagsAre, _flags),
        _maker(IcmpIs, _icmp),
        _maker(RandomShare, _share),
        _maker(EveryNth, _nth),
    )
)
_ABOUT: Mapping[type[object], str] = {
    AddressIs: "an address",
    AddressBetween: "an address",
    PortIn: "the source's port",
    MarkIs: "the mark",
    TcpFlagsAre: "the TCP flags",
    IcmpIs: "the ICMP type",
    AddressTypeIs: "which addresses are the node's own",
    BridgeState: "the bridge's port",
    ConnectionIn: "the state of the connection",
}
