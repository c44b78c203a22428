"""HNS and HCN dumps of Windows nodes → typed values, in every form in which PowerShell writes them."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import InputError
from migrate.model.hns import Acl, Endpoint, Schema, SetId
from migrate.model.intervals import IntervalSet
from migrate.scan.node_json import read_hns, salvage_hns

_SAMPLES = Path("tests/cases/azure/windows-hns")


def sample(name: str) -> bytes:
    """The bytes of a sample."""
    return (_SAMPLES / name).read_bytes()


def meaning(endpoint: Endpoint) -> tuple[object, ...]:
    """An endpoint without where its parts stand and what only one of the forms tells."""
    acls = [replace(acl, line=None) for acl in endpoint.acls]
    return endpoint.id, endpoint.name, endpoint.network, endpoint.addresses, acls


def test_both_forms_of_the_same_endpoints_mean_the_same() -> None:
    old = read_hns(sample("get-hnsendpoint.json"), "old.json")
    new = read_hns(sample("hcn-endpoints.json"), "new.json")
    assert (old.schema, new.schema) == (Schema.V1, Schema.V2)
    assert [meaning(endpoint) for endpoint in old.endpoints] == [meaning(endpoint) for endpoint in new.endpoints]
    assert len(old.endpoints) == 3
    assert all(not acl.unread for endpoint in old.endpoints for acl in endpoint.acls)
    assert {endpoint.state for endpoint in old.endpoints} == {3}


def test_one_endpoint_is_an_object_and_may_be_in_utf_16() -> None:
    single = read_hns(sample("get-hnsendpoint-single.json"), "one.json")
    wide = read_hns(sample("get-hnsendpoint-utf16.json"), "one.json")
    assert single == wide
    (endpoint,) = single.endpoints
    assert endpoint.addresses == (ipaddress.ip_address("10.244.1.11"),)
    assert endpoint.other_policies == ("OutBoundNAT", "ROUTE")
    assert endpoint.acls[5] == Acl(
        line=81,
        id="azure-acl-demo-backend-ingress",
        inbound=True,
        allows=True,
        priority=222,
        protocols=frozenset({6}),
        local_addresses=(SetId("azure-npm-5x93inf57axpuoyzvxsm"), SetId("azure-npm-2jtt8xpa1d6w9vrdbxz8")),
        local_ports=IntervalSet(((8080, 8080),)),
    )
    assert endpoint.acls[6].local_ports == IntervalSet(((9090, 9092),))
    assert [(acl.priority, acl.host, acl.protocols) for acl in endpoint.acls[3:5]] == [(0, True, None)] * 2


def test_the_acls_of_a_dump_are_those_that_were_programmed() -> None:
    state = read_hns(sample("get-hnsendpoint.json"), "old.json")
    programmed = json.loads(sample("npm-acls-by-policy.json"))
    found = [(acl.id, acl.priority, acl.allows, acl.inbound) for e in state.endpoints for acl in e.acls]
    for policy, entry in programmed.items():
        for acl in entry.get("acls", ()):
            wanted = (acl["Id"], acl["Priority"], acl["Action"] == "Allow", acl["Direction"] == "In")
            assert wanted in found, policy


def test_sets_of_a_network() -> None:
    (network,) = read_hns(sample("hcn-network-azure.json"), "network.json").networks
    sets = {found.name: found for found in network.sets}
    assert (network.name, network.kind, len(sets)) == ("azure", "L2Bridge", 26)
    assert network.other_policies == ("NetAdapterName",)
    assert sets["cidr-frontend-egress:in-ns:demo-2-0OUT"].members == (
        ipaddress.ip_network("0.0.0.0/1"),
        ipaddress.ip_network("128.0.0.0/1"),
    )
    assert sets["empty-emptyhashset"].members == ()
    assert sets["nslabel-team:shop"].nested
    assert sets["nslabel-team:shop"].members[0] == SetId(sets["empty-emptyhashset"].id)
    assert sets["ns-demo"].line == 12


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    text = sample("get-hnsendpoint-single.json").decode()
    assert read_hns(text.encode(encoding), "x").endpoints == read_hns(text.encode(), "x").endpoints


def test_several_objects_one_after_another_are_read() -> None:
    body = sample("get-hnsendpoint-single.json")
    first, second = read_hns(body + b"\n" + body, "x").endpoints
    assert first.id == second.id
    assert second.line == 1 + body.count(b"\n") + 1


def test_a_large_list_is_read_with_its_lines() -> None:
    endpoint = json.loads(sample("get-hnsendpoint-single.json"))
    body = json.dumps([endpoint] * 500, indent=1).encode()
    assert len(body) > 2**20
    state = read_hns(body, "x")
    assert len(state.endpoints) == 500
    line = state.endpoints[499].line
    assert line is not None
    assert body.splitlines()[line - 1].strip() == b"{"


def _with_acl(**fields: object) -> bytes:
    acl = {"Type": "ACL", "Action": "Allow", "Direction": "In", **fields}
    return json.dumps({"ID": "e", "IPAddress": "10.0.0.1", "VirtualNetwork": "n", "Policies": acl}).encode()


@pytest.mark.parametrize(
    ("fields", "protocols", "unread"),
    [
        ({}, None, ()),
        ({"Protocols": ""}, None, ()),
        ({"Protocols": "256"}, None, ()),
        ({"Protocol": 17}, frozenset({17}), ()),
        ({"Protocols": "6,17"}, frozenset({6, 17}), ()),
        ({"NewCondition": "x"}, None, ("NewCondition",)),
        ({"Protocols": "tcp"}, frozenset(), ("protocol tcp",)),
    ],
)
def test_protocols(fields: dict[str, object], protocols: frozenset[int] | None, unread: tuple[str, ...]) -> None:
    (acl,) = read_hns(_with_acl(**fields), "x").endpoints[0].acls
    assert (acl.protocols, acl.unread) == (protocols, unread)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (sample("get-hnsendpoint-truncated.json"), "x:21: .*-Depth 9"),
        (sample("npm-acls-by-policy.json"), "x:1: neither an endpoint nor a network"),
        (b"", "x"),
        (b"[]", "x: no endpoint and no network"),
        (b"[1]", "x:1: a list of objects is expected"),
        (b'{"ID": "e",\n"IPAddress": ', "x:2: not JSON"),
        (b"\xff\xfe{", "x:1: the text is not utf-16-le"),
        (_with_acl(Direction="Up"), "x:1: .*is an ACL without Direction"),
        (_with_acl(Priority="high"), "x:1: .*Priority must be a whole number"),
        (b'{"IPAddress": "ten", "Policies": []}', "x:1: IPAddress is no IP address"),
    ],
)
def test_what_cannot_be_used_is_an_error_with_its_line(body: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_hns(body, "x")


def test_the_rest_of_a_broken_dump_can_be_used() -> None:
    good = json.loads(sample("get-hnsendpoint-single.json"))
    cut = json.loads(sample("get-hnsendpoint-truncated.json"))
    state, complaints = salvage_hns(json.dumps([cut, good], indent=1).encode(), "x")
    assert len(state.endpoints) == 1
    assert len(complaints) == 1


@pytest.mark.parametrize(
    ("left", "endpoints"), [(100, 0), (4000, 0), (9000, 1), (13612, 2), (13631, 3)], ids=lambda value: f"{value}"
)
def test_what_stands_before_a_cut_can_be_used(left: int, endpoints: int) -> None:
    state, complaints = salvage_hns(sample("get-hnsendpoint.json")[:left], "x")
    assert [endpoint.line for endpoint in state.endpoints] == [2, 161, 297][:endpoints]
    assert (state.complete, len(complaints)) == (False, 1)


def test_a_dump_says_whether_it_is_whole() -> None:
    assert read_hns(sample("get-hnsendpoint.json"), "x").complete
    assert not salvage_hns(sample("get-hnsendpoint-truncated.json"), "x")[0].complete


def test_parts_that_cannot_be_used_stand_beside_their_endpoint_or_rule() -> None:
    (endpoint,) = salvage_hns(_with_acl(Direction="Up"), "x")[0].endpoints
    assert (endpoint.acls, endpoint.unread) == ((), ("Policies",))
    (endpoint,) = salvage_hns(_with_acl(Priority="high"), "x")[0].endpoints
    assert endpoint.acls[0].unread == ("Policies.Priority",)


_KEYS = ["ID", "Policies", "IPAddress", "Type", "Settings", "Priority", "Protocols", "Values", "IpConfigurations"]
_KEYS += ["Action", "Direction", "Id", "LocalPorts", "LocalAddresses", "Name", "PolicyType", "VirtualNetwork"]
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9),
    st.sampled_from(["ACL", "SetPolicy", "In", "Allow", "10.0.0.1", "80-90", "6,256", "@{", "IPSET"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6)
)


@given(_VALUES)
def test_nothing_but_input_errors_comes_of_any_json(value: object) -> None:
    _state, complaints = salvage_hns(json.dumps(value).encode(), "x")
    assert all(str(complaint).startswith("x") for complaint in complaints)


@given(st.binary(max_size=60), st.sampled_from(sorted(_SAMPLES.glob("*.json"))), st.integers(0, 9000))
def test_nothing_but_input_errors_comes_of_noise(noise: bytes, dump: Path, place: int) -> None:
    body = dump.read_bytes()
    salvage_hns(body[:place] + noise + body[place + len(noise) :], "x")
