"""Pulls of recordings in tests: what goes over the line, cut or damaged, and whether the copy is the original."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from migrate.audit.pulling import Pulled, pulled_revision, receive, send

STAYING = ("seen", "written")
"""Tables that are of use on the node only."""


def sent(recording: Path, since: int) -> bytes:
    """All that goes over the line."""
    parts: list[bytes] = []
    send(recording, since, parts.append)
    return b"".join(parts)


def in_chunks(line: bytes, size: int) -> Iterator[bytes]:
    """As it comes in, `size` bytes at a time."""
    return (line[start : start + size] for start in range(0, len(line), size))


def pull(recording: Path, copy: Path) -> Pulled:
    """One pull that ends well."""
    return receive([sent(recording, pulled_revision(copy))], copy)


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of a recording that a copy of it has to have, by table."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        for table in (str(name) for (name,) in tables.fetchall()):
            if table not in STAYING:
                found[table] = sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
    found["meta"] = [row for row in found["meta"] if row[0] != "pulled_revision"]
    return found
