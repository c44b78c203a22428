"""The kernel tests of the probe, run inside guests with Debian's kernels."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.kernel_matrix.guest import TOOLS, initial_files, write_base
from tests.kernel_matrix.kernels import Kernel, KernelUnavailableError, debian_kernel
from tests.prerequisites import require

pytestmark = pytest.mark.vm

_SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "newest": "sid"}
_WITHOUT_TCX = ("5.10", "6.1")
_TESTS = 9
_QEMU = "qemu-system-x86_64"
_PATIENCE = 300
_MACHINE = (
    "-accel", "tcg", "-cpu", "max", "-m", "1536", "-smp", "1", "-nodefaults", "-display", "none", "-no-reboot",
)  # fmt: skip
_KERNEL_OPTIONS = "console=ttyS0 panic=-1 quiet loglevel=3"


@dataclass(frozen=True, slots=True)
class _Results:
    """What a guest's run of the tests gave; `skipped` are reasons."""

    passed: frozenset[str]
    failed: dict[str, str]
    skipped: frozenset[str]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The part of the guests' files that all of them share."""
    for tool in (*TOOLS, "busybox"):
        require(shutil.which(tool) is not None, f"{tool} (Debian: iproute2, iptables, util-linux, busybox-static)")
    made = tmp_path_factory.mktemp("guest") / "base.gz"
    write_base(made)
    yield made
    made.unlink()


def _kernel(suite: str) -> Kernel:
    try:
        return debian_kernel(suite)
    except KernelUnavailableError as error:
        require(False, str(error))
        raise


def _boot(kernel: Kernel, base: Path, scratch: Path) -> str:
    """What the guest's console shows; its tests' results are in `scratch` afterwards."""
    (scratch / "initial").write_bytes(initial_files(kernel, base))
    given = ("-kernel", kernel.image, "-initrd", scratch / "initial", "-append", _KERNEL_OPTIONS)
    serial = ("-serial", "stdio", "-serial", f"file:{scratch}/results.xml")
    command = ["nice", _QEMU, *_MACHINE, *map(str, given), *serial]
    with (scratch / "console").open("wb") as console, suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=_PATIENCE, check=False
        )
    return (scratch / "console").read_text(errors="replace")


def _results(path: Path, console: str) -> _Results:
    text = path.read_text() if path.exists() else ""
    if "</testsuites>" not in text:
        pytest.fail(f"the guest came to no end:\n{console[-5000:]}", pytrace=False)
    passed: set[str] = set()
    failed: dict[str, str] = {}
    skipped: set[str] = set()
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        faults = [*case.findall("failure"), *case.findall("error")]
        reasons = case.findall("skipped")
        if faults:
            failed[name] = faults[0].text or faults[0].get("message") or ""
        elif reasons:
            skipped.update(reason.get("message") or "" for reason in reasons)
        else:
            passed.add(name)
    return _Results(frozenset(passed), failed, frozenset(skipped))


@pytest.mark.parametrize("version", _SUITES)
def test_a_kernel_loads_parses_and_attaches(version: str, base: Path, tmp_path: Path) -> None:
    require(shutil.which(_QEMU) is not None, f"{_QEMU} (Debian: qemu-system-x86)")
    kernel = _kernel(_SUITES[version])

    started = time.monotonic()
    console = _boot(kernel, base, tmp_path)
    results = _results(tmp_path / "results.xml", console)
    print(f"{kernel.image.parent.name}: {len(results.passed)} passed, {time.monotonic() - started:.0f} s")

    assert not results.failed, "\n".join(f"{name}: {text}" for name, text in results.failed.items()) + console[-3000:]
    assert results.skipped == ({"a kernel with TCX links"} if version in _WITHOUT_TCX else set())
    assert len(results.passed) >= _TESTS - len(results.skipped)
