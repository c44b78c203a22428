"""What the kernel tells of links, and that three capabilities are enough to hear it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from migrate.audit.veths import HooksGone, HostLinks, LinkEvents, LinkGone, LinkTold, RouteTold
from tests.kernel.kube_lab import BACKEND_PORT, NODE, SERVICE, SERVICE_PORT, Lab
from tests.kernel.lab import inside, run
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

_ROOT = Path(__file__).parents[2]
_CAPABILITIES = "-all,+bpf,+net_admin,+perfmon"
_READ = """
from ipaddress import ip_address
from migrate.audit import conntrack
from migrate.audit.veths import HostLinks, LinkEvents

LinkEvents().close()
host = HostLinks()
links = {link.name: link for link in host.veths().values()}
print(*host.peer_addresses(links["vethd"]))
print(*sorted(str(route.address) for route in host.routes()))
found = (conntrack.dump(), conntrack.of_pod(ip_address("10.244.1.3")))
print(*(sum(one.protocol == 6 for one in some) for some in found))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        yield made


def test_routes_and_the_other_ends_tell_the_addresses_of_pods(lab: Lab) -> None:
    with inside(lab.node):
        host = HostLinks()
    links = host.veths()

    for pod in lab.pods.values():
        found = host.peer_addresses(links[pod.ifindex])
        assert [str(address) for address in found] == [pod.address, pod.address_6]
    routed = {(str(route.address), route.index) for route in host.routes()}
    assert routed == {
        (address, pod.ifindex) for pod in (lab.pods[name] for name in "abc") for address in (pod.address, pod.address_6)
    }
    (uplink,) = host.uplinks()
    assert links[uplink].name == "uplink"
    host.close()


def test_a_pods_coming_and_going_is_told(lab: Lab) -> None:
    with inside(lab.node):
        events = LinkEvents()
    pod = lab.add_pod("new")
    lab.remove_pod("new")

    told = events.read()
    assert any(isinstance(event, LinkTold) and event.link.index == pod.ifindex for event in told)
    assert RouteTold(ip_address(pod.address), pod.ifindex) in told
    assert LinkGone(pod.ifindex) in told
    assert events.read() == []
    events.close()


def test_a_port_that_leaves_its_bridge_is_still_there(lab: Lab) -> None:
    with inside(lab.node):
        events = LinkEvents()
    run("ip", "-n", lab.node, "link", "set", "vethd", "nomaster")

    assert not any(isinstance(event, LinkGone) for event in events.read())
    events.close()


def test_hooks_that_are_taken_away_are_told(lab: Lab) -> None:
    require(shutil.which("tc") is not None, "tc (Debian: iproute2)")
    with inside(lab.node):
        events = LinkEvents()
    run("tc", "-n", lab.node, "qdisc", "add", "dev", "calia", "clsact")
    run("tc", "-n", lab.node, "qdisc", "del", "dev", "calia", "clsact")

    assert HooksGone(lab.pods["a"].ifindex) in events.read()
    events.close()


def test_three_capabilities_are_enough(lab: Lab) -> None:
    require(shutil.which("setpriv") is not None, "setpriv (Debian: util-linux)")
    lab.connect("a", SERVICE, SERVICE_PORT)
    command = ["ip", "netns", "exec", lab.namespace(NODE), "setpriv", f"--bounding-set={_CAPABILITIES}"]
    ran = subprocess.run(
        [*command, sys.executable, "-c", _READ], capture_output=True, text=True, check=False, cwd=_ROOT
    )

    assert ran.stderr == ""
    peer, routes, connections = ran.stdout.splitlines()
    assert peer == "10.244.2.2 fd00:2::2"
    assert len(routes.split()) == 6
    assert connections == "1 1"
