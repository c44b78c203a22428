"""The audit of a whole cluster from a laptop, from the first scan to the report; every connection is accounted for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from migrate.audit.whole import NAMES_ONLY
from migrate.errors import ExitStatus
from tests.apiserver.admin import Object
from tests.cluster_lab.cluster import ClusterLab
from tests.cluster_lab.flows import counted, recorded
from tests.cluster_lab.laptop import IMAGE, Laptop
from tests.cluster_lab.objects import items, name_of, part
from tests.cluster_lab.scene import NODES, Scene, working_folder
from tests.cluster_lab.soak import INTERVAL, wait_until_watching
from tests.command_line import migrate

pytestmark = [pytest.mark.kernel, pytest.mark.apiserver]

SECOND = 10**9
_TIMES = (3, 2, 1)
"""How often everything is sent: while one laptop watches, while nobody does, and while the other one does."""
_KINDS = (
    "/api/v1/namespaces",
    "/api/v1/pods",
    "/api/v1/configmaps",
    "/api/v1/serviceaccounts",
    "/apis/apps/v1/daemonsets",
    "/apis/coordination.k8s.io/v1/leases",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ClusterLab() as lab:
        yield Scene(lab)


def _objects(lab: ClusterLab) -> set[str]:
    """All objects that a run could leave; leases of the API server itself come and go."""
    found = set()
    for path in _KINDS:
        for made in items(lab.admin, path) or []:
            namespace = cast("Object", made["metadata"]).get("namespace", "")
            found.add(f"{path} {namespace}/{name_of(made)}")
    return {name for name in found if "leases kube-system/apiserver-" not in name}


def test_a_cluster_is_audited_from_two_laptops_and_every_connection_is_accounted_for(
    scene: Scene, tmp_path: Path
) -> None:
    lab, before = scene.lab, _objects(scene.lab)
    first, second = Laptop(lab, tmp_path / "first"), Laptop(lab, tmp_path / "second")
    working_folder(lab, first.folder)
    first.copied(second.folder)

    deployed = first.run("deploy", "--image", IMAGE, "--duration", "1h", "--yes")
    assert deployed.status == 0, deployed.stderr
    with first.running("attach", "--interval", INTERVAL) as watch:
        wait_until_watching(first, scene.watched)
        scene.talk(_TIMES[0])
        detached = watch.interrupt()
    assert (detached.status, "migrate audit attach" in detached.stderr) == (130, True), detached.stderr
    scene.talk(_TIMES[1])
    with second.running("attach", "--interval", INTERVAL) as watch:
        wait_until_watching(second, scene.watched)
        scene.talk(_TIMES[2])
        watch.interrupt()
    stopped = second.run("stop")
    assert stopped.status == 0, stopped.stdout + stopped.stderr

    assert recorded(second.folder / "audit.db") == counted(scene.pods)
    _check_nodes(second.folder / "audit.db")
    judged = migrate(second.folder, "audit", "replay", "--dir", ".")
    assert judged.status == 1, judged.stderr
    audit = json.loads((second.folder / "audit.json").read_text())
    _check_verdict(audit)
    assert lab.left() == {}
    assert _objects(lab) == before
    _check_report(second.folder)


def _check_nodes(recording: Path) -> None:
    """All were watched at the same time, once the skew of their clocks is taken out, and no flow was lost."""
    with closing(sqlite3.connect(f"file:{recording}?mode=ro", uri=True)) as connection:
        nodes = connection.execute("SELECT name, state, skew FROM node ORDER BY name").fetchall()
        began = connection.execute("SELECT started FROM segment").fetchall()
        losses = [row for row in connection.execute("SELECT kind, detail FROM loss") if row[0] not in NAMES_ONLY]
    assert [(name, state) for name, state, _ in nodes] == [(name, "watched") for name in NODES]
    assert all(abs(skew - NODES[name] * SECOND) < 30 * SECOND for name, _, skew in nodes), nodes
    assert max(began)[0] - min(began)[0] < 60 * SECOND
    assert losses == []


def _check_verdict(audit: Object) -> None:
    """Would be dropped: guests at the database, names asked outside. Dropped today: what never came to the database.

    What pods of two nodes say of one flow is one: what the source's node saw, and the destination's.
    """
    times = sum(_TIMES)
    dropped, denied = (cast("list[Object]", audit[name]) for name in ("wouldDrop", "deniedToday"))
    assert [_told(group) for group in dropped] == [
        ("guest-0", "db-0", "TCP", 5432, "ingress", times, times, times),
        ("web-0", "", "UDP", 53, "egress", times, times, 0),
    ]
    assert [_told(group)[:4] + _told(group)[5:] for group in denied] == [
        ("web-0", "db-0", "TCP", 9090, times, times, 0)
    ]
    assert [audit[name] for name in ("ambiguous", "notJudged", "leftOut")] == [[], [], []]
    assert [loss for loss in cast("list[Object]", audit["losses"]) if loss["kind"] not in NAMES_ONLY] == []
    tally = cast("dict[str, int]", audit["tally"])
    assert (tally["wouldDrop"], tally["deniedToday"], tally["unknown"]) == (3 * times, times, 0)
    assert part(audit, "balance")["holds"] is True
    [incomplete] = cast("list[str]", audit["incomplete"])
    assert "not recorded for all of 3600 s" in incomplete


def _told(group: Object) -> tuple[object, ...]:
    source, destination = (part(group, name)["name"] for name in ("source", "destination"))
    about = tuple(group[name] for name in ("protocol", "port", "side"))
    return (source, destination, *about, *(group[name] for name in ("events", "seenAtSource", "seenAtDestination")))


def _check_report(folder: Path) -> None:
    ended = migrate(folder, "report", "--dir", ".")
    assert ended.status == ExitStatus.INCOMPLETE, "it was ended before its hour was over"
    page = (folder / "report.html").read_text()
    assert [name for name in (*NODES, "guest-0", "db-0") if name not in page] == []
    assert page.rstrip().endswith("</html>")
