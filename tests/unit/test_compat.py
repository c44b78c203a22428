"""compat/: what Azure NPM lets through beyond the text, in objects apart that isolate nobody."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import yaml

from migrate.model.documents import Translation
from migrate.model.raw import Json, RawObject
from migrate.scan.files import read_files
from migrate.sources.cluster import read_cluster
from migrate.translate.compat import FINDING
from migrate.translate.engine import Outcome, translate
from migrate.translate.output import earlier_files, write_translation
from migrate.translate.profiles import load_profile
from migrate.verify.compare import ChangeKind, Comparison
from migrate.verify.engines import build_engine
from tests.unit.policies import network_policy
from tests.unit.translate_cases import CASES, Data

DEMO = Path(__file__).parents[2] / "samples" / "demo" / "cluster"
SMALL = [cast("Data", data) for data in yaml.safe_load_all((CASES / "clusters" / "small.yaml").read_text())]
IPV6_PEER: Json = {"ipBlock": {"cidr": "2001:db8::/32"}}


def _not_in(*values: str) -> dict[str, Json]:
    return {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": [*values]}]}}


def _service(kind: str, **spec: Json) -> Data:
    ports: Json = [{"port": 80, "targetPort": 8080}, {"name": "m", "port": 9090, "targetPort": "metrics"}]
    given: dict[str, Json] = {"type": kind, "selector": {"app": "web"}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": given}


def _translate(*objects: Data, engines: tuple[str, ...] = ("npm-linux",), mode: str = "rewrite") -> Outcome:
    raw = [RawObject(data) for data in (*SMALL, *objects)]
    return translate(raw, profile=load_profile("cilium-1.20"), engines=engines, networkpolicy=mode)


def _compat(outcome: Outcome) -> dict[str, Data]:
    chosen = (file for file in outcome.files if file.path.startswith("compat/"))
    return {file.path.removeprefix("compat/"): cast("Data", yaml.safe_load(file.text)) for file in chosen}


def _spec(data: Data) -> dict[str, Json]:
    return cast("dict[str, Json]", data["spec"])


LABELLED: Json = {"matchLabels": {"app": "web"}}
DENY_EGRESS: Json = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"]}
ALL_PORTS_TO_ALL: Json = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
TO_ALL_IPV4: Json = {
    "podSelector": {},
    "policyTypes": ["Egress"],
    "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
}


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        pytest.param(DENY_EGRESS, ["p-own-node"], id="a policy that isolates egress leaves the own node open today"),
        pytest.param(ALL_PORTS_TO_ALL, [], id="one that allows all egress loses nothing"),
        pytest.param(TO_ALL_IPV4, [], id="a block of all addresses holds the own node in cilium/ already"),
        pytest.param({"podSelector": {}}, [], id="the own node may always begin, in Cilium too"),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [_not_in("blue")]}]},
            ["p-outside"],
            id="negations alone let in what is no pod",
        ),
        pytest.param(
            {
                "podSelector": {},
                "ingress": [{"from": [_not_in("blue") | {"podSelector": {"matchLabels": {"a": "b"}}}]}],
            },
            [],
            id="a label that pods must have keeps the outside out",
        ),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [_not_in("blue", "red")]}]},
            ["p-not-in"],
            id="NotIn with several namespaces lets everybody in",
        ),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [IPV6_PEER]}]},
            ["p-not-enforced"],
            id="a refused policy enforces nothing",
        ),
    ],
)
def test_what_is_kept_of_one_policy(spec: Json, files: list[str]) -> None:
    outcome = _translate(network_policy(spec, "p"))
    assert list(_compat(outcome)) == [f"shop/{name}.yaml" for name in files]
    assert [item.file for item in outcome.translation.objects] == [f"compat/shop/{name}.yaml" for name in files]


@pytest.mark.parametrize("engine", ["calico", "cilium", "npm-windows", "none"])
def test_nothing_is_kept_of_what_another_engine_enforces(engine: str) -> None:
    assert _compat(_translate(network_policy(DENY_EGRESS, "p"), engines=(engine,))) == {}


@pytest.mark.parametrize("mode", ["rewrite", "supplement", "keep"])
def test_the_object_is_small_and_isolates_nobody(mode: str) -> None:
    (data,) = _compat(_translate(network_policy(DENY_EGRESS, "p"), mode=mode)).values()
    assert data["spec"] == {
        "endpointSelector": {"matchLabels": {"app": "web"}},
        "enableDefaultDeny": {"ingress": False, "egress": False},
        "egress": [{"toEntities": ["host"]}],
    }
    metadata = cast("dict[str, dict[str, str]]", data["metadata"])
    assert metadata["labels"][FINDING] == "POL-EGRESS-OWN-NODE"
    assert metadata["annotations"] == {"cilium-migrate/source": "NetworkPolicy shop/p"}


def test_a_comment_says_what_it_is_for() -> None:
    outcome = _translate(network_policy(DENY_EGRESS, "p"))
    text = next(file.text for file in outcome.files if file.path.startswith("compat/"))
    source, what, until, *_ = text.splitlines()
    assert source == "# Beside NetworkPolicy shop/p (networking.k8s.io/v1)"
    assert "beyond the policies' text (POL-EGRESS-OWN-NODE): connections from its pods to their own node" in what
    assert until == "# Delete it when nothing that is wanted needs it any more"


@pytest.mark.parametrize(
    ("other", "selector"),
    [
        pytest.param(
            {"podSelector": {"matchLabels": {"app": "web"}}},
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
            id="pods that another policy isolates are left out",
        ),
        pytest.param(
            {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"]}, {}, id="but not others"
        ),
        pytest.param({"podSelector": {}}, None, id="where all are isolated nothing is free"),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [IPV6_PEER]}]}, {}, id="another refused one isolates nobody"
        ),
    ],
)
def test_a_refused_policy_opens_the_pods_that_are_free_today(other: Json, selector: Json) -> None:
    refused = network_policy({"podSelector": {}, "ingress": [{"from": [IPV6_PEER]}]}, "refused")
    found = _compat(_translate(refused, network_policy(other, "other"))).get("shop/refused-not-enforced.yaml")
    assert (None if found is None else _spec(found)["endpointSelector"]) == selector


def test_labels_that_policies_cannot_read_leave_a_word() -> None:
    refused = network_policy({"podSelector": {}, "ingress": [{"from": [IPV6_PEER]}]}, "refused")
    hidden = network_policy({"podSelector": {"matchLabels": {"pod-template-hash": "abc"}}}, "hidden")
    outcome = _translate(refused, hidden)
    assert "shop/refused-not-enforced.yaml" not in _compat(outcome)
    assert [str(f.subject) for f in outcome.translation.findings if f.id == "POL-COMPAT-NOT-SAID"] == [
        "NetworkPolicy shop/refused"
    ]


ISOLATED: Json = {"podSelector": {"matchLabels": {"app": "web"}}}
PORTS: Json = [{"port": "8080", "protocol": "TCP"}, {"port": "metrics", "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("service", "policy", "ports"),
    [
        pytest.param(_service("NodePort"), ISOLATED, PORTS, id="the ports of isolated backends"),
        pytest.param(_service("LoadBalancer"), ISOLATED, PORTS, id="behind a load balancer too"),
        pytest.param(_service("ClusterIP"), ISOLATED, None, id="none where the outside does not come in"),
        pytest.param(_service("NodePort", externalTrafficPolicy="Local"), ISOLATED, None, id="none with policy Local"),
        pytest.param(_service("NodePort"), DENY_EGRESS, None, id="none where nothing isolates ingress"),
        pytest.param(
            _service("NodePort"),
            {"podSelector": {}, "ingress": [{"ports": [{"port": 8000, "endPort": 8100}]}]},
            [{"port": "metrics", "protocol": "TCP"}],
            id="not those that a rule without peers opens",
        ),
        pytest.param(
            _service("NodePort"),
            {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
            None,
            id="none where a block holds all addresses",
        ),
        pytest.param(
            _service("NodePort"),
            {"podSelector": {}, "ingress": [{"from": [_not_in("blue")]}]},
            None,
            id="none where NPM lets the outside through by its reading, which has an object of its own",
        ),
    ],
)
def test_outside_clients_of_node_ports(service: Data, policy: Json, ports: Json) -> None:
    outcome = _translate(network_policy(policy, "p"), service)
    found = _compat(outcome).get("shop/web-outside-clients.yaml")
    wider = [finding.effect.value for finding in outcome.translation.findings if finding.id == "SVC-COMPAT-WIDER"]
    if ports is None:
        assert (found, wider) == (None, [])
        return
    assert found is not None
    assert wider == ["widens"]
    assert _spec(found)["endpointSelector"] == {"matchLabels": {"app": "web"}}
    assert _spec(found)["ingress"] == [{"fromEntities": ["remote-node", "world"], "toPorts": [{"ports": ports}]}]


def test_a_port_that_one_backend_closes_is_kept_though_another_opens_it() -> None:
    web = {"app": "web"}
    pods = [
        data | {"metadata": {"name": name, "namespace": "shop", "labels": {**web, "part": name}}}
        for data in SMALL
        if data["kind"] == "Pod" and cast("Data", data["metadata"])["name"] == "db"
        for name in ("open", "shut")
    ]
    shut = network_policy({"podSelector": {"matchLabels": {"part": "shut"}}}, "shut")
    opened = network_policy({"podSelector": {"matchLabels": {"part": "open"}}, "ingress": [{}]}, "open")
    found = _compat(_translate(shut, opened, *pods, _service("NodePort")))
    assert list(found) == ["shop/web-outside-clients.yaml"]
    assert _compat(_translate(opened, *pods, _service("NodePort"))) == {}


def test_a_file_goes_with_its_cause(tmp_path: Path) -> None:
    write_translation(tmp_path, _translate(network_policy(DENY_EGRESS, "p")))
    assert (tmp_path / "compat" / "shop" / "p-own-node.yaml").is_file()
    assert "compat/shop/p-own-node.yaml" in earlier_files(tmp_path)
    write_translation(tmp_path, _translate(network_policy({"podSelector": {}}, "p")))
    assert [path for path in (tmp_path / "compat").rglob("*") if path.is_file()] == []


def _changed(outcome: Outcome, objects: list[RawObject], kind: ChangeKind, *, compat: bool) -> set[str]:
    """Which sides change in that way for Cilium, with compat/ or without."""
    cluster = read_cluster(objects, complete=True)
    written = [RawObject(yaml.safe_load(f.text)) for f in outcome.files if compat or not f.path.startswith("compat/")]
    policies = [raw for raw in objects if raw.ref.kind == "NetworkPolicy"]
    before = build_engine("npm", policies, cluster, {}).engine
    after = build_engine("cilium", written, cluster, {}, 20).engine
    return {change.side.value for change in Comparison(before, after, cluster).changes() if change.kind is kind}


def _narrowing(translation: Translation) -> set[str]:
    found = [finding for result in translation.results for finding in result.findings]
    return {finding.id for finding in found if finding.effect.value == "narrows"}


def test_over_the_whole_flow_space_of_the_sample_nothing_is_lost_with_compat() -> None:
    objects = list(read_files([str(DEMO)], None).objects)
    outcome = translate(objects, profile=load_profile("cilium-1.20"), engines=("npm-linux",))
    assert _changed(outcome, objects, ChangeKind.NEWLY_DENIED, compat=False) == {"ingress"}
    assert _narrowing(outcome.translation) == {"POL-NS-NOTIN-MULTI"}
    assert _changed(outcome, objects, ChangeKind.NEWLY_DENIED, compat=True) == set()
    assert list(_compat(outcome)) == ["shop/keep-tests-out-not-in.yaml"]


def test_over_the_whole_flow_space_every_opening_is_kept() -> None:
    db: Json = {"matchLabels": {"app": "db"}}
    policies = [
        network_policy(DENY_EGRESS, "own"),
        network_policy({"podSelector": db, "ingress": [{"from": [_not_in("blue")]}]}, "one"),
        network_policy({"podSelector": {}, "ingress": [{"from": [_not_in("blue", "red")]}]}, "several", "plain"),
        network_policy({"podSelector": {}, "ingress": [{"from": [IPV6_PEER]}]}, "refused", "lab"),
    ]
    objects = [RawObject(data) for data in (*SMALL, *policies)]
    outcome = _translate(*policies)
    assert _changed(outcome, objects, ChangeKind.NEWLY_DENIED, compat=False) == {"egress", "ingress"}
    assert _changed(outcome, objects, ChangeKind.NEWLY_DENIED, compat=True) == set()
    assert _changed(outcome, objects, ChangeKind.NEWLY_ALLOWED, compat=True) == set()
