"""Attributes of netlink messages: what was packed is read again, and damaged ones end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.audit.netlink import attribute, attributes, nest

KINDS = st.integers(1, 0x3FFF)
VALUES = st.binary(max_size=20)


@given(st.lists(st.tuples(KINDS, VALUES), max_size=6))
def test_attributes_are_read_as_they_were_packed(packed: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in packed)

    assert len(data) % 4 == 0
    assert [(kind, data[start:end]) for kind, start, end in attributes(data, 0, len(data))] == packed


@given(KINDS, st.lists(st.tuples(KINDS, VALUES), max_size=4))
def test_nested_attributes_lie_within_their_parent(kind: int, inner: list[tuple[int, bytes]]) -> None:
    data = nest(kind, *(attribute(*one) for one in inner))

    ((found, start, end),) = attributes(data, 0, len(data))
    assert found == kind
    assert [(one, data[at:to]) for one, at, to in attributes(data, start, end)] == inner


@given(st.binary(max_size=64))
def test_any_bytes_come_to_an_end_within_their_bounds(data: bytes) -> None:
    for _, start, end in attributes(data, 0, len(data)):
        assert 0 <= start <= end <= len(data)


@pytest.mark.parametrize("length", [0, 3])
def test_an_attribute_shorter_than_its_header_ends_the_reading(length: int) -> None:
    data = length.to_bytes(2, "little") + b"\1\0" + attribute(2, b"x")

    assert list(attributes(data, 0, len(data))) == []
