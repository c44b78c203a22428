"""Judges many random translations: `python -m tests.differential.run --clusters 300`.

For each field of the source languages it prints how often it was generated and how often it decided a verdict; in a run
of ENOUGH clusters a field that never did is a failure. Every undeclared difference is made small and printed; with
--keep it becomes a file in tests/cases/differential, where it is judged again by every run of the tests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from tests.differential.fields import FieldCounts
from tests.differential.generate import EVERY_DIALECT, Dialect, generate
from tests.differential.harness import Comparison, Engines, compare, smallest
from tests.differential.translation import translate_case
from tests.engine_binaries import engine_binary
from tests.policy_engines import policy_engine
from tests.reference.cases import Case

TARGETS = ("cilium-1.18", "cilium-1.20")
ENOUGH = 300
"""So many clusters of each dialect use every field of its language."""
CASES = Path(__file__).parents[1] / "cases" / "differential"


def real_engines() -> Engines:
    """The engines, built when they are not there yet."""
    cilium = {target: policy_engine(engine_binary(target)) for target in TARGETS}
    return Engines(policy_engine(engine_binary("calico")), cilium)


def counterexample(case: Case, target: str, found: Comparison, engines: Engines) -> str:
    """What is wrong with the translation of a case, with a small case to see it by."""
    refused = [f"{target} refuses {text}" for text in found.refused]
    if not found.differences:
        return "\n".join([f"{case.name}:", *refused])
    small = smallest(case, found.differences[0], target, translate_case, engines)
    lines = [f"{case.name} for {target}: {len(found.differences)} flows, such as {found.differences[0]}", *refused]
    lines += [f"{' '.join(key)}: {claim}" for key, claim in translate_case(small, target).claims.items()]
    return "\n".join([*lines, as_json(small)])


def as_json(case: Case) -> str:
    """The case as it is kept in a file."""
    return msgspec.json.format(msgspec.json.encode(case.document())).decode()


def main() -> int:
    """Run; 1 when there is an undeclared difference, or a field that decided nothing in a run that should use all."""
    options = _options()
    engines, total, counts = real_engines(), Comparison(), FieldCounts()
    dialect: Dialect
    for dialect in options.dialect or EVERY_DIALECT:
        cases = [generate(dialect, f"{options.seed}-{number}") for number in range(options.clusters)]
        for target in options.target or TARGETS:
            part = Comparison()
            for case in cases:
                found = compare(case, target, translate_case, engines)
                part.add(found)
                if not found.holds:
                    _show(case, target, found, engines, options.keep)
            print(f"{dialect} for {target}: {part}", flush=True)
            total.add(part)
        counts.add(cases)
    missing = counts.missing()
    print("\n".join([counts.table(), *missing]))
    return 0 if total.holds and (options.clusters < ENOUGH or not missing) else 1


def _show(case: Case, target: str, found: Comparison, engines: Engines, keep: bool) -> None:
    print(counterexample(case, target, found, engines), flush=True)
    if keep and found.differences:
        small = smallest(case, found.differences[0], target, translate_case, engines)
        CASES.mkdir(exist_ok=True)
        (CASES / f"{case.name}.json").write_text(as_json(small) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=60, help="for each dialect and target")
    parser.add_argument("--seed", default="fixed", help="any text")
    parser.add_argument("--dialect", action="append", choices=EVERY_DIALECT)
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--keep", action="store_true", help="write the small cases to tests/cases/differential")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
