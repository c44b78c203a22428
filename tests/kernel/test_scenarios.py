"""What each pod's veth sees of connections through the rules of a node: services, masquerade, hairpin, drops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from migrate.audit.layout import Control
from migrate.audit.libbpf_probe import open_libbpf_probe
from migrate.audit.loader import objects
from tests.kernel.conftest import NEVER, SMALL
from tests.kernel.following import Following, following
from tests.kernel.kube_lab import (
    BACKEND_PORT,
    DNS_BACKEND_PORT,
    DNS_PORT,
    DROPPED,
    LOCAL_NODE_PORT,
    NODE,
    NODE_ADDRESS,
    NODE_PORT,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    OUTSIDE_CLIENT,
    REJECTED,
    RESET,
    SERVICE,
    SERVICE_6,
    SERVICE_PORT,
    Answer,
    Lab,
)

pytestmark = pytest.mark.kernel

OPEN, CLOSED = 7000, 7001
A, B, C, D, E = "10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.2.2", "10.244.2.3"
A_6, B_6, C_6, D_6 = "fd00:1::2", "fd00:1::3", "fd00:1::4", "fd00:2::2"
BRIDGE_6 = "fd00:2::1"
"""The node's address that masquerade takes for IPv6, since the routed pods' veths have none."""
PORT_UNREACHABLE = 3 << 8 | 3
ANSWERED, REFUSED, SILENT = Answer.ANSWERED, Answer.REFUSED, Answer.SILENT


@dataclass(frozen=True)
class Scenario:
    """Who connects where, what it gets, and all records of it."""

    name: str
    place: str
    host: str
    port: int
    answer: Answer
    records: tuple[str, ...]
    datagram: bool = False


SCENARIOS = (
    Scenario(
        "a ClusterIP: the client's veth has the service, the backend's has both pods",
        *("a", SERVICE, SERVICE_PORT, ANSWERED),
        (f"a from {A} > {SERVICE} 6/80: 1 answered 1", f"b to {A} > {B} 6/8080: 1 answered 1"),
    ),
    Scenario(
        "a pod's own ClusterIP: the backend sees the node",
        *("b", SERVICE, SERVICE_PORT, ANSWERED),
        (f"b from {B} > {SERVICE} 6/80: 1 answered 1", f"b to {NODE_ADDRESS} > {B} 6/8080: 1 answered 1"),
    ),
    Scenario(
        "a ClusterIP of datagrams",
        *("a", SERVICE, DNS_PORT, ANSWERED),
        (f"a from {A} > {SERVICE} 17/53: 1 answered 1", f"b to {A} > {B} 17/5353: 1 answered 1"),
        datagram=True,
    ),
    Scenario(
        "a NodePort, Cluster: the backend sees the node",
        *(OUTSIDE, NODE_ADDRESS, NODE_PORT, ANSWERED),
        (f"b to {NODE_ADDRESS} > {B} 6/8080: 1 answered 1",),
    ),
    Scenario(
        "a NodePort, Local: the backend sees the client",
        *(OUTSIDE, NODE_ADDRESS, LOCAL_NODE_PORT, ANSWERED),
        (f"b to {OUTSIDE_CLIENT} > {B} 6/8080: 1 answered 1",),
    ),
    Scenario(
        "the outside, masqueraded",
        *("a", OUTSIDE_ADDRESS, 443, ANSWERED),
        (f"a from {A} > {OUTSIDE_ADDRESS} 6/443: 1 answered 1",),
    ),
    Scenario(
        "a process of the node, as the kubelet's probe is",
        *(NODE, B, BACKEND_PORT, ANSWERED),
        (f"b to {NODE_ADDRESS} > {B} 6/8080: 1 answered 1",),
    ),
    Scenario(
        "a closed port of the node",
        *("a", NODE_ADDRESS, 10250, REFUSED),
        (f"a from {A} > {NODE_ADDRESS} 6/10250: 1 refused 1",),
    ),
    Scenario(
        "dropped by the old engine: the other pod sees nothing",
        *("a", C, DROPPED, SILENT),
        (f"a from {A} > {C} 6/9090: 1",),
    ),
    Scenario(
        "allowed by the old engine's exception",
        *("b", C, DROPPED, ANSWERED),
        (f"b from {B} > {C} 6/9090: 1 answered 1", f"c to {B} > {C} 6/9090: 1 answered 1"),
    ),
    Scenario(
        "rejected by an ICMP error of the node",
        *("a", C, REJECTED, REFUSED),
        (f"a from {A} > {C} 6/9091: 1", f"a to ICMP_ERROR {NODE_ADDRESS} > {A} 1/{PORT_UNREACHABLE}: 1"),
    ),
    Scenario(
        "rejected by a reset of the node",
        *("a", C, RESET, REFUSED),
        (f"a from {A} > {C} 6/9092: 1 refused 1",),
    ),
    Scenario(
        "an open port of a pod",
        *("a", C, OPEN, ANSWERED),
        (f"a from {A} > {C} 6/7000: 1 answered 1", f"c to {A} > {C} 6/7000: 1 answered 1"),
    ),
    Scenario(
        "a closed port of a pod: the pod itself refuses",
        *("a", C, CLOSED, REFUSED),
        (f"a from {A} > {C} 6/7001: 1 refused 1", f"c to {A} > {C} 6/7001: 1 refused 1"),
    ),
    Scenario(
        "a closed port for datagrams",
        *("a", B, CLOSED, REFUSED),
        (
            f"a from {A} > {B} 17/7001: 1",
            f"a to ICMP_ERROR {B} > {A} 1/{PORT_UNREACHABLE}: 1",
            f"b from ICMP_ERROR {B} > {A} 1/{PORT_UNREACHABLE}: 1",
            f"b to {A} > {B} 17/7001: 1",
        ),
        datagram=True,
    ),
    Scenario(
        "over a bridge",
        *("d", E, OPEN, ANSWERED),
        (f"d from {D} > {E} 6/7000: 1 answered 1", f"e to {D} > {E} 6/7000: 1 answered 1"),
    ),
    Scenario(
        "dropped by the old engine on a bridge",
        *("d", E, DROPPED, SILENT),
        (f"d from {D} > {E} 6/9090: 1",),
    ),
    Scenario(
        "IPv6 between routed pods",
        *("a", B_6, BACKEND_PORT, ANSWERED),
        (f"a from {A_6} > {B_6} 6/8080: 1 answered 1", f"b to {A_6} > {B_6} 6/8080: 1 answered 1"),
    ),
    Scenario(
        "IPv6 from a bridge to a routed pod",
        *("d", B_6, BACKEND_PORT, ANSWERED),
        (f"d from {D_6} > {B_6} 6/8080: 1 answered 1", f"b to {D_6} > {B_6} 6/8080: 1 answered 1"),
    ),
    Scenario(
        "a ClusterIP of IPv6",
        *("a", SERVICE_6, SERVICE_PORT, ANSWERED),
        (f"a from {A_6} > {SERVICE_6} 6/80: 1 answered 1", f"b to {A_6} > {B_6} 6/8080: 1 answered 1"),
    ),
    Scenario(
        "a pod's own ClusterIP of IPv6",
        *("b", SERVICE_6, SERVICE_PORT, ANSWERED),
        (f"b from {B_6} > {SERVICE_6} 6/80: 1 answered 1", f"b to {BRIDGE_6} > {B_6} 6/8080: 1 answered 1"),
    ),
    Scenario(
        "dropped by the old engine, IPv6",
        *("a", C_6, DROPPED, SILENT),
        (f"a from {A_6} > {C_6} 6/9090: 1",),
    ),
)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Following]:
    """A lab with servers whose five pods are watched."""
    with Lab() as lab:
        for place, *ports in (("b", BACKEND_PORT), ("c", DROPPED, OPEN), ("e", DROPPED, OPEN), (OUTSIDE, 443)):
            for port in ports:
                lab.serve(str(place), int(port))
        lab.serve("b", DNS_BACKEND_PORT, datagrams=True)
        probe = open_libbpf_probe(objects(), SMALL, bpffs=None)
        try:
            probe.set_control(Control.DEADLINE, NEVER)
            with following(lab, probe, Path(tmp_path_factory.mktemp("scenarios"), "audit.db")) as running:
                running.wait_until(lambda: running.follower.watched == len(lab.pods))
                yield running
        finally:
            probe.remove()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_records_of(followed: Following, scenario: Scenario) -> None:
    followed.forget()

    if scenario.datagram:
        answer = followed.lab.ask(scenario.place, scenario.host, scenario.port)
    else:
        source = OUTSIDE_CLIENT if scenario.place == OUTSIDE else ""
        answer = followed.lab.connect(scenario.place, scenario.host, scenario.port, source=source)

    assert answer is scenario.answer
    assert followed.records() == sorted(scenario.records)


def test_every_pod_has_its_name(followed: Following) -> None:
    followed.check()

    named = followed.told("SELECT name, pod, found_by FROM veth ORDER BY name")
    assert [(name, pod) for name, pod, _ in named] == [
        *(("calia", "a"), ("calib", "b"), ("calic", "c")),
        *(("vethd", "d"), ("vethe", "e")),
    ]
