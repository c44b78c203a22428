"""Windows nodes for tests: a cluster scanned by the real command, and the dumps of its node as they are or changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrate.model.documents import Fact
from migrate.model.finding import Finding
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import read_dump
from migrate.nodes.windows.examiner import examine_windows
from migrate.scan.snapshot import FILE_NAME, read
from tests.command_line import migrate

CASES = Path(__file__).parents[1] / "cases"
HNS = CASES / "azure" / "windows-hns"
CLUSTER = CASES / "nodes" / "windows" / "cluster.yaml"
POLICIES = CASES / "azure" / "policies" / "policies.yaml"
NODE = "akswin000000"
Hns = dict[str, Any]
"""An endpoint or a network as the service prints it; tests change it in place."""


@dataclass(frozen=True)
class Seen:
    """What is said of a dump."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, Fact]

    @property
    def ids(self) -> list[str]:
        """The ids of the findings, sorted."""
        return sorted(finding.id for finding in self.findings)

    @property
    def details(self) -> str:
        """All details, to look for words in."""
        return "\n".join(finding.detail for finding in self.findings)


def scanned(folder: Path, *files: Path, more: str = "") -> ClusterView:
    """The cluster of some files, and of more objects in YAML, as `migrate scan` keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "more.yaml").write_text(f"# further objects\n{more}", encoding="utf-8")
    given = [*files, *([folder / "more.yaml"] if more else [])]
    arguments = [argument for file in given for argument in ("-f", file)]
    ended = migrate(folder, "scan", "--output-dir", folder, "-q", *arguments)
    assert ended.status in (0, 4), ended.stderr
    snapshot = read(folder / FILE_NAME)
    return ClusterView(snapshot.header, tuple(snapshot.objects))


def sample(name: str) -> Any:
    """A sample as JSON."""
    return json.loads((HNS / name).read_bytes())


def endpoints() -> list[Hns]:
    """The node's endpoints in the older form."""
    found: list[Hns] = sample("get-hnsendpoint.json")
    return found


def newer_endpoints() -> list[Hns]:
    """The node's endpoints in the newer form."""
    found: list[Hns] = sample("hcn-endpoints.json")
    return found


def network() -> Hns:
    """The node's network."""
    found: Hns = sample("hcn-network-azure.json")
    return found


def seen(folder: Path, view: ClusterView | None, files: Mapping[str, object]) -> Seen:
    """What is said of a dump with these files."""
    place = folder / NODE
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for name, body in files.items():
        if isinstance(body, str):
            body = body.encode()
        (place / name).write_bytes(body if isinstance(body, bytes) else json.dumps(body, indent=2).encode())
    dump = read_dump(place)
    found = list(examine_windows(dump, view))
    assert found == list(examine_windows(dump, view))
    findings = tuple(item for item in found if isinstance(item, Finding))
    return Seen(findings, {item.topic: item for item in found if isinstance(item, Fact)})


def acls(endpoint: Hns, policy: str) -> list[Hns]:
    """The ACLs of an endpoint in the older form with the id of a policy."""
    return [acl for acl in endpoint["Policies"] if acl.get("Id") == f"azure-acl-{policy}"]


def set_named(given: Hns, name: str) -> Hns:
    """The settings of a network's set."""
    found: Hns = next(p["Settings"] for p in given["Policies"] if p["Settings"].get("Name") == name)
    return found
