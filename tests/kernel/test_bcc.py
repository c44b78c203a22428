"""Both loaders make the same probe of the one source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrate.audit.bcc_probe import open_bcc_probe
from migrate.audit.kernel import ProbeError, Sizes
from migrate.audit.layout import Control, Counter
from migrate.audit.libbpf import object_info
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import objects, sources
from tests.kernel import packets as made
from tests.kernel.conftest import NEVER, NO_BCC, SMALL, has_bcc
from tests.kernel.packets import ACK, ICMP, ICMPV6, RST, SCTP, SYN, TCP, UDP, frame4, frame6
from tests.kernel.records import FROM, TO, check_sum, rows, send, told
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

A, B, A6, B6 = "10.1.0.5", "10.2.0.9", "fd00::5", "fd00:2::9"
_PING, _PONG = made.icmp(8, 0, b"\x12\x34\0\1"), made.icmp(0, 0, b"\x12\x34\0\1")
_TRAFFIC = [
    (FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN))),
    (FROM, frame4(A, B, TCP, made.tcp(40000, 80, SYN))),
    (TO, frame4(B, A, TCP, made.tcp(80, 40000, SYN | ACK))),
    (FROM, frame4(A, B, TCP, made.tcp(40000, 80, ACK))),
    (TO, frame4(A, B, TCP, made.tcp(40000, 81, SYN))),
    (FROM, frame4(B, A, TCP, made.tcp(81, 40000, RST | ACK))),
    (FROM, frame6(A6, B6, 0, b"\x06\0\0\0\0\0\0\0" + made.tcp(40001, 444, SYN))),
    (TO, frame6(B6, A6, TCP, made.tcp(22, 50000, ACK))),
    (FROM, frame4(A, B, UDP, made.udp(5000, 53))),
    (TO, frame4(B, A, UDP, made.udp(53, 5000))),
    (FROM, frame4(A, B, ICMP, _PING)),
    (TO, frame4(B, A, ICMP, _PONG)),
    (TO, frame6(B6, A6, ICMPV6, made.icmp(1, 4) + made.ipv6(A6, B6, UDP, made.udp(1, 2)))),
    (FROM, frame4(A, B, SCTP, made.sctp(7000, 3868, 1))),
    (FROM, made.ethernet(made.IPV4, made.ipv4(A, B, TCP, made.tcp(1, 8080, SYN)), 5)),
    (FROM, made.ethernet(made.IPV4, made.ipv4(A, B, UDP, b"z" * 16, fragment=0x00B9))),
    (FROM, made.ethernet(made.ARP, b"\0" * 28)),
    (FROM, frame4(A, B, TCP, b"\0\1\0\x50")),
]


@pytest.fixture(autouse=True)
def _needs_bcc() -> None:
    require(has_bcc(), NO_BCC)


@contextmanager
def _bcc(sizes: Sizes = SMALL, bpffs: Path | None = None) -> Iterator[LibbpfProbe]:
    probe = open_bcc_probe(sources(), sizes, bpffs=bpffs)
    try:
        yield probe
    finally:
        probe.remove()


@contextmanager
def _libbpf(sizes: Sizes = SMALL) -> Iterator[LibbpfProbe]:
    probe = open_libbpf_probe(objects(), sizes, bpffs=None, extras=False)
    try:
        yield probe
    finally:
        probe.remove()


def _seen(probe: LibbpfProbe) -> tuple[list[str], list[tuple[int, ...]], dict[Counter, int]]:
    """What a probe records of the traffic: rows, their figures without times, counters."""
    probe.set_control(Control.DEADLINE, NEVER)
    probe.set_control(Control.SAMPLING, 0)
    for direction, packet in _TRAFFIC:
        send(probe, FROM if direction == FROM else TO, packet)
    check_sum(probe)
    values = [(value.octets, value.source_port) for value in rows(probe.flows[0]).values()]
    return told(probe), sorted(values), dict(probe.counters())


def test_both_loaders_record_the_same() -> None:
    with _libbpf() as first, _bcc() as second:
        assert (first.loader, second.loader) == ("libbpf", "bcc")
        expected = _seen(first)
        assert len(expected[0]) == 9
        assert _seen(second) == expected


def test_both_loaders_fall_back_to_coarse_rows_alike() -> None:
    full = Sizes(flows=16, coarse=4, connections=1024)
    counted = []
    for opened in (_libbpf(full), _bcc(full)):
        with opened as probe:
            probe.set_control(Control.DEADLINE, NEVER)
            for number in range(100):
                send(probe, FROM, frame6(A6, f"fd00:{number:x}::1", UDP, made.udp(9, 53)))
            check_sum(probe)
            counted.append(dict(probe.counters()))

    assert counted[0] == counted[1]
    assert counted[0][Counter.LOST] == 100 - 16 - 4


def test_maps_have_the_same_form() -> None:
    names = ("flows0", "flows1", "coarse", "connections", "stats", "ctl")
    with _libbpf() as first, _bcc() as second:
        # Numbers 0, 8, 12, 16 and 20 of the kernel's description: kind, sizes of key and value, entries, flags.
        forms = [[object_info(map_.descriptor)[8:24] for map_ in probe.maps(*names)] for probe in (first, second)]

    assert forms[0] == forms[1]


def test_it_goes_on_with_what_the_other_loader_left(bpffs: Path) -> None:
    first = open_libbpf_probe(objects(), SMALL, bpffs=bpffs, extras=False)
    first.set_control(Control.DEADLINE, NEVER)
    send(first, FROM, frame4(A, B, TCP, made.tcp(1, 80, SYN)))
    first.close()

    with _bcc(Sizes(flows=8, coarse=8, connections=8), bpffs) as second:
        assert second.resumed
        send(second, FROM, frame4(A, B, TCP, made.tcp(2, 80, SYN)))
        assert told(second) == [f"from {A} > {B} 6/80: events 2"]


def test_a_python_without_bcc_is_named(tmp_path: Path) -> None:
    without = tmp_path / "python"
    without.write_text("#!/bin/sh\nexit 3\n")
    without.chmod(0o755)

    with pytest.raises(ProbeError, match=rf"{without} has none; install Debian's python3-bpfcc"):
        open_bcc_probe(sources(), SMALL, bpffs=None, pythons=(str(without),))


def test_a_folder_without_headers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))

    with pytest.raises(ProbeError, match=f"BCC_KERNEL_SOURCE={tmp_path}: no kernel headers"):
        open_bcc_probe(sources(), SMALL, bpffs=None)


def test_what_bcc_refuses_is_told(tmp_path: Path) -> None:
    for header in sources().glob("*.h"):
        (tmp_path / header.name).symlink_to(header)
    (tmp_path / "bcc").symlink_to(sources() / "bcc")
    (tmp_path / "probe.bpf.c").write_text('#include "compat.h"\nint from_pod(int) { return nothing; }\n')

    with pytest.raises(ProbeError, match=r"did not take the probe: .*error: .*nothing"):
        open_bcc_probe(tmp_path, SMALL, bpffs=None)
