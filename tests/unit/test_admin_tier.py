"""Ordered Calico policies in Cilium's Admin tier: what goes there, what stays outside, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, translate
from migrate.translate.profiles import load_profile
from tests.unit.policies import calico, network_policy
from tests.unit.translate_command import Command, given

Rule = dict[str, Json]
BAD: Json = {"selector": "bad == 'yes'"}
GOOD: Json = {"selector": "app == 'good'"}
PASS: Rule = {"action": "Pass"}


def tier(name: str = "security", action: str = "Deny") -> dict[str, Json]:
    return calico("Tier", {"order": 100, "defaultAction": action}, {"name": name})


def ingress(rules: list[Json], name: str = "guard", of: str = "security", selector: str = "all()") -> dict[str, Json]:
    """A GlobalNetworkPolicy of a tier."""
    spec: Json = {"tier": of, "selector": selector, "types": ["Ingress"], "ingress": rules}
    return calico("GlobalNetworkPolicy", spec, {"name": name if of == "default" else f"{of}.{name}"})


def egress(rules: list[Json]) -> dict[str, Json]:
    spec: Json = {"tier": "security", "selector": "all()", "types": ["Egress"], "egress": rules}
    return calico("GlobalNetworkPolicy", spec, {"name": "security.guard"})


WEB = calico(
    "NetworkPolicy",
    {"selector": "app == 'web'", "types": ["Ingress"], "ingress": [{"action": "Allow", "source": GOOD}]},
    {"name": "web", "namespace": "shop"},
)


def translated(
    *objects: dict[str, Json], target: str = "cilium-1.20", ordered: str = "cluster-network-policy"
) -> Outcome:
    raw = [RawObject(item) for item in objects]
    return translate(raw, profile=load_profile(target), engines=("calico",), ordered=ordered)


def admin(outcome: Outcome) -> list[tuple[int, str, list[str]]]:
    """Priority, direction and actions of each written ClusterNetworkPolicy that has a source."""
    import yaml

    found: list[tuple[int, str, list[str]]] = []
    for file in outcome.files:
        item = yaml.safe_load(file.text)
        if item["kind"] == "ClusterNetworkPolicy" and item["spec"]["priority"]:
            for direction in ("ingress", "egress"):
                actions = [rule["action"] for rule in item["spec"].get(direction, ())]
                found += [(item["spec"]["priority"], direction, actions)] if actions else []
    return sorted(found)


def limits(outcome: Outcome) -> list[str]:
    """The fields whose rules have a finding about the Admin tier."""
    findings = (finding for result in outcome.translation.results for finding in result.findings)
    return sorted(str(finding.field) for finding in findings if finding.id == "POL-ADMIN-LIMIT")


def allow(entity: Json = None) -> Rule:
    return {"action": "Allow", "source": entity or {}}


def deny(entity: Json = None) -> Rule:
    return {"action": "Deny", "source": entity or {}}


PLACED = [
    pytest.param([deny(BAD), PASS], ["Deny"], [], id="a Pass of all at the end needs no rule"),
    pytest.param([allow(GOOD), deny(BAD), PASS], ["Accept", "Deny"], [], id="an Allow before a Deny"),
    pytest.param(
        [{"action": "Pass", "source": GOOD}, deny(BAD), PASS], ["Pass", "Deny"], [], id="a Pass before a Deny"
    ),
    pytest.param([deny(), PASS], ["Deny"], ["spec.ingress[0]"], id="of everyone pods only: nodes are no peers"),
    pytest.param(
        [deny({"nets": ["192.0.2.0/24"]}), deny(BAD), PASS], ["Deny"], ["spec.ingress[0]"], id="no addresses as sources"
    ),
    pytest.param([deny(BAD) | {"protocol": "ICMP"}, deny(GOOD), PASS], ["Deny"], ["spec.ingress[0]"], id="no ICMP"),
    pytest.param(
        [deny({"serviceAccounts": {"names": ["a"]}}), deny(BAD), PASS],
        ["Deny"],
        ["spec.ingress[0]"],
        id="no service accounts",
    ),
    pytest.param(
        [{"action": "Allow", "protocol": "ICMP"}, deny(BAD), PASS],
        [],
        ["spec.ingress[0]", "spec.ingress[1]"],
        id="nothing that an Allow outside the tier overlaps",
    ),
    pytest.param(
        [allow(GOOD) | {"protocol": "UDP", "destination": {"notPorts": ["1:65535"]}}, deny(BAD), PASS],
        ["Deny"],
        [],
        id="port 0 alone cannot be said and is not everything",
    ),
    pytest.param([deny(BAD), allow(GOOD)], ["Deny"], [], id="an Allow that no Deny follows stays outside"),
]


@pytest.mark.parametrize(("rules", "actions", "fields"), PLACED)
def test_where_a_rule_goes(rules: list[Json], actions: list[str], fields: list[str]) -> None:
    outcome = translated(tier(), ingress(rules), WEB)
    assert admin(outcome) == ([(10, "ingress", actions)] if actions else [])
    assert limits(outcome) == fields


def test_policies_behind_tiers_that_pass_are_written_as_without_them() -> None:
    outcome = translated(tier(), ingress([deny(BAD), PASS]), WEB)
    alone = translated(WEB, ordered="cilium")
    texts = [{f.path: f.text for f in one.files if "/shop/" in f.path} for one in (outcome, alone)]
    assert texts[0] == texts[1] != {}


def test_egress_names_addresses() -> None:
    rule: Rule = {"action": "Deny", "destination": {"nets": ["192.0.2.0/24"]}}
    outcome = translated(tier(), egress([rule, PASS]))
    assert admin(outcome) == [(10, "egress", ["Deny"])]
    assert limits(outcome) == []


def test_more_rules_than_an_object_takes_go_on_in_the_next() -> None:
    one = [
        deny({"selector": f"app == 'a{n}'"}) | {"protocol": "TCP", "destination": {"ports": [n + 1]}} for n in range(60)
    ]
    found = admin(translated(tier(), ingress([*one, PASS])))
    assert [(priority, len(actions)) for priority, _, actions in found] == [(10, 25), (20, 25), (30, 10)]


def test_objects_follow_the_order_of_policies() -> None:
    later = ingress([deny(BAD)], "later", "default")
    found = admin(translated(tier(), later, ingress([deny(GOOD), PASS])))
    assert found == [(10, "ingress", ["Deny"]), (20, "ingress", ["Deny"])]


def test_a_tier_that_ends_in_deny_is_compiled_and_nothing_behind_it_is_accepted_before() -> None:
    behind = ingress([allow(GOOD), deny(GOOD)], "behind", "default")
    outcome = translated(tier(), ingress([deny(BAD), {"action": "Pass", "source": GOOD}]), behind)
    assert all("Accept" not in actions for _, _, actions in admin(outcome))


def test_negations_of_namespaces_are_kept_to_pods() -> None:
    """On v1.20.2 they would also match nodes and the world."""
    outcome = translated(tier(), ingress([deny({"namespaceSelector": "env != 'prod'"}), PASS]))
    text = next(file.text for file in outcome.files if "security.guard" in file.path)
    assert "- key: kubernetes.io/metadata.name\n                operator: Exists" in text


def test_networkpolicies_stay_outside() -> None:
    plain = network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})
    outcome = translated(plain, ingress([deny(BAD)], of="default"))
    assert admin(outcome) == []
    assert limits(outcome) == ["spec.ingress[0]"]


def test_vxlan_of_pods_is_denied_before_the_admin_tier_accepts() -> None:
    outcome = translated(tier(), ingress([deny(BAD), PASS]))
    assert "cilium/_cluster/clusternetworkpolicies/calico-no-vxlan-from-pods.yaml" in {f.path for f in outcome.files}
    without = translated(WEB)
    assert all("clusternetworkpolicies" not in file.path for file in without.files)


@pytest.mark.parametrize("rules", [[deny(BAD), PASS], [allow(GOOD)]])
def test_the_switch_is_named_only_where_it_is_needed(rules: list[Json]) -> None:
    outcome = translated(tier(), ingress(rules))
    found = any(finding.id == "POL-ADMIN-SWITCH" for finding in outcome.translation.findings)
    assert found is bool(admin(outcome))


def test_nothing_changes_without_the_option() -> None:
    outcome = translated(tier(), ingress([deny(BAD), PASS]), WEB, target="cilium-1.18", ordered="cilium")
    assert admin(outcome) == []
    assert outcome.translation.ordered == "cilium"


@pytest.mark.parametrize("target", ["cilium-1.19", "aks-1.36"])
def test_a_target_without_the_kind_is_refused(target: str) -> None:
    with pytest.raises(InputError, match=rf"{target} does not read ClusterNetworkPolicy; cilium-1.20 does"):
        translated(WEB, target=target)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = Command(tmp_path, monkeypatch, capsys)
    path = given(tmp_path, tier(), ingress([deny(BAD), PASS]), WEB)
    option = ("--ordered", "cluster-network-policy")
    engine = ("--before-engine", "calico")
    refused = run("-f", path, "--target", "cilium-1.19", *engine, *option)
    assert refused.status == 2
    assert "cilium-1.20 does" in refused.err
    assert run("-f", path, "--target", "cilium-1.20", *engine, *option).status == 0
    written = tmp_path / "migration" / "cilium" / "_cluster" / "clusternetworkpolicies" / "security.guard.yaml"
    assert written.read_text().count("action: Deny") == 1
    again = run("-f", path, "--target", "cilium-1.20", *engine, "--check")
    assert again.status == 1
    assert "ordered: cluster-network-policy -> cilium" in again.out
