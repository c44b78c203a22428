"""`migrate redact`: what stays, what goes, and what it refuses."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import yaml

from migrate.audit.node import cluster_digest
from migrate.audited import Place, read_scene
from migrate.model.audit_documents import Audit
from migrate.model.raw import RawObject
from migrate.readiness.documents import read_folder
from migrate.readiness.helm.said import Stage
from migrate.readiness.helm.values import helm_values
from migrate.redact.addresses import AddressMap
from migrate.redact.names import Names, Words
from migrate.redact.objects import Redactor, label_values, ordered_names
from migrate.redacted import redaction_key
from migrate.resources import data, read_yaml
from tests.command_line import Ended, migrate
from tests.unit.audited_folder import CLUSTER, record_into
from tests.unit.test_values import EVERYTHING, calico, scanned

KEY = bytes(range(32))


def redacted(text: str) -> list[RawObject]:
    objects = [RawObject(document) for document in yaml.safe_load_all(text)]
    redactor = Redactor(Names(KEY, ordered_names(objects)), AddressMap(KEY), label_values(objects))
    return [redactor.object(raw) for raw in objects]


def test_a_name_is_the_same_wherever_it_stands() -> None:
    pod, policy = redacted(
        """
kind: Pod
apiVersion: v1
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: web, ports: [{name: web, containerPort: 80}]}]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: p, namespace: shop}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}
  ingress: [{ports: [{port: web}]}]
"""
    )
    made = Names(KEY).name("web")
    assert json.dumps(pod.data).count(f'"{made}"') == 4
    assert json.dumps(policy.data).count(f'"{made}"') == 2
    assert pod.ref.namespace == policy.ref.namespace == Names(KEY).name("shop")


KEPT = [
    pytest.param(
        "kind: Namespace\napiVersion: v1\nmetadata: {name: kube-system}", "kube-system", id="well-known names"
    ),
    pytest.param(
        "kind: Node\napiVersion: v1\nmetadata: {name: n, labels: {kubernetes.io/os: linux}}",
        '"kubernetes.io/os": "linux"',
        id="well-known labels",
    ),
    pytest.param(
        "kind: Node\napiVersion: v1\nmetadata: {name: n}\nstatus: {nodeInfo: {kernelVersion: 5.15.0-1090-azure}}",
        "5.15.0-1090-azure",
        id="versions",
    ),
    pytest.param(
        "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: p, namespace: s}\n"
        "spec: {egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}}]}]}",
        '{"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}',
        id="networks that everybody knows",
    ),
    pytest.param(
        "kind: NetworkPolicy\napiVersion: crd.projectcalico.org/v1\nmetadata: {name: default.p, namespace: s}\n"
        "spec: {ingress: [{action: Allow, protocol: TCP, destination: {ports: ['80:90', 443]}}]}",
        '"ports": ["80:90", 443]',
        id="ports and actions",
    ),
]


@pytest.mark.parametrize(("text", "expected"), KEPT)
def test_what_is_public_stays(text: str, expected: str) -> None:
    assert expected in json.dumps(redacted(text)[0].data)


GONE = [
    pytest.param("metadata: {name: p, annotations: {owner: sesame}}", id="annotations"),
    pytest.param("metadata: {name: p, managedFields: [{manager: sesame}]}", id="who wrote it"),
    pytest.param("metadata: {name: p, labels: {sesame.example.com/team: a}}", id="a label's key"),
    pytest.param("metadata: {name: p, labels: {kubernetes.io/sesame: a}}", id="an own key behind a known prefix"),
    pytest.param("metadata: {name: p, labels: {pcns.sesame: a}}", id="a key behind Calico's prefix"),
    pytest.param("metadata: {name: p}\nspec: {selector: \"sesame == 'a'\"}", id="a selector's key"),
    pytest.param("metadata: {name: p}\nspec: {selector: \"a contains 'sesame'\"}", id="a part of a value"),
    pytest.param("metadata: {name: p}\nspec: {selector: 'sésame sesame ('}", id="text that is no selector"),
    pytest.param("metadata: {name: p}\nspec: {sesame: {sesame: sesame}}", id="a field that nobody knows"),
    pytest.param("metadata: {name: p}\nspec: {tier: sesame}", id="a tier"),
    pytest.param(
        'metadata: {name: p, annotations: {projectcalico.org/metadata: \'{"labels": {"sesame": "sesame"}}\'}}',
        id="Calico's own labels",
    ),
]


@pytest.mark.parametrize("text", GONE)
def test_what_may_be_secret_goes(text: str) -> None:
    (made,) = redacted(f"kind: GlobalNetworkPolicy\napiVersion: crd.projectcalico.org/v1\n{text}\n")
    assert "sesame" not in json.dumps(made.data, ensure_ascii=False)
    assert "same" not in json.dumps(made.data, ensure_ascii=False)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param("https://192.168.1.1:6443", r"https://192\.168\.\d+\.\d+:6443", id="an address"),
        pytest.param("https://api.sesame.example:443/x", r"https://[a-z-]+\.[a-z-]+\.[a-z-]+:443", id="a name"),
        pytest.param("https://[fd00::1]:6443", r"https://\[f[cd][0-9a-f:]+\]:6443", id="an address of IPv6"),
        pytest.param("sesame", "[a-z-]+", id="a word"),
    ],
)
def test_a_server_is_a_server_of_another_name(server: str, expected: str) -> None:
    head = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: kube-proxy, namespace: kube-system}\n"
    body = yaml.safe_dump({"clusters": [{"cluster": {"server": server}}]})
    (made,) = redacted(f"{head}data: {yaml.safe_dump({'kubeconfig.conf': body}, default_flow_style=True)}")
    text = str(made.data["data"])
    assert re.search(f"server: {expected}", text), text
    assert "sesame" not in text


def test_helm_values_of_pseudonyms_say_the_same(tmp_path: Path) -> None:
    """Every setting of Calico's is still read, and what is lost is still found."""
    documents = scanned(tmp_path, *EVERYTHING, calico("FelixConfiguration", "floatingIPs: Enabled, newThing: 1", "x"))
    key = tmp_path / "key"
    shown = tmp_path / "shown"
    assert migrate(tmp_path, "redact", "-d", tmp_path, "--output-dir", shown, "--key-file", key, "-q").status == 0
    both = [helm_values(one) for one in (documents, read_folder(shown))]
    for stage in Stage:
        first, second = ([(value.key, type(value.value)) for value in one.of(stage)] for one in both)
        assert first == second
    found = [[finding.id for finding in one.findings] for one in both]
    assert sorted(found[0]) == sorted(found[1])
    assert [len(one.bgp) for one in both] == [len(both[0].bgp)] * 2


def test_policies_keep_their_order() -> None:
    """Calico compares names where orders are equal, and a deny before an allow is another policy than after it."""
    names = ["z", "default.b", "a-longer-name", "b", "shop", "default"]
    text = "---\n".join(
        f"kind: GlobalNetworkPolicy\napiVersion: crd.projectcalico.org/v1\nmetadata: {{name: default.{name}}}\n"
        for name in names
    )
    made = [raw.ref.name.removeprefix("default.") for raw in redacted(text)]
    assert sorted(range(len(names)), key=names.__getitem__) == sorted(range(len(names)), key=made.__getitem__)


def test_a_part_of_a_value_becomes_the_values_that_have_it() -> None:
    text = """
kind: Pod
apiVersion: v1
metadata: {name: a, namespace: s, labels: {app: web-shop}}
---
kind: Pod
apiVersion: v1
metadata: {name: b, namespace: s, labels: {app: api}}
---
kind: GlobalNetworkPolicy
apiVersion: crd.projectcalico.org/v1
metadata: {name: p}
spec: {selector: "app starts with 'web'"}
"""
    names, made = Names(KEY), redacted(text)[2].data["spec"]
    assert made == {"selector": f"{names.name('app')} in {{'{names.name('web-shop')}'}}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a snapshot, a translation and a recording."""
    work = tmp_path / "work"
    (tmp_path / "cluster.yaml").write_text(f"{CLUSTER}---\n{_plain_policy()}")
    assert migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", work, "-q").status == 0
    ended = migrate(tmp_path, "translate", "--snapshot", work / "snapshot.jsonl.gz", "--output-dir", work, "-q")
    assert ended.status in (0, 1), ended.stderr
    record_into(work)
    return work


def _plain_policy() -> str:
    return """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
"""


def redact(folder: Path, *arguments: str | Path) -> Ended:
    return migrate(folder.parent, "redact", "-d", folder, "--output-dir", folder.parent / "shown", *arguments)


def test_an_audit_of_pseudonyms_has_the_same_numbers(folder: Path) -> None:
    replayed = migrate(folder.parent, "audit", "replay", "--dir", folder, "-o", "json")
    before = msgspec.json.decode(replayed.stdout, type=Audit)
    (folder / "audit.json").write_text(replayed.stdout)
    ended = redact(folder)
    assert ended.status == 0, ended.stderr
    after = msgspec.json.decode((folder.parent / "shown" / "audit.json").read_bytes(), type=Audit)
    assert after.redacted is True
    assert str(folder.parent) not in after.policies
    assert after.tally == before.tally
    assert after.tally.would_drop > 0
    assert after.balance == before.balance
    assert [group.events for group in after.would_drop] == [group.events for group in before.would_drop]
    assert [pod.watched_seconds for pod in after.coverage] == [pod.watched_seconds for pod in before.coverage]


def test_a_recording_of_pseudonyms_names_nobody(folder: Path) -> None:
    redact(folder)
    place = folder.parent / "shown" / "audit.db"
    with closing(sqlite3.connect(place)) as connection:
        text = "\n".join(connection.iterdump())
        (cluster,) = connection.execute("SELECT value FROM meta WHERE key = 'cluster'").fetchone() or ("",)
        columns = connection.execute("SELECT namespace, pod, name FROM veth").fetchall()
        told = connection.execute("SELECT source FROM flow").fetchall()
    assert columns
    for word in ("shop", "web-0", "db-0", "cron-0", "node-1", "veth7"):
        assert word not in text
    for address in ("0A000001", "0A000002", "0A000003"):
        assert address not in text.upper()
    assert all(source[:12] == bytes(10) + b"\xff\xff" and source[12] == 10 for (source,) in told)
    assert cluster == cluster_digest(read_scene(Place(folder.parent / "shown")).cluster)


def test_a_report_with_an_audit_names_nobody(folder: Path) -> None:
    assert redact(folder).status == 0
    shown = folder.parent / "shown"
    assert {"audit.json", "report.html", "report.json"} <= {path.name for path in shown.iterdir()}
    for path in shown.rglob("*.*"):
        text = path.read_bytes().decode(errors="replace")
        for word in ("web-0", "db-0", "cron-0", "node-1", "veth7", "10.0.0.1", "10.0.0.3", "192.0.2.10", str(folder)):
            assert word not in text, f"{path.name}: {word}"


def test_a_report_may_be_redacted_alone(folder: Path) -> None:
    ended = migrate(folder.parent, "report", "-d", folder, "--redact")
    assert ended.status in (0, 4), ended.stderr
    assert ended.stdout == f"{folder / 'report-redacted.html'}\n"
    assert not (folder / "report.html").exists()
    page = (folder / "report-redacted.html").read_text()
    told = migrate(folder.parent, "report", "-d", folder, "--redact", "-o", "json").stdout
    for word in ("web-0", "db-0", "10.0.0.1", "192.0.2.10", str(folder)):
        assert word not in page
        assert word not in told
    assert redact(folder).status == 0
    names = [row["name"] for row in json.loads(told)["namespaces"]]
    again = json.loads((folder.parent / "shown/report.json").read_bytes())
    assert [row["name"] for row in again["namespaces"]] == names


@pytest.mark.parametrize("command", [("redact", "--output-dir", "shown"), ("report", "--redact")])
def test_results_that_are_not_those_of_the_original_are_told(folder: Path, command: tuple[str, ...]) -> None:
    place = folder / "translation.json"
    text = place.read_text(encoding="utf-8")
    assert '"exact"' in text
    place.write_text(text.replace('"exact"', '"changed"', 1), encoding="utf-8")

    ended = migrate(folder.parent, command[0], "-d", folder, *command[1:])
    assert ended.status == 4
    assert "not as in the original: translation.json" in ended.stderr


def test_a_redacted_report_has_no_baseline(folder: Path) -> None:
    ended = migrate(folder.parent, "report", "-d", folder, "--redact", "--baseline", "old.json")
    assert ended.status == 2
    assert "baseline" in ended.stderr


def test_the_key_stays_behind(folder: Path) -> None:
    assert redact(folder).status == 0
    key = folder / "redact.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = folder.parent / "shown"
    assert not (shown / "redact.key").exists()
    for path in shown.rglob("*"):
        assert path.is_dir() or key.read_bytes().strip() not in path.read_bytes()


def test_the_same_key_gives_the_same_folder(folder: Path) -> None:
    key = folder.parent / "mine.key"
    key.write_text("ab" * 32)
    assert redact(folder, "--key-file", key).status == 0
    assert not (folder / "redact.key").exists()
    again = migrate(folder.parent, "redact", "-d", folder, "--output-dir", folder.parent / "two", "--key-file", key)
    assert again.status == 0
    for name in ("snapshot.jsonl.gz", "translation.json"):
        assert (folder.parent / "shown" / name).read_bytes() == (folder.parent / "two" / name).read_bytes()


@pytest.mark.parametrize("text", ["", "abcd", "x" * 64, "ab" * 31])
def test_what_is_no_key_is_refused(folder: Path, text: str) -> None:
    (folder / "redact.key").write_text(text)
    ended = redact(folder)
    assert ended.status == 2
    assert "redact.key" in ended.stderr
    assert not (folder.parent / "shown").exists()


def test_a_folder_with_other_things_is_left_alone(folder: Path) -> None:
    place = folder.parent / "shown"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    ended = redact(folder)
    assert ended.status == 2
    assert "is not empty" in ended.stderr
    assert [path.name for path in place.iterdir()] == ["mine.txt"]


def test_the_working_folder_is_no_place_for_it(folder: Path) -> None:
    ended = migrate(folder.parent, "redact", "-d", folder, "--output-dir", folder)
    assert ended.status == 2


def test_a_folder_without_a_snapshot_is_refused(folder: Path) -> None:
    (folder / "snapshot.jsonl.gz").unlink()
    ended = redact(folder)
    assert ended.status == 2
    assert "scan first" in ended.stderr


def test_a_snapshot_alone_is_enough(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert migrate(tmp_path, "scan", "-f", "cluster.yaml", "--output-dir", work, "-q").status == 0
    assert redact(work).status == 0
    assert read_folder(tmp_path / "shown").translation is None


def test_a_key_is_made_once(tmp_path: Path) -> None:
    assert redaction_key(tmp_path / "k") == redaction_key(tmp_path / "k")
    assert redaction_key(tmp_path / "k") != redaction_key(tmp_path / "other")


def test_no_public_word_is_said_twice() -> None:
    words = read_yaml(data("rules") / "redact.yaml", Words)
    for listed in (words.names, words.label_prefixes, words.label_keys, words.fields, words.values):
        assert len(listed) == len(set(listed))


def test_a_file_is_no_place_for_it(folder: Path) -> None:
    (folder / "taken").write_text("text")
    ended = migrate(folder, "redact", "--dir", ".", "--output-dir", "taken")
    assert ended.status == 2
    assert ended.stderr == "error: taken: cannot be used: Not a directory; name a new folder\n"
    assert (folder / "taken").read_text() == "text"


def test_a_place_below_a_file_is_refused(folder: Path) -> None:
    (folder / "taken").write_text("text")
    ended = migrate(folder, "redact", "--dir", ".", "--output-dir", "taken/below")
    assert ended.status == 2
    assert "taken/below" in ended.stderr
