"""Records of the kernel as rows of the recording: adding up, cutting, and what the coarse table has grown by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from migrate.audit.layout import COARSE, Direction, FlowKey, FlowValue, Translation
from migrate.audit.revisions import REVISION

HOUR = 3_600_000_000_000
"""Nanoseconds."""

Record: TypeAlias = tuple[bytes, bytes]
"""Key and value as the kernel has them."""

FlowRow: TypeAlias = tuple[int, int, int, int, int, bytes, bytes, int, int, int, int, int, int, int, int, int, int]
"""A row of the table flow, in the order of its columns; its revision is that of the transaction."""

_COLUMNS = (
    "veth, hour, direction, kind, coarse, source, destination, protocol, port, "
    "first, last, events, octets, answered, refused, retransmitted, source_port"
)
_KEY = "veth, hour, direction, kind, coarse, source, destination, protocol, port"
_SUMS = ("events", "octets", "answered", "refused", "retransmitted")

ADD_FLOW = (
    f"INSERT INTO flow ({_COLUMNS}, revision) "
    f"VALUES ({', '.join(f'?{number}' for number in range(1, 18))}, {REVISION}) "
    f"ON CONFLICT ({_KEY}) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), "
    + "".join(f"{name} = {name} + excluded.{name}, " for name in _SUMS)
    + "source_port = excluded.source_port, revision = excluded.revision"
)
ADD_TO_KNOWN_FLOW = (
    "UPDATE flow SET first = min(first, ?10), last = max(last, ?11), "
    + "".join(f"{name} = {name} + ?{number}, " for number, name in enumerate(_SUMS, start=12))
    + f"source_port = ?17, revision = {REVISION} WHERE "
    + " AND ".join(f"{name} = ?{number}" for number, name in enumerate(_KEY.split(", "), start=1))
)

STORE_COARSE = 2
EVENTS: Final = 11
"""Where a row has its events."""

_MAPPED = b"\0" * 10 + b"\xff\xff"
_SUMMED = slice(2, 6)
_RETRANSMITTED = 8


def flow_rows(records: Iterable[Record], offset: int, veth_of: Callable[[int, int], int]) -> Iterator[FlowRow]:
    """Rows of records. `offset` makes times since boot ones since 1970; `veth_of` tells the veth of an index then."""
    unpack_key, unpack_value = FlowKey.FORMAT.unpack, FlowValue.FORMAT.unpack
    for key, value in records:
        source, destination, ifindex, port, protocol, kind = unpack_key(key)
        first, last, events, octets, answered, refused, source_port, _, retransmitted = unpack_value(value)
        last += offset
        yield (
            veth_of(ifindex, last),
            last // HOUR,
            kind & 1,
            (kind & (COARSE - 1)) >> 1,
            1 if kind & COARSE else 0,
            source,
            destination,
            protocol,
            port,
            first + offset,
            last,
            events,
            octets,
            answered,
            refused,
            retransmitted,
            source_port,
        )


def coarser(row: FlowRow) -> FlowRow:
    """The row that stands for this one where there is little room: the far end cut to /16 (IPv6: /32), no port."""
    veth, hour, direction, kind, _, source, destination, protocol, _, *values = row
    if direction == Direction.TO_POD:
        source = cut(source)
    else:
        destination = cut(destination)
    first, last, events, octets, answered, refused, retransmitted, source_port = values
    key = veth, hour, direction, kind, STORE_COARSE, source, destination, protocol, 0
    return (*key, first, last, events, octets, answered, refused, retransmitted, source_port)


def cut(address: bytes) -> bytes:
    """The network of an address of 16 bytes that a coarse row keeps."""
    kept = 14 if address.startswith(_MAPPED) else 4
    return address[:kept].ljust(16, b"\0")


def grown(records: Iterable[Record], seen: Mapping[bytes, bytes]) -> Iterator[Record]:
    """What each record has more than when it was last seen. One that began anew since is whole."""
    unpack, pack = FlowValue.FORMAT.unpack, FlowValue.FORMAT.pack
    for key, value in records:
        before = seen.get(key)
        if before == value:
            continue
        if before is None or before[:8] != value[:8]:
            yield key, value
            continue
        old, new = unpack(before), unpack(value)
        sums = (after - earlier for after, earlier in zip(new[_SUMMED], old[_SUMMED], strict=True))
        more = new[_RETRANSMITTED] - old[_RETRANSMITTED]
        yield key, pack(old[1], new[1], *sums, new[6], 0, more)


def grown_translations(records: Iterable[Record], seen: Mapping[bytes, bytes]) -> Iterator[Translation]:
    """Translations with the times that they were seen more often than before."""
    for key, value in records:
        before = seen.get(key)
        if before == value:
            continue
        found = Translation.unpack(key, value)
        if before is not None and before[:8] == value[:8]:
            found = replace(found, times=found.times - Translation.unpack(key, before).times)
        yield found
