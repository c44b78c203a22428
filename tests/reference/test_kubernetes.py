"""The Kubernetes evaluator against verdicts that two other engines agreed on, and on what the vectors leave open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reference import kubernetes
from tests.reference.cases import Case, End, Flow, Namespace, Node, Pod, read_case

VECTORS = sorted((Path(__file__).parents[1] / "cases" / "vectors" / "kubernetes").glob("*.json"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_evaluator_gives_the_words_of_the_vectors(path: Path) -> None:
    case = read_case(path)
    answers = kubernetes.evaluate(case, block_covers_cluster=True)
    wrong = [
        (str(flow), answer, (flow.egress, flow.ingress))
        for flow, answer in zip(case.flows, answers, strict=True)
        if (answer.egress, answer.ingress, answer.verdict) != (flow.egress, flow.ingress, flow.verdict)
    ]
    assert case.flows
    assert not wrong


def test_there_are_vectors() -> None:
    assert len(VECTORS) == 15


def _case(spec: dict[str, object], flow: Flow) -> Case:
    return Case(
        name="small",
        namespaces=(Namespace("a", {"kubernetes.io/metadata.name": "a"}),),
        pods=(
            Pod("a", "client", {"app": "client"}, ("10.244.0.2",), node="one"),
            Pod("a", "server", {"app": "server"}, ("10.244.1.2",), node="two"),
        ),
        nodes=(Node("one", ("10.10.0.1",)), Node("two", ("10.10.0.2",))),
        policies=(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "policy", "namespace": "a"},
                "spec": {"podSelector": {"matchLabels": {"app": "server"}}, **spec},
            },
        ),
        flows=(flow,),
    )


_POD_BLOCK: dict[str, object] = {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}
_TCP_80: dict[str, object] = {"ingress": [{"ports": [{"protocol": "TCP", "port": 80}]}]}
_ANY_PORT: dict[str, object] = {"ingress": [{"from": [{"podSelector": {}}]}]}
_SERVER = End(pod="a/server")
_CLIENT = Flow(End(pod="a/client"), _SERVER, "TCP", 80)


@pytest.mark.parametrize(
    ("spec", "flow", "covers", "word"),
    [
        pytest.param(_POD_BLOCK, _CLIENT, True, "allow", id="an ipBlock that covers the cluster covers its pods"),
        pytest.param(_POD_BLOCK, _CLIENT, False, "deny", id="an ipBlock that is for the outside covers no pod"),
        pytest.param(
            _POD_BLOCK, Flow(End(node="one"), _SERVER, "TCP", 80), True, "allow", id="and with it the other nodes"
        ),
        pytest.param(
            _POD_BLOCK, Flow(End(node="one"), _SERVER, "TCP", 80), False, "deny", id="or the other nodes neither"
        ),
        pytest.param(
            _POD_BLOCK, Flow(End(node="two"), _SERVER, "TCP", 80), False, "unenforced", id="the own node always may"
        ),
        pytest.param(_TCP_80, Flow(_CLIENT.src, _SERVER, "ICMP", 8), True, "deny", id="ports keep ICMP out"),
        pytest.param(_ANY_PORT, Flow(_CLIENT.src, _SERVER, "ICMP", 8), True, "allow", id="no ports let ICMP in"),
    ],
)
def test_what_the_api_leaves_open(spec: dict[str, object], flow: Flow, covers: bool, word: str) -> None:
    (answer,) = kubernetes.evaluate(_case(spec, flow), block_covers_cluster=covers)
    assert answer.ingress == word


def test_a_policy_of_another_kind_is_refused_rather_than_skipped() -> None:
    case = Case(name="other", policies=({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy"},))
    with pytest.raises(ValueError, match="is not a NetworkPolicy"):
        kubernetes.evaluate(case, block_covers_cluster=True)
