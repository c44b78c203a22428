"""`migrate translate` of 10,000 policies, beside only loading and dumping the same YAML.

    python -m benchmarks translate

Two fifths of the policies are Calico's, the others NetworkPolicies; the cluster with its pods is among what is read.
First all of them only allow; then the order of Calico's policies decides in one of twenty namespaces.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.calico_policies import calico_policies
from benchmarks.clusters import Scale, build
from benchmarks.folders import write_cluster, write_policies
from benchmarks.processes import Cost, measure
from migrate.files import write_atomic
from migrate.scan.files import read_files
from migrate.translate.kinds import is_policy
from migrate.yaml_out import dump

_SCALE = Scale(namespaces=200, workloads=1_000, pods=2_000, policies=6_000)
_CALICO = 4_000
_FINE = (0, 1)


def write_input(folder: Path, *, in_order: bool) -> None:
    """The cluster and its policies as YAML."""
    cluster, policies = build(_SCALE)
    write_cluster(cluster, folder)
    write_policies([*policies, *calico_policies(cluster, _CALICO, in_order=in_order)], folder)


def copy_plainly(source: Path, target: Path) -> None:
    """What any program pays: PyYAML's C parser and C emitter, one file for each policy."""
    number = 0
    for path in sorted(source.iterdir()):
        with path.open("rb") as stream:
            for data in yaml.load_all(stream, Loader=yaml.CSafeLoader):
                if path.name.startswith("policies"):
                    text = yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False)
                    (target / f"{number}.yaml").write_text(text)
                    number += 1


def copy_as_translate(source: Path, target: Path) -> None:
    """The program's own reader and emitter, one file for each policy."""
    found = read_files([str(source)], None).objects
    for number, raw in enumerate(raw for raw in found if is_policy(raw.ref)):
        write_atomic(target / f"{number}.yaml", dump(raw.data).encode())


_COPIES = {"plainly": copy_plainly, "as-translate": copy_as_translate}


def _print(name: str, cost: Cost, floor: Cost) -> None:
    ratio = cost.cpu_seconds / floor.cpu_seconds
    figures = f"{cost.cpu_seconds:>9.2f}{cost.wall_seconds:>9.2f}{cost.memory_mib:>9.0f}{ratio:>9.2f}"
    print(f"{name:48}{figures}", flush=True)


def print_all() -> None:
    """One line for each process; ratios are to plain loading and dumping."""
    print(f"{_SCALE.policies + _CALICO} policies{'':34}{'CPU s':>9}{'wall s':>9}{'MiB':>9}{'ratio':>9}")
    for what, in_order in (("only allow", False), ("some in order", True)):
        with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
            _print_one(what, Path(folder), in_order)


def _print_one(what: str, folder: Path, in_order: bool) -> None:
    source = folder / "source"
    write_input(source, in_order=in_order)
    floors = {way: _copied(way, source, folder / way) for way in _COPIES}
    plain = floors["plainly"]
    _print(f"{what}: load and dump, PyYAML in C", plain, plain)
    _print(f"{what}: load and dump as translate does", floors["as-translate"], plain)
    options = ["-f", str(source), "--target", "cilium-1.20", "--before-engine", "calico", "--quiet"]
    command = [
        sys.executable,
        "-m",
        "migrate",
        "translate",
        "--no-verify",
        *options,
        "--output-dir",
        str(folder / "out"),
    ]
    _print(f"{what}: translate", measure("translate", command, _FINE), plain)


def _copied(way: str, source: Path, target: Path) -> Cost:
    target.mkdir()
    return measure(way, [sys.executable, "-m", "benchmarks.translate", way, str(source), str(target)])


def main(arguments: Sequence[str]) -> int:
    """Copy one way, or print everything."""
    if arguments:
        way, source, target = arguments
        _COPIES[way](Path(source), Path(target))
    else:
        print_all()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
