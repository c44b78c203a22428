"""Nodes of Azure NPM in tests: snapshots made by `migrate scan`, dumps made of sample files or of edited text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from migrate.model.documents import Fact
from migrate.model.finding import Finding
from migrate.model.node_documents import NodeManifest, RuleHits
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump, read_dumps
from migrate.nodes.examine import Observation
from migrate.nodes.npm.examiner import examine_npm
from migrate.scan.snapshot import read
from tests.command_line import migrate

CASES = Path(__file__).parent.parent / "cases" / "azure"
SAMPLES = CASES / "linux-npm"
CLUSTER = CASES / "policies" / "cluster.yaml"
POLICIES = CASES / "policies" / "policies.yaml"
LINUX_ONLY = CASES / "policies" / "linux-only.yaml"
REJECTED = CASES / "policies" / "linux-rejected.yaml"
NODE = "aks-nodepool1-12345678-vmss000000"
RULES, LEGACY, SETS = "iptables-nft-save.txt", "iptables-legacy-save.txt", "ipset-save.txt"


def scanned(folder: Path, *files: Path, yaml: str = "") -> ClusterView:
    """The snapshot that `migrate scan` makes of files and of further YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    if yaml:
        (folder / "more.yaml").write_text(yaml, encoding="utf-8")
        files = (*files, folder / "more.yaml")
    arguments: list[str | Path] = ["scan", "--output-dir", folder, "-q"]
    for file in files:
        arguments += ["-f", file]
    ended = migrate(folder, *arguments)
    assert ended.status in (0, 4), ended.stderr
    snapshot = read(folder / "snapshot.jsonl.gz")
    return ClusterView(snapshot.header, tuple(snapshot.objects))


def sample(name: str) -> str:
    """The text of a sample file."""
    return (SAMPLES / name).read_text(encoding="utf-8")


def dump_of(
    folder: Path, files: Mapping[str, str | bytes], taken: str | None = None, booted: str | None = None
) -> NodeDump:
    """A dump of one node; with its node.json where a moment is given."""
    place = folder / NODE
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, body in files.items():
        (place / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    if taken or booted:
        manifest = NodeManifest(tool_version="1", name=NODE, system="linux", way="files", taken=taken, booted=booted)
        (place / "node.json").write_bytes(msgspec.json.encode(manifest))
    (dump,) = read_dumps(place)
    return dump


def observed(dump: NodeDump, view: ClusterView | None) -> Sequence[Observation]:
    """All that is said of NPM on the node, and what could not be read of the dump."""
    return [*dump.problems, *examine_npm(dump, view)]


def findings(dump: NodeDump, view: ClusterView | None) -> list[Finding]:
    """What is wrong, by id and text."""
    return sorted((said for said in observed(dump, view) if isinstance(said, Finding)), key=Finding.sort_key)


def facts(dump: NodeDump, view: ClusterView | None) -> dict[str, Fact]:
    """The facts, by topic."""
    return {said.topic: said for said in observed(dump, view) if isinstance(said, Fact)}


def hits(dump: NodeDump, view: ClusterView | None) -> dict[tuple[str, str], RuleHits]:
    """The counters, by whose they are and what they count."""
    return {(said.of, said.verdict): said for said in observed(dump, view) if isinstance(said, RuleHits)}


def hash_names() -> dict[str, list[dict[str, str]]]:
    """The names of the samples in both schemes."""
    found: dict[str, list[dict[str, str]]] = json.loads(sample("hash-names.json"))
    return found
