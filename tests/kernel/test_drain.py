"""That every new flow the kernel counted is in the recording, whatever happens to the agent, the tables or the disk."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.agent import Ending, Progress, Settings, run_agent
from migrate.audit.drain import Drain
from migrate.audit.kernel import Sizes
from migrate.audit.layout import Control, Counter
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import objects
from migrate.audit.store import SMALLEST_MAX_SIZE, Level, Store, open_store
from migrate.audit.writing import NotWrittenError
from migrate.errors import InputError
from tests.kernel.conftest import NEVER, SMALL, OpenProbe
from tests.kernel.lab import Node, inside, run, unmount
from tests.kernel.packets import IPV4, SYN, TCP, ethernet, ipv4, tcp
from tests.kernel.records import FROM, send
from tests.unit.audit_records import ABOUT, RESTART, START, number, told_pairs

pytestmark = pytest.mark.kernel

_ROOT = Path(__file__).parents[2]
_LOOPBACK = 1
_NETWORK = 1 << 16
"""Addresses so far apart have coarse rows of their own."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the recording is."""
    return tmp_path / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A recording whose run has begun and where packets of test runs have a veth."""
    with closing(open_store(path, ABOUT)) as opened:
        opened.segment(START)
        opened.veth(_LOOPBACK, "lo", 0, 0)
        yield opened


def _syns(count: int, first: int = 0, step: int = 1) -> list[bytes]:
    """SYNs to distinct addresses."""
    ends = (str(ip_address("10.0.0.0") + (first + offset) * step) for offset in range(count))
    return [ethernet(IPV4, ipv4("10.77.1.2", end, TCP, tcp(40_000, 80, SYN))) for end in ends]


def _begun(probe: LibbpfProbe, store: Store) -> Drain:
    drain = Drain(probe, store)
    drain.begin(goes_on=False)
    probe.set_control(Control.DEADLINE, NEVER)
    return drain


def test_tables_that_overflow_in_every_epoch(open_probe: OpenProbe, store: Store, path: Path) -> None:
    probe = open_probe(Sizes(flows=64, coarse=16, connections=65_536))
    drain = _begun(probe, store)
    for epoch in range(6):
        send(probe, FROM, *_syns(400, epoch * 400), *_syns(400, epoch * 400 + 1, _NETWORK))
        drain.epoch()
    balance = drain.finish()
    assert balance.missing == 0
    assert min(balance.rows, balance.coarse, balance.lost) > 0
    assert balance.new == 6 * 800
    assert number(path, "SELECT sum(events) FROM flow WHERE coarse = 0") == balance.rows
    assert number(path, "SELECT sum(events) FROM flow WHERE coarse = 1") == balance.coarse


def test_coarse_rows_of_interfaces_that_are_gone_make_room(open_probe: OpenProbe, store: Store) -> None:
    probe = open_probe(Sizes(flows=1, coarse=1, connections=4096))
    drain = _begun(probe, store)
    send(probe, FROM, *_syns(50))
    drain.epoch()
    assert [len(batch) for batch in probe.coarse.batches()] == [1]
    store.end_veth(1, store.clock.realtime())
    drain.epoch()
    assert list(probe.coarse.batches()) == []
    send(probe, FROM, *_syns(50, 1_000_000))
    assert drain.finish().missing == 0
    assert drain.balance().lost == 0


def test_what_another_recording_left_in_the_tables_is_not_counted_here(
    open_probe: OpenProbe, store: Store, path: Path
) -> None:
    probe = open_probe()
    send(probe, FROM, *_syns(30))
    drain = _begun(probe, store)
    send(probe, FROM, *_syns(20, 100))
    balance = drain.finish()
    assert (balance.new, balance.rows, balance.missing) == (20, 20, 0)
    assert told_pairs(path, "SELECT kind, count FROM loss") == {"earlier-recording": 30}


_AGENT = """
    import sys
    from pathlib import Path
    from migrate.audit.drain import Drain
    from migrate.audit.kernel import Sizes
    from migrate.audit.libbpf_probe import open_libbpf_probe
    from migrate.audit.loader import objects
    from migrate.audit.store import open_store
    from tests.unit.audit_records import ABOUT, RESTART

    path, bpffs = sys.argv[1:]
    print("begun", flush=True)
    probe = open_libbpf_probe(objects(), Sizes(), bpffs=Path(bpffs))
    store = open_store(Path(path), ABOUT)
    assert store.segment(RESTART)
    drain = Drain(probe, store)
    drain.begin(goes_on=True)
    while True:
        drain.epoch()
"""
_TALKER = """
    import socket, sys, time
    from itertools import count
    from tests.kernel.lab import inside

    with inside(sys.argv[1]):
        print("begun", flush=True)
        for turn in count():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talker:
                for port in range(1000, 1200):
                    talker.sendto(b"x", ("10.77.1.1", port + turn % 5 * 200))
            time.sleep(0.002)
"""
LARGE = Sizes(flows=4096, coarse=256, connections=131_072)


@contextmanager
def _killed(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)


@contextmanager
def _process(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, which ends with the block."""
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process, _killed(process):
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process


def test_twenty_agents_killed_anywhere_lose_and_repeat_nothing(node: Node, bpffs: Path, path: Path) -> None:
    veth, pod = node.add_pod(1)
    chance = random.Random(20)
    with inside(node.name):
        probe = open_libbpf_probe(objects(), LARGE, bpffs=bpffs)
        probe.attach(veth, "veth1")
    with closing(open_store(path, ABOUT)) as store:
        store.segment(START)
        store.veth(veth, "veth1", 0, 0)
        _begun(probe, store)
    probe.close()
    with _process(_TALKER, pod):
        for _ in range(20):
            with _process(_AGENT, str(path), str(bpffs)) as agent, suppress(subprocess.TimeoutExpired):
                agent.wait(chance.uniform(0.2, 1.2))
    probe = open_libbpf_probe(objects(), LARGE, bpffs=bpffs)
    try:
        with closing(open_store(path, ABOUT)) as store:
            assert probe.resumed
            assert store.segment(RESTART)
            drain = Drain(probe, store)
            drain.begin(goes_on=True)
            balance = drain.finish()
            new = probe.counters()[Counter.NEW]
    finally:
        probe.remove()
    assert balance.missing == 0
    assert balance.new == new
    assert number(path, "SELECT sum(events) FROM flow") + balance.lost == new
    assert number(path, "SELECT count(*) FROM epoch") > 20
    assert new > 1000


def test_a_full_disk_keeps_the_records_in_the_kernel_until_there_is_room(open_probe: OpenProbe, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk))
    try:
        with closing(open_store(disk / "audit.db", ABOUT)) as store:
            _fill_and_free(open_probe(LARGE), store, disk)
        assert told_pairs(disk / "audit.db", "SELECT kind, count(*) FROM loss GROUP BY kind").keys() >= {"disk-full"}
        assert number(disk / "audit.db", "SELECT sum(events) FROM flow") == 3050
    finally:
        unmount(disk)


def _fill_and_free(probe: LibbpfProbe, store: Store, disk: Path) -> None:
    store.segment(START)
    store.veth(_LOOPBACK, "lo", 0, 0)
    drain = _begun(probe, store)
    send(probe, FROM, *_syns(50))
    drain.epoch()
    with suppress(OSError):
        (disk / "ballast").write_bytes(b"x" * (2 << 20))
    send(probe, FROM, *_syns(1000, 1000))
    with pytest.raises(NotWrittenError):
        drain.epoch()
    assert (store.is_waiting, store.waiting > 0) == (True, True)
    send(probe, FROM, *_syns(1000, 3000))
    with pytest.raises(NotWrittenError):
        drain.epoch()
    assert drain.remaining() == 2000
    (disk / "ballast").unlink()
    drain.epoch()
    assert (store.is_waiting, store.waiting) == (False, 0)
    send(probe, FROM, *_syns(1000, 5000))
    assert drain.finish().missing == 0


def test_what_never_could_be_written_is_counted_and_told(node: Node, tmp_path: Path, bpffs: Path) -> None:
    node.add_pod(1)
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk))
    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    try:
        with closing(open_store(disk / "audit.db", ABOUT)) as store:

            def happens() -> None:
                with suppress(OSError), (disk / "ballast").open("ab", buffering=0) as ballast:
                    while ballast.write(b"x" * 4096):
                        pass
                send(probe, FROM, *_syns(200))

            follower = AttachedTo(node.index("veth1"), probe, store, happens)
            settings = Settings(START, seconds=2, shortest_epoch=0.2)
            with inside(node.name):
                last = run_agent(settings, probe, store, follower, lambda figures: None, threading.Event())
            (disk / "ballast").unlink()
        assert (last.ending, last.is_waiting) == (Ending.COMPLETE, True)
        assert last.unwritten == last.counters[Counter.NEW] >= 200
        told = "SELECT kind, sum(count) FROM loss GROUP BY kind"
        assert told_pairs(disk / "audit.db", told) == {"disk-full": last.unwritten}
    finally:
        unmount(disk)
    assert not (bpffs / "cilium-migrate").exists()


def test_a_file_system_for_reading_only_is_named(tmp_path: Path) -> None:
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path))
    try:
        open_store(tmp_path / "audit.db", ABOUT).close()
        run("mount", "-o", "remount,ro", str(tmp_path))
        with pytest.raises(InputError, match=r"audit\.db: cannot be written: Read-only file system"):
            open_store(tmp_path / "audit.db", ABOUT)
    finally:
        unmount(tmp_path)


class AttachedTo:
    """Follows one veth, and lets something happen in each wait."""

    def __init__(self, index: int, probe: LibbpfProbe, store: Store, happens: Callable[[], None]) -> None:
        self._index, self._probe, self._store, self._happens = index, probe, store, happens
        self.checks = 0

    def start(self, now: int) -> None:
        self._probe.attach(self._index, "veth1")
        self._store.veth(self._index, "veth1", now, now)

    def wait(self, seconds: float) -> None:
        threading.Event().wait(min(seconds, 0.1))
        self._happens()

    def check(self, now: int) -> None:
        self.checks += 1

    def close(self, now: int) -> None:
        self._store.end_veth(1, now)


@pytest.fixture
def talking(node: Node) -> Callable[[], None]:
    """Pod 1 sends to ports that nobody listens on, 10 at each call."""
    _, pod = node.add_pod(1)
    turns = iter(range(1000))

    def talk() -> None:
        first = 2000 + 10 * next(turns)
        with inside(pod), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talker:
            for port in range(first, first + 10):
                talker.sendto(b"x", ("10.77.1.1", port))

    return talk


def test_a_run_ends_with_all_written_and_nothing_left(
    node: Node, bpffs: Path, path: Path, talking: Callable[[], None]
) -> None:
    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    seen: list[Progress] = []
    settings = Settings(START, seconds=4.0, shortest_epoch=0.5, connections=list)
    with closing(open_store(path, ABOUT)) as store:
        follower = AttachedTo(node.index("veth1"), probe, store, talking)
        with inside(node.name):
            last = run_agent(settings, probe, store, follower, seen.append, threading.Event())
    assert last.ending == Ending.COMPLETE
    assert last.balance.missing == 0
    assert last.balance.new == last.counters[Counter.NEW] > 10
    assert number(path, "SELECT sum(events) FROM flow") == last.balance.new
    assert follower.checks > 1
    assert last.epochs > 1
    assert [figures.seconds_left for figures in seen] == sorted((f.seconds_left for f in seen), reverse=True)
    assert all(figures.period >= 100 * figures.cost for figures in seen)
    assert last.coverage.watched_seconds > 0
    assert number(path, "SELECT count(*) FROM segment WHERE ended IS NULL") == 0
    assert not (bpffs / "cilium-migrate").exists()
    with inside(node.name):
        assert "prog/" not in run("ip", "-d", "link", "show", "dev", "veth1")


_RUN = """
    import sys, threading
    from pathlib import Path
    from migrate.audit.agent import Settings, run_agent
    from migrate.audit.libbpf_probe import open_libbpf_probe
    from migrate.audit.loader import objects
    from migrate.audit.store import open_store
    from tests.kernel.conftest import SMALL
    from tests.kernel.lab import inside
    from tests.kernel.test_drain import AttachedTo
    from tests.unit.audit_records import ABOUT, START

    path, bpffs, namespace, index = sys.argv[1:]
    with inside(namespace):
        probe = open_libbpf_probe(objects(), SMALL, bpffs=Path(bpffs))
        store = open_store(Path(path), ABOUT)
        follower = AttachedTo(int(index), probe, store, lambda: None)
        settings = Settings(START, 3600, lambda: [], shortest_epoch=0.2)
        begun = iter(["begun"])
        run_agent(settings, probe, store, follower, lambda _: print(next(begun, ""), flush=True), threading.Event())
"""


def test_a_killed_run_goes_on(node: Node, bpffs: Path, path: Path, talking: Callable[[], None]) -> None:
    index = node.index("veth1")
    with _process(_RUN, str(path), str(bpffs), node.name, str(index)):
        talking()
    talking()
    with inside(node.name):
        probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
        with closing(open_store(path, ABOUT)) as store:
            follower = AttachedTo(index, probe, store, talking)
            settings = Settings(RESTART, 3600, list, shortest_epoch=0.2)
            seen: list[Progress] = []
            stop = _After(seen, 5)
            last = run_agent(settings, probe, store, follower, seen.append, stop)
    assert seen[0].seconds_left < 3600
    assert last.balance.missing == 0
    assert last.balance.new == last.counters[Counter.NEW] >= 30
    assert number(path, "SELECT count(*) FROM segment") == 1
    assert number(path, "SELECT count(*) FROM veth") == 1
    assert number(path, "SELECT count(*) FROM loss") == 0


@dataclass(frozen=True)
class _After:
    """Set after so many looks."""

    seen: list[Progress]
    looks: int

    def is_set(self) -> bool:
        return len(self.seen) >= self.looks


def test_a_run_that_is_stopped_keeps_what_it_has(node: Node, path: Path, talking: Callable[[], None]) -> None:
    probe, stop = open_libbpf_probe(objects(), SMALL, bpffs=None), threading.Event()
    with closing(open_store(path, ABOUT)) as store, inside(node.name):
        follower = AttachedTo(node.index("veth1"), probe, store, talking)

        def progress(figures: Progress) -> None:
            if figures.counters[Counter.NEW] >= 20:
                stop.set()

        last = run_agent(Settings(START, seconds=3600), probe, store, follower, progress, stop)
    assert last.ending == Ending.STOPPED
    assert last.balance.missing == 0
    assert last.balance.new >= 20


def test_a_table_that_is_nearly_full_is_emptied_before_its_time(node: Node, path: Path) -> None:
    node.add_pod(1)
    probe, seen = open_libbpf_probe(objects(), Sizes(flows=512), bpffs=None), list[Progress]()
    firsts = iter(range(0, 1 << 20, 100))
    with closing(open_store(path, ABOUT)) as store, inside(node.name):

        def happens() -> None:
            send(probe, FROM, *_syns(100, next(firsts)) if not seen or not seen[-1].epochs else ())

        follower = AttachedTo(node.index("veth1"), probe, store, happens)
        settings = Settings(START, seconds=3600, capacity=512, shortest_epoch=3600)
        last = run_agent(settings, probe, store, follower, seen.append, _After(seen, 40))
    assert last.epochs == 1
    assert last.balance.missing == 0
    assert last.balance.rows > 0.75 * 512


def test_a_full_recording_ends_the_run(node: Node, path: Path) -> None:
    node.add_pod(1)
    probe = open_libbpf_probe(objects(), Sizes(flows=65_536, coarse=4096, connections=65_536), bpffs=None)
    probe.set_control(Control.DEADLINE, NEVER)
    firsts = iter(range(0, 60_000, 2000))

    def happens() -> None:
        send(probe, FROM, *_syns(2000, next(firsts), _NETWORK))

    with closing(open_store(path, ABOUT, max_size=SMALLEST_MAX_SIZE)) as store:
        follower = AttachedTo(node.index("veth1"), probe, store, happens)
        settings = Settings(START, seconds=3600, shortest_epoch=0.2)
        with inside(node.name):
            last = run_agent(settings, probe, store, follower, lambda figures: None, threading.Event())
    assert (last.ending, last.level) == (Ending.STORE_FULL, Level.KNOWN)
    assert last.balance.missing == 0
    assert last.balance.unstored > 0
    assert number(path, "SELECT sum(events) FROM flow") + last.balance.unstored == last.balance.new
