"""Single flows: what the program's model answers a second, beside the real engine's program over the same input.

    python -m benchmarks.simulate

Some random clusters of the differential tests, their flows many times over. Of the model only the answers count, not
the reading of the case; of the engine's program all of it, less what it takes for a case without flows.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.verify.engines import build_engine
from migrate.verify.simulate import Simulator
from tests.engine_binaries import EngineUnavailableError, engine_binary
from tests.policy_engines import policy_engine
from tests.reference.cases import Case
from tests.simulate.dialects import DIALECTS, Dialect

_CLUSTERS = 2
_FLOWS = 20_000
_RELEASES = {"cilium-1.18": 18}
_MODELS = {"kubernetes-by-calico": "kubernetes", "cilium-1.18": "cilium", "cilium-1.20": "cilium"}


def cases(dialect: Dialect) -> list[Case]:
    """Cases with a given number of flows each, by repetition."""
    found = [dialect.case(f"benchmark-{number}") for number in range(_CLUSTERS)]
    return [
        msgspec.structs.replace(case, flows=(case.flows * (_FLOWS // len(case.flows) + 1))[:_FLOWS]) for case in found
    ]


def ours(dialect: Dialect, found: Sequence[Case]) -> float:
    """Flows a CPU second of the model."""
    name, seconds = _MODELS.get(dialect.name, dialect.name), 0.0
    for case in found:
        read = read_case(RawObject(cast("dict[str, Json]", case.document())))
        options = read.options if name == "calico" else {}
        built = build_engine(name, read.policies, read.cluster, options, _RELEASES.get(dialect.name, 20))
        simulator = Simulator(built.engine, read.cluster, hosts=True)
        started = time.process_time()
        for flow in read.flows:
            simulator.answer(flow)
        seconds += time.process_time() - started
    return _FLOWS * len(found) / seconds


def theirs(dialect: Dialect, found: Sequence[Case]) -> float | None:
    """Flows a CPU second of the engine's program; None where it cannot be had."""
    try:
        ask = dialect.truth(policy_engine(engine_binary(dialect.needs)))
    except EngineUnavailableError:
        return None
    nothing = [msgspec.structs.replace(case, flows=case.flows[:1]) for case in found]
    return _FLOWS * len(found) / (_of_children(lambda: [*map(ask, found)]) - _of_children(lambda: [*map(ask, nothing)]))


def _of_children(work: Callable[[], object]) -> float:
    """CPU seconds of the processes that some work starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_all() -> None:
    """One line for each dialect that has a program."""
    print(f"{'flows a CPU second':24}{'model':>10}{'engine':>10}{'ratio':>9}")
    for dialect in DIALECTS.values():
        if dialect.needs:
            found = cases(dialect)
            model, engine = ours(dialect, found), theirs(dialect, found)
            beside = (
                "  the engine's program cannot be had" if engine is None else f"{engine:>10.0f}{model / engine:>9.2f}"
            )
            print(f"{dialect.name:24}{model:>10.0f}{beside}", flush=True)


if __name__ == "__main__":
    print_all()
    sys.exit(0)
