"""What the probe costs: nanoseconds per packet over the floor, memory of its maps and of the process that loads it.

Needs root. The floor is an empty program under the same test run of the kernel.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from migrate.audit.compile import compile_object
from migrate.audit.kernel import Sizes
from migrate.audit.layout import Control, Direction
from migrate.audit.libbpf import BpfObject, Map, run_program
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import objects
from tests.kernel import packets as made

_REPEAT, _ROUNDS = 20_000, 60
_SAMPLED, _NOT_SAMPLED = 63, 2**64 - 1
_EMPTY = (
    'char LICENSE[] __attribute__((section("license"), used)) = "GPL v2";\n'
    '__attribute__((section("tc"), used)) int empty(void *packet) { return packet ? -1 : 0; }\n'
)
_A, _B = "10.1.0.5", "10.2.0.9"
_PACKETS = {
    "established TCP": made.frame4(_A, _B, made.TCP, made.tcp(40000, 80, made.ACK)),
    "SYN": made.frame4(_A, _B, made.TCP, made.tcp(40000, 81, made.SYN)),
    "UDP": made.frame4(_A, _B, made.UDP, made.udp(5000, 53)),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Nanoseconds of one run in many rounds, in which all programs take turns."""

    name: str
    rounds: tuple[int, ...]


def _figures(probe: LibbpfProbe, empty: int) -> list[Figure]:
    """The empty program first."""
    program = probe.program(Direction.FROM_POD)
    runs = [("an empty program", empty, _PACKETS["UDP"], _SAMPLED)]
    runs += [(name, program, packet, _SAMPLED) for name, packet in _PACKETS.items()]
    runs.append(("established TCP, not sampled", program, _PACKETS["established TCP"], _NOT_SAMPLED))
    rounds: dict[str, list[int]] = {name: [] for name, *_ in runs}
    for _ in range(_ROUNDS):
        for name, run, packet, sampling in runs:
            probe.set_control(Control.SAMPLING, sampling)
            rounds[name].append(run_program(run, packet, _REPEAT)[2])
    return [Figure(name, tuple(found)) for name, found in rounds.items()]


@contextmanager
def _empty_program() -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        source = Path(folder) / "empty.bpf.c"
        source.write_text(_EMPTY)
        compile_object(source, source.with_suffix(".o"))
        with closing(BpfObject(source.with_suffix(".o"))) as loaded:
            loaded.load()
            yield loaded.program("empty")


def _locked(map_: Map) -> int:
    """Bytes that the kernel charges for a map."""
    shown = Path(f"/proc/self/fdinfo/{map_.descriptor}").read_text().splitlines()
    return next(int(line.split()[1]) for line in shown if line.startswith("memlock:"))


def print_all() -> None:
    """Print every figure."""
    folder = objects()
    started = time.monotonic()
    probe = open_libbpf_probe(folder, Sizes(), bpffs=None)
    loaded = time.monotonic() - started
    try:
        probe.set_control(Control.DEADLINE, 2**63)
        names = ("flows0", "flows1", "coarse", "connections", "stats", "ctl")
        memory = sum(map(_locked, probe.maps(*names))) / 2**20
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"loaded in {loaded:.2f} s; maps {memory:.1f} MiB (empty), process at most {resident:.1f} MiB")
        with _empty_program() as empty:
            figures = _figures(probe, empty)
        print(f"{f'ns, of {_ROUNDS} rounds in turn':32}{'least':>8}{'over it':>9}{'median':>9}{'over it':>9}")
        least, middle = min(figures[0].rounds), median(figures[0].rounds)
        for figure in figures:
            low, half = min(figure.rounds), median(figure.rounds)
            print(f"{figure.name:32}{low:>8}{low - least:>9}{half:>9.0f}{half - middle:>9.0f}")
    finally:
        probe.remove()
