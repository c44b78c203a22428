"""Recordings of several nodes as one: what is refused, what is left out by name, and who is believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from migrate.audit.leads import LEADS, Lead, write_leads
from migrate.audit.merge_intervals import Told, united
from migrate.audit.merged import Merged, NodeRow, merge
from migrate.audit.reading import NodeState, open_recording
from migrate.errors import InputError
from tests.node_recordings import owners_at, plain_rows, random_recording
from tests.recordings import HOUR, SECOND, START, Recording, packed

Spoil: TypeAlias = Callable[[Path], None]
_A, _B = "10.1.0.2", "10.2.0.2"
_FLOW = (
    "INSERT INTO flow VALUES (1, 494000, {way}, 0, 0, zeroblob(16), zeroblob(16), {protocol}, {port}, "
    "1, 1, 1, 1, 1, 0, 0, 1, 0)"
)


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Recordings of n1 and n2."""
    return [random_recording(tmp_path / f"{node}.db", node, seed) for seed, node in enumerate(("n1", "n2"))]


def _sql(statement: str) -> Spoil:
    def spoil(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)

    return spoil


def _cut(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 3)


def _rows_of(done: Merged) -> tuple[NodeState, ...]:
    with open_recording(done.path) as reading:
        return reading.node_rows()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_cut, "damaged", id="cut off"),
        pytest.param(lambda path: path.write_bytes(b"no database at all"), "not a SQLite file", id="no database"),
        pytest.param(_sql("PRAGMA user_version = 99"), "newer version", id="of a newer program"),
        pytest.param(_sql("DROP TABLE owner"), "lacks owner", id="without a table"),
        pytest.param(_sql("UPDATE segment SET started = 'noon'"), "segment has values", id="text for a time"),
        pytest.param(_sql("UPDATE veth SET since = 9223372036854775807"), "veth has values", id="a time beyond all"),
        pytest.param(_sql("UPDATE meta SET value = x'00' WHERE key = 'node'"), "meta has", id="bytes for a name"),
        pytest.param(_sql("UPDATE veth SET segment = 7"), "veth has values", id="a run that is not there"),
        pytest.param(_sql(_FLOW.format(way=0, protocol=6, port=70000)), "flow has", id="a port that is none"),
        pytest.param(_sql(_FLOW.format(way=0, protocol=300, port=1)), "flow has", id="a protocol that is none"),
        pytest.param(_sql(_FLOW.format(way=2, protocol=6, port=1)), "flow has", id="neither in nor out"),
        pytest.param(
            _sql("INSERT INTO owner VALUES (x'0a', 'pod', 'a', 'b', 'u', 0, NULL)"), "owner has", id="half an address"
        ),
    ],
)
def test_a_store_that_cannot_be_used_is_named_and_left_out(
    spoil: Spoil, said: str, stores: list[Path], tmp_path: Path
) -> None:
    spoil(stores[1])
    done = merge(stores, tmp_path / "audit.db", [NodeRow("n2", tool_version="1.2")])
    alone = merge(stores[:1], tmp_path / "alone.db")
    assert plain_rows(done.path) == plain_rows(alone.path)
    (out,) = done.left_out
    assert (out.path.name, said in out.reason) == ("n2.db", True)
    first, second = _rows_of(done)
    assert first[:3] == ("n1", "watched", "")
    assert second[:2] == ("n2", "not_watched")
    assert said in second[2]
    assert second[3] == "1.2"
    assert "n2.db is left out" in done.notes[0]


def test_recordings_of_two_clusters_are_refused(stores: list[Path], tmp_path: Path) -> None:
    _sql("UPDATE meta SET value = 'c2' WHERE key = 'cluster'")(stores[1])
    with pytest.raises(InputError, match=r"n2\.db: of another cluster than .*n1\.db"):
        merge(stores, tmp_path / "audit.db")
    assert not (tmp_path / "audit.db").exists()


def test_nothing_to_merge_is_refused(stores: list[Path], tmp_path: Path) -> None:
    for store in stores:
        _cut(store)
    with pytest.raises(InputError, match=r"no recording could be merged: .*n1\.db: .*damaged"):
        merge(stores, tmp_path / "audit.db")
    with pytest.raises(InputError, match="none was given"):
        merge([], tmp_path / "audit.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n1.db", "n2.db"]


def test_what_is_no_merged_recording_is_never_replaced(stores: list[Path], tmp_path: Path) -> None:
    own = random_recording(tmp_path / "audit.db", "n3", 3)
    before = own.read_bytes()
    with pytest.raises(InputError, match="recording of n3 itself"):
        merge(stores, own)
    with pytest.raises(InputError, match="one of the recordings to merge"):
        merge([*stores, own], own)
    other = tmp_path / "other.db"
    other.write_bytes(b"somebody's own")
    with pytest.raises(InputError, match="not a SQLite file"):
        merge(stores, other)
    log = tmp_path / "new.db-wal"
    log.write_bytes(b"")
    with pytest.raises(InputError, match="log of another recording"):
        merge(stores, tmp_path / "new.db")
    assert (own.read_bytes(), other.read_bytes()) == (before, b"somebody's own")


def test_a_second_merge_takes_the_place_of_the_first(stores: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "audit.db"
    merge(stores[:1], into)
    assert len(merge(stores, into).watched) == 2
    first = into.read_bytes()
    merge(stores, into)
    assert into.read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.db", "n1.db", "n2.db"]


def test_two_copies_of_one_run_count_once_and_the_longer_one_is_taken(tmp_path: Path) -> None:
    store = random_recording(tmp_path / "n1.db", "n1", 1)
    copy = tmp_path / "earlier.db"
    copy.write_bytes(store.read_bytes())
    _sql("UPDATE epoch SET ended = ended - 1")(copy)
    _sql("UPDATE segment SET ended = NULL")(copy)
    done = merge([copy, store], tmp_path / "audit.db")
    assert plain_rows(done.path) == plain_rows(store, "n1")
    assert [(one.path.name, one.reason) for one in done.left_out] == [
        ("earlier.db", "n1.db has the same run, and as much of it or more")
    ]
    assert _rows_of(done)[0][:3] == ("n1", "watched", "")


def test_a_file_with_a_run_that_no_other_has_is_not_left_out_as_the_same(stores: list[Path], tmp_path: Path) -> None:
    stores.append(random_recording(tmp_path / "n3.db", "n3", 7))
    merged = merge(stores, tmp_path / "merged.db").path
    _sql(
        "INSERT INTO segment (id, boot_id, layout, kernel, loader, attach, started) "
        f"VALUES (99, 'boot-9', '', '', 'libbpf', 'tcx', {START + 2 * HOUR})"
    )(stores[0])
    done = merge([merged, *stores[:2]], tmp_path / "audit.db")
    assert [(one.path.name, one.node, one.reason) for one in done.left_out] == [
        ("n1.db", "n1", "merged.db has some of its runs, not all; merge the nodes' own recordings"),
        ("n2.db", "", "merged.db has the same run, and as much of it or more"),
    ]
    assert "n1.db is left out: merged.db has some of its runs" in _rows_of(done)[0][2]
    assert [row[2] for row in _rows_of(done)[1:]] == ["", ""]


def test_two_pulls_of_one_store_count_once_whatever_was_measured_of_its_clock(tmp_path: Path) -> None:
    store = random_recording(tmp_path / "n1.db", "n1", 1)
    again = tmp_path / "again.db"
    again.write_bytes(store.read_bytes())
    _sql(f"INSERT INTO meta VALUES ('skew', '{300 * SECOND}')")(store)
    _sql(f"INSERT INTO meta VALUES ('skew', '{300 * SECOND + 1234}')")(again)
    done = merge([store, again], tmp_path / "audit.db")
    assert len(done.left_out) == 1
    assert done.records == merge([store], tmp_path / "alone.db").records
    merged = merge([tmp_path / "alone.db", again], tmp_path / "both.db")
    assert (len(merged.left_out), merged.records) == (1, done.records)


def test_clocks_are_shifted_and_that_is_said(tmp_path: Path) -> None:
    store = Recording(tmp_path / "n1.db")
    veth = store.veth("shop/db-0")
    store.flow(veth, "to", _B, _A, "TCP/1", at=3500, lasts=60)
    store.owner(_A, "shop/db-0", since=0)
    store.owner(_A, "shop/db-9", since=-600, until=-1)
    done = merge([store.close()], tmp_path / "audit.db", [NodeRow("n1", skew=180 * SECOND)])
    with open_recording(done.path) as reading:
        (row,) = reading.flows()
        assert (row[1], row[9], row[10]) == (START // HOUR, START + 3320 * SECOND, START + 3380 * SECOND)
        assert reading.interval() == (START - 180 * SECOND, START + HOUR - 180 * SECOND)
        assert [(one.since, one.until) for one in reading.owners()] == [
            (0, None),
            (START - 780 * SECOND, START - 181 * SECOND),
        ]
    assert done.notes == ("the clock of n1 was 180 s ahead of this one: its times are shifted by that",)
    assert _rows_of(done)[0][4] == 180 * SECOND


def test_every_known_node_is_in_the_table(stores: list[Path], tmp_path: Path) -> None:
    known = [NodeRow("n9", "not_watched", "Windows"), NodeRow("n1", reason="joined late"), NodeRow("n8")]
    done = merge(stores, tmp_path / "audit.db", known)
    assert [row[:3] for row in _rows_of(done)] == [
        ("n1", "watched", "joined late"),
        ("n2", "watched", ""),
        ("n8", "not_watched", "there is no recording of it"),
        ("n9", "not_watched", "Windows"),
    ]
    with open_recording(done.path) as reading:
        assert (reading.node, reading.meta["nodes"]) == ("", '["n1", "n2"]')
        assert {segment.node for segment in reading.segments()} == {"n1", "n2"}
        assert {veth.node for veth in reading.veths()} == {"n1", "n2"}


def test_a_recording_of_the_first_schema_is_merged(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.executescript(Path("tests/cases/audit/schema-1.sql").read_text())
        connection.execute("PRAGMA application_id = 1835624257")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO meta VALUES ('node', 'n1')")
        connection.execute(f"INSERT INTO segment VALUES (1, 'b', '', '', 'bcc', 'tcx', {START}, {START + 1}, '[]')")
    done = merge([old], tmp_path / "audit.db")
    assert not done.left_out
    with open_recording(done.path) as reading:
        assert [segment.node for segment in reading.segments()] == ["n1"]


def test_a_pod_s_own_node_knows_best_who_had_an_address(tmp_path: Path) -> None:
    """The other one was told of the pod once, and never that it went."""
    own, other = Recording(tmp_path / "n1.db"), Recording(tmp_path / "n2.db", "n2")
    own.veth("shop/db-0", until=START + 60 * SECOND)
    own.owner(_A, "shop/db-0", until=60)
    for store in (own, other):
        store.owner(_A, "shop/next", since=90)
        store.owner(_B, "shop/there")
    other.owner(_A, "shop/db-0")
    done = merge([own.close(), other.close()], tmp_path / "audit.db")
    assert owners_at(done.path, _A, START) == {"db-0"}
    assert owners_at(done.path, _A, START + 100 * SECOND) == {"next"}
    assert owners_at(done.path, _B, START) == {"there"}


@pytest.mark.parametrize(
    ("told", "intervals"),
    [
        pytest.param([Told(0, 5, 9), Told(5, None, 9)], [(0, None)], id="what touches is one"),
        pytest.param([Told(1, 3, 9), Told(5, 7, 9)], [(1, 3), (5, 7)], id="what does not touch is two"),
        pytest.param([Told(1, None, 9), Told(1, 4, 9)], [(1, None)], id="alive as long: both are believed"),
        pytest.param([Told(1, None, 5), Told(1, 8, 9)], [(1, 8)], id="who was heard of later knows the end"),
        pytest.param([Told(1, None, 5), Told(1, 3, 9)], [(1, 5)], id="but not before the other's last word"),
        pytest.param([Told(1, None, 5), Told(1, None, 9)], [(1, None)], id="nobody knows an end"),
        pytest.param([Told(1, 4, 9, True), Told(0, None, 9)], [(1, 4)], id="the own node's agent before all"),
        pytest.param([Told(1, None, 5, True), Told(0, 7, 9)], [(1, 7)], id="died before the pod, as others saw"),
    ],
)
def test_timelines_of_several_agents(told: list[Told], intervals: list[tuple[int, int | None]]) -> None:
    assert united(told) == intervals


@pytest.mark.parametrize("skew", [0, 300])
def test_what_a_dead_leader_left_open_ends_where_the_next_one_knew_everything(tmp_path: Path, skew: int) -> None:
    """The first leader is killed at 100 s, the backend goes, and the next one has listed everything at 200 s."""
    backend = ("shop", "web", packed("10.0.0.9"), 6, 80)
    first, second = (Recording(tmp_path / f"{node}.db", node) for node in ("n1", "n2"))
    second.execute("UPDATE segment SET boot_id = 'other', started = started + ?", skew * SECOND)
    late = START + skew * SECOND
    first.insert("meta", LEADS, write_leads([Lead(START, START + SECOND, None)]))
    first.insert("backend", *backend, packed(_A), 8080, 0, None)
    first.insert("backend", *backend, packed(_B), 8080, 0, None)
    second.insert("meta", LEADS, write_leads([Lead(late + 100 * SECOND, late + 200 * SECOND, None)]))
    second.insert("backend", *backend, packed(_A), 8080, late + 100 * SECOND, None)
    done = merge([first.close(), second.close()], tmp_path / "all.db", [NodeRow("n2", skew=skew * SECOND)])
    with open_recording(done.path) as reading:
        found = {str(row.target): (row.since, row.until) for row in reading.backends()}
        assert LEADS not in reading.meta
    assert found == {_A: (0, None), _B: (0, START + 200 * SECOND)}
