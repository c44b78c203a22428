"""What comparing two policy states over the whole flow space costs, by the size of the cluster.

    python -m benchmarks.verify [small] [medium] [large] [huge]

Each question is asked in a process of its own, with a made-up cluster (benchmarks/clusters.py) that is not part of the
time. Prints the CPU seconds of reading the policies, of compiling both states and of finding all changes with a
counterexample each, and the peak memory of the process.
"""

from __future__ import annotations

import copy
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.clusters import BASE, SCALES, build
from migrate.model.raw import Json, RawObject

_SIDES = (("ingress", "Ingress"), ("egress", "Egress"))


@dataclass(frozen=True, slots=True)
class Question:
    """Two engines, what becomes of the policies for the second one, and whether blocks hold pods."""

    before: str
    after: str
    change: Callable[[Sequence[RawObject]], list[RawObject]]
    over_pods: bool = False


class Cost(msgspec.Struct):
    """What one question took. `changes` are boxes of changed flows."""

    classes: int
    ends: int
    changes: int
    reading: float
    compiling: float
    comparing: float
    memory_mib: float


def reworded(policies: Sequence[RawObject]) -> list[RawObject]:
    """The same meaning in other words: one policy for each direction and rule."""
    return [RawObject(part) for policy in policies for part in _parts(policy.data)]


def _parts(policy: dict[str, Json]) -> Iterator[dict[str, Json]]:
    spec = policy["spec"]
    assert isinstance(spec, dict)
    for field, kind in _SIDES:
        types, rules = spec.get("policyTypes", ["Ingress"]), spec.get(field)
        assert isinstance(types, list)
        lists: list[Json] = [[rule] for rule in rules] if isinstance(rules, list) and rules else [[]]
        for number, listed in enumerate(lists if kind in types else ()):
            metadata = _mapping(policy["metadata"])
            part: Json = {"podSelector": spec["podSelector"], "policyTypes": [kind], field: listed}
            yield {**policy, "metadata": {**metadata, "name": f"{metadata['name']}-{field}-{number}"}, "spec": part}


def edited(policies: Sequence[RawObject]) -> list[RawObject]:
    """In five namespaces pods may not ask for names any more."""
    found = copy.deepcopy(list(policies))
    for policy in random.Random("edits").sample([policy for policy in found if policy.ref.name == BASE], 5):
        _mapping(policy.data["spec"])["egress"] = []
    return found


def _mapping(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


QUESTIONS = {
    "the same in other words": Question("kubernetes", "kubernetes", reworded),
    "five policies edited": Question("kubernetes", "kubernetes", edited),
    "all policies removed": Question("kubernetes", "kubernetes", lambda policies: []),
    "Azure NPM, then Cilium": Question("npm", "cilium", list, over_pods=True),
}


def ask(question: Question, scale: str) -> Cost:
    """Put a question in this process."""
    import resource

    from migrate.verify.compare import Comparison
    from migrate.verify.engines import build_engine

    cluster, policies = build(SCALES[scale], over_pods=question.over_pods)
    later = question.change(policies)
    empty: dict[str, Json] = {}
    clock = time.process_time
    started = clock()
    before = build_engine(question.before, policies, cluster, empty).engine
    after = build_engine(question.after, later, cluster, empty).engine
    read = clock()
    comparison = Comparison(before, after, cluster)
    compiled = clock()
    flows = [comparison.flow(change) for change in comparison.changes()]
    compared = clock()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    classes, ends = len(comparison.space.pod_classes), len(comparison.space.ends)
    return Cost(classes, ends, len(flows), read - started, compiled - read, compared - compiled, memory)


def _in_a_process(name: str, scale: str) -> Cost:
    command = [sys.executable, "-m", "benchmarks.verify", "--ask", name, scale]
    done = subprocess.run(command, check=True, capture_output=True)
    return msgspec.json.decode(done.stdout, type=Cost)


def print_all(scales: Sequence[str]) -> None:
    """Print one line for each scale and question."""
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs; CPU seconds")
    headings = ("classes", "ends", "changes", "read", "compile", "compare", "MiB")
    print(f"{'':8}{'':26}" + "".join(f"{heading:>9}" for heading in headings))
    for scale in scales:
        for name in QUESTIONS:
            cost = _in_a_process(name, scale)
            counts = f"{cost.classes:>9}{cost.ends:>9}{cost.changes:>9}"
            times = f"{cost.reading:>9.2f}{cost.compiling:>9.2f}{cost.comparing:>9.2f}{cost.memory_mib:>9.0f}"
            print(f"{scale:8}{name:26}{counts}{times}", flush=True)


def main() -> int:
    """Ask one question, or all of them."""
    if sys.argv[1:2] == ["--ask"]:
        print(msgspec.json.encode(ask(QUESTIONS[sys.argv[2]], sys.argv[3])).decode())
    else:
        print_all(sys.argv[1:] or ["small", "medium", "large"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
