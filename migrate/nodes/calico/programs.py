"""Calico's eBPF data plane on a node: programs at interfaces and cgroups, and pinned maps.

Facts: projectcalico/calico felix/bpf (names of programs and maps, places of pins).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrate.errors import InputError
from migrate.model.documents import Fact
from migrate.model.finding import Effect, Finding
from migrate.model.refs import Location
from migrate.model.words import one_line
from migrate.nodes import files
from migrate.nodes.dump import UNREAD, NodeDump
from migrate.nodes.wording import first_few
from migrate.sources.node.bpf_json import CgroupProgram, DeviceProgram, read_bpf_cgroups, read_bpf_net

BPF = "NODE-CALICO-BPF"
_NAMES = ("cali_", "calico_")
_CONNECT = ("connect", "sendmsg", "recvmsg", "getpeername")


@dataclass(frozen=True, slots=True)
class Programs:
    """What of Calico's eBPF data plane is on a node; `problems` are files that cannot be read."""

    devices: tuple[DeviceProgram, ...] = ()
    cgroups: tuple[CgroupProgram, ...] = ()
    pinned: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    at: Location | None = None

    def __bool__(self) -> bool:
        return bool(self.devices or self.cgroups)

    def said(self) -> str:
        """What there is, in words."""
        parts = []
        if self.devices:
            devices = dict.fromkeys(program.device for program in self.devices)
            parts.append(f"{len(self.devices)} programs at {first_few(devices)}")
        if self.cgroups:
            hooks = dict.fromkeys(program.hook for program in self.cgroups)
            parts.append(f"{len(self.cgroups)} programs at cgroups ({first_few(hooks)})")
        if self.pinned:
            parts.append(f"{len(self.pinned)} pinned maps and programs")
        return ", ".join(parts)


def calico_programs(dump: NodeDump) -> Programs:
    """Calico's programs and maps in a dump."""
    devices: list[DeviceProgram] = []
    cgroups: list[CgroupProgram] = []
    problems: list[Finding] = []
    places: list[Location] = []
    for printed in (files.BPF, files.BPF_CGROUP):
        for at, body in dump.bodies(printed):
            try:
                if printed is files.BPF:
                    devices += [p for p in read_bpf_net(body, str(at)) if p.name.startswith(_NAMES)]
                else:
                    cgroups += [p for p in read_bpf_cgroups(body, str(at)) if p.name.startswith(_NAMES)]
                places.append(at)
            except InputError as error:
                if printed is files.BPF:  # told where all of the node's programs are read
                    continue
                problems.append(Finding(id=UNREAD, detail=str(error), effect=Effect.UNKNOWN, subject=dump.node, at=at))
    lines = (dump.text(files.PINNED) or "").splitlines()
    pinned = tuple(line for line in lines if line.rpartition("/")[2].startswith(_NAMES) and line.startswith("/"))
    at_first = places[0] if places else None
    return Programs(tuple(devices), tuple(cgroups), pinned, tuple(problems), at_first)


def program_facts(programs: Programs) -> Iterator[Fact]:
    """What is attached where."""
    if programs.devices:
        names = dict.fromkeys(program.name for program in programs.devices)
        yield Fact(topic="calico-programs", value="interfaces", detail=f"{programs.said()}: {first_few(names)}")
    hooks = [program for program in programs.cgroups if any(word in program.hook for word in _CONNECT)]
    if hooks:
        kinds = ", ".join(sorted({program.hook for program in hooks}))
        detail = f"sockets of the node's processes are sent to backends when they connect: {kinds}"
        yield Fact(topic="calico-programs", value="connect-time", detail=detail)
    if programs.pinned:
        yield Fact(topic="calico-programs", value="pinned", detail=f"{len(programs.pinned)} maps and programs")


def program_findings(dump: NodeDump, programs: Programs) -> Iterator[Finding]:
    """The hooks that must be gone before Cilium's act."""
    if programs:
        detail = one_line(f"node {dump.manifest.name}: Calico's eBPF data plane is attached: {programs.said()}")
        yield Finding(id=BPF, detail=detail, effect=Effect.UNKNOWN, subject=dump.node, at=programs.at)
