"""The script that `migrate scan node --print-commands` prints, in several shells."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.errors import ExitStatus
from migrate.nodes import files
from migrate.nodes.dump import NodeDump, read_dump
from migrate.nodes.files import Printed
from tests.kernel.node_scans import (
    BY_IP,
    NAME,
    ScannedNode,
    add_links,
    detail,
    entries,
    members,
    program,
    replaced,
    same_entry,
    scanned_node,
    status,
)
from tests.prerequisites import require
from tests.unit.node_rules import lines

pytestmark = pytest.mark.kernel


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ScannedNode]:
    """A node without rules and links."""
    with scanned_node(tmp_path) as made:
        yield made


def _rules(dump: NodeDump) -> list[list[str]]:
    """Without counters: a node's own packets are counted at any time."""
    every = (lines(ruleset, counters=False) for ruleset in dump.rulesets)
    return [[line.partition(" [")[0] if line.startswith(":") else line for line in rules] for rules in every]


def _shells() -> list[tuple[str, ...]]:
    known = (("dash",), ("bash", "--posix"), ("busybox", "sh"))
    return [shell for shell in known if shutil.which(shell[0]) is not None]


@pytest.mark.parametrize("shell", _shells(), ids=" ".join)
def test_the_printed_script_makes_the_same_dump(node: ScannedNode, shell: tuple[str, ...]) -> None:
    require(shutil.which("bpftool") is not None, "bpftool")
    node.load("drift")
    add_links(node)
    (node.folder / "dump.sh").write_text(node.scan("--print-commands").stdout)
    subprocess.run([*shell, "-n", "dump.sh"], cwd=node.folder, check=True)
    by_hand = subprocess.run(
        node.inside(*shell, "dump.sh", NAME), cwd=node.folder, capture_output=True, text=True, check=False
    )
    assert by_hand.returncode == 0, by_hand.stderr
    assert node.scan("-q").status == 0
    theirs, ours = read_dump(node.folder / NAME), read_dump(node.place)
    assert theirs.problems == ()
    assert status(theirs) == status(ours)
    assert {file.command for file in theirs.manifest.files} >= {"ipset save", "ip -j -d link show"}
    assert (theirs.manifest.name, theirs.manifest.way) == (NAME, "files")
    assert theirs.manifest.booted is not None
    assert _rules(theirs) == _rules(ours)
    assert theirs.sets is not None
    assert ours.sets is not None
    assert members(theirs.sets) == members(ours.sets)
    for printed in (files.SYSCTL, files.PATHS, files.PINNED, files.KERNEL, files.BTF, files.CNI):
        assert _lines(theirs, printed) == _lines(ours, printed), printed.name
    for printed in BY_IP:
        both = zip(entries(node.place, printed), entries(node.folder / NAME, printed), strict=True)
        assert all(same_entry(printed, mine, other) for mine, other in both), printed.name


def _lines(dump: NodeDump, printed: Printed) -> list[str]:
    """The lines of a file in any order; of BTF's and others that are absent none."""
    return sorted((dump.text(printed) or "").splitlines())


def _script(node: ScannedNode, *arguments: str, before: str = ":", under: str = "") -> subprocess.CompletedProcess[str]:
    """How the printed script ends; `before` is shell that changes mounts for it alone."""
    (node.folder / "dump.sh").write_text(node.scan("--print-commands").stdout)
    command = f"{before}\nexec {under} sh dump.sh {' '.join(arguments)}"
    words = node.inside("unshare", "--mount", "sh", "-c", command)
    return subprocess.run(words, cwd=node.folder, capture_output=True, text=True, check=False)


def test_the_printed_script_tells_what_it_could_not_read(node: ScannedNode) -> None:
    node.load("hash-sha256")
    broken = program(node.folder, "broken", "echo 'a \"b\" \\ c' >&2; exit 3")
    done = _script(node, NAME, before=f"{replaced('ipset')}\n{replaced('nft', broken)}")
    assert done.returncode == ExitStatus.INCOMPLETE
    dump = read_dump(node.folder / NAME)
    assert detail(dump, files.IPSET) == "there is no program ipset; install it"
    assert detail(dump, files.NFT) == 'nft ended with status 3: a "b" \\ c'
    assert status(dump)[files.IPTABLES_NFT.name] == "read"
    assert len(dump.problems) >= 2
    left = {path.name for path in node.folder.iterdir()}
    assert left == {NAME, "broken", "dump.sh"}


@pytest.mark.parametrize(
    ("arguments", "under", "said"),
    [
        pytest.param((NAME,), "setpriv --reuid=65534 --inh-caps=-all", "run it with sudo", id="no root"),
        pytest.param(("../x",), "", "'../x' is no name of a node", id="a name that leads out"),
        pytest.param(("dump.sh",), "", "dump.sh is there already", id="a name that is taken"),
    ],
)
def test_the_printed_script_refuses(node: ScannedNode, arguments: tuple[str, ...], under: str, said: str) -> None:
    node.folder.chmod(0o755)
    done = _script(node, *arguments, under=under)
    assert done.returncode == ExitStatus.INPUT
    assert said in done.stderr
    assert [path.name for path in node.folder.iterdir()] == ["dump.sh"]
