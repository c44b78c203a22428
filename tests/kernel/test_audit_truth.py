"""Real traffic of the lab, audited, against Cilium's own engine: no false would-be drop, and none missed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from migrate.model.raw import Json
from tests.command_line import migrate
from tests.kernel.audited_lab import NODE_NAME, OTHER_POLICIES, auditing, policy, working_folder
from tests.kernel.kube_lab import (
    BACKEND_PORT,
    LOCAL_NODE_PORT,
    NODE,
    NODE_ADDRESS,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    OUTSIDE_CLIENT,
    SERVICE,
    SERVICE_PORT,
    Answer,
    Lab,
)
from tests.kernel.lab import unmount
from tests.policy_engines import PolicyEngine

pytestmark = [pytest.mark.kernel, pytest.mark.engine]

PORTS = (7000, 7001)
_OF = {name: {"matchLabels": {"app": name}} for name in "abcde"}
_TCP_7000: dict[str, Json] = {"toPorts": [{"ports": [{"port": "7000", "protocol": "TCP"}]}]}
_TCP_443: dict[str, Json] = {"toPorts": [{"ports": [{"port": "443", "protocol": "TCP"}]}]}


def _policies() -> list[dict[str, Json]]:
    """Rules by labels, ports, entities and CIDRs, denials, and pods that no policy selects in a direction."""
    to_outside: dict[str, Json] = {"toCIDR": [f"{OUTSIDE_ADDRESS}/32"], **_TCP_443}
    cidr = {"cidr": "198.51.100.0/24", "except": ["198.51.100.128/25"]}
    return [
        policy("a", "a", {"egress": [{"toEndpoints": [_of("b"), _of("c")]}, to_outside]}),
        policy("b", "b", {"ingress": [{"fromEndpoints": [_of("a")], **_TCP_7000}, {"fromCIDRSet": [_json(cidr)]}]}),
        policy(
            "c",
            "c",
            {"ingress": [{"fromEntities": ["cluster"]}], "ingressDeny": [{"fromEndpoints": [_of("d")], **_TCP_7000}]},
        ),
        policy("d", "d", {"egress": [{"toEntities": ["world"]}, {"toEndpoints": [_of("e")]}]}),
        policy("e", "e", {"ingress": [{"fromEntities": ["host"]}, {"fromEndpoints": [_of("d")], **_TCP_7000}]}),
    ]


def _of(name: str) -> Json:
    return _json(_OF[name])


def _json(value: object) -> Json:
    made: Json = json.loads(json.dumps(value))
    return made


class Call(NamedTuple):
    """A connection: who dials what, and who it is for, as people and as the engine name them."""

    place: str
    host: str
    port: int
    protocol: str
    source: dict[str, str]
    target: dict[str, str]
    target_port: int

    @property
    def record(self) -> tuple[str, str, str, int]:
        """Where the audit has it: at the pod that calls, else at the one that is called."""
        if "pod" in self.source:
            return self.place, self.host, self.protocol, self.port
        address = OUTSIDE_CLIENT if self.place == OUTSIDE else NODE_ADDRESS
        return address, self.target["pod"].removeprefix("shop/").removesuffix("-0"), self.protocol, self.target_port


def _pod(name: str) -> dict[str, str]:
    return {"pod": f"shop/{name}-0"}


def _calls(lab: Lab) -> Iterator[Call]:
    """Every pod to every other one; the Service; the outside; from the node, and from outside by a node port."""
    for one in lab.pods.values():
        for other in lab.pods.values():
            if one.name == other.name:
                continue
            for port in PORTS:
                for protocol in ("TCP", "UDP"):
                    yield Call(one.name, other.address, port, protocol, _pod(one.name), _pod(other.name), port)
        if one.name != "b":
            yield Call(one.name, SERVICE, SERVICE_PORT, "TCP", _pod(one.name), _pod("b"), BACKEND_PORT)
        for port in (443, 444):
            yield Call(one.name, OUTSIDE_ADDRESS, port, "TCP", _pod(one.name), {"ip": OUTSIDE_ADDRESS}, port)
    for name in "abc":
        for port in PORTS:
            yield Call(NODE, lab.pods[name].address, port, "TCP", {"node": NODE_NAME}, _pod(name), port)
    yield Call(OUTSIDE, NODE_ADDRESS, LOCAL_NODE_PORT, "TCP", {"ip": OUTSIDE_CLIENT}, _pod("b"), BACKEND_PORT)


def _by_engine(engine: PolicyEngine, lab: Lab, calls: list[Call], policies: list[dict[str, Json]]) -> list[str]:
    """Cilium's verdicts."""
    pods = [
        {"namespace": "shop", "name": f"{name}-0", "labels": {"app": name}, "ips": [pod.address], "node": NODE_NAME}
        for name, pod in lab.pods.items()
    ]
    flows = [
        {"src": call.source, "dst": call.target, "protocol": call.protocol, "port": call.target_port} for call in calls
    ]
    answer = engine(
        {
            "namespaces": [{"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}],
            "nodes": [{"name": NODE_NAME, "ips": [NODE_ADDRESS]}],
            "pods": pods,
            "policies": policies,
            "flows": flows,
        }
    )
    assert all(one["ok"] for one in answer["policies"]), answer["policies"]
    return [one["verdict"] for one in answer["flows"]]


def _by_audit(folder: Path) -> dict[tuple[str, str, str, int], set[str]]:
    """What the audit says of each record."""
    ended = migrate(folder, "audit", "export", "--dir", ".", *OTHER_POLICIES)
    assert ended.status == 0, ended.stderr
    found: dict[tuple[str, str, str, int], set[str]] = {}
    for row in map(json.loads, ended.stdout.splitlines()):
        source, destination = row["source"], row["destination"]
        ends = (source["name"].removesuffix("-0"), destination["address"])
        if row["direction"] == "ingress":
            ends = (source["address"], destination["name"].removesuffix("-0"))
        found.setdefault((*ends, row["protocol"], row["port"]), set()).add(row["verdict"])
    return found


def test_would_be_drops_are_those_of_cilium(cilium_engine_120: PolicyEngine, tmp_path: Path) -> None:
    bpffs = tmp_path / "bpf"
    bpffs.mkdir()
    with Lab() as lab:
        for name in lab.pods:
            for port in PORTS:
                lab.serve(name, port)
                lab.serve(name, port, datagrams=True)
        lab.serve("b", BACKEND_PORT)
        for port in (443, 444):
            lab.serve(OUTSIDE, port)
        policies, calls = _policies(), list(_calls(lab))
        expected = _by_engine(cilium_engine_120, lab, calls, policies)
        working_folder(tmp_path, lab, policies)
        try:
            with auditing(lab, tmp_path, bpffs, "1h", *OTHER_POLICIES, "--target", "cilium-1.20") as audit:
                audit.wait_until_watching(len(lab.pods))
                for call in calls:
                    source = OUTSIDE_CLIENT if call.place == OUTSIDE else ""
                    if call.protocol == "UDP":
                        answer = lab.ask(call.place, call.host, call.port)
                    else:
                        answer = lab.connect(call.place, call.host, call.port, source=source)
                    assert answer is Answer.ANSWERED, call
                audit.signal(signal.SIGTERM)
                status, _, stderr = audit.end()
            assert status == 1, stderr
        finally:
            unmount(bpffs)

    said = _by_audit(tmp_path)
    word = {"allow": {"would_allow"}, "deny": {"would_drop"}}
    wrong = [
        (call.record, said.get(call.record), verdict)
        for call, verdict in zip(calls, expected, strict=True)
        if said.get(call.record) != word[verdict]
    ]
    assert wrong == []
    assert {"allow", "deny"} == set(expected)
    assert len({call.record for call in calls}) == len(calls) > 90
