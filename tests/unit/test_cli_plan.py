"""`migrate plan` from its options to its exit status, on folders that scans, translations and audits made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from migrate.model.plan_documents import Plan, PlanCheck, Precondition
from migrate.model.raw import Json
from tests.command_line import migrate
from tests.readiness.folders import azure_json
from tests.recordings import Recording
from tests.update_schemas import path_of

Document = dict[str, Json]
NOW = "1795262400"


def pod(name: str, address: str, owner: str, **labels: Json) -> Document:
    """A running pod of a StatefulSet in namespace shop."""
    reference: Json = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "controller": True}
    metadata: Document = {"name": name, "namespace": "shop", "labels": {"app": owner, **labels}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "ownerReferences": [reference]},
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def policy(name: str, subject: str, peer: str, port: int = 5432) -> Document:
    """Who of namespace shop may connect to whom."""
    spec: Json = {
        "podSelector": {"matchLabels": {"app": subject}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": peer}}}], "ports": [{"port": port}]}],
    }
    metadata: Json = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def labelled(**labels: Json) -> Document:
    """Namespace shop."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}


NAMESPACE = labelled(team="a")
NODE: Document = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "spec": {},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]},
}
WEB, DB, JOB = pod("web-0", "10.0.0.1", "web"), pod("db-0", "10.0.0.2", "db"), pod("job-0", "10.0.0.3", "job")
ALLOWED = policy("db", "db", "web")
CLUSTER = (NAMESPACE, NODE, WEB, DB, JOB, ALLOWED)


def given(folder: Path, *objects: Mapping[str, Json], name: str = "cluster.json") -> Path:
    place = folder / name
    place.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]}), encoding="utf-8")
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder of a cluster with NPM, scanned, translated and verified."""
    azure = azure_json(tmp_path, "npm-node-subnet", {})
    done = migrate(tmp_path, "scan", "-f", given(tmp_path, *CLUSTER), "--az-json", azure, "-q")
    assert done.status == 0, done.stderr
    assert migrate(tmp_path, "translate", "-q").status == 0
    assert migrate(tmp_path, "verify", "-q").status in (0, 1)
    return tmp_path


def check(folder: Path, *objects: Mapping[str, Json], status: int) -> PlanCheck:
    """What a fresh scan of these objects says."""
    fresh = given(folder, *objects, name="fresh.json")
    ended = migrate(folder, "plan", "--check", "-f", fresh, "-o", "json", "-q", SOURCE_DATE_EPOCH=NOW)
    assert ended.status == status, ended.stdout + ended.stderr
    document = json.loads(ended.stdout)
    jsonschema.Draft202012Validator(json.loads(path_of("plan-check").read_text())).validate(document)
    return msgspec.convert(document, PlanCheck)


def audited(folder: Path) -> None:
    """An audit of an hour in which web talked to db; a connection between job and db, and one to web, stood."""
    recording = Recording(folder / "migration" / "audit.db")
    veths = {name: recording.veth(f"shop/{name}") for name in ("web-0", "db-0", "job-0")}
    recording.flow(veths["web-0"], "from", "10.0.0.1", "10.0.0.2", "TCP/5432")
    recording.flow(veths["db-0"], "to", "10.0.0.1", "10.0.0.2", "TCP/5432")
    for moment in ("start", "end"):
        recording.connection(moment, ("10.0.0.3", 40000), ("10.0.0.2", 5432))
    recording.close()
    ended = migrate(folder, "audit", "replay", "-o", "json", "-q")
    assert ended.status in (0, 1, 4), ended.stderr
    (folder / "migration" / "audit.json").write_text(ended.stdout)


def test_runbook_and_its_files_are_written(folder: Path) -> None:
    ended = migrate(folder, "plan", SOURCE_DATE_EPOCH=NOW)
    assert (ended.status, ended.stdout) == (4, f"{folder}/migration/runbook.md\n")
    text = (folder / "migration/runbook.md").read_text()
    assert text.startswith("# Cutover runbook: npm-flat\n")
    assert "| Plan made | 2026-11-21T12:00:00Z by migrate" in text
    assert "export RESOURCE_GROUP=rg-demo" in text
    written = msgspec.json.decode((folder / "migration/plan.json").read_bytes(), type=Plan)
    assert set(written.files) <= {str(p.relative_to(folder / "migration")) for p in folder.rglob("migration/**/*")}
    assert {"apply.sh", "backup/restore.sh", "remove-old-policies.sh"} <= set(written.files)


def test_plan_as_json_fits_its_schema(folder: Path) -> None:
    ended = migrate(folder, "plan", "-o", "json", SOURCE_DATE_EPOCH=NOW)
    document = json.loads(ended.stdout)
    jsonschema.Draft202012Validator(json.loads(path_of("plan").read_text())).validate(document)
    assert document["route"]["steps"] == ["dataplane"]
    assert not (folder / "migration/runbook.md").exists()


def test_same_clock_same_bytes(folder: Path) -> None:
    texts = []
    for _ in range(2):
        migrate(folder, "plan", "--output-file", "elsewhere.md", SOURCE_DATE_EPOCH=NOW)
        texts.append((folder / "elsewhere.md").read_bytes())
    assert texts[0] == texts[1]


def test_ways_are_chosen_by_options(folder: Path) -> None:
    ended = migrate(folder, "plan", "-o", "json", "--overlay", SOURCE_DATE_EPOCH=NOW)
    assert json.loads(ended.stdout)["route"]["steps"] == ["policy-none", "overlay", "dataplane"]
    assert [v["value"] for v in json.loads(ended.stdout)["variables"] if v["name"] == "POD_CIDR"] == [None]
    ended = migrate(folder, "plan", "-o", "json", "--through-none", SOURCE_DATE_EPOCH=NOW)
    assert json.loads(ended.stdout)["route"]["steps"] == ["policy-none", "dataplane"]


def test_an_audited_cluster_has_a_whole_plan(folder: Path) -> None:
    audited(folder)
    ended = migrate(folder, "plan", "-o", "json", SOURCE_DATE_EPOCH=NOW)
    assert ended.status == 0, json.loads(ended.stdout)["incomplete"]


def audit_condition(folder: Path) -> Precondition:
    """What the plan says of the audit."""
    made = msgspec.json.decode(migrate(folder, "plan", "-o", "json", SOURCE_DATE_EPOCH=NOW).stdout, type=Plan)
    (found,) = [each for each in made.preconditions if each.id == "audit"]
    return found


def test_an_audit_of_other_policies_is_no_proof(folder: Path) -> None:
    audited(folder)
    assert "changed since" not in audit_condition(folder).detail
    other = given(folder, *CLUSTER[:-1], policy("db", "db", "job"))
    migrate(folder, "scan", "-f", other, "--az-json", "az.json", "-q")
    migrate(folder, "translate", "-q")
    found = audit_condition(folder)
    assert found.state == "not_met"
    assert "changed since" in found.detail


def test_restarts_come_from_the_audit_servers_first(folder: Path) -> None:
    audited(folder)
    made = msgspec.json.decode(migrate(folder, "plan", "-o", "json", SOURCE_DATE_EPOCH=NOW).stdout, type=Plan)
    assert [(one.order, one.workload) for one in made.restarts] == [(1, "StatefulSet/db"), (2, "StatefulSet/job")]
    assert [one.command.text for one in made.restarts if one.command is not None] == [
        "kubectl -n shop rollout restart statefulset/db",
        "kubectl -n shop rollout restart statefulset/job",
    ]
    assert "job → shop/StatefulSet/db 5432/TCP" in made.restarts[1].connections[0]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--snapshot", "x"), id="a fresh scan without --check"),
        pytest.param(("-f", "x"), id="files without --check"),
        pytest.param(("--check", "--overlay"), id="a way with --check"),
        pytest.param(("--check", "--snapshot", "x", "-f", "y"), id="two fresh scans"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], folder: Path) -> None:
    assert migrate(folder, "plan", *arguments).status == 2


def test_no_folder_is_an_input_error(tmp_path: Path) -> None:
    for arguments in ((), ("--check", "-f", given(tmp_path, *CLUSTER))):
        ended = migrate(tmp_path, "plan", "-d", "nowhere", *arguments)
        assert ended.status == 2
        assert "run `migrate scan` first" in ended.stderr


def test_nothing_changed(folder: Path) -> None:
    found = check(folder, *CLUSTER, status=0)
    assert (found.result, found.changes, found.checked) == ("unchanged", (), "2026-11-21T12:00:00Z")
    fresh = given(folder, *CLUSTER, name="fresh.json")
    assert "Nothing changed" in migrate(folder, "plan", "--check", "-f", fresh, "-q").stdout


def test_the_folder_stays_as_it_is(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("migration/**/*") if path.is_file()}
    check(folder, NAMESPACE, NODE, WEB, DB, status=1)
    assert before == {path: path.read_bytes() for path in folder.rglob("migration/**/*") if path.is_file()}


def test_a_rollout_changes_nothing(folder: Path) -> None:
    again = pod("web-7", "10.0.0.9", "web", **{"pod-template-hash": "5d8c7"})
    assert check(folder, NAMESPACE, NODE, again, DB, JOB, ALLOWED, status=0).result == "unchanged"


def test_a_change_that_nothing_rests_on_holds(folder: Path) -> None:
    found = check(folder, labelled(team="b"), *CLUSTER[1:], status=0)
    assert (found.result, found.proofs) == ("holds", ())
    assert [(one.kind, one.object, one.fields) for one in found.changes] == [
        ("Namespace", "shop", ("metadata.labels.team",))
    ]


def test_a_changed_policy_breaks_what_was_written(folder: Path) -> None:
    found = check(folder, *CLUSTER[:-1], policy("db", "db", "web", 5433), status=1)
    assert found.result == "broken"
    assert [one.fields for one in found.changes] == [("spec.ingress[0].ports[0].port",)]
    written = [proof for proof in found.proofs if proof.what == "the written objects"]
    assert [proof.objects for proof in written] == [("CiliumNetworkPolicy shop/db in cilium/",)]


def test_a_new_policy_was_never_translated(folder: Path) -> None:
    found = check(folder, *CLUSTER, policy("web", "web", "job"), status=1)
    assert ("the translation", ("NetworkPolicy shop/web",)) in [(proof.what, proof.objects) for proof in found.proofs]


def test_a_policy_that_is_gone_leaves_what_was_written_for_it(folder: Path) -> None:
    found = check(folder, *CLUSTER[:-1], status=1)
    assert any("are gone" in proof.why for proof in found.proofs)


def test_another_engine_is_another_cluster(folder: Path) -> None:
    fresh = given(folder, *CLUSTER, name="fresh.json")
    azure = azure_json(folder, "npm-node-subnet", {"networkProfile": {"networkPolicy": "calico"}})
    ended = migrate(folder, "plan", "--check", "-f", fresh, "--az-json", azure, "-q")
    assert ended.status == 1
    assert "the way to Cilium" in ended.stdout
    assert "Do not begin" in ended.stdout


def test_a_fresh_snapshot_in_place_of_a_scan(folder: Path) -> None:
    given(folder, *CLUSTER, policy("web", "web", "job"), name="fresh.json")
    migrate(folder, "scan", "-f", "fresh.json", "--az-json", "az.json", "--output-dir", "fresh", "-q")
    ended = migrate(folder, "plan", "--check", "--snapshot", "fresh/snapshot.jsonl.gz", "-q")
    assert ended.status == 1
    assert "+ NetworkPolicy (networking.k8s.io) shop/web" in ended.stdout


def test_what_could_not_be_read_is_incomplete(folder: Path) -> None:
    given(folder, *CLUSTER, name="fresh.json")
    migrate(folder, "scan", "-f", "fresh.json", "-n", "shop", "--az-json", "az.json", "--output-dir", "fresh", "-q")
    ended = migrate(folder, "plan", "--check", "--snapshot", "fresh/snapshot.jsonl.gz", "-q", "-o", "json")
    assert ended.status == 4
    assert json.loads(ended.stdout)["incomplete"] == ["the fresh scan has only the namespaces shop"]


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        pytest.param((*CLUSTER, pod("new-0", "10.0.0.8", "new")), "it never saw", id="a workload that was not there"),
        pytest.param(
            (*CLUSTER[:4], pod("job-0", "10.0.0.3", "job", tier="back"), ALLOWED), "other labels", id="other labels"
        ),
        pytest.param((*CLUSTER[:-1], policy("db", "db", "web", 1)), "no longer the ones", id="other policies"),
    ],
)
def test_what_an_audit_says_grows_stale(objects: tuple[Document, ...], why: str, folder: Path) -> None:
    audited(folder)
    assert check(folder, *CLUSTER, status=0).result == "unchanged"
    found = check(folder, *objects, status=1)
    assert any(proof.what == "the audit" and why in proof.why for proof in found.proofs)


def test_forms_of_the_translation_are_kept(folder: Path) -> None:
    options = ("--kustomize", "--split", "per-workload", "--networkpolicy", "supplement")
    assert migrate(folder, "translate", "-q", *options).status in (0, 1)
    assert check(folder, *CLUSTER, status=0).result == "unchanged"
    assert check(folder, labelled(team="b"), *CLUSTER[1:], status=0).result == "holds"


def test_a_folder_in_which_nothing_was_proved_yet(tmp_path: Path) -> None:
    azure = azure_json(tmp_path, "npm-node-subnet", {})
    migrate(tmp_path, "scan", "-f", given(tmp_path, *CLUSTER), "--az-json", azure, "-q")
    assert check(tmp_path, *CLUSTER, status=0).result == "unchanged"
    assert check(tmp_path, *CLUSTER[:-1], status=0).result == "holds"
    made = msgspec.json.decode(migrate(tmp_path, "plan", "-o", "json").stdout, type=Plan)
    assert "there is no translation: `migrate translate`" in made.incomplete
    assert "apply.sh" not in made.files


def test_names_of_a_cluster_do_not_steer_the_terminal(folder: Path) -> None:
    namespace = labelled(team="a", **{"x\x1b[31m": "b"})
    ended = migrate(folder, "plan", "--check", "-f", given(folder, namespace, *CLUSTER[1:], name="f.json"), "-q")
    assert ended.stdout
    assert "\x1b" not in ended.stdout
    assert "\\x1b[31m" in ended.stdout


def test_objects_of_the_backup_are_those_of_the_cluster(folder: Path) -> None:
    migrate(folder, "plan", SOURCE_DATE_EPOCH=NOW)
    (kept,) = (folder / "migration/backup").glob("*NetworkPolicy.yaml")
    assert [*yaml.safe_load_all(kept.read_text())] == [ALLOWED]


def test_a_plan_of_pseudonyms_says_that_nothing_of_it_can_be_run(folder: Path) -> None:
    assert migrate(folder, "redact", "--output-dir", "redacted", "-q").status in (0, 4)
    migrate(folder, "plan", "-d", "redacted", SOURCE_DATE_EPOCH=NOW)
    text = (folder / "redacted/runbook.md").read_text()
    assert "Names and addresses are pseudonyms" in text
    assert "rg-demo" not in text
    assert "npm-flat" not in text
    migrate(folder, "plan", SOURCE_DATE_EPOCH=NOW)
    assert "are pseudonyms" not in (folder / "migration/runbook.md").read_text()


def test_what_is_not_known_is_said_with_status_4(folder: Path) -> None:
    ended = migrate(folder, "plan", SOURCE_DATE_EPOCH=NOW)
    assert ended.status == 4
    assert "not known: live traffic was not audited" in ended.stderr
    assert migrate(folder, "plan", "-q", SOURCE_DATE_EPOCH=NOW).stderr == ""


@pytest.mark.parametrize(
    ("name", "command"), [("verification.json", "migrate verify"), ("audit.json", "migrate audit replay")]
)
def test_a_damaged_document_is_named_with_the_command_that_makes_it(name: str, command: str, folder: Path) -> None:
    (folder / "migration" / name).write_text("{")
    ended = migrate(folder, "plan")
    assert ended.status == 2
    assert f"migration/{name}: " in ended.stderr
    assert f"run `{command}` again" in ended.stderr
