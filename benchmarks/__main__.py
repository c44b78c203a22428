"""All figures of the engine side by side in one run, with a floor or a peer for each.

    python -m benchmarks [small] [medium] [large] [huge]
    python -m benchmarks translate
    python -m benchmarks corpus FOLDER [TARGET]
    python -m benchmarks follow [PODS]
    python -m benchmarks audit
    python -m benchmarks audit_replay [RECORDS]
    python -m benchmarks audit_merge [NODES] [RECORDS]
    python -m benchmarks evidence [MEGABYTES]
    python -m benchmarks soak [MINUTES]

First the whole `migrate verify` from folders of YAML beside only loading the same YAML, then the analysis alone by
question, then single flows beside the real engines' programs. `translate` and
those after it are runs of their own.
README.md says what each row means.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import audit, audit_merge, audit_replay, corpus, evidence, simulate, translate, verify
from benchmarks.clusters import SCALES, build
from benchmarks.folders import write_cluster, write_policies
from benchmarks.processes import Cost, measure

_PEER = "netpol-analyzer"
_DIFFERENT = 1


@dataclass(frozen=True, slots=True)
class _Row:
    """One process: what it is called, its command, and the exit statuses that mean it worked."""

    name: str
    command: Sequence[str]
    fine: tuple[int, ...] = (0,)


def _rows(scale: str, folder: Path) -> Iterator[_Row]:
    """The same two states for all of them; what only one can be asked has a row of its own."""
    cluster, policies = build(SCALES[scale])
    before, after, removed = folder / "before", folder / "after", folder / "removed"
    write_cluster(cluster, before)
    write_policies(policies, before)
    write_policies(verify.reworded(policies), after)
    write_policies(policies[:1], removed)
    ours = [sys.executable, "-m", "migrate", "verify", "--before", str(before), "-o", "json", "--after"]
    yield _Row("verify, same in other words", [*ours, str(after)])
    yield _Row("verify, policies removed", [*ours, str(removed)], (_DIFFERENT,))
    yield _Row("only loading that YAML", [sys.executable, "-m", "benchmarks.load", str(before), str(after)])
    if shutil.which(_PEER) is not None:
        write_cluster(cluster, after)
        yield _Row(f"{_PEER} diff", [_PEER, "diff", "--dir1", str(before), "--dir2", str(after), "-q"])


def whole(scale: str) -> None:
    """Print one line for each process; ratios are to the first one."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        first: Cost | None = None
        for row in _rows(scale, Path(folder)):
            cost = measure(row.name, row.command, row.fine)
            first = first or cost
            ratio = cost.cpu_seconds / first.cpu_seconds
            print(f"{scale:8}{row.name:30}{cost.cpu_seconds:>9.2f}{cost.memory_mib:>9.0f}{ratio:>9.2f}", flush=True)


def main() -> int:
    """Print everything about the engine, or what one word asks for."""
    if sys.argv[1:] == ["translate"]:
        translate.print_all()
        return 0
    if sys.argv[1:2] == ["corpus"]:
        corpus.print_all(*sys.argv[2:4])
        return 0
    if sys.argv[1:2] == ["follow"]:
        from benchmarks import follow  # what it needs is only there for tests of the kernel

        follow.print_all(*sys.argv[2:3])
        return 0
    if sys.argv[1:] == ["audit"]:
        audit.print_all()
        return 0
    if sys.argv[1:2] == ["audit_replay"]:
        audit_replay.print_all(*map(int, sys.argv[2:3]))
        return 0
    if sys.argv[1:2] == ["audit_merge"]:
        audit_merge.print_all(*map(int, sys.argv[2:4]))
        return 0
    if sys.argv[1:2] == ["evidence"]:
        evidence.print_all(*map(int, sys.argv[2:3]))
        return 0
    if sys.argv[1:2] == ["soak"]:
        from benchmarks import soak

        soak.print_all(*sys.argv[2:3])
        return 0
    scales = sys.argv[1:] or ["small", "medium", "large"]
    print(f"Whole processes, {os.cpu_count()} CPUs{'':27}{'CPU s':>9}{'MiB':>9}{'ratio':>9}")
    for scale in scales:
        whole(scale)
    if shutil.which(_PEER) is None:
        print(f"{_PEER} is not on the PATH, so there is no peer to compare with")
    print("\nThe analysis alone")
    verify.print_all(scales)
    print("\nSingle flows")
    simulate.print_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
