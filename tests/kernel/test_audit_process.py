"""`migrate audit` as a process on a node of namespaces: what it reports, how it ends, and what it leaves."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from migrate.audit.reading import open_recording
from migrate.model.audit_documents import Audit
from migrate.model.raw import Json
from migrate.readiness.documents import read_folder
from tests.command_line import migrate
from tests.kernel.audited_lab import (
    NODE_NAME,
    auditing,
    policy,
    translated_folder,
    working_folder,
    write_policies,
)
from tests.kernel.kube_lab import OUTSIDE, OUTSIDE_ADDRESS, SERVICE, SERVICE_PORT, Answer, Lab
from tests.kernel.lab import inside, run

pytestmark = pytest.mark.kernel

_PODS = 5
_LONG = "1h"
_TO_B: dict[str, Json] = {"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}
B_FROM_A = policy("b", "b", {"ingress": [{"fromEndpoints": [{"matchLabels": {"app": "a"}}], **_TO_B}]})
B_FROM_A_ONLY: dict[str, Json] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"namespace": "shop", "name": "b"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "b"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}],
    },
}
A_TO_B = policy("a", "a", {"egress": [{"toEndpoints": [{"matchLabels": {"app": "b"}}]}]})


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all tests; pod b, pod c and the outside serve."""
    with Lab() as made:
        made.serve("b", 8080)
        made.serve("c", 7000)
        made.serve(OUTSIDE, 443)
        yield made


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    """A working folder with a snapshot of the lab and two policies."""
    working_folder(tmp_path, lab, [B_FROM_A, A_TO_B])
    return tmp_path


def talk(lab: Lab) -> None:
    """Connections that the policies allow: a to b, also by the Service. And two that they do not."""
    b = lab.pods["b"].address
    assert lab.connect("a", b, 8080) is Answer.ANSWERED
    assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED
    assert lab.connect("c", b, 8080) is Answer.ANSWERED
    assert lab.connect("a", OUTSIDE_ADDRESS, 443) is Answer.ANSWERED


DROPPED = {
    ("shop/c-0", "shop/b-0", "TCP", 8080, "ingress"),
    ("shop/a-0", "outside the cluster", "TCP", 443, "egress"),
}


def judged(folder: Path, *arguments: str) -> Audit:
    """What a replay says of the recording."""
    ended = migrate(folder, "audit", "replay", "--dir", ".", "--policies", "policies", "-o", "json", *arguments)
    return msgspec.json.decode(ended.stdout, type=Audit)


def dropped(audit: Audit) -> set[tuple[str, str, str, int, str]]:
    """The would-be drops of TCP."""
    groups = (group for group in audit.would_drop if group.protocol == "TCP")
    return {(str(one.source), str(one.destination), one.protocol, one.port, one.side) for one in groups}


def leftovers(lab: Lab, bpffs: Path) -> list[str]:
    """What of an audit is still in the kernel, at the lab's interfaces or pinned."""
    attached = run("nsenter", f"--net=/run/netns/{lab.node}", "tc", "filter", "show", "dev", "calia", "ingress")
    pinned = [str(path) for path in bpffs.rglob("*") if path.suffix != ".debug"]  # those are the file system's own
    return [*attached.split(), *pinned]


def test_an_audit_reports_what_would_be_dropped_and_leaves_nothing(lab: Lab, folder: Path, bpffs: Path) -> None:
    with auditing(lab, folder, bpffs, "20s") as audit:
        audit.wait_until_watching(_PODS)
        talk(lab)
        status, stdout, stderr = audit.end()
    assert status == 1, stderr
    assert "shop/c-0 → shop/b-0 TCP/8080: 1 connection at ingress" in stdout
    assert "shop/a-0 → outside the cluster TCP/443: 1 connection at egress" in stdout
    assert "ended (complete)" in stderr
    found = judged(folder)
    assert dropped(found) == DROPPED
    assert found.balance.holds
    assert leftovers(lab, bpffs) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_everything_is_kept_and_reported(lab: Lab, folder: Path, bpffs: Path, number: int) -> None:
    with auditing(lab, folder, bpffs, _LONG) as audit:
        audit.wait_until_watching(_PODS)
        talk(lab)
        audit.signal(number)
        status, stdout, stderr = audit.end()
    assert status == 1, stderr
    assert "shop/c-0 → shop/b-0 TCP/8080: 1 connection at ingress" in stdout
    assert "all that was recorded is kept" in stderr
    assert dropped(judged(folder)) == DROPPED
    assert leftovers(lab, bpffs) == []


def test_a_stopped_audit_goes_on_in_the_same_recording(lab: Lab, folder: Path, bpffs: Path) -> None:
    for _ in range(2):
        with auditing(lab, folder, bpffs, _LONG) as audit:
            audit.wait_until_watching(_PODS)
            talk(lab)
            ended = migrate(folder, "audit", "stop", "--dir", ".")
            assert ended.status == 0, ended.stderr
            audit.end()
    found = judged(folder)
    assert {group.events for group in found.would_drop if group.protocol == "TCP"} == {2}
    assert found.balance.holds
    assert "in 2 runs" in migrate(folder, "audit", "status", "--dir", ".").stdout


def test_a_killed_audit_is_gone_on_with_and_nothing_is_lost(lab: Lab, folder: Path, bpffs: Path) -> None:
    with auditing(lab, folder, bpffs, _LONG) as audit:
        audit.wait_until_watching(_PODS)
        talk(lab)
        audit.signal(signal.SIGKILL)
        audit.end()
    talk(lab)
    assert "not running" in migrate(folder, "audit", "status", "--dir", ".").stdout
    with auditing(lab, folder, bpffs, _LONG) as audit:
        audit.wait_until_watching(_PODS)
        talk(lab)
        audit.signal(signal.SIGINT)
        status, _, stderr = audit.end()
    assert status == 1
    assert "going on with audit.db" in stderr
    found = judged(folder)
    assert {group.events for group in found.would_drop if group.protocol == "TCP"} == {3}
    assert found.balance.holds
    assert found.balance.lost == 0
    with open_recording(folder / "audit.db") as reading:
        assert len(reading.segments()) == 1
    assert leftovers(lab, bpffs) == []


def test_what_a_killed_audit_left_can_be_taken_away(lab: Lab, folder: Path, bpffs: Path) -> None:
    with auditing(lab, folder, bpffs, _LONG) as audit:
        audit.wait_until_watching(_PODS)
        audit.signal(signal.SIGKILL)
        audit.end()
    assert leftovers(lab, bpffs) != []
    with inside(lab.node):
        ended = migrate(folder, "audit", "stop", "--dir", ".", "--bpffs", bpffs)
    assert (ended.status, "gone from the kernel" in ended.stderr) == (0, True)
    assert leftovers(lab, bpffs) == []


def test_the_result_stays_in_the_folder_with_the_translation(lab: Lab, tmp_path: Path, bpffs: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    translated_folder(folder, lab, B_FROM_A_ONLY)
    with auditing(lab, folder, bpffs, _LONG, "--quiet") as audit:
        audit.wait_until_watching(_PODS)
        talk(lab)
        audit.signal(signal.SIGTERM)
        status, stdout, stderr = audit.end()
    assert (status, stderr) == (1, "")
    kept = read_folder(folder)
    assert kept.audit is not None
    assert kept.audit_outdated == ()
    assert dropped(kept.audit) == {("shop/c-0", "shop/b-0", "TCP", 8080, "ingress")}
    assert "shop/c-0 → shop/b-0 TCP/8080: 1 connection at ingress" in stdout
    with auditing(lab, folder, bpffs, _LONG, "--max-size", "2GiB") as audit:
        audit.wait_until_watching(_PODS)
        assert read_folder(folder).audit_outdated == ("the recording has more since",)
        audit.signal(signal.SIGTERM)
        _, _, stderr = audit.end()
    assert "wrote audit.json, which migrate report reads" in stderr
    assert read_folder(folder).audit_outdated == ()


def test_two_audits_on_one_node_are_refused(lab: Lab, folder: Path, bpffs: Path) -> None:
    with auditing(lab, folder, bpffs, _LONG) as audit:
        audit.wait_until_watching(_PODS)
        again = ("audit", "--dir", ".", "--policies", "policies", "--node", NODE_NAME, "--bpffs", str(bpffs))
        same = migrate(folder, *again)
        assert (same.status, "another audit is running" in same.stderr) == (2, True)
        other = migrate(folder, *again, "--audit", "other.db")
        assert (other.status, "another audit runs on this node" in other.stderr) == (3, True)
        state = json.loads(migrate(folder, "audit", "status", "--dir", ".", "-o", "json").stdout)
        assert state["watchedPods"] == _PODS
        assert state["running"] is not None


def test_policies_that_change_meanwhile_are_said_and_those_of_now_judge(lab: Lab, folder: Path, bpffs: Path) -> None:
    with auditing(lab, folder, bpffs, _LONG) as audit:
        audit.wait_until_watching(_PODS)
        talk(lab)
        write_policies(folder / "policies", [B_FROM_A, policy("a", "a", {"egress": [{"toEntities": ["all"]}]})])
        audit.signal(signal.SIGTERM)
        status, stdout, stderr = audit.end()
    assert status == 1
    assert "the policies changed while the audit ran" in stderr
    assert "TCP/443" not in stdout
