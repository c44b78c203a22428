"""Reads the node that this process runs on into the files of a dump. It only looks: nothing on the node changes."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial

import msgspec

import migrate
from migrate.audit.kernel import ProbeError
from migrate.audit.rights import missing_capabilities
from migrate.collect import machine, programs_in_kernel
from migrate.collect.cni import configurations
from migrate.collect.host import Host
from migrate.collect.kernel_messages import Kernel, Shown
from migrate.collect.links import shown_addresses, shown_links
from migrate.collect.outcome import AbsentError, UnreadError, one_line
from migrate.collect.programs import find_program, run_program
from migrate.collect.routes import shown_routes, shown_rules
from migrate.collect.saved import SAVED, save
from migrate.errors import InputError
from migrate.model.node_documents import NodeFile, NodeManifest, Way
from migrate.nodes import files
from migrate.nodes.files import Printed

NEEDED = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
"""Rights without which neither rules nor sets are shown."""
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class NodeReading:
    """The description of a dump, and its raw files by name."""

    manifest: NodeManifest
    bodies: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of a dump: `read` gives its bytes, and the command when it is another than the usual one."""

    printed: Printed
    read: Callable[[], tuple[str, bytes]]


def need_rights() -> None:
    """Raise InputError where this process may not read the kernel's rules."""
    missing = missing_capabilities(NEEDED)
    lacks = [*(["user 0"] if os.geteuid() != 0 else []), *missing]
    if lacks:
        raise InputError(
            f"the kernel shows its rules to root only, and this process lacks {', '.join(lacks)}; run it with sudo, "
            "or run the script of migrate scan node --print-commands as root"
        )


def read_node(host: Host, name: str, taken: str, way: Way = "node", progress: Progress | None = None) -> NodeReading:
    """Read everything that can be read. Raises InputError where this process may not."""
    need_rights()
    bodies: dict[str, bytes] = {}
    listed: list[NodeFile] = []
    reader = _Reader(host, bodies)
    try:
        parts = list(reader.parts())
        for number, part in enumerate(parts):
            if progress is not None:
                progress(part.printed.name, number, len(parts))
            listed.append(_read(part, bodies))
    finally:
        reader.close()
    started = machine.booted()
    manifest = NodeManifest(
        tool_version=migrate.__version__,
        name=name,
        system="linux",
        way=way,
        taken=taken,
        booted=None if started is None else datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        files=tuple(sorted(listed)),
    )
    return NodeReading(manifest, bodies)


def _read(part: _Part, bodies: dict[str, bytes]) -> NodeFile:
    """One file, with how that went."""
    named = NodeFile(name=part.printed.name, command=part.printed.command)
    try:
        command, body = part.read()
    except AbsentError as error:
        return msgspec.structs.replace(named, status="absent", detail=str(error))
    except (UnreadError, ProbeError) as error:
        return msgspec.structs.replace(named, status="failed", detail=one_line(str(error)))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return msgspec.structs.replace(named, status="failed", detail=one_line(f"{place}{error.strerror or error}"))
    bodies[named.name] = body
    digest = hashlib.sha256(body).hexdigest()
    return msgspec.structs.replace(named, command=command or named.command, sha256=digest)


class _Reader:
    """Reads the parts of one node; `done` are the files that were read, by name."""

    def __init__(self, host: Host, done: dict[str, bytes]) -> None:
        self._host = host
        self._done = done

    @cached_property
    def _kernel(self) -> Kernel:
        return Kernel()

    def close(self) -> None:
        """Let go of the kernel."""
        if "_kernel" in self.__dict__:
            self._kernel.close()

    def parts(self) -> Iterator[_Part]:
        """Everything, rules and sets first and close together: they belong to one moment."""
        yield from (_Part(saved.printed, partial(save, self._host, saved, self._done)) for saved in SAVED)
        yield from (_Part(printed, partial(_as_json, shown)) for printed, shown in self._shown())
        yield _Part(files.BPF, partial(self._programs, files.BPF, self._at_links))
        yield _Part(files.BPF_CGROUP, partial(self._programs, files.BPF_CGROUP, self._at_cgroups))
        yield from (_Part(printed, partial(_as_text, text)) for printed, text in self._texts())

    def _shown(self) -> Iterator[tuple[Printed, Callable[[], list[Shown]]]]:
        yield files.LINKS, lambda: shown_links(self._kernel.links)
        yield files.ADDRESSES, lambda: shown_addresses(self._kernel.links, self._kernel.addresses())
        for printed, family in ((files.ROUTES, socket.AF_INET), (files.ROUTES6, socket.AF_INET6)):
            yield printed, partial(self._routes, int(family))
        yield files.ROUTE_RULES, lambda: shown_rules(self._kernel.rules())

    def _routes(self, family: int) -> list[Shown]:
        return shown_routes(self._kernel.routes(family), self._kernel.names)

    def _texts(self) -> Iterator[tuple[Printed, Callable[[], str]]]:
        host = self._host
        yield files.IPVS, partial(machine.whole, "/proc/net/ip_vs")
        yield files.PINNED, partial(machine.pinned, host)
        yield files.KERNEL, machine.kernel
        yield files.MODULES, partial(machine.whole, "/proc/modules")
        yield files.MOUNTS, partial(machine.mounts, host)
        yield files.BTF, partial(machine.btf, host)
        yield files.SYSCTL, machine.settings
        yield files.SOCKETS, partial(machine.whole, "/proc/net/udp", "/proc/net/udp6")
        yield files.PATHS, partial(machine.paths, host)
        yield files.CNI, partial(_joined, configurations, host)

    def _programs(self, printed: Printed, ask: Callable[[], object]) -> tuple[str, bytes]:
        """By libbpf, or where the machine has none by bpftool."""
        try:
            return "", _encoded(ask())
        except ProbeError as error:
            name, *arguments = printed.command.split()
            program = find_program(self._host, name)
            if program is None:
                raise UnreadError("neither libbpf.so.1 nor bpftool is there; install libbpf (libbpf1)") from error
            return program.shown(printed.command), run_program(program, arguments)

    def _at_links(self) -> object:
        return programs_in_kernel.at_links(self._kernel.links)

    def _at_cgroups(self) -> object:
        root = machine.first_mount(self._host, "cgroup2")
        if root is None:
            raise AbsentError("no cgroup filesystem of version 2 is mounted")
        return programs_in_kernel.at_cgroups(self._host.place(root), root)


def _as_json(shown: Callable[[], list[Shown]]) -> tuple[str, bytes]:
    return "", _encoded(shown())


def _as_text(text: Callable[[], str]) -> tuple[str, bytes]:
    return "", text().encode(errors="surrogateescape")


def _joined(pieces: Callable[[Host], Iterator[str]], host: Host) -> str:
    return "".join(pieces(host))


def _encoded(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
