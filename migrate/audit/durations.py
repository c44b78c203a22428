"""Spans of time as people type them: Go's form ("24h", "1h30m"), in whole seconds."""

from __future__ import annotations

import re

from migrate.errors import InputError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|μs|ns|m|s)")
LONGEST = 366 * 24 * 3600


def parse_duration(text: str, option: str = "--duration") -> int:
    """Seconds of a duration, at least one. Raises InputError that says what to write."""
    asked = f"{option} {text}"
    unsigned = text.removeprefix("+")
    if unsigned.startswith("-") or unsigned in ("0", ""):
        raise InputError(f"{asked}: not a time to come; write how long, such as 24h, 90m or 1h30m")
    if re.fullmatch(r"[\d.]+", unsigned):
        raise InputError(f"{asked}: the unit is missing; write {unsigned}h for hours, {unsigned}m for minutes")
    if re.fullmatch(rf"(?:{_PART.pattern})+", unsigned) is None:
        raise InputError(f"{asked}: not a duration; write numbers with the units h, m and s, such as 24h or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(unsigned))
    if not 1 <= seconds <= LONGEST:
        raise InputError(f"{asked}: an audit lasts between 1s and {duration_text(LONGEST)}; write such as 24h")
    return round(seconds)


def duration_text(seconds: float) -> str:
    """Seconds in the same form: 90061 is 25h1m1s."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [f"{value}{unit}" for value, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if value]
    return "".join(parts) or "0s"
