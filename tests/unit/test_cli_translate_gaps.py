"""`migrate translate` where Cilium cannot say the same: --on-gap and --accept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from migrate.model.raw import Json
from tests.unit.policies import calico, network_policy
from tests.unit.translate_command import HIDDEN_LABEL, PLAIN, Command, files, given, results

HIDDEN: Json = {"matchLabels": {"app": "client", "pod-template-hash": "5d8c7"}}
HIDDEN_ONLY: Json = {"matchExpressions": [{"key": "pod-template-hash", "operator": "NotIn", "values": ["5d8c7"]}]}
EVERYWHERE: Json = {"namespaceSelector": {}, "podSelector": HIDDEN}
HIDDEN_PEER = network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": HIDDEN}]}]}, "hidden-peer")
SCTP = network_policy({"podSelector": {}, "ingress": [{"ports": [{"port": 1, "protocol": "SCTP"}]}]}, "sctp")
BLOCK = network_policy({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}]}, "block")


def object_of(kind: str, name: str, namespace: str | None, **more: Json) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name, "labels": {"app": "twin"}}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": metadata | ({"namespace": namespace} if namespace else {}),
        **more,
    }


def pod(name: str, address: str) -> dict[str, Json]:
    return object_of(
        "Pod", name, "shop", spec={"nodeName": "n1"}, status={"podIP": address, "podIPs": [{"ip": address}]}
    )


def node(name: str, address: str) -> dict[str, Json]:
    return object_of("Node", name, None, status={"addresses": [{"type": "InternalIP", "address": address}]})


TWINS = (pod("twin-0", "10.0.0.1"), pod("twin-1", "10.0.0.2"))
NODES = (node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def ids(document: str, name: str) -> dict[str, str]:
    """The findings of one source with their effects on what its text says."""
    (found,) = (r for r in json.loads(document)["results"] if r["source"]["name"] == name)
    return {finding["id"]: finding["effect_on_intent"] for finding in found["findings"]}


@pytest.mark.parametrize(
    ("gap", "status", "written"),
    [
        pytest.param("narrow", 0, ["hidden-peer", "plain"], id="narrow writes what can be said"),
        pytest.param("widen", 0, ["hidden-peer", "plain"], id="widen writes more than was said"),
        pytest.param("refuse", 1, ["plain"], id="refuse writes nothing for it, and all others"),
    ],
)
def test_a_gap(gap: str, status: int, written: list[str], translate: Command) -> None:
    source = given(translate.folder, PLAIN, HIDDEN_PEER)
    done = translate("-f", source, "--on-gap", gap, "--fail-on", "never", "-o", "json")
    assert (done.status, json.loads(done.out)["onGap"]) == (status, gap)
    assert files(translate.folder / "migration/cilium") == [f"shop/{name}.yaml" for name in written]


def test_what_is_refused_is_unsupported_and_says_why(translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN, HIDDEN_PEER), "--on-gap", "refuse", "-o", "json")
    assert results(done.out) == {"NetworkPolicy/hidden-peer": "unsupported", "NetworkPolicy/plain": "exact"}
    assert {"POL-GAP-REFUSED", "POL-LABEL-FILTERED"} <= set(ids(done.out, "hidden-peer"))
    assert "POL-GAP-REFUSED" not in ids(done.out, "plain")


def test_no_gap_is_refused_where_there_is_none(translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN), "--on-gap", "refuse", "-o", "json")
    assert (done.status, results(done.out)) == (0, {"NetworkPolicy/plain": "exact"})


def test_an_accepted_gap_is_not_refused(translate: Command) -> None:
    source = given(translate.folder, SCTP)
    refused = translate("-f", source, "--on-gap", "refuse", "-o", "json")
    accepted = translate("-f", source, "--on-gap", "refuse", "--accept", "POL-SCTP@shop/sctp", "-o", "json")
    assert (refused.status, results(refused.out)) == (1, {"NetworkPolicy/sctp": "unsupported"})
    assert (accepted.status, results(accepted.out)) == (0, {"NetworkPolicy/sctp": "changed"})
    assert files(translate.folder / "migration/cilium") == ["shop/in.yaml"]


OWN_NAMESPACE: Json = [{"matchLabels": {"app": "client"}}]
ANY_NAMESPACE: Json = [
    {
        "matchLabels": {"app": "client"},
        "matchExpressions": [{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}],
    }
]
WIDENED = [
    pytest.param((HIDDEN_PEER,), "POL-LABEL-FILTERED", OWN_NAMESPACE, id="a label that policy cannot see is left out"),
    pytest.param(
        (network_policy({"podSelector": {}, "ingress": [{"from": [EVERYWHERE]}]}),),
        "POL-LABEL-FILTERED",
        ANY_NAMESPACE,
        id="and the peer stays with pods",
    ),
    pytest.param(
        (network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": HIDDEN_ONLY}]}]}),),
        "POL-LABEL-FILTERED",
        [{}],
        id="a peer that reads nothing else becomes its namespace",
    ),
    pytest.param(
        (
            calico(
                "NetworkPolicy",
                {
                    "selector": "all()",
                    "types": ["Ingress"],
                    "ingress": [
                        {"action": "Allow", "source": {"selector": "app == 'client' && pod-template-hash == '5d8c7'"}}
                    ],
                },
                {"name": "c", "namespace": "shop"},
            ),
        ),
        "POL-LABEL-FILTERED",
        OWN_NAMESPACE,
        id="Calico's peers too",
    ),
    pytest.param(
        (BLOCK, *TWINS),
        "POL-IPBLOCK-PODS",
        [{"matchLabels": {"app": "twin", "k8s:io.kubernetes.pod.namespace": "shop"}}],
        id="a pod that no label tells from another brings it along",
    ),
]


@pytest.mark.parametrize(("objects", "finding", "peers"), WIDENED)
def test_widen(objects: tuple[Mapping[str, Json], ...], finding: str, peers: Json, translate: Command) -> None:
    source = given(translate.folder, *objects)
    narrow = translate("-f", source, "--output-dir", "narrow", "--before-engine", "calico", "-o", "json")
    wide = translate(
        "-f", source, "--output-dir", "wide", "--on-gap", "widen", "--before-engine", "calico", "-o", "json"
    )
    (before,), (after,) = (
        [f for r in json.loads(done.out)["results"] for f in r["findings"] if f["id"] == finding]
        for done in (narrow, wide)
    )
    assert (before["effect"], before["effect_on_intent"]) == ("narrows", "narrows")
    assert (after["effect"], after["effect_on_intent"], wide.status) == ("widens", "widens", 1)
    (written,) = (path for path in (translate.folder / "wide/cilium/shop").iterdir())
    rules = yaml.safe_load(written.read_text())["spec"]["ingress"]
    assert [rule["fromEndpoints"] for rule in rules if "fromEndpoints" in rule] == [peers]
    assert "POL-GAP-NOT-WIDENED" not in wide.out


def test_some_of_the_nodes_become_all(translate: Command) -> None:
    translate("-f", given(translate.folder, BLOCK, *NODES), "--on-gap", "widen")
    rules = yaml.safe_load((translate.folder / "migration/cilium/shop/in.yaml").read_text())["spec"]["ingress"]
    assert {"fromEntities": ["host", "remote-node"]} in rules


def test_what_cannot_be_widened_is_said(translate: Command) -> None:
    done = translate("-f", given(translate.folder, SCTP, HIDDEN_LABEL), "--on-gap", "widen", "-o", "json")
    assert ids(done.out, "sctp")["POL-GAP-NOT-WIDENED"] == "none"
    assert results(done.out)["NetworkPolicy/hidden-label"] == "unsupported"


ACCEPTED = [
    pytest.param("POL-LABEL-FILTERED@NetworkPolicy shop/hidden-label", id="as findings show the object"),
    pytest.param("POL-LABEL-FILTERED@shop/hidden-label", id="without its kind"),
    pytest.param("pol-label-filtered@shop/hidden-label", id="in small letters"),
    pytest.param("POL-LABEL-FILTERED@*", id="for all objects"),
]


@pytest.mark.parametrize("accepted", ACCEPTED)
def test_an_accepted_finding_does_not_count_and_is_recorded(accepted: str, translate: Command) -> None:
    source = given(translate.folder, PLAIN, HIDDEN_LABEL)
    assert translate("-f", source).status == 1
    done = translate("-f", source, "--accept", accepted)
    assert (done.status, "blocker (accepted)" in done.out) == (0, True)
    document = json.loads((translate.folder / "migration/translation.json").read_text())
    assert document["accepted"] == [{"id": "POL-LABEL-FILTERED", "object": "NetworkPolicy shop/hidden-label"}]


def test_a_finding_of_the_whole_cluster_is_accepted_by_that_word(translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN), "--before-engine", "calico", "--accept", "POL-VXLAN@cluster")
    assert done.status == 0


NOTHING_ACCEPTED = [
    pytest.param(
        "POL-LABEL-FILTERED@shop/hidden",
        "the nearest is POL-LABEL-FILTERED@NetworkPolicy shop/hidden-label",
        id="a slip in the name",
    ),
    pytest.param(
        "POL-LABLE-FILTERED@shop/hidden-label", "the nearest is POL-LABEL-FILTERED@NetworkPolicy", id="a slip in the id"
    ),
    pytest.param("POL-LABEL-FILTERED@shop/plain", "no finding of this translation is meant", id="an object without it"),
    pytest.param("POL-LABEL-FILTERED", "it is written ID@object", id="no object"),
    pytest.param("POL-LABEL-FILTERED@ ", "it is written ID@object", id="an empty object"),
    pytest.param("*@*", "no finding of this translation is meant", id="everything at once"),
    pytest.param("", "it is written ID@object", id="nothing"),
]


@pytest.mark.parametrize(("accepted", "message"), NOTHING_ACCEPTED)
def test_accepting_what_is_not_there_ends_with_2(accepted: str, message: str, translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN, HIDDEN_LABEL), "--accept", accepted)
    assert (done.status, done.out, message in done.err) == (2, "", True)
    assert files(translate.folder) == ["in.yaml"]


def test_other_findings_still_count(translate: Command) -> None:
    other = network_policy({"podSelector": {"matchLabels": {"pod-template-hash": "1"}}}, "other")
    source = given(translate.folder, HIDDEN_LABEL, other)
    assert translate("-f", source, "--accept", "POL-LABEL-FILTERED@shop/other").status == 1
    assert (
        translate("-f", source, "--accept", "POL-LABEL-FILTERED@shop/other", "--accept", "POL-LABEL-FILTERED@*").status
        == 0
    )
