"""Times as text."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(nanoseconds: int) -> str:
    """A time in nanoseconds since 1970 as text in UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
