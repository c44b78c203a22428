"""How packets are cut into atoms, and which atoms a value of a rule holds."""

from __future__ import annotations

import pytest

from migrate.model.addresses import parse_address
from migrate.model.flow import End, EndKind, Packet
from migrate.model.intervals import IntervalSet
from migrate.model.ruleset import PortSet, Traffic, carries
from migrate.verify.packets import PacketReads, Packets


def only(*numbers: int) -> IntervalSet:
    return IntervalSet.of((number, number) for number in numbers)


def ports(*ranges: tuple[int, int]) -> PortSet:
    return PortSet(IntervalSet.of(ranges))


def packets(*traffics: Traffic) -> Packets:
    reads = PacketReads()
    for traffic in traffics:
        reads.traffic(traffic)
    return Packets(reads)


_VALUES = [
    pytest.param(Traffic(), id="everything"),
    pytest.param(Traffic(only(6)), id="one protocol"),
    pytest.param(Traffic(IntervalSet(((0, 255),))), id="every protocol, spelled out"),
    pytest.param(Traffic(only(47)), id="a protocol without ports"),
    pytest.param(Traffic(IntervalSet(((2, 100),))), id="a range of protocols across those with ports"),
    pytest.param(Traffic(only(6), ports=ports((80, 80))), id="one port"),
    pytest.param(Traffic(only(6, 17), ports=ports((0, 79), (81, 65535))), id="all ports but one, of two protocols"),
    pytest.param(Traffic(only(6), not_ports=ports((80, 90))), id="all ports but a range"),
    pytest.param(Traffic(only(6), ports=ports((1, 100)), not_ports=ports((80, 90))), id="a range with a hole"),
    pytest.param(Traffic(only(6), ports=PortSet()), id="a list of names that nobody has matches nothing"),
    pytest.param(Traffic(only(6), not_ports=PortSet()), id="a forbidden name that nobody has forbids nothing"),
    pytest.param(Traffic(only(132), source_ports=ports((1024, 65535))), id="source ports"),
    pytest.param(
        Traffic(only(17), ports=ports((53, 53)), not_source_ports=ports((53, 53))), id="both kinds of ports together"
    ),
    pytest.param(Traffic(only(1), icmp=((8, None),)), id="an ICMP type with every code"),
    pytest.param(Traffic(only(1), icmp=((3, 1), (0, None))), id="a type with one code, and another type"),
    pytest.param(Traffic(only(1, 58), not_icmp=((3, 1),)), id="all messages but one, of both families"),
    pytest.param(Traffic(only(58), icmp=((128, None),), not_icmp=((128, 0),)), id="a type without one code"),
    pytest.param(Traffic(only(1), icmp=((255, 255),)), id="the last type and code"),
]
_ALL = [value for case in _VALUES for value in case.values if isinstance(value, Traffic)]


def _samples(found: Packets) -> list[Packet]:
    numbers = (0, 1, 52, 53, 54, 79, 80, 81, 90, 91, 100, 101, 1023, 1024, 65535)
    with_ports = [Packet(p, port, source) for p in (6, 17, 132) for port in numbers for source in numbers]
    messages = [Packet(p, kind, code=code) for p in (1, 58) for kind in (0, 3, 8, 128, 255) for code in (0, 1, 2, 255)]
    return [*with_ports, *messages, *(Packet(p) for p in (0, 2, 47, 100, 101, 136, 255))]


@pytest.mark.parametrize("traffic", _VALUES)
def test_a_mask_holds_the_atoms_of_the_packets_that_the_value_carries(traffic: Traffic) -> None:
    found = packets(*_ALL)
    mask = found.mask(traffic)
    for packet in _samples(found):
        family = "10.0.0.1" if packet.protocol != 58 else "fd00::1"
        end = End(EndKind.OUTSIDE, parse_address(family))
        assert bool(mask >> found.where(packet) & 1) is carries(traffic, packet, end, end), packet


def test_the_atoms_together_hold_every_packet_once() -> None:
    found = packets(*_ALL)
    sizes: dict[int, int] = {}
    for atom in found.atoms:
        sizes[atom.protocol] = sizes.get(atom.protocol, 0) + atom.size
    assert {sizes.pop(protocol) for protocol in (6, 17, 132)} == {65536**2}
    assert {sizes.pop(protocol) for protocol in (1, 58)} == {256**2}
    assert sum(sizes.values()) == 256 - 5


def test_an_atom_holds_its_own_packet() -> None:
    found = packets(*_ALL)
    assert [found.where(atom.packet()) for atom in found.atoms] == list(range(len(found.atoms)))


def test_icmp_of_the_other_family_is_in_no_family_mask() -> None:
    found = packets()
    echo, echo_v6 = 1 << found.where(Packet(1, 8)), 1 << found.where(Packet(58, 128))
    assert found.of_family[4] & (echo | echo_v6) == echo
    assert found.of_family[6] & (echo | echo_v6) == echo_v6


@pytest.mark.parametrize(
    ("left_out", "example"),
    [
        pytest.param((), Packet(6, 1), id="TCP first, and not to port 0"),
        pytest.param((6,), Packet(17, 1), id="then UDP"),
        pytest.param((6, 17), Packet(1), id="then ICMP"),
    ],
)
def test_the_example_of_several_atoms_is_the_most_usual(left_out: tuple[int, ...], example: Packet) -> None:
    found = packets()
    assert found.example(found.everything & ~found.mask(Traffic(only(*left_out)))) == example
