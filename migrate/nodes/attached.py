"""BPF programs that are attached to interfaces, as `bpftool -j net show` prints them."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.errors import InputError
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.host import Host
from migrate.sources.node.bpf_json import DeviceProgram, read_bpf_net


def attached(host: Host) -> Iterator[tuple[Location, DeviceProgram]]:
    """The programs at interfaces and where they stand; what cannot be read is noted in the host's problems once."""
    for at, body in host.dump.bodies(files.BPF):
        if not body.strip():
            continue
        try:
            programs = read_bpf_net(body, at.file)
        except InputError as error:
            host.complain(at.file, error)
            continue
        for program in programs:
            yield at, program
