"""Rules about the audit and about the hours of the cutover, each with a cluster that has it and one that has not."""

from __future__ import annotations

import pytest

from migrate.model.raw import Json
from tests.readiness.scenes import Scene, policy
from tests.readiness.test_policy_rules import PLAIN, _blocks
from tests.recordings import HOUR, START

WEEKLY = "invoices"
DAY = 24 * HOUR


def _recorded(scene: Scene, hours: int, *pods: str, lost: int = 0) -> Scene:
    """A recording of n1 for some hours, of an hour's interfaces."""
    recording = scene.recording()
    for pod in pods:
        recording.veth(pod, until=START + hours * HOUR)
    recording.execute("UPDATE segment SET ended = ?", START + hours * HOUR)
    recording.close(lost=lost)
    return scene.judge()


@pytest.mark.parametrize(
    ("hours", "without", "words"),
    [
        pytest.param(1, (WEEKLY,), "it watched for 1h, and a day has 24h", id="an hour"),
        pytest.param(24, (), "CronJob shop/invoices (0 4 * * 0) runs every 168h", id="a day, and a job runs weekly"),
    ],
)
def test_an_audit_that_is_too_short(hours: int, without: tuple[str, ...], words: str, scene: Scene) -> None:
    made = scene.scan("npm", PLAIN, without=without).translate()
    assert words in _recorded(made, hours, "shop/web-0").ask("AUD-COVERAGE").details


def test_an_audit_of_one_node_that_lost_records(scene: Scene) -> None:
    made = scene.scan("npm", PLAIN).translate()
    answer = _recorded(made, 169, "shop/web-0", lost=3)
    details = answer.ask("AUD-COVERAGE").details
    assert "1 node without a recording: n2" in details
    assert "3 records lost or not kept" in details
    assert "no pod was watched in 1 namespace: kube-system" in details


def test_an_audit_that_saw_everything(scene: Scene) -> None:
    made = scene.scan("npm", PLAIN, without=["name: n2", "nodeName: n2"]).translate()
    answer = _recorded(made, 169, "shop/web-0", "shop/robot-0").ask("AUD-COVERAGE")
    assert (answer.details, answer.lacks) == ("", ())


def test_an_audit_of_a_cluster_whose_jobs_were_not_read(scene: Scene) -> None:
    made = scene.scan("npm", PLAIN, without=[WEEKLY, "name: n2", "nodeName: n2"]).translate()
    answer = _recorded(made, 24, "shop/web-0", "shop/robot-0").ask("AUD-COVERAGE")
    assert (answer.details, "CronJob" in answer.lacks[0]) == ("", True)


def test_without_an_audit_its_coverage_is_not_known(scene: Scene) -> None:
    assert "migrate audit" in scene.scan("npm", PLAIN).ask("AUD-COVERAGE").lacks[0]


@pytest.mark.parametrize("rule", ["AUD-NO-CILIUM-AUDIT-MODE", "CUT-POST-CHECKS"])
@pytest.mark.parametrize(("cluster", "found"), [("npm", 1), ("calico", 0)])
def test_what_holds_for_every_aks(rule: str, cluster: str, found: int, scene: Scene) -> None:
    answer = scene.scan(cluster, PLAIN).ask(rule)
    assert (len(answer.findings), answer.lacks) == (found, ())


KUBENET: Json = {"networkPlugin": "kubenet", "networkPolicy": "calico"}


@pytest.mark.parametrize(
    ("cluster", "more", "azure", "words"),
    [
        pytest.param("npm", PLAIN, {}, "from its old engine's end", id="the update itself"),
        pytest.param("npm", PLAIN, KUBENET, "--network-policy none", id="kubenet: a step without an engine"),
        pytest.param("calico", PLAIN, None, "until Cilium is told to enforce", id="two networks beside each other"),
        pytest.param("npm", PLAIN, {"networkPolicy": None}, "", id="nothing enforces them today"),
    ],
)
def test_gap(cluster: str, more: str, azure: dict[str, Json] | None, words: str, scene: Scene) -> None:
    profile = "" if azure is None else "npm-node-subnet"
    answer = scene.scan(cluster, more, profile=profile, azure={"networkProfile": azure or {}}).ask(
        "CUT-ENFORCEMENT-GAP"
    )
    assert bool(answer.findings) is bool(words)
    assert words in answer.details
    assert answer.lacks == ()


def test_policies_that_nobody_read_may_be_missed(scene: Scene) -> None:
    answer = scene.scan("npm", profile="npm-node-subnet").ask("CUT-ENFORCEMENT-GAP")
    assert (answer.findings, "NetworkPolicy" in answer.lacks[0]) == ((), True)


def test_a_way_that_is_not_known_has_gaps_that_are_not_known(scene: Scene) -> None:
    assert scene.scan("npm", PLAIN).ask("CUT-ENFORCEMENT-GAP").lacks == ()
    without = ["kind: Node\n"]
    assert scene.scan("npm", PLAIN, without=without).ask("CUT-ENFORCEMENT-GAP").lacks


EVERYONE = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}, %s]}]}"


def _many(number: int) -> str:
    return ", ".join(f"{{ipBlock: {{cidr: 192.0.2.{n}/32}}}}" for n in range(number))


@pytest.mark.parametrize(
    ("more", "target", "words"),
    [
        pytest.param(policy("wide", EVERYONE % _many(5)), "aks-1.34", "1 of 1", id="blocks beside all namespaces"),
        pytest.param(_blocks(5), "aks-1.34", "0 of 1", id="another pattern, on the release of the report"),
        pytest.param(policy("wide", EVERYONE % _many(5)), "aks-1.33", "", id="an older release"),
        pytest.param(policy("wide", EVERYONE % _many(5)), "cilium-1.18", "", id="a Cilium of one's own"),
    ],
)
def test_empty_policy_maps(more: str, target: str, words: str, scene: Scene) -> None:
    answer = scene.scan("npm", more).translate("--target", target).ask("CUT-EMPTY-POLICY-MAP")
    assert (bool(answer.findings), answer.lacks) == (bool(words), ())
    assert words in answer.details


@pytest.mark.parametrize(
    ("cluster", "azure", "words"),
    [
        pytest.param("npm", KUBENET, "another range", id="kubenet becomes overlay"),
        pytest.param("calico", None, "masquerade settings", id="an overlay of Cilium's own"),
        pytest.param("npm", {}, "", id="pods keep addresses of the node subnet"),
    ],
)
def test_source_addresses(cluster: str, azure: dict[str, Json] | None, words: str, scene: Scene) -> None:
    profile = "" if azure is None else "npm-node-subnet"
    answer = scene.scan(cluster, PLAIN, profile=profile, azure={"networkProfile": azure or {}}).ask("CUT-SNAT")
    assert (bool(answer.findings), answer.lacks) == (bool(words), ())
    assert words in answer.details


def test_kinds_of_calico_stay(scene: Scene) -> None:
    (finding,) = scene.scan("calico", PLAIN).ask("CUT-CALICO-CRDS").findings
    assert "crd.projectcalico.org, operator.tigera.io" in finding.detail


def test_no_kinds_of_calico(scene: Scene) -> None:
    answer = scene.scan("npm", PLAIN).ask("CUT-CALICO-CRDS")
    assert (answer.findings, answer.lacks) == ((), ())
