"""audit.db with pseudonyms: the same records under other names and addresses, in a file of its own.

What only an agent that goes on needs (tables of the kernel), and text that it wrote, is left out.
"""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from migrate.errors import InputError
from migrate.redact.objects import Redactor

Cell: TypeAlias = int | str | bytes | float | None
_Row: TypeAlias = tuple[Cell, ...]
_ADDRESSES = frozenset(
    ("source", "destination", "original_source", "original_destination", "backend", "client", "address", "target")
)
_NAMES = frozenset(("namespace", "pod", "uid", "boot_id", "name", "interface", "node", "service"))
_EMPTY: Mapping[str, Cell] = {"notes": "[]", "detail": ""}
_LEFT_OUT = frozenset(("seen",))
_SEGMENT_WORDS = frozenset(("kernel",))
_META_KEPT = frozenset(("schema", "tool_version", "wanted_seconds", "created"))
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_COARSE = {4: 16, 6: 32}
"""How many bits of the far end a coarse record has."""


def redact_recording(source: Path, place: Path, redactor: Redactor, cluster: str) -> None:
    """Write the recording at `source` to `place`, which must not exist. `cluster` is the digest of the new snapshot.

    Raises InputError when the recording cannot be read or the place cannot be written.
    """
    try:
        place.touch(exist_ok=False)
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(place)) as new,
        ):
            _copy(old, new, redactor, cluster)
            new.commit()
    except (sqlite3.Error, OSError) as error:
        place.unlink(missing_ok=True)
        raise InputError(f"{source}: cannot be redacted into {place}: {error}") from error


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, redactor: Redactor, cluster: str) -> None:
    for pragma in ("application_id", "user_version"):
        (number,) = old.execute(f"PRAGMA {pragma}").fetchone()
        new.execute(f"PRAGMA {pragma} = {int(number)}")
    tables = old.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
    ).fetchall()
    for name, text in tables:
        new.execute(text)
        if text.startswith("CREATE TABLE") and name not in _LEFT_OUT:
            _copy_table(old, new, name, _reader(name, redactor, cluster))


def _copy_table(
    old: sqlite3.Connection, new: sqlite3.Connection, name: str, made: Callable[[Mapping[str, Cell]], _Row | None]
) -> None:
    cursor = old.execute(f'SELECT * FROM "{name}"')
    columns = [column[0] for column in cursor.description]
    marks = ", ".join("?" * len(columns))
    new.executemany(f'INSERT INTO "{name}" VALUES ({marks})', _rows(cursor, columns, made))


def _rows(
    cursor: sqlite3.Cursor, columns: list[str], made: Callable[[Mapping[str, Cell]], _Row | None]
) -> Iterator[_Row]:
    for row in cursor:
        kept = made(dict(zip(columns, row, strict=True)))
        if kept is not None:
            yield kept


def _reader(table: str, redactor: Redactor, cluster: str) -> Callable[[Mapping[str, Cell]], _Row | None]:
    """What becomes of a table's rows; None leaves a row out."""
    if table == "meta":
        return lambda row: _meta(row, redactor, cluster)
    return lambda row: tuple(_cell(table, name, row, redactor) for name in row)


def _meta(row: Mapping[str, Cell], redactor: Redactor, cluster: str) -> _Row | None:
    key, value = row["key"], row["value"]
    if key in _META_KEPT:
        return (key, value)
    if key == "node" and isinstance(value, str):
        return (key, redactor.names.name(value))
    return (key, cluster) if key == "cluster" else None


def _cell(table: str, column: str, row: Mapping[str, Cell], redactor: Redactor) -> Cell:
    value = row[column]
    if isinstance(value, bytes):
        return _address(value, _bits(table, column, row), redactor)
    if not isinstance(value, str) or not value:
        return value
    if column in _EMPTY or (table, column) == ("node", "reason"):
        return _EMPTY.get(column, "")
    if column in _NAMES and table != "counter":
        return redactor.names.name(value)
    return redactor.names.words(value) if column in _SEGMENT_WORDS else value


def _bits(table: str, column: str, row: Mapping[str, Cell]) -> bool:
    """Whether only the front part of an address is there."""
    far = "source" if row.get("direction") else "destination"
    return table == "flow" and bool(row["coarse"]) and column == far


def _address(value: bytes, coarse: bool, redactor: Redactor) -> bytes:
    """16 bytes of an address, IPv4 as ::ffff:a.b.c.d, replaced."""
    if len(value) != 16:
        return b""
    whole = ipaddress.IPv6Address(value)
    address = whole.ipv4_mapped or whole
    if coarse:
        cut = ipaddress.ip_network((int(address), _COARSE[address.version]), strict=False)
        if address.version == 6:
            cut = ipaddress.IPv6Network((int(address), _COARSE[6]), strict=False)
        mapped = redactor.addresses.network(cut).network_address
    else:
        mapped = redactor.addresses.address(address)
    if mapped.version == 4:
        return (int(_MAPPED.network_address) | int(mapped)).to_bytes(16)
    return mapped.packed
