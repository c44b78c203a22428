"""What bpftool prints of programs on interfaces and at cgroups → typed values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from migrate.errors import InputError
from migrate.model.raw import Json, as_list, as_map, as_number, as_text

_AGAIN = "take the dump again"


@dataclass(frozen=True, slots=True, order=True)
class DeviceProgram:
    """A program at an interface. `hook` is where, as bpftool says: clsact/ingress, tcx/egress, xdp.

    The kernel keeps 15 characters of a program's name.
    """

    device: str
    hook: str
    name: str
    id: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class CgroupProgram:
    """A program at a cgroup; `hook` is its kind, such as cgroup_inet4_connect."""

    cgroup: str
    hook: str
    name: str
    id: int | None = None


def read_bpf_net(body: bytes, source: str) -> tuple[DeviceProgram, ...]:
    """`bpftool -j net show`. Raises InputError."""
    found: list[DeviceProgram] = []
    for part in as_list(_decoded(body, source)):
        for kind in ("xdp", "tc", "netkit"):
            for entry in as_list(as_map(part).get(kind)):
                program = as_map(entry)
                hook = _text(program, "kind") or kind
                name = _text(program, "name") or _text(program, "prog_name")
                found.append(DeviceProgram(_text(program, "devname"), hook, name, _number(program)))
    return tuple(found)


def read_bpf_cgroups(body: bytes, source: str) -> tuple[CgroupProgram, ...]:
    """`bpftool -j cgroup tree`. Raises InputError."""
    return tuple(_cgroups(_decoded(body, source)))


def _cgroups(value: Json) -> Iterator[CgroupProgram]:
    for part in as_list(value):
        place = _text(as_map(part), "cgroup")
        for entry in as_list(as_map(part).get("programs")):
            program = as_map(entry)
            yield CgroupProgram(place, _text(program, "attach_type"), _text(program, "name"), _number(program))


def _decoded(body: bytes, source: str) -> Json:
    if not body.strip():
        return []
    try:
        value: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{source}: is no JSON of bpftool: {error}; {_AGAIN}") from error
    return value


def _number(program: dict[str, Json]) -> int | None:
    return as_number(program.get("id", program.get("prog_id")))


def _text(owner: dict[str, Json], key: str) -> str:
    return as_text(owner.get(key))
