"""Manifests from files, folders and standard input: what is taken over, what is left out, what is refused."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from migrate.errors import InputError
from migrate.model.finding import Effect
from migrate.model.refs import Location, ObjectRef
from migrate.scan.files import read_files
from migrate.scan.manifests import FileReading

CASES = Path(__file__).parents[1] / "cases/files"
NOBODY = 65534

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}}
"""


def read(*paths: Path) -> FileReading:
    return read_files([str(path) for path in paths], None)


def read_text(text: str | bytes) -> FileReading:
    return read_files(["-"], io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def names(reading: FileReading) -> list[str]:
    return [str(raw.ref) for raw in reading.objects]


def problems(paths: list[str], stdin: bytes = b"") -> list[str]:
    with pytest.raises(InputError) as caught:
        read_files(paths, io.BytesIO(stdin))
    return str(caught.value).splitlines()


def problem(text: str | bytes) -> str:
    (found,) = problems(["-"], text if isinstance(text, bytes) else text.encode())
    return found


def ids(reading: FileReading) -> list[str]:
    return [finding.id for finding in reading.findings]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param("helm-output.yaml", ["Namespace shop", "NetworkPolicy shop/web"], id="output of Helm"),
        pytest.param(
            "kustomize", ["Namespace prod-shop", "NetworkPolicy prod-shop/prod-web"], id="folder of Kustomize"
        ),
        pytest.param(
            "mixed-list.yaml", ["Namespace shop", "NetworkPolicy shop/web", "Pod shop/web-0"], id="mixed list"
        ),
        pytest.param("anchors.yaml", ["NetworkPolicy default/anchors"], id="anchors and merge keys"),
    ],
)
def test_objects(case: str, expected: list[str]) -> None:
    assert names(read(CASES / case)) == expected


def test_a_policy_knows_its_file_and_lines() -> None:
    path = CASES / "mixed-list.yaml"
    policy = read(path).objects[1]
    assert policy.at() == Location(str(path), 8)
    assert policy.at("spec", "ingress", 0, "ports", 1, "port") == Location(str(path), 18)
    assert policy.at("spec", "egress", 0) == Location(str(path), 13)


def test_other_objects_know_their_first_line() -> None:
    pod = read(CASES / "mixed-list.yaml").objects[2]
    assert dict(pod.lines) == {(): 22}


def test_anchors_and_merge_keys_are_written_out() -> None:
    (policy,) = read(CASES / "anchors.yaml").objects
    labels = {"app": "web", "tier": "front"}
    assert policy.data["spec"] == {
        "podSelector": {"matchLabels": labels},
        "ingress": [
            {
                "from": [
                    {"podSelector": {"matchLabels": {**labels, "tier": "back"}}},
                    {"podSelector": {"matchLabels": labels}},
                ]
            }
        ],
    }


def test_pods_are_cut_so_that_no_secret_of_theirs_is_kept() -> None:
    reading = read(CASES / "mixed-list.yaml")
    assert "hunter2" not in repr(reading)
    assert reading.objects[2].data["spec"] == {"containers": [{"name": "web", "image": "web:1"}]}


@pytest.mark.parametrize(("name", "kept"), [("kube-proxy", True), ("agent", False)])
def test_of_arguments_only_those_of_kube_proxy_are_kept(name: str, kept: bool) -> None:
    container = "{name: main, image: a, args: [--proxy-mode=ipvs]}"
    spec = f"{{template: {{spec: {{containers: [{container}]}}}}}}"
    metadata = f"{{name: {name}, namespace: kube-system}}"
    (raw,) = read_text(f"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {metadata}\nspec: {spec}\n").objects
    assert ("ipvs" in repr(raw.data)) is kept


@pytest.mark.parametrize("kind", ["Secret", "SecretList"])
def test_secrets_are_left_out_with_a_word(kind: str) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: shop}\nstringData: {key: hunter2}\n"
    if kind == "SecretList":
        indented = secret.replace("\n", "\n  ").removesuffix("  ").replace("apiVersion: v1\n  kind: Secret\n", "")
        secret = "apiVersion: v1\nkind: SecretList\nitems:\n- " + indented.lstrip()
    reading = read_text(secret + "---\n" + NAMESPACE)
    assert names(reading) == ["Namespace shop"]
    (finding,) = reading.findings
    assert (finding.id, finding.subject) == ("SCAN-SECRET-IGNORED", ObjectRef("v1", "Secret", "shop", "login"))
    assert "hunter2" not in repr(reading)


def test_kinds_that_a_scan_does_not_read_are_counted() -> None:
    job = "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: %s}\n"
    reading = read_text(NAMESPACE + job % "a" + job % "b")
    assert names(reading) == ["Namespace shop"]
    (finding,) = reading.findings
    assert (finding.id, finding.at) == ("SCAN-KIND-IGNORED", Location("stdin", 5))
    assert finding.detail.startswith("2 of kind Job (batch/v1)")


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("extensions/v1beta1", "NetworkPolicy"),
        ("cilium.io/v2", "CiliumEgressGatewayPolicy"),
        ("crd.projectcalico.org/v1", "BGPPeer"),
        ("policy.networking.k8s.io/v9", "AdminNetworkPolicy"),
        ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
    ],
)
def test_policies_of_unknown_kinds_are_kept_whole(api_version: str, kind: str) -> None:
    (raw,) = read_text(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{a: [1]}}\n").objects
    assert raw.data["spec"] == {"a": [1]}
    assert ("spec", "a", 0) in raw.lines


@pytest.mark.parametrize(
    ("name", "namespace", "kept"),
    [
        pytest.param("azure-npm-config", "kube-system", True, id="a setting of the data plane"),
        pytest.param("azure-npm-config", "shop", False, id="the same name elsewhere"),
        pytest.param("app-config", "kube-system", False, id="another name"),
    ],
)
def test_of_configmaps_only_settings_are_kept(name: str, namespace: str, kept: bool) -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{a: b}}\n"
    reading = read_text(text)
    assert [raw.data["data"] for raw in reading.objects] == ([{"a": "b"}] if kept else [])
    assert ids(reading) == ([] if kept else ["SCAN-KIND-IGNORED"])


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        pytest.param(
            POLICY.replace(", namespace: shop", ""), "NetworkPolicy default/web", id="no namespace is default"
        ),
        pytest.param(POLICY.replace(": shop", ": ''"), "NetworkPolicy default/web", id="an empty namespace is default"),
        pytest.param(
            NAMESPACE.replace("shop", "a, namespace: b"), "Namespace a", id="a cluster-wide object is in none"
        ),
        pytest.param(
            POLICY.replace("name: web", "name: default.allow-x"), "NetworkPolicy shop/default.allow-x", id="dots"
        ),
    ],
)
def test_reference(text: str, ref: str) -> None:
    assert names(read_text(text)) == [ref]


def test_of_an_object_in_two_places_the_later_one_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POLICY + "---\n" + NAMESPACE)
    (tmp_path / "b.yaml").write_text(NAMESPACE + "---\n" + POLICY.replace("spec: {", "spec: {ingress: [], "))
    reading = read(tmp_path)
    policy = next(raw for raw in reading.objects if raw.ref.kind == "NetworkPolicy")
    assert policy.data["spec"] == {"ingress": [], "podSelector": {}}
    finding = next(finding for finding in reading.findings if finding.subject == policy.ref)
    assert (finding.id, finding.at) == ("SCAN-DUPLICATE-OBJECT", Location(str(tmp_path / "b.yaml"), 5))
    assert f"{tmp_path / 'a.yaml'}:1" in finding.detail


def test_the_same_file_by_two_paths_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POLICY)
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    reading = read(tmp_path / "a.yaml", tmp_path)
    assert (names(reading), ids(reading)) == (["NetworkPolicy shop/web"], [])


def test_a_field_of_the_wrong_type_is_left_out_with_a_word() -> None:
    reading = read_text("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: {name: a}}\n")
    (finding,) = reading.findings
    assert (finding.id, finding.effect) == ("SCAN-OBJECT-UNREADABLE", Effect.UNKNOWN)
    assert "spec.containers" in finding.detail
    assert not reading.complete


def test_folders_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for place in ("b.yaml", "a/z.yml", "a/y.json", ".hidden/x.yaml", "c.YAML", "c.txt", ".x.yaml"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(NAMESPACE.replace("shop", path.stem) if path.suffix != ".json" else "{}")
    (tmp_path / "a/y.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "y"}}')
    reading = read(tmp_path)
    assert names(reading) == ["Namespace y", "Namespace z", "Namespace b", "Namespace c"]
    assert reading.objects[0].source == f"{tmp_path}/a/y.json"


def test_a_path_is_shown_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policies").mkdir()
    Path("policies/web.yaml").write_text(POLICY)
    assert [raw.source for raw in read_files(["./policies/"], None).objects] == ["./policies/web.yaml"]


def test_what_is_no_kubernetes_object_is_skipped_in_a_folder_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "kustomization.yaml").write_text("resources: [policy.yaml]\n")
    (tmp_path / "values.yaml").write_text("a: 1\n")
    (tmp_path / "package.json").write_text("[1]")
    (tmp_path / "kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    (tmp_path / "folder").symlink_to(tmp_path)
    reading = read(tmp_path)
    assert names(reading) == ["NetworkPolicy shop/web"]
    assert set(ids(reading)) == {"SCAN-FILE-SKIPPED"}
    skipped = {Path(finding.at.file).name for finding in reading.findings if finding.at}
    assert skipped == {"kustomization.yaml", "values.yaml", "package.json", "kind.yaml", "folder"}


@pytest.mark.parametrize(
    "text", ["a: 1\n", "- 1\n", "just text\n", "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"]
)
def test_what_is_no_kubernetes_object_is_refused_when_named(text: str) -> None:
    assert "give only Kubernetes objects" in problem(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("apiVersion: v1\nkind: Pod\n", "1: Pod (v1) has no metadata.name", id="no metadata"),
        pytest.param("apiVersion: v1\nkind: Pod\nmetadata: []\n", "has no metadata.name", id="metadata is a list"),
        pytest.param("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "generateName", id="generated name"),
        pytest.param("kind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n", "3: Pod (v1) has no", id="in a list"),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 1\n", "4: metadata.name of Pod is not text", id="number"
        ),
        pytest.param(
            POLICY.replace(": shop", ": [a]"), "3: metadata.namespace of NetworkPolicy is not text", id="list"
        ),
    ],
)
def test_an_object_without_a_usable_name_is_refused(text: str, message: str) -> None:
    assert message in problem(text)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", ".", "a\\b", "a" * 254, "a\n", "a\0b", "a\u0085"])
@pytest.mark.parametrize("key", ["name", "namespace"])
def test_a_name_that_could_lead_out_of_the_output_folder_is_refused(name: str, key: str) -> None:
    other = "namespace" if key == "name" else "name"
    quoted = json.dumps(name)
    text = f"apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  {key}: {quoted}\n  {other}: x\n"
    assert f"stdin:4: metadata.{key} " in problem(text)


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a..b", "<name>", "é", "a b", "$(NAME)", "a" * 253])
@pytest.mark.parametrize("key", ["name", "namespace"])
def test_a_name_that_no_api_server_takes_is_left_to_the_stage_that_judges_policies(name: str, key: str) -> None:
    other = "namespace" if key == "name" else "name"
    text = f"apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{{key}: {json.dumps(name)}, {other}: x}}\n"
    (raw,) = read_text(text).objects
    assert getattr(raw.ref, key) == name


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param((CASES / "chart/templates/policy.yaml").read_text(), 4, id="a placeholder"),
        pytest.param("{{- if .Values.x }}\n" + POLICY + "{{- end }}\n", 1, id="a condition around it"),
        pytest.param(POLICY.replace("name: web", 'name: "{{ .Release.Name }}"'), 3, id="a placeholder in quotes"),
    ],
)
def test_a_helm_template_is_told_from_broken_yaml(text: str, line: int) -> None:
    assert problem(text).startswith(f"stdin:{line}: a Helm template; render it first")


def test_a_chart_given_as_a_folder_is_one_problem() -> None:
    (found,) = problems([str(CASES / "chart")])
    assert found.startswith(f"{CASES}/chart/templates/policy.yaml:4: a Helm template; render it first: helm template")


def test_yaml_bomb() -> None:
    (found,) = problems([str(CASES / "laughs.yaml")])
    assert found.startswith(f"{CASES}/laughs.yaml:")
    assert "more than 100000 nodes" in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\x7fELF\x02\x01\x01\x00\x00", "stdin: a binary file", id="binary"),
        pytest.param(b"\x1f\x8b\x08\x00", "stdin: packed with gzip", id="gzip"),
        pytest.param(b"a: 1\nb: \xe4\n", "stdin:2: not UTF-8", id="Latin-1"),
        pytest.param("\ufeffa".encode("utf-16-le") + b"x", "stdin: broken UTF-16", id="half a character"),
        pytest.param(b'{"kind": "Pod", "kind": "Pod"}', '"kind" stands here and in line 1', id="duplicate key in JSON"),
        pytest.param(b"", "-: no Kubernetes objects there", id="nothing"),
        pytest.param(b"# only\n---\n# comments\n", "-: no Kubernetes objects there", id="only comments"),
        pytest.param(b'{"kind": "List", "items": []}', "-: no Kubernetes objects there", id="an empty list"),
    ],
)
def test_content_that_cannot_be_used(content: bytes, message: str) -> None:
    assert message in problem(content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(NAMESPACE, id="yaml"),
        pytest.param('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}', id="json"),
        pytest.param("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}", id="yaml in braces"),
        pytest.param(
            '\n {"apiVersion": "v1",\n"kind": "NamespaceList", "items": [{"metadata": {"name": "shop"}}]}', id="list"
        ),
        pytest.param(NAMESPACE.replace("\n", "\r\n"), id="Windows line ends"),
    ],
)
def test_encodings_and_forms(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode(encoding))
    assert names(read(path)) == names(read_text(text.encode(encoding))) == ["Namespace shop"]


def test_an_empty_file_beside_others_is_fine(tmp_path: Path) -> None:
    for name in ("empty.yaml", "empty.json"):
        (tmp_path / name).touch()
    (tmp_path / "web.yaml").write_text(POLICY)
    assert names(read(tmp_path)) == ["NetworkPolicy shop/web"]


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\na: 2\n---\n\tx: 1\n---\n" + POLICY.replace("web", "w/"))
    (tmp_path / "b.json").write_text('{\n"a": }')
    found = problems([str(tmp_path / "a.yaml"), str(tmp_path / "missing"), str(tmp_path)])
    assert [line.removeprefix(f"{tmp_path}/")[:10] for line in found] == [
        "a.yaml:2: ",
        "a.yaml:4: ",
        "a.yaml:8: ",
        "missing: n",
        "b.json:2: ",
    ]


def test_missing_file(tmp_path: Path) -> None:
    assert problems([str(tmp_path / "x")]) == [f"{tmp_path}/x: no such file or folder; check the path"]


def test_folder_without_manifests(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    missing, empty = problems([str(tmp_path / "x"), str(tmp_path)])
    assert "no such file" in missing
    assert empty.startswith(f"{tmp_path}: a folder without manifests (.yaml, .yml, .json)")


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "gone.yaml").symlink_to("missing")
    assert problems([str(tmp_path)]) == [
        f"{tmp_path}/gone.yaml: no such file or folder; check the path",
        f"{tmp_path}/loop.yaml: a link that leads back to itself; name the file that is meant",
    ]


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "a pipe or device" in problems([str(tmp_path / "pipe.yaml")])[0]
    assert "a pipe or device" in problems([str(tmp_path)])[0]
    assert "a pipe or device" in problems(["/dev/null"])[0]


def test_closed_standard_input() -> None:
    with pytest.raises(InputError, match="standard input"):
        read_files(["-"], None)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so give that up for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("locked", "named", "at_fault"),
    [
        pytest.param("k/a.yaml", "k", "k/a.yaml", id="a file"),
        pytest.param("k", "k", "k", id="a folder"),
        pytest.param("k", "k/a.yaml", "k/a.yaml", id="a file in a folder"),
    ],
)
def test_no_right_to_read(locked: str, named: str, at_fault: str) -> None:
    with TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "k").mkdir()
        (top / "k/a.yaml").write_text(POLICY)
        (top / locked).chmod(0)
        with as_nobody():
            found = problems([str(top / named)])
        (top / "k").chmod(0o755)
    assert found == [f"{top / at_fault}: no right to read it; change its rights or run as its owner"]


def test_a_file_name_that_is_not_text_is_shown_as_its_bytes(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/\xff.yaml"
    Path(os.fsdecode(place)).write_text(POLICY)
    assert read(tmp_path).objects[0].source == f"{tmp_path}/\\xff.yaml"


def test_a_name_that_is_too_long() -> None:
    assert "cannot be read: File name too long" in problems(["x" * 5000])[0]


def test_a_yaml_document_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.write(NAMESPACE.encode() + b"---\n")
        line = b"# " + b"x" * 2**20 + b"\n"
        stream.writelines(line for _ in range(33))
    (found,) = problems([str(path)])
    assert found.startswith(f"{path}:4: a YAML document larger than 32 MiB; give it as JSON")


def test_a_huge_file_without_line_ends_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"a: b\n" * 4096)
    os.truncate(path, 200 * 2**20)
    assert "larger than 32 MiB" in problems([str(path)])[0]


def test_memory_is_bounded_by_a_document_not_by_a_file(tmp_path: Path) -> None:
    """64 documents of 1 MiB each, of a kind that is not kept."""
    path = tmp_path / "many.yaml"
    job = "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: %s\n" % ("x" * 2**20)
    with path.open("w") as stream:
        stream.writelines(job for _ in range(64))
    program = (
        "import resource, sys\n"
        "from migrate.scan.files import read_files\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert not read_files(sys.argv[1:], None).objects\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 * 1024


def test_the_collector_runs_again_afterwards() -> None:
    read_text(POLICY)
    problem("a: [")
    assert gc.isenabled()


def test_order_of_files_does_not_change_what_is_found(tmp_path: Path) -> None:
    shutil.copytree(CASES / "kustomize", tmp_path / "k")
    one, two = read(tmp_path / "k", CASES / "helm-output.yaml"), read(CASES / "helm-output.yaml", tmp_path / "k")
    assert sorted(names(one)) == sorted(names(two))
    assert one.findings == two.findings
