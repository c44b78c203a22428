"""staged/: what staged policies become, what is said of those that become nothing, and what never meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, translate
from migrate.translate.profiles import load_profile
from tests.command_line import migrate

Data = dict[str, Json]
RULES: dict[str, Json] = {
    "selector": "app == 'web'",
    "types": ["Ingress"],
    "ingress": [{"action": "Allow", "source": {"selector": "app == 'db'"}}],
}
CLOSED: dict[str, Json] = {"selector": "app == 'web'", "types": ["Ingress"]}
V3 = "projectcalico.org/v3"
GUARD = "cilium/_cluster/calico-no-vxlan-from-pods.yaml"


def an_object(kind: str, name: str, spec: Json, namespace: str | None = "shop", version: str = V3) -> Data:
    metadata: Data = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def pod(name: str, address: str) -> Data:
    found = an_object("Pod", name, {"nodeName": "n1"}, version="v1")
    found["metadata"] = {"name": name, "namespace": "shop", "labels": {"app": name}}
    return found | {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}


PODS = [pod("web", "10.0.0.1"), pod("db", "10.0.0.2")]


def staged(action: str = "", kind: str = "NetworkPolicy", spec: Data | None = None) -> Data:
    whole = (RULES if spec is None else spec) | ({"stagedAction": action} if action else {})
    return an_object(f"Staged{kind}", "p", whole, None if kind == "GlobalNetworkPolicy" else "shop")


def translated(*objects: Data, engines: tuple[str, ...] = ("calico",)) -> Outcome:
    raw = [RawObject(item) for item in (*PODS, *objects)]
    return translate(raw, profile=load_profile("cilium-1.20"), engines=engines)


def paths(outcome: Outcome, folder: str) -> list[str]:
    return [file.path for file in outcome.files if file.path.startswith(f"{folder}/")]


def told(outcome: Outcome) -> str:
    found = [result for result in outcome.translation.results if result.source.kind.startswith("Staged")]
    assert {finding.effect.value for result in found for finding in result.findings} == {"none"}
    return " | ".join(finding.detail for result in found for finding in result.findings)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        pytest.param(staged("Set"), "staged/shop/staged-p.yaml", id="Set"),
        pytest.param(staged(), "staged/shop/staged-p.yaml", id="Set is the default"),
        pytest.param(staged("Set", "GlobalNetworkPolicy"), "staged/_cluster/staged-p.yaml", id="a global policy"),
        pytest.param(
            staged("Set", "KubernetesNetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress"]}),
            "staged/shop/staged-p.yaml",
            id="a Kubernetes policy",
        ),
    ],
)
def test_a_staged_policy_is_written_apart(source: Data, path: str) -> None:
    outcome = translated(source)
    assert paths(outcome, "cilium") == [GUARD]
    assert paths(outcome, "staged") == [path]
    (result,) = outcome.translation.results
    assert (result.objects, [item.file for item in result.staged]) == ((), [path])
    (file,) = (file for file in outcome.files if file.path == path)
    written = yaml.safe_load(file.text)
    assert written["metadata"]["labels"]["cilium-migrate/finding"] == "POL-STAGED"
    assert written["metadata"]["name"] == "staged-p"
    assert "do not apply it" in file.text.splitlines()[0]
    assert [file.path for file in outcome.to_apply] == [GUARD]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param(staged("Learn"), "stagedAction Learn: enforced or not, it would change nothing", id="Learn"),
        pytest.param(staged("Ignore"), "stagedAction Ignore: enforced or not, it would change nothing", id="Ignore"),
        pytest.param(staged("Delete"), "it would end a policy that is not there", id="Delete of nothing"),
        pytest.param(staged("Remove"), "Remove is not one of Set, Delete, Learn, Ignore", id="no such action"),
        pytest.param(
            staged("Set", "GlobalNetworkPolicy", RULES | {"preDNAT": True, "applyOnForward": True}),
            "preDNAT",
            id="a policy for hosts",
        ),
    ],
)
def test_what_would_add_nothing_is_said_and_not_written(source: Data, text: str) -> None:
    outcome = translated(source)
    assert (paths(outcome, "staged"), paths(outcome, "cilium")) == ([], [GUARD])
    assert text in told(outcome)
    assert [result.result.value for result in outcome.translation.results] == ["unsupported"]


def test_a_deletion_names_the_policy_that_it_would_end() -> None:
    outcome = translated(an_object("NetworkPolicy", "p", RULES), staged("Delete", spec={}))
    assert "it would end NetworkPolicy shop/p" in told(outcome)
    assert paths(outcome, "cilium") == [GUARD, "cilium/shop/p.yaml"]
    assert paths(outcome, "staged") == []


@pytest.mark.parametrize(
    ("others", "text", "is_said"),
    [
        pytest.param([], "police ingress of 1 of today's pods", True, id="how many pods"),
        pytest.param([], "take the place", False, id="a new policy replaces none"),
        pytest.param(
            [an_object("NetworkPolicy", "p", CLOSED)], "take the place of NetworkPolicy shop/p", True, id="one"
        ),
        pytest.param([an_object("NetworkPolicy", "q", CLOSED)], "order of Calico's policies", False, id="only allows"),
        pytest.param(
            [an_object("NetworkPolicy", "q", CLOSED | {"ingress": [{"action": "Deny"}]})],
            "order of Calico's policies decides here",
            True,
            id="a deny beside it",
        ),
    ],
)
def test_the_finding_says_what_it_would_do(others: list[Data], text: str, is_said: bool) -> None:
    assert (text in told(translated(staged("Set"), *others))) is is_said


def test_what_staged_cannot_say_is_named_and_no_gap_of_today() -> None:
    hidden = RULES | {"ingress": [{"action": "Allow", "source": {"selector": "pod-template-hash == 'x'"}}]}
    outcome = translated(staged("Set", spec=hidden))
    assert "staged/ does not say all of it, POL-LABEL-FILTERED" in told(outcome)


def test_a_network_set_that_only_a_staged_policy_uses_is_written_apart_too() -> None:
    networks = an_object("GlobalNetworkSet", "partners", {"nets": ["203.0.113.0/24"]}, None)
    networks["metadata"] = {"name": "partners", "labels": {"role": "partner"}}
    rules = RULES | {"ingress": [{"action": "Allow", "source": {"selector": "role == 'partner'"}}]}
    outcome = translated(networks, staged("Set", "GlobalNetworkPolicy", rules))
    assert paths(outcome, "cilium") == [GUARD]
    assert paths(outcome, "staged") == [
        "staged/_cluster/cidrgroups/staged-partners.yaml",
        "staged/_cluster/staged-p.yaml",
    ]


def test_without_calico_nobody_looks_at_it() -> None:
    outcome = translated(staged("Set"), engines=("npm-linux",))
    assert paths(outcome, "staged") == []
    assert "Calico does not run" in told(outcome)


def test_the_command_never_hands_it_out_to_be_applied(tmp_path: Path) -> None:
    source = tmp_path / "in.yaml"
    source.write_text(yaml.safe_dump_all([*PODS, staged("Set"), an_object("NetworkPolicy", "q", RULES)]))
    options = ("-f", source, "--target", "cilium-1.20", "--before-engine", "calico", "--output-dir", "out")
    done = migrate(tmp_path, "translate", *options, "--kustomize", "-o", "yaml")
    assert done.status == 0
    assert [
        item["metadata"]["name"] for item in yaml.safe_load_all(done.stdout) if item["kind"] != "Kustomization"
    ] == [
        "calico-no-vxlan-from-pods",
        "q",
    ]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/staged/**/*.yaml")) == [
        "staged/shop/staged-p.yaml"
    ]
    assert "staged" not in (tmp_path / "out/cilium/kustomization.yaml").read_text()
    assert migrate(tmp_path, "translate", *options, "--kustomize", "--check").status == 0
    source.write_text(yaml.safe_dump_all([*PODS, an_object("NetworkPolicy", "q", RULES)]))
    assert migrate(tmp_path, "translate", *options).status == 0
    assert list(tmp_path.glob("out/staged/**/*.yaml")) == []


@pytest.mark.parametrize(
    ("folders", "verdict"),
    [
        pytest.param(("cilium",), "allow", id="as it will be"),
        pytest.param(("cilium", "staged"), "deny", id="with what is staged"),
        pytest.param(("staged",), "deny", id="what is staged alone"),
    ],
)
def test_simulate_asks_the_staged_policies_beside(folders: tuple[str, ...], verdict: str, tmp_path: Path) -> None:
    source = tmp_path / "in.yaml"
    source.write_text(yaml.safe_dump_all([*PODS, staged("Set", spec=CLOSED)]))
    assert migrate(tmp_path, "scan", "-f", source, "--output-dir", "out", "-q").status == 0
    assert migrate(tmp_path, "translate", "--output-dir", "out", "--before-engine", "calico", "-q").status == 0
    files = [part for folder in folders for part in ("-f", f"out/{folder}")]
    question = ("--from", "shop/db", "--to", "shop/web", "--port", "80")
    done = migrate(
        tmp_path,
        "simulate",
        "--engine",
        "cilium",
        "--snapshot",
        "out/snapshot.jsonl.gz",
        *question,
        *files,
        "-o",
        "json",
    )
    (flow,) = yaml.safe_load(done.stdout)["flows"]
    assert flow["verdict"] == verdict
