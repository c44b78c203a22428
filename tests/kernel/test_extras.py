"""Conntrack's view of translated addresses, and what netfilter drops, on a node with rules like kube-proxy's."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from migrate.audit.drops import open_drops
from migrate.audit.kernel import ProbeError
from migrate.audit.layout import FlowKey, FlowValue, Translation
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import objects
from tests.kernel.conftest import SMALL, OpenProbe
from tests.kernel.lab import Node, inside, run
from tests.kernel.records import check_sum, rows
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

_FAMILIES = {"iptables": socket.AF_INET, "ip6tables": socket.AF_INET6}


@pytest.fixture
def pods(node: Node) -> tuple[tuple[int, str], tuple[int, str]]:
    """Two pods that reach each other through the node."""
    require(shutil.which("iptables") is not None, "iptables")
    made = node.add_pod(1), node.add_pod(2)
    for number, (_, pod) in enumerate(made, 1):
        run("ip", "-n", pod, "route", "add", "default", "via", f"10.77.{number}.1")
        run("ip", "-n", pod, "-6", "route", "add", "default", "via", f"fd77:{number}::1")
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        node.set(setting, "1")
    return made


@pytest.fixture
def probe(open_probe: OpenProbe, node: Node, pods: tuple[tuple[int, str], tuple[int, str]]) -> LibbpfProbe:
    """At both pods, with conntrack and drops."""
    with inside(node.name):
        opened = open_probe(extras=True)
        assert opened.notes == ()
        for number, (veth, _) in enumerate(pods, 1):
            opened.attach(veth, f"veth{number}")
    return opened


def _rule(node: Node, *rule: str, command: str = "iptables") -> None:
    with inside(node.name):
        run(command, "-w", *rule)


def _connect(pod: str, address: str, port: int) -> None:
    """Try a TCP connection from a pod, for as long as one SYN takes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(pod), closing(socket.socket(family)) as client:
        client.settimeout(0.3)
        with suppress(OSError):
            client.connect((address, port))


def _server(pod: str, port: int) -> socket.socket:
    with inside(pod):
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


def _ask(pod: str, address: str, server: socket.socket) -> None:
    """A datagram from a pod to a Service's port 53, and an answer of the server behind it."""
    with inside(pod):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(client):
        client.settimeout(5)
        client.sendto(b"question", (address, 53))
        _, sender = server.recvfrom(100)
        server.sendto(b"answer", sender)
        assert client.recv(100) == b"answer"


def _translations(probe: LibbpfProbe) -> set[str]:
    """In short: the record, and what conntrack says of it."""
    assert probe.translations is not None
    found = (Translation.unpack(*entry) for batch in probe.translations.batches() for entry in batch)
    return {
        f"{one.flow.source} > {one.flow.destination}:{one.flow.port} {one.flow.direction.name}: "
        f"{one.original_source} > {one.original_destination}:{one.original_port} at {one.backend}:{one.backend_port}"
        for one in found
    }


def _drops(probe: LibbpfProbe) -> dict[str, int]:
    """Events by the record in short."""
    assert probe.drops is not None
    return {
        f"{key.source} > {key.destination} {key.protocol}/{key.port} {key.direction.name}": value.events
        for key, value in rows(probe.drops).items()
    }


@pytest.mark.parametrize(
    ("command", "service", "client", "backend"),
    [
        ("iptables", "10.96.0.10", "10.77.1.2", "10.77.2.2"),
        ("ip6tables", "fd96::10", "fd77:1::2", "fd77:2::2"),
    ],
)
def test_a_service_s_address_has_its_backend(
    node: Node,
    pods: tuple[tuple[int, str], tuple[int, str]],
    probe: LibbpfProbe,
    command: str,
    service: str,
    client: str,
    backend: str,
) -> None:
    _, (_, server) = pods
    to = f"[{backend}]:8080" if ":" in backend else f"{backend}:8080"
    _rule(node, "-t", "nat", "-A", "PREROUTING", "-d", service, "-p", "tcp", "--dport", "80", "-j", "DNAT",
          "--to-destination", to, command=command)  # fmt: skip

    with closing(_server(server, 8080)):
        _connect(pods[0][1], service, 80)

    assert _translations(probe) == {
        f"{client} > {service}:80 FROM_POD: {client} > {service}:80 at {backend}:8080",
        f"{client} > {backend}:8080 TO_POD: {client} > {service}:80 at {backend}:8080",
    }
    check_sum(probe)


def test_dns_by_udp_has_its_backend(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], probe: LibbpfProbe
) -> None:
    (_, client), (_, server) = pods
    _rule(node, "-t", "nat", "-A", "PREROUTING", "-d", "10.96.0.10", "-p", "udp", "--dport", "53", "-j", "DNAT",
          "--to-destination", "10.77.2.2:5353")  # fmt: skip
    with inside(server):
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(listening):
        listening.bind(("10.77.2.2", 5353))
        listening.settimeout(5)
        _ask(client, "10.96.0.10", listening)
        _ask(client, "10.96.0.10", listening)

    assert _translations(probe) == {
        "10.77.1.2 > 10.96.0.10:53 FROM_POD: 10.77.1.2 > 10.96.0.10:53 at 10.77.2.2:5353",
        "10.77.1.2 > 10.77.2.2:5353 TO_POD: 10.77.1.2 > 10.96.0.10:53 at 10.77.2.2:5353",
    }


def test_a_masqueraded_client_is_told(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], probe: LibbpfProbe
) -> None:
    _, (_, server) = pods
    _rule(node, "-t", "nat", "-A", "POSTROUTING", "-p", "tcp", "--dport", "8081", "-j", "MASQUERADE")

    with closing(_server(server, 8081)), closing(_server(server, 8082)):
        _connect(pods[0][1], "10.77.2.2", 8081)
        _connect(pods[0][1], "10.77.2.2", 8082)

    assert "10.77.2.1 > 10.77.2.2:8081 TO_POD: 10.77.1.2 > 10.77.2.2:8081 at 10.77.2.2:8081" in _translations(probe)
    assert not any("8082" in line for line in _translations(probe))


def _try_dropped(node: Node, pods: tuple[tuple[int, str], tuple[int, str]]) -> None:
    """Packets that netfilter drops: of TCP, of UDP, rejected, and from the node itself."""
    _rule(node, "-A", "FORWARD", "-p", "tcp", "--dport", "9001", "-j", "DROP")
    _rule(node, "-A", "FORWARD", "-p", "udp", "--dport", "9002", "-j", "DROP")
    _rule(node, "-A", "FORWARD", "-p", "tcp", "--dport", "9003", "-j", "REJECT")
    _rule(node, "-A", "FORWARD", "-p", "tcp", "--dport", "9004", "-j", "DROP", command="ip6tables")
    _rule(node, "-A", "OUTPUT", "-p", "udp", "--dport", "9005", "-j", "DROP")
    for address, port in (("10.77.2.2", 9001), ("10.77.2.2", 9003), ("fd77:2::2", 9004), ("10.77.2.2", 9006)):
        _connect(pods[0][1], address, port)
    for namespace, port in ((pods[0][1], 9002), (node.name, 9005)):
        with inside(namespace):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(sender), suppress(PermissionError):  # what a process of the node is told
            sender.sendto(b"x", ("10.77.2.2", port))


_DROPPED = {
    "10.77.1.2 > 10.77.2.2 6/9001 FROM_POD",
    "10.77.1.2 > 10.77.2.2 17/9002 FROM_POD",
    "10.77.1.2 > 10.77.2.2 6/9003 FROM_POD",
    "fd77:1::2 > fd77:2::2 6/9004 FROM_POD",
    "10.77.2.1 > 10.77.2.2 17/9005 TO_POD",
}


def test_what_netfilter_drops_is_counted_by_flow(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], probe: LibbpfProbe
) -> None:
    _try_dropped(node, pods)

    found = _drops(probe)
    assert set(found) == _DROPPED
    assert min(found.values()) >= 1


def test_the_place_tells_as_much_as_the_reason(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], open_probe: OpenProbe
) -> None:
    with inside(node.name):
        probe = open_probe(extras=False)
        names = ("connections", "stats", "ctl")
        drops = open_drops(
            objects(), dict(zip(names, probe.maps(*names), strict=True)), None, place="nft_do_chain"
        )  # where kernels drop that also give a reason
    for veth, _ in pods:
        drops.watch(veth)

    _try_dropped(node, pods)

    found = {FlowKey.unpack(key): FlowValue.unpack(value) for batch in drops.table.batches() for key, value in batch}
    assert drops.seen_by == "place"
    drops.close()
    assert {
        f"{key.source} > {key.destination} {key.protocol}/{key.port} {key.direction.name}" for key in found
    } == _DROPPED


def test_drops_of_others_are_not_counted(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], probe: LibbpfProbe
) -> None:
    for veth, _ in pods:
        with inside(node.name):
            probe.detach(veth)

    _try_dropped(node, pods)

    assert _drops(probe) == {}


def test_drops_of_another_network_namespace_are_not_counted(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], open_probe: OpenProbe
) -> None:
    """Interfaces have numbers of their own in each namespace, and the pod's has that of a watched one."""
    (_, client), (_, server) = pods
    with inside(node.name):
        probe = open_probe(extras=False)
        names = ("connections", "stats", "ctl")
        drops = open_drops(objects(), dict(zip(names, probe.maps(*names), strict=True)), None)
    with inside(server):
        drops.watch(socket.if_nametoindex("eth0"))
        run("iptables", "-w", "-A", "INPUT", "-p", "tcp", "--dport", "9007", "-j", "DROP")

    _connect(client, "10.77.2.2", 9007)

    with inside(server):
        assert "[0:0] -A INPUT" not in run("iptables-save", "-c")
    found = [entry for batch in drops.table.batches() for entry in batch]
    drops.close()
    assert found == []


def test_extras_go_on_with_a_new_process(
    node: Node, pods: tuple[tuple[int, str], tuple[int, str]], bpffs: Path
) -> None:
    with inside(node.name):
        first = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
        first.set_control(3, 2**63)  # type: ignore[arg-type]
        for number, (veth, _) in enumerate(pods, 1):
            first.attach(veth, f"veth{number}")
        first.close()
        _try_dropped(node, pods)
        second = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    try:
        assert second.resumed
        assert set(_drops(second)) == _DROPPED
    finally:
        second.remove()


def _wait(until: Callable[[], bool]) -> bool:
    """Whether it comes true; the kernel ends some links a little later than they are let go of."""
    for _ in range(200):
        if until():
            return True
        time.sleep(0.05)
    return False


def test_removal_ends_the_watch_for_drops(node: Node, bpffs: Path) -> None:
    def programs() -> int:
        return sum(
            1 for path in Path("/proc/self/fdinfo").iterdir() if path.exists() and "prog_type" in path.read_text()
        )

    before = programs()
    probe = open_libbpf_probe(objects(), SMALL, bpffs=bpffs)
    during = programs()
    probe.remove()

    assert during > before
    assert _wait(lambda: programs() == before)


def test_without_conntrack_s_object_the_probe_records_and_says_so(tmp_path: Path) -> None:
    for name in ("probe.bpf.o",):
        shutil.copy(objects() / name, tmp_path)
    for name in ("ct.bpf.o", "drop.bpf.o"):
        (tmp_path / name).write_bytes(b"nothing")

    probe = open_libbpf_probe(tmp_path, SMALL, bpffs=None)
    try:
        assert probe.translations is None
        assert probe.drops is None
        assert [note.split(":")[0] for note in probe.notes] == [
            "translated addresses are not seen in the kernel, but asked for by netlink",
            "what netfilter drops today is not seen",
        ]
    finally:
        probe.remove()


def test_an_unknown_symbol_is_an_error(open_probe: OpenProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = open_probe()
    (tmp_path / "kallsyms").write_text("0000000000000000 t nf_hook_slow\n")
    monkeypatch.setattr("migrate.audit.drops._SYMBOLS", tmp_path / "kallsyms")
    names = ("connections", "stats", "ctl")

    with pytest.raises(ProbeError, match="does not say where nf_hook_slow is"):
        open_drops(objects(), dict(zip(names, probe.maps(*names), strict=True)), None, place="nf_hook_slow")
