"""`nft -j list ruleset` → typed values."""

from __future__ import annotations

import ipaddress
import json

import pytest

from migrate.errors import InputError
from migrate.model.node_state import Counters
from migrate.model.raw import Json
from migrate.sources.node.nft_json import (
    NftChain,
    NftElement,
    NftLog,
    NftMangle,
    NftMatch,
    NftOther,
    NftRule,
    NftRuleset,
    NftSet,
    NftStatement,
    NftVerdict,
    NftVmap,
    read_nft_json,
)

_TABLE: Json = {"table": {"family": "ip", "name": "t", "handle": 1}}


def statements(*expressions: Json) -> tuple[NftStatement, ...]:
    """What a rule with these expressions says."""
    rule: Json = {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [*expressions]}}
    return _only(rule).rules[0].statements


def _only(*parts: Json) -> NftChain:
    (table,) = _read(_TABLE, *parts).tables
    return table.chains[0]


def _read(*parts: Json) -> NftRuleset:
    return read_nft_json(json.dumps({"nftables": [{"metainfo": {}}, *parts]}).encode(), "nft.json")


def test_a_base_chain_has_its_hook() -> None:
    chain: dict[str, Json] = {"family": "ip", "table": "t", "name": "c", "type": "filter", "hook": "forward"}
    assert _only({"chain": {**chain, "prio": -5, "policy": "drop"}}) == NftChain("c", "forward", "filter", -5, "drop")


def test_a_rule_has_comment_and_counters() -> None:
    counter: Json = {"counter": {"packets": 3, "bytes": 180}}
    rule: dict[str, Json] = {"family": "ip", "table": "t", "chain": "c", "handle": 7, "comment": "why"}
    chain = _only({"rule": {**rule, "expr": [counter, {"jump": {"target": "d"}}]}}, {"rule": {**rule, "expr": []}})
    first, second = chain.rules
    assert first == NftRule(1, 7, "why", Counters(3, 180), (NftVerdict("jump", "d"),))
    assert first.targets == (NftVerdict("jump", "d"),)
    assert (second.index, second.counters) == (2, None)


def test_conditions_are_typed() -> None:
    mark: Json = {"&": [{"meta": {"key": "mark"}}, 65536]}
    network: Json = {"prefix": {"addr": "10.0.0.0", "len": 8}}
    said = statements(
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": network}},
        {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "@s"}},
        {"match": {"op": "==", "left": mark, "right": 65536}},
        {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
        {
            "match": {
                "op": "==",
                "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                "right": {"set": [80, {"range": [90, 99]}]},
            }
        },
    )
    assert said == (
        NftMatch("ip saddr", values=(ipaddress.ip_network("10.0.0.0/8"),)),
        NftMatch("ip daddr", negated=True, set="s"),
        NftMatch("meta mark & 0x10000", values=(65536,)),
        NftMatch("ct state", values=("established", "related")),
        NftMatch("tcp dport", values=(80, (90, 99))),
    )


def test_what_a_rule_does_is_typed() -> None:
    changed: Json = {"|": [{"meta": {"key": "mark"}}, 16384]}
    said = statements(
        {"log": {"prefix": "x: ", "group": 2}},
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": changed}},
        {"masquerade": None},
        {"drop": None},
    )
    assert said == (
        NftLog("x: ", 2),
        NftMangle("meta mark", "meta mark | 0x4000"),
        NftOther("masquerade", "null"),
        NftVerdict("drop"),
    )


def test_verdict_maps_lead_somewhere() -> None:
    meta: Json = {"meta": {"key": "iifname"}}
    inside: Json = {"set": [["eth0", {"goto": {"target": "d"}}], ["lo", {"accept": None}]]}
    assert statements({"vmap": {"key": meta, "data": "@m"}}, {"vmap": {"key": meta, "data": inside}}) == (
        NftVmap("meta iifname", "m"),
        NftVmap(
            "meta iifname",
            None,
            (NftElement(("eth0",), NftVerdict("goto", "d")), NftElement(("lo",), NftVerdict("accept"))),
        ),
    )


def test_sets_and_maps_have_typed_elements() -> None:
    services: Json = {
        "family": "ip",
        "table": "t",
        "name": "services",
        "type": ["ipv4_addr", "inet_proto", "inet_service"],
        "map": "verdict",
        "elem": [
            [{"concat": ["10.96.0.1", "tcp", 443]}, {"goto": {"target": "service-x"}}],
            [{"elem": {"val": {"concat": ["10.96.0.2", "udp", 53]}, "comment": "dns"}}, {"drop": None}],
        ],
    }
    several: Json = {
        "family": "ip",
        "table": "t",
        "name": "nets",
        "type": "ipv4_addr",
        "flags": ["interval"],
        "elem": ["10.0.0.1", {"range": ["10.0.0.5", "10.0.0.9"]}],
    }
    (table,) = _read(_TABLE, {"map": services}, {"set": several}).tables
    first, second = ipaddress.ip_address("10.96.0.1"), ipaddress.ip_address("10.96.0.2")
    assert table.set_named("services") == NftSet(
        "services",
        True,
        ("ipv4_addr", "inet_proto", "inet_service"),
        (),
        (
            NftElement((first, "tcp", 443), NftVerdict("goto", "service-x")),
            NftElement((second, "udp", 53), NftVerdict("drop"), comment="dns"),
        ),
    )
    low, high = ipaddress.ip_address("10.0.0.5"), ipaddress.ip_address("10.0.0.9")
    assert table.set_named("nets") == NftSet(
        "nets",
        False,
        ("ipv4_addr",),
        ("interval",),
        (NftElement((ipaddress.ip_address("10.0.0.1"),)), NftElement(((low, high),))),
    )


def test_an_empty_dump_has_no_table() -> None:
    assert read_nft_json(b"\n", "nft.json").tables == ()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"nftables": 1}', b"\xff", b'{"nftables":' + b"[" * 5000])
def test_what_is_no_dump_is_an_error_with_its_file(body: bytes) -> None:
    with pytest.raises(InputError, match=r"^nft\.json: "):
        read_nft_json(body, "nft.json")


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param({"match": 5}, id="a match of nothing"),
        pytest.param({"match": {"left": None, "right": {"set": []}}}, id="an empty set"),
        pytest.param({"vmap": {"key": [], "data": {"set": [["a"], 5]}}}, id="entries that are none"),
        pytest.param({"new": {"x": 1}}, id="a statement of a later release"),
        pytest.param(5, id="no statement"),
    ],
)
def test_odd_expressions_do_no_harm(expression: Json) -> None:
    assert len(statements(expression)) <= 1


def test_a_rule_before_its_chain_is_kept() -> None:
    rule: Json = {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"accept": None}]}}
    chain: Json = {"chain": {"family": "ip", "table": "t", "name": "c", "hook": "input", "prio": 0}}
    assert _only(rule, chain).hook == "input"
    assert len(_only(rule, chain).rules) == 1
