"""BPF programs that are attached to interfaces, as `bpftool -j net show` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from migrate.errors import InputError
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.host import Host


@dataclass(frozen=True, slots=True)
class Attached:
    """A program. `hook` is what bpftool calls the place: clsact/ingress, tcx/egress, generic and so on of XDP."""

    name: str
    device: str
    hook: str
    at: Location


class _Entry(msgspec.Struct, frozen=True):
    devname: str = ""
    name: str = ""
    kind: str = ""
    mode: str = ""


class _Networks(msgspec.Struct, frozen=True):
    xdp: tuple[_Entry, ...] = ()
    tc: tuple[_Entry, ...] = ()


def attached(host: Host) -> Iterator[Attached]:
    """The programs at interfaces; what cannot be read is noted in the host's problems once."""
    for at, body in host.dump.bodies(files.BPF):
        try:
            several = msgspec.json.decode(body, type=list[_Networks]) if body.strip() else []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            host.complain(InputError(f"{at}: is no output of bpftool -j net show: {error}; take the dump again"))
            continue
        for networks in several:
            for entry in (*networks.xdp, *networks.tc):
                yield Attached(entry.name, entry.devname, entry.kind or f"xdp {entry.mode}".strip(), at)
