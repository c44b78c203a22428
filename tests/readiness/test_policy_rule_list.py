"""Rules about policies, workloads, nodes, audit and cutover: each is there, once, and stands in the way as promised."""

import pytest

from migrate.model.finding import Severity
from migrate.readiness.checks import all_checks
from migrate.readiness.limits import platform
from migrate.readiness.rules import load_rules

CHECKED = {
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


def test_limits_of_products_have_sources() -> None:
    for source in platform().sources:
        assert source.says
        assert source.measured or (source.repo and source.path)
