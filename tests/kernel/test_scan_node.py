"""`migrate scan node` on a real kernel: what it reads is what is there, and nothing changes by it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.errors import ExitStatus
from migrate.model.node_state import Backend, Ruleset
from migrate.nodes import files
from migrate.nodes.dump import read_dump
from migrate.nodes.files import Printed
from migrate.sources.node.ipset_save import read_ipset_save
from migrate.sources.node.iptables_save import read_iptables_save
from tests.command_line import PROGRAM, environment
from tests.documentation import shown_commands, with_program
from tests.kernel.lab import run
from tests.kernel.node_scans import (
    BY_IP,
    NAME,
    SAMPLES,
    STEP_SECONDS,
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


def test_rules_and_sets_of_npm_are_read_as_they_are(node: ScannedNode) -> None:
    node.load("drift")
    node.do("ip6tables-nft", "-A", "FORWARD", "-p", "tcp", "-j", "DROP")
    done = node.scan("-o", "json")
    assert (done.status, "incomplete" in done.stderr) == (0, False), done.stderr
    dump = read_dump(node.place)
    there = {table.backend: _chains(found) for found in dump.rulesets for table in found.tables if table.family == 4}
    for backend, name in ((Backend.NFT, "iptables-save.txt"), (Backend.LEGACY, "iptables-legacy-save.txt")):
        wanted = read_iptables_save((SAMPLES / "drift" / name).read_bytes(), name)
        assert there[backend] == _chains(wanted)
    sets = read_ipset_save((SAMPLES / "drift/ipset-save.txt").read_bytes(), "ipset-save.txt")
    assert dump.sets is not None
    assert members(dump.sets) == members(sets)
    ((_, table),) = dump.tables("filter", 6)
    assert [len(chain.rules) for chain in table.chains if chain.name == "FORWARD"] == [1]
    states = json.loads(done.stdout)
    assert (states["kind"], states["snapshot"], states["complete"]) == ("NodeStates", None, True)
    assert (states["nodes"][0]["name"], states["nodes"][0]["way"]) == (NAME, "node")


def _chains(ruleset: Ruleset) -> dict[str, list[str]]:
    """The rules of each chain as text, without counters."""
    found: dict[str, list[str]] = {}
    for line in lines(ruleset, counters=False):
        if line.startswith("-A "):
            found.setdefault(line.split()[1], []).append(line)
    return found


def test_the_description_tells_of_each_file_what_it_is(node: ScannedNode) -> None:
    node.load("hash-sha256")
    assert node.scan("-q").status == 0
    dump = read_dump(node.place)
    assert dump.problems == ()
    assert {file.name for file in dump.manifest.files} == {printed.name for printed in files.OF_LINUX}
    assert {file.name for file in dump.manifest.files if file.status == "read"} == {
        path.name for path in node.place.iterdir() if path.name != files.MANIFEST
    }
    assert all(file.sha256 for file in dump.manifest.files if file.status == "read")
    assert all(file.detail for file in dump.manifest.files if file.status != "read")
    assert dump.manifest.taken is not None
    assert dump.manifest.booted is not None
    assert dump.manifest.booted <= dump.manifest.taken
    assert dump.text(files.KERNEL) == run("uname", "-srvm")


def test_links_and_routes_are_what_ip_prints(node: ScannedNode) -> None:
    other = f"{node.namespace}-pod"
    run("ip", "netns", "add", other)
    try:
        add_links(node)
        node.do("ip", "link", "add", "azv0", "type", "veth", "peer", "name", "eth0", "netns", other)
        node.do("ip", "link", "set", "azv0", "up")
        theirs = _printed_by_ip(node)
        assert node.scan("-q").status == 0
        again = _printed_by_ip(node)
    finally:
        run("ip", "netns", "delete", other)
    for printed in BY_IP:
        ours = entries(node.place, printed)
        assert len(ours) == len(theirs[printed]) > 3
        for mine, *both in zip(ours, theirs[printed], again[printed], strict=True):
            assert any(same_entry(printed, mine, other) for other in both), (mine, both)


def _printed_by_ip(node: ScannedNode) -> dict[Printed, list[dict[str, object]]]:
    return {printed: json.loads(node.do("ip", "-j", *words)) for printed, words in BY_IP.items()}


def test_a_program_of_a_more_general_name_is_taken_where_it_is_of_that_sort(node: ScannedNode) -> None:
    node.load("drift")
    there = Path(shutil.which("iptables-nft-save") or "").resolve().parent
    before = f"""
mkdir sbin
for path in {there}/*; do ln -s "$path" sbin/; done
mkdir {node.folder}/real
mount --bind {there} {node.folder}/real
for path in sbin/*; do ln -sf "{node.folder}/real/${{path##*/}}" "$path"; done
rm sbin/ip*tables-*save sbin/iptables-save sbin/ip6tables-save
ln -s {node.folder}/real/xtables-nft-multi sbin/iptables-save
mount --bind sbin {there}
"""
    done = node.scan("-q", before=before)
    dump = read_dump(node.place)
    command = {file.name: file.command for file in dump.manifest.files if file.status == "read"}
    assert command[files.IPTABLES_NFT.name] == "iptables-save -c"
    assert status(dump)[files.IPTABLES_LEGACY.name] == "failed"
    assert "the kernel has 1 of it (filter)" in detail(dump, files.IPTABLES_LEGACY)
    assert done.status == ExitStatus.INCOMPLETE


_FOREIGN = """
table inet calico {
  set s {
    type ipv4_addr
    elements = { 10.0.0.1 }
  }
  chain filter-FORWARD {
    type filter hook forward priority 0
    ip saddr @s drop
  }
}
table ip kube-proxy {
  chain services {
    accept
  }
}
"""
_OWN_CHAIN = """
table ip nat {
  chain POSTROUTING {
    type nat hook postrouting priority 7
  }
}
"""


def _tables(node: ScannedNode) -> set[tuple[str, str]]:
    """Family and name of the tables in nft.json, of which each has its chains too."""
    found = json.loads((node.place / files.NFT.name).read_text())["nftables"]
    chains = {(entry["chain"]["family"], entry["chain"]["table"]) for entry in found if "chain" in entry}
    assert chains == {(entry["table"]["family"], entry["table"]["name"]) for entry in found if "table" in entry}
    return chains


def test_tables_of_others_are_listed_without_those_that_iptables_prints(node: ScannedNode) -> None:
    node.load("hash-sha256")
    node.do("nft", "-f", "-", text=_FOREIGN)
    assert node.scan("-q").status == 0
    assert _tables(node) == {("inet", "calico"), ("ip", "kube-proxy")}
    found = json.loads((node.place / files.NFT.name).read_text())["nftables"]
    assert [entry["set"]["elem"] for entry in found if "set" in entry] == [["10.0.0.1"]]
    (file,) = (file for file in read_dump(node.place).manifest.files if file.name == files.NFT.name)
    assert file.command == "nft -j list table inet calico; nft -j list table ip kube-proxy"


def test_without_tables_of_iptables_everything_is_listed_at_once(node: ScannedNode) -> None:
    node.do("nft", "-f", "-", text=_FOREIGN)
    assert node.scan("-q").status == 0
    assert _tables(node) == {("inet", "calico"), ("ip", "kube-proxy")}


def test_a_table_that_iptables_cannot_print_is_listed_by_nft(node: ScannedNode) -> None:
    node.load("hash-sha256")
    node.do("nft", "-f", "-", text=_OWN_CHAIN)
    assert node.scan("-q").status == 0
    assert ("ip", "nat") in _tables(node)


def test_nothing_on_the_node_changes(node: ScannedNode) -> None:
    before = _traces(node)
    assert node.scan("-q").status == 0
    assert _traces(node) == before
    dump = read_dump(node.place)
    assert status(dump)[files.IPTABLES_LEGACY.name] == "absent"
    assert "could load some" in detail(dump, files.IPTABLES_LEGACY)


def _traces(node: ScannedNode) -> list[str]:
    """What a reading could leave: modules, tables of either sort, sets."""
    modules = Path("/proc/modules")
    return [
        *(sorted(line.split()[0] for line in modules.read_text().splitlines()) if modules.is_file() else ()),
        node.do("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"),
        node.do("nft", "list", "tables"),
        node.do("ipset", "list", "-n"),
    ]


def test_a_missing_program_is_no_loss_while_the_kernel_has_nothing_of_it(node: ScannedNode) -> None:
    done = node.scan("-q", before=replaced("ipset"))
    assert done.status == 0, done.stderr
    dump = read_dump(node.place)
    assert status(dump)[files.IPSET.name] == "absent"
    assert detail(dump, files.IPSET) == "there is no program ipset, and the kernel has nothing of it"


def test_a_missing_program_is_a_loss_while_the_kernel_has_something_of_it(node: ScannedNode) -> None:
    node.load("hash-sha256")
    done = node.scan(before=replaced("ipset"))
    assert done.status == ExitStatus.INCOMPLETE
    assert "incomplete" in done.stderr
    assert "NODE-DUMP-UNREAD" in done.stdout
    dump = read_dump(node.place)
    assert status(dump)[files.IPSET.name] == "failed"
    assert "azure-npm-" in detail(dump, files.IPSET)
    assert status(dump)[files.IPTABLES_NFT.name] == "read"


def test_a_failing_program_is_told_in_its_own_words(node: ScannedNode) -> None:
    broken = program(node.folder, "broken", "echo 'ipset v9: Kernel support\tprotocol mismatch' >&2; exit 3")
    node.load("hash-sha256")
    done = node.scan(before=replaced("ipset", broken))
    assert done.status == ExitStatus.INCOMPLETE
    wanted = "ipset ended with status 3: ipset v9: Kernel support?protocol mismatch"
    assert detail(read_dump(node.place), files.IPSET) == wanted
    assert wanted in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("under", "lacks"),
    [
        pytest.param(
            ("setpriv", "--bounding-set=-all", "--inh-caps=-all"), "CAP_NET_ADMIN, CAP_NET_RAW", id="no rights"
        ),
        pytest.param(
            ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-all"), "lacks CAP_NET_RAW;", id="a right less"
        ),
        pytest.param(("setpriv", "--reuid=65534", "--inh-caps=-all"), "lacks user 0, CAP_NET_ADMIN", id="another user"),
    ],
)
def test_without_rights_it_says_what_is_missing(node: ScannedNode, under: tuple[str, ...], lacks: str) -> None:
    require(shutil.which("setpriv") is not None, "setpriv (Debian: util-linux)")
    can_start = subprocess.run([*under, PROGRAM[0], "-c", "import migrate.cli"], env=environment(), check=False)
    require(can_start.returncode == 0, "a checkout that every user can read")
    node.folder.chmod(0o777)
    done = node.scan(under=under)
    assert (done.status, done.stdout) == (ExitStatus.INPUT, "")
    assert lacks in done.stderr
    assert "run it with sudo" in done.stderr
    assert list(node.folder.iterdir()) == []


def test_ctrl_c_leaves_the_earlier_dump_as_it_was(node: ScannedNode) -> None:
    assert node.scan("-q").status == 0
    before = {path: path.read_bytes() for path in node.folder.rglob("*") if path.is_file()}
    slow = program(node.folder, "slow", f"touch {node.folder}/running; exec sleep 600")
    process = node.start(replaced("ipset", slow))
    try:
        while not (node.folder / "running").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(STEP_SECONDS)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert (process.returncode, "Traceback" in stderr) == (130, False), stderr
    ours = (node.folder / "slow", node.folder / "running")
    after = {path: path.read_bytes() for path in node.folder.rglob("*") if path.is_file() and path not in ours}
    assert after == before


def test_a_closed_pipe_ends_with_141_and_the_dump_is_there(node: ScannedNode) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = node.inside(*PROGRAM, "scan", "node", "--name", NAME, "-q")
    done = subprocess.run(
        command, cwd=node.folder, env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
    assert read_dump(node.place).problems == ()


def test_a_second_scan_takes_the_place_of_the_first(node: ScannedNode) -> None:
    assert node.scan("-q").status == 0
    node.load("hash-sha256")
    assert node.scan("-q").status == 0
    sets = read_dump(node.place).sets
    assert sets is not None
    assert sets.sets
    assert [path.name for path in node.place.parent.iterdir()] == [NAME]
    assert [path.name for path in node.place.parent.parent.iterdir()] == ["nodes"]


def test_a_folder_of_something_else_is_not_replaced(node: ScannedNode) -> None:
    node.place.mkdir(parents=True)
    (node.place / "thesis.tex").write_text("x")
    done = node.scan()
    assert done.status == ExitStatus.INPUT
    assert "'thesis.tex', which is no part of a dump" in done.stderr
    assert [path.name for path in node.place.iterdir()] == ["thesis.tex"]


def test_for_a_pod_the_files_are_those_below_the_nodes_root(node: ScannedNode) -> None:
    root = node.folder / "host"
    (root / "etc/cni/net.d").mkdir(parents=True)
    (root / "etc/cni/net.d/10-azure.conflist").write_text('{"name": "azure", "plugins": [{"type": "azure-vnet"}]}')
    (root / "run/calico").mkdir(parents=True)
    (root / "var").mkdir()
    (root / "var/run").symlink_to("/run")
    done = node.scan("--host-root", root, "-o", "json")
    assert done.status == 0, done.stderr
    dump = read_dump(node.place)
    assert dump.text(files.PATHS) == "/etc/cni/net.d/10-azure.conflist\n/var/run/calico\n"
    assert (dump.text(files.CNI) or "").startswith("==> /etc/cni/net.d/10-azure.conflist <==\n{")
    assert status(dump)[files.PINNED.name] == "absent"


def test_for_a_pod_without_a_program_the_nodes_own_runs_with_the_nodes_root(node: ScannedNode) -> None:
    node.load("hash-sha256")
    root = node.folder / "host"
    root.mkdir()
    done = node.scan("--host-root", root, before=f"mount --bind / {root}\n{replaced('ipset')}")
    assert done.status == 0, done.stderr
    dump = read_dump(node.place)
    command = next(file.command for file in dump.manifest.files if file.name == files.IPSET.name)
    assert command == f"chroot {root} ipset save"
    assert dump.sets is not None
    assert dump.sets.sets


def test_a_pod_in_a_network_of_its_own_is_refused(node: ScannedNode) -> None:
    root = node.folder / "host"
    root.mkdir()
    done = node.scan("--host-root", root, before=f"mount --rbind / {root}")
    assert done.status == ExitStatus.INPUT
    assert "give its pod hostNetwork" in done.stderr
    assert not node.place.exists()


_SHOWN = [each.words for each in shown_commands() if each.words.startswith("sudo migrate scan node")]


@pytest.mark.parametrize("words", _SHOWN)
def test_a_command_of_the_documentation_runs_as_shown(node: ScannedNode, words: str) -> None:
    folder = node.folder / "work"
    folder.mkdir()
    command = node.inside("sh", "-c", words.removeprefix("sudo "))
    done = subprocess.run(command, cwd=folder, env=with_program(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir())


def test_the_documentation_shows_the_command() -> None:
    assert len(_SHOWN) > 1
