"""Case files of `migrate simulate`: one case, or a document with `cases`, as JSON or YAML."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.scan import json_reader, yaml_reader
from migrate.scan.tree import Document, UnreadableError
from migrate.sources.cases import Case, read_case


def read_cases(paths: Sequence[Path]) -> tuple[list[Case], bool]:
    """All cases of the files in their order, and whether there was just one input with one case.

    Raises InputError that names the file, the line and the field of whatever cannot be used.
    """
    found: list[Case] = []
    several = len(paths) > 1
    for path in paths:
        for document in _documents(path):
            listed = document.value.get("cases") if isinstance(document.value, dict) else None
            several = several or isinstance(listed, list)
            for value in listed if isinstance(listed, list) else [document.value]:
                found.append(_case(value, document, path))
    if not found:
        raise InputError(f"{paths[0]}: holds no case; docs/simulate.md describes the format")
    return found, not several


def _case(value: Json, document: Document, path: Path) -> Case:
    if not isinstance(value, dict) or "flows" not in value:
        raise InputError(f"{path}:{document.line}: no case: it has no flows; docs/simulate.md describes the format")
    return read_case(RawObject(value, str(path), document.lines(value, document.line)))


def _documents(path: Path) -> Iterator[Document]:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if path.suffix == ".json":
            yield from json_reader.read(body)
        else:
            yield from (found for chunk in yaml_reader.split(_stream(body)) if (found := yaml_reader.read(chunk)))
    except UnreadableError as error:
        place = path if error.line is None else f"{path}:{error.line}"
        raise InputError(f"{place}: {error}") from error


def _stream(body: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(body))
