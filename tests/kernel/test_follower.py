"""Pods that come and go, and others who meddle with their veths: who was watched, from when to when."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit import libbpf
from migrate.audit.attach import has_tcx
from migrate.audit.compile import compile_object
from migrate.audit.follower import Pace
from migrate.audit.layout import Control
from migrate.audit.libbpf import BpfObject
from migrate.audit.libbpf_probe import LibbpfProbe
from migrate.audit.veths import PodName
from tests.kernel.conftest import OpenProbe
from tests.kernel.following import AT_ONCE, Following, following
from tests.kernel.kube_lab import BACKEND_PORT, NODE, SERVICE, SERVICE_PORT, Answer, Lab
from tests.kernel.lab import inside, run
from tests.prerequisites import require
from tests.unit.audit_records import RESTART, counters, told

pytestmark = pytest.mark.kernel

INGRESS, BEFORE = 46, 8
PODS = 5
LAST_EPOCH = 1_750_000_000_000_000_000
_EVERY_WAY = pytest.mark.parametrize("hooks", ["tcx", "clsact"])


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        yield made


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """The descriptor of a program of somebody else, by its name."""
    made = tmp_path / "foreign.bpf.o"
    compile_object(Path(__file__).with_name("foreign.bpf.c"), made)
    loaded = BpfObject(made)
    loaded.load()
    yield loaded.program
    loaded.close()


def _open(open_probe: OpenProbe, lab: Lab, hooks: str | None = None, *, pinned: bool = False) -> LibbpfProbe:
    require(hooks != "tcx" or has_tcx(), "a kernel with TCX links")
    with inside(lab.node):
        return open_probe(hooks=hooks, pinned=pinned)


def _watch_all(running: Following, count: int = PODS) -> None:
    running.wait_until(lambda: running.follower.watched == count)


def _in_order(life: dict[str, object]) -> bool:
    appeared, since, until = (life[name] for name in ("appeared", "since", "until"))
    assert isinstance(appeared, int)
    assert isinstance(since, int)
    return appeared <= since and (until is None or (isinstance(until, int) and since <= until))


@_EVERY_WAY
def test_pods_that_are_there_are_attached_to_one_by_one(
    open_probe: OpenProbe, lab: Lab, recording: Path, hooks: str
) -> None:
    slow = Pace(links_per_second=0.001)
    with following(lab, _open(open_probe, lab, hooks), recording, pace=slow) as running:
        assert (running.follower.watched, running.follower.queued) == (0, PODS)
        running.wait()
        running.wait()
        assert (running.follower.watched, running.follower.queued) == (1, PODS - 1)

    lives = told(recording, "SELECT name, since = until, until IS NULL FROM veth ORDER BY name")
    assert len(lives) == PODS
    assert sum(bool(never_watched) for _, never_watched, _ in lives) == PODS - 1
    assert not any(open_ended for *_, open_ended in lives)


def test_the_uplink_of_a_node_in_a_container_is_no_pod(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        run("ip", "-n", lab.node, "link", "set", "uplink", "mtu", "1400")
        running.wait()
        running.check()

        assert running.lives("uplink") == []


@_EVERY_WAY
def test_a_new_pod_is_watched_and_named(open_probe: OpenProbe, lab: Lab, recording: Path, hooks: str) -> None:
    with following(lab, _open(open_probe, lab, hooks), recording) as running:
        _watch_all(running)
        running.during(lambda: _make_pods(running, "new", "newbridged"))
        assert lab.connect("new", SERVICE, SERVICE_PORT) is Answer.ANSWERED
        assert lab.connect("newbridged", "10.244.1.3", BACKEND_PORT) is Answer.ANSWERED
        running.pods.tell(lab)  # the API tells after the kernel
        running.check()

        (routed,), (bridged,) = running.lives("calinew"), running.lives("vethnewbridged")
        assert (routed["pod"], routed["uid"]) == ("new", "uid-new")
        assert (bridged["pod"], bridged["found_by"]) == ("newbridged", "peer")
        assert _in_order(routed)
        assert "new from 10.244.1.5 > 10.0.0.10 6/80: 1 answered 1" in running.records()
        assert "newbridged from 10.244.2.4 > 10.244.1.3 6/8080: 1 answered 1" in running.records()


def test_a_pod_that_gets_its_address_last_is_still_named_by_its_other_end(
    open_probe: OpenProbe, lab: Lab, recording: Path
) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        pod = lab.add_pod("late", bridged=True)
        lab.run_ip("late", "address flush dev eth0")
        _watch_all(running, PODS + 1)
        lab.run_ip("late", f"address add {pod.address}/24 dev eth0", "route add default via 10.244.2.1")
        assert lab.connect("late", "10.244.1.3", BACKEND_PORT) is Answer.ANSWERED
        running.pods.tell(lab)
        running.check()

        (life,) = running.lives("vethlate")
        assert (life["pod"], life["found_by"]) == ("late", "peer")


def _make_pods(running: Following, routed: str, bridged: str) -> None:
    running.lab.add_pod(routed)
    running.lab.add_pod(bridged, bridged=True)


def test_a_short_lived_pod_is_accounted_for(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        is_watched = threading.Event()

        def live() -> None:
            pod = lab.add_pod("job")
            running.pods.by_address[ip_address(pod.address)] = PodName("shop", "job", "uid-job")
            is_watched.wait()
            assert lab.connect("job", SERVICE, SERVICE_PORT) is Answer.ANSWERED
            lab.remove_pod("job")

        worker = threading.Thread(target=live)
        worker.start()
        _watch_all(running, PODS + 1)
        is_watched.set()
        _watch_all(running)
        worker.join()
        running.check()

        (life,) = running.lives("calijob")
        assert (life["pod"], life["until"] is not None) == ("job", True)
        assert _in_order(life)
        assert any("from 10.244.1.5 > 10.0.0.10 6/80: 1 answered 1" in record for record in running.records())


def test_a_pod_that_was_gone_before_the_agent_looked_counts_as_not_watched(
    open_probe: OpenProbe, lab: Lab, recording: Path
) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        lab.add_pod("ghost")
        lab.remove_pod("ghost")
        running.wait()

        (life,) = running.lives("calighost")
        assert life["since"] == life["until"]
        assert isinstance(life["appeared"], int)
        assert isinstance(life["until"], int)
        assert life["appeared"] < life["until"]


def test_connections_from_before_the_attach_are_looked_up(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    with (
        following(lab, _open(open_probe, lab), recording) as running,
        closing(_pod_with_connection(lab, "early", SERVICE)) as client,
        closing(_pod_with_connection(lab, "early6", "fd00:aaaa::10")),
    ):
        running.wait(1)
        port = client.getsockname()[1]

        found = running.told(f"SELECT protocol, port, backend_port FROM connection WHERE source_port = {port}")
        assert found == [(6, SERVICE_PORT, BACKEND_PORT)]
        sources = running.told("SELECT DISTINCT source FROM connection WHERE moment = 'attach'")
        assert (ip_address("fd00:1::6").packed,) in sources


def _pod_with_connection(lab: Lab, name: str, host: str) -> socket.socket:
    lab.add_pod(name)
    return lab.open(name, host, SERVICE_PORT)


def test_an_address_that_neither_route_nor_peer_tells_is_learned(
    open_probe: OpenProbe, lab: Lab, recording: Path
) -> None:
    """The pod has its address on a bridge of its own."""
    inner = lab.pods["d"].namespace
    for words in (
        "address flush dev eth0",
        "link add inner type bridge",
        "link set eth0 master inner",
        "address add 10.244.2.2/24 dev inner",
        "link set inner up",
    ):
        run("ip", "-n", inner, *words.split())
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        lab.connect("d", "10.244.2.3", 7000)
        running.wait(0)
        running.check()

        (life,) = running.lives("vethd")
        assert (life["pod"], life["found_by"]) == ("d", "learned")


def test_what_a_pod_sends_under_another_pods_address_names_nobody(
    open_probe: OpenProbe, lab: Lab, recording: Path
) -> None:
    inner = lab.pods["d"].namespace
    run("ip", "-n", inner, "address", "flush", "dev", "eth0")
    run("ip", "-n", inner, "address", "add", "10.244.1.3/32", "dev", "lo")
    run("ip", "-n", inner, "route", "add", "10.244.2.0/24", "dev", "eth0")
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        lab.connect("d", "10.244.2.3", 7000, source="10.244.1.3")
        running.wait()
        running.check()

        assert running.lives("vethd")[0]["pod"] is None


def test_a_name_that_the_api_tells_late_is_given_to_a_veth_that_is_gone(
    open_probe: OpenProbe, lab: Lab, recording: Path
) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        lab.add_pod("late")
        running.wait()
        lab.remove_pod("late")
        running.wait()
        assert running.lives("calilate")[0]["pod"] is None

        running.pods.by_address[ip_address("10.244.1.5")] = PodName("shop", "late", "uid-late")
        running.check()

        assert running.lives("calilate")[0]["pod"] == "late"


def test_a_veth_is_attached_to_when_its_other_end_has_gone_to_the_pod(
    open_probe: OpenProbe, lab: Lab, recording: Path
) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        run("ip", "-n", lab.node, "link", "add", "azv1", "type", "veth", "peer", "name", "azv2")
        running.wait()
        assert running.lives("azv1") == running.lives("azv2") == []

        run("ip", "-n", lab.node, "link", "set", "azv2", "netns", lab.pods["a"].namespace)
        running.wait()

        assert len(running.lives("azv1")) == 1
        assert running.lives("azv2") == []


def test_a_renamed_veth_stays_watched(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    with following(lab, _open(open_probe, lab), recording) as running:
        _watch_all(running)
        run("ip", "-n", lab.node, "link", "set", "calia", "down")
        run("ip", "-n", lab.node, "link", "set", "calia", "name", "caliother")
        running.wait()

        (before,), (after,) = running.lives("calia"), running.lives("caliother")
        assert before["until"] == after["since"] == after["appeared"]
        assert (after["pod"], after["until"]) == ("a", None)
        assert running.gaps("caliother") == []


def test_hooks_that_somebody_takes_away_come_back(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    require_tc()
    with following(lab, _open(open_probe, lab, "clsact"), recording) as running:
        _watch_all(running)
        run("tc", "-n", lab.node, "qdisc", "del", "dev", "calia", "clsact")
        running.wait_until(lambda: running.gaps("calia") != [])  # netlink tells, before the next check
        running.wait()
        assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED

        assert running.gaps("calia") == [("ingress: its filter is gone", True)]
        assert "a from 10.244.1.2 > 10.0.0.10 6/80: 1 answered 1" in running.records()
        running.check()
        assert len(running.gaps("calia")) == 1


def require_tc() -> None:
    """The tc program."""
    require(any(Path(folder, "tc").exists() for folder in os.environ["PATH"].split(":")), "tc (Debian: iproute2)")


def test_a_program_in_front_is_a_gap_until_the_probe_is_in_front_again(
    open_probe: OpenProbe, lab: Lab, recording: Path, foreign: Callable[[str], int]
) -> None:
    with following(lab, _open(open_probe, lab, "tcx"), recording) as running:
        _watch_all(running)
        pod = lab.pods["a"]
        with inside(lab.node):
            link = libbpf.create_link(foreign("foreign_ends"), pod.ifindex, INGRESS, BEFORE)
        lab.connect("a", SERVICE, SERVICE_PORT)
        assert "a from 10.244.1.2 > 10.0.0.10 6/80: 0 answered 1" in running.records()  # the answer was seen

        running.check()
        running.wait()
        running.forget()
        lab.connect("a", SERVICE, SERVICE_PORT)

        ((reason, has_ended),) = running.gaps("calia")
        assert "runs before it" in reason
        assert has_ended
        assert "a from 10.244.1.2 > 10.0.0.10 6/80: 1 answered 1" in running.records()
        os.close(link)


def test_a_program_that_cannot_be_overtaken_is_a_gap_that_stays(
    open_probe: OpenProbe, lab: Lab, recording: Path, foreign: Callable[[str], int]
) -> None:
    """TCX links run before all filters."""
    require(has_tcx(), "a kernel with TCX links")
    patient = Pace(links_per_second=1000, rest=0)
    with following(lab, _open(open_probe, lab, "clsact"), recording, pace=patient) as running:
        _watch_all(running)
        with inside(lab.node):
            link = libbpf.create_link(foreign("foreign_ends"), lab.pods["a"].ifindex, INGRESS, BEFORE)
        for _ in range(3):
            running.check()
            running.wait()

        ((reason, has_ended),) = running.gaps("calia")
        assert reason == "ingress: foreign_ends runs before it"
        assert not has_ended
        os.close(link)


def test_the_rest_between_checks_follows_from_their_cost(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    lazy = Pace(links_per_second=1000, rest=1e12)
    with following(lab, _open(open_probe, lab, "tcx"), recording, pace=lazy) as running:
        _watch_all(running)
        running.check()
        with inside(lab.node):
            running.probe.detach(lab.pods["a"].ifindex)
        running.check()
        assert running.gaps("calia") == []


def test_lost_events_are_counted_and_made_up_for(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    lazy = Pace(links_per_second=1000, reconcile_seconds=3600)
    with following(lab, _open(open_probe, lab), recording, pace=lazy) as running:
        _watch_all(running)
        _shrink(running.follower.fileno())
        run("ip", "-n", lab.node, "link", "del", "calic")
        for number in range(40):
            run("ip", "-n", lab.node, "link", "set", "calia", "mtu", str(1300 + number))
        lab.add_pod("unheard")
        running.wait()

        assert running.told("SELECT kind, count FROM loss") == [("link-events", 1)]
        (life,) = running.lives("caliunheard")
        assert life["until"] is None
        assert running.lives("calic")[0]["until"] is not None


def _shrink(descriptor: int) -> None:
    with closing(socket.socket(fileno=os.dup(descriptor))) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)


@_EVERY_WAY
def test_churn_of_200_veths_leaves_200_ended_lives_and_nothing_else(
    open_probe: OpenProbe, lab: Lab, recording: Path, bpffs: Path, hooks: str
) -> None:
    names = [f"churn{number}" for number in range(200)]

    def churn() -> None:
        peer = lab.pods["a"].namespace
        for begin in range(0, len(names), 20):
            some = names[begin : begin + 20]
            lab.run_ip(NODE, *(f"link add {name} type veth peer name p{name} netns {peer}" for name in some))
            lab.run_ip(NODE, *(f"link set {name} up" for name in some))
            lab.run_ip(NODE, *(f"link del {name}" for name in some))

    with following(lab, _open(open_probe, lab, hooks, pinned=True), recording) as running:
        _watch_all(running)
        pins = _pins(bpffs)
        running.during(churn)
        running.wait_until(lambda: running.follower.watched == PODS)

        lives = [life for name in names for life in running.lives(name)]
        assert len(lives) == len(names)
        assert all(life["until"] is not None and _in_order(life) for life in lives)
        assert _pins(bpffs) == pins
        assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED
        assert "a from 10.244.1.2 > 10.0.0.10 6/80: 1 answered 1" in running.records()


def _pins(bpffs: Path) -> list[str]:
    return sorted(path.name for path in bpffs.rglob("link-*"))


def test_an_agent_goes_on_where_a_killed_one_was(open_probe: OpenProbe, lab: Lab, recording: Path, bpffs: Path) -> None:
    require(has_tcx(), "a kernel with TCX links")
    _killed_agent(open_probe, lab, recording)
    lab.remove_pod("c")
    lab.add_pod("between")
    assert lab.connect("a", SERVICE, SERVICE_PORT) is Answer.ANSWERED

    with following(lab, _open(open_probe, lab, "tcx", pinned=True), recording, start=RESTART) as running:
        assert (running.follower.watched, running.follower.queued) == (PODS - 1, 1)
        _watch_all(running)
        running.check()

        assert "a from 10.244.1.2 > 10.0.0.10 6/80: 1 answered 1" in running.records()
        assert [life["until"] for life in running.lives("calia")] == [None]
        assert running.lives("calic")[0]["until"] is not None
        (between,) = running.lives("calibetween")
        assert (between["appeared"], between["until"]) == (LAST_EPOCH, None)
        assert running.told("SELECT name FROM gap JOIN veth ON veth.id = veth") == [("calib",)]
        assert running.gaps("calib") == [("not the first", True)]
        assert _pinned_at(bpffs) == {pod.ifindex for pod in lab.pods.values()}


def _pinned_at(bpffs: Path) -> set[int]:
    return {int(name.split("-")[1]) for name in _pins(bpffs)}


def test_hooks_that_went_with_a_killed_agent_are_a_gap(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    _killed_agent(open_probe, lab, recording, pinned=False)

    with following(lab, _open(open_probe, lab), recording, start=RESTART) as running:
        assert (running.follower.watched, running.follower.queued) == (PODS, PODS)
        running.wait_until(lambda: running.follower.queued == 0)
        assert running.gaps("calia") == [("no agent, and no programs", True)]


def test_a_probe_that_stopped_by_itself_is_a_gap(open_probe: OpenProbe, lab: Lab, recording: Path) -> None:
    require(has_tcx(), "a kernel with TCX links")
    _killed_agent(open_probe, lab, recording)
    probe = _open(open_probe, lab, "tcx", pinned=True)
    probe.set_control(Control.DEADLINE, 1)

    with following(lab, probe, recording, start=RESTART) as running:
        assert running.gaps("calia") == [("no agent, and the probe stopped by itself", True)]


def _killed_agent(open_probe: OpenProbe, lab: Lab, recording: Path, *, pinned: bool = True) -> None:
    """A process that watched all pods and was killed."""
    ready, done = os.pipe()
    agent = os.fork()
    if agent == 0:
        with following(lab, _open(open_probe, lab, "tcx", pinned=pinned), recording, pace=AT_ONCE) as running:
            _watch_all(running)
            running.store.commit_epoch(0, [], counters(0), LAST_EPOCH)
            running.store.gap(int(str(running.lives("calib")[0]["id"])), LAST_EPOCH, "not the first")
            os.write(done, b"x")
            signal.pause()
    os.read(ready, 1)
    os.kill(agent, signal.SIGKILL)
    os.waitpid(agent, 0)
    os.close(ready)
    os.close(done)
