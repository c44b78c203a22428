"""Probes and namespaces that end with their test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from migrate.audit.kernel import Sizes
from migrate.audit.layout import Control
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import missing_pieces, objects
from tests.kernel.lab import Node, unmount
from tests.prerequisites import require

NEVER = 2**63
SMALL = Sizes(flows=4096, coarse=512, connections=4096)
NO_BCC = "BCC for the system's Python (Debian: python3-bpfcc)"
OpenProbe = Callable[..., LibbpfProbe]


def has_bcc() -> bool:
    """Whether the system's Python has BCC."""
    asked = subprocess.run(["/usr/bin/python3", "-I", "-c", "import bcc"], capture_output=True, check=False)
    return asked.returncode == 0


@pytest.fixture(autouse=True)
def _needs_root_and_tools() -> None:
    require(os.geteuid() == 0, "root")
    require(shutil.which("ip") is not None, "ip (Debian: iproute2)")
    require(
        [piece for piece in missing_pieces(None) if piece.required] == [], "a kernel and rights for BPF, libbpf.so.1"
    )


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A folder for a bpf filesystem; probes mount it."""
    folder = tmp_path / "bpf"
    folder.mkdir()
    yield folder
    unmount(folder)


@pytest.fixture
def open_probe(bpffs: Path) -> Iterator[OpenProbe]:
    """Opens probes that record for ever, with small tables, unpinned; they are removed with the test."""
    with ExitStack() as stack:

        def opened(
            sizes: Sizes = SMALL,
            pinned: bool = False,
            hooks: str | None = None,
            deadline: int = NEVER,
            extras: bool = False,
        ) -> LibbpfProbe:
            probe = open_libbpf_probe(objects(), sizes, bpffs=bpffs if pinned else None, hooks=hooks, extras=extras)
            stack.callback(probe.remove)
            probe.set_control(Control.DEADLINE, deadline)
            return probe

        yield opened


@pytest.fixture
def node() -> Iterator[Node]:
    """A node without pods."""
    made = Node()
    yield made
    made.remove()
