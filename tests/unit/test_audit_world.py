"""Who had an address when, and pods that are not in the snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.audit.reading import open_recording
from migrate.audit.replay import Replay
from tests.audit_scene import revision, scene
from tests.recordings import Recording

_DB, _FREE = "10.1.0.2", "10.1.0.9"


@pytest.mark.parametrize(
    ("owners", "verdict", "reason"),
    [
        pytest.param([("shop/free", 0, None)], "would_drop", "", id="one owner all the time"),
        pytest.param(
            [("shop/free", 0, 1000), ("shop/web-5d8c7f9b6-aaaaa", 1001, None)], "would_drop", "", id="the earlier owner"
        ),
        pytest.param(
            [("shop/free", 0, 30), ("shop/web-5d8c7f9b6-aaaaa", 31, None)], "would_allow", "", id="the later owner"
        ),
        pytest.param(
            [("shop/free", 0, 90), ("shop/web-5d8c7f9b6-aaaaa", 91, None)], "unknown", "shop/free and shop/web",
            id="two owners in the time of the record, and they differ",
        ),
        pytest.param(
            [("shop/free", 0, 90), ("shop/other", 91, None)], "would_drop", "shop/free and shop/other",
            id="two owners, for both of whom it is denied",
        ),
        pytest.param([("shop/free", 0, 30), ("shop/gone", 31, None)], "unknown", "not in the snapshot", id="unknown"),
    ],
)  # fmt: skip
def test_the_owner_in_the_time_of_a_record(
    owners: list[tuple[str, int, int | None]], verdict: str, reason: str, tmp_path: Path
) -> None:
    recording = Recording(tmp_path / "audit.db")
    recording.flow(recording.veth("shop/db-0"), "to", _FREE, _DB, "TCP/5432", at=60, lasts=60)
    for name, since, until in owners:
        recording.owner(_FREE, name, since, until)
    with open_recording(recording.close()) as reading:
        (line,) = Replay(reading, revision(tmp_path), scene()).run()
    assert line.verdict == verdict, line.outcome
    assert reason in line.outcome.reason


def test_one_address_in_two_records_of_two_owners(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    veth = recording.veth("shop/db-0")
    recording.flow(veth, "to", _FREE, _DB, "TCP/5432", at=60)
    recording.flow(veth, "to", _FREE, _DB, "TCP/5432", at=60, hour=1)
    recording.owner(_FREE, "shop/free", 0, 1800)
    recording.owner(_FREE, "shop/web-5d8c7f9b6-aaaaa", 1801, None)
    with open_recording(recording.close()) as reading:
        found = {line.verdict: line.records for line in Replay(reading, revision(tmp_path), scene()).run()}
    assert found == {"would_drop": 1, "would_allow": 1}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        pytest.param("shop/web-5d8c7f9b6-zzzzz", "would_allow", id="another pod of the same ReplicaSet"),
        pytest.param("shop/web-77aa9f9b6-zzzzz", "unknown", id="another ReplicaSet may have other labels"),
        pytest.param("shop/web", "unknown", id="no name of a template's pod"),
        pytest.param("other/web-5d8c7f9b6-zzzzz", "unknown", id="another namespace"),
    ],
)
def test_pods_that_came_and_went(name: str, verdict: str, tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    recording.flow(recording.veth("shop/db-0"), "to", "10.2.0.200", _DB, "TCP/5432")
    recording.owner("10.2.0.200", name, 10, 3000)
    with open_recording(recording.close()) as reading:
        replay = Replay(reading, revision(tmp_path), scene())
        (line,) = replay.run()
    assert line.verdict == verdict, line.outcome
    assert (name in replay.world.assumptions) is (verdict == "would_allow")


def test_an_interface_says_whose_record_it_is_though_the_address_is_another_s_by_now(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    recording.flow(recording.veth("shop/web-5d8c7f9b6-zzzzz"), "from", _FREE, _DB, "TCP/5432")
    recording.owner(_FREE, "shop/free", 1800, None)
    with open_recording(recording.close()) as reading:
        (line,) = Replay(reading, revision(tmp_path), scene()).run()
    assert line.verdict == "would_allow"
    assert str(line.outcome.flow and line.outcome.flow.source) == "shop/web-5d8c7f9b6-zzzzz"
