"""Tables of what a rule finds, and what it does not: each row is a cluster as `migrate scan` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from migrate.model.finding import Finding
from migrate.model.raw import Json
from migrate.readiness.checks import all_checks
from migrate.readiness.documents import Documents, read_folder
from migrate.readiness.evaluate import Evaluation, evaluate
from migrate.readiness.route import Wishes
from tests.command_line import migrate
from tests.readiness.folders import CASES, azure_json, scanned

TODAY = date(2026, 11, 21)
CLUSTER = CASES / "readiness" / "cluster.yaml"
NODE_SUBNET, OVERLAY, KUBENET = "npm-node-subnet", "npm-overlay-nap", "kubenet-calico"
TO_OVERLAY = Wishes(overlay=True)


@dataclass(frozen=True)
class Row:
    """A cluster: the quiet one with `objects` beside or instead, and with parts of Azure's word replaced.

    `beside` is what further commands of the Azure CLI printed, by file. Without a `profile` Azure was not asked.
    `alone`: only these objects were read, and not the quiet cluster.
    """

    rule: str
    objects: str = ""
    profile: str = NODE_SUBNET
    azure: Mapping[str, Json] = field(default_factory=dict)
    beside: Mapping[str, Json] = field(default_factory=dict)
    wishes: Wishes | None = None
    day: date = TODAY
    alone: bool = False

    def documents(self, folder: Path) -> Documents:
        """The working folder after the scan."""
        files = [] if self.alone else [CLUSTER]
        if self.objects:
            files.append(folder / "objects.yaml")
            files[-1].write_text(self.objects, encoding="utf-8")
        if not self.beside:
            return replace(scanned(folder, *files, profile=self.profile, **self.azure), wishes=self.wishes)
        named = [argument for file in files for argument in ("-f", file)]
        said = azure_folder(azure_json(folder, self.profile, self.azure), self.beside)
        ended = migrate(folder, "scan", *named, "--az-json", said, "--output-dir", folder, "-q")
        assert ended.status in (0, 4), ended.stderr
        return replace(read_folder(folder), wishes=self.wishes)

    def evaluation(self, folder: Path) -> Evaluation:
        """What the rule says."""
        checks = [check for check in all_checks() if check.id == self.rule]
        assert len(checks) == 1
        return evaluate(self.documents(folder), self.day, checks)

    def findings(self, folder: Path) -> tuple[Finding, ...]:
        """What the rule finds."""
        return self.evaluation(folder).findings

    def lacks(self, folder: Path) -> str:
        """What the rule lacks, as one text; empty when it has all."""
        return " | ".join(lack for unchecked in self.evaluation(folder).unchecked for lack in unchecked.lacks)


def azure_folder(cluster: Path, beside: Mapping[str, Json]) -> Path:
    """A folder with what Azure says of a cluster, and with more."""
    folder = cluster.parent / "azure"
    folder.mkdir(exist_ok=True)
    cluster.replace(folder / cluster.name)
    for name, value in beside.items():
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def pools(*changes: Mapping[str, Json], profile: str = NODE_SUBNET) -> list[Json]:
    """Node pools as the first of a profile, each with its changes; "absent" takes a field away."""
    first = json.loads((CASES / "azure" / f"{profile}.json").read_text(encoding="utf-8"))["agentPoolProfiles"][0]
    merged = [first | {"name": f"pool{number}"} | change for number, change in enumerate(changes)]
    return [{key: value for key, value in pool.items() if value != "absent"} for pool in merged]


def shown(findings: tuple[Finding, ...]) -> list[str]:
    """What findings say, with where they say it."""
    return [f"{finding.subject or ''} {finding.field or ''} {finding.detail}" for finding in findings]
