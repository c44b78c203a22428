"""Records of two nodes, merged and judged as one: what the far end tells of a call that nobody answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from migrate.audit.exported import exported
from migrate.audit.made import audit_of
from migrate.audit.merged import merge
from migrate.audit.reading import open_recording
from migrate.audit.replay import Line, Replay
from migrate.model.audit_documents import Audit
from migrate.readiness.traffic import hours_of
from tests.audit_scene import WEB, revision, scene
from tests.recordings import HOUR, START, Recording, packed

Fill: TypeAlias = Callable[[Recording, Recording], None]
_WEB, _DB, _FREE, _OPEN, _FAR_DB, _FAR_WEB = ("10.1.0.10", "10.1.0.2", "10.1.0.9", "10.1.0.7", "10.2.0.2", "10.2.0.10")
_NODE, _OTHER_NODE, _CLIENT = "10.0.0.1", "10.0.0.2", "198.51.100.7"
_FAR = "shop/web-5d8c7f9b6-bbbbb"


def merged(folder: Path, fill: Fill) -> Path:
    """Recordings of n1 and n2 that a function fills, as one."""
    stores = (Recording(folder / "n1.db"), Recording(folder / "n2.db", "n2"))
    stores[1].execute("UPDATE segment SET boot_id = 'boot-2'")
    fill(*stores)
    return merge([store.close() for store in stores], folder / "audit.db").path


def lines(folder: Path, fill: Fill) -> list[Line]:
    """Their lines."""
    with open_recording(merged(folder, fill)) as reading:
        return Replay(reading, revision(folder), scene()).run()


def document(folder: Path, fill: Fill) -> Audit:
    """Their document."""
    with open_recording(merged(folder, fill)) as reading:
        return audit_of(Replay(reading, revision(folder), scene()))


def _unanswered(first: Recording, port: str = "TCP/5432", source: str = _WEB, pod: str = WEB) -> None:
    first.flow(first.veth(pod), "from", source, _FAR_DB, port, answered=0)


def _watched(second: Recording, since: int = 0, until: int | None = None) -> int:
    ended = START + 3600 * 10**9 if until is None else START + until * 10**9
    return second.veth("shop/db-1", START + since * 10**9, ended)


def _arrived(first: Recording, second: Recording) -> None:
    _unanswered(first)
    second.flow(_watched(second), "to", _WEB, _FAR_DB, "TCP/5432", answered=0)


def _nothing_there(first: Recording, second: Recording) -> None:
    _unanswered(first)
    _watched(second)


def _not_watched(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    second.veth(_FAR)


def _late(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    _watched(second, since=100)


def _nearly_late(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    _watched(second, since=58)


def _with_gap(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    second.insert("gap", _watched(second), START, START + 10**9, "removed")


def _losing(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    _watched(second)
    second.insert("loss", 1, START, "disk-full", 0, "")


def _losing_here(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    _watched(second)
    first.insert("loss", 1, START, "disk-full", 0, "")


def _masked(first: Recording, second: Recording) -> None:
    _unanswered(first, source=_FREE, pod="shop/free")
    second.flow(_watched(second), "to", _NODE, _FAR_DB, "TCP/5432", answered=0)


def _datagram(first: Recording, second: Recording) -> None:
    _unanswered(first, "UDP/9", _FREE, "shop/free")
    second.veth(_FAR)


def _behind_a_service(first: Recording, second: Recording) -> None:
    """One of the two backends is on each node; it came to that of the other one."""
    first.flow(first.veth(WEB), "from", _WEB, "10.96.0.10", "TCP/5432", answered=0)
    first.veth("shop/db-0")
    second.flow(_watched(second), "to", _WEB, _FAR_DB, "TCP/5432", answered=0)


def _at_no_backend(first: Recording, second: Recording) -> None:
    first.flow(first.veth(WEB), "from", _WEB, "10.96.0.10", "TCP/5432", answered=0)
    first.veth("shop/db-0")
    _watched(second)


def _behind_somebody_unknown(first: Recording, second: Recording) -> None:
    """One backend was watched and got nothing; whose the other address was is not told."""
    first.flow(first.veth(WEB), "from", _WEB, "10.96.0.10", "TCP/5432", answered=0)
    for target in (_FAR_DB, "10.2.0.99"):
        first.insert("backend", "shop", "db", packed("10.96.0.10"), 6, 5432, packed(target), 5432, 0, None)
    first.owner("10.2.0.99", "shop/early", since=-9000, until=-8000)
    _watched(second)


@pytest.mark.parametrize(
    ("fill", "today", "verdict"),
    [
        pytest.param(_arrived, "works", "would_allow", id="it reached the pod on the other node"),
        pytest.param(_nothing_there, "denied", "denied_today", id="dropped on the way: the pod was watched all along"),
        pytest.param(_not_watched, "unanswered", "unknown", id="nobody watched the pod"),
        pytest.param(_late, "unanswered", "unknown", id="the pod was watched from later on"),
        pytest.param(_nearly_late, "unanswered", "unknown", id="watched two seconds before: clocks are not that equal"),
        pytest.param(_with_gap, "unanswered", "unknown", id="the pod was not seen for a second"),
        pytest.param(_losing, "unanswered", "unknown", id="the pod's node lost records"),
        pytest.param(_losing_here, "denied", "denied_today", id="only the sender's node lost records"),
        pytest.param(_masked, "unanswered", "unknown", id="something came from the sender's node"),
        pytest.param(_datagram, "works", "would_drop", id="a datagram needs no answer"),
        pytest.param(_behind_a_service, "works", "would_allow", id="it reached one backend of a Service"),
        pytest.param(_at_no_backend, "denied", "denied_today", id="it reached none of the watched backends"),
        pytest.param(_behind_somebody_unknown, "unanswered", "unknown", id="who was the other backend is not known"),
    ],
)
def test_a_call_that_nobody_answered(fill: Fill, today: str, verdict: str, tmp_path: Path) -> None:
    (sent,) = (line for line in lines(tmp_path, fill) if line.outgoing)
    assert (sent.today, sent.verdict) == (today, verdict)


def test_a_connection_seen_at_both_nodes_counts_once(tmp_path: Path) -> None:
    def fill(first: Recording, second: Recording) -> None:
        first.flow(first.veth("shop/free"), "from", _FREE, _FAR_DB, "TCP/5432", events=3)
        second.flow(second.veth("shop/db-1"), "to", _FREE, _FAR_DB, "TCP/5432", events=4)

    (group,) = document(tmp_path, fill).would_drop
    assert (group.events, group.seen_at_source, group.seen_at_destination) == (4, 3, 4)
    assert group.hours == {"2026-05-10T08": 4}


def test_each_record_is_of_its_own_node(tmp_path: Path) -> None:
    def fill(first: Recording, second: Recording) -> None:
        first.flow(first.veth("shop/db-0"), "to", _NODE, _DB, "TCP/9")
        second.flow(second.veth("shop/db-1"), "to", _OTHER_NODE, _FAR_DB, "TCP/9")
        second.flow(second.veth(_FAR), "to", _NODE, _FAR_WEB, "TCP/9")

    path = merged(tmp_path, fill)
    with open_recording(path) as reading:
        flows = list(exported(Replay(reading, revision(tmp_path), scene())))
    told = {(flow.node, flow.destination.name, flow.verdict) for flow in flows}
    assert told == {
        ("n1", "db-0", "would_allow"),
        ("n2", "db-1", "would_allow"),
        ("n2", "web-5d8c7f9b6-bbbbb", "would_drop"),
    }


def _by_node_port(events: int, original: tuple[str, str, int] | None) -> Fill:
    """A client of node port 30080 of n2, behind which web on n1 stands; n2's connection table may know who."""

    def fill(first: Recording, second: Recording) -> None:
        first.flow(first.veth(WEB), "to", _OTHER_NODE, _WEB, "TCP/8080", events=events)
        if original is not None:
            client, entry, port = original
            second.connection("end", (client, 40_000), (_WEB, 8080), _OTHER_NODE)
            second.execute("UPDATE connection SET destination = ?, port = ?", _bytes(entry), port)
        second.veth(_FAR)

    return fill


def _bytes(address: str) -> bytes:
    from tests.recordings import packed

    return packed(address)


@pytest.mark.parametrize(
    ("fill", "topic", "verdict", "source"),
    [
        pytest.param(_by_node_port(1, None), "other_node_client", "would_drop", "n2", id="nobody knows who it was"),
        pytest.param(
            _by_node_port(1, (_CLIENT, _OTHER_NODE, 30080)), "", "would_drop", _CLIENT, id="that node knows its client"
        ),
        pytest.param(
            _by_node_port(2, (_CLIENT, _OTHER_NODE, 30080)),
            "other_node_client",
            "would_drop",
            "n2",
            id="it knows one of two",
        ),
    ],
)
def test_a_node_port_of_another_node(fill: Fill, topic: str, verdict: str, source: str, tmp_path: Path) -> None:
    (line,) = lines(tmp_path, fill)
    assert (line.asked.topic, line.verdict) == (topic, verdict)
    end = line.asked.ends[0]
    assert end is not None
    assert source in (end.node_name, str(end.address))


def test_a_pod_that_came_by_a_node_port_of_its_own_node(tmp_path: Path) -> None:
    def fill(first: Recording, second: Recording) -> None:
        first.flow(first.veth(WEB), "to", _OTHER_NODE, _WEB, "TCP/8080", events=2)
        veth = second.veth("shop/db-1")
        second.flow(veth, "from", _FAR_DB, _OTHER_NODE, "TCP/30080", events=2)
        seen, backend = (_FAR_DB, _OTHER_NODE, "TCP/30080"), _WEB
        second.translated(veth, seen, (_FAR_DB, _OTHER_NODE, 30080), backend)
        second.execute("UPDATE translated SET backend_port = 8080, times = 2")

    (line,) = (line for line in lines(tmp_path, fill) if not line.outgoing)
    end = line.asked.ends[0]
    assert end is not None
    assert str(end.pod) == "shop/db-1"
    assert line.asked.topic == ""


def test_nodes_that_were_watched_one_after_the_other_make_no_long_audit(tmp_path: Path) -> None:
    def later(_: Recording, second: Recording) -> None:
        second.execute("UPDATE segment SET started = started + 23 * ?, ended = ended + 23 * ?", HOUR, HOUR)

    hours = hours_of(document(tmp_path, later))
    assert hours is not None
    assert hours <= 1
