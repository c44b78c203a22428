"""A node's kernel, mounts, settings, tunnels and attached programs, as far as they matter to Cilium or our probe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import takewhile
from typing import Literal

import msgspec

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.model.node_machine import Link
from migrate.nodes import files
from migrate.nodes.attached import attached
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.files import Printed
from migrate.nodes.host import Host
from migrate.nodes.software import ReservedPort, cilium_on_node, known
from migrate.nodes.wording import clean, first_few
from migrate.resources import data, read_yaml
from migrate.sources.node.bpf_json import DeviceProgram

_SETTINGS = {
    "net.ipv4.ip_forward": "ip-forward",
    "net.ipv6.conf.all.forwarding": "ipv6-forwarding",
    "net.bridge.bridge-nf-call-iptables": "bridge-netfilter",
    "net.bridge.bridge-nf-call-ip6tables": "bridge-netfilter-ipv6",
    "net.ipv4.conf.all.rp_filter": "rp-filter",
    "net.netfilter.nf_conntrack_max": "conntrack-max",
}
_MODULES = ("br_netfilter", "ip_set", "ip_vs", "nf_tables", "ip_tables", "vxlan", "wireguard", "sctp")
_OURS = frozenset(("from_pod", "to_pod"))
"""The programs of the audit's probe."""


def examine_machine(host: Host, view: ClusterView | None) -> Iterator[Finding | Fact]:
    """Facts, and findings where something on the node is in the way of Cilium."""
    del view
    yield from _kernel(host)
    yield from _settings(host)
    yield from _links(host)
    yield from _ports(host)
    yield from _programs(host)


class _Needed(msgspec.Struct, frozen=True):
    """The lowest kernel for a release of Cilium and those after it; those of RHEL may be older."""

    cilium: str
    kernel: str
    kernels_of_rhel: str


class _Platform(msgspec.Struct, frozen=True):
    kernels: tuple[_Needed, ...]


@cache
def _needed_kernels() -> tuple[_Needed, ...]:
    """By release, the oldest first (rules/platform.yaml)."""
    kernels = read_yaml(data("rules") / "platform.yaml", _Platform).kernels
    return tuple(sorted(kernels, key=lambda one: _numbers(one.cilium)))


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 5.15.0-1090-azure is 5, 15, 0."""
    found = (re.match(r"\d+", part) for part in version.partition("-")[0].split("."))
    return tuple(int(part[0]) for part in takewhile(bool, found) if part is not None)


def _kernel_age(host: Host, kernel: str) -> Iterator[Finding | Fact]:
    """Which releases of Cilium need a newer one. Only a kernel that is too old for all of them is a finding."""
    of_rhel = ".el8" in kernel
    newer = [
        one for one in _needed_kernels() if _numbers(kernel) < _numbers(one.kernels_of_rhel if of_rhel else one.kernel)
    ]
    detail = f"too old for Cilium {newer[0].cilium} and newer" if newer else ""
    yield Fact(topic="kernel", value=clean(kernel), detail=detail, evidence=_shown(host, files.KERNEL, kernel))
    if newer and newer[0] == _needed_kernels()[0]:
        yield Finding(
            id="WRK-KERNEL",
            detail=f"node {host.dump.manifest.name} runs kernel {clean(kernel)}, {detail}",
            effect=Effect.UNKNOWN,
            subject=host.dump.node,
            at=host.place(files.KERNEL),
        )


def _kernel(host: Host) -> Iterator[Finding | Fact]:
    if host.kernel is not None:
        yield from _kernel_age(host, host.kernel)
    text = host.dump.text(files.BTF)
    listed = {file.name: file.status for file in host.dump.manifest.files}
    if text is not None and "/vmlinux" in text and "No such file" not in text:
        yield Fact(topic="btf", value="present", evidence=_shown(host, files.BTF, "/sys/kernel/btf/vmlinux"))
    elif text is not None or listed.get(files.BTF.name) == "absent":
        detail = "Cilium does without; the audit's optional parts (translated flows, drops) need it"
        yield Fact(topic="btf", value="none", state="absent", detail=detail)
    for module in _MODULES if host.modules is not None else ():
        if host.modules is not None and module in host.modules:
            yield Fact(topic="module", value=module, evidence=_shown(host, files.MODULES, module))
    yield from _mounts(host)


def _mounts(host: Host) -> Iterator[Fact]:
    if host.mounts is None:
        return
    for topic, system in (("bpffs", "bpf"), ("cgroup-v2", "cgroup2")):
        points = [point for point, kind in host.mounts if kind == system]
        state: Literal["active", "absent"] = "active" if points else "absent"
        yield Fact(topic=topic, value=points[0] if points else "none", state=state)


def _settings(host: Host) -> Iterator[Fact]:
    for name, topic in _SETTINGS.items():
        if name in host.settings:
            value = clean(host.settings[name])
            yield Fact(topic=topic, value=value, evidence=(Evidence(str(host.place(files.SYSCTL)), name, value),))


def _links(host: Host) -> Iterator[Fact]:
    """The largest packet of the way out and of tunnels; tunnels with their ports."""
    outward = {route.device for route in host.routes or () if not route.destination.prefixlen and route.device}
    for link in host.links or ():
        if link.name in outward:
            yield Fact(
                topic="mtu", value=str(link.mtu), evidence=_shown(host, files.LINKS, f"{link.name} mtu {link.mtu}")
            )
        if link.kind in {"vxlan", "geneve", "wireguard", "ipip"}:
            number = "" if link.tunnel is None else f", number {link.tunnel}"
            port = "" if link.port is None else f", port {link.port}"
            detail = f"{link.kind}{number}{port}, mtu {link.mtu}, {'up' if link.up else 'down'}"
            yield Fact(
                topic="tunnel", value=clean(link.name), detail=detail, evidence=_shown(host, files.LINKS, detail)
            )


def _ports(host: Host) -> Iterator[Finding]:
    """UDP ports that Cilium would listen on, in use by others."""
    for reserved in cilium_on_node().ports:
        tunnels = [link for link in host.links or () if link.port == reserved.port and not _is_cilium(link.name)]
        own = any(
            link.port == reserved.port or _is_wireguard(link) for link in host.links or () if _is_cilium(link.name)
        )
        bound = any(socket.port == reserved.port for socket in host.sockets or ())
        if tunnels:
            names = first_few(f"{link.name} ({link.kind})" for link in tunnels)
            yield _taken(host, reserved, f"the tunnel {names} uses", files.LINKS)
        elif bound and not own:
            yield _taken(host, reserved, "a socket is bound to", files.SOCKETS)


def _is_cilium(name: str) -> bool:
    return any(program.id == "cilium" for program in known().owners("links", name))


def _is_wireguard(link: Link) -> bool:
    return link.kind == "wireguard"


def _taken(host: Host, reserved: ReservedPort, who: str, printed: Printed) -> Finding:
    return Finding(
        id="NODE-TUNNEL-PORT",
        detail=(
            f"node {host.dump.manifest.name}: {who} UDP port {reserved.port}, which is Cilium's for {reserved.what} "
            "unless it is told another"
        ),
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=host.place(printed),
    )


def _programs(host: Host) -> Iterator[Finding]:
    """BPF programs at interfaces that nobody is known for; Cilium puts its own to the same places.

    XDP programs have no name in that list, others none for a reader without rights: nothing can be said of these.
    """
    named = ((at, one) for at, one in attached(host) if one.name)
    strangers = [(at, one) for at, one in named if not _is_known(one.name.partition(":")[0])]
    if strangers:
        yield Finding(
            id="NODE-BPF-PROGRAMS",
            detail=(
                f"node {host.dump.manifest.name}: {len(strangers)} BPF programs of somebody unknown at interfaces: "
                f"{_named(one for _, one in strangers)}"
            ),
            effect=Effect.UNKNOWN,
            subject=host.dump.node,
            at=strangers[0][0],
        )


def _is_known(name: str) -> bool:
    return name in _OURS or bool(known().owners("bpf", name))


def _named(programs: Iterable[DeviceProgram]) -> str:
    return first_few(f"{one.name} ({one.hook} of {one.device})" for one in programs)


def _shown(host: Host, printed: Printed, value: str) -> tuple[Evidence, ...]:
    return (Evidence(str(host.place(printed)), printed.name, clean(value)),)
