"""What `migrate verify` counts, counted again pod by pod with a word of truth for every single flow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import cast

import msgspec

from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NAMES, SCTP, TCP, UDP, Flow, Packet
from migrate.model.raw import Json, RawObject
from migrate.model.ruleset import ends_of
from migrate.sources.cases import read_case
from migrate.verify.engines import Built, build_engine
from migrate.verify.simulate import Simulator
from migrate.verify.verification import State, Wanted, verify
from tests.differential.flows import VXLAN
from tests.reference.cases import Answer as Said
from tests.reference.cases import Case, End
from tests.reference.cases import Flow as AskedFlow

Truth = Callable[[Case], Sequence[Said]]
"""Answers to the flows of a case by something that is not the program."""
_KINDS = {("allow", "deny"): "newly_denied", ("deny", "allow"): "newly_allowed"}
_TYPES = (0, 3, 8, 128, 254)
_FLAGS = {"ipv4": "enable-ipv4", "ipv6": "enable-ipv6"}


@dataclass(frozen=True)
class Policies:
    """A state of a case's cluster: policies under an engine ("cilium-1.18"), and who knows the truth about it."""

    engine: str
    objects: tuple[dict[str, object], ...]
    truth: Truth


def check(case: Case, before: Policies, after: Policies) -> int:
    """Compare verdicts, sides and pairs of pods with what is true of flow by flow. Returns how many flows changed."""
    cluster = read_case(RawObject(cast("dict[str, Json]", case.document()))).cluster
    states = [_state(policies, case, cluster) for policies in (before, after)]
    found = verify(states[0], states[1], cluster, wanted=Wanted(proof="snapshot"))
    assert all("how the release orders" in text for text in found.left_out), found.left_out
    flows = list(_flows(case, cluster))
    simulators = [Simulator(state.built.engine, cluster) for state in states]
    asked = tuple(_asked(flow) for flow in flows)
    said = [policies.truth(_with(case, policies, asked)) for policies in (before, after)]
    pairs: dict[str, set[tuple[Pod, Pod]]] = {"newly_denied": set(), "newly_allowed": set()}
    sides: Counter[tuple[str, str]] = Counter()
    for flow, was, now in zip(flows, *said, strict=True):
        answers = simulators[0].answer(flow), simulators[1].answer(flow)
        assert [answer.verdict for answer in answers] == [was.verdict, now.verdict], flow
        kind = _KINDS.get((was.verdict, now.verdict))
        if kind is not None:
            sides[kind, "egress" if (was.egress == "deny") != (now.egress == "deny") else "ingress"] += 1
            if flow.source.pod is not None and flow.destination.pod is not None:
                pairs[kind].add((flow.source.pod, flow.destination.pod))
    assert (found.newly_denied_pairs, found.newly_allowed_pairs) == tuple(map(len, pairs.values()))
    inside = {(cause.change, cause.side) for cause in found.causes if cause.pod_pairs}
    assert inside <= sides.keys()
    assert sides.keys() <= {(cause.change, cause.side) for cause in found.causes}
    return sum(sides.values())


def _state(policies: Policies, case: Case, cluster: Cluster) -> State:
    name, _, release = policies.engine.partition("-1.")
    flags = {_FLAGS[key]: value for key, value in case.options.items() if key in _FLAGS} if release else {}
    order = {key: value for key, value in case.options.items() if key == "tieBreak"} if name == "calico" else {}
    options = cast("dict[str, Json]", flags | order)
    raw = [RawObject(cast("dict[str, Json]", item)) for item in policies.objects]

    def build(other: Cluster) -> Built:
        return build_engine(name, raw, other, options, int(release or 20))

    return State(policies.engine, build(cluster), build)


def _with(case: Case, policies: Policies, flows: tuple[AskedFlow, ...]) -> Case:
    return msgspec.structs.replace(case, policies=policies.objects, flows=flows)


def _flows(case: Case, cluster: Cluster) -> Iterator[Flow]:
    """Each pair of different pods with each packet beside a border, and pods with nodes both ways."""
    ends = list(ends_of(cluster).values())
    packets = list(_packets(case))
    for source, destination in product(ends, ends):
        version = source.address.version
        if version != destination.address.version or source.pod == destination.pod:
            continue
        for packet in packets:
            if {ICMP: 4, ICMPV6: 6}.get(packet.protocol, version) == version:
                yield Flow(source, destination, packet)


def _packets(case: Case) -> Iterator[Packet]:
    """Both sides of each number in the policies that may be a port, and of each named one; and Calico's own rule."""
    text = str([case.policies, [port.port for pod in case.pods for port in pod.named_ports]])
    written = {int(found) for found in re.findall(r"(?<![\w.:-])\d{1,5}(?![\w.-])", text)}
    written |= {int(found) for pair in re.findall(r"'(\d+):(\d+)'", text) for found in pair}
    near = {number + step for number in written for step in (-1, 0, 1)}
    ports = sorted(number for number in {1, VXLAN, 65535, *near} if 1 <= number <= 65535)
    yield from (Packet(protocol, port) for protocol in (TCP, UDP, SCTP) for port in ports)
    yield from (Packet(protocol, kind) for protocol in (ICMP, ICMPV6) for kind in _TYPES)


def _asked(flow: Flow) -> AskedFlow:
    packet = flow.packet
    source, destination = End(ip=str(flow.source.address)), End(ip=str(flow.destination.address))
    return AskedFlow(source, destination, PROTOCOL_NAMES[packet.protocol], packet.port)
