"""Host policies over random clusters: Cilium's engines with the host firewall say of nodes what Calico's says.

Apart from what findings declare: Cilium's own traffic between nodes, what pods send to their own node, and peers that
are denied where a finding says so.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import msgspec
import pytest
import yaml

from migrate.model.documents import TranslationResult
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import translate
from migrate.translate.profiles import load_profile
from tests.differential.chance import Chance
from tests.differential.harness import Engines, Object, after, answers, truth
from tests.differential.run import TARGETS, as_json
from tests.differential.translation import cluster_objects
from tests.reference.cases import Case, End, Flow, Namespace, Node, Pod
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = max(15, int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60")) // 2)
FRESH_SEED = drawn_seed()
_V3 = "projectcalico.org/v3"
_OUTSIDE = ("8.8.8.8", "203.0.113.7", "198.51.100.1")
_NETS = ("203.0.113.0/24", "8.8.8.8/32", "0.0.0.0/0", "10.0.0.0/16", "10.1.0.0/24", "10.1.0.2/32")
_SELECTORS = ("all()", "role == 'edge'", "role != 'edge'", "zone in {'a', 'b'}", "has(zone)", "!has(role)")
_PEERS = ("app == 'web'", "app != 'web'", "has(app)", "role == 'edge'")
_TRAFFIC = (
    *(("TCP", port) for port in (22, 80, 443, 6443, 8080, 10250, 2222)),
    *(("UDP", port) for port in (53, 67, 68, 8472)),
    *(("TCP", 4240), ("ICMP", 8), ("SCTP", 80)),
)
_OWN = {("TCP", 4240), ("UDP", 8472), ("ICMP", 8)}


@dataclass(slots=True)
class Total:
    """Flows by what was found; `said` are HostEndpoints for which a policy stands."""

    flows: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)


def drawn(seed: str) -> Case:
    """A cluster with nodes that Calico protects as a whole."""
    chance = Chance(seed)
    nodes = tuple(
        Node(name, (f"10.1.0.{number}",), _labels(chance) | _own_label(chance, name))
        for number, name in enumerate(("n1", "n2", "n3"), start=1)
    )
    pods = tuple(
        Pod("shop", f"{app}-{node.name}", {"app": app}, (f"10.0.{index}.{number}",), node=node.name)
        for index, node in enumerate(nodes)
        for number, app in enumerate(("web", "db"), start=1)
    )
    policies = [_host(chance, node) for node in nodes if chance.happens(0.8)]
    policies += [_policy(chance, f"p{number}") for number in range(chance.pick((0, 1, 1, 2, 3)))]
    if chance.happens(0.3):
        policies.append(_felix(chance))
    return Case(
        name=seed,
        engine="calico",
        namespaces=(Namespace("shop", {"kubernetes.io/metadata.name": "shop"}),),
        pods=pods,
        nodes=nodes,
        policies=tuple(policies),
        flows=tuple(_flows(chance, nodes, pods)),
    )


def _labels(chance: Chance) -> dict[str, str]:
    found = {"role": chance.pick(("edge", "worker"))} if chance.happens(0.8) else {}
    return found | ({"zone": chance.pick(("a", "b"))} if chance.happens(0.5) else {})


def _own_label(chance: Chance, name: str) -> dict[str, str]:
    """The label that Cilium does not read, and mostly one by which it can tell the node from others."""
    return {"kubernetes.io/hostname": name} | ({"rack": f"r-{name}"} if chance.happens(0.8) else {})


def _host(chance: Chance, node: Node) -> Object:
    """A named HostEndpoint with labels of its own, or one as Calico makes it, with the node's."""
    automatic = chance.happens(0.5)
    spec: Object = {"node": node.name, "interfaceName": "*", "expectedIPs": list(node.ips)}
    if automatic:
        spec["profiles"] = ["projectcalico-default-allow"]
    labels = node.labels if automatic else _labels(chance)
    return _object("HostEndpoint", f"{node.name}-auto-hep" if automatic else f"hep-{node.name}", spec, labels)


def _object(kind: str, name: str, spec: Object, labels: dict[str, str] | None = None) -> Object:
    return {"apiVersion": _V3, "kind": kind, "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def _policy(chance: Chance, name: str) -> Object:
    types = chance.pick((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    spec: Object = {"selector": chance.pick(_SELECTORS), "types": types, "order": chance.pick((1, 2))}
    for direction, peer in (("ingress", "source"), ("egress", "destination")):
        if direction.capitalize() in types:
            spec[direction] = [_rule(chance, peer) for _ in range(chance.pick((0, 1, 2)))]
    return _object("GlobalNetworkPolicy", name, spec)


def _rule(chance: Chance, peer: str) -> Object:
    found: Object = {"action": "Deny" if chance.happens(0.03) else "Allow"}
    entity: Object = {}
    if chance.happens(0.4):
        entity["nets"] = [chance.pick(_NETS)]
    elif chance.happens(0.5):
        entity["selector"] = chance.pick(_PEERS)
    if chance.happens(0.7):
        found["protocol"] = chance.pick(("TCP", "UDP", "SCTP"))
        if chance.happens(0.8):
            own = found.setdefault("destination", {}) if peer == "source" else entity
            assert isinstance(own, dict)
            own["ports"] = [chance.pick((80, 443, 10250, "8000:9000", 53))]
    elif chance.happens(0.3):
        found |= {"protocol": "ICMP", "icmp": {"type": 8}}
    return found | ({peer: entity} if entity else {})


def _felix(chance: Chance) -> Object:
    ports = [{"protocol": "tcp", "port": 2222}, {"protocol": "udp", "port": 53, "net": chance.pick(_NETS)}]
    key = chance.pick(("failsafeInboundHostPorts", "failsafeOutboundHostPorts"))
    return _object("FelixConfiguration", "default", {key: ports[: chance.pick((0, 1, 2))]})


def _flows(chance: Chance, nodes: tuple[Node, ...], pods: tuple[Pod, ...]) -> list[Flow]:
    others = [*(End(ip=ip) for ip in _OUTSIDE), *(End(pod=pod.key) for pod in pods)]
    found: list[Flow] = []
    for node in nodes:
        here = End(node=node.name)
        for other in (*others, *(End(node=peer.name) for peer in nodes if peer is not node)):
            for protocol, port in {chance.pick(_TRAFFIC) for _ in range(5)}:
                found += [Flow(other, here, protocol, port), Flow(here, other, protocol, port)]
    return sorted(found, key=str)


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("target", TARGETS)
def test_nodes_are_policed_as_calico_polices_them(engines: Engines, target: str, seed: str) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    total = Total()
    for number in range(CLUSTERS):
        _judge(drawn(f"{prefix}-hosts-{number}"), target, engines, total)
    print(f"seed {prefix}: {dict(total.flows)}; HostEndpoints: {dict(total.said)}")
    assert min(total.flows[word] for word in ("equal, denied", "equal, allowed", "declared")) > 0
    assert min(total.said[word] for word in ("exact", "changed", "unsupported")) > 0


def _judge(case: Case, target: str, engines: Engines, total: Total) -> None:
    raw = [RawObject(cast("dict[str, Json]", item)) for item in [*cluster_objects(case), *case.policies]]
    profile = msgspec.structs.replace(load_profile(target), sctp=True)
    outcome = translate(raw, profile=profile, engines=("calico",), host_policies=True)
    written = [yaml.safe_load(file.text) for file in outcome.files]
    hosts = [item for item in written if "nodeSelector" in item["spec"]]
    results = {r.source.name: r for r in outcome.translation.results if r.source.kind == "HostEndpoint"}
    total.said.update(result.result.value for result in results.values())
    question = after(case, hosts)
    answer = engines.cilium[target](question | {"options": {"hostFirewall": True, "sctp": True}})
    assert [policy for policy in answer["policies"] or () if not policy["ok"]] == []
    by_node = {_node_of(item): results[_name(item)] for item in case.policies if item["kind"] == "HostEndpoint"}
    for flow, was, becomes in zip(case.flows, truth(case, engines), answers(answer), strict=True):
        for node, side in ((flow.src.node, "egress"), (flow.dst.node, "ingress")):
            if node:
                before, now = (getattr(found, side) != "deny" for found in (was, becomes))
                word = _word(case, flow, node, side, before, now, by_node.get(node))
                assert word, f"{case.name}: {flow} {side} {before} becomes {now}: {as_json(case)}\n{hosts}"
                total.flows[word] += 1


def _name(item: Object) -> str:
    return str(cast("dict[str, object]", item["metadata"])["name"])


def _node_of(item: Object) -> str:
    return str(cast("dict[str, object]", item["spec"])["node"])


def _word(
    case: Case, flow: Flow, node: str, side: str, before: bool, now: bool, result: TranslationResult | None
) -> str:
    """How a flow is to be counted; "" for a difference that nothing declares."""
    if before is now:
        return "equal, allowed" if now else "equal, denied"
    if result is None:
        return ""
    ids = {finding.id for finding in result.findings if finding.effect.value != "none"}
    if result.result.value == "unsupported":
        return "declared" if now else ""
    if now:
        other = flow.dst if side == "egress" else flow.src
        if "POL-HOST-NEEDS" not in ids:
            return ""
        if side == "egress" and flow.dst.pod:
            return "declared"
        return "declared" if (flow.protocol, flow.port) in _OWN and other.node else ""
    own_pod = {pod.key for pod in case.pods if pod.node == node}
    if side == "ingress" and flow.src.pod in own_pod:
        return "declared" if "POL-HOST-OWN-PODS" in ids else ""
    return "declared" if ids & {"POL-IPBLOCK-NODES", "POL-IPBLOCK-PODS", "POL-HOSTENDPOINT"} else ""
