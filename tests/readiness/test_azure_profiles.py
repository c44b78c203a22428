"""The six profiles of Azure: which rules they trigger alone, without a look into the cluster."""

import json
from pathlib import Path

import pytest

from migrate.readiness.checks import all_checks
from migrate.readiness.evaluate import evaluate
from tests.readiness.folders import CASES, scanned
from tests.readiness.rule_rows import TODAY

EXPECTED = json.loads((CASES / "azure" / "expected.json").read_text(encoding="utf-8"))
ALWAYS = {"CLU-ENGINE-FLAG", "CLU-IRREVERSIBLE", "CLU-REIMAGE-ALL-POOLS", "AUD-NO-CILIUM-AUDIT-MODE", "CUT-POST-CHECKS"}
"""What concerns every cluster that AKS updates."""
BEYOND = {"CUT-SNAT"}
"""Rules that the list of expected ones does not know."""


@pytest.mark.parametrize("profile", sorted(EXPECTED.keys() - {"note"}))
def test_rules_that_a_profile_triggers(profile: str, tmp_path: Path) -> None:
    (tmp_path / "namespace.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    documents = scanned(tmp_path, tmp_path / "namespace.yaml", profile=profile)
    found = {finding.id for finding in evaluate(documents, TODAY, all_checks()).findings}
    assert sorted(found - ALWAYS - BEYOND) == sorted(EXPECTED[profile])
