"""Each finding of `migrate lint`: a policy that has it, and one that looks like it and has not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from migrate.model.cluster import Cluster
from migrate.model.documents import Result
from migrate.model.finding import Finding, Severity
from migrate.model.raw import Json, RawObject
from migrate.readiness.rules import load_rules, severity_of
from migrate.sources.cluster import read_cluster
from migrate.translate.lint_policies import lint
from migrate.translate.profiles import load_profile
from tests.lint_examples import (
    DNS_RULE,
    FROM_CLIENT,
    TO_CLIENT,
    TO_EVERYTHING,
    TO_NAMES,
    TO_WEB,
    WITH_SNAPSHOT,
    WITHOUT_SNAPSHOT,
    by_team,
    kubernetes,
    peers,
)
from tests.target_examples import AGENT_EXAMPLES, AgentExample, Fields, group, policy, ports, tcp
from tests.unit import translate_cases

_TARGETS = {"LINT-FEATURE-OFF": "aks-1.34"}


def _ids(*objects: Fields, target: str = "cilium-1.18", cluster: Cluster | None = None) -> set[str]:
    return {finding.id for finding in _found(*objects, target=target, cluster=cluster)}


def _found(*objects: Fields, target: str = "cilium-1.18", cluster: Cluster | None = None) -> list[Finding]:
    return lint([RawObject(data) for data in objects], load_profile(target), cluster)


@pytest.mark.parametrize(("finding_id", "wrong", "right"), WITHOUT_SNAPSHOT)
def test_found_and_not_found(finding_id: str, wrong: Fields, right: Fields) -> None:
    target = _TARGETS.get(finding_id, "cilium-1.18")
    assert finding_id in _ids(wrong, target=target)
    assert finding_id not in _ids(right, target=target)


@pytest.mark.parametrize(
    ("finding_id", "data", "has", "has_not"),
    [
        pytest.param(
            "LINT-NEGATIVE-ONLY",
            kubernetes(ingress=[peers(by_team("NotIn"))]),
            "cilium-1.18 aks-1.36",
            "cilium-1.19 cilium-1.20",
            id="since 1.19 peers are of the own cluster",
        ),
        pytest.param(
            "LINT-CIDR-ZERO",
            policy("ingress", {"fromCIDRSet": [{"cidr": "::/0"}]}),
            "cilium-1.18 aks-1.36",
            "cilium-1.19 cilium-1.20",
            id="since 1.19 each IP version has a label",
        ),
        pytest.param(
            "LINT-NAMED-EGRESS-PORT",
            policy("egress", TO_CLIENT | ports(tcp("sql"))),
            "cilium-1.19 aks-1.36",
            "cilium-1.20",
            id="since 1.20 names are looked up per target",
        ),
        pytest.param(
            "LINT-REFUSED",
            policy("egress", {"toServices": [{"k8sService": {"serviceName": "web"}}], **ports(tcp("80"))}),
            "cilium-1.16 aks-1.31",
            "cilium-1.17",
            id="before 1.17 a Service does not go with ports",
        ),
        pytest.param(
            "LINT-SCHEMA",
            policy("ingress", {"fromCIDRSet": [{"cidrGroupSelector": {"matchLabels": {"list": "a"}}}]}),
            "cilium-1.16",
            "cilium-1.17",
            id="groups by label are new in 1.17",
        ),
    ],
)
def test_releases_differ(finding_id: str, data: Fields, has: str, has_not: str) -> None:
    assert all(finding_id in _ids(data, target=target) for target in has.split())
    assert not any(finding_id in _ids(data, target=target) for target in has_not.split())


def test_the_pattern_of_every_name_is_refused_on_aks_only() -> None:
    every: Fields = {
        "toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}], "rules": {"dns": [{"matchPattern": "*"}]}}]
    }
    assert "LINT-FEATURE-OFF" in _ids(policy("egress", every), target="aks-1.36-acns-fqdn")
    assert "LINT-FEATURE-OFF" not in _ids(policy("egress", every), target="cilium-1.20")


@pytest.mark.parametrize("release", ["1.18", "1.20"])
@pytest.mark.parametrize("example", AGENT_EXAMPLES, ids=lambda example: example.sentence)
def test_what_the_agent_refuses_is_a_blocker(example: AgentExample, release: str) -> None:
    found = _found(example.data, target=f"cilium-{release}")
    if release in example.refused_by:
        assert any(severity_of(finding) is Severity.BLOCKER for finding in found)
    if not example.field:
        assert not {"LINT-SCHEMA", "LINT-REFUSED", "LINT-MISREAD"} & {finding.id for finding in found}


def test_a_dns_rule_of_another_policy_of_the_namespace_counts() -> None:
    other = policy("egress", DNS_RULE) | {"metadata": {"name": "dns", "namespace": "default"}}
    far = policy("egress", DNS_RULE) | {"metadata": {"name": "dns", "namespace": "far"}}
    assert "LINT-FQDN-WITHOUT-DNS" not in _ids(policy("egress", TO_NAMES), other)
    assert "LINT-FQDN-WITHOUT-DNS" in _ids(policy("egress", TO_NAMES), far)


def test_what_a_policy_beside_it_opens_is_not_missing() -> None:
    beside = policy("egress", TO_EVERYTHING) | {"metadata": {"name": "open", "namespace": "default"}}
    assert "LINT-EGRESS-NEEDS" not in _ids(policy("egress", TO_CLIENT), beside)


def _pod(namespace: str, name: str, address: str, labels: Fields, **port: Json) -> RawObject:
    listed: list[Json] = [{"name": key, "containerPort": number} for key, number in port.items()]
    spec: Json = {"nodeName": "n1", "containers": [{"name": "main", "ports": listed}]}
    status: Json = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    metadata: Json = {"namespace": namespace, "name": name, "labels": dict(labels)}
    return RawObject({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})


def _object(kind: str, metadata: Json, **more: Json) -> RawObject:
    version = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
    return RawObject({"apiVersion": version, "kind": kind, "metadata": metadata, **more})


def _cluster(*, complete: bool = True) -> Cluster:
    server: Json = {"namespace": "default", "name": "k", "labels": {"kubernetes.io/service-name": "kubernetes"}}
    node: Json = {"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}]}
    objects = [
        _pod("default", "web-0", "10.244.0.10", {"app": "web"}, http=8080),
        _pod("default", "web-1", "10.244.0.11", {"app": "web"}, http=8080),
        _pod("kube-system", "coredns-0", "10.244.0.53", {"k8s-app": "kube-dns"}),
        _pod("monitoring", "collector-0", "10.244.0.90", {"app": "otel"}, otlp=4317),
        _object("Node", {"name": "n1"}, status=node),
        _object("Service", {"namespace": "default", "name": "web"}, spec={"clusterIP": "10.96.0.10"}),
        _object("EndpointSlice", server, endpoints=[{"addresses": ["198.51.100.20"]}]),
    ]
    return read_cluster(objects, complete=complete)


@pytest.mark.parametrize(("finding_id", "wrong", "right"), WITH_SNAPSHOT)
def test_found_and_not_found_with_a_snapshot(finding_id: str, wrong: Fields, right: Fields) -> None:
    assert finding_id in _ids(wrong, cluster=_cluster())
    assert finding_id not in _ids(right, cluster=_cluster())


def test_a_group_that_is_given_or_may_be_there_is_not_missing() -> None:
    refers = policy("ingress", {"fromCIDRSet": [{"cidrGroupRef": "example"}]})
    assert "LINT-GROUP-MISSING" not in _ids(refers, group("v2", "203.0.113.0/24"), cluster=_cluster())
    assert "LINT-GROUP-MISSING" not in _ids(refers, cluster=_cluster(complete=False))


def test_nothing_is_said_to_be_missing_in_part_of_a_cluster() -> None:
    misspelt = policy("ingress", FROM_CLIENT | ports(tcp("htp")), endpointSelector={"matchLabels": {"app": "wbe"}})
    found = _ids(misspelt, cluster=_cluster(complete=False))
    assert not {"LINT-SELECTS-NOBODY", "LINT-PORT-NAME-UNKNOWN"} & found


def test_what_is_cut_off_names_the_pods_and_the_target() -> None:
    found = [f.detail for f in _found(policy("egress", TO_WEB), cluster=_cluster()) if f.id.startswith("LINT-NO-")]
    assert [text.partition(" cannot reach ")[2].partition(" any more")[0] for text in found] == [
        "DNS (UDP 53 of kube-dns)",
        "instance metadata (169.254.169.254)",
        "telemetry (monitoring/collector-0 port 4317)",
        "the API server",
    ]
    assert all(text.startswith("2 pods, such as default/web-0, ") for text in found)


def test_policies_of_the_snapshot_act_beside_those_that_are_judged() -> None:
    opens = RawObject(policy("egress", TO_EVERYTHING) | {"metadata": {"name": "open", "namespace": "default"}})
    found = lint([RawObject(policy("egress", TO_WEB))], load_profile("cilium-1.18"), _cluster(), [opens])
    assert "LINT-NO-DNS" not in {finding.id for finding in found}


def test_every_finding_of_lint_is_tried_here() -> None:
    tried = {str(example.values[0]) for example in (*WITHOUT_SNAPSHOT, *WITH_SNAPSHOT)}
    assert tried == {rule for rule in load_rules() if rule.startswith("LINT-")}


def _alarms(objects: Sequence[RawObject], target: str, cluster: Cluster) -> list[str]:
    found = lint(objects, load_profile(target), cluster)
    return [f"{finding.id} {finding.detail}" for finding in found if severity_of(finding) is not Severity.INFO]


@pytest.mark.parametrize("name", translate_cases.case_names())
def test_no_false_alarm_on_what_is_translated_exactly(name: str) -> None:
    """Where the translation says that flows change, there may be a true alarm."""
    for target in translate_cases.expectation(name).targets:
        outcome = translate_cases.translated(name, target)
        if {result.result for result in outcome.translation.results} & {Result.CHANGED, Result.UNSUPPORTED}:
            continue
        written = [RawObject(data) for data in translate_cases.emitted_objects(outcome)]
        cluster = read_cluster(map(RawObject, translate_cases.objects_of(name)), complete=True)
        assert _alarms(written, target, cluster) == []
