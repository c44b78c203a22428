"""Rules that NPM programs for random policies, as worked out for the drift of nodes, decide as NPM does.

Two statements of what NPM is are held against each other: the rules and sets that a node should have, put to packets
by the evaluator of netfilter, and the reference evaluator, which knows neither chains nor sets.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.model.finding import Finding
from migrate.nodes.netfilter.evaluator import NodeFilter
from migrate.nodes.netfilter.passing import Packet
from migrate.nodes.npm.expected import expectations
from migrate.nodes.npm.names import Scheme
from tests.differential.translation import cluster_objects
from tests.reference import npm
from tests.reference.cases import Case, Directory, Flow, own_node, same_pod
from tests.simulate.languages import npm_case
from tests.unit.npm_node import RULES, SETS, dump_of, findings, scanned
from tests.unit.npm_written import Written

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1}
_ECHO = 8
_ROUNDS = 3
_CASES = 12


def packets(case: Case) -> Iterator[tuple[Flow, Packet, str]]:
    """The flows that a node forwards, and what NPM does with them."""
    directory = Directory(case)
    for flow, answer in zip(case.flows, npm.evaluate(case), strict=True):
        source, destination = directory.parties(flow)
        forwarded = not same_pod(source, destination) and not own_node(source, destination)
        protocol = _PROTOCOLS.get(flow.protocol)
        if not forwarded or protocol is None or source.address.version == 6:
            continue
        if protocol == 1 and flow.port != _ECHO:
            continue
        ports = (None, None) if protocol == 1 else (flow.src_port or 40000, flow.port)
        icmp = (_ECHO, 0) if protocol == 1 else None
        packet = Packet(
            source.address,
            destination.address,
            protocol,
            source_port=ports[0],
            destination_port=ports[1],
            icmp=icmp,
            came_by="left0",
            leaves_by="right0",
        )
        yield flow, packet, answer.verdict


def said_of(case: Case, folder: Path, scheme: Scheme) -> tuple[list[Finding], Counter[str]]:
    """What is said of a node that has what it should, and how many packets were let through and dropped."""
    objects = [*cluster_objects(case), *case.policies]
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    view = scanned(folder, folder / "case.json")
    written = Written(expectations(view), scheme, random.Random(case.name))
    dump = dump_of(folder, {RULES: written.rules(), SETS: written.sets()})
    rules = NodeFilter(dump.rulesets, dump.sets, families=frozenset({4}))
    judged: Counter[str] = Counter()
    for flow, packet, verdict in packets(case):
        judgement = rules.judge(packet)
        assert judgement.verdict == verdict, (case.name, str(flow), judgement)
        judged[verdict] += 1
    return findings(dump, view), judged


@pytest.mark.parametrize("round_", range(_ROUNDS))
def test_expected_rules_decide_as_npm_does(round_: int, tmp_path: Path) -> None:
    judged: Counter[str] = Counter()
    for number in range(_CASES):
        case = npm_case(f"node/{round_}/{number}")
        scheme = list(Scheme)[number % 2]
        found, more = said_of(case, tmp_path / str(number), scheme)
        assert {each.id for each in found} <= {"NODE-NPM-REFUSED"}, (case.name, found)
        judged += more
    assert min(judged["allow"], judged["deny"]) > _CASES
