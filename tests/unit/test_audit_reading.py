"""Files that are no recordings are refused, and none is changed by reading it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.audit.reading import open_recording
from migrate.errors import InputError
from tests.recordings import START, Recording


def _text(path: Path) -> None:
    path.write_text("no database")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")


def _newer(path: Path) -> None:
    recording = Recording(path)
    recording.execute("PRAGMA user_version = 99")
    recording.close()


def _without_a_table(path: Path) -> None:
    recording = Recording(path)
    recording.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE owner")


def _damaged(path: Path) -> None:
    recording = Recording(path)
    veth = recording.veth("shop/web")
    for number in range(2000):
        recording.flow(veth, "from", "10.0.0.1", f"10.9.{number // 250}.{number % 250}", "TCP/1")
    recording.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9000] = b"\xff" * 9000
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "no such recording", id="not there"),
        pytest.param(Path.mkdir, "no such recording", id="a folder"),
        pytest.param(_text, "not a SQLite file", id="a text"),
        pytest.param(_empty, "another program|not a SQLite", id="an empty file"),
        pytest.param(_of_another_program, "another program", id="another program's"),
        pytest.param(_newer, "newer version", id="a newer program's"),
        pytest.param(_without_a_table, "lacks owner", id="a table is gone"),
        pytest.param(_damaged, "damaged", id="damaged"),
    ],
)
def test_what_is_refused(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    make(path)
    with pytest.raises(InputError, match=message) as caught, open_recording(path) as reading:
        list(reading.flows())
    assert str(path) in str(caught.value)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = Recording(tmp_path / "audit.db").close()
    before = path.read_bytes()
    with open_recording(path) as reading:
        assert (reading.node, len(reading.segments()), list(reading.flows())) == ("n1", 1, [])
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["audit.db"]


def test_a_recording_that_is_written_is_read_as_it_was_at_the_last_transaction(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    recording.execute("PRAGMA journal_mode = WAL")
    recording.flow(recording.veth("shop/web"), "from", "10.0.0.1", "10.0.0.2", "TCP/1")
    recording.execute("BEGIN")
    recording.flow(1, "from", "10.0.0.1", "10.0.0.3", "TCP/1")
    with open_recording(recording.path) as reading:
        assert len(list(reading.flows())) == 1
    recording.execute("COMMIT")
    with open_recording(recording.path) as reading:
        assert len(list(reading.flows())) == 2
    recording.close()


def test_several_segments(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    recording.segment(2, "boot-2", START + 7200 * 10**9)
    recording.insert("epoch", 2, 1, START + 8000 * 10**9, 1, 5, 2)
    recording.insert("counter", 2, "NEW", 8, 0)
    recording.insert("counter", 2, "LOST", 1, 0)
    with open_recording(recording.close(lost=3)) as reading:
        assert [segment.boot_id for segment in reading.segments()] == ["boot-1", "boot-2"]
        assert reading.sums() == {1: (0, 0, 3, 3), 2: (5, 2, 1, 8)}
        assert reading.interval() == (START, START + (7200 + 3600) * 10**9)
