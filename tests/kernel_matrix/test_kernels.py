"""The probe on Debian's kernels, each in a guest that QEMU imitates; what is looked at there is in checks.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pytest

from tests.kernel_matrix.checks import CHECKS
from tests.kernel_matrix.guest import TOOLS, initial_files, write_base
from tests.kernel_matrix.kernels import Kernel, KernelUnavailableError, debian_kernel
from tests.prerequisites import require

pytestmark = pytest.mark.vm

_SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "newest": "sid"}
_QEMU = "qemu-system-x86_64"
_PATIENCE_SECONDS = 420
"""A guest takes a minute, and several where other programs want the processors too."""
_MACHINE = (
    "-accel", "tcg,tb-size=512", "-cpu", "Nehalem,-cx16", "-m", "768", "-smp", "1",
    "-nodefaults", "-display", "none", "-no-reboot",
)  # fmt: skip
"""An older processor is quicker to imitate, and QEMU 7.2 gets the flags of cmpxchg16b wrong under load, which ends in
a double fault of the kernel."""
_KERNEL_OPTIONS = "console=ttyS0 panic=-1 quiet loglevel=3 mitigations=off nokaslr rcupdate.rcu_expedited=1"


class _Outcome(TypedDict):
    """A line of what run_checks.py writes."""

    check: str
    seconds: float
    error: str
    told: list[str]


@dataclass(frozen=True, slots=True)
class _Guest:
    """What a guest has shown: of each check its error, which is empty when it passed, and its console."""

    errors: Mapping[str, str]
    console: str


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The part of the guests' files that all of them share."""
    require(shutil.which(_QEMU) is not None, f"{_QEMU} (Debian: qemu-system-x86)")
    for tool in (*TOOLS, "busybox"):
        require(shutil.which(tool) is not None, f"{tool} (Debian: iproute2, iptables, busybox-static)")
    made = tmp_path_factory.mktemp("guest") / "base"
    write_base(made)
    yield made
    made.unlink()


@pytest.fixture(scope="session", params=_SUITES)
def guest(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> _Guest:
    """A guest that has done all checks, or as many as it could."""
    kernel = _kernel(_SUITES[request.param])
    scratch = tmp_path_factory.mktemp("kernel")
    began = time.monotonic()
    console = _boot(kernel, base, scratch)
    written = _results(scratch)
    if not written:  # the emulator may fail while the kernel boots; a check that ends the kernel does so again
        console += _boot(kernel, base, scratch)
        written = _results(scratch)
    seconds = time.monotonic() - began
    print(f"{kernel.image.parent.name}: {seconds:.0f} s")
    for one in written:
        print(f"{one['check']}: {one['seconds']} s", *one["told"], sep="\n  ")
    return _Guest({one["check"]: one["error"] for one in written}, f"{console[-5000:]}\nafter {seconds:.0f} s")


def _kernel(suite: str) -> Kernel:
    try:
        return debian_kernel(suite)
    except KernelUnavailableError as error:
        require(False, str(error))
        raise


def _boot(kernel: Kernel, base: Path, scratch: Path) -> str:
    """What the guest's console shows; the results of its checks are in `scratch` afterwards."""
    (scratch / "results").touch()
    (scratch / "initial").write_bytes(initial_files(kernel, base))
    given = ("-kernel", kernel.image, "-initrd", scratch / "initial", "-append", _KERNEL_OPTIONS)
    serial = ("-serial", "stdio", "-serial", f"file:{scratch}/results")
    command = [_QEMU, *_MACHINE, *map(str, given), *serial]
    with (scratch / "console").open("wb") as console, suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=_PATIENCE_SECONDS, check=False
        )
    (scratch / "initial").unlink()
    return (scratch / "console").read_text(errors="replace")


def _results(scratch: Path) -> list[_Outcome]:
    """One object for each check that came to an end."""
    return [json.loads(line) for line in (scratch / "results").read_text().splitlines() if line.endswith("}")]


@pytest.mark.parametrize("check", CHECKS)
def test_in_a_guest(guest: _Guest, check: str) -> None:
    error = guest.errors.get(check, "the guest did not come so far")

    assert not error, f"{error}\nThe guest's console:\n{guest.console}"
