"""`migrate translate`: what it reads, what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import yaml

import migrate
from migrate.model.documents import SnapshotHeader
from migrate.model.raw import Json, RawObject
from migrate.resources import data
from migrate.scan import snapshot
from tests.unit.policies import network_policy
from tests.unit.translate_command import (
    DEMO,
    EGRESS,
    HIDDEN_LABEL,
    PLAIN,
    UNREADABLE_POD,
    Command,
    files,
    given,
    results,
    tree,
)


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def test_a_file_a_folder_and_standard_input_are_translated_alike(translate: Command) -> None:
    path = given(translate.folder, PLAIN, name="some/policies.yaml")
    for arguments in (("-f", path), ("-f", path.parent), ("-f", "-")):
        done = translate(*arguments, "-o", "json", stdin=path.read_text())
        assert (done.status, results(done.out)) == (0, {"NetworkPolicy/plain": "exact"})


def test_several_inputs_are_one(translate: Command) -> None:
    one, other = given(translate.folder, PLAIN, name="a.yaml"), given(translate.folder, EGRESS, name="b.yaml")
    done = translate("-f", one, "-f", other, "-o", "json")
    assert set(results(done.out)) == {"NetworkPolicy/plain", "NetworkPolicy/egress"}


def test_the_snapshot_of_the_working_folder_is_the_default(translate: Command) -> None:
    assert translate("-f", given(translate.folder, PLAIN), "-q", command="scan").status == 0
    done = translate("-o", "json")
    assert (done.status, results(done.out)) == (0, {"NetworkPolicy/plain": "exact"})


def test_the_output_folder_is_the_working_folder(translate: Command) -> None:
    source = given(translate.folder, PLAIN, name="plain.yaml")
    assert translate("-f", source, "-q", "--output-dir", "work", command="scan").status == 0
    assert translate("--output-dir", "work").status == 0
    assert files(translate.folder / "work") == ["cilium/shop/plain.yaml", "snapshot.jsonl.gz", "translation.json"]


def test_a_snapshot_may_lie_anywhere(translate: Command) -> None:
    source = given(translate.folder, PLAIN, name="plain.yaml")
    assert translate("-f", source, "-q", "--output-dir", "elsewhere", command="scan").status == 0
    before = tree(translate.folder / "elsewhere")
    assert translate("--snapshot", "elsewhere/snapshot.jsonl.gz", "--output-dir", "out").status == 0
    assert files(translate.folder / "out") == ["cilium/shop/plain.yaml", "translation.json"]
    assert tree(translate.folder / "elsewhere") == before


def test_only_the_named_namespaces_and_so_not_everything(translate: Command) -> None:
    other = network_policy({"podSelector": {}}, "other", "lab")
    done = translate("-f", given(translate.folder, PLAIN, other), "-n", "lab", "-o", "json")
    assert (done.status, results(done.out)) == (4, {"NetworkPolicy/other": "exact"})
    assert "incomplete" in done.err


BAD_USAGE = [
    pytest.param("", "migration/snapshot.jsonl.gz: no such file; make a new one with migrate scan", id="no input"),
    pytest.param("-f missing", "missing: no such file or folder", id="a missing file"),
    pytest.param("--snapshot missing", "missing: no such file", id="a missing snapshot"),
    pytest.param("--snapshot in.yaml", "in.yaml: no snapshot", id="a snapshot that is none"),
    pytest.param("--snapshot s -f in.yaml", "--snapshot is the whole input", id="a snapshot beside files"),
    pytest.param("--snapshot s -n shop", "--snapshot is the whole input", id="a snapshot beside a namespace"),
    pytest.param("--snapshot s --context c", "--snapshot is the whole input", id="a snapshot beside a cluster"),
    pytest.param("--snapshot s --az-json in.yaml", "--az-json goes with", id="a snapshot beside Azure's words"),
    pytest.param("-n shop", "no such kubeconfig", id="a namespace without files is one of a cluster"),
    pytest.param("-A -n shop -f in.yaml", "-A and -n contradict", id="all namespaces and one"),
    pytest.param("-f in.yaml --diff d -o json", "--diff and -o both", id="two things to print"),
    pytest.param("-f in.yaml --diff nowhere", "nowhere/translation.json: cannot be read", id="nothing to compare with"),
    pytest.param("-f in.yaml --networkpolicy rewrit", "'rewrite', 'supplement', 'keep'", id="an unknown mode"),
    pytest.param("-f in.yaml --before-engine npm", "'npm-linux'", id="an unknown engine"),
    pytest.param("-f in.yaml --fail-on info", "'blocker', 'warning', 'never'", id="an unknown severity"),
    pytest.param("-f in.yaml -o xml", "'table', 'json', 'yaml'", id="an unknown form"),
    pytest.param("-f in.yaml --output-dir in.yaml", "in.yaml: cannot be used: File exists", id="a file as folder"),
    pytest.param("--target cillium-1.20", "did you mean cilium-1.20", id="a target misspelt, told before reading"),
    pytest.param("--target aks", "did you mean aks-1.31", id="a target without its version"),
    pytest.param("--target aks-1.34-acns", "did you mean aks-1.34-acns-", id="a target without its form"),
    pytest.param("--target k3s", "known are cilium-1.16", id="a target that is like no other"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_USAGE)
def test_bad_usage_ends_with_2_and_writes_nothing(arguments: str, message: str, translate: Command) -> None:
    given(translate.folder, PLAIN)
    before = tree(translate.folder)
    done = translate(*arguments.split())
    assert (done.status, done.out) == (2, "")
    assert message in " ".join(done.err.replace("│", " ").split())
    assert tree(translate.folder) == before


HOSTILE_NAMES = [("../out", "shop"), ("..", "shop"), ("a/b", "shop"), ("/etc/x", "shop"), ("x", "../.."), ("x", "a/b")]


@pytest.mark.parametrize(("name", "namespace"), HOSTILE_NAMES)
def test_a_name_that_is_a_path_in_a_file_ends_with_2(name: str, namespace: str, translate: Command) -> None:
    source = given(translate.folder, PLAIN, network_policy({"podSelector": {}}, name, namespace))
    before = tree(translate.folder)
    done = translate("-f", source, "--output-dir", "out")
    assert (done.status, done.out) == (2, "")
    assert "in.yaml:4: metadata.name" in done.err
    assert tree(translate.folder) == before


@pytest.mark.parametrize(("name", "namespace"), HOSTILE_NAMES)
def test_a_name_that_is_a_path_in_a_snapshot_is_not_written(name: str, namespace: str, translate: Command) -> None:
    header = SnapshotHeader(tool_version=migrate.__version__, origin="cluster", name="c")
    odd = network_policy({"podSelector": {}}, name, namespace)
    snapshot.write(translate.folder / "s", header, [RawObject(odd), RawObject(PLAIN)])
    done = translate("--snapshot", "s", "--output-dir", "deep/er/out", "-o", "json")
    assert (done.status, results(done.out)[f"NetworkPolicy/{name}"]) == (1, "unsupported")
    assert files(translate.folder) == [
        "deep/er/out/cilium/shop/plain.yaml",
        "deep/er/out/translation.json",
        "s",
    ]


def test_the_summary_counts_results_and_lists_findings(translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN, HIDDEN_LABEL))
    assert done.out.startswith("2 source objects: 1 exact, 1 unsupported\n")
    assert "blocker POL-LABEL-FILTERED NetworkPolicy shop/hidden-label spec.podSelector" in " ".join(done.out.split())
    assert done.err.splitlines() == [
        "target cilium-1.20: no AKS cluster was seen, so the newest Cilium release is taken",
        "wrote 1 object and translation.json to migration",
        "1 finding of severity blocker; migrate explain-rule ID says what to do",
    ]
    assert translate("-f", "in.yaml", "--quiet").err == ""


def test_json_is_the_document_on_disk_and_fits_the_published_schema(translate: Command) -> None:
    done = translate("-f", DEMO, "-o", "json")
    document = json.loads(done.out)
    schema = json.loads(data("reports").joinpath("schemas", "translation.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document == json.loads((translate.folder / "migration" / "translation.json").read_text())
    assert {entry["result"] for entry in document["results"]} == {"exact", "exact_here", "unsupported"}


def test_yaml_on_stdout_is_what_the_files_hold(translate: Command) -> None:
    alone = translate("-f", DEMO, "-o", "yaml")
    assert list(translate.folder.iterdir()) == []
    beside = translate("-f", DEMO, "-o", "yaml", "--output-dir", "out")
    assert beside.out == alone.out
    written = [path for path in files(translate.folder / "out") if path != "translation.json"]
    expected = [yaml.safe_load((translate.folder / "out" / path).read_text()) for path in written]
    assert list(yaml.safe_load_all(alone.out)) == expected
    assert len(expected) == len(written) > 2


def test_no_policies_are_no_error(translate: Command) -> None:
    source = given(translate.folder, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    done = translate("-f", source, "-o", "yaml")
    assert (done.status, done.out) == (0, "")
    assert translate("-f", source).out == "0 source objects: no policies\n"


def test_what_steers_a_terminal_is_shown_not_sent(translate: Command) -> None:
    odd = dict(PLAIN)
    odd["spec"] = {"podSelector": {}, "a\x1b[2J": 1}
    done = translate("-f", given(translate.folder, odd))
    assert (done.status, "\x1b" in done.out) == (1, False)
    assert "a\\x1b[2J" in done.out


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("rewrite", {"NetworkPolicy/plain": "exact", "NetworkPolicy/egress": "exact"}),
        ("supplement", {"NetworkPolicy/plain": "kept", "NetworkPolicy/egress": "kept"}),
        ("keep", {"NetworkPolicy/plain": "kept", "NetworkPolicy/egress": "kept"}),
    ],
)
def test_modes_for_network_policies(mode: str, expected: dict[str, str], translate: Command) -> None:
    source = given(translate.folder, PLAIN, EGRESS)
    done = translate("-f", source, "--networkpolicy", mode, "-o", "json")
    assert (json.loads(done.out)["networkpolicy"], results(done.out)) == (mode, expected)
    written = ["cilium/shop/egress.yaml", "cilium/shop/plain.yaml"] if mode == "rewrite" else []
    assert files(translate.folder / "migration") == [*written, "translation.json"]


def test_the_mode_changes_what_is_left_of_an_earlier_run(translate: Command) -> None:
    source = given(translate.folder, PLAIN)
    translate("-f", source)
    translate("-f", source, "--networkpolicy", "keep")
    assert files(translate.folder / "migration") == ["translation.json"]


@pytest.mark.parametrize(
    ("arguments", "engines"),
    [
        pytest.param((), [], id="files alone do not tell"),
        pytest.param(("--before-engine", "calico"), ["calico"], id="one"),
        pytest.param(
            ("--before-engine", "npm-windows", "--before-engine", "npm-linux"), ["npm-linux", "npm-windows"], id="two"
        ),
        pytest.param(("--before-engine", "none"), ["none"], id="none"),
    ],
)
def test_what_enforces_today_can_be_said(arguments: tuple[str, ...], engines: list[str], translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN), "-o", "json", *arguments)
    assert json.loads(done.out)["engines"] == engines


def test_the_target_can_be_said(translate: Command) -> None:
    done = translate("-f", given(translate.folder, PLAIN), "-o", "json", "--target", "aks-1.36-acns-l7")
    assert json.loads(done.out)["target"] == "aks-1.36-acns-l7"
    assert "target aks-1.36-acns-l7: as asked" in done.err


@pytest.mark.parametrize(
    ("objects", "fail_on", "status"),
    [
        pytest.param((PLAIN,), "warning", 0, id="no finding"),
        pytest.param((EGRESS,), "blocker", 0, id="a warning is no blocker"),
        pytest.param((EGRESS,), "warning", 1, id="a warning, when asked for"),
        pytest.param((HIDDEN_LABEL,), None, 1, id="a blocker, without being asked"),
        pytest.param((HIDDEN_LABEL,), "warning", 1, id="a blocker is more than a warning"),
        pytest.param((HIDDEN_LABEL,), "never", 0, id="a blocker when only a result is wanted"),
        pytest.param((PLAIN, UNREADABLE_POD), None, 4, id="something could not be read"),
        pytest.param((HIDDEN_LABEL, UNREADABLE_POD), None, 1, id="what is bad goes before what is missing"),
        pytest.param((HIDDEN_LABEL, UNREADABLE_POD), "never", 4, id="what is missing is said even then"),
    ],
)
def test_status(objects: tuple[Mapping[str, Json], ...], fail_on: str | None, status: int, translate: Command) -> None:
    options = () if fail_on is None else ("--fail-on", fail_on)
    done = translate("-f", given(translate.folder, *objects), "-o", "json", "--before-engine", "calico", *options)
    assert done.status == status
    assert json.loads(done.out)["complete"] is (UNREADABLE_POD not in objects)
    assert (translate.folder / "migration/translation.json").exists()


def test_long_names_are_shown_whole(translate: Command) -> None:
    spec: Json = {"podSelector": {}, "ingress": [{"ports": [{"port": 1, "protocol": "SCTP"}]}]}
    done = translate("-f", given(translate.folder, network_policy(spec, "long-" * 40 + "name")))
    assert ("POL-SCTP" in done.out, "…" in done.out, "-name spec.ingress[0]" in done.out) == (True, False, True)
