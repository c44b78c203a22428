"""Rows for other programs: what Hubble is told of each kind of end and packet; sizes as people type them."""

from __future__ import annotations

import json

import pytest

from migrate.audit.exported import ExportedEnd, ExportedFlow, ExportedKind
from migrate.audit.hubble import hubble_lines
from migrate.audit.sizes import parse_size, size_text
from migrate.audit.times import rfc3339
from migrate.errors import InputError
from migrate.model.audit_documents import AuditVerdict

POD = ExportedEnd(
    address="10.0.0.1", kind="pod", namespace="shop", name="web-0", workload="Deployment/web", labels=("app=web",)
)
OUTSIDE = ExportedEnd(address="203.0.113.7", kind="outside")


def flow(
    *,
    destination: ExportedEnd = OUTSIDE,
    protocol: str = "TCP",
    verdict: AuditVerdict = "would_drop",
    icmp: tuple[int, int] | None = None,
    rule: str = "",
    service: str = "",
) -> ExportedFlow:
    """A record of pod web-0 on node n1."""
    return ExportedFlow(
        node="n1",
        interface=1,
        first="2026-11-21T10:00:00Z",
        last="2026-11-21T10:00:01Z",
        direction="egress",
        protocol=protocol,
        protocol_number=6,
        port=443,
        icmp_type=None if icmp is None else icmp[0],
        icmp_code=None if icmp is None else icmp[1],
        source_port=40000,
        source=POD,
        destination=destination,
        service=service,
        events=1,
        octets=60,
        verdict=verdict,
        future="would_drop",
        side="egress",
        decided_by="CiliumNetworkPolicy shop/web" if rule else "",
        rule=rule,
    )


def told(one: ExportedFlow) -> dict[str, object]:
    """The flow in the line that Hubble reads."""
    (line,) = hubble_lines([one])
    found = json.loads(line)["flow"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("kind", "node", "labels", "identity"),
    [
        pytest.param("node", "n1", ["reserved:host"], 1, id="the record's own node is the host"),
        pytest.param("node", "n2", ["reserved:remote-node"], 6, id="another node"),
        pytest.param("api_server", "", ["reserved:kube-apiserver"], 7, id="the API server"),
        pytest.param("outside", "", ["reserved:world"], 2, id="the outside"),
        pytest.param("cloud", "", ["reserved:world"], 2, id="the cloud's own addresses"),
    ],
)
def test_ends_that_are_no_pods_have_ciliums_reserved_identities(
    kind: ExportedKind, node: str, labels: list[str], identity: int
) -> None:
    end = ExportedEnd(address="192.0.2.1", kind=kind, node=node)
    assert told(flow(destination=end))["destination"] == {"identity": identity, "labels": labels}


def test_a_pod_has_its_labels_and_workload_and_no_identity() -> None:
    assert told(flow())["source"] == {
        "namespace": "shop",
        "labels": ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"],
        "pod_name": "web-0",
        "workloads": [{"name": "web", "kind": "Deployment"}],
    }


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        ("would_drop", "AUDIT"),
        ("denied_today", "DROPPED"),
        ("would_allow", "FORWARDED"),
        ("unknown", "VERDICT_UNKNOWN"),
        ("not_judged", "TRACED"),
    ],
)
def test_verdicts(verdict: AuditVerdict, word: str) -> None:
    assert told(flow(verdict=verdict))["verdict"] == word


@pytest.mark.parametrize(
    ("protocol", "icmp", "transport"),
    [
        pytest.param("UDP", None, {"UDP": {"source_port": 40000, "destination_port": 443}}, id="UDP"),
        pytest.param("SCTP", None, {"SCTP": {"source_port": 40000, "destination_port": 443}}, id="SCTP"),
        pytest.param("ICMP", (8, 0), {"ICMPv4": {"type": 8, "code": 0}}, id="ICMP of IPv4"),
        pytest.param("ICMPv6", (128, 0), {"ICMPv6": {"type": 128, "code": 0}}, id="ICMP of IPv6"),
        pytest.param("47", None, None, id="a protocol without ports has no l4"),
    ],
)
def test_protocols(protocol: str, icmp: tuple[int, int] | None, transport: object) -> None:
    assert told(flow(protocol=protocol, icmp=icmp)).get("l4") == transport


def test_a_deny_rule_is_named_with_its_policy() -> None:
    found = told(flow(rule="spec.egressDeny[0]"))
    assert found["drop_reason_desc"] == "POLICY_DENY"
    assert found["egress_denied_by"] == [{"name": "web", "namespace": "shop", "kind": "CiliumNetworkPolicy"}]


def test_a_service_is_named() -> None:
    assert told(flow(service="shop/db"))["destination_service"] == {"name": "db", "namespace": "shop"}


def test_times_keep_their_nanoseconds() -> None:
    assert rfc3339(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GiB", 1 << 30), ("500MiB", 500 << 20), ("2G", 2 << 30), ("1.5gib", 3 << 29), ("2097152", 2 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1G", "1X", "1 G", "1023KiB"])
def test_what_is_no_size_of_a_recording(text: str) -> None:
    with pytest.raises(InputError, match="write"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(72 << 10, "72 KiB"), (3 << 29, "1.5 GiB"), (5, "5 B")])
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text
