"""The demo: a sample cluster of an honest shape, taken all the way to a report."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from migrate.cli.app import app
from migrate.model import documents
from migrate.model.documents import Translation, TranslationResult
from migrate.resources import data
from migrate.scan.files import read_files
from migrate.sources.cluster import read_cluster
from migrate.translate.documents import read_translation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder after one demo."""
    place = tmp_path_factory.mktemp("demo") / "work"
    assert _demo("--output-dir", str(place)).exit_code == 0
    return place


@pytest.fixture(scope="module")
def translation(folder: Path) -> Translation:
    """What became of the sample's policies."""
    return read_translation(folder / "translation.json")


def _demo(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments], catch_exceptions=False)


def test_the_last_line_of_stdout_is_the_full_path_of_the_report(tmp_path: Path) -> None:
    done = _demo("--output-dir", str(tmp_path / "new" / "work"))
    report = Path(done.stdout.splitlines()[-1])
    assert report == tmp_path / "new" / "work" / "report.html"
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        *("scan", "translate", "verify", "plan", "report")
    ]


def test_a_relative_folder_gives_a_full_path_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _demo("--output-dir", "work", "--quiet").output == f"{tmp_path / 'work' / 'report.html'}\n"


def test_without_a_folder_it_makes_one_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = (Path(_demo().stdout.strip()) for _ in range(2))
    assert first.parent != second.parent
    assert {first.parent.parent, second.parent.parent} == {tmp_path}
    assert first.parent.name.startswith("cilium-migrate-demo-")


def test_nothing_is_written_beside_the_sample(folder: Path) -> None:
    files = {path.name for path in Path(str(data("samples") / "demo")).rglob("*") if path.is_file()}
    assert files.isdisjoint({path.name for path in folder.iterdir()})


def test_the_target_is_that_of_the_sample_s_aks_version(translation: Translation) -> None:
    assert translation.target == "aks-1.34"
    assert translation.engines == ("npm-linux",)
    assert translation.complete


def _of(translation: Translation, name: str) -> TranslationResult:
    (found,) = (result for result in translation.results if result.source.name == name)
    return found


@pytest.mark.parametrize(
    ("name", "result", "finding"),
    [
        pytest.param("demo-policy", documents.Result.EXACT, None, id="the documentation's policy moves as it is"),
        pytest.param("keep-tests-out", documents.Result.EXACT, "POL-NS-NOTIN-MULTI", id="NPM lets everybody in"),
        pytest.param("checkout-egress", documents.Result.EXACT_HERE, "POL-IPBLOCK-PODS", id="a block covers pods"),
        pytest.param("checkout-egress", documents.Result.EXACT_HERE, "POL-IPBLOCK-NODES", id="a block covers nodes"),
        pytest.param("primary-only", documents.Result.UNSUPPORTED, "POL-LABEL-FILTERED", id="a label nobody can see"),
        pytest.param("default.dns-only", documents.Result.UNSUPPORTED, "POL-NOT-ENFORCED", id="left over from Calico"),
    ],
)
def test_each_policy_of_the_sample_shows_one_thing(
    translation: Translation, name: str, result: documents.Result, finding: str | None
) -> None:
    found = _of(translation, name)
    assert found.result is result
    ids = {item.id for item in found.findings}
    assert finding in ids if finding else not ids


def test_nothing_is_written_for_what_nobody_enforces(translation: Translation) -> None:
    assert _of(translation, "default.dns-only").objects == ()
    assert _of(translation, "default.block-instance-metadata").objects == ()


def test_the_sample_hangs_together() -> None:
    objects = read_files([str(data("samples") / "demo" / "cluster")], None).objects
    assert max(Counter(raw.ref for raw in objects).values()) == 1
    cluster = read_cluster(objects, complete=True)
    assert {raw.ref.namespace for raw in objects if raw.ref.namespace} <= {name.name for name in cluster.namespaces}
    nodes = {node.name: node for node in cluster.nodes}
    own = [pod for pod in cluster.pods if not pod.host_network]
    assert len({address for pod in own for address in pod.addresses}) == len(own)
    assert all(pod.addresses[0] in nodes[str(pod.node)].pod_networks for pod in own)
    assert all(pod.addresses == nodes[str(pod.node)].addresses for pod in cluster.pods if pod.host_network)
