"""Sizes of files as people type them: "500MiB", "2G"."""

from __future__ import annotations

import re

from migrate.errors import InputError

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_LEAST = 1 << 20


def parse_size(text: str, option: str = "--max-size") -> int:
    """Bytes; K, M, G and T are powers of 1024, as KiB to TiB are. Raises InputError that says what to write."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:iB|B)?", text, re.IGNORECASE)
    if found is None:
        raise InputError(f"{option} {text}: not a size; write a number with a unit, such as 500MiB or 2GiB")
    size = int(float(found[1]) * 1024 ** _POWERS[found[2].upper()])
    if size < _LEAST:
        raise InputError(f"{option} {text}: a recording needs at least {size_text(_LEAST)}; write such as 1GiB")
    return size


def size_text(size: float) -> str:
    """Bytes with the unit that leaves few digits: 1610612736 is 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f}".removesuffix(".0") + f" {unit}"
        size /= 1024
    return f"{size:.1f}".removesuffix(".0") + " TiB"
