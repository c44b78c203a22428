"""YAML files, one document at a time, with the values that Kubernetes' decoder gives them.

Values are built from the parser's events rather than by PyYAML's own constructors: those know other types, and would
expand aliases and nesting before anyone could count them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from migrate.model.raw import Json
from migrate.scan import yaml_blocks
from migrate.scan.tree import DEEPEST, MERGE, Document, TreeBuilder, UnreadableError
from migrate.scan.yaml_scalars import as_json, as_key, plain, tagged

LARGEST_DOCUMENT = 32 * 2**20
MOST_ALIASED = 100_000
_TEXT_PER_NODE = 100
_BLOCK = 4 * 2**20
_DIVIDER = re.compile(rb"\n(?=---(?!\S))")
_CONTENT = re.compile(rb"^(?:---(?!\S)[^\S\n]*|(?!---(?!\S))[^\S\n]*)[^\s#%]", re.MULTILINE)
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one document; empty ones may go before it. `line` is its first, from 1."""

    text: bytes
    line: int


def split(stream: io.BufferedReader) -> Iterator[Chunk]:
    """The documents of a stream as text, with little more than one of them in memory."""
    text, first = bytearray(), 1
    while block := stream.read1(_BLOCK):
        block += stream.readline(LARGEST_DOCUMENT)
        text += block
        if b"---" in block:
            *whole, rest = _documents(bytes(text))
            for document in whole:
                yield _chunk(document, first)
                first += document.count(b"\n")
            text = bytearray(rest)
        if len(text) > LARGEST_DOCUMENT:
            break
    if text:
        yield _chunk(bytes(text), first)


def _documents(text: bytes) -> list[bytes]:
    """The text in pieces of one document each; what goes before a --- without being content belongs to the next."""
    found, start = [], 0
    for divider in _DIVIDER.finditer(text):
        if _CONTENT.search(text, start, divider.end()):
            found.append(text[start : divider.end()])
            start = divider.end()
    return [*found, text[start:]]


def _chunk(text: bytes, first: int) -> Chunk:
    if len(text) > LARGEST_DOCUMENT:
        raise UnreadableError(first, _TOO_LARGE)
    return Chunk(text, first)


_TOO_LARGE = (
    f"a YAML document larger than {LARGEST_DOCUMENT >> 20} MiB; give it as JSON (kubectl get ... -o json), "
    "divide it with --- lines, or scan the cluster itself"
)


def read(chunk: Chunk) -> Document | None:
    """The document in a piece of text, None when it is empty. Raises UnreadableError."""
    document = yaml_blocks.read(_text(chunk), chunk.line)
    return document or read_events(chunk)


def read_events(chunk: Chunk) -> Document | None:
    loader = yaml.CSafeLoader(chunk.text)
    reader = _EventReader(chunk.line)
    try:
        while not isinstance(event := loader.get_event(), yaml.StreamEndEvent):
            reader.take(event)
        return reader.document()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(chunk, error) from error
    except yaml.reader.ReaderError as error:
        line = chunk.line + chunk.text.count(b"\n", 0, error.position)
        raise UnreadableError(line, f"not text: {error.reason}; remove the character {error.character:#x}") from error
    finally:
        loader.dispose()


def _text(chunk: Chunk) -> str:
    try:
        return chunk.text.decode()
    except UnicodeDecodeError as error:
        line = chunk.line + chunk.text.count(b"\n", 0, error.start)
        raise UnreadableError(line, "not UTF-8 text; save the file as UTF-8") from error


def _unreadable(chunk: Chunk, error: yaml.MarkedYAMLError) -> UnreadableError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return UnreadableError(chunk.line, f"not YAML: {error.problem}")
    line = chunk.line + mark.line
    problem = error.problem or "it cannot be read"
    text = chunk.text.decode().split("\n")[mark.line :][:1]
    if "tab character" in problem or any(found[mark.column : mark.column + 1] == "\t" for found in text):
        return UnreadableError(line, "a tab stands where only spaces may; indent with spaces")
    context = f" {error.context}" if error.context else ""
    return UnreadableError(line, f"not YAML: {problem}{context}; look at this line and the one before it")


class _EventReader:
    """Turns the events of one document into a value."""

    def __init__(self, first: int) -> None:
        self._builder = TreeBuilder()
        self._line: int | None = None
        self._first = first
        self._anchors: dict[str, Json] = {}
        self._open_anchors: list[str | None] = []
        self._measures: dict[int, tuple[Json, int, int]] = {}
        self._aliased = 0

    def take(self, event: yaml.Event | None) -> None:
        """The next event of the document."""
        assert event is not None
        assert event.start_mark is not None
        line = self._first + event.start_mark.line
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._line = self._line or line
            self._builder.begin({} if isinstance(event, yaml.MappingStartEvent) else [], line)
            self._open_anchors.append(event.anchor)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            anchor, value = self._open_anchors.pop(), self._builder.end()
            if anchor is not None:
                self._anchors[anchor] = value
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._line = None

    def document(self) -> Document | None:
        """The document, once all its events were taken; None when it is empty."""
        value = self._builder.value
        return None if value is None else Document(value, self._line or self._first, self._builder.children)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._line = self._line or line
        try:
            value = _value(event)
            if not self._builder.wants_key:
                self._builder.add(as_json(value), line)
            elif event.value == "<<" and (event.tag == _MERGE_TAG or (event.tag is None and event.implicit[0])):
                self._builder.key(MERGE, line)
            else:
                self._builder.key(as_key(value), line)
            if event.anchor is not None:
                self._anchors[event.anchor] = as_json(value)
        except ValueError as error:
            raise UnreadableError(line, str(error)) from error

    def _alias(self, anchor: str, line: int) -> None:
        """A value once more; what aliases stand for is counted before it is used, since they may multiply."""
        if anchor in self._open_anchors:
            raise UnreadableError(line, f"the alias *{anchor} stands within its own anchor")
        if anchor not in self._anchors:
            raise UnreadableError(line, f"the alias *{anchor} has no anchor &{anchor} before it")
        value = self._anchors[anchor]
        size, height = self._measure(value)
        self._aliased += size
        if self._aliased > MOST_ALIASED:
            raise UnreadableError(line, f"aliases expand to more than {MOST_ALIASED} nodes; write the values out")
        if self._builder.depth + height > DEEPEST:
            raise UnreadableError(line, f"nested deeper than {DEEPEST} levels by aliases; no Kubernetes object is")
        if not self._builder.wants_key:
            self._builder.add(value, line)
        elif value is None or isinstance(value, dict | list):
            raise UnreadableError(line, f"the alias *{anchor} stands where a key should be and is not text")
        else:
            self._builder.key(as_key(value), line)

    def _measure(self, value: Json) -> tuple[int, int]:
        """Nodes and levels of a value with all aliases in it written out; long text weighs as several nodes."""
        if not isinstance(value, dict | list):
            return _weight(value), 0
        if id(value) not in self._measures:
            parts = [self._measure(part) for part in (value.values() if isinstance(value, dict) else value)]
            keys = sum(map(_weight, value)) if isinstance(value, dict) else 0
            size, height = 1 + keys + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)
            self._measures[id(value)] = value, size, height
        return self._measures[id(value)][1:]


def _weight(scalar: Json) -> int:
    return 1 + len(scalar) // _TEXT_PER_NODE if isinstance(scalar, str) else 1


def _value(event: yaml.ScalarEvent) -> bool | int | float | str | None:
    text: str = event.value
    if event.tag is None:
        return plain(text) if event.implicit[0] else text
    return text if event.tag == "!" else tagged(event.tag, text)
