"""What a node's agent costs over an hour of mixed traffic with 100,000 distinct flows. Needs root.

    python -m benchmarks soak [MINUTES]

The real `migrate audit` runs in the lab of the kernel tests. A table comes at the end, and the same as a line of JSON.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec

from tests.kernel.lab import unmount
from tests.kernel.soak import Soaked, soak

_FLOWS = 100_000
_MIB = 2**20
_AT_REST = 2
"""Times the median of a second without an epoch: a second that took more had one."""


@dataclass(slots=True)
class _Samples:
    """The agent once a second: nanoseconds of CPU so far, and bytes of memory. `moments` are seconds since boot."""

    moments: list[float] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    maps: list[int] = field(default_factory=list)

    def take(self, process: int) -> None:
        """Look at it now."""
        folder = Path(f"/proc/{process}")
        self.moments.append(time.monotonic())
        self.cpu.append(sum(int(one.read_text().split()[0]) for one in folder.glob("task/*/schedstat")))
        self.resident.append(_number(folder / "status", "VmRSS:") * 1024)
        if len(self.cpu) % 5 == 1:
            self.maps.append(_locked(folder))

    def epochs_share(self) -> float:
        """Seconds of CPU beyond those that each second takes."""
        spent = [after - before for before, after in pairwise(self.cpu)]
        rest = median(spent)
        return sum(one - rest for one in spent if one > _AT_REST * rest) / 1e9


@dataclass(frozen=True, slots=True)
class Figures:
    """What is printed. CPU is while traffic came, without the agent's start and its report."""

    minutes: float
    flows: int
    exact: int
    coarse: int
    nowhere: int
    cpu_percent: float
    cpu_seconds: float
    epochs: int
    milliseconds_of_an_epoch: float
    resident_mib: float
    resident_at_most_mib: float
    maps_at_most_mib: float
    packets: int
    new_events: int
    rows: int
    coarse_events: int
    lost: int
    balance_holds: bool
    losses: int
    recording_mib: float


def print_all(minutes: str = "60") -> None:
    """Soak for so long, and print."""
    seconds, samples = int(float(minutes) * 60), _Samples()
    with tempfile.TemporaryDirectory(prefix="migrate-") as name:
        folder = Path(name)
        bpffs = folder / "bpf"
        bpffs.mkdir()
        try:
            found = soak(folder, bpffs, _FLOWS, seconds, samples.take)
        finally:
            unmount(bpffs)
    figures = _figures(found, samples)
    for title, text in _rows(figures):
        print(f"{title:44}{text:>20}")
    print(msgspec.json.encode(asdict(figures)).decode())


def _figures(found: Soaked, samples: _Samples) -> Figures:
    seconds = samples.moments[-1] - samples.moments[0]
    spent = (samples.cpu[-1] - samples.cpu[0]) / 1e9
    sums = found.sums
    return Figures(
        minutes=seconds / 60,
        flows=found.exact + found.coarse + found.nowhere,
        exact=found.exact,
        coarse=found.coarse,
        nowhere=found.nowhere,
        cpu_percent=100 * spent / seconds,
        cpu_seconds=spent,
        epochs=found.epochs,
        milliseconds_of_an_epoch=1e3 * samples.epochs_share() / found.epochs,
        resident_mib=median(samples.resident) / _MIB,
        resident_at_most_mib=max(samples.resident) / _MIB,
        maps_at_most_mib=max(samples.maps) / _MIB,
        packets=found.counters["PACKETS"],
        new_events=sums.new,
        rows=sums.rows,
        coarse_events=sums.coarse,
        lost=sums.lost,
        balance_holds=sums.rows + sums.coarse + sums.lost == sums.new,
        losses=sum(loss.number for loss in found.losses),
        recording_mib=found.recording_bytes / _MIB,
    )


def _rows(figures: Figures) -> list[tuple[str, str]]:
    balance = f"{figures.rows:,} + {figures.coarse_events:,} + {figures.lost:,}"
    return [
        ("minutes", f"{figures.minutes:.1f}"),
        ("distinct flows sent", f"{figures.flows:,}"),
        ("exact, coarse, nowhere", f"{figures.exact:,}, {figures.coarse:,}, {figures.nowhere:,}"),
        ("CPU, percent of a core", f"{figures.cpu_percent:.2f}"),
        ("epochs", f"{figures.epochs:,}"),
        ("an epoch, ms of CPU", f"{figures.milliseconds_of_an_epoch:.1f}"),
        ("memory of the process, MiB: median, most", f"{figures.resident_mib:.1f}, {figures.resident_at_most_mib:.1f}"),
        ("memory of the maps, MiB, at most", f"{figures.maps_at_most_mib:.1f}"),
        ("packets", f"{figures.packets:,}"),
        ("new = rows + coarse + lost", f"{figures.new_events:,} = {balance}"),
        ("... which is so", "yes" if figures.balance_holds else "NO"),
        ("counted as lost otherwise", f"{figures.losses:,}"),
        ("recording, MiB", f"{figures.recording_mib:.1f}"),
    ]


def _number(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)), 0)


def _locked(process: Path) -> int:
    """Bytes that the kernel charges for the maps that a process has open."""
    found: dict[int, int] = {}
    for entry in process.glob("fdinfo/*"):
        number = _number(entry, "map_id:")
        if number:
            found[number] = _number(entry, "memlock:")
    return sum(found.values())
