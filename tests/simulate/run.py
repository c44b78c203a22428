"""Puts random clusters to the program's models and to the real engines: `python -m tests.simulate.run --clusters 300`.

Each difference is made small and printed; with --keep it becomes a file in tests/cases/simulate, with the engine's
words, and every run of the tests judges it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.engine_binaries import engine_binary
from tests.policy_engines import PolicyEngine, policy_engine
from tests.reference.cases import Answer, Case, Flow
from tests.simulate.coverage import Coverage
from tests.simulate.dialects import DIALECTS, Dialect, Said, Speaker
from tests.simulate.shrink import shrink

CASES = Path(__file__).parents[1] / "cases" / "simulate"


@dataclass(frozen=True, slots=True)
class Difference:
    """A flow on which model and engine disagree, or (no flow) policies that only one of them refuses."""

    case: Case
    flow: Flow | None
    engine: str
    model: str

    def __str__(self) -> str:
        return f"{self.case.name}: {self.flow or 'refused policies'}: engine {self.engine}, model {self.model}"


@dataclass(slots=True)
class Tally:
    """What a run found. `seconds` are those of the model alone."""

    flows: int = 0
    clusters: int = 0
    seconds: float = 0.0
    coverage: Coverage = field(default_factory=Coverage)
    differences: list[Difference] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.flows / self.seconds if self.seconds else 0
        return (
            f"{self.clusters} clusters, {self.flows} flows ({rate:.0f} a second), {len(self.differences)} differences"
        )


def judge(dialect: Dialect, case: Case, truth: Speaker, tally: Tally) -> None:
    """Ask both about one case."""
    said = truth(case)
    started = time.perf_counter()
    modelled = dialect.model(case)
    tally.seconds += time.perf_counter() - started
    tally.clusters += 1
    tally.flows += sum(answer is not None for answer in said.answers)
    tally.coverage.add(case, modelled.decisions)
    tally.differences += differences(case, said, modelled)


def differences(case: Case, said: Said, modelled: Said) -> list[Difference]:
    """Every difference of one case."""
    found: list[Difference] = []
    if said.refused != modelled.refused:
        found.append(Difference(case, None, ", ".join(sorted(said.refused)), ", ".join(sorted(modelled.refused))))
    for flow, engine, model in zip(case.flows, said.answers, modelled.answers, strict=True):
        if engine is not None and engine != model:
            found.append(Difference(case, flow, str(engine), str(model)))
    return found


def smallest(dialect: Dialect, difference: Difference, truth: Speaker) -> Case:
    """The smallest case found in which the same two answers stand against each other."""
    if difference.flow is None:
        return difference.case

    def disagrees(case: Case) -> bool:
        said, modelled = truth(case), dialect.model(case)
        pair = str(said.answers[0]), str(modelled.answers[0])
        return said.refused == modelled.refused and pair == (difference.engine, difference.model)

    return shrink(difference.case, difference.flow, disagrees)


def with_words(case: Case, said: Said) -> Case:
    """The case with the engine's words in its flows, as it is kept."""

    def words(flow: Flow, answer: Answer | None) -> Flow:
        assert answer is not None
        return msgspec.structs.replace(flow, egress=answer.egress, ingress=answer.ingress, verdict=answer.verdict)

    flows = tuple(words(flow, answer) for flow, answer in zip(case.flows, said.answers, strict=True))
    return msgspec.structs.replace(case, flows=flows)


def as_json(case: Case) -> str:
    """The case as it is kept in a file."""
    return msgspec.json.format(msgspec.json.encode(case.document())).decode()


def explain(dialect: Dialect, found: list[Difference], truth: Speaker, keep: Callable[[Case], None] | None) -> str:
    """The differences of one case as text, with the smallest case for the first of them."""
    small = smallest(dialect, found[0], truth)
    small = with_words(small, truth(small))
    if keep is not None:
        keep(small)
    return "\n".join([*map(str, found[:5]), f"{len(found)} differences in {found[0].case.name}", as_json(small)])


def main() -> int:
    """Run; 1 when there is a difference."""
    options = _options()
    failed = False
    for name in options.dialect or DIALECTS:
        dialect, tally = DIALECTS[name], Tally()
        program: PolicyEngine | None = policy_engine(engine_binary(dialect.needs)) if dialect.needs else None
        truth = dialect.truth(program)
        for number in range(options.first, options.first + options.clusters):
            before = len(tally.differences)
            judge(dialect, dialect.case(f"{options.seed}-{number}"), truth, tally)
            found = tally.differences[before:]
            if found:
                print(explain(dialect, found, truth, _keep if options.keep else None), flush=True)
        print(tally.coverage.table(name))
        print("\n".join(tally.coverage.missing(name)))
        print(f"{name}: seed {options.seed}: {tally}", flush=True)
        failed = failed or bool(tally.differences)
    return 1 if failed else 0


def _keep(case: Case) -> None:
    CASES.mkdir(exist_ok=True)
    (CASES / f"{case.name}.json").write_text(as_json(case) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=60, help="for each dialect")
    parser.add_argument("--first", type=int, default=0, help="number of the first cluster")
    parser.add_argument("--seed", default="fixed", help="any text")
    parser.add_argument("--dialect", action="append", choices=DIALECTS)
    parser.add_argument("--keep", action="store_true", help="write the small cases to tests/cases/simulate")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
