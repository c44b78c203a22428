"""Every rule that was promised is there, once; and what AKS's documents say is kept with its source."""

from datetime import date

import pytest

from migrate.model.finding import Severity
from migrate.readiness.aks import KubernetesVersion, limits, release_of, versions
from migrate.readiness.checks import all_checks
from migrate.readiness.rules import load_rules
from migrate.translate.profiles import load_profile, profile_names

CHECKED = {
    "CLU-WINDOWS-POOL": "blocker",
    "CLU-NAP-ENABLED": "blocker",
    "CLU-KUBENET-TWO-STEP": "blocker",
    "CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE": "blocker",
    "CLU-OVERLAY-DYNAMIC-IP": "blocker",
    "CLU-OVERLAY-K8S-VERSION": "blocker",
    "CLU-K8S-UNSUPPORTED": "warning",
    "CLU-ENGINE-FLAG": "info",
    "CLU-CLI-VERSION": "warning",
    "CLU-IRREVERSIBLE": "info",
    "CLU-REIMAGE-ALL-POOLS": "warning",
    "CLU-OS-IMAGE-GONE": "blocker",
    "CLU-AVAILABILITY-SET": "blocker",
    "CLU-DEADLINE": "warning",
    "CLU-NPM-SCALE": "warning",
    "CLU-QUOTA-SURGE": "blocker",
    "CLU-PDB-BLOCKS-DRAIN": "blocker",
    "CLU-SINGLE-SYSTEM-NODE": "warning",
    "CLU-NODES-NOT-READY": "blocker",
    "NET-PODCIDR-SIZE": "blocker",
    "NET-PODCIDR-OVERLAP": "blocker",
    "NET-PODCIDR-REQUIRED": "info",
    "NET-POD-IP-EXPOSED": "warning",
    "NET-UDR-ROUTES": "warning",
    "NET-KUBENET-IDENTITY": "blocker",
    "NET-IPMASQ-CUSTOM": "warning",
    "NET-NSG-POD-TRAFFIC": "warning",
    "NET-NAME-LENGTH": "warning",
    "SVC-ETP-CLUSTER": "warning",
    "SVC-LB-SOURCE-RANGES": "info",
    "SVC-HEALTH-PROBE": "info",
    "SVC-HOSTPORT-DUAL-PROTO": "warning",
    "SVC-KUBE-PROXY-CONFIG": "warning",
    "SVC-EXTERNAL-IPS": "info",
    "POL-INGRESS-FROM-NODE": "info",
    "POL-WIN-UNSUPPORTED": "warning",
    "POL-WIN-EGRESS-INVERTED": "blocker",
    "POL-ENDPORT": "blocker",
    "POL-SCTP": "blocker",
    "POL-OTHER-PROTO": "warning",
    "POL-DNS-MISSING": "warning",
    "POL-APISERVER-EGRESS": "warning",
    "POL-METADATA-EGRESS": "info",
    "POL-FQDN": "warning",
    "POL-L7": "warning",
    "POL-ADMISSION-VAP": "warning",
    "POL-CNP-SIZE": "warning",
    "POL-MANY-IPBLOCK": "info",
    "POL-CALICO-NATIVE": "blocker",
    "WRK-MESH": "warning",
    "WRK-IPTABLES-USERS": "warning",
    "WRK-IDENTITY-CHURN": "warning",
    "WRK-KERNEL": "blocker",
    "WRK-CONFIDENTIAL-SANDBOX": "info",
    "WRK-WIN2025-ACL": "warning",
    "NODE-NPM-DRIFT-MISSING": "warning",
    "NODE-NPM-DRIFT-STALE": "info",
    "NODE-NPM-JUMP": "warning",
    "NODE-NPM-OTHER-BACKEND": "warning",
    "NODE-NPM-HASH-COLLISION": "warning",
    "NODE-LEFTOVER-AFTER": "blocker",
    "NODE-HNS-DRIFT": "warning",
    "NODE-NPM-COUNTERS": "info",
    "AUD-COVERAGE": "warning",
    "AUD-NO-CILIUM-AUDIT-MODE": "info",
    "CUT-ENFORCEMENT-GAP": "warning",
    "CUT-EMPTY-POLICY-MAP": "warning",
    "CUT-POST-CHECKS": "info",
}


@pytest.mark.parametrize("rule", CHECKED)
def test_a_rule_has_a_file_and_a_check(rule: str) -> None:
    assert load_rules()[rule].severity is Severity(CHECKED[rule])
    assert [check.id for check in all_checks()].count(rule) == 1


def test_every_check_has_a_file() -> None:
    assert {check.id for check in all_checks()} <= load_rules().keys()


def test_checks_are_in_the_order_of_their_ids() -> None:
    assert [check.id for check in all_checks()] == sorted({check.id for check in all_checks()})


@pytest.mark.parametrize("row", versions().versions, ids=lambda row: row.kubernetes)
def test_a_version_has_the_cilium_of_its_target(row: KubernetesVersion) -> None:
    target = f"aks-{row.kubernetes}"
    assert target not in profile_names() or load_profile(target).cilium == row.cilium
    assert row.end_of_life < row.lts_end_of_life
    assert row.cilium or row.superseded or row.kubernetes == "1.37"


def test_every_target_of_aks_is_in_the_table() -> None:
    named = {name.removeprefix("aks-").partition("-")[0] for name in profile_names() if name.startswith("aks-")}
    assert named <= {row.kubernetes for row in versions().versions}


def test_versions_are_in_their_order() -> None:
    releases = [release_of(row.kubernetes) for row in versions().versions]
    assert all(releases)
    assert releases == sorted(releases, key=lambda release: release or (0, 0))


def test_dates_of_superseded_values_are_in_their_order() -> None:
    for row in versions().versions:
        days = [old.until for old in row.superseded]
        assert days == sorted(days, reverse=True)
    assert limits().overlay_kubernetes.superseded[0].value == "1.22"
    assert str(limits().overlay_kubernetes).endswith("update-azure-cni.md of 2025-11-26")
    assert versions().cilium_source_date == date(2026, 8, 5)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("1.32", (1, 32)),
        ("1.32.4", (1, 32)),
        ("v1.32.4-hotfix.20260101", (1, 32)),
        (" 1.9.11 ", (1, 9)),
        ("1", None),
        ("", None),
        ("latest", None),
    ],
)
def test_release_of(text: str, release: tuple[int, int] | None) -> None:
    assert release_of(text) == release
