"""The connectivity matrix against every flow, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Literal, cast

import pytest

from migrate.model.cluster import Cluster
from migrate.model.flow import End, EndKind, Flow
from migrate.model.raw import Json, RawObject
from migrate.model.ruleset import ends_of
from migrate.sources.cases import read_case
from migrate.verify.compare import Comparison
from migrate.verify.engines import build_engine
from migrate.verify.matrix import make_matrix
from migrate.verify.simulate import Simulator
from tests.simulate.languages import kubernetes_case

_ENGINES = ("kubernetes", "cilium")


def _name(end: End, by: str) -> str:
    if end.kind is EndKind.NODE:
        return "nodes"
    assert end.pod is not None
    return end.pod.namespace if by == "namespace" else f"{end.pod.namespace}/Pod/{end.pod.name}"


def _flows(cluster: Cluster, comparison: Comparison) -> Iterator[Flow]:
    """One flow for each pair of ends and atom of packets."""
    for source, destination in product(ends_of(cluster).values(), repeat=2):
        same_family = source.address.version == destination.address.version
        policed = source.pod is not None or destination.pod is not None
        if same_family and policed and source.pod != destination.pod:
            every = comparison.packets.of_family[source.address.version]
            for index, atom in enumerate(comparison.packets.atoms):
                if every >> index & 1:
                    yield Flow(source, destination, atom.packet())


def _letter(said: set[str]) -> str:
    if not said:
        return " "
    return "s" if len(said) == 2 else "a" if said == {"allow"} else "-"


@pytest.mark.parametrize("by", ["namespace", "workload"])
@pytest.mark.parametrize("seed", range(3))
def test_each_letter_sums_up_all_its_flows(seed: int, by: Literal["namespace", "workload"]) -> None:
    case = read_case(RawObject(cast("dict[str, Json]", kubernetes_case(f"matrix-{seed}").document())))
    engines = [build_engine(name, case.policies, case.cluster, {}).engine for name in _ENGINES]
    comparison = Comparison(engines[0], engines[1], case.cluster)
    matrix = make_matrix(comparison, by)
    said: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    simulators = [Simulator(engine, case.cluster) for engine in engines]
    for flow in _flows(case.cluster, comparison):
        words = said.setdefault((_name(flow.source, by), _name(flow.destination, by)), (set(), set()))
        for found, simulator in zip(words, simulators, strict=True):
            found.add(simulator.answer(flow).verdict)
    names = matrix.names[:-1]
    for (i, source), (j, destination) in product(enumerate(names), repeat=2):
        before, after = said.get((source, destination), (set(), set()))
        assert (matrix.before[i][j], matrix.after[i][j]) == (_letter(before), _letter(after)), (source, destination)
    assert "s" in "".join((*matrix.before, *matrix.after))
