"""Services whose backends changed while it was recorded, or that came later than the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from migrate.audit.reading import open_recording
from migrate.audit.replay import Line, Replay
from migrate.model.flow import PROTOCOL_NUMBERS
from tests.audit_scene import WEB, revision, scene
from tests.recordings import SECOND, START, Recording, packed

_WEB, _DB, _OTHER_DB, _FREE, _OPEN = "10.1.0.10", "10.1.0.2", "10.2.0.2", "10.1.0.9", "10.1.0.7"
_SERVICE, _LATE = "10.96.0.10", "10.96.0.77"
_NODE = "10.0.0.1"
Stood: TypeAlias = tuple[str, int, int | None]
"""Address, and from when until when in seconds of the recording."""


def lines(folder: Path, *fills: Callable[[Recording], None]) -> list[Line]:
    """The lines of a recording; record by record they come to the same."""
    recording = Recording(folder / "audit.db")
    for fill in fills:
        fill(recording)
    with open_recording(recording.close()) as reading:
        whole, singly = (Replay(reading, revision(folder), scene()) for _ in range(2))
        found = whole.run()
        told = dict.fromkeys(line for _, line in singly.rows())
    assert [(line.verdict, line.records) for line in found] == [(line.verdict, line.records) for line in told]
    return found


def behind(
    service: str,
    address: str,
    port: str,
    *stood: Stood,
    target_port: int = 5432,
    exists: tuple[int, int | None] = (0, None),
) -> Callable[[Recording], None]:
    """What an agent was told of a Service (namespace/name)."""
    protocol, number = port.split("/")

    def fill(recording: Recording) -> None:
        namespace, _, name = service.partition("/")
        recording.owner(address, service, *exists, kind="service")
        for target, since, until in stood:
            key = (
                namespace,
                name,
                packed(address),
                PROTOCOL_NUMBERS[protocol],
                int(number),
                packed(target),
                target_port,
            )
            recording.insert("backend", *key, _at(since), None if until is None else _at(until))

    return fill


def on_nodes(service: str, port: int, target: str, target_port: int) -> Callable[[Recording], None]:
    """A node port of a Service."""
    namespace, _, name = service.partition("/")
    key = (namespace, name, packed("0.0.0.0"), 6, port, packed(target), target_port)
    return lambda recording: recording.insert("backend", *key, 0, None)


def sent(address: str, port: str, *times: int, pod: str = WEB, source: str = _WEB) -> Callable[[Recording], None]:
    """Records of a pod, each of ten seconds in an hour of its own, that begin at `times` of these hours."""

    def fill(recording: Recording) -> None:
        veth = recording.veth(pod)
        for hour, at in enumerate(times):
            recording.flow(veth, "from", source, address, port, hour=hour, at=at, lasts=10)

    return fill


def _at(seconds: int) -> int:
    return START + seconds * SECOND if seconds else 0


def test_both_halves_of_a_service_that_changes_its_backends(tmp_path: Path) -> None:
    """The web may reach databases and nothing else: the first half is allowed, the second would be dropped."""
    told = behind("shop/db", _SERVICE, "TCP/5432", (_DB, 0, 1800), (_OTHER_DB, 0, 1801), (_FREE, 1800, None))
    found = lines(tmp_path, told, sent(_SERVICE, "TCP/5432", 100, 100))
    assert {(line.verdict, line.records, line.first < START + 3600 * SECOND) for line in found} == {
        ("would_allow", 1, True),
        ("would_drop", 1, False),
    }
    assert all(line.asked.service == "shop/db" for line in found)


@pytest.mark.parametrize(
    ("stood", "verdict", "reason"),
    [
        pytest.param([(_DB, 0, None)], "would_allow", "", id="not what the snapshot says"),
        pytest.param([(_DB, 0, 105), (_FREE, 105, None)], "would_drop", "", id="it changed within the record"),
        pytest.param([(_FREE, 0, 60), (_DB, 60, None)], "would_allow", "", id="the one before does not count"),
        pytest.param([(_DB, 0, None), (_FREE, 200, None)], "would_allow", "", id="nor does the one after"),
        pytest.param([(_DB, 0, 60)], "unknown", "nothing stood behind its port", id="nothing stood there then"),
        pytest.param(
            [(_DB, 0, None), ("10.2.0.200", 0, None)], "unknown", "10.2.0.200 behind Service shop/db",
            id="a backend that is not in the snapshot",
        ),
        pytest.param(
            [(_FREE, 0, None), ("10.2.0.200", 0, None)], "would_drop", "", id="another one is denied, which is enough"
        ),
        pytest.param([], "unknown", "nothing stood behind its port", id="the Service never had a backend"),
    ],
)  # fmt: skip
def test_who_stood_behind_it_then(stood: list[Stood], verdict: str, reason: str, tmp_path: Path) -> None:
    (line,) = lines(tmp_path, behind("shop/db", _SERVICE, "TCP/5432", *stood), sent(_SERVICE, "TCP/5432", 100))
    assert line.verdict == verdict, line.outcome
    assert reason in line.outcome.reason


def test_a_service_that_came_after_the_snapshot(tmp_path: Path) -> None:
    told = behind("shop/late", _LATE, "TCP/1234", (_DB, 50, None), exists=(50, None))
    other = behind("shop/later", "10.96.0.78", "TCP/1234", (_FREE, 50, None), target_port=80)
    asked = (sent(_LATE, "TCP/1234", 100), sent("10.96.0.78", "TCP/1234", 100), sent(_LATE, "TCP/99", 100))
    found = {(line.asked.service, line.verdict) for line in lines(tmp_path, told, other, *asked)}
    assert found == {("shop/late", "would_allow"), ("shop/later", "would_drop"), ("shop/late", "unknown")}


def test_the_address_of_a_service_that_another_one_took_over(tmp_path: Path) -> None:
    first = behind("shop/db", _SERVICE, "TCP/5432", (_DB, 0, 1800), exists=(0, 1800))
    second = behind("shop/next", _SERVICE, "TCP/5432", (_FREE, 1900, None), exists=(1900, None))
    found = lines(tmp_path, first, second, sent(_SERVICE, "TCP/5432", 100, 100))
    assert {(line.asked.service, line.verdict) for line in found} == {
        ("shop/db", "would_allow"),
        ("shop/next", "would_drop"),
    }


def test_a_node_port_of_a_service_that_came_after_the_snapshot(tmp_path: Path) -> None:
    told = behind("shop/late", _LATE, "TCP/80", (_OPEN, 0, None), target_port=8080)
    way = (on_nodes("shop/late", 31000, _OPEN, 8080), sent(_NODE, "TCP/31000", 100, pod="shop/free", source=_FREE))
    (line,) = lines(tmp_path, told, *way)
    assert line.asked.service == "shop/late"
    assert line.outcome.flow is not None
    via = line.outcome.flow.via
    assert via is not None
    assert via.node_port == 31000
    assert [target.port for target in via.targets] == [8080]


def test_what_the_kernel_chose_counts_where_it_stood_then(tmp_path: Path) -> None:
    """The rows of translation have no times: of what is known to have stood there before, they tell of then."""
    told = behind("shop/db", _SERVICE, "TCP/5432", (_FREE, 0, 1800), (_DB, 1800, None))

    def fill(recording: Recording) -> None:
        veth = recording.veth(WEB)
        recording.flow(veth, "from", _WEB, _SERVICE, "TCP/5432", at=100, lasts=10)
        recording.flow(veth, "from", _WEB, _SERVICE, "TCP/5432", hour=1, at=100, lasts=10)
        for backend in (_FREE, _DB):
            recording.translated(veth, (_WEB, _SERVICE, "TCP/5432"), (_WEB, _SERVICE, 5432), backend)

    found = lines(tmp_path, told, fill)
    assert {(line.verdict, line.first < START + 3600 * SECOND) for line in found} == {
        ("would_drop", True),
        ("would_allow", False),
    }


def test_a_recording_of_schema_1_has_no_timeline(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    sent(_SERVICE, "TCP/5432", 100)(recording)
    recording.execute("DROP TABLE backend")
    with open_recording(recording.close()) as reading:
        assert list(reading.backends()) == []
        (line,) = Replay(reading, revision(tmp_path), scene()).run()
    assert line.verdict == "would_allow"
