"""Names of NPM's chains and sets: both ways to make them, how they are told apart, and which fall together."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.model.flow import Direction
from migrate.nodes.npm.given_names import given_names
from migrate.nodes.npm.names import Names, Scheme, chain_suffix, read_policy_chain, scheme_of, set_name
from tests.unit.npm_node import dump_of, hash_names, sample


@pytest.mark.parametrize("entry", hash_names()["sets"], ids=lambda entry: str(entry["prefixed"]))
def test_a_set_has_the_names_that_npm_gave_it(entry: dict[str, str]) -> None:
    assert set_name(entry["prefixed"], Scheme.SHA256) == entry["sha256"]
    assert set_name(entry.get("prefixed_old", entry["prefixed"]), Scheme.FNV32) == entry["fnv32a"]


@pytest.mark.parametrize("entry", hash_names()["chains"], ids=lambda entry: str(entry["policy"]))
def test_a_chain_has_the_names_that_npm_gave_it(entry: dict[str, str]) -> None:
    assert chain_suffix(entry["policy"], Scheme.SHA256) == entry["sha256"]
    assert chain_suffix(entry["policy"], Scheme.FNV32) == entry["fnv32a"]


def test_digests_are_always_as_long_as_npm_makes_them() -> None:
    for number in range(2000):
        assert len(set_name(f"ns-{number}", Scheme.SHA256)) == 30
        assert len(chain_suffix(f"a/{number}", Scheme.SHA256)) == 10


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ("AZURE-NPM-INGRESS-x474c0he0w", (Direction.INGRESS, "x474c0he0w")),
        ("AZURE-NPM-EGRESS-7", (Direction.EGRESS, "7")),
        ("AZURE-NPM-INGRESS", None),
        ("AZURE-NPM-INGRESS-ALLOW-MARK", None),
        ("AZURE-NPM-INGRESS-PORT", None),
        ("AZURE-NPM-EGRESS-x474c0he0w1", None),
    ],
)
def test_chains_of_policies_are_told_from_others(chain: str, found: tuple[Direction, str] | None) -> None:
    assert read_policy_chain(chain) == found


@pytest.mark.parametrize(
    ("sets", "chains", "scheme"),
    [
        ([], [], None),
        (["azure-npm-4045649522"], [], Scheme.FNV32),
        (["azure-npm-2jtt8xpa1d6w9vrdbxz8"], [], Scheme.SHA256),
        ([], ["AZURE-NPM-INGRESS-359667137"], Scheme.FNV32),
        ([], ["AZURE-NPM-INGRESS-x474c0he0w"], Scheme.SHA256),
        (["azure-npm-2jtt8xpa1d6w9vrdbxz8"], ["AZURE-NPM-INGRESS-3596671371"], Scheme.SHA256),
        ([], ["AZURE-NPM-INGRESS-3596671371"], Scheme.FNV32),
        (["cali40s:abc", "azure-npm-", "azure-npm-2jtt"], ["AZURE-NPM", "AZURE-NPM-ACCEPT"], None),
    ],
)
def test_the_scheme_is_told_by_the_names(sets: list[str], chains: list[str], scheme: Scheme | None) -> None:
    assert scheme_of(sets, chains) is scheme


def test_sets_that_fall_together_in_32_bits_have_one_name() -> None:
    one, other = "podlabel-app:bkayzxc", "podlabel-app:jubkfec"
    names = Names.of({one: (one,), other: (other,), "ns-a": ("ns-a",)}, Scheme.FNV32)
    assert [shared.names for shared in names.shared] == [(one, other)]
    assert names.name("azure-npm-37729238") == one == names.stands_for(other)
    assert not Names.of({one: (one,), other: (other,)}, Scheme.SHA256).shared


def test_only_the_spelling_of_the_scheme_makes_names_fall_together() -> None:
    one, other = "cidr-a:in-ns:b-in-ns-c-0-0IN", "cidr-a-in-ns-b:in-ns:c-0-0IN"
    spellings = {name: (name, "cidr-a-in-ns-b-in-ns-c-0-0IN") for name in (one, other)}
    assert [shared.names for shared in Names.of(spellings, Scheme.FNV32).shared] == [(other, one)]
    newer = Names.of(spellings, Scheme.SHA256)
    assert newer.shared == ()
    assert [newer.name(set_name(name, Scheme.SHA256)) for name in (one, other)] == [one, other]
    assert newer.name(set_name("cidr-a-in-ns-b-in-ns-c-0-0IN", Scheme.SHA256)) == one


def test_a_name_that_the_digest_proves_goes_before_one_that_is_told() -> None:
    names = Names.of({"ns-demo": ("ns-demo",)}, Scheme.SHA256)
    told = {"azure-npm-2jtt8xpa1d6w9vrdbxz8": "ns-ops", "azure-npm-5527eg03wv154elzxjnw": "nslabel-team:lab"}
    names = names.with_given(told, {})
    assert names.name("azure-npm-2jtt8xpa1d6w9vrdbxz8") == "ns-demo"
    assert names.name("azure-npm-5527eg03wv154elzxjnw") == "nslabel-team:lab"
    assert names.name("azure-npm-3f43r09imejqvvh79dri") == "azure-npm-3f43r09imejqvvh79dri"


METRICS = """# TYPE npm_ipset_counts gauge
npm_ipset_counts{set_hash="azure-npm-18ah52khjxc4y9g93k4k",set_name="ns-ops"} 2
npm_ipset_counts{set_name="podlabel-role",set_hash="azure-npm-1a5y9c9asln68n4q7m1v"} 2
npm_num_policies 3
"""


def test_npm_tells_names_by_its_debug_endpoint_else_by_its_metrics(tmp_path: Path) -> None:
    manager = sample("hash-fnv32/npm-debug-manager.json")
    told = given_names(dump_of(tmp_path, {"npm-debug-manager.json": manager, "npm-cluster-metrics.txt": METRICS}))
    assert told["azure-npm-4045649522"] == "ns-demo"
    assert "azure-npm-18ah52khjxc4y9g93k4k" not in told
    for broken in ("", "{", "[]", '{"SetMap": 1}', '{"SetMap": {}}'):
        told = given_names(dump_of(tmp_path, {"npm-debug-manager.json": broken, "npm-cluster-metrics.txt": METRICS}))
        assert told == {
            "azure-npm-18ah52khjxc4y9g93k4k": "ns-ops",
            "azure-npm-1a5y9c9asln68n4q7m1v": "podlabel-role",
        }
