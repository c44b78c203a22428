"""Moments as Kubernetes and dumps write them."""

from __future__ import annotations

from datetime import datetime


def moment(text: str | None) -> datetime | None:
    """A moment with its time zone; None when the text is none."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def seconds_until(text: str | None, later: str | None) -> float | None:
    """How long after the first moment the second one was, negative when before it; None when one is not known."""
    begin, end = moment(text), moment(later)
    return (end - begin).total_seconds() if begin is not None and end is not None else None


def is_after(text: str | None, earlier: str | None) -> bool:
    """Whether the first moment is surely later than the second."""
    seconds = seconds_until(text, earlier)
    return seconds is not None and seconds < 0
