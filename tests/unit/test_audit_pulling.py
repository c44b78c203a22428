"""What a pull says of recordings that are no more, of other versions, and of lines that are not whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from migrate.audit import pulling
from migrate.audit.frames import PREAMBLE, Header, Mark, Rows, Sending
from migrate.audit.pulling import PullError, pulled_revision, receive, send
from migrate.audit.recording import APPLICATION_ID, SCHEMA
from migrate.errors import InputError
from migrate.model.agent_documents import PROTOCOL
from tests.recordings import Recording
from tests.unit.audit_records import Hands, a_store, counters, number, record
from tests.unit.pulled import content, pull, sent

HEADER = Header(protocol=PROTOCOL, tool_version="0.1", schema=SCHEMA, node="node-1", revision=9)


def recorded(path: Path, epochs: int = 1, of_each: int = 3, hands: Hands | None = None) -> Path:
    """A recording of node-1."""
    with a_store(path, hands=hands) as store:
        for epoch in range(epochs):
            rows = [record(f"10.0.{epoch}.{row // 250}", port=row) for row in range(of_each)]
            store.commit_epoch(epoch, rows, counters(0))
    return path


def framed(*frames: Rows | Mark, header: Header = HEADER) -> bytes:
    """A line with these frames."""
    parts: list[bytes] = []
    sending = Sending(parts.append)
    sending.header(header)
    for frame in frames:
        sending.frame(frame)
    return b"".join(parts)


def test_a_pull_brings_only_what_is_new(tmp_path: Path) -> None:
    recording, copy = tmp_path / "audit.db", tmp_path / "copies/node-1.db"
    with a_store(recording) as store:
        store.commit_epoch(0, [record(port=port) for port in range(5000)], counters(0))
        whole = pull(recording, copy)
        store.commit_epoch(1, [record(port=7)], counters(0))
        more = pull(recording, copy)
        assert content(copy) == content(recording)
    assert whole.rows > 5000
    assert more.rows < 100
    assert more.octets < whole.octets / 10
    assert more.revision > whole.revision
    assert [path.name for path in copy.parent.iterdir()] == ["node-1.db"]


def test_what_is_written_meanwhile_comes_with_the_next_pull(tmp_path: Path) -> None:
    recording, copy = tmp_path / "audit.db", tmp_path / "copy.db"
    with a_store(recording) as store:
        store.commit_epoch(0, [record(port=port) for port in range(5000)], counters(0))
        before = content(recording)
        line: list[bytes] = []

        def slowly(part: bytes) -> None:
            store.commit_epoch(len(line) + 1, [record(port=port) for port in range(len(line) + 1)], counters(0))
            line.append(part)

        send(recording, 0, slowly)
        receive(line, copy)
        assert content(copy) == before
        pull(recording, copy)
        assert content(copy) == content(recording)


def test_recordings_of_which_no_revision_is_known_are_sent_whole(tmp_path: Path) -> None:
    made = Recording(tmp_path / "audit.db")
    for key in ("cluster", "created", "tool_version"):
        made.insert("meta", key, "7")
    veth = made.veth("shop/web-1")
    made.flow(veth, "from", "10.0.0.1", "10.0.0.2", "TCP/80")
    made.translated(veth, ("10.0.0.1", "10.96.0.1", "TCP/80"), ("10.0.0.1", "10.96.0.1", 80))
    made.owner("10.0.0.1", "shop/web-1")
    made.connection("start", ("10.0.0.1", 40_000), ("10.0.0.2", 80))
    recording, copy = made.close(), tmp_path / "copy.db"
    for _ in range(2):
        assert pull(recording, copy).revision == 0
        assert content(copy) == content(recording)


def test_a_copy_of_a_recording_that_the_node_has_no_more_is_put_aside(tmp_path: Path) -> None:
    copy = tmp_path / "copies/node-1.db"
    first, second = recorded(tmp_path / "1.db", epochs=3), recorded(tmp_path / "2.db")
    _created_at(second, 77)
    pull(first, copy)
    kept = content(copy)
    with pytest.raises(PullError, match="pull again from 0"):
        pull(second, copy)
    assert pulled_revision(copy) == 0
    pull(second, copy)
    assert content(copy) == content(second)
    assert content(copy.with_name("node-1.db.old-1")) == kept
    _created_at(second, 78)
    receive([sent(second, 0)], copy)
    assert sorted(path.name for path in copy.parent.iterdir()) == ["node-1.db", "node-1.db.old-1", "node-1.db.old-2"]


def test_a_recording_that_lost_what_a_copy_has_is_copied_anew(tmp_path: Path) -> None:
    recording, copy = recorded(tmp_path / "audit.db"), tmp_path / "copies/node-1.db"
    earlier = recording.read_bytes()
    pull(recorded(recording, epochs=5), copy)
    recording.write_bytes(earlier)
    with pytest.raises(PullError, match="pull again from 0"):
        pull(recording, copy)
    pull(recording, copy)
    assert content(copy) == content(recording)


def test_nodes_have_copies_of_their_own(tmp_path: Path) -> None:
    copy = tmp_path / "node-1.db"
    pull(recorded(tmp_path / "audit.db"), copy)
    kept = content(copy)
    with pytest.raises(PullError, match="this is of n2"):
        pull(Recording(tmp_path / "other.db", node="n2").close(), copy)
    assert content(copy) == kept


def test_nothing_may_be_missing_between_the_copy_and_what_comes(tmp_path: Path) -> None:
    recording, copy = recorded(tmp_path / "audit.db", epochs=3), tmp_path / "copy.db"
    with pytest.raises(PullError, match=r"up to revision 0, and what came begins after 2; pull again from 0"):
        receive([sent(recording, 2)], copy)
    pull(recording, copy)
    assert content(copy) == content(recording)


def test_a_copy_that_is_killed_goes_on(tmp_path: Path) -> None:
    recording, copy = recorded(tmp_path / "audit.db", epochs=30, of_each=2000), tmp_path / "copy.db"
    line = tmp_path / "line"
    line.write_bytes(sent(recording, 0))
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(line), str(copy)], capture_output=True, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    reached = pulled_revision(copy)
    assert 0 < reached < number(recording, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'revision'")
    assert number(copy, f"SELECT count(*) FROM flow WHERE revision > {reached}") == 0
    rest = pull(recording, copy)
    assert content(copy) == content(recording)
    assert rest.octets < line.stat().st_size


_KILLED = """
import os, signal, sys
from pathlib import Path
from migrate.audit.pulling import receive
line, copy = map(Path, sys.argv[1:])
def chunks():
    whole = line.read_bytes()
    for start in range(0, len(whole) * 4 // 5, 1000):
        yield whole[start : start + 1000]
    os.kill(os.getpid(), signal.SIGKILL)
receive(chunks(), copy)
"""


def test_only_one_writes_to_a_copy(tmp_path: Path) -> None:
    recording, copy = recorded(tmp_path / "audit.db"), tmp_path / "copy.db"
    line = sent(recording, 0)

    def meanwhile() -> Iterator[bytes]:
        yield line[:-1]
        with pytest.raises(PullError, match=f"process {os.getpid()} writes it"):
            receive([line], copy)
        yield line[-1:]

    receive(meanwhile(), copy)
    assert content(copy) == content(recording)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(b"", "did not send a recording, but ''", id="nothing"),
        pytest.param(b"Traceback:\n  no such\x00 file", "but 'Traceback: no such", id="what another program says"),
        pytest.param(PREAMBLE, "cut off after 25 bytes", id="nothing but the preamble"),
        pytest.param(PREAMBLE + struct.pack(">II", 1 << 30, 0), "a frame is too long", id="a length beyond reason"),
        pytest.param(framed()[:-1] + b"!", "a checksum is wrong", id="a byte is another one"),
        pytest.param(framed(Mark(0, False)), "cut off", id="no last mark"),
        pytest.param(
            framed(Rows("sqlite_master", ("name",), [("x",)]), Mark(9, True)), "no place for", id="another table"
        ),
        pytest.param(framed(Rows("gap", ("rowid", "x"), [(1, 1)])), "no place for", id="other columns"),
        pytest.param(framed(Rows("meta", ("key", "value"), [("a", [])])), "do not fit", id="a value that is a list"),
        pytest.param(framed(Rows("meta", ("key", "value"), [("a",)])), "do not fit", id="a short row"),
        pytest.param(framed(Rows("meta", ("key", "value"), [("a", 1 << 63)])), "do not fit", id="a huge number"),
        pytest.param(framed(Rows("meta", ("key", "value"), [(None, "a")])), "do not fit", id="no key"),
    ],
)
def test_a_line_that_is_no_recording(tmp_path: Path, line: bytes, said: str) -> None:
    with pytest.raises(PullError, match=said):
        receive([line], tmp_path / "copy.db")
    assert pulled_revision(tmp_path / "copy.db") == 0


def test_a_frame_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(64 << 20))
    with pytest.raises(PullError, match="another length"):
        receive([PREAMBLE + struct.pack(">II", len(packed), zlib.crc32(packed)) + packed], tmp_path / "copy.db")


@pytest.mark.parametrize("changed", [{"protocol": PROTOCOL + 1}, {"schema": SCHEMA + 1}])
def test_another_version_is_named(tmp_path: Path, changed: dict[str, int]) -> None:
    header = msgspec.structs.replace(HEADER, tool_version="9.9", **changed)
    with pytest.raises(PullError, match=r"the agent is of version 9\.9 .*; pull with version 9\.9"):
        receive([framed(header=header)], tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_what_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="nothing is recorded yet"):
        sent(tmp_path / "none.db", 0)
    (tmp_path / "text.db").write_text("no database at all")
    with pytest.raises(InputError, match="not a SQLite file"):
        sent(tmp_path / "text.db", 0)
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    with pytest.raises(PullError, match="older version"):
        sent(tmp_path / "old.db", 0)


def test_a_copy_that_is_another_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("notes of somebody")
    with pytest.raises(InputError, match="not a SQLite file"):
        receive([sent(recorded(tmp_path / "audit.db"), 0)], tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "notes of somebody"


def test_ranges_follow_each_other_and_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recording = recorded(tmp_path / "audit.db", epochs=40)
    monkeypatch.setattr(pulling, "_FIRST_RANGE", 4)
    with closing(sqlite3.connect(recording)) as connection:
        ranges = list(pulling._ranges(connection, 0, 43))
    assert [low for low, _ in ranges] == [0, *(high for _, high in ranges[:-1])]
    assert ranges[-1][1] == 43
    assert 3 < len(ranges) < 12


def _created_at(recording: Path, moment: int) -> None:
    with closing(sqlite3.connect(recording)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'created'", (str(moment),))
        connection.commit()
