"""Findings of rules over working folders that the real commands made: a cluster under cases/readiness, and more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from migrate.audited import Place, run_judged
from migrate.model.finding import Finding
from migrate.model.raw import Json
from migrate.readiness.checks import all_checks
from migrate.readiness.documents import read_folder
from migrate.readiness.evaluate import evaluate
from tests.readiness.folders import CASES, scanned, translated
from tests.recordings import Recording

TODAY = date(2026, 11, 21)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one rule says of a folder; `lacks` is empty when it was checked."""

    findings: tuple[Finding, ...]
    lacks: tuple[str, ...]

    @property
    def details(self) -> str:
        """All details, to look for words in."""
        return "\n".join(finding.detail for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Scene:
    """A working folder that is being made."""

    folder: Path

    def scan(
        self,
        cluster: str,
        more: str = "",
        without: Sequence[str] = (),
        profile: str = "",
        azure: Mapping[str, Json] | None = None,
    ) -> Scene:
        """`migrate scan` of a cluster, with further objects and `without` those in whose text a word stands.

        `profile` is what Azure says of it, `azure` other parts of that.
        """
        parts = (CASES / "readiness" / f"{cluster}.yaml").read_text(encoding="utf-8").split("\n---\n")
        kept = [part for part in parts if not any(word in part for word in without)]
        (self.folder / "in.yaml").write_text("\n---\n".join([*kept, *([more] if more else [])]), encoding="utf-8")
        scanned(self.folder, self.folder / "in.yaml", profile=profile, **(azure or {}))
        return self

    def translate(self, *options: str) -> Scene:
        """`migrate translate` of it."""
        translated(self.folder, *options)
        return self

    def recording(self, node: str = "n1") -> Recording:
        """A recording to fill."""
        return Recording(self.folder / "audit.db", node)

    def judge(self) -> Scene:
        """What `migrate audit` says of the recording."""
        audit = run_judged(Place(self.folder))
        (self.folder / "audit.json").write_bytes(msgspec.json.encode(audit))
        return self

    def ask(self, rule: str) -> Answer:
        """What the rule says."""
        checks = [check for check in all_checks() if check.id == rule]
        assert len(checks) == 1, rule
        found = evaluate(read_folder(self.folder), TODAY, checks)
        return Answer(found.findings, tuple(lack for one in found.unchecked for lack in one.lacks))


def policy(name: str, spec: str, namespace: str = "shop") -> str:
    """A NetworkPolicy as YAML; `spec` in flow style."""
    metadata = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n{metadata}\nspec: {spec}"
