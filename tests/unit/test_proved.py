"""What a translation claims is shown on the written objects: for any pods, for the snapshot, or no longer claimed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import migrate.translate.engine
from migrate.model.documents import Translation, TranslationResult
from migrate.model.forms import Forms
from migrate.model.raw import Json, RawObject
from migrate.proved.causes import UndeclaredError
from migrate.proved.proof import MOST_KINDS, proved
from migrate.proved.shapes import shape_of
from migrate.translate.engine import Outcome, OutputFile, translate
from migrate.translate.handover import handed_over
from migrate.translate.profiles import load_profile
from tests.unit.policies import calico, network_policy
from tests.unit.translate_command import CLIENT, EGRESS, HIDDEN_LABEL, PLAIN, Command, given

Object = dict[str, Json]


def pod(name: str, address: str, **labels: Json) -> Object:
    metadata: Json = {"name": name, "namespace": "shop", "labels": labels}
    status: Json = {"podIP": address, "podIPs": [{"ip": address}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n1"}, "status": status}


NODE: Object = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.7.1"}]},
}
OTHER_NODE: Object = {
    **NODE,
    "metadata": {"name": "n2"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.7.2"}]},
}
PODS = (pod("web", "10.0.0.1", app="web"), pod("client", "10.0.0.2", app="client"), NODE)
TWINS = (pod("web", "10.0.0.1", app="web"), pod("twin", "10.0.0.9", app="web"), NODE, OTHER_NODE)
HIDDEN: Json = {"matchLabels": {"pod-template-hash": "5d8c7"}}
HIDDEN_PODS = (pod("old", "10.0.0.3", **{"pod-template-hash": "5d8c7"}), *PODS)
BLOCK = network_policy({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.2/32"}}]}]}, "block")
ALMOST_ALL: Json = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.9/32"]}}
OUT = network_policy(
    {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [ALMOST_ALL], "ports": [{"port": 8081}]}]}, "out"
)
PUBLIC = network_policy({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "8.8.8.0/24"}}]}]}, "public")
NAMED = network_policy({"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]}, "named")
OPEN_TO_HIDDEN = network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": HIDDEN}]}]}, "open")
NO_LABEL = network_policy({"podSelector": {"matchLabels": {"a@b": "$x"}}, "ingress": []}, "no-label")
DENY_CLIENT: Json = {"action": "Deny", "source": {"selector": "app == 'client'"}}
DENY_FIRST: Json = {"order": 1, "selector": "all()", "ingress": [DENY_CLIENT]}
ALLOW_THEN: Json = {"order": 2, "selector": "all()", "ingress": [{"action": "Allow"}]}
ORDERED = (
    calico("NetworkPolicy", DENY_FIRST, {"name": "no", "namespace": "shop"}),
    calico("NetworkPolicy", ALLOW_THEN, {"name": "yes", "namespace": "shop"}),
)
VXLAN_AWAY = calico("NetworkPolicy", {"selector": "all()"}, {"name": "c", "namespace": "shop"})
WIDE = network_policy(
    {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {f"k{n}": "x"}}} for n in range(9)]}]},
    "wide",
)


def outcome_of(*objects: Mapping[str, Json], engines: tuple[str, ...] = (), target: str = "cilium-1.20") -> Outcome:
    raw = [RawObject(dict(item)) for item in objects]
    return handed_over(translate(raw, profile=load_profile(target), engines=engines), raw, Forms())


def prove(*objects: Mapping[str, Json], engines: tuple[str, ...] = (), target: str = "cilium-1.20") -> Translation:
    outcome = outcome_of(*objects, engines=engines, target=target)
    return proved(outcome, [RawObject(dict(item)) for item in objects], load_profile(target)).translation


def only(translation: Translation) -> TranslationResult:
    (result,) = translation.results
    return result


CLAIMS = [
    pytest.param([PLAIN], "exact", "witness", id="a policy by label holds for any pods, also without pods"),
    pytest.param([PLAIN, *PODS], "exact", "witness", id="and with pods"),
    pytest.param([EGRESS, *PODS], "exact", "witness", id="the way to the own node is spoken of apart"),
    pytest.param([PUBLIC], "exact", "witness", id="no pod has a public address"),
    pytest.param([BLOCK, *PODS], "exact_here", "snapshot", id="a CIDR over pods is shown for these pods"),
    pytest.param([BLOCK], "exact_here", "none", id="and for nobody where there are none"),
    pytest.param([NAMED, *PODS], "exact", "witness", id="a port by name that both resolve for each pod"),
    pytest.param([NO_LABEL, *PODS], "exact", "witness", id="a label that no pod can have"),
    pytest.param([OPEN_TO_HIDDEN, *HIDDEN_PODS], "changed", "snapshot", id="a label without an identity, with pods"),
    pytest.param([HIDDEN_LABEL, *HIDDEN_PODS], "unsupported", "snapshot", id="a subject that cannot be said"),
    pytest.param([VXLAN_AWAY], "exact", "witness", id="what Calico drops beside its policies is not their matter"),
    pytest.param([WIDE, *PODS], "exact_here", "snapshot", id="more kinds of pods than are tried"),
]


@pytest.mark.parametrize(("objects", "result", "proof"), CLAIMS)
def test_what_is_claimed(objects: list[Object], result: str, proof: str) -> None:
    found = only(prove(*objects))
    assert (found.result.value, found.proof) == (result, proof)


def test_what_is_not_tried_says_why() -> None:
    found = only(prove(WIDE, *PODS))
    assert found.assumptions[-1].startswith("shown for this snapshot only: ")
    assert f"more than {MOST_KINDS}" in found.assumptions[-1]


def test_the_comment_of_the_file_says_what_is_still_claimed() -> None:
    objects = [WIDE, *PODS]
    done = proved(outcome_of(*objects), [RawObject(item) for item in objects], load_profile("cilium-1.20"))
    (file,) = done.files
    assert "; result exact_here: " in file.text
    assert "; result exact: " not in file.text


def test_a_changed_policy_lists_the_flows() -> None:
    found = only(prove(OPEN_TO_HIDDEN, *HIDDEN_PODS))
    (cause,) = found.changes
    assert (cause.change, cause.side, cause.counterexample.source) == ("newly_denied", "ingress", "pod shop/old")
    assert (cause.before.object, cause.before.rule) == ("NetworkPolicy shop/open", "spec.ingress[0]")
    assert cause.sources.pods == 1


def test_an_unsupported_policy_lists_the_flows_that_it_no_longer_denies() -> None:
    found = only(prove(HIDDEN_LABEL, *HIDDEN_PODS))
    assert {cause.change for cause in found.changes} == {"newly_allowed"}
    assert {cause.counterexample.destination for cause in found.changes} == {"pod shop/old"}


def test_a_policy_that_changes_takes_nothing_from_the_proof_of_another() -> None:
    translation = prove(OPEN_TO_HIDDEN, PLAIN, *HIDDEN_PODS)
    assert {r.source.name: (r.result.value, r.proof) for r in translation.results} == {
        "open": ("changed", "snapshot"),
        "plain": ("exact", "witness"),
    }


def test_the_way_to_the_own_node_changes_for_no_single_policy() -> None:
    translation = prove(EGRESS, *PODS)
    assert only(translation).changes == ()
    (cause,) = (cause for cause in translation.changes if cause.counterexample.protocol != "SCTP")
    assert (cause.change, cause.counterexample.destination) == ("newly_denied", "node n1")


def test_both_parts_against_what_is_enforced_today() -> None:
    today = prove(EGRESS, *PODS, engines=("npm-linux",)).against_today
    assert today is not None
    parts = (today.cilium, today.with_compat)
    alone, together = ({cause.counterexample.destination for cause in part} for part in parts)
    assert (today.engine, alone, together) == ("npm", {"node n1"}, set())


def test_without_a_known_engine_nothing_is_compared_with_it() -> None:
    assert prove(EGRESS, *PODS).against_today is None


def test_sctp_that_the_target_drops_changes_for_the_cluster() -> None:
    translation = prove(PLAIN, *PODS)
    assert only(translation).proof == "witness"
    assert {cause.counterexample.protocol for cause in translation.changes} == {"SCTP"}


def test_policies_whose_order_decides_are_proved_together() -> None:
    translation = prove(*ORDERED, *PODS, engines=("calico",))
    assert {(r.source.name, r.result.value, r.proof) for r in translation.results} == {
        ("no", "exact", "witness"),
        ("yes", "exact", "witness"),
    }


Edit = Callable[[dict[str, Json]], None]


def planted(outcome: Outcome, edit: Edit) -> Outcome:
    """The outcome with another text in each file, as a translator with a bug would write it."""

    def edited(file: OutputFile) -> OutputFile:
        data = yaml.safe_load(file.text)
        edit(data["spec"])
        return replace(file, text=f"{json.dumps(data)}\n")

    return replace(outcome, files=tuple(edited(file) for file in outcome.files))


def no_rules(spec: dict[str, Json]) -> None:
    spec["ingress"] = [{}]


def everybody(spec: dict[str, Json]) -> None:
    spec["ingress"] = [{"fromEntities": ["all"]}]


def no_nodes(spec: dict[str, Json]) -> None:
    rules = spec["egress"]
    assert isinstance(rules, list)
    spec["egress"] = [rule for rule in rules if isinstance(rule, dict) and "toEntities" not in rule]


def no_default_deny(spec: dict[str, Json]) -> None:
    spec["enableDefaultDeny"] = {"ingress": False, "egress": False}


def no_deny(spec: dict[str, Json]) -> None:
    spec.pop("ingressDeny", None)
    spec["ingress"] = [{"fromEntities": ["all"]}]


BUGS = [
    pytest.param([PLAIN, *PODS], (), no_rules, "pod shop/client", "newly denied", id="a rule is lost"),
    pytest.param([PLAIN, *PODS], (), everybody, "", "newly allowed", id="everybody is let in"),
    pytest.param([PLAIN, *PODS], (), no_default_deny, "", "newly allowed", id="nothing is isolated"),
    pytest.param([PLAIN], (), no_rules, "witness", "newly denied", id="a rule is lost, without pods"),
    pytest.param([PLAIN, NODE], (), everybody, "", "newly allowed", id="everybody is let in, without pods"),
    pytest.param([OUT, *TWINS], (), no_nodes, "", "newly denied", id="other nodes are lost beside the own one"),
    pytest.param([BLOCK, *PODS], (), no_rules, "pod shop/client", "newly denied", id="what holds here does not"),
    pytest.param([*ORDERED, *PODS], ("calico",), no_deny, "pod shop/client", "newly allowed", id="the order is lost"),
]


@pytest.mark.parametrize(("objects", "engines", "edit", "end", "change"), BUGS)
def test_a_wrong_object_is_a_bug_of_ours(
    objects: list[Object], engines: tuple[str, ...], edit: Edit, end: str, change: str
) -> None:
    wrong = planted(outcome_of(*objects, engines=engines), edit)
    with pytest.raises(UndeclaredError) as error:
        proved(wrong, [RawObject(item) for item in objects], load_profile("cilium-1.20"))
    assert end in str(error.value)
    assert f"is {change}" in str(error.value)
    assert "please report it" in str(error.value)


SHAPES = [
    pytest.param("web", "db", "shop", True, id="another value and namespace"),
    pytest.param("shop", "db", "shop", False, id="a value that is also the namespace's"),
]


@pytest.mark.parametrize(("first", "second", "namespace", "same"), SHAPES)
def test_shapes(first: str, second: str, namespace: str, same: bool) -> None:
    def made(value: str, own: str) -> RawObject:
        peer: Json = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": value}}}
        return RawObject(network_policy({"podSelector": {}, "ingress": [{"from": [peer]}]}, "p", own))

    assert (shape_of([made(first, namespace)], []) == shape_of([made(second, "other")], [])) is same


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(("options", "proof"), [((), "witness"), (("--no-verify",), "none")])
def test_the_command_proves_unless_told_not_to(command: Command, options: tuple[str, ...], proof: str) -> None:
    done = command("-f", given(command.folder, PLAIN), "-o", "json", *options)
    (result,) = json.loads(done.out)["results"]
    assert (done.status, result["result"], result["proof"]) == (0, "exact", proof)


def test_the_command_ends_with_70_and_writes_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: object, **options: object) -> Outcome:
        return planted(translate(*arguments, **options), no_rules)  # type: ignore[arg-type]

    monkeypatch.setattr(migrate.translate.engine, "translate", wrong)
    done = command("-f", given(command.folder, PLAIN), "--output-dir", "out")
    assert done.status == 70
    assert done.out == ""
    assert "TCP/1 is newly denied" in done.err
    assert "please report it" in done.err
    assert not (command.folder / "out").exists()


def test_the_command_says_what_changes_of_today(command: Command) -> None:
    done = command("-f", given(command.folder, EGRESS, *PODS), "--before-engine", "npm-linux")
    alone, together = (line for line in done.out.splitlines() if " against npm today: " in line)
    assert alone.startswith("cilium/ alone ")
    assert together.startswith("with compat/ ")
    assert alone.split(":")[1] != together.split(":")[1]


@pytest.mark.parametrize("split", ["per-source", "per-workload"])
def test_joined_objects_are_proved_too(command: Command, split: str) -> None:
    other = network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": CLIENT}]}]}, "other")
    done = command("-f", given(command.folder, PLAIN, other), "-o", "json", "--split", split)
    assert {result["proof"] for result in json.loads(done.out)["results"]} == {"witness"}
