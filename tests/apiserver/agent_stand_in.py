"""What stands in for an agent in its container: it records made-up traffic and answers as an agent does.

Run as `agent_stand_in.py WORD FOLDER NODE RUN [--since N]`. The folder is that of one node; files in it say what is
odd: `skew` (nanoseconds that its clock is ahead), `protocol`, `version` (of its answers), `mute` (every command fails),
`left` (what cannot be cleaned), `failure` (it does not record), `rest` (it has nothing new to record). What was cleaned
is kept for the test in the folder `kept` beside it, and the file `cluster` there is the digest of the cluster.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

import migrate
from migrate.model.agent_documents import PROTOCOL, AgentStatus, Cleaned

SECOND = 10**9
CLUSTER = "c"
_TURN_SECONDS = 0.05
_ROWS = 40


def recording_in(folder: Path) -> Path:
    """The agent's own recording."""
    return folder / "audit.db"


def _is(folder: Path, word: str) -> bool:
    return (folder / word).exists()


def _said(folder: Path, word: str, otherwise: str = "") -> str:
    return (folder / word).read_text() if _is(folder, word) else otherwise


def run(folder: Path, node: str) -> None:
    """Record until a stop is asked for; then wait, as an agent does, to be deleted."""
    from migrate.audit.layout import Counter
    from migrate.audit.recording import About
    from migrate.audit.store import Start, open_store
    from tests.unit.audit_records import record

    folder.mkdir(parents=True, exist_ok=True)
    if _is(folder, "failure"):
        return _wait_for_ever()
    created = int(_said(folder, "created", str(time.time_ns())))
    (folder / "created").write_text(str(created))
    store = open_store(
        recording_in(folder), About(node, _said(folder.parent, "cluster", CLUSTER), 3600, migrate.__version__, created)
    )
    store.segment(Start("boot-" + node, "layout-1", "6.18", "libbpf", "tcx", same_tables=True))
    store.veth(7, "veth7", time.time_ns(), time.time_ns())
    epoch = int(_said(folder, "epoch", "0"))
    while not _is(folder, "stop"):
        if not _is(folder, "rest") or not epoch:
            counters = dict.fromkeys(Counter, 0) | {Counter.NEW: (epoch + 1) * _ROWS}
            rows = [record(f"10.0.{number}.{epoch % 250}") for number in range(_ROWS)]
            store.commit_epoch(epoch, rows, counters)
            epoch += 1
            (folder / "epoch").write_text(str(epoch))
        time.sleep(_TURN_SECONDS)
    store.end()
    store.close()
    (folder / "ended").touch()
    return _wait_for_ever()


def _wait_for_ever() -> None:
    while True:
        time.sleep(60)


def _told(folder: Path, query: str) -> int:
    if not recording_in(folder).exists():
        return 0
    with closing(sqlite3.connect(f"{recording_in(folder).as_uri()}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute(query).fetchone()
        except sqlite3.OperationalError:
            return 0  # it is being made
    return int(row[0] or 0) if row else 0


def status(folder: Path, node: str, run_id: str) -> AgentStatus:
    """How it does."""
    state: Literal["recording", "finished", "failed"] = "finished" if _is(folder, "ended") else "recording"
    revision = _told(folder, "SELECT value FROM meta WHERE key = 'revision'")
    events = _told(folder, "SELECT sum(events) FROM flow")
    return AgentStatus(
        protocol=int(_said(folder, "protocol", str(PROTOCOL))),
        tool_version=_said(folder, "version", migrate.__version__),
        run=run_id,
        node=node,
        boot_id="boot-" + node,
        state="failed" if _is(folder, "failure") and state != "finished" else state,
        at=time.time_ns() + int(_said(folder, "skew", "0")),
        began=int(_said(folder, "created", "0")) or None,
        revision=revision,
        new_flows=events,
        exact=events,
        watched_pods=1,
        failure=_said(folder, "failure"),
    )


def clean(folder: Path, node: str) -> Cleaned:
    """Everything of the run goes, but what cannot."""
    if not recording_in(folder).exists():
        return Cleaned(node=node)
    (folder / "cleaned").touch()
    kept = folder.parent / "kept"
    kept.mkdir(exist_ok=True)
    shutil.copyfile(recording_in(folder), kept / f"{node}.db")
    left = tuple(_said(folder, "left").split())
    if not left:
        shutil.rmtree(folder)
    return Cleaned(node=node, removed=("audit.db",), left=left)


def main(word: str, folder: Path, node: str, run_id: str, *more: str) -> None:
    if word == "run":
        run(folder, node)
    elif _is(folder, "mute"):
        sys.exit("the agent does not answer")
    elif word == "pull":
        from migrate.audit.pulling import send

        send(recording_in(folder), int(more[1]), _write)
    elif word == "clean":
        print(msgspec.json.encode(clean(folder, node)).decode())
    else:
        if word == "stop":
            (folder / "stop").touch()
            if _is(folder, "failure"):
                (folder / "ended").touch()
            while not _is(folder, "ended"):
                time.sleep(_TURN_SECONDS)
        print(msgspec.json.encode(status(folder, node, run_id)).decode())


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], *sys.argv[5:])
