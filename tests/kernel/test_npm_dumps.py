"""Dumps of nodes with Azure NPM, loaded again: packets do what the evaluator and the simulator of NPM say."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import product
from pathlib import Path

import pytest

from migrate.model.documents import SimulatedFlow
from migrate.model.flow import Flow
from migrate.model.flow import Packet as FlowPacket
from migrate.model.raw import RawObject
from migrate.nodes.netfilter.evaluator import NodeFilter
from migrate.nodes.netfilter.passing import Packet
from migrate.scan.files import read_files
from migrate.sources.cases import Case
from migrate.sources.cluster import read_cluster
from migrate.sources.node.ipset_save import read_ipset_save
from migrate.sources.node.iptables_save import read_iptables_save
from migrate.verify.question_ends import Directory, Scene
from migrate.verify.simulation import simulate_case
from tests.kernel.filter_lab import LAST_ONE, LEFT, Router, Sent, router
from tests.kernel.packets import ICMP, SCTP, TCP, UDP
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

_CASES = Path("tests/cases/azure")
_DUMPS = _CASES / "linux-npm"
_PODS = ("10.244.1.10", "10.244.1.11", "10.244.2.11", "10.244.2.20", "10.244.2.21", "10.244.0.5")
_SOURCES = (*_PODS, "203.0.113.7", "10.224.0.5", "10.20.1.1", "10.244.9.9")
_PLATFORM = "168.63.129.16"
"""Azure's own services: the node has a rule of its own for them, behind NPM's."""
_DESTINATIONS = (*_PODS, "203.0.113.7", "10.224.0.5", "10.20.1.1", "10.30.1.1", "10.30.5.1", "10.30.6.1", _PLATFORM)
_PORTS = {
    TCP: (53, 80, 443, 8080, 8081, 9089, 9090, 9092, 9093, 9191),
    UDP: (53, 123, 8080),
    SCTP: (8080,),
    ICMP: (8,),
}
_THREE = ("policies.yaml",)
_FOUR = ("policies.yaml", "linux-only.yaml", "linux-rejected.yaml")


@dataclass(frozen=True, slots=True)
class Asked:
    """A flow as the simulator sees it, and its first packet."""

    flow: Flow
    packet: Packet

    def __str__(self) -> str:
        return str(self.flow)

    @property
    def to_platform(self) -> bool:
        """Whether the node's own rule for Azure's services is about it."""
        to = (str(self.packet.destination), self.packet.protocol, self.packet.destination_port)
        return to == (_PLATFORM, TCP, 80)


@pytest.fixture(autouse=True)
def _needs_the_programs() -> None:
    require(os.geteuid() == 0, "root")
    require(shutil.which("ipset") is not None, "ipset")
    require(shutil.which("iptables-legacy-restore") is not None, "iptables")


@pytest.fixture
def lab() -> Iterator[Router]:
    """A router without rules."""
    with router() as made:
        yield made


@pytest.mark.parametrize("naming", ["hash-sha256", "hash-fnv32"])
@pytest.mark.parametrize(
    ("begin", "policies"), [("", _THREE), ("with-linux-only.", _FOUR)], ids=["three policies", "all policies"]
)
def test_packets_evaluator_and_simulator_agree(
    lab: Router, naming: str, begin: str, policies: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _DUMPS / naming
    asked = list(_asked(_objects(policies)))
    seen = _fates(lab, folder, begin, asked)
    said = _simulated(_objects(policies))
    with capsys.disabled():
        print(f"\n{len(asked)} flows, {sum(seen)} of them get through")
    assert [str(one) for one, there, word in zip(asked, seen, said, strict=True) if there is not word] == []
    assert 0 < sum(seen) < len(seen)


def test_what_drifted_is_what_the_drift_explains(lab: Router, capsys: pytest.CaptureFixture[str]) -> None:
    objects = _objects(_THREE)
    asked = list(_asked(objects))
    seen = _fates(lab, _DUMPS / "drift", "", asked)
    should = _simulated(objects)
    drifted = _simulated(_drifted(objects))
    explained = [word and not one.to_platform for one, word in zip(asked, drifted, strict=True)]
    with capsys.disabled():
        print(f"\n{len(asked)} flows, {sum(a is not b for a, b in zip(seen, should, strict=True))} drifted")
    assert [str(one) for one, there, word in zip(asked, seen, explained, strict=True) if there is not word] == []
    different = [one for one, there, word in zip(asked, seen, should, strict=True) if there is not word]
    for cause in (_from_frontend, _to_backend, _to_other_backend):
        assert any(cause(one) for one in different)
    assert all(_from_frontend(o) or _to_backend(o) or _to_other_backend(o) or o.to_platform for o in different)


def test_a_node_without_policies_lets_everything_through(lab: Router) -> None:
    asked = list(_asked(_objects(())))
    folder = _DUMPS / "hash-sha256"
    lab.do("iptables-nft-restore", text=(folder / "no-policies.iptables-save.txt").read_text())
    rules = NodeFilter(lab.rules(), lab.sets(), lab.host)
    for one, there in zip(asked, lab.arrived(Sent(one.packet) for one in asked), strict=True):
        assert there is not one.to_platform, str(one)
        assert there is (rules.judge(one.packet).verdict == "allow"), str(one)


def test_of_ipv6_a_dump_without_its_rules_says_nothing() -> None:
    folder = _DUMPS / "hash-sha256"
    rulesets = [read_iptables_save((folder / "iptables-save.txt").read_bytes(), "iptables-save.txt")]
    packet = Packet(ip_address("fd00::1"), ip_address("fd00::2"), TCP, destination_port=80)
    judged = NodeFilter(rulesets, families=frozenset({4})).judge(packet)
    assert judged.verdict == "unknown"
    assert judged.doubts == ("the dump has no rules of IPv6",)


def _fates(lab: Router, folder: Path, begin: str, asked: list[Asked]) -> list[bool]:
    """What becomes of the flows' first packets in the kernel, which is what the evaluator says of the dump's files."""
    lab.do("ipset", "restore", text=(folder / f"{begin}ipset-save.txt").read_text())
    rulesets = []
    for program, name in (("nft", "iptables-save.txt"), ("legacy", "iptables-legacy-save.txt")):
        path = folder / f"{begin}{name}"
        if path.exists():
            text = path.read_text().replace("COMMIT", f"-I FORWARD -d {LAST_ONE} -j ACCEPT\nCOMMIT")
            lab.do(f"iptables-{program}-restore", text=text)
            rulesets.append(read_iptables_save(path.read_bytes(), str(path)))
    sets = folder / f"{begin}ipset-save.txt"
    rules = NodeFilter(rulesets, read_ipset_save(sets.read_bytes(), str(sets)))
    judged = [rules.judge(one.packet).verdict for one in asked]
    assert set(judged) <= {"allow", "deny"}
    arrived = lab.arrived(Sent(one.packet) for one in asked)
    wrong = [
        str(one) for one, there, word in zip(asked, arrived, judged, strict=True) if there is not (word == "allow")
    ]
    assert wrong == []
    return arrived


def _objects(policies: tuple[str, ...]) -> tuple[RawObject, ...]:
    folder = _CASES / "policies"
    return tuple(read_files([str(folder / name) for name in ("cluster.yaml", *policies)], None).objects)


def _asked(objects: tuple[RawObject, ...]) -> Iterator[Asked]:
    """Every flow between two ends; each from a port of its own."""
    directory = Directory(Scene(read_cluster(objects, complete=True)))
    port = 20_000
    for source, destination in product(_SOURCES, _DESTINATIONS):
        if source == destination:
            continue
        ends = [directory.member_at(ip_address(address)).end for address in (source, destination)]
        for protocol, numbers in _PORTS.items():
            for number in numbers:
                port += 1
                flow = Flow(ends[0], ends[1], FlowPacket(protocol, number, 0 if protocol == ICMP else port))
                yield Asked(flow, _packet(flow, port))


def _packet(flow: Flow, port: int) -> Packet:
    asked = flow.packet
    icmp = (asked.port, 0) if asked.protocol == ICMP else None
    return Packet(
        flow.source.address,
        flow.destination.address,
        asked.protocol,
        source_port=port,
        destination_port=None if icmp else asked.port,
        icmp=icmp,
        came_by=LEFT,
    )


def _simulated(objects: tuple[RawObject, ...]) -> list[bool]:
    """Whether NPM lets each flow through that `_asked` gives, by what the simulator knows of it."""
    policies = tuple(raw for raw in objects if raw.ref.kind == "NetworkPolicy")
    case = Case("npm", read_cluster(objects, complete=True), policies, tuple(one.flow for one in _asked(objects)))
    done = simulate_case(case, "npm", 20)
    assert done.left_out == ()
    return [_allowed(flow) for flow in done.flows]


def _allowed(flow: SimulatedFlow) -> bool:
    assert flow.verdict in {"allow", "deny"}
    return flow.verdict == "allow"


def _drifted(objects: tuple[RawObject, ...]) -> tuple[RawObject, ...]:
    """Objects that say what the rules with the drift say: a policy is missing, a port is another, and a pod is not
    in the set of its label. A policy too many with no rule of its own, a member that no pod has, and empty chains of
    the other backend change nothing."""
    folder = _CASES / "policies"
    text = "\n---\n".join((folder / name).read_text() for name in ("cluster.yaml", "policies.yaml"))
    documents = [part for part in text.split("\n---\n") if "name: frontend-egress" not in part]
    changed = [
        part.replace("port: 8080}", "port: 8081}") if "name: backend-ingress" in part else part for part in documents
    ]
    changed = [part.replace("app: backend, ", "") if "name: backend-1" in part else part for part in changed]
    assert len(documents) == len(objects) - 1
    assert changed != documents
    return tuple(read_files(["-"], io.BytesIO("\n---\n".join(changed).encode())).objects)


def _from_frontend(one: Asked) -> bool:
    return str(one.packet.source) == "10.244.1.10"


def _to_backend(one: Asked) -> bool:
    return str(one.packet.destination) == "10.244.1.11" and one.packet.destination_port in {8080, 8081}


def _to_other_backend(one: Asked) -> bool:
    return str(one.packet.destination) == "10.244.2.11"
