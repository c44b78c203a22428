"""The plain evaluator of NetworkPolicy and two real engines agree on random clusters, but for what is known.

So a difference that the translation tests find is one of the translation, not of their judge.
"""

from __future__ import annotations

import os

import msgspec
import pytest

from tests.differential.clusters import Traits
from tests.differential.flows import VXLAN
from tests.differential.generate import generate
from tests.differential.harness import Engines, Object, answers
from tests.reference import kubernetes
from tests.reference.cases import Answer, Case, Directory, Flow, own_node
from tests.reference.network_policy import read_policies

pytestmark = pytest.mark.engine

CLUSTERS = int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60")) // 2
TRAITS = Traits(families="dual", inside=0.3, names=0.3, ignored=0.0, exotic=0.0)


def _wrong(case: Case, said: list[Answer], real: list[Answer]) -> list[str]:
    """Flows with different verdicts.

    Apart from those of a pod to its own node, which both engines stop, and VXLAN, which Calico lets no pod send.
    """
    directory = Directory(case)
    return [
        f"{case.name}: {flow}: {ours}, engine {theirs}"
        for flow, ours, theirs in zip(case.flows, said, real, strict=True)
        if ours.verdict != theirs.verdict and flow.port != VXLAN and not _to_own_node(directory, flow)
    ]


def _to_own_node(directory: Directory, flow: Flow) -> bool:
    source, destination = directory.parties(flow)
    return source.pod is not None and own_node(source, destination)


def _without_excluded_rules(case: Case) -> Case:
    """Cilium takes rules that policyTypes leave out as if they were not."""
    kept: list[Object] = []
    for item, policy in zip(case.policies, read_policies(case.policies), strict=True):
        spec = item["spec"]
        assert isinstance(spec, dict)
        gone = [kind.lower() for kind in ("Ingress", "Egress") if kind not in policy.spec.directions()]
        kept.append({**item, "spec": {key: value for key, value in spec.items() if key not in gone}})
    return msgspec.structs.replace(case, policies=tuple(kept))


def test_calico_agrees_when_blocks_cover_the_cluster(engines: Engines) -> None:
    wrong: list[str] = []
    for seed in range(CLUSTERS):
        case = generate("kubernetes", f"reference-{seed}", traits=TRAITS)
        said = kubernetes.evaluate(case, block_covers_cluster=True)
        wrong += _wrong(case, said, answers(engines.calico(case.document())))
    assert not wrong, "\n".join(wrong[:20])


def test_cilium_agrees_when_blocks_are_the_outside(engines: Engines) -> None:
    wrong: list[str] = []
    for seed in range(CLUSTERS):
        case = _without_excluded_rules(generate("kubernetes", f"reference-{seed}", traits=TRAITS))
        said = kubernetes.evaluate(case, block_covers_cluster=False)
        wrong += _wrong(case, said, answers(engines.cilium["cilium-1.20"](case.document())))
    assert not wrong, "\n".join(wrong[:20])
