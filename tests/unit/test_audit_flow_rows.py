"""Rows of records: cut addresses, and what tables that only grow have more than before."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.audit.flow_rows import coarser, cut, flow_rows, grown
from migrate.audit.layout import Direction, FlowValue, bytes_of
from tests.unit.audit_records import UPTIME, record

steps = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=8)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        pytest.param("10.1.2.3", "10.1.0.0", id="IPv4 keeps /16"),
        pytest.param("2001:db8:1:2::3", "2001:db8::", id="IPv6 keeps /32"),
        pytest.param("::1", "::", id="a short IPv6 address is no IPv4 address"),
    ],
)
def test_cut(address: str, kept: str) -> None:
    assert cut(bytes_of(ip_address(address))) == bytes_of(ip_address(kept))


@pytest.mark.parametrize(
    ("direction", "source", "destination"),
    [
        pytest.param(Direction.FROM_POD, "10.1.2.3", "10.9.0.0", id="what a pod sends keeps the pod"),
        pytest.param(Direction.TO_POD, "10.1.0.0", "10.9.8.7", id="what it gets keeps the pod too"),
    ],
)
def test_the_far_end_gets_coarser(direction: Direction, source: str, destination: str) -> None:
    (row,) = flow_rows([record("10.1.2.3", "10.9.8.7", direction=direction)], 0, lambda ifindex, moment: 1)
    cut_row = coarser(row)
    assert (cut_row[5], cut_row[6]) == (bytes_of(ip_address(source)), bytes_of(ip_address(destination)))
    assert (cut_row[4], cut_row[7], cut_row[8]) == (2, 6, 0)
    assert cut_row[9:] == row[9:]


@given(steps)
def test_what_a_row_grows_by_adds_up_to_what_it_counted(steps: list[tuple[int, bool]]) -> None:
    """The slow meaning: every event that was ever counted, also in rows that were removed and began anew."""
    seen: dict[bytes, bytes] = {}
    counted = read = in_row = 0
    first = UPTIME
    for moment, (more, began_anew) in enumerate(steps, start=1):
        if began_anew:
            first, in_row = UPTIME + moment, 0
        counted, in_row = counted + more, in_row + more
        now = dict([record(events=in_row, first=first, last=UPTIME + moment)])
        read += sum(FlowValue.unpack(value).events for _, value in grown(now.items(), seen))
        seen = now
    assert read == counted
