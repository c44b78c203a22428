"""Case files of `migrate simulate`: one case, or a document with `cases`, as JSON or YAML."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.scan import json_reader, yaml_reader
from migrate.scan.tree import Document, UnreadableError
from migrate.sources.cases import Case, read_case

STDIN = Path("-")
LARGEST_FILE = 32 << 20
"""Bytes of one file of cases; read whole, it takes about thirty times as much memory."""

_SUFFIXES = (".json", ".yaml", ".yml")


def read_cases(paths: Sequence[Path], stdin: BinaryIO | None = None) -> tuple[list[Case], bool]:
    """All cases of files, folders and standard input (-) in their order, and whether it is one in a file of its own.

    Raises InputError that names the file, the line and the field of whatever cannot be used.
    """
    found: list[Case] = []
    files = [file for path in paths for file in _files(path)]
    several = len(files) > 1 or any(path.is_dir() for path in paths)
    for path in files:
        for document in _documents(path, stdin):
            listed = document.value.get("cases") if isinstance(document.value, dict) else None
            several = several or isinstance(listed, list)
            for value in listed if isinstance(listed, list) else [document.value]:
                found.append(_case(value, document, path))
    if not found:
        raise InputError(f"{paths[0]}: holds no case; docs/simulate.md describes the format")
    return found, not several and len(found) == 1


def _case(value: Json, document: Document, path: Path) -> Case:
    if not isinstance(value, dict) or value.get("flows") is None:
        raise InputError(f"{path}:{document.line}: no case: it has no flows; docs/simulate.md describes the format")
    return read_case(RawObject(value, str(path), document.lines(value, document.line)))


def _files(path: Path) -> list[Path]:
    """A file itself, or the JSON and YAML files of a folder by name."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)


def _documents(path: Path, stdin: BinaryIO | None) -> Iterator[Document]:
    body = _body(path, stdin)
    json = path.suffix == ".json" or (path == STDIN and body.lstrip().startswith(b"{"))
    try:
        yield from json_reader.read(body) if json else _yaml(body)
    except UnreadableError as error:
        place = path if error.line is None else f"{path}:{error.line}"
        raise InputError(f"{place}: {error}") from error


def _body(path: Path, stdin: BinaryIO | None) -> bytes:
    if path == STDIN:
        body = b"" if stdin is None else stdin.read(LARGEST_FILE + 1)
    else:
        try:
            with path.open("rb") as file:
                body = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(body) > LARGEST_FILE:
        raise InputError(f"{path}: larger than {LARGEST_FILE >> 20} MiB; put fewer cases in one file")
    return body


def _yaml(body: bytes) -> Iterable[Document]:
    for chunk in yaml_reader.split(io.BufferedReader(io.BytesIO(body))):
        document = yaml_reader.read(chunk)
        if document is not None:
            yield document
