"""Recordings of many nodes as a folder with a Parquet file for each table and node, written by DuckDB.

Times are on the clock of who reads them, as in a merged recording; addresses are text.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from migrate.audit.merged import Merged, NodeRow, merge
from migrate.errors import InputError

if TYPE_CHECKING:
    import duckdb

_BY_VETH = ("gap", "flow", "translated", "dropped")
_BY_SEGMENT = ("veth", "epoch", "counter", "loss", "connection")
_WHOLE = ("owner", "backend", "node", "meta")
_NO_NODE = "_"
"""The file of what no node's name was said of."""
_TYPES = {"INTEGER": "BIGINT", "TEXT": "VARCHAR", "BLOB": "VARCHAR"}


def merge_into_parquet(stores: Sequence[Path], folder: Path, nodes: Sequence[NodeRow] = ()) -> Merged:
    """Merge, and write FOLDER/TABLE/NODE.parquet; what is of no single node goes into FOLDER/TABLE.parquet.

    The folder appears whole or not at all. Raises InputError as `merge` does, where the folder is there already and not
    empty, and without DuckDB.
    """
    try:
        import duckdb
    except ImportError as error:
        text = "--format parquet needs DuckDB, which is not installed; install it beside this program"
        raise InputError(f"{text} (its extra is called parquet), or merge into an audit.db") from error
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".migrate-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}; choose another place") from error
    try:
        done = merge(stores, place / "audit.db", nodes)
        made = place / "parquet"
        made.mkdir()
        with closing(sqlite3.connect(place / "audit.db")) as merged, duckdb.connect(":memory:") as writer:
            for table, node, query in _parts(merged):
                target = made / (table if node is None else f"{table}/{_file_name(node)}")
                target = target.with_name(f"{target.name}.parquet")
                target.parent.mkdir(exist_ok=True)
                _write(merged, writer, table, query, () if node is None else (node,), target)
        made.chmod(0o755)
        with suppress(FileNotFoundError):
            folder.rmdir()
        os.replace(made, folder)
    except OSError as error:
        raise InputError(f"{folder}: writing failed: {error.strerror}; free space or choose another place") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return replace(done, path=folder)


def _file_name(node: str) -> str:
    """One for each node, whatever it is called."""
    return quote(node, safe="").replace(_NO_NODE, "%5F") or _NO_NODE


def _parts(merged: sqlite3.Connection) -> Iterator[tuple[str, str | None, str]]:
    """Table, node (None: of all; empty: of none that was named) and what reads its rows."""
    names = [str(name) for (name,) in merged.execute("SELECT DISTINCT node FROM segment ORDER BY node")]
    segments = "SELECT id FROM segment WHERE node = ?"
    for node in names:
        yield "segment", node, "SELECT * FROM segment WHERE node = ? ORDER BY id"
        for table in _BY_SEGMENT:
            yield table, node, f"SELECT * FROM {table} WHERE segment IN ({segments})"
        for table in _BY_VETH:
            veths = f"SELECT id FROM veth WHERE segment IN ({segments})"
            yield table, node, f"SELECT * FROM {table} WHERE veth IN ({veths})"
    yield from ((table, None, f"SELECT * FROM {table}") for table in _WHOLE)


def _write(
    merged: sqlite3.Connection,
    writer: duckdb.DuckDBPyConnection,
    table: str,
    query: str,
    values: tuple[str, ...],
    target: Path,
) -> None:
    """By way of lines of JSON, which DuckDB reads many times faster than rows that it is given one by one."""
    columns = {str(row[1]): _TYPES[str(row[2])] for row in merged.execute(f"PRAGMA table_info({table})")}
    encode = msgspec.json.Encoder().encode
    lines = target.with_suffix(".jsonl")
    with lines.open("wb") as stream:
        for row in merged.execute(query, values):
            cells = (_address(cell) if isinstance(cell, bytes) else cell for cell in row)
            stream.write(encode(dict(zip(columns, cells, strict=True))) + b"\n")
    writer.read_json(str(lines), columns=columns, format="newline_delimited").write_parquet(
        str(target), compression="zstd"
    )
    lines.unlink()


@lru_cache(maxsize=1 << 16)
def _address(data: bytes) -> str:
    found = ipaddress.IPv6Address(data)
    return str(found.ipv4_mapped or found)
