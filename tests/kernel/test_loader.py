"""What is said when something is missing for the probe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from migrate.audit import loader
from migrate.audit.attach import has_tcx
from migrate.audit.compile import compile_object
from migrate.audit.kernel import ProbeError, Sizes
from migrate.audit.layout import Control
from migrate.audit.libbpf_probe import open_libbpf_probe
from migrate.audit.loader import missing_pieces, objects, open_probe
from tests.kernel.conftest import NEVER, NO_BCC, SMALL, has_bcc
from tests.kernel.lab import Node, inside
from tests.kernel.packets import SYN, TCP, frame4, tcp
from tests.kernel.records import FROM, send, told
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

_ROOT = Path(__file__).parents[2]
_LOAD = """
import sys
from migrate.audit.kernel import ProbeError
from tests.kernel.conftest import SMALL
from migrate.audit.loader import open_probe
try:
    open_probe(SMALL, sys.argv[1], bpffs=None).remove()
    print("loaded")
except ProbeError as error:
    print(error)
"""


@pytest.mark.parametrize("hooks", ["tcx", "clsact"])
def test_a_probe_that_is_removed_again_leaves_the_next_one_alone(node: Node, bpffs: Path, hooks: str) -> None:
    require(hooks != "tcx" or has_tcx(), "a kernel with TCX links")
    veth, _ = node.add_pod(1)
    with inside(node.name):
        first = open_libbpf_probe(objects(), SMALL, bpffs=bpffs, hooks=hooks)
        first.attach(veth, "veth1")
        first.remove()
        second = open_libbpf_probe(objects(), SMALL, bpffs=bpffs, hooks=hooks)
        try:
            second.attach(veth, "veth1")
            first.remove()
            assert second.misplaced(veth) == ""
        finally:
            second.remove()
        second.remove()
    assert list(bpffs.glob("cilium-migrate")) == []


def _with_capabilities(*names: str, loader: str = "libbpf") -> str:
    """What a process says that loads the probe with only these capabilities."""
    kept = ",".join(["-all", *(f"+{name}" for name in names)])
    command = ["setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}", sys.executable, "-c", _LOAD, loader]
    return subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("loader", ["libbpf", "bcc"])
def test_three_capabilities_are_enough(loader: str) -> None:
    require(loader != "bcc" or has_bcc(), NO_BCC)
    assert _with_capabilities("bpf", "net_admin", "perfmon", loader=loader) == "loaded"


def test_the_administrator_s_capability_includes_two() -> None:
    assert _with_capabilities("sys_admin", "net_admin") == "loaded"


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        (("bpf", "net_admin"), ["CAP_PERFMON"]),
        (("net_admin", "perfmon"), ["CAP_BPF"]),
        (("bpf", "perfmon"), ["CAP_NET_ADMIN"]),
        ((), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]),
    ],
)
def test_each_missing_capability_is_named(kept: tuple[str, ...], missing: list[str]) -> None:
    said = _with_capabilities(*kept)

    assert said.startswith("the probe cannot run here: ")
    assert [name for name in ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON") if f"no {name}:" in said] == missing


def test_a_missing_bpf_filesystem_is_no_obstacle(tmp_path: Path) -> None:
    (piece,) = [piece for piece in missing_pieces(tmp_path) if piece.name == "bpffs"]

    assert not piece.required
    assert str(tmp_path) in piece.text


def test_a_file_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "probe.bpf.o").write_bytes(b"nothing")

    with pytest.raises(ProbeError, match=r"probe\.bpf\.o: libbpf cannot read it"):
        open_libbpf_probe(tmp_path, SMALL, bpffs=None)


def test_tables_that_cannot_be_made_are_an_error() -> None:
    with pytest.raises(ProbeError, match=r"probe\.bpf\.o: .*connections.*"):
        open_libbpf_probe(objects(), Sizes(flows=16, coarse=16, connections=2**31), bpffs=None)


def test_what_ziglang_compiles_loads_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for source in sorted((_ROOT / "bpf").glob("*.bpf.c")):
        compile_object(source, tmp_path / source.with_suffix(".o").name)

    probe = open_libbpf_probe(tmp_path, SMALL, bpffs=None)
    try:
        probe.set_control(Control.DEADLINE, NEVER)
        send(probe, FROM, frame4("10.1.0.5", "10.2.0.9", TCP, tcp(40000, 80, SYN)))
        assert told(probe) == ["from 10.1.0.5 > 10.2.0.9 6/80: events 1"]
        assert probe.notes == ()
    finally:
        probe.remove()


def test_an_unknown_loader_is_named() -> None:
    with pytest.raises(ProbeError, match="no loader magic"):
        open_probe(SMALL, "magic")


def test_a_fresh_probe_waits_for_its_deadline() -> None:
    probe = open_probe(SMALL, bpffs=None)
    try:
        assert [probe.control(entry) for entry in Control] == [0, 0, 0, 0]
    finally:
        probe.remove()


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    ask = f"import sys, {loader.__name__}; print('pyroute2' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", ask], cwd=_ROOT, check=True, capture_output=True, text=True)

    assert ran.stdout == "False\n"
