"""Random clusters after the cutover: Hubble tells what Cilium's own engine does; exactly what differs is found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import pytest

from migrate.audit.judge import Judge, Revision
from migrate.audit.replay import Scene
from migrate.cutover.compare import Comparer
from migrate.cutover.meaning import Meaning
from migrate.cutover.observed import Watched
from migrate.cutover.said import Said
from migrate.evidence import hubble
from migrate.futures import engine_over
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NAMES, End, EndKind, Flow
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.translate.profiles import load_profile
from migrate.verify.ways import ways_of
from tests.differential.generate import EVERY_DIALECT, Dialect, generate
from tests.differential.harness import Engines, Object, after
from tests.differential.run import TARGETS
from tests.differential.translation import translate_case
from tests.policy_engines import FlowAnswer, PolicyEngine
from tests.reference.cases import Case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = max(1, int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60")) // 60)
FRESH_SEED = drawn_seed()
_ANSWERED = {ICMP: (0, 3, 4, 5, 11, 12, 14), ICMPV6: (*range(1, 5), 129, *range(133, 138))}


@dataclass(frozen=True, slots=True)
class Played:
    """What was predicted, and what the engine does with each flow in reality."""

    flows: tuple[Flow, ...]
    comparer: Comparer
    watched: Watched
    verdicts: list[str]


def play(case: Case, predicted: Sequence[Object], real: Sequence[Object], target: str, engine: PolicyEngine) -> Played:
    """Hubble's lines under the policies that are there, and a comparison with those that were translated."""
    read = read_case(RawObject(cast("dict[str, Json]", after(case, predicted))))
    answers = engine(after(case, real))["flows"]
    lines = [
        json.dumps(line).encode() + b"\n"
        for number, (flow, answer) in enumerate(zip(read.flows, answers, strict=True))
        for line in told(flow, answer, named=number % 2 == 0)
    ]
    watched = Watched()
    watched.take("flows", hubble.read(lines, "flows"))
    policies = [RawObject(cast("dict[str, Json]", item)) for item in predicted]
    built = engine_over("cilium", policies, read.cluster, msgspec.structs.replace(load_profile(target), sctp=True))
    meaning = Meaning(Scene(read.cluster), watched.observations.values())
    judge = Judge(Revision("translated", built, ways_of("cilium", {}, policies)), meaning.world.cluster)
    return Played(read.flows, Comparer(judge, meaning, Said()), watched, [one["verdict"] for one in answers])


def told(flow: Flow, answer: FlowAnswer, *, named: bool) -> Iterator[dict[str, object]]:
    """As Hubble tells of a connection: at the source, and where it gets so far, at the destination."""
    if flow.source.kind is EndKind.POD or answer["egress"] != "unenforced":
        yield _line(flow, "EGRESS", answer["egress"], named)
    reached = flow.destination.kind is EndKind.POD or answer["ingress"] != "unenforced"
    if answer["egress"] != "deny" and reached:
        yield _line(flow, "INGRESS", answer["ingress"], named)


def _line(flow: Flow, direction: str, word: str, named: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "time": "2026-11-21T10:00:00Z",
        "verdict": "DROPPED" if word == "deny" else "FORWARDED",
        "IP": {"source": str(flow.source.address), "destination": str(flow.destination.address)},
        "l4": _layer(flow),
        "source": _end(flow.source) if named else {},
        "destination": _end(flow.destination) if named else {},
        "node_name": "node-0",
        "event_type": {"type": 5},
        "traffic_direction": direction,
        "is_reply": False,
    }
    if word == "deny":
        found["drop_reason_desc"] = "POLICY_DENIED"
    return {"flow": found}


def _layer(flow: Flow) -> dict[str, object]:
    packet = flow.packet
    if packet.protocol in (ICMP, ICMPV6):
        return {"ICMPv4" if packet.protocol == ICMP else "ICMPv6": {"type": packet.port, "code": packet.code}}
    ports = {"source_port": packet.source_port or 40000, "destination_port": packet.port}
    return {PROTOCOL_NAMES[packet.protocol]: ports}


def _end(end: End) -> dict[str, object]:
    if end.pod is None:
        return {"labels": ["reserved:world"]}
    return {"namespace": end.pod.namespace, "pod_name": end.pod.name}


def _is_told(flow: Flow) -> bool:
    """Whether Hubble has words for it, and a policy judges it."""
    packet = flow.packet
    if packet.protocol in _ANSWERED:
        return packet.port not in _ANSWERED[packet.protocol]
    return PROTOCOL_NAMES.get(packet.protocol) in ("TCP", "UDP", "SCTP")


def cases(dialect: Dialect, target: str, seed: str) -> Iterator[tuple[Case, tuple[Object, ...]]]:
    """Random clusters with what their policies become; only flows that Hubble can tell."""
    prefix = seed if seed == "fixed" else FRESH_SEED
    for number in range(CLUSTERS):
        case = generate(dialect, f"{prefix}-cutover-{number}")
        read = read_case(RawObject(cast("dict[str, Json]", after(case, ()))))
        kept = tuple(told for told, flow in zip(case.flows, read.flows, strict=True) if _is_told(flow))
        case = msgspec.structs.replace(case, flows=kept)
        yield case, translate_case(case, target).objects


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_what_cilium_does_with_its_own_policies_is_as_predicted(
    engines: Engines, dialect: Dialect, target: str, seed: str
) -> None:
    seen: set[str] = set()
    for case, objects in cases(dialect, target, seed):
        played = play(case, objects, objects, target, engines.cilium[target])
        for one in map(played.comparer.compare, played.watched.observations.values()):
            assert one.outcome == "as_predicted", f"{case.name}: {one.example}: {one.outcome} {one.reason}"
            seen.add(one.observed)
    assert seen & {"allowed", "left", "dropped"}


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_a_policy_that_is_not_there_is_found_by_its_flows(engines: Engines, dialect: Dialect, seed: str) -> None:
    missed, target = 0, TARGETS[-1]
    for case, objects in cases(dialect, target, seed):
        engine = engines.cilium[target]
        for gone in range(len(objects)):
            real = (*objects[:gone], *objects[gone + 1 :])
            found = differences_are_found(case, objects, real, target, engine)
            missed += found + differences_are_found(case, real, objects, target, engine)
            if found:
                break
        missed += differences_are_found(case, objects, changed(objects), target, engine)
    assert missed or seed == "fresh"


def changed(objects: Sequence[Object]) -> list[Object]:
    """Every policy without the last rule of each list that has several."""
    made = []
    for one in objects:
        spec = dict(cast("dict[str, object]", one.get("spec") or {}))
        for name in ("ingress", "egress"):
            rules = spec.get(name)
            if isinstance(rules, list) and len(rules) > 1:
                spec[name] = rules[:-1]
        made.append({**one, "spec": spec} if "spec" in one else one)
    return made


def differences_are_found(
    case: Case, predicted: Sequence[Object], real: Sequence[Object], target: str, engine: PolicyEngine
) -> int:
    """How many flows come out otherwise than predicted: exactly those are missed, each in its way."""
    before = [answer["verdict"] for answer in engine(after(case, predicted))["flows"]]
    played = play(case, predicted, real, target, engine)
    classes = {
        (*seen.ends[:2], *seen.ends[4:]): played.comparer.compare(seen).outcome
        for seen in played.watched.observations.values()
    }
    missed = 0
    for flow, was, now in zip(played.flows, before, played.verdicts, strict=True):
        packet = flow.packet
        icmp = (packet.port, packet.code) if packet.protocol in (ICMP, ICMPV6) else None
        key = (flow.source.address, flow.destination.address, packet.protocol, 0 if icmp else packet.port, icmp)
        outcome = classes.get(key)
        if outcome is None:
            continue
        wanted = "as_predicted" if was == now else "missed_drop" if now == "deny" else "missed_allow"
        assert outcome == wanted, f"{case.name}: {flow}: {outcome}, {was} was predicted and the engine says {now}"
        missed += wanted != "as_predicted"
    return missed
