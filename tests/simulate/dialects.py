"""The dialects, each with cases of its own, the program's model and the engine whose word counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Decision, Engine
from migrate.sources import cases as read_cases
from migrate.sources.cases import read_case
from migrate.sources.cilium_engine import CiliumEngine
from migrate.sources.npm_engine import NpmLinuxEngine
from migrate.verify.engines import build_engine
from migrate.verify.simulate import Simulator
from tests.differential.harness import answers
from tests.policy_engines import EngineAnswer, PolicyEngine
from tests.reference import kubernetes, npm
from tests.reference.cases import Answer, Case, Directory, own_node
from tests.reference.network_policy import read_policies
from tests.simulate.calico_staged import as_if_enforced
from tests.simulate.languages import calico_case, cilium_case, kubernetes_case, npm_case

_AGENT_FLAGS = {
    "allowLocalhost": "allow-localhost",
    "clusterName": "cluster-name",
    "enablePolicy": "enable-policy",
    "extendedIPProtocols": "enable-extended-ip-protocols",
    "icmpRules": "enable-icmp-rules",
    "ipv4": "enable-ipv4",
    "ipv6": "enable-ipv6",
    "l7Proxy": "enable-l7-proxy",
    "k8sClusterNetworkPolicy": "enable-k8s-cluster-network-policy",
    "labels": "labels",
    "nodeSelectorLabels": "enable-node-selector-labels",
    "nonDefaultDeny": "enable-non-default-deny-policies",
    "policyCIDRMatchMode": "policy-cidr-match-mode",
    "policyDefaultLocalCluster": "policy-default-local-cluster",
    "sctp": "enable-sctp",
}
"""The names that the engine programs give to the agent's flags."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine says of a case: both words of each flow, and the policies that it does not take.

    `decisions` are those of both ends, for the model only. A flow's answer is None where it is not asked.
    """

    answers: tuple[Answer | None, ...]
    refused: frozenset[str] = frozenset()
    decisions: tuple[tuple[Decision | None, Decision | None], ...] = ()


Speaker = Callable[[Case], Said]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A policy language as one engine takes it. `needs` is the folder of the real engine's program, if it has one."""

    name: str
    case: Callable[[str], Case]
    model: Speaker
    truth: Callable[[PolicyEngine | None], Speaker]
    needs: str = ""


def model(name: str, release: int = 0) -> Speaker:
    """The program's own engine of that name. Raises ValueError for a case that it cannot wholly read."""

    def say(case: Case) -> Said:
        read = read_case(RawObject(cast("dict[str, Json]", case.document())))
        engine = _cilium(read, release) if name == "cilium" else _built(name, read)
        if engine.unknown:
            raise ValueError(f"{case.name}: the model cannot judge {'; '.join(map(str, engine.unknown))}")
        simulator = Simulator(engine, read.cluster, hosts=True)
        found = [simulator.answer(flow) for flow in read.flows]
        return Said(
            tuple(Answer(answer.egress.value, answer.ingress.value) for answer in found),
            frozenset(f"{ref.kind} {ref.namespace or ''}/{ref.name}" for ref in _refused(engine)),
            tuple((answer.egress_decision, answer.ingress_decision) for answer in found),
        )

    return say


def _built(name: str, read: read_cases.Case) -> Engine:
    built = build_engine(name, read.policies, read.cluster, read.options if name == "calico" else {})
    left_out = [place for place in built.left_out if place not in built.on_nodes]
    if left_out:
        raise ValueError(f"{read.name}: the model leaves out {'; '.join(map(str, left_out))}")
    return built.engine


def _cilium(read: read_cases.Case, release: int) -> Engine:
    """Cilium's engine with the case's flags, which its program calls by other names."""
    flags = {_AGENT_FLAGS[key]: value for key, value in read.options.items()}
    return build_engine("cilium", read.policies, read.cluster, flags, release).engine


def _refused(engine: Engine) -> Mapping[ObjectRef, str]:
    return engine.refused if isinstance(engine, CiliumEngine | NpmLinuxEngine) else {}


def _program(program: PolicyEngine | None) -> Speaker:
    """A real engine. Raises ValueError for an object that an API server would not have taken."""
    assert program is not None

    def say(case: Case) -> Said:
        document = program(case.document())
        return Said(tuple(answers(document)), frozenset(_refusals(case, document)))

    return say


def _refusals(case: Case, document: EngineAnswer) -> list[str]:
    found: list[str] = []
    for policy in document["policies"] or ():
        if policy["ok"]:
            continue
        name = f"{policy['kind']} {policy.get('namespace', '')}/{policy['name']}"
        if case.engine != "cilium" or policy.get("error", "").startswith("CRD schema"):
            raise ValueError(f"{case.name}: {name} is no valid object: {policy.get('error')}")
        found.append(name)
    return found


def _calico(program: PolicyEngine | None) -> Speaker:
    """Calico's program, which knows nothing of staged policies: a case that asks about them is put as if enforced."""
    ask = _program(program)
    return lambda case: ask(as_if_enforced(case) if case.options.get("staged") else case)


def _kubernetes_text(program: PolicyEngine | None) -> Speaker:
    return lambda case: Said(tuple(kubernetes.evaluate(case, block_covers_cluster=True)))


def _kubernetes_in_calico(program: PolicyEngine | None) -> Speaker:
    """Calico's answer where it goes by the API's text: not to the pod's own node, and not for VXLAN."""
    ask = _program(program)

    def say(case: Case) -> Said:
        directory = Directory(case)
        said = ask(case)
        asked = [
            None if own_node(*directory.parties(flow)) or (flow.protocol, flow.port) == ("UDP", 4789) else answer
            for flow, answer in zip(case.flows, said.answers, strict=True)
        ]
        return Said(tuple(asked), said.refused)

    return say


def _npm(program: PolicyEngine | None) -> Speaker:
    def say(case: Case) -> Said:
        refused = [policy.metadata for policy in read_policies(case.policies) if npm.refused(policy)]
        names = frozenset(f"NetworkPolicy {meta.namespace}/{meta.name}" for meta in refused)
        return Said(tuple(npm.evaluate(case)), names)

    return say


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("kubernetes", kubernetes_case, model("kubernetes"), _kubernetes_text),
        Dialect("kubernetes-by-calico", kubernetes_case, model("kubernetes"), _kubernetes_in_calico, "calico"),
        Dialect("npm", npm_case, model("npm"), _npm),
        Dialect("calico", calico_case, model("calico"), _calico, "calico"),
        Dialect("cilium-1.18", lambda seed: cilium_case(seed, 18), model("cilium", 18), _program, "cilium-1.18"),
        Dialect("cilium-1.20", lambda seed: cilium_case(seed, 20), model("cilium", 20), _program, "cilium-1.20"),
    )
}
