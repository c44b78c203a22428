"""Faults put into the dump of a Windows node: each is found by its name and nothing else is said, and what means the
same is no fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.model.raw import Json
from migrate.nodes.cluster_view import ClusterView
from tests.unit.windows_nodes import CLUSTER, NODE, POLICIES, Hns, acls, endpoints, network, scanned, seen, set_named

V1, NETWORKS = "hns-endpoints.json", "hcn-networks.json"
Change = Callable[[list[Hns], Hns], object]
"""A fault put into endpoints of the older form and the network."""
BACKEND = "demo-backend-ingress"
NESTED = "nestedlabel-demo/backend-ingress:role:prober:scraper"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    """The cluster with the three sample policies."""
    return scanned(tmp_path_factory.mktemp("cluster"), CLUSTER, POLICIES)


def _drop_acl(found: list[Hns], given: Hns) -> None:
    found[1]["Policies"].remove(acls(found[1], BACKEND)[0])


def _drop_policy(found: list[Hns], given: Hns) -> None:
    for acl in acls(found[0], "demo-frontend-egress"):
        found[0]["Policies"].remove(acl)


def _of_gone_policy(found: list[Hns], given: Hns) -> None:
    gone = [
        {**acl, "Id": "azure-acl-ops-old-policy", "Priority": acl["Priority"] + 1}
        for acl in acls(found[2], "ops-default-deny")
    ]
    found[2]["Policies"] += gone


def _of_other_pods(found: list[Hns], given: Hns) -> None:
    found[0]["Policies"] += acls(found[1], BACKEND)


def _extra_acl(found: list[Hns], given: Hns) -> None:
    found[2]["Policies"].append({**acls(found[2], "ops-default-deny")[0], "Action": "Allow", "Priority": 222})


def _without(name: str) -> Change:
    def change(found: list[Hns], given: Hns) -> None:
        given["Policies"] = [p for p in given["Policies"] if p["Settings"].get("Name") != name]

    return change


def _values(name: str, change: Callable[[list[str]], list[str]]) -> Change:
    def changed(found: list[Hns], given: Hns) -> None:
        settings = set_named(given, name)
        settings["Values"] = ",".join(change([value for value in settings["Values"].split(",") if value]))

    return changed


def _setting(name: str, key: str, value: str) -> Change:
    return lambda found, given: set_named(given, name).update({key: value})


def _acl(place: int, policy: str, index: int, **fields: Json) -> Change:
    return lambda found, given: acls(found[place], policy)[index].update(fields)


def _base(index: int, **fields: Json) -> Change:
    return lambda found, given: found[0]["Policies"][2 + index].update(fields)


def _drop_base(index: int) -> Change:
    return lambda found, given: found[0]["Policies"].pop(2 + index)


def _add(**fields: Json) -> Change:
    acl = {"Type": "ACL", "Action": "Allow", "Direction": "In", "Priority": 100, **fields}
    return lambda found, given: found[0]["Policies"].append(acl)


def _another(**fields: Json) -> Change:
    return lambda found, given: found.append({**found[0], "ID": "another", **fields})


def _no_sets(found: list[Hns], given: Hns) -> None:
    given["Policies"] = [p for p in given["Policies"] if p["Type"] != "SetPolicy"]


@pytest.mark.parametrize(
    ("change", "finding_id", "words"),
    [
        pytest.param(
            _drop_acl,
            "DRIFT",
            "backend-ingress .*backend-0 lacks Allow In .*podlabel-app:frontend TCP local port 8080",
            id="an ACL lacks",
        ),
        pytest.param(
            _drop_policy, "DRIFT", "NetworkPolicy demo/frontend-egress .*has none of its 6 ACLs", id="a policy lacks"
        ),
        pytest.param(
            _of_gone_policy,
            "DRIFT",
            "3 ACLs with the id azure-acl-ops-old-policy, which no policy has",
            id="a policy that is gone",
        ),
        pytest.param(
            _of_other_pods,
            "DRIFT",
            "frontend-0 has 4 ACLs .*fits only NetworkPolicy demo/backend-ingress, and",
            id="of other pods",
        ),
        pytest.param(
            _extra_acl,
            "DRIFT",
            "default-deny .*has Allow In at priority 222 besides",
            id="an allow that nobody asks for",
        ),
        pytest.param(
            _acl(1, BACKEND, 0, LocalPorts="8081"), "DRIFT", "port 8080 .*has .*port 8081 .*besides", id="a port"
        ),
        pytest.param(
            _acl(1, BACKEND, 1, LocalPorts="9090,9091"), "DRIFT", "9090-9092 .*has .*9090-9091", id="the end of a range"
        ),
        pytest.param(_acl(1, BACKEND, 0, Protocols="17"), "DRIFT", "lacks .*TCP.*has .*UDP", id="a protocol"),
        pytest.param(_acl(1, BACKEND, 0, Direction="Out"), "DRIFT", "lacks Allow In.*has Allow Out", id="a direction"),
        pytest.param(
            _acl(1, BACKEND, 2, Priority=100), "DRIFT", "Block In at priority 3000.*at priority 100", id="a priority"
        ),
        pytest.param(_acl(1, BACKEND, 2, Action="Allow"), "DRIFT", "lacks Block In.*has Allow In", id="an action"),
        pytest.param(_acl(1, BACKEND, 2, RuleType="Host"), "DRIFT", "of the host", id="a rule type"),
        pytest.param(
            _acl(1, BACKEND, 3, RemoteAddresses="10.224.0.34"),
            "DRIFT",
            "remote the node .*10.224.0.34/32",
            id="another node's address",
        ),
        pytest.param(
            _acl(1, BACKEND, 0, LocalAddresses=""), "DRIFT", "lacks .*has Allow In TCP local port 8080", id="any source"
        ),
        pytest.param(
            _acl(1, BACKEND, 0, LocalAddresses="azure-npm-gone"),
            "DRIFT",
            "has .*local azure-npm-gone",
            id="a set that is not there",
        ),
        pytest.param(
            _acl(1, BACKEND, 0, Id="azure-acl-demo-other"),
            "DRIFT",
            "has such ones under 'azure-acl-demo-other'",
            id="another id",
        ),
        pytest.param(_acl(1, BACKEND, 0, Id="mine"), "DRIFT", "has such ones under 'mine'", id="an id of nobody"),
        pytest.param(
            lambda found, given: found.pop(0),
            "DRIFT",
            "pod demo/frontend-0 .*has no endpoint in use",
            id="an endpoint lacks",
        ),
        pytest.param(
            lambda found, given: found[0].update(State=1),
            "DRIFT",
            "pod demo/frontend-0 .*has no endpoint in use",
            id="an endpoint that is not attached",
        ),
        pytest.param(
            _another(IPAddress="10.244.1.99"),
            "DRIFT",
            "the address 10.244.1.99, which no pod has",
            id="nobody's address",
        ),
        pytest.param(
            _another(IPAddress="10.244.2.21"),
            "DRIFT",
            "10.244.2.21, which is that of pod ops/scraper-0 on node akswin000001",
            id="another node's pod",
        ),
        pytest.param(
            _values("podlabel-app:backend", lambda old: []),
            "DRIFT",
            "set podlabel-app:backend lacks 10.244.1.11/32",
            id="a member lacks",
        ),
        pytest.param(
            _values("ns-demo", lambda old: [*old, "10.244.9.9"]),
            "DRIFT",
            "set ns-demo has 10.244.9.9/32 besides",
            id="a member too many",
        ),
        pytest.param(
            _values("ns-demo", lambda old: [*old, "10.224.0.33"]),
            "DRIFT",
            "ns-demo has 10.224.0.33/32 besides",
            id="a pod of the node's network",
        ),
        pytest.param(
            _values("ns-demo", lambda old: [*old, "10.244.1.30"]),
            "DRIFT",
            "ns-demo has 10.244.1.30/32 besides",
            id="a pod that has ended",
        ),
        pytest.param(
            _values("nslabel-team:ops", lambda old: old[:-1]),
            "DRIFT",
            "nslabel-team:ops lacks ns-ops",
            id="an inner set lacks",
        ),
        pytest.param(
            _values("nslabel-team:ops", lambda old: [*old, "azure-npm-x"]),
            "DRIFT",
            "team:ops has azure-npm-x besides",
            id="an inner set of nobody",
        ),
        pytest.param(_values(NESTED, lambda old: old[:1]), "DRIFT", "lacks podlabel-role:scraper", id="a value lacks"),
        pytest.param(
            _values("cidr-frontend-egress:in-ns:demo-2-0OUT", lambda old: old[:1]),
            "DRIFT",
            "lacks 128.0.0.0/1",
            id="half of all addresses",
        ),
        pytest.param(
            _values("cidr-frontend-egress:in-ns:demo-1-0OUT", lambda old: ["10.21.0.0/16"]),
            "DRIFT",
            "lacks 10.20.0.0/16 and has 10.21.0.0/16",
            id="another block",
        ),
        pytest.param(
            _without("podlabel-app:frontend"), "DRIFT", "set podlabel-app:frontend is missing", id="a set lacks"
        ),
        pytest.param(_without("ns-kube-system"), "DRIFT", "set ns-kube-system is missing", id="an inner set is gone"),
        pytest.param(_no_sets, "DRIFT", "network azure has no set", id="no set at all"),
        pytest.param(
            _setting("ns-demo", "Id", "azure-npm-other"),
            "DRIFT",
            "set ns-demo has the id azure-npm-other",
            id="a set's id",
        ),
        pytest.param(
            _setting("ns-demo", "Name", "ns-other"), "DRIFT", "set ns-demo is called ns-other", id="a set's name"
        ),
        pytest.param(
            _drop_base(0), "BASE", "10.244.1.10.* lacks the block of the wire server", id="no block of the wire server"
        ),
        pytest.param(_drop_base(1), "BASE", "lacks the inbound allow behind all policies", id="no allow for the rest"),
        pytest.param(_drop_base(4), "BASE", "lacks the outbound allow of the host", id="no allow for the host"),
        pytest.param(
            _base(0, Priority=230), "BASE", "lacks the block of the wire server", id="a block behind the policies"
        ),
        pytest.param(
            _base(0, RemotePorts="81"), "BASE", "lacks the block of the wire server", id="a block of another port"
        ),
        pytest.param(
            _base(1, Priority=150),
            "BASE",
            "lacks the inbound .* has Allow In at priority 150, which no",
            id="an allow before the policies",
        ),
        pytest.param(
            _add(),
            "BASE",
            "frontend|9a10f0c0-eth0.* has Allow In at priority 100, which no policy",
            id="an ACL of nobody",
        ),
    ],
)
def test_each_fault_is_found_and_nothing_else(
    change: Change, finding_id: str, words: str, view: ClusterView, tmp_path: Path
) -> None:
    found, given = endpoints(), network()
    change(found, given)
    answer = seen(tmp_path, view, {V1: found, NETWORKS: given})
    assert answer.ids == [f"NODE-HNS-{finding_id}"], answer.details
    assert re.search(words, answer.details), answer.details
    assert answer.findings[0].detail.startswith(f"node {NODE}: ")
    assert answer.findings[0].at is not None or "no endpoint" in answer.details


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda found, given: [e.update(State=2) for e in found], id="on the host of a virtual machine"),
        pytest.param(lambda found, given: [e.pop("State") for e in found], id="no state"),
        pytest.param(lambda found, given: [e["Policies"].reverse() for e in found], id="another order"),
        pytest.param(lambda found, given: found[0]["Policies"].append(found[0]["Policies"][-1]), id="an ACL twice"),
        pytest.param(lambda found, given: given["Policies"].reverse(), id="sets in another order"),
        pytest.param(_acl(1, BACKEND, 1, LocalPorts="9092, 9090,9091"), id="ports in another order"),
        pytest.param(_acl(1, BACKEND, 1, LocalPorts="9090-9092"), id="ports as a range"),
        pytest.param(_acl(1, BACKEND, 2, Protocols=""), id="any protocol, empty"),
        pytest.param(_acl(1, BACKEND, 3, RemoteAddresses="10.224.0.33/32"), id="an address with its width"),
        pytest.param(_values("ns-demo", lambda old: old[::-1]), id="members in another order"),
        pytest.param(_values("nslabel-team:ops", lambda old: old[1:]), id="no empty set in a list"),
        pytest.param(_without("podlabel-tier:web"), id="a set that nothing needs"),
        pytest.param(
            _setting(NESTED, "Name", "nestedlabel-demo/backend-ingress-role:prober:scraper"), id="an older name"
        ),
        pytest.param(_base(1, Priority=65500), id="another priority behind the policies"),
        pytest.param(_base(1, RuleType="Switch"), id="the switch by its name"),
        pytest.param(
            _add(Action="Block", Direction="Out", RemoteAddresses="169.254.169.254"), id="an ACL for the platform"
        ),
        pytest.param(
            _another(IPAddress="10.244.2.21", IsRemoteEndpoint=True), id="an endpoint of another node's pod, v1"
        ),
        pytest.param(_another(IPAddress="10.244.2.21", Flags=1), id="an endpoint of another node's pod, by flag"),
        pytest.param(
            _another(IPAddress="172.20.0.2", VirtualNetwork="x", VirtualNetworkName="nat", Policies=[]),
            id="an endpoint of another network",
        ),
        pytest.param(lambda found, given: found[0].update(ID=found[0]["ID"].upper()), id="an id in capitals"),
    ],
)
def test_what_means_the_same_is_no_drift(change: Change, view: ClusterView, tmp_path: Path) -> None:
    found, given = endpoints(), network()
    change(found, given)
    assert seen(tmp_path, view, {V1: found, NETWORKS: given}).details == ""
