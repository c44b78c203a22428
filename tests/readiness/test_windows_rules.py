"""Policies of pods on Windows nodes, as NPM programs them there."""

from __future__ import annotations

import pytest

from tests.readiness.scenes import Scene, policy

NAMED = "{podSelector: {matchLabels: {app: %s}}, ingress: [{ports: [{port: http}]}]}"
EXCEPT = (
    "{podSelector: {matchLabels: {app: office}}, ingress: "
    "[{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.1/32]}}]}]}"
)
NUMBERS = "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}"
TO_OTHERS = (
    "{podSelector: {matchLabels: {app: %s}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: "
    "{matchExpressions: [{key: team, operator: %s, values: [ops]}]}}]}]}"
)
FROM_OTHERS = (
    "{podSelector: {matchLabels: {app: office}}, ingress: [{from: [{namespaceSelector: "
    "{matchExpressions: [{key: team, operator: NotIn, values: [ops]}]}}]}]}"
)


@pytest.mark.parametrize(
    ("cluster", "spec", "words"),
    [
        pytest.param("windows", NAMED % "office", 'named port "http"', id="a named port"),
        pytest.param("windows", EXCEPT, "ipBlock with except", id="a hole in a block"),
        pytest.param("windows", FROM_OTHERS, "fails for ever", id="an ingress peer of negations"),
        pytest.param("windows", NAMED % "waiting", "shop/waiting-0", id="a pod that waits for a Windows node"),
        pytest.param("windows", NAMED % "web", "", id="pods on Linux only"),
        pytest.param("windows", NUMBERS, "", id="what NPM takes"),
        pytest.param("npm", NAMED % "office", "", id="no Windows node"),
    ],
)
def test_refused_on_windows(cluster: str, spec: str, words: str, scene: Scene) -> None:
    answer = scene.scan(cluster, policy("given", spec)).ask("POL-WIN-UNSUPPORTED")
    assert (bool(answer.findings), answer.lacks) == (bool(words), ())
    assert words in answer.details


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        pytest.param(TO_OTHERS % ("office", "NotIn"), True, id="an egress peer of negations"),
        pytest.param(TO_OTHERS % ("office", "In"), False, id="a positive one"),
        pytest.param(TO_OTHERS % ("web", "NotIn"), False, id="for pods on Linux it holds"),
        pytest.param(FROM_OTHERS, False, id="for ingress nothing is programmed at all"),
    ],
)
def test_turned_around_on_windows(spec: str, found: bool, scene: Scene) -> None:
    answer = scene.scan("windows", policy("given", spec)).ask("POL-WIN-EGRESS-INVERTED")
    assert (bool(answer.findings), answer.lacks) == (found, ())


def test_a_refused_policy_is_not_turned_around_too(scene: Scene) -> None:
    both = (TO_OTHERS % ("office", "NotIn")).replace("egress: [", "egress: [{ports: [{port: http}]}, ")
    assert scene.scan("windows", policy("given", both)).ask("POL-WIN-EGRESS-INVERTED").findings == ()


ONE_WAY = "{podSelector: {matchLabels: {app: %s}}, policyTypes: [Ingress], ingress: [{}]}"
BOTH_WAYS = "{podSelector: {matchLabels: {app: ledger}}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        pytest.param(ONE_WAY % "ledger", ["win1"], id="one direction on Windows Server 2025"),
        pytest.param(BOTH_WAYS, [], id="both directions are said"),
        pytest.param(ONE_WAY % "office", [], id="Windows Server 2022"),
        pytest.param(ONE_WAY % "web", [], id="Linux"),
    ],
)
def test_windows_2025(spec: str, found: list[str], scene: Scene) -> None:
    answer = scene.scan("windows", policy("given", spec)).ask("WRK-WIN2025-ACL")
    assert [finding.subject.name for finding in answer.findings if finding.subject is not None] == found
    assert answer.lacks == ()


@pytest.mark.parametrize("rule", ["POL-WIN-UNSUPPORTED", "POL-WIN-EGRESS-INVERTED", "WRK-WIN2025-ACL"])
def test_without_pods_it_is_not_known_whom_policies_select(rule: str, scene: Scene) -> None:
    answer = scene.scan("windows", policy("given", NUMBERS), without=["kind: Pod\n"]).ask(rule)
    assert answer.lacks == ("objects of kind Pod, which were not read",)
