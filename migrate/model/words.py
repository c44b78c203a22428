"""Texts that people read."""

from __future__ import annotations


def one_line(text: str, instead: str = "?") -> str:
    """A text without control characters and line ends, which can end a comment or take over a terminal."""
    return "".join(letter if letter.isprintable() else instead for letter in text)
