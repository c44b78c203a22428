"""Where the records of an export go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from migrate.audit.exported import ExportedFlow, json_lines
from migrate.audit.hubble import hubble_lines
from migrate.cli.emit import emit
from migrate.errors import InputError
from migrate.files import atomic_file, write_atomic

_LINES_AT_ONCE = 1000


def writer(form: str, path: Path | None) -> Callable[[Iterable[ExportedFlow]], None]:
    """What writes records as "json", "hubble" or "parquet". Raises InputError for Parquet on standard output."""
    if form == "parquet":
        if path is None:
            raise InputError("--format parquet is a binary file; say where with --output-file")
        return lambda flows: _parquet(flows, path)
    lines = hubble_lines if form == "hubble" else json_lines
    return lambda flows: _write(lines(flows), path)


def write_text(text: str, path: Path | None) -> None:
    """Into a file, or (None) to standard output."""
    if path is None:
        emit(text)
    else:
        write_atomic(path, text.encode())


def _parquet(flows: Iterable[ExportedFlow], path: Path) -> None:
    from migrate.audit.parquet import write_parquet

    write_parquet(flows, path)


def _write(lines: Iterator[bytes], path: Path | None) -> None:
    if path is not None:
        with atomic_file(path) as stream:
            stream.writelines(lines)
        return
    block: list[bytes] = []
    for line in lines:
        block.append(line)
        if len(block) == _LINES_AT_ONCE:
            emit(b"".join(block).decode())
            block.clear()
    emit(b"".join(block).decode())
