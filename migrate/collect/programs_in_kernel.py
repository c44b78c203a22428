"""eBPF programs at links and cgroups, in the shape of `bpftool -j net show` and `bpftool -j cgroup tree`.

Only queries: nothing is loaded, attached or pinned. Source of the shapes: the kernel's tools/bpf/bpftool/net.c and
cgroup.c; of the numbers of hooks: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import byref, c_uint32
from pathlib import Path

from migrate.audit import libbpf, netlink
from migrate.audit.libbpf import KernelRefusalError
from migrate.audit.netlink import Netlink, attributes
from migrate.collect.kernel_messages import Message, Shown

_TCX = ((46, "tcx/ingress"), (47, "tcx/egress"))
_NETKIT = ((54, "netkit/primary"), (55, "netkit/peer"))
_CLSACT = ((0xFFFFFFF2, "clsact/ingress"), (0xFFFFFFF3, "clsact/egress"))
_QDISCS = ("clsact", "ingress")
CGROUP_HOOKS = {
    0: "cgroup_inet_ingress",
    1: "cgroup_inet_egress",
    2: "cgroup_inet_sock_create",
    3: "cgroup_sock_ops",
    6: "cgroup_device",
    8: "cgroup_inet4_bind",
    9: "cgroup_inet6_bind",
    10: "cgroup_inet4_connect",
    11: "cgroup_inet6_connect",
    12: "cgroup_inet4_post_bind",
    13: "cgroup_inet6_post_bind",
    14: "cgroup_udp4_sendmsg",
    15: "cgroup_udp6_sendmsg",
    18: "cgroup_sysctl",
    19: "cgroup_udp4_recvmsg",
    20: "cgroup_udp6_recvmsg",
    21: "cgroup_getsockopt",
    22: "cgroup_setsockopt",
    29: "cgroup_inet4_getpeername",
    30: "cgroup_inet6_getpeername",
    31: "cgroup_inet4_getsockname",
    32: "cgroup_inet6_getsockname",
    34: "cgroup_inet_sock_release",
}
_CGROUP_FLAGS = {0: "", 1: "override", 2: "multi"}
_NOT_HERE = (errno.EINVAL, errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP, errno.EBADF)
"""The kernel does not know the hook, or the thing went away meanwhile."""
_GET_QDISC, _GET_FILTER = 38, 46
_HEADER = struct.Struct("=B3xiIII")
_KIND, _OPTIONS, _BPF_NAME, _BPF_ID = 1, 2, 7, 11
_XDP_MODES = {"DRV": "driver", "SKB": "generic", "HW": "offload"}
_MOST = 64


def at_links(links: Sequence[Message]) -> list[dict[str, list[Shown]]]:
    """What runs at links: XDP programs, filters and links of traffic control. Raises OSError and ProbeError."""
    found: dict[str, list[Shown]] = {"xdp": [], "tc": []}
    with Netlink(netlink.ROUTE) as kernel:
        disciplined = {index for index, kind in _disciplines(kernel) if kind in _QDISCS}
        for link in links:
            index = link.number("index") or 0
            named: Shown = {"devname": link.text("IFLA_IFNAME"), "ifindex": index}
            found["xdp"] += [named | entry for entry in _xdp(link)]
            found["tc"] += [named | entry for entry in _tc(kernel, link, index, index in disciplined)]
    return [{**found, "flow_dissector": []}]


def _xdp(link: Message) -> Iterator[Shown]:
    about = link.inner("IFLA_XDP")
    for short, mode in _XDP_MODES.items():
        number = about.number(f"IFLA_XDP_{short}_PROG_ID")
        if number:
            yield {"mode": mode, "id": number}


def _tc(kernel: Netlink, link: Message, index: int, disciplined: bool) -> Iterator[Shown]:
    kind = link.inner("IFLA_LINKINFO").text("IFLA_INFO_KIND")
    for hook, name in (*_TCX, *(_NETKIT if kind == "netkit" else ())):
        for number in _programs(index, hook)[0]:
            yield {"kind": name, **_named(number), "prog_id": number}
    for parent, name in _CLSACT if disciplined else ():
        for found in _filters(kernel, index, parent):
            yield {"kind": name, **found}


def _disciplines(kernel: Netlink) -> Iterator[tuple[int, str]]:
    for message in kernel.dump(_GET_QDISC, _HEADER.pack(0, 0, 0, 0, 0)):
        yield _HEADER.unpack_from(message.data)[1], _attribute(message.data, _KIND)


def _filters(kernel: Netlink, index: int, parent: int) -> Iterator[Shown]:
    """The eBPF filters in the order in which they run."""
    for message in list(kernel.dump(_GET_FILTER, _HEADER.pack(0, index, 0, parent, 0))):
        data = message.data
        if not _HEADER.unpack_from(data)[2] or _attribute(data, _KIND) != "bpf":
            continue
        shown: Shown = {}
        for kind, start, end in attributes(data, _HEADER.size, len(data)):
            if kind == _OPTIONS:
                shown |= _filter(data, start, end)
        yield shown


def _filter(data: bytes, start: int, end: int) -> Shown:
    shown: Shown = {}
    for kind, first, last in attributes(data, start, end):
        if kind == _BPF_NAME:
            shown["name"] = _text(data[first:last])
        if kind == _BPF_ID:
            shown["id"] = int.from_bytes(data[first:last], "little")
    return shown


def at_cgroups(root: Path, shown_root: str) -> list[Shown]:
    """What runs at the cgroups below one, which is the first; `shown_root` is its path on the node.

    Raises OSError and ProbeError.
    """
    found: list[Shown] = []
    for folder, below, _ in os.walk(root):
        below.sort()
        programs = _at_cgroup(folder)
        if programs:
            path = shown_root + folder.removeprefix(str(root))
            found.append({"cgroup": path, "programs": programs})
    return found


def _at_cgroup(folder: str) -> list[Shown]:
    with _opened(folder) as descriptor:
        return [] if descriptor is None else list(_cgroup_programs(descriptor))


@contextmanager
def _opened(folder: str) -> Iterator[int | None]:
    """A descriptor; None where the folder went away."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _cgroup_programs(descriptor: int) -> Iterator[Shown]:
    for hook, name in CGROUP_HOOKS.items():
        numbers, flags = _programs(descriptor, hook)
        shown = _CGROUP_FLAGS.get(flags, f"unknown({flags:x})")
        for number in numbers:
            yield {"id": number, "attach_type": name, "attach_flags": shown, **_named(number)}


def _programs(place: int, hook: int) -> tuple[list[int], int]:
    """The numbers of the programs at a hook, and how they share it. Raises OSError and ProbeError."""
    numbers, count, flags = (c_uint32 * _MOST)(), c_uint32(_MOST), c_uint32(0)
    try:
        libbpf.library().number("bpf_prog_query", place, hook, 0, byref(flags), numbers, byref(count))
    except KernelRefusalError as error:
        if error.errno in _NOT_HERE:
            return [], 0
        raise
    return list(numbers[: count.value]), flags.value


def _named(number: int) -> Shown:
    """The name of a program, where this process may ask for it (CAP_SYS_ADMIN)."""
    try:
        descriptor = libbpf.library().number("bpf_prog_get_fd_by_id", number)
    except KernelRefusalError:
        return {}
    try:
        name = _text(libbpf.object_info(descriptor)[64:80])
    finally:
        os.close(descriptor)
    return {"name": name} if name else {}


def _attribute(data: bytes, wanted: int) -> str:
    found = attributes(data, _HEADER.size, len(data))
    return next((_text(data[start:end]) for kind, start, end in found if kind == wanted), "")


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")
