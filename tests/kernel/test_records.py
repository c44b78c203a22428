"""What the programs record of crafted packets, that they decide on none, and that no event is lost unseen."""

from __future__ import annotations

import random
import struct
import threading
import time

import pytest

from migrate.audit import libbpf
from migrate.audit.kernel import Sizes
from migrate.audit.layout import Control, Counter
from migrate.audit.libbpf import KernelRefusalError
from tests.kernel import packets as made
from tests.kernel.conftest import NEVER, OpenProbe
from tests.kernel.packets import ACK, FIN, ICMP, ICMPV6, IPV4, IPV6, RST, SCTP, SYN, TCP, UDP, frame4, frame6
from tests.kernel.records import FROM, TO, check_sum, rows, send, told

pytestmark = pytest.mark.kernel

A, B = "10.1.0.5", "10.2.0.9"
A6, B6 = "fd00::5", "fd00:2::9"
_PING, _PONG = made.icmp(8, 0, b"\x12\x34\0\1"), made.icmp(0, 0, b"\x12\x34\0\1")

_CONVERSATIONS = [
    pytest.param([(FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN)))], [f"from {A} > {B} 6/80: events 1"], id="SYN"),
    pytest.param(
        [
            (FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN))),
            (TO, frame4(B, A, TCP, made.tcp(80, 40000, SYN | ACK))),
            (TO, frame4(B, A, TCP, made.tcp(80, 40000, SYN | ACK))),
            (FROM, frame4(A, B, TCP, made.tcp(40000, 80, ACK))),
            (FROM, frame4(A, B, TCP, made.tcp(40000, 80, ACK | FIN))),
            (TO, frame4(B, A, TCP, made.tcp(80, 40000, RST))),
        ],
        [f"from {A} > {B} 6/80: events 1 answered 1"],
        id="answered once; a reset later is no refusal",
    ),
    pytest.param(
        [
            (TO, frame4(A, B, TCP, made.tcp(40000, 81, SYN))),
            (FROM, frame4(B, A, TCP, made.tcp(81, 40000, RST | ACK))),
            (FROM, frame4(B, A, TCP, made.tcp(81, 40000, RST | ACK))),
            (TO, frame4(A, B, TCP, made.tcp(40000, 81, SYN))),
        ],
        [f"to {A} > {B} 6/81: events 2 refused 1"],
        id="refused, then tried again from the same port",
    ),
    pytest.param(
        [(FROM, frame4(A, B, TCP, made.tcp(port, 80, SYN))) for port in (1, 2, 1, 2, 1)],
        [f"from {A} > {B} 6/80: events 2 again 3"],
        id="two SYNs sent again in turn",
    ),
    pytest.param([(TO, frame4(B, A, TCP, made.tcp(80, 40000, RST)))], [], id="a reset of an unknown connection"),
    pytest.param(
        [
            (FROM, frame4(A, B, UDP, made.udp(5000, 53))),
            (TO, frame4(B, A, UDP, made.udp(53, 5000))),
            (FROM, frame4(A, B, UDP, made.udp(5000, 53))),
            (TO, frame4(B, A, UDP, made.udp(53, 5000))),
        ],
        [f"from {A} > {B} 17/53: events 1 answered 1"],
        id="UDP",
    ),
    pytest.param(
        [(FROM, frame4(A, B, ICMP, _PING)), (TO, frame4(B, A, ICMP, _PONG))],
        [f"from {A} > {B} 1/2048: events 1 answered 1"],
        id="ping",
    ),
    pytest.param(
        [
            (FROM, frame6(A6, B6, ICMPV6, made.icmp(128, 0, b"\x12\x34\0\1"))),
            (TO, frame6(B6, A6, ICMPV6, made.icmp(129, 0, b"\x12\x34\0\1"))),
        ],
        [f"from {A6} > {B6} 58/32768: events 1 answered 1"],
        id="ping of IPv6",
    ),
    pytest.param(
        [(FROM, frame4(A, B, ICMP, made.icmp(13, 0))), (FROM, frame4(A, B, ICMP, made.icmp(17, 0)))],
        [f"from {A} > {B} 1/3328: events 1", f"from {A} > {B} 1/4352: events 1"],
        id="other kinds of ICMP are flows of their own",
    ),
    pytest.param(
        [(TO, frame4(B, A, ICMP, made.icmp(3, 1) + made.ipv4(A, B, UDP, made.udp(1, 2))))],
        [f"to ICMP_ERROR {B} > {A} 1/769: events 1"],
        id="an ICMP error",
    ),
    pytest.param(
        [(TO, frame6(B6, A6, ICMPV6, made.icmp(1, 4) + made.ipv6(A6, B6, UDP, made.udp(1, 2))))],
        [f"to ICMP_ERROR {B6} > {A6} 58/260: events 1"],
        id="an ICMPv6 error",
    ),
    pytest.param(
        [(FROM, frame4(A, B, SCTP, made.sctp(7000, 3868, 1))), (TO, frame4(B, A, SCTP, made.sctp(3868, 7000, 2)))],
        [f"from {A} > {B} 132/3868: events 1 answered 1"],
        id="SCTP",
    ),
    pytest.param(
        [
            (FROM, frame6(A6, B6, TCP, made.tcp(40000, 443, SYN))),
            (FROM, frame6(A6, B6, 0, b"\x06\0\0\0\0\0\0\0" + made.tcp(40001, 444, SYN))),
            (FROM, frame6(A6, B6, 60, b"\x33\0" + b"\0" * 6 + b"\x06\1" + b"\0" * 10 + made.tcp(40002, 445, SYN))),
        ],
        [f"from {A6} > {B6} 6/{port}: events 1" for port in (443, 444, 445)],
        id="IPv6 and its extension headers",
    ),
    pytest.param(
        [
            (FROM, frame6(A6, B6, 44, b"\x11\0\0\1\0\0\0\1" + made.udp(1000, 99))),
            (FROM, frame6(A6, B6, 44, b"\x11\0\5\x50\0\0\0\1" + b"z" * 16)),
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, UDP, made.udp(1001, 98), fragment=0x2000))),
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, UDP, b"z" * 16, fragment=0x00B9))),
        ],
        [f"from {A} > {B} 17/98: events 1", f"from {A6} > {B6} 17/99: events 1"],
        id="only the first fragment is a flow",
    ),
    pytest.param(
        [
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, TCP, made.tcp(1, 8080, SYN)), 5)),
            (FROM, made.ethernet(IPV6, made.ipv6(A6, B6, TCP, made.tcp(1, 8081, SYN)), 5, 6)),
            (FROM, made.ethernet(IPV4, made.ipv4(A, B, TCP, made.tcp(1, 8082, SYN), options=b"\1" * 8))),
        ],
        [f"from {A} > {B} 6/8080: events 1", f"from {A} > {B} 6/8082: events 1", f"from {A6} > {B6} 6/8081: events 1"],
        id="VLAN tags and IP options",
    ),
    pytest.param(
        [(FROM, frame4(A, B, 4, made.ipv4(B, A, TCP, made.tcp(1, 2, SYN)))), (TO, frame4(B, A, 47, b"\0" * 8))],
        [f"from {A} > {B} 4/0: events 1", f"to {B} > {A} 47/0: events 1"],
        id="other protocols by their number",
    ),
    pytest.param([(FROM, made.ethernet(made.ARP, b"\0" * 28))], [], id="ARP"),
]


@pytest.mark.parametrize(("packets", "expected"), _CONVERSATIONS)
def test_records_of_a_conversation(
    open_probe: OpenProbe, packets: list[tuple[int, bytes]], expected: list[str]
) -> None:
    probe = open_probe()
    probe.set_control(Control.SAMPLING, 2**64 - 1)

    for direction, packet in packets:
        send(probe, FROM if direction == FROM else TO, packet)

    assert told(probe) == sorted(expected)
    check_sum(probe)


def test_a_record_has_times_octets_port_and_interface(open_probe: OpenProbe) -> None:
    probe = open_probe()
    frames = [frame4(A, B, TCP, made.tcp(port, 80, SYN)) for port in (40001, 40002)]

    before = time.monotonic_ns()
    send(probe, FROM, *frames)
    after = time.monotonic_ns()

    ((key, value),) = rows(probe.flows[0]).items()
    assert before <= value.first < value.last <= after
    # The length that the kernel counts is without padding or checksum of the frame.
    assert value.octets == sum(len(frame) for frame in frames)
    assert value.source_port == 40002
    assert key.ifindex == 1


def test_sampling_finds_connections_that_began_before_and_no_others(open_probe: OpenProbe) -> None:
    probe = open_probe()
    probe.set_control(Control.SAMPLING, 0)

    send(probe, FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN)), frame4(A, B, TCP, made.tcp(40000, 80, ACK)))
    send(probe, TO, frame4(B, A, TCP, made.tcp(80, 40000, SYN | ACK)), frame4(B, A, TCP, made.tcp(80, 40000, ACK)))
    send(probe, TO, *[frame4(B, A, TCP, made.tcp(22, 50000, ACK))] * 3)
    send(probe, FROM, *[frame6(A6, B6, TCP, made.tcp(22, 50000, ACK))] * 3)

    assert told(probe) == sorted(
        [
            f"from {A} > {B} 6/80: events 1 answered 1",
            f"to MID_STREAM {B} > {A} 6/50000: events 1",
            f"from MID_STREAM {A6} > {B6} 6/50000: events 1",
        ]
    )
    check_sum(probe)


def test_one_of_64_segments_is_looked_at(open_probe: OpenProbe) -> None:
    probe = open_probe()
    probe.set_control(Control.SAMPLING, 63)

    for port in range(1, 2001):
        send(probe, FROM, frame4(A, B, TCP, made.tcp(80, port, ACK)))

    found = sum(value.events for value in rows(probe.flows[0]).values())
    assert 20 <= found <= 45
    assert probe.counters()[Counter.PACKETS] == 2000


def test_the_other_table_is_written_after_the_switch(open_probe: OpenProbe) -> None:
    probe = open_probe()

    send(probe, FROM, frame4(A, B, TCP, made.tcp(1, 80, SYN)))
    probe.set_control(Control.ACTIVE, 1)
    probe.barrier()
    send(probe, FROM, frame4(A, B, TCP, made.tcp(1, 80, SYN)), frame4(A, B, TCP, made.tcp(2, 80, SYN)))

    first, second = (next(iter(rows(table).values())) for table in probe.flows)
    assert (first.events, first.retransmitted) == (1, 0)
    assert (second.events, second.retransmitted) == (1, 1)
    check_sum(probe)


def test_nothing_is_recorded_after_the_deadline(open_probe: OpenProbe) -> None:
    probe = open_probe(deadline=0)
    packets = [frame4(A, B, TCP, made.tcp(1, 80, SYN)), frame4(A, B, UDP, made.udp(1, 53))]

    send(probe, FROM, *packets)
    nothing = told(probe)
    counters = probe.counters()
    probe.set_control(Control.DEADLINE, NEVER)
    send(probe, FROM, *packets)

    assert nothing == []
    assert counters[Counter.AFTER_DEADLINE] == 2
    assert counters[Counter.NEW] == counters[Counter.CONNECTION_CREATED] == 0
    assert len(told(probe)) == 2


@pytest.mark.parametrize("direction", [FROM, TO])
def test_a_full_table_falls_back_to_coarse_rows_of_the_far_end(open_probe: OpenProbe, direction: int) -> None:
    probe = open_probe(Sizes(flows=64, coarse=64, connections=1024))
    way = FROM if direction == FROM else TO

    for number in range(1000):
        far = f"10.9.{number >> 8}.{number & 255}"
        ends = (A, far) if way is FROM else (far, A)
        send(probe, way, frame4(*ends, TCP, made.tcp(1, 80, SYN)))

    counters = probe.counters()
    ((key, value),) = rows(probe.coarse).items()
    assert (key.coarse, key.port, key.direction) == (True, 0, way)
    assert str(key.destination if way is FROM else key.source) == "10.9.0.0"
    assert str(key.source if way is FROM else key.destination) == A
    assert value.events == 1000 - 64
    assert counters[Counter.LOST] == 0
    check_sum(probe)


def test_what_has_no_room_at_all_is_counted(open_probe: OpenProbe) -> None:
    probe = open_probe(Sizes(flows=16, coarse=4, connections=1024))

    for number in range(200):
        send(probe, FROM, frame6(A6, f"fd00:{number:x}::1", UDP, made.udp(9, 53)))
        send(probe, TO, frame6(f"fd00:{number:x}::1", A6, UDP, made.udp(53, 9)))

    counters = probe.counters()
    assert counters[Counter.NEW] == 200
    assert counters[Counter.LOST] == 200 - 16 - 4
    assert counters[Counter.REPLY] == 200
    assert counters[Counter.REPLY_LOST] == 200 - 16 - 4
    check_sum(probe)


def test_no_event_is_lost_between_two_processors(open_probe: OpenProbe) -> None:
    probe = open_probe(Sizes(flows=512, coarse=64, connections=256))

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(20_000):
            far = f"10.{chance.randrange(100)}.0.{chance.randrange(40)}"
            packet = frame4(far, A, TCP, made.tcp(chance.randrange(1, 9), 80, SYN))
            libbpf.run_program(probe.program(TO), packet)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for number in range(1, 50):
        probe.set_control(Control.ACTIVE, number & 1)
        probe.barrier()
    for worker in workers:
        worker.join()

    counters = probe.counters()
    assert counters[Counter.NEW] + counters[Counter.RETRANSMITTED] == 40_000
    assert min(counters[counter] for counter in (Counter.COARSE, Counter.LOST, Counter.RETRANSMITTED)) > 0
    check_sum(probe)


def _valid_packets() -> list[bytes]:
    return [packet for case in _CONVERSATIONS for _, packet in case.values[0]]  # type: ignore[union-attr]


def _spoiled(chance: random.Random, packet: bytes) -> bytes:
    """A packet with a few bytes of its headers changed, cut, or longer."""
    spoiled = bytearray(packet)
    for _ in range(chance.randrange(6)):
        spoiled[chance.randrange(12, len(spoiled))] = chance.choice((0, 1, 0xFF, 0x45, 0x60, chance.randrange(256)))
    if chance.random() < 0.3:
        del spoiled[chance.randrange(14, len(spoiled)) :]
    return bytes(spoiled) + chance.randbytes(chance.choice((0, 0, 100, 1400)))


def test_damaged_packets_are_neither_changed_nor_decided_on(open_probe: OpenProbe) -> None:
    probe = open_probe(Sizes(flows=256, coarse=16, connections=512))
    probe.set_control(Control.SAMPLING, 3)
    chance, valid, refused = random.Random(6), _valid_packets(), 0

    for _ in range(5000):
        packet = _spoiled(chance, chance.choice(valid))
        try:
            send(probe, chance.choice((FROM, TO)), packet)
        except KernelRefusalError:
            refused += 1  # The kernel's test run takes no packet whose IP header is cut.

    counters = probe.counters()
    assert counters[Counter.PACKETS] == 5000 - refused
    assert counters[Counter.PACKETS] > 4000
    assert min(counters[counter] for counter in (Counter.SHORT, Counter.NOT_IP, Counter.NEW, Counter.FULL)) > 0
    check_sum(probe)


def test_headers_that_say_too_much_count_as_short(open_probe: OpenProbe) -> None:
    probe = open_probe()
    no_header = struct.pack(">B", 0x44) + made.ipv4(A, B, TCP, made.tcp(1, 80, SYN))[1:]

    send(probe, FROM, made.ethernet(IPV4, no_header), frame4(A, B, TCP, b"\0\1\0\x50"), frame4(A, B, UDP, b"\0"))

    assert told(probe) == []
    assert probe.counters()[Counter.SHORT] == 3


def test_a_thousand_rows_come_and_go_in_batches(open_probe: OpenProbe) -> None:
    probe = open_probe()
    for port in range(1, 1001):
        send(probe, FROM, frame4(A, B, TCP, made.tcp(1, port, SYN)))

    batches = list(probe.flows[0].batches(size=256))
    keys = [key for batch in batches for key, _ in batch]
    probe.flows[0].delete([keys[0]])
    probe.flows[0].delete(keys)
    probe.flows[0].delete([])

    assert len(batches) > 1
    assert len(set(keys)) == 1000
    assert list(probe.flows[0].batches()) == []


def test_established_tcp_leaves_early(open_probe: OpenProbe) -> None:
    """The early exit only decides that nothing is recorded; every other flag goes the long way."""
    probe = open_probe()
    probe.set_control(Control.SAMPLING, 2**64 - 1)
    for flags in range(256):
        send(probe, FROM, frame4(A, B, TCP, made.tcp(flags + 1, 80, flags)))

    syns = [flags for flags in range(256) if flags & (SYN | ACK | RST) == SYN]
    ((_, value),) = [item for item in rows(probe.flows[0]).items() if item[0].port == 80]
    assert value.events == len(syns)
    assert libbpf.possible_cpus() >= 1
