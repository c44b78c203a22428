"""Lines of a log with the place where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.evidence.seen import Unread

LONGEST_LINE = 1 << 20
"""Bytes. No flow of any program comes near; a reader gives one byte more of a longer line, and leaves out the rest."""
TOO_LONG = "a line of more than 1 MiB"


def numbered(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, bytes] | Unread]:
    """FILE:LINE and the text of every line that is not blank, without its line end, or why it is not read."""
    for number, line in enumerate(lines, start=1):
        at_line = f"{name}:{number}"
        if len(line) > LONGEST_LINE:
            yield Unread(at_line, "unreadable", TOO_LONG)
            continue
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if text:
            yield at_line, text
