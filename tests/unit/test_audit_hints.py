"""Outside addresses of a recording as the beginning of a hint file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from migrate.audited import Place, run_hints
from migrate.errors import InputError
from migrate.scan.hints import read_hint_file
from tests.command_line import migrate
from tests.recordings import Recording
from tests.unit.audited_folder import CLUSTER

POLICIES = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
    - toCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25]}]
    - toCIDR: [198.51.100.7/32]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: billing, name: other}
spec:
  endpointSelector: {}
  egress:
    - toCIDR: [192.0.2.128/25]
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: all}
specs:
  - endpointSelector: {}
    egress: [{toCIDR: ["2001:db8::/32"]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A snapshot, policies and a recording of pods that call outside."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/all.yaml").write_text(POLICIES)
    assert migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet").status == 0
    made = Recording(tmp_path / "audit.db", node="node-1")
    web, database = made.veth("shop/web-0"), made.veth("shop/db-0")
    made.flow(web, "from", "10.0.0.1", "203.0.113.7", "TCP/443", events=12)
    made.flow(web, "from", "10.0.0.1", "203.0.113.7", "TCP/443", events=3, hour=1)
    made.flow(web, "from", "10.0.0.1", "203.0.113.8", "TCP/443", events=20)
    made.flow(database, "from", "10.0.0.2", "192.0.2.200", "TCP/25")
    made.flow(web, "from", "10.0.0.1", "2001:db8::7", "UDP/123")
    made.flow(web, "from", "10.0.0.1", "10.0.0.2", "TCP/5432")
    made.flow(web, "to", "203.0.113.99", "10.0.0.1", "TCP/8080")
    made.close()
    return tmp_path


def test_what_was_called_is_listed_by_the_cidrs_of_egress_rules(folder: Path) -> None:
    ended = migrate(folder, "audit", "export", "--format", "hints", "--dir", ".", "--policies", "policies")

    assert ended.status == 0, ended.stderr
    assert yaml.safe_load(ended.stdout) == {
        "apiVersion": "cilium-migrate/v1alpha1",
        "kind": "Hints",
        "fqdn": [
            {"cidr": "203.0.113.0/24", "names": [], "namespaces": ["shop"]},
            {"cidr": "2001:db8::/32", "names": []},
        ],
    }
    lines = [line.strip(" #") for line in ended.stdout.splitlines() if "connection" in line]
    assert [line.partition(",")[0] for line in lines] == [
        "203.0.113.8 TCP/443: 20 connections of shop web-0",
        "203.0.113.7 TCP/443: 15 connections of shop web-0",
        "2001:db8::7 UDP/123: 1 connection of shop web-0",
        "192.0.2.200 TCP/25: 1 connection of shop db-0",
    ]
    assert ended.stdout.index("in no CIDR of an egress rule") < ended.stdout.index("192.0.2.200")


def test_with_its_names_it_is_a_hint_file_and_without_them_it_is_refused(folder: Path) -> None:
    text = run_hints(Place(folder, policies=folder / "policies"))
    (folder / "empty.yaml").write_text(text)
    (folder / "hints.yaml").write_text(text.replace("names: []", "names: [shop.example.com]"))

    with pytest.raises(InputError, match=r"empty.yaml:\d+: fqdn\[0\].names: must list at least one DNS name"):
        read_hint_file(folder / "empty.yaml", frozenset({"fqdn"}))
    found = read_hint_file(folder / "hints.yaml", frozenset({"fqdn"}))
    assert [(str(hint.network), hint.namespaces) for hint in found.names] == [
        ("203.0.113.0/24", ("shop",)),
        ("2001:db8::/32", ()),
    ]


def test_it_goes_into_a_file(folder: Path) -> None:
    arguments = ("--format", "hints", "--dir", ".", "--policies", "policies", "--output-file", "hints.yaml")

    assert migrate(folder, "audit", "export", *arguments).stdout == ""
    assert (folder / "hints.yaml").read_text() == run_hints(Place(folder, policies=folder / "policies"))
