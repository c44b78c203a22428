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
from tests.kernel import packets as made
from tests.kernel.conftest import NEVER, OpenProbe
from tests.kernel.conversations import A6, B6, CONVERSATIONS, A, B, Conversation, send_damaged
from tests.kernel.packets import ACK, IPV4, RST, SYN, TCP, UDP, frame4, frame6
from tests.kernel.records import FROM, TO, check_sum, rows, send, told

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_records_of_a_conversation(open_probe: OpenProbe, conversation: Conversation) -> None:
    probe = open_probe()
    probe.set_control(Control.SAMPLING, 2**64 - 1)

    for direction, packet in conversation.packets:
        send(probe, direction, packet)

    assert told(probe) == sorted(conversation.expected)
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


def test_damaged_packets_are_neither_changed_nor_decided_on(open_probe: OpenProbe) -> None:
    probe = open_probe(Sizes(flows=256, coarse=16, connections=512))
    probe.set_control(Control.SAMPLING, 3)

    sent = send_damaged(probe, 5000)

    counters = probe.counters()
    assert counters[Counter.PACKETS] == sent
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
