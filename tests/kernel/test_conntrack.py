"""What the kernel's connection tracking says of the lab's services: dumps, and the true ends of what a pod sees."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address

import pytest

from migrate.audit import conntrack
from migrate.audit.conntrack import Connection, Ends
from migrate.audit.layout import Address
from tests.kernel.kube_lab import (
    BACKEND_PORT,
    DNS_BACKEND_PORT,
    DNS_PORT,
    LOCAL_NODE_PORT,
    NODE,
    NODE_ADDRESS,
    NODE_PORT,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    OUTSIDE_CLIENT,
    SERVICE,
    SERVICE_6,
    SERVICE_PORT,
    Answer,
    Lab,
)
from tests.kernel.lab import inside, run

pytestmark = pytest.mark.kernel

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        made.serve("b", DNS_BACKEND_PORT, datagrams=True)
        made.serve(OUTSIDE, 443)
        yield made


def _all(lab: Lab) -> list[Connection]:
    with inside(lab.node):
        return list(conntrack.dump())


def _opened(lab: Lab, client: socket.socket) -> Connection:
    """The connection of a socket."""
    source, port = client.getsockname()[:2]
    (found,) = (found for found in _all(lab) if (str(found.source), found.source_port) == (source, port))
    return found


@pytest.mark.parametrize(
    ("place", "host", "port", "source", "seen_at_backend"),
    [
        pytest.param("a", SERVICE, SERVICE_PORT, "", "10.244.1.2", id="a ClusterIP"),
        pytest.param("b", SERVICE, SERVICE_PORT, "", "10.244.1.1", id="a pod's own ClusterIP: the node's address"),
        pytest.param(OUTSIDE, NODE_ADDRESS, NODE_PORT, OUTSIDE_CLIENT, NODE_ADDRESS, id="a NodePort, Cluster"),
        pytest.param(OUTSIDE, NODE_ADDRESS, LOCAL_NODE_PORT, OUTSIDE_CLIENT, OUTSIDE_CLIENT, id="a NodePort, Local"),
        pytest.param(NODE, "10.244.1.3", BACKEND_PORT, "", NODE_ADDRESS, id="a process of the node"),
        pytest.param("a", SERVICE_6, SERVICE_PORT, "", "fd00:1::2", id="a ClusterIP of IPv6"),
    ],
)
def test_true_ends_of_a_connection(
    lab: Lab, place: str, host: str, port: int, source: str, seen_at_backend: str
) -> None:
    with closing(lab.open(place, host, port, source=source)) as client:
        opened = _opened(lab, client)
        seen = Ends(TCP, opened.client, opened.client_port, opened.backend, opened.backend_port)
        with inside(lab.node):
            behind = conntrack.original_of(seen)
            ahead = conntrack.translation_of(Ends(TCP, opened.source, opened.source_port, opened.destination, port))

    assert behind == ahead == opened
    assert (str(opened.destination), opened.port) == (host, port)
    assert str(opened.backend) == ("fd00:1::3" if ":" in host else "10.244.1.3")
    assert opened.backend_port == BACKEND_PORT
    assert opened.state == conntrack.ESTABLISHED
    if place != "b":
        assert str(opened.client) == seen_at_backend
    else:
        assert opened.client not in (opened.source, opened.destination)


def test_a_pod_behind_masquerade_is_the_source(lab: Lab) -> None:
    with closing(lab.open("a", OUTSIDE_ADDRESS, 443)) as client:
        opened = _opened(lab, client)

    assert (str(opened.source), str(opened.client)) == ("10.244.1.2", NODE_ADDRESS)
    assert opened.status & conntrack.SOURCE_TRANSLATED
    assert not opened.status & conntrack.DESTINATION_TRANSLATED


def test_what_the_kernel_does_not_know_has_no_original(lab: Lab) -> None:
    unknown = Ends(TCP, ip_address("10.244.1.2"), 1, ip_address("10.244.1.3"), 2)

    with inside(lab.node):
        assert conntrack.original_of(unknown) is None
        assert conntrack.original_of(unknown, zone=7) is None


def test_datagrams_have_ends_too(lab: Lab) -> None:
    assert lab.ask("a", SERVICE, DNS_PORT) is Answer.ANSWERED

    (found,) = (found for found in _all(lab) if found.protocol == UDP and found.port == DNS_PORT)
    assert (str(found.backend), found.backend_port, found.state) == ("10.244.1.3", DNS_BACKEND_PORT, 0)
    with inside(lab.node):
        assert conntrack.original_of(Ends(UDP, found.client, found.client_port, found.backend, 5353)) is not None


@pytest.mark.parametrize(("host", "protocol", "asked"), [("10.244.1.3", ICMP, 8 << 8), ("fd00:1::3", ICMPV6, 128 << 8)])
def test_pings_have_ends_too(lab: Lab, host: str, protocol: int, asked: int) -> None:
    pod = lab.pods["a"]
    run("ip", "netns", "exec", pod.namespace, "sysctl", "-qw", "net.ipv4.ping_group_range=0 0")
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with inside(pod.namespace):
        client = socket.socket(kind, socket.SOCK_DGRAM, protocol)
    with closing(client):
        client.settimeout(2)
        client.sendto(bytes([asked >> 8, 0, 0, 0, 0, 0, 0, 1]), (host, 0))
        client.recv(64)

    (found,) = (found for found in _all(lab) if found.protocol == protocol and found.port == asked)
    seen = Ends(protocol, found.client, found.source_port, found.backend, asked)
    with inside(lab.node):
        assert conntrack.original_of(seen) == found


@pytest.mark.parametrize("address", ["10.244.1.3", "fd00:1::3"])
def test_the_connections_of_a_pod_are_those_it_opened_or_serves(lab: Lab, address: str) -> None:
    backend = ip_address(address)
    service = SERVICE_6 if backend.version == 6 else SERVICE
    with ExitStack() as stack:
        for place in ("a", "b", "d"):
            stack.enter_context(closing(lab.open(place, service, SERVICE_PORT)))
        with inside(lab.node):
            found = list(conntrack.of_pod(backend))
        expected = [one for one in _all(lab) if backend in (one.source, one.backend)]

    assert sorted(map(_line, found)) == sorted(map(_line, expected))
    assert len({_line(one) for one in found}) == len(found)
    assert len(found) >= 3


def _line(connection: Connection) -> str:
    ends: tuple[Address, ...] = (connection.source, connection.destination, connection.client)
    return f"{connection.protocol} {ends} {connection.source_port} {connection.client_port}"
