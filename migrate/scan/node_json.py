"""JSON of a Windows node, in every form in which PowerShell writes it to a file → typed values."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from migrate.errors import InputError
from migrate.model.hns import HnsState
from migrate.model.raw import Json, RawObject
from migrate.model.refs import Location
from migrate.scan.json_reader import LARGEST_FILE, read
from migrate.scan.tree import Document, UnreadableError
from migrate.sources.node.hns import read_objects

_ENTRY = re.compile(r"\s*(?=[{\[\"])")
_COMMA = re.compile(r"\s*,")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_hns(body: bytes, source: str) -> HnsState:
    """Endpoints and networks of a dump. Raises InputError with file:line."""
    state, complaints = salvage_hns(body, source)
    if complaints:
        raise complaints[0]
    return state


def salvage_hns(body: bytes, source: str) -> tuple[HnsState, tuple[InputError, ...]]:
    """What can be used of a dump, and what is wrong with the rest."""
    complaints: list[InputError] = []
    objects = tuple(_objects(body, source, complaints))
    state, more = read_objects(objects, source)
    if not objects and not complaints:
        complaints.append(InputError(f"{Location(source, None)}: no endpoint and no network is in this file"))
    return replace(state, complete=state.complete and not complaints), (*complaints, *more)


def _objects(body: bytes, source: str, complaints: list[InputError]) -> Iterator[RawObject]:
    """The objects of a dump; of one that is cut off, those before the cut."""
    try:
        text = _utf8(body, source)
    except InputError as error:
        complaints.append(error)
        return
    documents: list[Document] = []
    try:
        documents += read(text, with_lines=LARGEST_FILE)
    except UnreadableError as error:
        complaints.append(InputError(f"{Location(source, error.line)}: {error}; take the dump again"))
        with suppress(UnreadableError):
            documents += read(_before_the_cut(text), with_lines=LARGEST_FILE)
    for document in documents:
        yield from _entries(document, source, complaints)


def _before_the_cut(text: bytes) -> bytes:
    """The list that a broken text begins with, closed after its last whole entry; empty when there is none."""
    if not text.lstrip().startswith(b"["):
        return b"[]"
    letters, decoder = text.decode(), json.JSONDecoder(parse_int=str)
    kept = position = letters.index("[") + 1
    while entry := _ENTRY.match(letters, position):
        try:
            _, kept = decoder.raw_decode(letters, entry.end())
        except (json.JSONDecodeError, RecursionError):
            break
        after = _COMMA.match(letters, kept)
        if after is None:
            break
        position = after.end()
    return (letters[:kept] + "]").encode()


def _utf8(body: bytes, source: str) -> bytes:
    """The text as UTF-8 with \\n between lines. PowerShell's > writes UTF-16; a missing mark is seen by its zeros."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            text = _decode(body[len(mark) :], encoding, source)
            break
    else:
        guessed = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
        zeros = (body[:1] == b"\0", body[1:2] == b"\0")
        text = _decode(body, guessed.get(zeros, "utf-8"), source)
    return text.encode()


def _decode(body: bytes, encoding: str, source: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        line = 1 + body.count(b"\n", 0, error.start)
        raise InputError(f"{Location(source, line)}: the text is not {encoding}; take the dump again") from error


def _entries(document: Document, source: str, complaints: list[InputError]) -> Iterator[RawObject]:
    """The objects of a document: itself, or those of its list."""
    listed: list[tuple[Json, int]] = [(document.value, document.line)]
    if isinstance(document.value, list):
        listed = [(value, document.line_of(document.value, i)) for i, value in enumerate(document.value)]
    for value, line in listed:
        if isinstance(value, dict):
            yield RawObject(value, source, document.lines(value, line))
        else:
            message = "a list of objects is expected here; take the dump again with ConvertTo-Json -Depth 9"
            complaints.append(InputError(f"{Location(source, line)}: {message}"))
