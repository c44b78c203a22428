"""Why a part of a node was not read."""

from __future__ import annotations

_LONGEST = 300


class AbsentError(Exception):
    """The node does not have this; the text says what is missing. That is no loss."""


class UnreadError(Exception):
    """The node has this, or may have it, and it could not be read; the text says why."""


def one_line(text: str) -> str:
    """The lines of what a program said as one, without what steers a terminal, cut where it is long."""
    joined = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    shown = "".join(character if character.isprintable() else "?" for character in joined)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
