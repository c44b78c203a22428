"""Pieces of the outside by one search among bytes, beside asking about each address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from migrate.audit.judge import Judge
from migrate.audit.layout import bytes_of
from migrate.audit.strangers import Strangers
from migrate.audit.world import World
from migrate.model.addresses import Address
from tests.audit_scene import CLUSTER, revision

_BORDERS = [
    "0.0.0.0", "10.0.0.1", "10.1.0.0", "10.1.255.255", "10.2.0.2", "10.2.255.255", "203.0.113.0", "203.0.113.255",
    "255.255.255.255", "::", "::ffff:0:0", "::1:0:0:0", "fd00:1::10", "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]  # fmt: skip
_POLICY = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
    - toCIDR: [203.0.113.0/24, "2001:db8::/32"]
"""


def _around(text: str) -> list[Address]:
    """An address with its neighbours of the same family."""
    middle = ip_address(text)
    kind = IPv4Address if middle.version == 4 else IPv6Address
    numbers = (int(middle) + step for step in (-1, 0, 1))
    return [kind(number) for number in numbers if 0 <= number < 1 << middle.max_prefixlen]


@pytest.mark.parametrize("border", _BORDERS)
def test_a_search_finds_what_asking_finds(border: str, tmp_path: Path) -> None:
    judge = Judge(revision(tmp_path, _POLICY), CLUSTER)
    world = World(CLUSTER, [], [], "n1")
    special = bytes_of(ip_address("192.0.2.100"))
    strangers = Strangers(world, judge, {special})
    for address in _around(border):
        data = bytes_of(address)
        if int(address) >> 32 == 0xFFFF:
            continue  # kept as IPv4
        nobody = data not in world.known and address not in CLUSTER.pod_networks
        assert strangers.piece(data) == (judge.piece(data) if nobody else None), address
    assert strangers.piece(special) is None


def test_rules_tell_pieces_apart(tmp_path: Path) -> None:
    strangers = Strangers(World(CLUSTER, [], [], "n1"), Judge(revision(tmp_path, _POLICY), CLUSTER), frozenset())
    found = {strangers.piece(bytes_of(ip_address(text))) for text in ("203.0.113.7", "203.0.114.7", "2001:db8::7")}
    assert len(found) == 3
