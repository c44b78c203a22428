"""The engines against the stored verdicts of `tests/cases/vectors`, in this process and case by case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrate.model.raw import RawObject
from migrate.sources.cases import read_case
from migrate.verify.engines import build_engine
from migrate.verify.simulate import Simulator

VECTORS = sorted((Path(__file__).parents[1] / "cases" / "vectors").glob("*/*.json"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_engine_gives_the_words_of_the_vector(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    case = read_case(RawObject(document, path.name))
    engine = build_engine(document["engine"], case.policies, case.cluster, case.options).engine
    simulator = Simulator(engine, case.cluster)
    wrong = [
        (said, answer)
        for said, flow in zip(document["flows"], case.flows, strict=True)
        if (said["egress"], said["ingress"], said["verdict"])
        != ((answer := simulator.answer(flow)).egress.value, answer.ingress.value, answer.verdict)
    ]
    assert case.flows
    assert wrong == []
