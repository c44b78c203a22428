"""Lines of a log with the place where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from migrate.evidence.seen import Unread

LONGEST_LINE = 1 << 20
"""Bytes. No flow of any program comes near; a reader gives one byte more of a longer line, and leaves out the rest."""
TOO_LONG = "a line of more than 1 MiB"


class Numbered(NamedTuple):
    """A line without its line end. `is_ended`: there was one, so that nothing of the line is missing."""

    at_line: str
    text: bytes
    is_ended: bool


def numbered(lines: Iterable[bytes], name: str) -> Iterator[Numbered | Unread]:
    """Every line that is not blank with FILE:LINE, or why it is not read."""
    for number, line in enumerate(lines, start=1):
        at_line = f"{name}:{number}"
        if len(line) > LONGEST_LINE:
            yield Unread(at_line, "unreadable", TOO_LONG)
            continue
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if text:
            yield Numbered(at_line, text, line.endswith(b"\n"))
