"""Windows nodes with random policies: what NPM makes of them is no drift, and each single change is one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.model.cluster import Pod
from migrate.model.raw import Json
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.windows import names
from migrate.nodes.windows.catalog import catalog_of
from migrate.nodes.windows.policies import PolicyAcls, policies_of
from migrate.nodes.windows.rules import NODE as OWN
from migrate.nodes.windows.rules import Rule
from tests.unit.windows_nodes import (
    CLUSTER,
    NODE,
    POLICIES,
    Hns,
    endpoints,
    network,
    newer_endpoints,
    scanned,
    seen,
)

NAMESPACES = {"a": {"team": "x"}, "a-b": {"team": "y", "tier": ""}, "c": {}}
NODE_ADDRESS = "10.224.0.33"
DRIFT = {"NODE-HNS-DRIFT", "NODE-HNS-BASE"}
SAID = {"NODE-HNS-INVERTED", "NODE-HNS-REFUSED", "NODE-HNS-SHARED-ID"}
"""Findings about the policies themselves."""

T = TypeVar("T")
keys, values = st.sampled_from(["app", "tier"]), st.sampled_from(["x", "y", "z", ""])


def _expressions(keys: st.SearchStrategy[str], operators: Sequence[str]) -> st.SearchStrategy[Any]:
    with_values = st.fixed_dictionaries(
        {
            "key": keys,
            "operator": st.sampled_from([name for name in operators if name.endswith("In")]),
            "values": st.lists(values, min_size=1, max_size=3, unique=True),
        }
    )
    without = [name for name in operators if not name.endswith("In")]
    return with_values | st.fixed_dictionaries({"key": keys, "operator": st.sampled_from(without)})


def _selectors(keys: st.SearchStrategy[str], operators: Sequence[str]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "matchLabels": st.dictionaries(keys, values, max_size=1),
            "matchExpressions": st.lists(_expressions(keys, operators), max_size=2),
        },
    )


pod_selectors = _selectors(keys, ["In", "Exists"])
namespace_keys = st.sampled_from(["team", "tier"])
namespaces = {
    "ingress": _selectors(namespace_keys, ["In", "Exists"]),
    "egress": _selectors(namespace_keys, ["In", "Exists", "NotIn", "DoesNotExist"]),
}
blocks = st.sampled_from(["0.0.0.0/0", "10.20.0.0/16", "10.20.1.7/32", "10.20.3.0/16"])


@st.composite
def ports(draw: st.DrawFn) -> dict[str, Json]:
    """An entry of `ports`, with a number, a range or neither."""
    found: dict[str, Json] = {"protocol": draw(st.sampled_from(["TCP", "UDP"]))}
    if draw(st.booleans()):
        first = draw(st.integers(1, 60000))
        found["port"] = first
        found |= {"endPort": first + draw(st.integers(0, 40))} if draw(st.booleans()) else {}
    return found


def _peers(way: str) -> st.SearchStrategy[Any]:
    of_pods = st.fixed_dictionaries({"podSelector": pod_selectors}, optional={"namespaceSelector": namespaces[way]})
    of_namespaces = st.fixed_dictionaries({"namespaceSelector": namespaces[way]})
    return of_pods | of_namespaces | st.fixed_dictionaries({"ipBlock": st.fixed_dictionaries({"cidr": blocks})})


def _rules(way: str, peer: str) -> st.SearchStrategy[Any]:
    return st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                peer: st.lists(_peers(way), min_size=1, max_size=2),
                "ports": st.lists(ports(), min_size=1, max_size=2),
            },
        ),
        max_size=2,
    )


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Json]:
    """A NetworkPolicy; the names are such that two may have one id."""
    types = draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
    spec: dict[str, Json] = {"podSelector": draw(pod_selectors), "policyTypes": [*types]}
    if "Ingress" in types:
        spec["ingress"] = draw(_rules("ingress", "from"))
    if "Egress" in types:
        spec["egress"] = draw(_rules("egress", "to"))
    name = {"name": draw(st.sampled_from(["c", "b-c", "d"])), "namespace": draw(st.sampled_from(sorted(NAMESPACES)))}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {**name}, "spec": spec}


@st.composite
def clusters(draw: st.DrawFn) -> list[dict[str, Json]]:
    """Objects of a cluster with one Windows node, most pods on it."""
    metadata = [{"name": name, "labels": labels} for name, labels in NAMESPACES.items()]
    found: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": each} for each in metadata]
    addresses = {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]}
    info = {"nodeInfo": {"operatingSystem": "windows", "kernelVersion": "10.0.20348.1"}}
    found.append({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": {**addresses, **info}})
    for number in range(draw(st.integers(1, 4))):
        labels = draw(st.dictionaries(keys, values))
        place = {"name": f"p{number}", "namespace": draw(st.sampled_from(sorted(NAMESPACES))), "labels": labels}
        node = NODE if number == 0 else draw(st.sampled_from([NODE, NODE, "lin0"]))
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": place,
                "spec": {"nodeName": node, "containers": [{"name": "c"}]},
                "status": {"phase": "Running", "podIP": f"10.244.1.{number + 10}"},
            }
        )
    listed = draw(st.lists(policies(), min_size=1, max_size=3))
    return found + list({json.dumps(policy["metadata"]): policy for policy in listed}.values())


@dataclass
class Node:
    """A Windows node as NPM would have made it: its endpoints, and the sets of its network."""

    view: ClusterView
    scheme: int
    newer: bool
    endpoints: list[Hns]
    network: Hns

    def files(self) -> dict[str, object]:
        """The files of its dump."""
        form = "hcn-endpoints.json" if self.newer else "hns-endpoints.json"
        return {form: [*self.endpoints], "hcn-networks.json": self.network}

    def settings(self, endpoint: Hns) -> list[Hns]:
        """What the ACLs of policies on an endpoint say."""
        flat = [policy["Settings"] if self.newer else policy for policy in endpoint["Policies"]]
        return [acl for acl in flat if acl.get("Id")]

    def sets(self) -> list[Hns]:
        """The sets that ACLs of the node name, as they can be changed."""
        text = json.dumps(self.endpoints)
        return [p["Settings"] for p in self.network["Policies"] if p["Settings"]["Id"] in text]


BASE: list[Hns] = [
    {"Action": "Block", "Direction": "Out", "Priority": 200, "Protocols": "6", "RemoteAddresses": "168.63.129.16/32"}
    | {"RemotePorts": "80", "RuleType": "Switch"},
    {"Action": "Allow", "Direction": "In", "Priority": 65499},
    {"Action": "Allow", "Direction": "Out", "Priority": 65499},
    {"Action": "Allow", "Direction": "In", "RuleType": "Host"},
    {"Action": "Allow", "Direction": "Out", "RuleType": "Host"},
]


def programmed(view: ClusterView, scheme: int, newer: bool) -> Node:
    """What the node has when everything is as NPM's conversion makes it, in one of the ways to name sets."""
    known = policies_of(view)
    endpoints = [_endpoint(pod, known.of(pod), scheme, newer) for pod in view.cluster.pods if pod.node == NODE]
    contents = catalog_of(view).contents
    sets = [_set(name, {*one.sets, *one.networks}, scheme) for name, one in contents.items()]
    network: Hns = {"ID": "n", "Name": "azure", "Type": "L2Bridge", "Ipams": [], "Policies": sets}
    return Node(view, scheme, newer, endpoints, network)


def _set(name: str, members: set[str], scheme: int) -> Hns:
    nested = name.startswith(("nslabel-", "nestedlabel-"))
    texts = sorted(names.ids_of(member)[scheme] if nested else member for member in members)
    kind = "NESTEDIPSET" if nested else "IPSET"
    settings = {"Id": names.ids_of(name)[scheme], "Name": name, "PolicyType": kind, "Values": ",".join(texts)}
    return {"Type": "SetPolicy", "Settings": settings}


def _endpoint(pod: Pod, several: Sequence[PolicyAcls], scheme: int, newer: bool) -> Hns:
    acls = [dict(acl) for acl in BASE]
    acls += [_acl(each.id, rule, scheme) for each in several for rule in sorted(each.rules, key=Rule.sort_key)]
    address = str(pod.addresses[0])
    if newer:
        listed = [{"Type": "ACL", "Settings": acl} for acl in acls]
        return {
            "ID": f"e-{pod}",
            "HostComputeNetwork": "n",
            "IpConfigurations": [{"IpAddress": address}],
            "Policies": listed,
        }
    older = [{"Type": "ACL", "Protocols": "256", "Scope": 0, **acl} for acl in acls]
    return {"ID": f"e-{pod}", "VirtualNetwork": "n", "IPAddress": address, "State": 3, "Policies": older}


def _acl(acl_id: str, rule: Rule, scheme: int) -> Hns:
    found: Hns = {"Id": acl_id, "RuleType": "Switch", "Priority": rule.priority}
    found |= {"Action": "Allow" if rule.allows else "Block", "Direction": "In" if rule.inbound else "Out"}
    for key, places in (("LocalAddresses", rule.local), ("RemoteAddresses", rule.remote)):
        if places is not None:
            words = [NODE_ADDRESS if place == OWN else names.ids_of(place)[scheme] for place in sorted(places)]
            found[key] = ",".join(words)
    for key, several in (("LocalPorts", rule.local_ports), ("RemotePorts", rule.remote_ports)):
        if several is not None:
            found[key] = ",".join(str(port) for low, high in several for port in range(low, high + 1))
    if rule.protocols is not None:
        found["Protocols"] = ",".join(str(number) for number in sorted(rule.protocols))
    return found


@contextmanager
def _node(objects: list[dict[str, Json]], scheme: int, newer: bool) -> Iterator[tuple[Path, Node]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items: dict[str, Json] = {"apiVersion": "v1", "kind": "List", "items": [*objects]}
        (folder / "objects.json").write_text(json.dumps(items), encoding="utf-8")
        yield folder, programmed(scanned(folder / "cluster", folder / "objects.json"), scheme, newer)


schemes = st.integers(0, 1)


@settings(max_examples=40)
@given(clusters(), schemes, st.booleans())
def test_what_npm_makes_of_policies_is_no_drift(objects: list[dict[str, Json]], scheme: int, newer: bool) -> None:
    with _node(objects, scheme, newer) as (folder, node):
        answer = seen(folder, node.view, node.files())
        assert set(answer.ids) <= SAID, answer.details


class Draw(Protocol):
    """Draws an example in the middle of a test."""

    def __call__(self, strategy: st.SearchStrategy[T], /) -> T: ...


def _change_field(node: Node, draw: Draw) -> bool:
    acls = [acl for endpoint in node.endpoints for acl in node.settings(endpoint)]
    if not acls:
        return False
    acl = draw(st.sampled_from(acls))
    changes: list[Hns] = [
        {"Action": "Block" if acl["Action"] == "Allow" else "Allow"},
        {"Direction": "Out" if acl["Direction"] == "In" else "In"},
        {"Priority": acl["Priority"] + 1},
        {"Protocols": "132"},
        {"RuleType": "Host"},
        {"LocalPorts": acl.get("LocalPorts", "") + ",65001"},
        {"RemotePorts": acl.get("RemotePorts", "") + ",65001-65535"},
        {"LocalAddresses": acl.get("LocalAddresses", "") + ",10.9.9.9"},
        {"RemoteAddresses": acl.get("RemoteAddresses", "") + ",azure-npm-nobody"},
        {"Id": "azure-acl-c-gone"},
        {"Id": "mine"},
    ]
    acl.update(draw(st.sampled_from(changes)))
    return True


def _take_acl(node: Node, draw: Draw) -> bool:
    endpoint = draw(st.sampled_from(node.endpoints))
    endpoint["Policies"].pop(draw(st.integers(0, len(endpoint["Policies"]) - 1)))
    return True


def _add_acl(node: Node, draw: Draw) -> bool:
    acl_id = draw(st.sampled_from(["", "azure-acl-c-gone", "azure-acl-a-gone"]))
    acl: Hns = {"Id": acl_id, "Action": "Allow", "Direction": "In", "Priority": 90, "RuleType": "Switch"}
    endpoint = draw(st.sampled_from(node.endpoints))
    endpoint["Policies"].append({"Type": "ACL", "Settings": acl} if node.newer else {"Type": "ACL", **acl})
    return True


def _take_endpoint(node: Node, draw: Draw) -> bool:
    node.endpoints.remove(draw(st.sampled_from(node.endpoints)))
    return bool(node.endpoints)


def _take_set(node: Node, draw: Draw) -> bool:
    sets = [one for one in node.sets() if one["Name"] != names.EMPTY]
    if sets:
        gone = draw(st.sampled_from(sets))["Name"]
        node.network["Policies"] = [p for p in node.network["Policies"] if p["Settings"]["Name"] != gone]
    return bool(sets)


def _change_members(node: Node, draw: Draw) -> bool:
    policy = draw(st.sampled_from([p["Settings"] for p in node.network["Policies"]]))
    members = [member for member in policy["Values"].split(",") if member]
    removable = [member for member in members if member != names.ids_of(names.EMPTY)[node.scheme]]
    if draw(st.booleans()) and removable:
        members.remove(draw(st.sampled_from(removable)))
    else:
        members.append("azure-npm-nobody" if policy["PolicyType"] == "NESTEDIPSET" else "10.9.9.9")
    policy["Values"] = ",".join(members)
    return policy["Name"] != names.EMPTY or "10.9.9.9" in members


CHANGES: Sequence[Callable[[Node, Draw], bool]] = (
    _change_field,
    _change_field,
    _take_acl,
    _add_acl,
    _take_endpoint,
    _take_set,
    _change_members,
)


@settings(max_examples=80)
@given(clusters(), schemes, st.booleans(), st.data())
def test_each_single_change_is_one_drift(
    objects: list[dict[str, Json]], scheme: int, newer: bool, data: st.DataObject
) -> None:
    with _node(objects, scheme, newer) as (folder, node):
        before = set(seen(folder, node.view, node.files()).ids)
        if not data.draw(st.sampled_from(CHANGES))(node, data.draw):
            return
        answer = seen(folder, node.view, node.files())
        assert len([finding_id for finding_id in answer.ids if finding_id in DRIFT]) == 1, answer.details
        assert set(answer.ids) - DRIFT <= before


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.sampled_from(
        ["", "@{x}", "10.244.1.10", "::1", "azure-acl-", "azure-npm-", "In", "ACL", "SetPolicy", "80-1", "0"]
    ),
)


def _spoiled(value: Any, draw: Draw) -> Any:
    """The value with one part of it, anywhere, made odd or taken away."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        changed = _spoiled(value[key], draw)
        return {**value, key: changed} if draw(st.integers(0, 5)) else {k: v for k, v in value.items() if k != key}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _spoiled(value[place], draw), *value[place + 1 :]]
    return draw(ODD)


@pytest.fixture(scope="module")
def sample_view(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    """The cluster with the three sample policies."""
    return scanned(tmp_path_factory.mktemp("cluster"), CLUSTER, POLICIES)


@given(st.data(), st.integers(1, 3))
def test_any_dump_gives_findings_and_no_error(sample_view: ClusterView, data: st.DataObject, times: int) -> None:
    files: dict[str, Any] = {"hns-endpoints.json": endpoints(), "hcn-networks.json": network()}
    files["hcn-endpoints.json"] = newer_endpoints()
    for _ in range(times):
        name = data.draw(st.sampled_from(sorted(files)))
        files[name] = _spoiled(files[name], data.draw)
    with tempfile.TemporaryDirectory() as folder:
        for view in (sample_view, None):
            answer = seen(Path(folder), view, {name: json.dumps(value, indent=1) for name, value in files.items()})
            assert all(finding.detail.isprintable() for finding in answer.findings)
