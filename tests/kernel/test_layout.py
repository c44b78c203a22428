"""The C side of the records is the Python side, byte for byte."""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from pathlib import Path

import pytest

from migrate.audit.layout import COARSE, CONNECTION, Control, Counter, Direction, FlowKey, FlowValue, Kind
from migrate.audit.loader import objects
from tests.kernel.btf_structs import Btf
from tests.kernel.conftest import OpenProbe

pytestmark = pytest.mark.kernel

_ROOT = Path(__file__).parents[2]
_KEY = ["source", "destination", "ifindex", "port", "protocol", "kind"]
_VALUE = ["first", "last", "events", "octets", "answered", "refused", "source_port", "unused", "retransmitted"]
_CONNECTION_KEY = ["low", "high", "ifindex", "low_port", "high_port", "protocol"]
_CONNECTION = ["last", "low_began", "answered", "refused", "opened"]


@pytest.fixture(scope="module")
def btf() -> Btf:
    """Of the probe's object."""
    return Btf(objects() / "probe.bpf.o")


@pytest.mark.parametrize(
    ("name", "format_", "members"),
    [
        ("flow_key", FlowKey.FORMAT, _KEY),
        ("flow_value", FlowValue.FORMAT, _VALUE),
        ("connection_key", CONNECTION[0], _CONNECTION_KEY),
        ("connection", CONNECTION[1], _CONNECTION),
    ],
)
def test_structs(btf: Btf, name: str, format_: struct.Struct, members: list[str]) -> None:
    size, offsets = btf.struct(name)

    assert size == format_.size
    assert [offsets[member] for member in members] == _offsets(format_.format)
    assert set(offsets) - set(members) <= {"unused"}


def _offsets(format_: str) -> list[int]:
    """Where each value of a format without alignment begins."""
    places, at = [], 0
    for number, letter in _parts(format_):
        for count in [number] if letter in "sx" else [1] * number:
            if letter != "x":
                places.append(at)
            at += struct.calcsize(f"={count}{letter}")
    return places


def _parts(format_: str) -> list[tuple[int, str]]:
    parts, digits = [], ""
    for sign in format_.lstrip("="):
        if sign.isdigit():
            digits += sign
        else:
            parts.append((int(digits or 1), sign))
            digits = ""
    return parts


def _enum(name: str) -> dict[str, int]:
    """The numbers of an enum of bpf/probe.h; the compiler keeps none of it."""
    text = re.sub(r"/\*.*?\*/", "", (_ROOT / "bpf" / "probe.h").read_text(), flags=re.DOTALL)
    found = re.search(rf"enum {name} {{(.*?)}}", text, re.DOTALL)
    assert found, name
    numbers: dict[str, int] = {}
    for entry in filter(None, map(str.strip, found[1].split(","))):
        member, _, value = entry.partition(" = ")
        base, _, shift = value.partition(" << ")
        numbers[member] = int(base) << int(shift or 0) if value else len(numbers)
    return numbers


@pytest.mark.parametrize(
    ("name", "python", "extra"),
    [
        ("counter", Counter, {"COUNTERS": len(Counter)}),
        ("control", Control, {"CONTROLS": len(Control)}),
        ("direction", Direction, {}),
    ],
)
def test_numbers(name: str, python: type[IntEnum], extra: dict[str, int]) -> None:
    assert _enum(name) == {member.name: int(member) for member in python} | extra


def test_kinds() -> None:
    assert _enum("flow_kind") == {
        "NEW_FLOW": Kind.NEW,
        "MID_STREAM": Kind.MID_STREAM,
        "ICMP_ERROR": Kind.ICMP_ERROR,
        "COARSE_FLAG": COARSE,
    }


def test_maps_have_the_sizes_of_the_records(open_probe: OpenProbe) -> None:
    probe = open_probe()

    for table in probe.maps("flows0", "flows1", "coarse"):
        assert (table.key_size, table.value_size) == (FlowKey.FORMAT.size, FlowValue.FORMAT.size)
    (connections,) = probe.maps("connections")
    assert (connections.key_size, connections.value_size) == tuple(part.size for part in CONNECTION)
