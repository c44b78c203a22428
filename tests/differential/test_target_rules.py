"""What the profiles and rules say of Cilium, asked of its own policy engine."""

from __future__ import annotations

import pytest

from migrate.translate.profiles import label_is_identity_relevant, load_profile
from tests.policy_engines import PolicyEngine
from tests.target_examples import AGENT_EXAMPLES, Fields

pytestmark = pytest.mark.engine

LABEL_KEYS = (
    "app",
    "app.kubernetes.io/name",
    "app.kubernetes.io.beta.kubernetes.io/name",
    "kubernetes.io/os",
    "example.kubernetes.io/tier",
    "node.kubernetes.io/role",
    "io.kubernetes.pod.uid",
    "k8s.io/cluster",
    "example.k8s.io/cluster",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/zone",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "apps.kubernetes.io/pod-indexed",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
    "pod-template-hash",
    "pod-template-hash-of-ours",
    "our-pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "annotation.example.com/a",
    "annotations",
    "my-annotation",
    "etcd_node",
)
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."


@pytest.mark.parametrize("release", ["1.18", "1.20"])
def test_the_agent_refuses_what_the_examples_say(release: str, request: pytest.FixtureRequest) -> None:
    engine = _engine(release, request)
    policies = [
        example.data | {"metadata": {**_metadata(example.data), "name": f"example-{number}"}}
        for number, example in enumerate(AGENT_EXAMPLES)
    ]
    answers = engine({"namespaces": [{"name": "default"}], "policies": policies, "flows": []})["policies"]
    refused = {example.sentence for example, answer in zip(AGENT_EXAMPLES, answers, strict=True) if not answer["ok"]}
    assert refused == {example.sentence for example in AGENT_EXAMPLES if release in example.refused_by}


@pytest.mark.parametrize("release", ["1.18", "1.20"])
@pytest.mark.parametrize("of_namespace", [False, True], ids=["of pods", "of namespaces"])
def test_labels_outside_identities_are_those_the_profile_names(
    release: str, of_namespace: bool, request: pytest.FixtureRequest
) -> None:
    seen = _labels_seen(_engine(release, request), of_namespace)
    prefix = _NAMESPACE_LABELS if of_namespace else ""
    profile = load_profile(f"cilium-{release}")
    assert seen == {key for key in LABEL_KEYS if label_is_identity_relevant(profile, prefix + key)}


def _labels_seen(engine: PolicyEngine, of_namespace: bool) -> set[str]:
    """The keys on which a NetworkPolicy can tell a client that has them all."""
    labels = dict.fromkeys(LABEL_KEYS, "x")
    pods: list[Fields] = [
        {"namespace": "default", "name": "client", "labels": {} if of_namespace else {**labels}, "ips": ["10.0.0.1"]}
    ]
    policies, flows = [], []
    for number, key in enumerate(LABEL_KEYS):
        name = f"server-{number}"
        pods.append({"namespace": "servers", "name": name, "labels": {"app": name}, "ips": [f"10.0.1.{number}"]})
        peer: Fields = {"namespaceSelector": {"matchLabels": {key: "x"}} if of_namespace else {}}
        if not of_namespace:
            peer["podSelector"] = {"matchLabels": {key: "x"}}
        policies.append(_admitting(peer, name))
        flow = {"src": {"pod": "default/client"}, "dst": {"pod": f"servers/{name}"}, "protocol": "TCP", "port": 80}
        flows.append(flow)
    namespaces = [{"name": "default", "labels": labels if of_namespace else {}}, {"name": "servers", "labels": {}}]
    answer = engine({"namespaces": namespaces, "pods": pods, "policies": policies, "flows": flows})
    return {key for key, flow in zip(LABEL_KEYS, answer["flows"], strict=True) if flow["verdict"] == "allow"}


def _admitting(peer: Fields, name: str) -> Fields:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "servers", "name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": name}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer]}],
        },
    }


def _metadata(data: Fields) -> Fields:
    metadata = data["metadata"]
    assert isinstance(metadata, dict)
    return metadata


def _engine(release: str, request: pytest.FixtureRequest) -> PolicyEngine:
    engine: PolicyEngine = request.getfixturevalue(f"cilium_engine_{release.replace('.', '')}")
    return engine
