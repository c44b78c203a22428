"""What is looked at inside a guest, without pytest: each check has a process of its own, and fails by raising.

A check gives what it saw in words. What a kernel has is told by its version here, never by asking it again.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from migrate.audit import conntrack, libbpf
from migrate.audit.conntrack import Ends
from migrate.audit.filters import ClsactHooks
from migrate.audit.kernel import ProbeError
from migrate.audit.layout import Control, Counter, Direction, FlowKey, Translation
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import missing_pieces, objects, open_probe
from tests.kernel.conversations import CONVERSATIONS, send_damaged
from tests.kernel.lab import Node, inside, run
from tests.kernel.records import check_sum, rows, send, told
from tests.kernel_matrix.scene import (
    BPFFS,
    NEVER,
    SMALL,
    THREE,
    apart,
    connect,
    enter,
    hide,
    keep_capabilities,
    send_datagram,
    two_pods,
)

_PATIENCE_SECONDS = 20
_KERNEL = libbpf.kernel_version()
_ASKS_CONNTRACK = _KERNEL >= (6, 1)
_HAS_TCX = _KERNEL >= (6, 6)
_GIVES_REASONS = _KERNEL >= (5, 17)
_COUNTS_LOCKED_MEMORY = _KERNEL < (5, 11)
_TCX_INGRESS = 46
_BTF = Path("/sys/kernel/btf")
_NO_ENDS = "translated addresses are not seen in the kernel, but asked for by netlink: "
_NO_DROPS = "what netfilter drops today is not seen: "


def records() -> list[str]:
    """All conversations, one after the other, in one probe."""
    probe = open_libbpf_probe(objects(), SMALL, bpffs=None, extras=False)
    probe.set_control(Control.DEADLINE, NEVER)
    probe.set_control(Control.SAMPLING, 2**64 - 1)
    events = 0
    for conversation in CONVERSATIONS:
        for direction, packet in conversation.packets:
            send(probe, direction, packet)
        assert told(probe) == sorted(conversation.expected), conversation.name
        events += sum(value.events for value in rows(probe.flows[0]).values())
        _empty(probe)
    assert events == probe.counters()[Counter.NEW]
    return [f"{len(CONVERSATIONS)} conversations, {events} events"]


def _empty(probe: LibbpfProbe) -> None:
    for table in (probe.flows[0], *probe.maps("connections")):
        table.delete([key for batch in table.batches() for key, _ in batch])


def damaged_packets() -> list[str]:
    """The programs neither change them nor decide on them."""
    probe = open_libbpf_probe(objects(), SMALL, bpffs=None, extras=False)
    probe.set_control(Control.DEADLINE, NEVER)
    probe.set_control(Control.SAMPLING, 3)
    sent = send_damaged(probe, 500)
    assert probe.counters()[Counter.PACKETS] == sent
    check_sum(probe)
    return [f"{sent} packets"]


def the_other_table() -> list[str]:
    """Programs write it after the switch, and the barrier comes back."""
    probe = open_libbpf_probe(objects(), SMALL, bpffs=None, extras=False)
    probe.set_control(Control.DEADLINE, NEVER)
    direction, packet = CONVERSATIONS[0].packets[0]
    send(probe, direction, packet)
    probe.set_control(Control.ACTIVE, 1)
    probe.barrier()
    send(probe, direction, packet)
    assert [sum(value.retransmitted for value in rows(table).values()) for table in probe.flows] == [0, 1]
    return []


def traffic() -> list[str]:
    """Real packets of two pods, as the administrator: records, true ends, drops, and nothing left behind."""
    node = two_pods()
    enter(node)
    run("iptables", "-t", "nat", "-A", "PREROUTING", "-d", "10.96.0.10", "-p", "tcp", "--dport", "80", "-j",
        "DNAT", "--to-destination", "10.77.2.2:8080")  # fmt: skip
    run("iptables", "-A", "FORWARD", "-p", "udp", "--dport", "9001", "-j", "DROP")
    probe = _watched(BPFFS, "veth1", "veth2")
    assert f"bpffs was not mounted at {BPFFS}; it is now, and stays so" in probe.notes
    with closing(_server(node, 8080)):
        port = connect(f"{node.name}-1", "10.96.0.10", 80)
    send_datagram(f"{node.name}-1", "10.77.2.2", 9001)

    _wait_for(
        probe,
        "from 10.77.1.2 > 10.96.0.10 6/80: events 1 answered 1",
        "to 10.77.1.2 > 10.77.2.2 6/8080: events 1 answered 1",
        "from 10.77.1.2 > 10.77.2.2 17/9001: events 1",
    )
    check_sum(probe)
    _check_translations(probe)
    _check_asking_conntrack(port)
    _check_drops(probe)
    _check_removal(probe)
    return [f"attached by {probe.attached_by}", *probe.notes]


def _wait_for(probe: LibbpfProbe, *wanted: str) -> None:
    """An imitated processor on a busy machine is late with packets, and then TCP sends again what was not lost."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not set(wanted) <= (found := {line.partition(" again ")[0] for line in told(probe)}):
        assert time.monotonic() < end, f"{wanted} are not all among {sorted(found)}"
        time.sleep(0.1)


def _watched(bpffs: Path | None, *veths: str) -> LibbpfProbe:
    """A probe at pods, from a process on the node."""
    probe = open_probe(SMALL, bpffs=bpffs)
    assert isinstance(probe, LibbpfProbe)
    probe.set_control(Control.DEADLINE, NEVER)
    for veth in veths:
        index = socket.if_nametoindex(veth)
        probe.attach(index, veth)
        assert probe.misplaced(index) == ""
    assert probe.attached_by == ("tcx" if _HAS_TCX else "clsact")
    return probe


def _server(node: Node, port: int) -> socket.socket:
    with inside(f"{node.name}-2"):
        return socket.create_server(("10.77.2.2", port))


def _check_translations(probe: LibbpfProbe) -> None:
    """By the kernel's functions where it has them; else a note says that it has not."""
    if not _ASKS_CONNTRACK:
        assert probe.translations is None
        assert "(they need 6.1 or newer)" in _note(probe, _NO_ENDS)
        return
    assert probe.translations is not None, probe.notes
    found = [Translation.unpack(*entry) for batch in probe.translations.batches() for entry in batch]
    assert {(str(one.flow.destination), one.flow.direction) for one in found} == {
        ("10.96.0.10", Direction.FROM_POD),
        ("10.77.2.2", Direction.TO_POD),
    }
    ends = {(str(one.original_destination), one.original_port, str(one.backend), one.backend_port) for one in found}
    assert ends == {("10.96.0.10", 80, "10.77.2.2", 8080)}


def _note(probe: LibbpfProbe, beginning: str) -> str:
    return next((note for note in probe.notes if note.startswith(beginning)), "")


def _check_asking_conntrack(port: int) -> None:
    """The lesser way, which every kernel has: netlink."""
    client, server, service = map(ip_address, ("10.77.1.2", "10.77.2.2", "10.96.0.10"))
    original = conntrack.original_of(Ends(6, client, port, server, 8080))
    translation = conntrack.translation_of(Ends(6, client, port, service, 80))
    assert original is not None
    assert (original.destination, original.port) == (service, 80)
    assert translation is not None
    assert (translation.backend, translation.backend_port) == (server, 8080)
    assert any(found.destination == service for found in conntrack.of_pod(client))
    assert any(found.backend == server for found in conntrack.of_pod(server))


def _check_drops(probe: LibbpfProbe) -> None:
    assert probe.drops is not None, probe.notes
    found = {FlowKey.unpack(key) for batch in probe.drops.batches() for key, _ in batch}
    seen = {(str(key.source), str(key.destination), key.protocol, key.port) for key in found}
    assert seen == {("10.77.1.2", "10.77.2.2", 17, 9001)}


def _check_removal(probe: LibbpfProbe) -> None:
    pins = list(BPFFS.glob("*/*/*"))
    probe.remove()
    assert pins
    assert list(BPFFS.glob("cilium-migrate*")) == []
    if _HAS_TCX:
        assert libbpf.programs_at(socket.if_nametoindex("veth1"), _TCX_INGRESS) == []
    else:
        assert ClsactHooks({}).remove_all() == []


def going_on() -> list[str]:
    """After the death of a process the packets are counted further, and the next process has all of them."""
    node = Node()
    node.add_pod(1)
    enter(node)

    def begin() -> None:
        first = open_libbpf_probe(objects(), SMALL, bpffs=BPFFS, extras=False)
        first.set_control(Control.DEADLINE, NEVER)
        first.attach(socket.if_nametoindex("veth1"), "veth1")

    apart(begin)
    send_datagram(f"{node.name}-1", "10.77.1.1", 7001)
    second = open_libbpf_probe(objects(), SMALL, bpffs=BPFFS, extras=False)
    send_datagram(f"{node.name}-1", "10.77.1.1", 7002)
    assert second.resumed
    assert second.misplaced(socket.if_nametoindex("veth1")) == ""
    ports = {line for line in told(second) if "17/" in line}
    assert ports == {f"from 10.77.1.2 > 10.77.1.1 17/{port}: events 1" for port in (7001, 7002)}
    second.remove()
    return [f"by {second.attached_by}"]


def three_capabilities() -> list[str]:
    """They are enough to record, and what needs more is named: a mount, functions of modules, symbols before 5.17."""
    node = Node()
    node.add_pod(1)
    enter(node)
    sender = _sender(node)
    _keep(*THREE)
    probe = _watched(BPFFS, "veth1")
    with closing(sender):
        sender.sendto(b"x", ("10.77.1.1", 7001))
    assert "from 10.77.1.2 > 10.77.1.1 17/7001: events 1" in told(probe)
    assert "to ICMP_ERROR 10.77.1.1 > 10.77.1.2 1/771: events 1" in told(probe)
    assert _note(probe, f"no bpf filesystem at {BPFFS} (")
    assert ("CAP_SYS_ADMIN" in _note(probe, _NO_ENDS)) == _ASKS_CONNTRACK, probe.notes
    assert ("CAP_SYSLOG" in _note(probe, _NO_DROPS)) != _GIVES_REASONS, probe.notes
    assert (probe.drops is not None) == _GIVES_REASONS
    probe.remove()
    return [*probe.notes]


def _keep(*names: str) -> None:
    """Only these rights, and no limit of locked memory, as container runtimes have it."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    keep_capabilities(*names)


def _sender(node: Node) -> socket.socket:
    with inside(f"{node.name}-1"):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def symbols() -> list[str]:
    """Where the kernel gives no reasons of drops, the right to read symbols is enough to see them."""
    if _GIVES_REASONS:
        return ["are not needed"]
    _keep(*THREE, "CAP_SYSLOG")
    probe = open_probe(SMALL, bpffs=None)
    assert isinstance(probe, LibbpfProbe)
    assert probe.drops is not None, probe.notes
    return []


def missing_capabilities() -> list[str]:
    """Each that is missing is named, and the probe does not begin."""
    for missing in THREE:
        apart(partial(_check_missing, missing))
    return []


def _check_missing(name: str) -> None:
    keep_capabilities(*(kept for kept in THREE if kept != name))
    try:
        open_probe(SMALL, bpffs=None)
    except ProbeError as error:
        said = str(error)
    else:
        said = "nothing"
    assert said.startswith(f"the probe cannot run here: no {name}: "), said


def locked_memory() -> list[str]:
    """Before 5.11 the tables count as locked memory; what is too little is named, with what to do."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    keep_capabilities(*THREE)
    try:
        open_libbpf_probe(objects(), SMALL, bpffs=None, extras=False)
    except ProbeError as error:
        said = str(error)
    else:
        said = ""
    assert ("ulimit -l" in said) == _COUNTS_LOCKED_MEMORY, said
    return [said] if said else []


def no_btf() -> list[str]:
    """Without the kernel's types the probe records; what it does not see then is named."""
    hide(_BTF)
    probe = open_libbpf_probe(objects(), SMALL, bpffs=None)
    (piece,) = (piece for piece in missing_pieces(None) if piece.name == "BTF")
    probe.set_control(Control.DEADLINE, NEVER)
    send(probe, *CONVERSATIONS[0].packets[0])
    assert told(probe) == CONVERSATIONS[0].expected
    assert not piece.required
    assert probe.translations is None
    assert probe.drops is None
    assert all("no BTF" in _note(probe, what) for what in (_NO_ENDS, _NO_DROPS)), probe.notes
    return [*probe.notes]


CHECKS: Mapping[str, Callable[[], list[str]]] = {
    check.__name__: check
    for check in (
        records,
        damaged_packets,
        the_other_table,
        traffic,
        going_on,
        missing_capabilities,
        three_capabilities,
        symbols,
        locked_memory,
        no_btf,
    )
}
