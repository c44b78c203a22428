"""JSON files: one object, a list of them, or several one after another, as kubectl prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from migrate.model.raw import Json
from migrate.scan.selection import is_policy
from migrate.scan.tree import DEEPEST, Document, TreeBuilder, UnreadableError

LARGEST_FILE = 2 * 2**30
_READ_WITH_LINES = 2**20
"""Up to this size a file may be hand-written: every line is known and duplicate keys are looked for."""

_TOKEN = re.compile(rb'[ \t\r]*(?:(\n)|("(?:[^"\\]|\\.)*")|([{\[])|([}\]])|[,:]|([^\s{}\[\],:"]+))')
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)
_TOO_DEEP = f"nested deeper than {DEEPEST} levels; no Kubernetes object is"


class _Listing(msgspec.Struct, frozen=True, rename="camel"):
    """A list whose items are decoded one by one."""

    api_version: str = ""
    kind: str = ""
    items: list[msgspec.Raw] | None = None


def read(body: bytes, with_lines: int | None = None) -> Iterator[Document]:
    """The documents of a file. A large list is given as many lists of one item. Raises UnreadableError.

    Above `with_lines` bytes (by default 1 MiB) a document is taken for Kubernetes objects: policies keep all lines.
    """
    with_lines = _READ_WITH_LINES if with_lines is None else with_lines
    try:
        yield from _one(body, 1, with_lines)
    except _NOT_JSON:
        for text, line in _pieces(body):
            try:
                yield from _one(text, line, with_lines)
            except _NOT_JSON as error:
                raise UnreadableError(line, f"not JSON: {error}") from error
    except RecursionError as error:
        raise UnreadableError(None, _TOO_DEEP) from error


def _one(text: bytes, line: int, with_lines: int) -> Iterator[Document]:
    if len(text) <= with_lines:
        msgspec.json.decode(text)
        yield _with_lines(text, line)
        return
    listing = msgspec.json.decode(text, type=_Listing)
    if not listing.kind.endswith("List") or listing.items is None:
        yield Document(msgspec.json.decode(text), line)
        return
    policies = is_policy(listing.api_version, listing.kind.removesuffix("List"))
    position = 0
    for raw in listing.items:
        item = bytes(raw)
        start = text.index(item, position)
        line += text.count(b"\n", position, start)
        yield _list_of_one(listing, _item(item, line, policies))
        line += item.count(b"\n")
        position = start + len(item)


def _item(text: bytes, line: int, policy: bool) -> Document:
    try:
        value: Json = msgspec.json.decode(text)
    except _NOT_JSON as error:
        raise UnreadableError(line, f"not JSON: {error}") from error
    if isinstance(value, dict):
        policy = policy or is_policy(str(value.get("apiVersion")), str(value.get("kind")))
    return _with_lines(text, line) if policy else Document(value, line)


def _list_of_one(listing: _Listing, item: Document) -> Document:
    items = [item.value]
    whole: dict[str, Json] = {"apiVersion": listing.api_version, "kind": listing.kind, "items": items}
    return Document(whole, item.line, {**item.children, id(items): {0: item.line}})


def _with_lines(text: bytes, line: int) -> Document:
    """The value of JSON that is known to be well-formed."""
    builder = TreeBuilder()
    first: int | None = None
    for newline, word, opening, closing, scalar in _TOKEN.findall(text):
        if newline:
            line += 1
            continue
        first = first or line
        if opening:
            builder.begin({} if opening == b"{" else [], line)
        elif closing:
            builder.end()
        elif word and builder.wants_key:
            builder.key(msgspec.json.decode(word, type=str), line)
        elif word or scalar:
            builder.add(msgspec.json.decode(word or scalar), line)
    return Document(builder.value, first or line, builder.children)


def _pieces(body: bytes) -> Iterator[tuple[bytes, int]]:
    """The values that stand one after another, each with its line; says what is wrong where one is broken."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        line = 1 + body.count(b"\n", 0, error.start)
        raise UnreadableError(line, "not UTF-8 text; save the file as UTF-8") from error
    decoder, line, position = json.JSONDecoder(parse_int=str), 1, 0
    while rest := re.compile(r"\S").search(text, position):
        line += text.count("\n", position, rest.start())
        try:
            _, end = decoder.raw_decode(text, rest.start())
        except json.JSONDecodeError as error:
            raise UnreadableError(error.lineno, f"not JSON: {error.msg}") from error
        yield text[rest.start() : end].encode(), line
        line += text.count("\n", rest.start(), end)
        position = end
