"""Hint files on disk; docs/hints.md describes them."""

from __future__ import annotations

import io
from pathlib import Path

from migrate.errors import InputError
from migrate.model.raw import RawObject
from migrate.scan import yaml_reader
from migrate.scan.tree import UnreadableError
from migrate.sources.hints import Hints, read_hints

LARGEST_FILE = 4 << 20


def read_hint_file(path: Path, wanted: frozenset[str] = frozenset()) -> Hints:
    """The hints of a YAML file. Raises InputError that names the file, the line and the field.

    Also when it has none for a kind of proposals that is wanted: "fqdn" or "l7".
    """
    hints = _read(path)
    for kind, key, given in (("fqdn", "fqdn", hints.names), ("l7", "http", hints.http)):
        if kind in wanted and not given:
            raise InputError(f"{path}: has no hints under {key}, on which --suggest {kind} rests (docs/hints.md)")
    return hints


def _read(path: Path) -> Hints:
    try:
        with path.open("rb") as file:
            body = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(body) > LARGEST_FILE:
        raise InputError(f"{path}: larger than {LARGEST_FILE >> 20} MiB, which no hint file is")
    try:
        chunks = yaml_reader.split(io.BufferedReader(io.BytesIO(body)))
        documents = [found for chunk in chunks if (found := yaml_reader.read(chunk)) is not None]
    except UnreadableError as error:
        raise InputError(f"{path if error.line is None else f'{path}:{error.line}'}: {error}") from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise InputError(f"{path}: must hold one document of kind Hints; docs/hints.md describes the format")
    (document,) = documents
    return read_hints(RawObject(documents[0].value, str(path), document.lines(document.value, document.line)))
