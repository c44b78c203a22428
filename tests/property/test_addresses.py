"""Address sets against the members of their networks, in both families."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.addresses import Address, AddressSet, Network, parse_address, parse_network

_V4 = ipaddress.IPv4Network("10.0.0.0/27")
_V6 = ipaddress.IPv6Network("fd00::/123")
_SPACE: tuple[Address, ...] = (*_V4, *_V6)


def _networks_in(block: Network) -> st.SearchStrategy[Network]:
    """A network inside the block, of any length."""
    bits = block.max_prefixlen
    members = list(block)
    return st.builds(
        lambda address, length: parse_network(f"{address}/{length}"),
        st.sampled_from(members),
        st.integers(block.prefixlen, bits),
    )


networks = st.one_of(_networks_in(_V4), _networks_in(_V6))
address_sets = st.lists(networks, max_size=5).map(AddressSet.of)


def members(addresses: AddressSet) -> set[Address]:
    """Every member, asked one by one."""
    return {address for address in _SPACE if address in addresses}


@given(st.lists(networks, max_size=5))
def test_a_set_of_networks_holds_their_addresses(given_networks: list[Network]) -> None:
    expected = {a for a in _SPACE for n in given_networks if a.version == n.version and a in n}

    assert members(AddressSet.of(given_networks)) == expected


@given(address_sets, address_sets)
def test_operators_agree_with_python_sets(a: AddressSet, b: AddressSet) -> None:
    assert members(a | b) == members(a) | members(b)
    assert members(a & b) == members(a) & members(b)
    assert members(a - b) == members(a) - members(b)
    assert (a <= b) == (members(a) <= members(b))
    assert bool(a) == bool(members(a))


@given(address_sets)
def test_networks_hold_exactly_the_set_without_overlap(a: AddressSet) -> None:
    found = a.networks()

    assert AddressSet.of(found) == a
    assert sum(network.num_addresses for network in found) == len(members(a))


@given(address_sets)
def test_networks_are_the_fewest_that_hold_the_set(a: AddressSet) -> None:
    found = a.networks()

    v4 = [network for network in found if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in found if isinstance(network, ipaddress.IPv6Network)]
    assert found == (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))


@given(address_sets)
def test_everything_contains_each_set(a: AddressSet) -> None:
    everything = AddressSet.everything()

    assert a <= everything
    assert (everything - a) | a == everything
    assert not (everything - a) & a


@pytest.mark.parametrize(
    ("network", "address", "holds"),
    [
        pytest.param("0.0.0.0/0", "10.0.0.1", True, id="all of IPv4 holds an IPv4 address"),
        pytest.param("0.0.0.0/0", "::1", False, id="all of IPv4 holds no IPv6 address"),
        pytest.param("::/0", "0.0.0.1", False, id="all of IPv6 holds no IPv4 address with the same number"),
        pytest.param("10.0.0.7/24", "10.0.0.200", True, id="host bits of a prefix are cut off"),
        pytest.param("10.0.0.7", "10.0.0.8", False, id="a bare address is a prefix of one"),
        pytest.param("10.0.0.0/31", "10.0.0.1", True, id="the last address of a prefix is in it"),
    ],
)
def test_membership(network: str, address: str, holds: bool) -> None:
    assert (parse_address(address) in AddressSet.of([parse_network(network)])) is holds


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0", "fd00::/129", "", "10.0.0.1-10.0.0.5"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_network(text)
