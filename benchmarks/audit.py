"""What the probe costs: nanoseconds per packet over the floor, memory of its maps and of the process that loads it.

Needs root. The floor is an empty program under the same test run of the kernel.
"""

from __future__ import annotations

import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path

from migrate.audit.compile import compile_object
from migrate.audit.kernel import Sizes
from migrate.audit.layout import Control, Direction
from migrate.audit.libbpf import BpfObject, Map, run_program
from migrate.audit.libbpf_probe import open_libbpf_probe
from migrate.audit.loader import objects
from tests.kernel import packets as made

_REPEAT = 300_000
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


def _best(program: int, packet: bytes) -> int:
    """Nanoseconds of one run, the best of four rounds."""
    return min(run_program(program, packet, _REPEAT)[2] for _ in range(4))


def _floor() -> int:
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        source = Path(folder) / "empty.bpf.c"
        source.write_text(_EMPTY)
        compile_object(source, source.with_suffix(".o"))
        with closing(BpfObject(source.with_suffix(".o"))) as loaded:
            loaded.load()
            return _best(loaded.program("empty"), _PACKETS["UDP"])


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
        probe.set_control(Control.SAMPLING, 63)
        names = ("flows0", "flows1", "coarse", "connections", "stats", "ctl")
        memory = sum(map(_locked, probe.maps(*names))) / 2**20
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"loaded in {loaded:.2f} s; maps {memory:.1f} MiB (empty), process at most {resident:.1f} MiB")
        floor = _floor()
        print(f"{'an empty program':24}{floor:>6} ns")
        for name, packet in _PACKETS.items():
            spent = _best(probe.program(Direction.FROM_POD), packet)
            print(f"{name:24}{spent:>6} ns, {spent - floor} over it")
    finally:
        probe.remove()
