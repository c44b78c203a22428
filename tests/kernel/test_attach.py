"""Where the programs sit among others, and that what is attached survives the agent and nothing survives removal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from migrate.audit import libbpf
from migrate.audit.attach import has_tcx
from migrate.audit.compile import compile_object
from migrate.audit.kernel import ProbeError, Sizes
from migrate.audit.layout import LAYOUT, Control, Counter
from migrate.audit.leftovers import remove_leftovers
from migrate.audit.libbpf import BpfObject
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import objects
from migrate.audit.pins import is_bpffs, mount_bpffs
from tests.kernel.conftest import NEVER, SMALL, OpenProbe
from tests.kernel.lab import Node, inside, run
from tests.kernel.records import check_sum, told
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

INGRESS, EGRESS, BEFORE = 46, 47, 8
_ROOT = Path(__file__).parents[2]
_EVERY_WAY = pytest.mark.parametrize("hooks", ["tcx", "clsact"])


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """The descriptor of a program of somebody else, by its name."""
    made = tmp_path / "foreign.bpf.o"
    compile_object(Path(__file__).with_name("foreign.bpf.c"), made)
    loaded = BpfObject(made)
    loaded.load()
    yield loaded.program
    loaded.close()


def _need(hooks: str) -> None:
    require(hooks != "tcx" or has_tcx(), "a kernel with TCX links")


def _talk(pod: str, port: int) -> None:
    """One datagram from pod 1 to its node, where nothing listens."""
    with inside(pod), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.bind(("10.77.1.2", 40000))
        sender.sendto(b"x", ("10.77.1.1", port))


def _new(probe: LibbpfProbe) -> int:
    return probe.counters()[Counter.NEW]


def _sees(probe: LibbpfProbe, pod: str, port: int) -> bool:
    _talk(pod, port)
    return any(f" > 10.77.1.1 17/{port}: events 1" in line for line in told(probe))


@_EVERY_WAY
def test_both_directions_of_a_pod_are_recorded(open_probe: OpenProbe, node: Node, hooks: str) -> None:
    _need(hooks)
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(hooks=hooks)

    with inside(node.name):
        probe.attach(veth, "veth1")
        probe.attach(veth, "veth1")
        assert probe.misplaced(veth) == ""
    _talk(pod, 7001)

    found = told(probe)
    assert "from 10.77.1.2 > 10.77.1.1 17/7001: events 1" in found
    assert "to ICMP_ERROR 10.77.1.1 > 10.77.1.2 1/771: events 1" in found
    check_sum(probe)
    with inside(node.name):
        probe.detach(veth)
        probe.detach(veth)
    assert not _sees(probe, pod, 7002)


def _exchange(node: Node, pod: str, family: int, address: str) -> None:
    """One connection from a pod to its node that carries a million bytes each way."""
    with inside(node.name):
        server = socket.create_server((address, 7100), family=socket.AddressFamily(family))
    with inside(pod):
        client = socket.socket(family)
    payload = b"x" * 1_000_000

    def answer() -> None:
        with closing(server.accept()[0]) as accepted:
            received = sum(map(len, iter(lambda: accepted.recv(65536), b"")))
            accepted.sendall(payload[:received])

    worker = threading.Thread(target=answer)
    with closing(server), closing(client):
        worker.start()
        client.connect((address, 7100))
        client.sendall(payload)
        client.shutdown(socket.SHUT_WR)
        assert sum(map(len, iter(lambda: client.recv(65536), b""))) == len(payload)
        worker.join()


@_EVERY_WAY
def test_a_real_connection_is_one_record_however_much_is_sampled(open_probe: OpenProbe, node: Node, hooks: str) -> None:
    _need(hooks)
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(hooks=hooks)
        probe.set_control(Control.SAMPLING, 0)
        probe.attach(veth, "veth1")

    _exchange(node, pod, socket.AF_INET, "10.77.1.1")
    _exchange(node, pod, socket.AF_INET6, "fd77:1::1")

    assert [line for line in told(probe) if " 6/" in line] == [
        "from 10.77.1.2 > 10.77.1.1 6/7100: events 1 answered 1",
        "from fd77:1::2 > fd77:1::1 6/7100: events 1 answered 1",
    ]
    check_sum(probe)


def test_a_program_that_came_first_runs_behind_ours(
    open_probe: OpenProbe, node: Node, foreign: Callable[[str], int]
) -> None:
    _need("tcx")
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe()

    with inside(node.name):
        link = libbpf.create_link(foreign("foreign_ends"), veth, INGRESS, 0)
        probe.attach(veth, "veth1")
        place = probe.misplaced(veth)

    assert place == ""
    assert _sees(probe, pod, 7001)
    os.close(link)


@pytest.mark.parametrize(("name", "seen"), [("foreign_ends", False), ("foreign_passes", True)])
def test_a_program_that_pushes_in_front_is_named(
    open_probe: OpenProbe, node: Node, foreign: Callable[[str], int], name: str, seen: bool
) -> None:
    _need("tcx")
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe()

    with inside(node.name):
        probe.attach(veth, "veth1")
        link = libbpf.create_link(foreign(name), veth, INGRESS, BEFORE)
        place = probe.misplaced(veth)
    saw = _sees(probe, pod, 7001)
    with inside(node.name):
        probe.detach(veth)
        probe.attach(veth, "veth1")
        place_again = probe.misplaced(veth)

    assert place == f"ingress: {name} runs before it"
    assert saw is seen
    assert place_again == ""
    assert _sees(probe, pod, 7002)
    os.close(link)


@pytest.mark.parametrize("first", ["ours", "foreign"])
def test_a_filter_of_the_same_preference(
    open_probe: OpenProbe, node: Node, foreign: Callable[[str], int], first: str
) -> None:
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(hooks="clsact")

    with inside(node.name), closing(IPRoute()) as route:
        if first == "ours":
            probe.attach(veth, "veth1")
        else:
            route.tc("add", "clsact", veth)
        described = {"fd": foreign("foreign_ends"), "name": "other", "direct_action": True}
        route.tc("add-filter", "bpf", veth, 0, parent=0xFFFFFFF2, prio=1, protocol=3, **described)
        if first == "foreign":
            probe.attach(veth, "veth1")
        place = probe.misplaced(veth)
    saw = _sees(probe, pod, 7001)
    with inside(node.name):
        probe.detach(veth)
        kept = run("tc", "filter", "show", "dev", "veth1", "ingress")

    assert saw is (first == "foreign")
    assert place == ("" if first == "foreign" else "ingress: other runs before it")
    assert "other" in kept
    assert "migrate_from_pod" not in kept


def test_a_tcx_program_in_front_of_our_filters_is_named(
    open_probe: OpenProbe, node: Node, foreign: Callable[[str], int]
) -> None:
    _need("tcx")
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(hooks="clsact")

    with inside(node.name):
        probe.attach(veth, "veth1")
        link = libbpf.create_link(foreign("foreign_ends"), veth, INGRESS, 0)
        place = probe.misplaced(veth)

    assert place == "ingress: foreign_ends runs before it"
    assert not _sees(probe, pod, 7001)
    os.close(link)


def test_a_filter_of_one_protocol_in_our_place_is_an_error(
    open_probe: OpenProbe, node: Node, foreign: Callable[[str], int]
) -> None:
    veth, _ = node.add_pod(1)
    described = {"fd": foreign("foreign_passes"), "name": "other", "direct_action": True}

    with inside(node.name), closing(IPRoute()) as route:
        probe = open_probe(hooks="clsact")
        route.tc("add", "clsact", veth)
        route.tc("add-filter", "bpf", veth, 0, parent=0xFFFFFFF2, prio=1, protocol=0x0800, **described)
        with pytest.raises(ProbeError, match=r"interface veth1 \(index \d+\): .* the probe's filter"):
            probe.attach(veth, "veth1")
        kept = run("tc", "filter", "show", "dev", "veth1", "ingress")

    assert "other" in kept


def test_hooks_that_others_delete_are_noticed_and_put_back(open_probe: OpenProbe, node: Node) -> None:
    veth, pod = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(hooks="clsact")

    with inside(node.name):
        probe.attach(veth, "veth1")
        run("tc", "qdisc", "delete", "dev", "veth1", "clsact")
        place = probe.misplaced(veth)
    assert place == "ingress: its filter is gone"
    assert not _sees(probe, pod, 7001)

    with inside(node.name):
        probe.attach(veth, "veth1")
        place = probe.misplaced(veth)
    assert place == ""
    assert _sees(probe, pod, 7002)


@_EVERY_WAY
def test_an_interface_that_is_gone(open_probe: OpenProbe, node: Node, bpffs: Path, hooks: str) -> None:
    _need(hooks)
    veth, _ = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(hooks=hooks, pinned=True)

    with inside(node.name):
        probe.attach(veth, "veth1")
        run("ip", "link", "delete", "veth1")
        place = probe.misplaced(veth)
        with pytest.raises(ProbeError, match=r"interface veth1 \(index \d+\) is gone"):
            probe.attach(veth, "veth1")
        probe.detach(veth)

    assert place.startswith("ingress: ")
    assert [path for path in (bpffs / "cilium-migrate" / LAYOUT).iterdir() if path.name.startswith("link")] == []


def test_an_index_that_is_used_again_gets_links_of_its_own(open_probe: OpenProbe, node: Node, bpffs: Path) -> None:
    _need("tcx")
    veth, _ = node.add_pod(1)
    with inside(node.name):
        probe = open_probe(pinned=True)

    with inside(node.name):
        probe.attach(veth, "veth1")
        run("ip", "link", "delete", "veth1")
        run("ip", "link", "add", "veth1", "index", str(veth), "type", "veth", "peer", "name", "other")
        place = probe.misplaced(veth)
        probe.attach(veth, "veth1")
        place_again = probe.misplaced(veth)

    assert place == "ingress: its link is gone"
    assert place_again == ""


_AGENT = """
    import os, signal, sys
    from pathlib import Path
    from migrate.audit.layout import Control
    from migrate.audit.libbpf_probe import open_libbpf_probe
    from migrate.audit.loader import objects
    from tests.kernel.conftest import NEVER, SMALL
    from tests.kernel.lab import inside

    bpffs, hooks, namespace, veth = sys.argv[1:]
    with inside(namespace):
        probe = open_libbpf_probe(objects(), SMALL, bpffs=Path(bpffs), hooks=hooks)
        probe.set_control(Control.DEADLINE, NEVER)
        probe.attach(int(veth), "veth1")
    print("attached", flush=True)
    signal.pause()
"""


def _killed_agent(bpffs: Path, hooks: str, namespace: str, veth: int) -> None:
    """An agent in a process of its own that is killed after it attached."""
    command = [sys.executable, "-c", textwrap.dedent(_AGENT), str(bpffs), hooks, namespace, str(veth)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        try:
            assert agent.stdout.readline() == "attached\n"
            with pytest.raises(ProbeError, match="another audit runs on this node"):
                open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
        finally:
            agent.send_signal(signal.SIGKILL)


@_EVERY_WAY
def test_recording_goes_on_after_kill_9_and_a_new_process_takes_over(node: Node, bpffs: Path, hooks: str) -> None:
    _need(hooks)
    veth, pod = node.add_pod(1)
    mount_bpffs(bpffs)

    _killed_agent(bpffs, hooks, node.name, veth)
    _talk(pod, 7001)
    with inside(node.name):
        probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs, hooks=hooks)
        place = probe.misplaced(veth)
        probe.attach(veth, "veth1")
    try:
        assert probe.resumed
        assert probe.notes == ()
        assert place == ""
        assert probe.control(Control.DEADLINE) == NEVER
        assert _sees(probe, pod, 7002)
        assert "from 10.77.1.2 > 10.77.1.1 17/7001: events 1" in told(probe)
        check_sum(probe)
    finally:
        with inside(node.name):
            probe.remove()
    assert not (bpffs / "cilium-migrate").exists()
    assert _programs_in_kernel(node, veth) == []


def test_a_bpf_filesystem_is_mounted_where_there_is_none(open_probe: OpenProbe, bpffs: Path) -> None:
    probe = open_probe(pinned=True)

    assert is_bpffs(bpffs)
    assert probe.notes == (f"bpffs was not mounted at {bpffs}; it is now, and stays so",)


def _programs_in_kernel(node: Node, veth: int) -> list[int]:
    with inside(node.name):
        linked = [number for hook in (INGRESS, EGRESS) if has_tcx() for number in libbpf.programs_at(veth, hook)]
        filters = [run("tc", "filter", "show", "dev", "veth1", way) for way in ("ingress", "egress")]
        assert "clsact" not in run("tc", "qdisc", "show", "dev", "veth1")
    assert filters == ["", ""]
    return linked


@_EVERY_WAY
def test_what_a_killed_agent_left_can_be_removed_without_a_probe(node: Node, bpffs: Path, hooks: str) -> None:
    _need(hooks)
    veth, _ = node.add_pod(1)
    mount_bpffs(bpffs)
    _killed_agent(bpffs, hooks, node.name, veth)

    with inside(node.name):
        removed = remove_leftovers(bpffs)
        again = remove_leftovers(bpffs)

    assert {"flows0", "flows1", "coarse", "ctl"} < set(removed)
    assert (f"link-{veth}-from" if hooks == "tcx" else f"filters of interface {veth}") in removed
    assert again == []
    assert not (bpffs / "cilium-migrate").exists()
    assert _programs_in_kernel(node, veth) == []


def test_a_running_audit_is_not_removed(open_probe: OpenProbe, bpffs: Path) -> None:
    open_probe(pinned=True)

    with pytest.raises(ProbeError, match="another audit runs on this node"):
        remove_leftovers(bpffs)


def test_stale_pins_are_swept_when_a_new_process_takes_over(node: Node, bpffs: Path) -> None:
    _need("tcx")
    open_libbpf_probe(objects(), SMALL, bpffs=bpffs).remove()
    veth, _ = node.add_pod(1)
    _killed_agent(bpffs, "tcx", node.name, veth)
    run("ip", "-n", node.name, "link", "delete", "veth1")
    pins = bpffs / "cilium-migrate" / LAYOUT

    before = [path.name for path in pins.glob("link-*")]
    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    after = list(pins.glob("link-*"))
    probe.remove()

    assert len(before) == 2
    assert after == []


@_EVERY_WAY
def test_removal_leaves_nothing(node: Node, bpffs: Path, hooks: str) -> None:
    _need(hooks)
    veth, _ = node.add_pod(1)

    with inside(node.name):
        probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs, hooks=hooks)
        probe.attach(veth, "veth1")
        probe.barrier()
        open_files = set(Path("/proc/self/fd").iterdir())
        probe.remove()

    assert len(open_files - set(Path("/proc/self/fd").iterdir())) >= 6
    assert list(bpffs.iterdir()) == [path for path in bpffs.iterdir() if path.name.endswith(".debug")]
    assert _programs_in_kernel(node, veth) == []


def test_links_without_a_bpf_filesystem_end_with_the_process(node: Node, tmp_path: Path) -> None:
    _need("tcx")
    veth, _ = node.add_pod(1)

    probe = open_libbpf_probe(objects(), SMALL, bpffs=tmp_path / "missing")
    with inside(node.name):
        probe.attach(veth, "veth1")
        assert probe.misplaced(veth) == ""
    probe.close()

    assert probe.notes == (
        f"no bpf filesystem at {tmp_path / 'missing'} (cannot mount bpffs: No such file or directory): "
        "recording ends with the agent instead of going on",
    )
    assert _programs_in_kernel(node, veth) == []


def test_a_half_pinned_probe_is_replaced(open_probe: OpenProbe, bpffs: Path) -> None:
    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    probe.close()
    (bpffs / "cilium-migrate" / LAYOUT / "ctl").unlink()

    again = open_probe(pinned=True)

    assert not again.resumed
    assert again.counters()[Counter.PACKETS] == 0


def test_tables_of_another_version_are_taken_away_and_told(bpffs: Path) -> None:
    open_libbpf_probe(objects(), SMALL, bpffs=bpffs).close()
    (bpffs / "cilium-migrate" / LAYOUT).rename(bpffs / "cilium-migrate" / "0123456789ab")

    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    left = [path.name for path in (bpffs / "cilium-migrate").iterdir()]
    probe.remove()

    assert not probe.resumed
    assert left == [LAYOUT]
    assert probe.notes == ("tables of another version (0123456789ab) were left and are gone, unread",)


def test_a_new_process_never_attaches_in_two_ways(bpffs: Path) -> None:
    _need("tcx")
    open_libbpf_probe(objects(), SMALL, bpffs=bpffs, hooks="clsact").close()

    with pytest.raises(ProbeError, match="attached by clsact already"):
        open_libbpf_probe(objects(), SMALL, bpffs=bpffs, hooks="tcx")
    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)

    assert probe.attached_by == "clsact"
    probe.remove()


def test_tables_keep_their_sizes_in_the_next_process(open_probe: OpenProbe, bpffs: Path) -> None:
    open_libbpf_probe(objects(), SMALL, bpffs=bpffs).close()

    probe = open_probe(Sizes(flows=16, coarse=16, connections=16), pinned=True)

    assert probe.maps("flows0")[0].entries == SMALL.flows
    assert probe.notes == (f"the tables that were there keep their sizes: {SMALL.flows} flows",)
