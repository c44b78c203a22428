"""Addresses, ports and times as programs write them in their logs, checked. All functions raise ValueError."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from migrate.model.addresses import Address, parse_address

_SECOND = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))?([zZ]|[+-]\d\d:?\d\d)?")
_LATEST = 4_102_444_800
"""Seconds since 1970 of the year 2100."""


@lru_cache(1 << 16)
def address(text: str) -> Address | None:
    """An address; None for an empty text. An IPv6 address with a zone is of one node's link alone, and refused."""
    if not text:
        return None
    if "%" in text:
        raise ValueError(f"an address with a zone is not of the cluster's network: {brief(text)}")
    try:
        found = parse_address(text)
    except ValueError:
        raise ValueError(f"no IP address: {brief(text)}") from None
    return (found.ipv4_mapped or found) if found.version == 6 else found


def port(number: int) -> int:
    """A port."""
    if not 0 <= number <= 0xFFFF:
        raise ValueError(f"no port: {number}")
    return number


def octet(number: int) -> int:
    """A type or code of ICMP, or an IP protocol."""
    if not 0 <= number <= 0xFF:
        raise ValueError(f"not within 0 and 255: {number}")
    return number


def whole(value: int | str, most: int = 1 << 53) -> int:
    """A count, also as text, as Protobuf's JSON has numbers of 64 bits."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ValueError(f"no count: {brief(value)}")
    if not 0 <= int(value) <= most:
        raise ValueError(f"a count that cannot be: {value}")
    return int(value)


def rfc3339(text: str) -> int:
    """Nanoseconds since 1970 of a time such as 2026-11-20T09:20:11.402113934Z; one without a zone is in UTC."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"no time: {brief(text)}")
    whole_seconds, fraction, zone = found.groups()
    return _seconds(whole_seconds, zone or "Z") * _SECOND + int((fraction or "0")[:9].ljust(9, "0"))


def since_1970(seconds: int, nanoseconds: int = 0) -> int:
    """Nanoseconds since 1970 of a time in seconds since then; refused before then and after the year 2100."""
    if not (0 <= seconds < _LATEST and 0 <= nanoseconds < _SECOND):
        raise ValueError(f"no time: {seconds} seconds and {nanoseconds} ns since 1970")
    return seconds * _SECOND + nanoseconds


@lru_cache(1 << 12)
def _seconds(text: str, zone: str) -> int:
    moment = datetime.fromisoformat(text.replace(" ", "T") + ("+00:00" if zone in "zZ" else zone))
    seconds = int(moment.astimezone(UTC).timestamp())
    if not 0 <= seconds < _LATEST:
        raise ValueError(f"no time of this century: {brief(text)}")
    return seconds


def brief(text: str) -> str:
    """Text of others for a message: on one line, printable, not long."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return ascii(shown) if not shown.isprintable() else f'"{shown}"'
