"""The document of an audit: sections, counts, coverage, connections that the cutover cuts, differences."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.audit.made import difference, replay
from migrate.audit.reading import open_recording
from migrate.cli.audit_text import difference_text
from migrate.model.audit_documents import Audit
from tests.audit_scene import POLICIES, WEB, revision, scene
from tests.recordings import HOUR, START, Recording
from tests.update_schemas import path_of

_WEB, _DB, _FREE, _CLIENT = "10.1.0.10", "10.1.0.2", "10.1.0.9", "198.51.100.7"
_HERE = ("shop/db-0", "shop/free", "shop/open", "shop/other", WEB)


def judged(
    recording: Recording, folder: Path, policies: str = POLICIES, counters: dict[str, int] | None = None
) -> Audit:
    """The document of a recording."""
    path = recording.path if not recording.is_open else recording.close(**(counters or {}))
    with open_recording(path) as reading:
        return replay(reading, revision(folder, policies), scene())


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """A recording that watched all pods of its node."""
    made = Recording(tmp_path / "audit.db")
    for pod in _HERE:
        made.veth(pod)
    return made


VETH = {pod: number + 1 for number, pod in enumerate(_HERE)}


def test_nothing_seen_is_not_clean(recording: Recording, tmp_path: Path) -> None:
    audit = judged(recording, tmp_path)
    assert (audit.result, audit.complete, audit.tally.records) == ("nothing_seen", True, 0)


def test_the_same_connections_at_both_ends_are_counted_once(recording: Recording, tmp_path: Path) -> None:
    recording.flow(VETH["shop/free"], "from", _FREE, _DB, "TCP/5432", events=5)
    recording.flow(VETH["shop/db-0"], "to", _FREE, _DB, "TCP/5432", events=4)
    recording.flow(VETH["shop/free"], "from", _FREE, _DB, "TCP/5432", events=2, hour=3)
    (group,) = judged(recording, tmp_path).would_drop
    assert (group.events, group.seen_at_source, group.seen_at_destination, group.records) == (7, 7, 4, 3)
    assert (str(group.source), str(group.destination), group.port) == (
        "shop/Deployment/free",
        "shop/StatefulSet/db",
        5432,
    )
    assert group.hours == {"2026-05-10T08": 5, "2026-05-10T11": 2}
    assert (group.first, group.last) == ("2026-05-10T08:01:00Z", "2026-05-10T11:02:00Z")
    assert (group.side, group.decided_by.reason) == (
        "ingress",
        "no rule matches, and the default is to deny (allow rules)",
    )


def test_addresses_outside_are_one_group(recording: Recording, tmp_path: Path) -> None:
    for number in range(60):
        recording.flow(VETH[WEB], "from", _WEB, f"198.51.100.{number}", "TCP/443")
    (group,) = judged(recording, tmp_path).would_drop
    assert (group.events, group.destination.place, len(group.addresses)) == (60, "outside the cluster", 50)
    assert group.more_addresses


def test_each_class_has_its_section(recording: Recording, tmp_path: Path) -> None:
    web, free, shown = VETH[WEB], VETH["shop/free"], VETH["shop/open"]
    recording.flow(web, "to", "10.0.0.1", _WEB, "TCP/9000")
    recording.flow(web, "from", _WEB, "10.96.0.53", "UDP/53", events=9)
    recording.flow(free, "from", _FREE, "10.96.0.1", "TCP/443")
    recording.flow(web, "from", _WEB, "169.254.169.254", "TCP/80")
    recording.flow(shown, "to", "10.0.0.2", "10.1.0.7", "TCP/8080")
    recording.flow(web, "to", "10.0.0.1", _WEB, "TCP/8080")
    recording.flow(web, "from", _WEB, _DB, "ICMP/3", kind=3)
    recording.dropped(free, _FREE, _WEB, "TCP/22", events=3)
    audit = judged(recording, tmp_path)
    sections = (audit.probes, audit.dns, audit.api_server, audit.cloud_metadata, audit.other_node_clients)
    assert [[(group.port, group.verdict) for group in section.groups] for section in sections] == [
        [(9000, "would_allow")],
        [(53, "would_allow")],
        [(6443, "would_allow")],
        [(80, "would_drop")],
        [(8080, "would_allow")],
    ]
    assert [(group.port, group.future, group.events) for group in audit.denied_today] == [(22, "would_drop", 3)]
    assert [group.port for group in audit.ambiguous] == [8080]
    assert [group.topic for group in audit.not_judged] == ["icmp_error"]
    assert audit.dns.groups[0].service == "kube-system/dns"
    assert (audit.tally.would_drop, audit.tally.denied_today, audit.tally.not_judged) == (1, 3, 1)


def test_rules_of_which_nothing_was_seen(recording: Recording, tmp_path: Path) -> None:
    recording.flow(VETH[WEB], "from", _WEB, "10.96.0.10", "TCP/5432")
    recording.flow(VETH["shop/open"], "to", _CLIENT, "10.1.0.7", "TCP/8080")
    unseen = {(one.object.partition(" ")[2], one.rule) for one in judged(recording, tmp_path).never_seen}
    assert unseen == {
        ("shop/db", "spec.ingress[1]"),
        ("shop/web", "spec.ingress[0]"),
        ("shop/web", "spec.egress[1]"),
        ("shop/web", "spec.egress[2]"),
    }


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        pytest.param({}, "", id="all is there"),
        pytest.param({"lost": 3}, "3 new flows were lost", id="lost"),
        pytest.param({"new": 9}, "the kernel counted 9 new flows", id="what the kernel counted is missing"),
        pytest.param({"coarse": 1}, "without the address at the far end", id="coarse"),
    ],
)
def test_complete_or_not(counters: dict[str, int], said: str, recording: Recording, tmp_path: Path) -> None:
    recording.flow(VETH[WEB], "from", _WEB, _DB, "TCP/5432")
    audit = judged(recording, tmp_path, counters=counters)
    assert audit.complete is (not said)
    assert said in "".join(audit.incomplete)
    assert audit.balance.holds is ("new" not in counters)


def test_time_that_was_not_watched(recording: Recording, tmp_path: Path) -> None:
    for since, until in ((10, 20), (15, 30), (100, None)):
        end = None if until is None else START + until * 10**9
        recording.insert("gap", VETH[WEB], START + since * 10**9, end, "a foreign program in front")
    recording.veth("shop/short", since=START + 5 * 10**9, until=START + 9 * 10**9)
    audit = judged(recording, tmp_path)
    found = {one.pod: (one.alive_seconds, one.watched_seconds) for one in audit.coverage}
    assert found[WEB.partition("/")[2]] == (3600.0, 80.0)
    assert found["short"] == (9.0, 4.0)
    assert found["free"] == (3600.0, 3600.0)
    assert any("2 of 6 interfaces" in reason for reason in audit.incomplete)


def test_pods_that_were_never_watched_and_losses_are_said(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "audit.db")
    recording.veth(None)
    for count in (2, 3):
        recording.insert("loss", 1, START, "clock-jump", count, "forward")
    audit = judged(recording, tmp_path)
    assert [(loss.kind, loss.count) for loss in audit.losses] == [("clock-jump", 5)]
    assert [reason.partition(":")[0] for reason in audit.incomplete] == [
        "clock-jump",
        "1 interfaces could not be traced to a pod",
        "5 pods of the snapshot on this node were never watched",
    ]


@pytest.mark.parametrize(
    ("client", "server", "moments", "found"),
    [
        pytest.param(
            (_FREE, 40000), (_DB, 5432), ("start", "end"), ("cut_unless_server_speaks", "start_and_end"), id="in"
        ),
        pytest.param((_WEB, 40000), (_DB, 5432), ("end",), ("cut_unless_client_speaks", "end"), id="back is denied"),
        pytest.param((_FREE, 40000), (_WEB, 80), ("end",), ("cut", "end"), id="both ways are denied"),
        pytest.param((_FREE, 40000), (_WEB, 80), ("start",), None, id="it ended before the audit did"),
        pytest.param((_CLIENT, 40000), ("10.1.0.7", 80), ("end",), None, id="all is allowed"),
        pytest.param((_WEB, 40000), ("203.0.113.1", 443), ("end",), ("cut_unless_client_speaks", "end"), id="out"),
        pytest.param(("10.0.0.1", 1), (_CLIENT, 443), ("end",), None, id="a node's own"),
        pytest.param(("10.2.0.99", 1), (_DB, 5432), ("end",), ("unknown", "end"), id="an address of nobody"),
    ],
)
def test_connections_at_the_cutover(
    client: tuple[str, int],
    server: tuple[str, int],
    moments: tuple[str, ...],
    found: tuple[str, str] | None,
    recording: Recording,
    tmp_path: Path,
) -> None:
    recording.connection("end", (_FREE, 1), (_CLIENT, 443))
    for moment in moments:
        recording.connection(moment, client, server)
    audit = judged(recording, tmp_path)
    assert [(one.effect, one.seen) for one in audit.connections] == ([found] if found else [])


def test_what_another_program_told_is_no_later_run_of_a_node(recording: Recording, tmp_path: Path) -> None:
    recording.connection("end", (_FREE, 40000), (_WEB, 80))
    values = (9, "imported", "", "", "hubble", "import", START + HOUR, START + 2 * HOUR, "[]", "n1")
    recording.insert("segment", *values)
    assert [one.effect for one in judged(recording, tmp_path).connections] == ["cut"]


def test_sampled_segments_tell_of_connections_from_before(recording: Recording, tmp_path: Path) -> None:
    recording.flow(VETH["shop/db-0"], "from", _DB, _FREE, "TCP/40123", kind=1, source_port=5432, events=3)
    audit = judged(recording, tmp_path)
    (one,) = audit.connections
    assert (str(one.client), str(one.server), one.port) == ("shop/Deployment/free", "shop/StatefulSet/db", 5432)
    assert (one.effect, one.seen, one.count) == ("cut_unless_server_speaks", "mid_stream", 3)
    assert audit.would_drop == ()


def test_what_two_revisions_differ_in(recording: Recording, tmp_path: Path) -> None:
    recording.flow(VETH["shop/free"], "from", _FREE, _DB, "TCP/5432")
    recording.flow(VETH[WEB], "from", _WEB, _DB, "TCP/5432")
    recording.flow(VETH[WEB], "from", _WEB, _DB, "TCP/9")
    before = judged(recording, tmp_path)
    after = judged(
        recording,
        tmp_path,
        POLICIES.replace("fromEndpoints: [{matchLabels: {app: web}}]", "fromEndpoints: [{matchLabels: {app: free}}]"),
    )
    found = difference(before, after)
    assert [str(group.source) for group in found.newly_dropped] == ["shop/Deployment/web"]
    assert [str(group.source) for group in found.no_longer_dropped] == ["shop/Deployment/free"]
    jsonschema.validate(as_json(found), json.loads(path_of("audit-difference").read_text()))


def test_two_revisions_differ_in_what_they_drop_more_of_and_by_which_rule(recording: Recording, tmp_path: Path) -> None:
    for number, events in ((1, 2), (200, 3)):
        recording.flow(VETH[WEB], "from", _WEB, f"203.0.113.{number}", "TCP/443", events=events)
    recording.flow(VETH[WEB], "from", _WEB, "198.51.100.1", "TCP/443", events=4)
    recording.flow(VETH["shop/db-0"], "to", _FREE, _DB, "TCP/5432", events=7)
    denied = """\
    - fromEndpoints: [{matchLabels: {app: db}}]
  ingressDeny:
    - fromEndpoints: [{matchLabels: {app: free}}]
"""
    before = judged(recording, tmp_path)
    narrower = POLICIES.replace("203.0.113.0/24", "203.0.113.0/25")
    after = judged(recording, tmp_path, narrower.replace("    - fromEndpoints: [{matchLabels: {app: db}}]\n", denied))

    found = difference(before, after)

    assert (found.newly_dropped, found.no_longer_dropped) == ((), ())
    told = {str(change.groups[0].destination): change for change in found.changed}
    assert told.keys() == {"outside the cluster", "shop/StatefulSet/db"}
    outside, db = told["outside the cluster"], told["shop/StatefulSet/db"]
    assert (outside.events_before, outside.events, outside.groups[0].port) == (4, 7, 443)
    assert (db.events_before, db.events) == (7, 7)
    assert [one.rule for one in db.decided_before] == [None]
    assert [group.decided_by.rule for group in db.groups] == ["spec.ingressDeny[0]"]
    text = difference_text(found)
    assert "2. shop/Deployment/web → outside the cluster TCP/443: 4 before, 7 now" in text
    assert "now by CiliumNetworkPolicy" in " ".join(text.split())
    jsonschema.validate(as_json(found), json.loads(path_of("audit-difference").read_text()))
    assert difference(before, before).changed == ()


def test_the_document_fits_its_schema_and_is_the_same_each_time(recording: Recording, tmp_path: Path) -> None:
    test_each_class_has_its_section(recording, tmp_path)
    with open_recording(recording.path) as reading:
        first, second = (replay(reading, revision(tmp_path), scene()) for _ in range(2))
    jsonschema.validate(as_json(first), json.loads(path_of("audit").read_text()))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    assert msgspec.json.decode(msgspec.json.encode(first), type=Audit) == first


def as_json(document: object) -> object:
    """A document as others read it."""
    return json.loads(msgspec.json.encode(document))
