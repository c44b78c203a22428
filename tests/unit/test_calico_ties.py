"""Policies of equal order: the translation says when it goes by the sequence of one release."""

import pytest

from migrate.model.documents import Result
from migrate.model.raw import RawObject
from migrate.translate.engine import translate
from migrate.translate.profiles import load_profile
from tests.unit.calico_case import Object, everywhere, within

ALLOW: Object = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": "Allow"}]}
DENY: Object = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": "Deny"}]}
PASS: Object = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": "Pass"}]}
OTHERS: Object = {"selector": "app == 'web'", "types": ["Ingress"], "ingress": [{"action": "Deny"}]}
BLOCKED: Object = {"podSelector": {}, "ingress": [{}]}


def release(version: str) -> Object:
    """What Calico itself writes into the cluster."""
    spec: Object = {"calicoVersion": version}
    metadata: Object = {"name": "default"}
    return {"apiVersion": "crd.projectcalico.org/v1", "kind": "ClusterInformation", "metadata": metadata, "spec": spec}


def installation(version: str) -> Object:
    """What the operator writes."""
    status: Object = {"calicoVersion": version}
    metadata: Object = {"name": "default"}
    return {"apiVersion": "operator.tigera.io/v1", "kind": "Installation", "metadata": metadata, "status": status}


def kubernetes(name: str) -> Object:
    """A NetworkPolicy that lets everybody in, of order 1000 for Calico."""
    metadata: Object = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": BLOCKED}


def tied(objects: list[Object]) -> list[tuple[str, Result]]:
    """The policies with the finding, and their results."""
    raw = [RawObject(item) for item in objects]
    outcome = translate(raw, profile=load_profile("cilium-1.20"), engines=("calico",))
    return [
        (result.source.name, result.result)
        for result in outcome.translation.results
        if any(finding.id == "POL-ORDER-TIE" for finding in result.findings)
    ]


@pytest.mark.parametrize(
    ("objects", "names"),
    [
        pytest.param([everywhere("z", ALLOW), within("a", DENY)], ["a", "z"], id="a global Allow and a Deny"),
        pytest.param([everywhere("z", ALLOW), within("a", PASS)], ["a", "z"], id="an Allow and a Pass"),
        pytest.param(
            [everywhere("z", ALLOW), within("a", DENY), release("v3.31.0")], ["a", "z"], id="a release after the change"
        ),
        pytest.param(
            [within("z", DENY | {"order": 1000}), kubernetes("a")],
            ["a", "z"],
            id="a Deny of order 1000",
        ),
        pytest.param([everywhere("z", ALLOW), within("a", DENY), release("v3.28.5")], [], id="a release before it"),
        pytest.param(
            [everywhere("z", ALLOW), within("a", DENY), installation("v3.27.0")], [], id="the operator's word"
        ),
        pytest.param([everywhere("z", ALLOW | {"order": 1}), within("a", DENY)], [], id="their orders differ"),
        pytest.param([everywhere("z", ALLOW), everywhere("a", DENY)], [], id="one kind goes by name in all releases"),
        pytest.param([everywhere("z", DENY), within("a", DENY)], [], id="both say the same"),
        pytest.param([everywhere("z", ALLOW), within("a", OTHERS)], [], id="they are about different pods"),
        pytest.param([everywhere("a", ALLOW), within("z", DENY)], [], id="the releases agree"),
    ],
)
def test_a_tie_on_which_a_flow_depends_is_told(objects: list[Object], names: list[str]) -> None:
    assert sorted(tied(objects)) == [(name, Result.EXACT_HERE) for name in names]
