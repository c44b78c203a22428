"""Merged recordings judged, against a plain evaluation of every record; and a merge of one, which changes nothing."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec import structs

from migrate.audit.made import audit_of
from migrate.audit.merged import NodeRow, merge
from migrate.audit.reading import open_recording
from migrate.audit.replay import Replay
from migrate.model.audit_documents import Audit, NodeCoverage
from tests.audit_scene import PODS, revision, scene
from tests.recordings import SECOND, START, Recording

_SKEWS = {"n1": 300 * SECOND, "n2": -200 * SECOND}
_CLIENTS = ("198.51.100.7", "203.0.113.9")
_PORTS = (53, 80, 443, 5432, 5433, 8080)


def _seen(chance: random.Random, path: Path, node: str) -> Path:
    """What the pods of a node sent and got, all of it answered; times on the node's clock."""
    made = Recording(path, node)
    made.execute("BEGIN")
    made.execute("UPDATE segment SET boot_id = ?", node)
    peers = [str(address) for pod in PODS for address in pod.addresses if address.version == 4]
    for pod in (pod for pod in PODS if pod.node == node):
        veth, own = made.veth(str(pod)), str(pod.addresses[0])
        made.owner(own, str(pod))
        keys: set[tuple[str, str, str, int]] = set()
        for _ in range(12):
            way, port = chance.choice(("from", "to")), chance.choice(_PORTS)
            peer = chance.choice([one for one in [*peers, *_CLIENTS] if one != own])
            ends = (own, peer) if way == "from" else (peer, own)
            if (way, *ends, port) not in keys:
                keys.add((way, *ends, port))
                at = 600 + _SKEWS[node] // SECOND
                made.flow(veth, way, *ends, f"TCP/{port}", events=chance.randrange(1, 9), at=at, lasts=0)
    for pod in PODS:
        if pod.node != node:
            made.owner(str(pod.addresses[0]), str(pod))
    made.execute("COMMIT")
    return made.close()


def _allowed(source: str, destination: str, port: int) -> bool:
    """The policies of the scene by hand: who may send, and who lets in."""
    app = {str(pod.addresses[0]): pod.labels.get("app") for pod in PODS}
    sender, receiver = app.get(source), app.get(destination)
    sends = (
        sender != "web"
        or (receiver == "db" and port == 5432)
        or (receiver is None and ip_address(destination) in _FREE_NETWORK)
    )
    if receiver == "db":
        return sends and ((sender == "web" and port == 5432) or sender == "db")
    return sends and receiver != "web"


_FREE_NETWORK = [ip_address("203.0.113.9")]


def _reference(paths: list[Path]) -> dict[str, int]:
    """Connections of all records of all nodes by verdict, record by record."""
    found: Counter[str] = Counter()
    for path in paths:
        with closing(sqlite3.connect(path)) as connection:
            for source, destination, port, events in connection.execute(
                "SELECT source, destination, port, events FROM flow"
            ):
                sender, receiver = (str(ip_address(data[-4:])) for data in (source, destination))
                found["would_allow" if _allowed(sender, receiver, port) else "would_drop"] += events
    return dict(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_merged_recording_is_judged_as_all_its_records_are(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    stores = [_seen(chance, tmp_path / f"{node}.db", node) for node in _SKEWS]
    path = merge(stores, tmp_path / "audit.db", [NodeRow(node, skew=skew) for node, skew in _SKEWS.items()]).path
    with open_recording(path) as reading:
        whole, singly = (Replay(reading, revision(tmp_path), scene()) for _ in range(2))
        audit = audit_of(whole)
        rows = list(singly.rows())
    told = {"would_allow": audit.tally.would_allow, "would_drop": audit.tally.would_drop}
    assert told == _reference(stores)
    assert audit.tally.unknown == audit.tally.not_judged == audit.tally.denied_today == 0
    assert sum(line.records for line in whole.lines) == len(rows) == audit.tally.records
    assert (audit.since, audit.until) == ("2026-05-10T07:55:00Z", "2026-05-10T09:03:20Z")
    for group in audit.would_drop:
        assert group.first == "2026-05-10T08:10:00Z"
        assert group.events == max(group.seen_at_source, group.seen_at_destination)


def _document(path: Path, folder: Path) -> Audit:
    with open_recording(path) as reading:
        return audit_of(Replay(reading, revision(folder), scene()))


@pytest.mark.parametrize("seed", range(3))
def test_a_merge_of_one_recording_changes_nothing(seed: int, tmp_path: Path) -> None:
    store = _seen(random.Random(seed), tmp_path / "n1.db", "n1")
    merged = merge([store], tmp_path / "audit.db").path
    assert _document(merged, tmp_path) == _document(store, tmp_path)


def _nodes(audit: Audit) -> dict[str, NodeCoverage]:
    return {node.name: node for node in audit.nodes}


def test_coverage_of_a_cluster_says_what_was_not_watched_and_what_was_quiet(tmp_path: Path) -> None:
    first, second = Recording(tmp_path / "n1.db"), Recording(tmp_path / "n2.db", "n2")
    second.execute("UPDATE segment SET boot_id = 'two'")
    busy, _, silent = first.veth("shop/free"), first.veth("shop/other"), second.veth("kube-system/dns")
    first.flow(busy, "from", "10.1.0.9", "198.51.100.7", "TCP/443", events=5)
    second.insert("gap", silent, START, START + 600 * SECOND, "removed")
    known = [NodeRow("n2", skew=65 * SECOND, tool_version="1.0"), NodeRow("n7", "not_watched", "Windows")]
    path = merge([first.close(), second.close()], tmp_path / "audit.db", known).path
    audit = _document(path, tmp_path)
    nodes = _nodes(audit)
    assert {name: node.state for name, node in nodes.items()} == {"n1": "traffic", "n2": "quiet", "n7": "not_watched"}
    assert (nodes["n1"].pods, nodes["n1"].quiet_pods, nodes["n1"].connections) == (2, 1, 5)
    assert (nodes["n2"].skew_seconds, nodes["n2"].tool_version, nodes["n2"].watched_seconds) == (65, "1.0", 3000)
    assert nodes["n2"].quiet_hours == ("2026-05-10T07", "2026-05-10T08")
    assert "1 node was not watched (Windows): n7" in audit.incomplete
    assert audit.node == ""
    assert {pod.pod: pod.state for pod in audit.coverage} == {"free": "traffic", "other": "quiet", "dns": "quiet"}
    spaces = {one.namespace: one for one in audit.namespaces}
    assert spaces["kube-system"].state == "quiet"
    assert (spaces["shop"].state, spaces["shop"].pods, spaces["shop"].quiet_pods) == ("traffic", 2, 1)
    assert spaces["shop"].not_watched_pods == 5
    assert {one.hour: one.state for one in audit.hours} == {"2026-05-10T07": "not_watched", "2026-05-10T08": "traffic"}


def test_nodes_of_the_snapshot_without_a_recording_are_named(tmp_path: Path) -> None:
    store = Recording(tmp_path / "n1.db").close()
    alone = _document(store, tmp_path)
    assert _nodes(alone)["n2"].state == "not_watched"
    assert not any("n2" in text for text in alone.incomplete)
    merged = merge([store], tmp_path / "audit.db", [NodeRow("n9", "not_watched", "virtual node")]).path
    audit = _document(merged, tmp_path)
    assert "1 node was not watched (it is in the snapshot, and there is no recording of it): n2" in audit.incomplete
    assert "1 node was not watched (virtual node): n9" in audit.incomplete
    assert not audit.complete
    assert structs.replace(audit, nodes=()).node == "n1"


def test_a_node_that_was_recorded_for_too_short_is_said(tmp_path: Path) -> None:
    stores = [Recording(tmp_path / f"{node}.db", node) for node in ("n1", "n2")]
    stores[1].execute("UPDATE segment SET boot_id = 'two', ended = started + 600000000000")
    path = merge([store.close() for store in stores], tmp_path / "audit.db").path
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM epoch")
        connection.commit()
    said = "1 of 2 nodes were not recorded for all of 3600 s; the least is n2 with 600 s"
    assert said in _document(path, tmp_path).incomplete
