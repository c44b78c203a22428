"""The probe as BCC loads it: compiled on the node from the same source.

A child process under the system's Python compiles and loads, hands over the descriptors and ends, and BCC's memory with
it. From then on the probe is the same as one that libbpf has loaded. BCC itself needs libbpf.so.1, so it is there.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from migrate.audit import bcc_child
from migrate.audit.kernel import ProbeError, Sizes
from migrate.audit.libbpf import Map
from migrate.audit.libbpf_probe import MAPS, PROGRAMS, TABLES, LibbpfProbe, Programs, assemble, table_flags
from migrate.audit.pins import BPFFS

PYTHONS = ("/usr/bin/python3", sys.executable)
"""Who may have BCC's package: the system's Python, else this one."""
_SOURCE = "probe.bpf.c"
_HEADERS = "BCC_KERNEL_SOURCE"
_PATIENCE = 300.0
_INCLUDE = re.compile(r'#include "(\w+\.h)"')
_MAP_CALL = re.compile(r"\b(LOOKUP|INSERT|UPDATE)\((\w+), ")
_NOISE = ("Traceback", "Exception:", "  ", "modprobe:", "sh: ")
_NO_BCC = "the loader bcc needs BCC, and {0} has none; install Debian's python3-bpfcc, or take the loader libbpf"


@dataclass(frozen=True, slots=True)
class _BccPrograms:
    """What the child has loaded, by name."""

    programs: dict[str, int]
    maps: dict[str, int]

    def names(self, kind: str) -> list[str]:
        """The names of its "map"s."""
        return list(self.maps if kind == "map" else self.programs)

    def map(self, name: str) -> Map:
        """A map, with a descriptor of its own."""
        return Map(os.dup(self.maps[name]))

    def program(self, name: str) -> int:
        """The descriptor of a program."""
        return self.programs[name]

    def close(self) -> None:
        """Let go of all its descriptors."""
        for descriptor in (*self.programs.values(), *self.maps.values()):
            os.close(descriptor)
        self.programs.clear()
        self.maps.clear()


def open_bcc_probe(
    sources: Path,
    sizes: Sizes,
    *,
    extras: Path | None = None,
    bpffs: Path | None = BPFFS,
    hooks: str | None = None,
    pythons: tuple[str, ...] = PYTHONS,
) -> LibbpfProbe:
    """Load the probe, or go on with what a killed process left pinned under `bpffs` (None: pin nothing).

    `sources` is the folder of the programs' text, `extras` that of the object that sees drops. Headers are those of
    the folder that BCC_KERNEL_SOURCE names, else the few that the probe brings with it. Raises ProbeError.
    """

    def load(pins: Path | None) -> tuple[Programs, tuple[str, ...]]:
        why = "the loader bcc cannot call its conntrack, which is asked by netlink"
        note = f"translated addresses are not seen in the kernel: {why}"
        return _load(sources, bcc_text(sources, sizes, pins), pythons), (note,)

    return assemble("bcc", load, sizes, extras, bpffs, hooks)


def bcc_text(sources: Path, sizes: Sizes, pins: Path | None = None) -> str:
    """The one text that BCC takes: our headers in their places, map calls as its methods, sizes as wanted.

    With `pins`, maps that are pinned there are used instead of new ones.
    """
    text = _MAP_CALL.sub(lambda call: f"{call[2]}.{call[1].lower()}(", _inlined(sources / _SOURCE, set()))
    entries = (sizes.flows, sizes.flows, sizes.coarse, sizes.connections)
    for name, wanted in zip((*TABLES, "connections"), entries, strict=True):
        text = re.sub(rf"^((?:HASH|LRU)\({name}, .*, )\d+\)", rf"\g<1>{wanted})", text, flags=re.MULTILINE)
    resumed = pins is not None and all((pins / name).exists() for name in MAPS)
    place = f'":{pins}/" name' if resumed else '""'
    settings = ("MIG_BCC 1", f"PINNED(name) {place}", f"TABLE_FLAGS {table_flags()}")
    return "".join(f"#define {setting}\n" for setting in settings) + text


def _inlined(path: Path, seen: set[str]) -> str:
    """A file with our own headers in the places where they are included first."""
    lines = []
    for line in path.read_text().splitlines():
        included = _INCLUDE.match(line)
        if included is None:
            lines.append(line)
        elif included[1] not in seen:
            seen.add(included[1])
            lines.append(_inlined(path.parent / included[1], seen))
    return "\n".join(lines) + "\n"


def _load(sources: Path, text: str, pythons: tuple[str, ...]) -> _BccPrograms:
    wanted = {"text": text, "maps": list(MAPS), "programs": list(PROGRAMS.values())}
    environment = {_HEADERS: str(sources / "bcc")} | os.environ
    headers = Path(environment[_HEADERS])
    if not (headers / "include/linux/kconfig.h").is_file():
        raise ProbeError(f"{_HEADERS}={headers}: no kernel headers there; name their folder, or unset it")
    for python in pythons:
        found = _ask(python, json.dumps(wanted), environment)
        if found is not None:
            names = (*wanted["programs"], *MAPS)
            by_name = dict(zip(names, found, strict=True))
            return _BccPrograms({name: by_name.pop(name) for name in wanted["programs"]}, by_name)
    raise ProbeError(_NO_BCC.format(" or ".join(dict.fromkeys(pythons))))


def _ask(python: str, wanted: str, environment: dict[str, str]) -> list[int] | None:
    """The descriptors that a child under this Python hands over; None where it has no BCC. Raises ProbeError."""
    ours, its = socket.socketpair()
    with ours, its:
        command = [python, "-I", bcc_child.__file__, str(its.fileno())]
        try:
            ran = subprocess.run(
                command,
                input=wanted,
                env=environment,
                pass_fds=[its.fileno()],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            return None
        except subprocess.TimeoutExpired:
            raise ProbeError(f"BCC under {python} did not load the probe within {_PATIENCE:.0f} s") from None
        if ran.returncode == bcc_child.NO_BCC:
            return None
        if ran.returncode != 0:
            raise ProbeError(f"BCC under {python} did not take the probe: {_complaint(ran.stderr)}")
        return list(socket.recv_fds(ours, 16, len(MAPS) + len(PROGRAMS))[1])


def _complaint(said: str) -> str:
    """The first line that says why; how many others there are."""
    lines = [line for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line] or [line for line in lines if not line.startswith(_NOISE)]
    return f"{(telling or lines or ['it said nothing'])[0].strip()} ({max(len(lines) - 1, 0)} more lines left out)"
