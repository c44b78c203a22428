"""The recording of an audit: what is written, read again, and refused."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.facts import FlowEnds
from migrate.audit.layout import Address, Counter, Direction, Translation, bytes_of
from migrate.audit.recording import APPLICATION_ID, SCHEMA, writer_of
from migrate.audit.store import Level, open_store
from migrate.audit.writing import NotWrittenError
from migrate.errors import InputError
from tests.unit.audit_records import (
    ABOUT,
    BOOT,
    RESTART,
    SECOND,
    START,
    UPTIME,
    Hands,
    a_store,
    counters,
    number,
    record,
    told,
)

NOW = BOOT + UPTIME
HOUR = 3600 * SECOND
_CASES = Path(__file__).parent.parent / "cases"


def test_epochs_of_one_hour_add_up_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.commit_epoch(0, [record(events=2, first=UPTIME - 5, last=UPTIME)], counters(2))
        store.commit_epoch(1, [record(events=3, first=UPTIME + 1, last=UPTIME + 9)], counters(5))
    assert told(path, "SELECT veth, hour, events, first, last, octets, answered, source_port, coarse FROM flow") == [
        (1, NOW // HOUR, 5, NOW - 5, NOW + 9, 300, 5, 40_000, 0)
    ]


def test_hours_have_rows_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.commit_epoch(0, [record(), record(port=81, last=UPTIME + HOUR)], counters(2))
        store.commit_epoch(1, [record(last=UPTIME + HOUR)], counters(3))
    assert number(path, "SELECT count(*) FROM flow") == 3


def test_what_is_told_of_veths_addresses_and_connections(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    address = ip_address("10.0.0.1")
    with a_store(path) as store:
        veth = store.veth(9, "veth9", NOW, NOW + 1)
        store.name_veth(veth, "shop", "web-1", "uid-1", "route")
        store.gap(veth, NOW + 2, "its link is gone")
        store.gap(veth, NOW + 3, "said again")
        store.end_gap(veth, NOW + 5)
        store.own(address, "pod", "shop", "web-1", "uid-1", NOW)
        store.own(address, "pod", "shop", "web-1", "uid-1", NOW + 7)
        store.disown(address, "uid-1", NOW + 8)
        ends = FlowEnds(address, ip_address("10.96.0.1"), 6, 80)
        for _ in range(2):
            store.translated(veth, ends, ends)
            store.dropped(veth, ends, NOW, NOW + 1, 4)
        store.end_veth(veth, NOW + 9)
        assert store.ended_interfaces() == {9}
    assert told(path, "SELECT name, namespace, pod, uid, found_by, since, until FROM veth WHERE id = 2") == [
        ("veth9", "shop", "web-1", "uid-1", "route", NOW + 1, NOW + 9)
    ]
    assert told(path, "SELECT since, until, reason FROM gap") == [(NOW + 2, NOW + 5, "its link is gone")]
    assert told(path, "SELECT since, until FROM owner") == [(NOW, NOW + 8)]
    assert told(path, "SELECT times FROM translated") == [(2,)]
    assert told(path, "SELECT events FROM dropped") == [(8,)]


def test_a_record_belongs_to_the_life_of_its_interface_then(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.end_veth(1, NOW + 5 * SECOND)
        store.veth(7, "veth-new", NOW + 20 * SECOND, NOW + 20 * SECOND)
        rows = [record(), record(port=81, last=UPTIME + 21 * SECOND), record(port=82, ifindex=99)]
        store.commit_epoch(0, rows, counters(3))
    assert told(path, "SELECT port, name FROM flow JOIN veth ON veth.id = veth ORDER BY port") == [
        (80, "veth7"),
        (81, "veth-new"),
        (82, ""),
    ]


def test_of_the_coarse_table_only_what_is_new_is_added(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        coarse = [record("10.1.0.0", port=0, coarse=True, events=5, last=UPTIME + 1)]
        assert store.commit_epoch(0, [], counters(5), coarse=coarse).coarse_events == 5
        assert store.commit_epoch(1, [], counters(5), coarse=coarse).coarse_events == 0
    with a_store(path, RESTART) as store:
        more = [record("10.1.0.0", port=0, coarse=True, events=7, last=UPTIME + 2)]
        assert store.commit_epoch(2, [], counters(7), coarse=more).coarse_events == 2
        assert store.commit_epoch(3, [], counters(7), coarse=[]).coarse_events == 0
        anew = [record("10.1.0.0", port=0, coarse=True, events=1, first=UPTIME + 3, last=UPTIME + 3)]
        assert store.commit_epoch(4, [], counters(8), coarse=anew).coarse_events == 1
        assert store.balance().missing == 0
    assert told(path, "SELECT coarse, events FROM flow") == [(1, 8)]


def translation(times: int, direction: Direction = Direction.FROM_POD) -> tuple[bytes, bytes]:
    """What conntrack said of calls of 10.96.0.1:80, behind which 10.0.0.2:8080 answers."""
    flow, _ = record(destination="10.96.0.1", direction=direction)
    ends = (bytes_of(ip_address(text)) for text in ("10.0.0.1", "10.96.0.1", "10.0.0.2"))
    return Translation.KEY.pack(flow, *ends, 80, 8080), Translation.VALUE.pack(UPTIME, UPTIME + times, times)


def test_of_translations_and_drops_only_what_is_new_is_added(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.commit_epoch(0, [], counters(0), translations=[translation(2)], drops=[record(events=3)])
    with a_store(path, RESTART) as store:
        store.commit_epoch(1, [], counters(0), translations=[translation(2)], drops=[record(events=3)])
        more = [translation(5), translation(1, Direction.TO_POD)]
        store.commit_epoch(2, [], counters(0), translations=more, drops=[record(events=4, last=UPTIME + 9)])
        store.commit_epoch(3, [], counters(0))
    assert told(path, "SELECT hex(backend), backend_port, original_port, times FROM translated ORDER BY times") == [
        ("", None, 80, 1),
        (bytes_of(ip_address("10.0.0.2")).hex().upper(), 8080, 80, 5),
    ]
    assert told(path, "SELECT port, first, last, events FROM dropped") == [(80, NOW, NOW + 9, 4)]
    assert number(path, "SELECT count(*) FROM seen") == 0


def test_what_had_no_room_beside_the_flow_tables_is_a_loss_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    begun = dict(counters(0)) | {Counter.DROP_LOST: 100}
    with a_store(path) as store:
        store.set_base(begun)
        store.commit_epoch(0, [], begun | {Counter.REPLY_LOST: 2, Counter.TRANSLATION_LOST: 1, Counter.DROP_LOST: 104})
    with a_store(path, RESTART) as store:
        more = begun | {Counter.REPLY_LOST: 5, Counter.TRANSLATION_LOST: 1, Counter.DROP_LOST: 104}
        store.commit_epoch(1, [], more)
        store.commit_epoch(2, [], more)
    assert told(path, "SELECT kind, count FROM loss ORDER BY kind") == [
        ("drops-lost", 4),
        ("replies-lost", 5),
        ("translations-lost", 1),
    ]


def test_a_run_goes_on_only_on_the_same_boot_with_the_same_tables(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.commit_epoch(0, [record()], counters(4), ended=NOW + 50)
    with a_store(path, RESTART) as store:
        assert store.is_committed(0)
        assert store.veth(7, "veth7", NOW, NOW) == 1
        assert store.last_epoch() == (0, NOW + 50)
    with a_store(path, replace(RESTART, boot_id="boot-2")) as store:
        assert not store.is_committed(0)
    assert told(path, "SELECT id, boot_id, ended FROM segment") == [(1, "boot-1", NOW + 50), (2, "boot-2", None)]
    assert told(path, "SELECT id, segment, until FROM veth") == [(1, 1, NOW + 50), (2, 2, None)]
    assert told(path, "SELECT segment, kind, count FROM loss") == [(1, "agent-died", 3)]


def test_a_run_that_was_killed_before_it_knew_the_counters_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    for start, goes_on in ((START, False), (RESTART, False), (RESTART, True)):
        with closing(open_store(path, ABOUT)) as store:
            assert store.segment(start) is goes_on
            if start is RESTART:
                store.set_base(counters(5))
    assert number(path, "SELECT count(*) FROM segment") == 1


@dataclass(frozen=True)
class Standing:
    """A connection through a Service."""

    protocol: int = 6
    source: Address = ip_address("10.0.0.1")
    source_port: int = 40_000
    destination: Address = ip_address("10.96.0.1")
    port: int = 80
    backend: Address = ip_address("10.0.0.2")
    backend_port: int = 8080
    client: Address = ip_address("10.0.0.1")


def test_connections_that_stood_are_kept_by_moment(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.connections("start", [Standing(), Standing(source_port=40_001)])
        assert (store.has_connections("start"), store.has_connections("end")) == (True, False)
    assert told(path, "SELECT moment, source_port, port, backend_port FROM connection") == [
        ("start", 40_000, 80, 8080),
        ("start", 40_001, 80, 8080),
    ]


def test_a_finished_run_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.commit_epoch(0, [record()], counters(1))
        store.end()
    with a_store(path) as store:
        store.set_base(counters(10, lost=2))
        store.commit_epoch(0, [record()], counters(11, lost=2))
        assert store.balance().new == 1
        assert store.balance().missing == 0
    assert number(path, "SELECT events FROM flow WHERE veth = 2") == 1


def test_a_clock_that_was_set_is_noted(tmp_path: Path) -> None:
    path, hands = tmp_path / "audit.db", Hands()
    with a_store(path, hands=hands) as store:
        store.commit_epoch(0, [], counters(0))
        hands.uptime += 10 * SECOND
        store.commit_epoch(1, [], counters(0))
        hands.boot += 3600 * SECOND
        store.commit_epoch(2, [], counters(0))
    assert told(path, "SELECT kind, count, detail FROM loss") == [("clock-jump", 0, "the clock was set by +3600 s")]


def many(count: int, start: int = 0) -> list[tuple[bytes, bytes]]:
    """Records of distinct destinations."""
    return [record(destination=str(ip_address("11.0.0.0") + start + number)) for number in range(count)]


def test_a_recording_near_its_limit_gets_coarser_and_then_keeps_known_flows_only(tmp_path: Path) -> None:
    path, levels, new = tmp_path / "audit.db", [], 0
    with a_store(path, max_size=1 << 20) as store:
        for epoch in range(30):
            sources = [f"10.0.{epoch}.{number}" for number in range(50)]
            rows = [record(source, f"20.{number}.0.1") for source in sources for number in range(8)] + many(200)
            new += len(rows)
            store.commit_epoch(epoch, rows, counters(new))
            levels.append(store.level)
        balance = store.balance()
        assert balance.missing == 0
        assert store.size() <= 1 << 20
    assert levels == sorted(levels)
    assert {Level.EXACT, Level.COARSE, Level.KNOWN} == set(levels)
    assert balance.unstored > 0
    assert number(path, "SELECT sum(events) FROM flow") + balance.unstored == new
    assert number(path, "SELECT sum(events) FROM flow WHERE coarse = 2") == number(
        path, "SELECT sum(count) FROM loss WHERE kind = 'store-coarse'"
    )
    assert number(path, "SELECT min(events) FROM flow WHERE coarse = 0 AND hex(destination) LIKE '%0B0000__'") == 30


def test_an_epoch_that_is_too_large_for_the_limit_gets_coarser_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path, max_size=1 << 20) as store:
        committed = store.commit_epoch(0, many(20_000), counters(20_000))
        assert (store.level, committed.events) == (Level.COARSE, 20_000)
    assert committed.cut > 0
    assert told(path, "SELECT coarse, sum(events) FROM flow GROUP BY 1") == [
        (0, 20_000 - committed.cut),
        (2, committed.cut),
    ]


def test_coarse_rows_keep_the_near_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    to_pod = [
        record(f"2001:db8:{number:x}::1", "fd00::1", direction=Direction.TO_POD, port=number)
        for number in range(20_000)
    ]
    with a_store(path, max_size=1 << 20) as store:
        committed = store.commit_epoch(0, to_pod, counters(20_000))
    assert told(path, "SELECT source, destination, port, events FROM flow WHERE coarse = 2") == [
        (ip_address("2001:db8::").packed, ip_address("fd00::1").packed, 0, committed.cut)
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"not a database at all, but long enough", "not a SQLite file", id="another kind of file"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 8000, "damaged|another program", id="garbage behind the header"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"audit\.db: .*({says})"):
        open_store(path, ABOUT)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["audit.db"]


def test_a_recording_with_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        store.commit_epoch(0, many(2000), counters(2000))
    content = bytearray(path.read_bytes())
    content[-60_000:-20_000] = os.urandom(40_000)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"audit\.db: the recording is damaged"):
        open_store(path, ABOUT)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE shopping (item TEXT)")
    with pytest.raises(InputError, match=r"audit\.db: a database of another program"):
        open_store(path, ABOUT)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        pytest.param(replace(ABOUT, cluster="other"), "another cluster", id="another cluster"),
        pytest.param(replace(ABOUT, node="node-2"), "of node node-1, this is node-2", id="another node"),
    ],
)
def test_a_recording_of_something_else_is_refused(tmp_path: Path, about: object, says: str) -> None:
    path = tmp_path / "audit.db"
    open_store(path, ABOUT).close()
    assert isinstance(about, type(ABOUT))
    with pytest.raises(InputError, match=rf"audit\.db: .*{says}"):
        open_store(path, about)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    open_store(path, ABOUT).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(InputError, match=r"audit\.db: written by a newer version"):
        open_store(path, ABOUT)


def test_a_recording_of_schema_1_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((_CASES / "audit" / "schema-1.sql").read_text())
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
        connection.execute("INSERT INTO meta VALUES ('node', ?), ('cluster', ?)", (ABOUT.node, ABOUT.cluster))
        connection.commit()
    with a_store(path) as store:
        store.commit_epoch(0, [record(events=3)], counters(3))
    with a_store(tmp_path / "new.db"):
        pass
    query = "SELECT type, name FROM sqlite_master ORDER BY name"
    assert told(path, query) == told(tmp_path / "new.db", query)
    assert number(path, "PRAGMA user_version") == SCHEMA
    assert told(path, "SELECT events, revision >= 0 FROM flow") == [(3, 1)]
    assert told(path, "SELECT node FROM segment") == [("",)]


def test_an_empty_file_of_a_process_that_died_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.touch()
    open_store(path, ABOUT).close()
    assert number(path, "PRAGMA application_id") == APPLICATION_ID


def test_one_audit_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path):
        assert writer_of(path) == os.getpid()
        with pytest.raises(InputError, match=rf"another audit is running \(pid {os.getpid()}\)"):
            open_store(path, ABOUT)
    assert writer_of(path) is None
    assert [file.name for file in tmp_path.iterdir()] == ["audit.db"]


def test_another_programs_lock_is_waited_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with a_store(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(NotWrittenError):
                store.commit_epoch(0, [record()], counters(1))
            assert not store.is_committed(0)
            store.gap(1, NOW, "told while it was locked")
        store.commit_epoch(0, [record()], counters(1))
        assert store.waiting == 0
    assert told(path, "SELECT kind, count FROM loss") == [("store-locked", 0)]
    assert number(path, "SELECT count(*) FROM gap") == 1


@pytest.mark.parametrize("place", ["file/audit.db", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=str(tmp_path / place.split("/")[0])):
        open_store(tmp_path / place, ABOUT)


def test_a_limit_below_a_mebibyte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 MiB"):
        open_store(tmp_path / "audit.db", ABOUT, max_size=1000)


_WRITER = """
import sys
from itertools import count
from pathlib import Path
from migrate.audit.store import open_store
from tests.unit.audit_records import ABOUT, RESTART, counters, record
store = open_store(Path(sys.argv[1]), ABOUT)
store.segment(RESTART)
store.veth(7, "veth7", 0, 0)
begin = (store.last_epoch() or (-1, 0))[0] + 1
print("begun", flush=True)
for epoch in count(begin):
    rows = [record(port=port % 1000 + 1) for port in range(epoch, epoch + 50)]
    store.commit_epoch(epoch, rows, counters((epoch + 1) * 50))
    store.loss(0, "test", 1, "")
"""


def test_a_process_killed_anywhere_leaves_whole_epochs(tmp_path: Path) -> None:
    path, chance = tmp_path / "audit.db", random.Random(6)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(chance.uniform(0, 0.1))
            writer.send_signal(signal.SIGKILL)
        epochs = number(path, "SELECT count(*) FROM epoch")
        assert number(path, "SELECT coalesce(sum(events), 0) FROM flow") == 50 * epochs
        assert number(path, "SELECT coalesce(max(sequence) + 1, 0) FROM epoch") == epochs
    assert epochs > 8
    with a_store(path, RESTART) as store:
        assert store.balance().missing == 0
    assert told(path, "SELECT count(*) FROM segment") == [(1,)]
