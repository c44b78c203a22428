"""Pods found by their addresses: the index answers as a look at every pod does."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from migrate.model.addresses import Address, AddressSet
from migrate.model.intervals import IntervalSet
from migrate.translate.address_index import AddressIndex

_numbers = st.integers(0, 30)
_addresses = st.one_of(_numbers.map(IPv4Address), _numbers.map(IPv6Address))
_owned = st.lists(st.lists(_addresses, min_size=1, max_size=3).map(tuple), max_size=8)
_sets = st.lists(st.tuples(_numbers, _numbers), max_size=3).map(IntervalSet.of)


@given(_owned, st.builds(AddressSet, _sets, _sets))
def test_the_index_answers_as_a_look_at_every_owner(owned: list[tuple[Address, ...]], wanted: AddressSet) -> None:
    inside = [sum(address in wanted for address in addresses) for addresses in owned]
    whole = [index for index, count in enumerate(inside) if count == len(owned[index])]
    part = [index for index, count in enumerate(inside) if 0 < count < len(owned[index])]
    assert AddressIndex(owned).split(wanted) == (whole, part)
