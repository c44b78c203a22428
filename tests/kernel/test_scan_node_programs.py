"""eBPF programs at links and cgroups are found, and shown as bpftool shows them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from migrate.audit import libbpf
from migrate.audit.attach import has_tcx
from migrate.audit.compile import compile_object
from migrate.audit.pins import mount_bpffs
from migrate.collect.host import Host
from migrate.collect.kernel_messages import Kernel, Shown
from migrate.collect.machine import first_mount, pinned
from migrate.collect.programs_in_kernel import CGROUP_HOOKS, at_cgroups, at_links
from tests.kernel.lab import Node, inside, run
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

_INGRESS, _EGRESS = 46, 47
_CLSACT_INGRESS = 0xFFFFFFF2


@pytest.fixture
def pins(bpffs: Path, tmp_path: Path) -> Path:
    """Pinned programs by their names."""
    require(shutil.which("bpftool") is not None, "bpftool")
    mount_bpffs(bpffs)
    made = tmp_path / "hooks.bpf.o"
    compile_object(Path(__file__).with_name("hooks.bpf.c"), made)
    run("bpftool", "prog", "loadall", str(made), str(bpffs / "pins"))
    return bpffs / "pins"


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of its own."""
    root = first_mount(Host(), "cgroup2")
    require(root is not None, "a cgroup filesystem of version 2")
    made = Path(root or "", f"migrate-{secrets.token_hex(4)}")
    made.mkdir()
    yield made
    made.rmdir()


@contextmanager
def _opened(pin: Path) -> Iterator[int]:
    descriptor = libbpf.open_pin(pin)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _of_bpftool(node: Node, *words: str) -> list[Shown]:
    found = json.loads(run("nsenter", f"--net=/run/netns/{node.name}", "bpftool", "-j", *words))
    assert isinstance(found, list)
    return found


def _at_links(node: Node) -> dict[str, list[Shown]]:
    with inside(node.name):
        kernel = Kernel()
        try:
            (found,) = at_links(kernel.links)
        finally:
            kernel.close()
    return found


def test_a_node_without_programs_has_none(node: Node) -> None:
    node.add_pod(1)
    assert _at_links(node) == {"xdp": [], "tc": [], "flow_dissector": []}


def test_filters_and_xdp_programs_are_shown_as_bpftool_shows_them(node: Node, pins: Path) -> None:
    veth, _ = node.add_pod(1)
    node.add_pod(2)
    with inside(node.name), IPRoute() as route, _opened(pins / "passes_packets") as program:
        route.tc("add", "clsact", veth)
        described = {"parent": _CLSACT_INGRESS, "prio": 1, "protocol": 3, "name": "passes:[7]", "direct_action": True}
        route.tc("add-filter", "bpf", veth, 0, fd=program, **described)
    attach = ("bpftool", "net", "attach", "xdpgeneric", "pinned", str(pins / "passes_frames"), "dev", "veth2")
    run("nsenter", f"--net=/run/netns/{node.name}", *attach)
    ours = _at_links(node)
    (theirs,) = _of_bpftool(node, "net", "show")
    assert ours["xdp"] == [_without_attachments(entry) for entry in _entries(theirs["xdp"])]
    assert [entry["mode"] for entry in ours["xdp"]] == ["generic"]
    clsact = [entry for entry in _entries(theirs["tc"]) if str(entry["kind"]).startswith("clsact")]
    assert ours["tc"] == clsact
    assert [(entry["devname"], entry["name"]) for entry in ours["tc"]] == [("veth1", "passes:[7]")]


def _entries(value: object) -> list[Shown]:
    assert isinstance(value, list)
    return value


def _without_attachments(entry: Shown) -> Shown:
    return {key: value for key, value in entry.items() if key != "multi_attachments"}


def test_links_of_traffic_control_are_shown_with_their_names(node: Node, pins: Path) -> None:
    require(has_tcx(), "a kernel with TCX links")
    veth, _ = node.add_pod(1)
    with inside(node.name), _opened(pins / "passes_packets") as program:
        links = [libbpf.create_link(program, veth, hook, 0) for hook in (_INGRESS, _EGRESS)]
        number = libbpf.program_id(program)
    found = _at_links(node)["tc"]
    for link in links:
        os.close(link)
    common = {"devname": "veth1", "ifindex": veth, "name": "passes_packets", "prog_id": number}
    assert found == [common | {"kind": kind} for kind in ("tcx/ingress", "tcx/egress")]


def test_programs_of_cgroups_are_shown_as_bpftool_shows_them(node: Node, pins: Path, cgroup: Path) -> None:
    root = cgroup.parent
    (cgroup / "inner").mkdir()
    try:
        attach = ("cgroup_inet4_connect", "pinned", str(pins / "passes_connects"), "multi")
        run("bpftool", "cgroup", "attach", str(cgroup), *attach)
        ours = [entry for entry in at_cgroups(root, str(root)) if entry["cgroup"] == str(cgroup)]
        theirs = [entry for entry in _of_bpftool(node, "cgroup", "tree", str(root)) if entry["cgroup"] == str(cgroup)]
    finally:
        (cgroup / "inner").rmdir()
    assert ours == [
        {**entry, "programs": [_said(program) for program in _entries(entry["programs"])]} for entry in theirs
    ]
    assert [program["name"] for program in _entries(ours[0]["programs"])] == ["passes_connects"]


def _said(program: Shown) -> Shown:
    """Without what belongs to other hooks."""
    return {key: value for key, value in program.items() if not key.startswith("attach_btf")}


def test_the_numbers_of_hooks_are_those_of_the_kernel() -> None:
    known = libbpf.kernel_enum("bpf_attach_type")
    require(bool(known), "a kernel that shows its types")
    numbers = {name.removeprefix("BPF_").lower(): number for name, number in known.items()}
    assert {name: numbers[name] for name in CGROUP_HOOKS.values()} == {name: at for at, name in CGROUP_HOOKS.items()}


def test_what_is_pinned_is_listed_with_the_paths_of_the_node(pins: Path, tmp_path: Path) -> None:
    root = tmp_path / "host"
    (root / "sys/fs/bpf").mkdir(parents=True)
    run("mount", "--bind", str(pins.parent), str(root / "sys/fs/bpf"))
    try:
        found = pinned(Host(root)).splitlines()
    finally:
        run("umount", str(root / "sys/fs/bpf"))
    names = ("passes_connects", "passes_frames", "passes_packets")
    found = [path for path in found if not path.endswith(".debug")]  # the kernel's own
    assert found == ["/sys/fs/bpf/pins", *(f"/sys/fs/bpf/pins/{name}" for name in names)]
