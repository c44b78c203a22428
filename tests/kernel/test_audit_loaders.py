"""The whole `migrate audit` with either loader: the same traffic gives the same records and the same result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from migrate.model.audit_documents import Audit
from migrate.model.raw import Json
from tests.command_line import migrate
from tests.kernel.audited_lab import OTHER_POLICIES, auditing, policy, working_folder
from tests.kernel.conftest import NO_BCC, has_bcc
from tests.kernel.kube_lab import (
    BACKEND_PORT,
    NODE,
    NODE_ADDRESS,
    NODE_PORT,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    OUTSIDE_CLIENT,
    SERVICE,
    SERVICE_PORT,
    Answer,
    Lab,
)
from tests.kernel.lab import run, unmount
from tests.prerequisites import require
from tests.unit.audit_records import told

pytestmark = pytest.mark.kernel

_PODS = 5
_B_FROM_A: dict[str, Json] = {
    "ingress": [
        {
            "fromEndpoints": [{"matchLabels": {"app": "a"}}],
            "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}],
        }
    ]
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        made.serve(OUTSIDE, 443)
        yield made


def _traffic(lab: Lab) -> None:
    """Allowed and not, by every way to pod b: a Service, its own Service, a node port, the node itself."""
    b = lab.pods["b"].address
    clients = (("a", SERVICE, SERVICE_PORT, ""), ("c", b, BACKEND_PORT, ""), ("b", SERVICE, SERVICE_PORT, ""))
    others = ((OUTSIDE, NODE_ADDRESS, NODE_PORT, OUTSIDE_CLIENT), (NODE, b, BACKEND_PORT, ""))
    for place, host, port, source in (*clients, *others, ("d", OUTSIDE_ADDRESS, 443, "")):
        assert lab.connect(place, host, port, source=source) is Answer.ANSWERED
    with suppress(OSError):
        lab.open("a", b, 1)


def _recorded(lab: Lab, folder: Path, *arguments: str) -> tuple[list[tuple[object, ...]], Audit]:
    """The records of the traffic, without times, and the result."""
    folder.mkdir()
    working_folder(folder, lab, [policy("b", "b", _B_FROM_A)])
    bpffs = folder / "bpf"
    bpffs.mkdir()
    try:
        with auditing(lab, folder, bpffs, "1h", *OTHER_POLICIES, *arguments) as audit:
            audit.wait_until_watching(_PODS)
            _traffic(lab)
            ended = migrate(folder, "audit", "stop", "--dir", ".")
            assert ended.status == 0, ended.stderr
            status, _, stderr = audit.end()
        assert status == 1, stderr
        left = run("nsenter", f"--net=/run/netns/{lab.node}", "tc", "filter", "show", "dev", "calia", "ingress")
        assert (left, list(bpffs.glob("cilium-migrate"))) == ("", [])
    finally:
        unmount(bpffs)
    judged = migrate(folder, "audit", "replay", "--dir", ".", *OTHER_POLICIES, "-o", "json")
    columns = "pod, direction, kind, coarse, source, destination, protocol, port"
    query = f"SELECT {columns}, events, octets, answered, refused FROM flow JOIN veth ON veth.id = veth"
    rows = told(folder / "audit.db", f"{query} WHERE protocol = 6 ORDER BY {columns}")
    return rows, msgspec.json.decode(judged.stdout, type=Audit)


def _said(audit: Audit) -> set[tuple[str, ...]]:
    """All verdicts on TCP."""
    of_topics = (*audit.probes.groups, *audit.other_node_clients.groups)
    groups = (*audit.would_drop, *audit.ambiguous, *audit.denied_today, *of_topics)
    return {
        (one.verdict, str(one.source), str(one.destination), f"{one.protocol}/{one.port}", one.side, str(one.events))
        for one in groups
        if one.protocol == "TCP"
    }


def test_both_loaders_record_and_say_the_same(lab: Lab, tmp_path: Path) -> None:
    require(has_bcc(), NO_BCC)

    by_libbpf, first = _recorded(lab, tmp_path / "first")
    by_bcc, second = _recorded(lab, tmp_path / "second", "--loader", "bcc")

    assert by_bcc == by_libbpf
    assert len(by_libbpf) == 9
    assert _said(second) == _said(first)
    assert (first.balance.holds, second.balance.holds) == (True, True)
    loaders = [told(tmp_path / name / "audit.db", "SELECT loader FROM segment") for name in ("first", "second")]
    assert loaders == [[("libbpf",)], [("bcc",)]]


def test_without_its_headers_bcc_is_refused_and_leaves_nothing(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(has_bcc(), NO_BCC)
    working_folder(tmp_path, lab, [policy("b", "b", _B_FROM_A)])
    bpffs = tmp_path / "bpf"
    bpffs.mkdir()
    monkeypatch.setitem(os.environ, "BCC_KERNEL_SOURCE", str(tmp_path))
    try:
        with auditing(lab, tmp_path, bpffs, "1h", *OTHER_POLICIES, "--loader", "bcc") as audit:
            status, _, stderr = audit.end()
        assert status == 3
        assert f"BCC_KERNEL_SOURCE={tmp_path}: no kernel headers there" in stderr
        assert list(bpffs.glob("cilium-migrate/*/*")) == []
    finally:
        unmount(bpffs)
