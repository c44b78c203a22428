"""A namespace that stands for a node, `migrate scan node` as a process in it, and what its dump is compared with."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migrate.model.ip_sets import IpSets
from migrate.nodes import files
from migrate.nodes.dump import NodeDump
from migrate.nodes.files import Printed
from tests.command_line import PATIENCE, PROGRAM, Ended, environment
from tests.kernel.lab import inside, run
from tests.prerequisites import require
from tests.unit.node_rules import set_lines

NAME = "aks-nodepool1-12345678-vmss000000"
SAMPLES = Path(__file__).parents[1] / "cases/azure/linux-npm"
STEP_SECONDS = 0.05
_LINKS = """
link set lo up
link add br0 type bridge
link add vx0 type vxlan id 4096 dstport 8472 local 10.0.0.1 nolearning
link add vx1 type vxlan external dstport 4790
link add ve0 type veth peer name ve1
link set br0 alias spare
link set ve0 master br0
link set br0 up
link set ve0 up
link set ve1 up
address add 10.0.0.1/24 brd + dev ve1
address add 10.0.0.3/24 dev ve1
address add fd00::1/64 dev ve1 nodad
address add 10.1.0.1 peer 10.1.0.2 dev ve1
address add 169.254.1.1/32 dev ve1 scope link
address add 10.44.0.1/24 dev ve1 valid_lft 1000000 preferred_lft 500000
route add 10.5.0.0/16 via 10.0.0.5 metric 5 proto bird
route add 10.6.0.0/16 nexthop via 10.0.0.6 dev ve1 weight 2 nexthop via 10.0.0.7 dev ve1
route add blackhole 10.7.0.0/16 proto 80
route add 10.8.0.0/16 dev ve1 table 100
route add 10.9.0.0/16 via inet6 fe80::1 dev ve1
route add 10.10.0.0/16 via 10.0.0.5 mtu 1400 advmss 1300 onlink dev ve1
route add 10.11.0.0/16 dev ve1 src 10.0.0.1 proto static scope link
route add unreachable fd01::/64
rule add fwmark 0x200/0xf00 lookup 2004 priority 9
rule add from 10.0.0.0/24 to 10.1.0.0/16 iif ve1 lookup 100
rule add not from 10.3.0.0/16 table 7 suppress_prefixlength 0
rule add blackhole to 1.2.3.4
rule add goto 32767 ipproto tcp dport 80-90 uidrange 1-5
rule add ipproto udp sport 53 lookup 8
rule add from all lookup 5 protocol 90
"""
_MAY_BE_UNKNOWN = """
link add gn0 type geneve id 5 remote 10.0.0.8
link add link ve1 name vl0 type vlan id 5
link add tn0 type ipip local 10.0.0.1 remote 10.0.0.9
"""
BY_IP = {
    files.LINKS: ("-d", "link", "show"),
    files.ADDRESSES: ("address", "show"),
    files.ROUTES: ("-4", "route", "show", "table", "all"),
    files.ROUTES6: ("-6", "route", "show", "table", "all"),
    files.ROUTE_RULES: ("rule", "show"),
}


class ScannedNode:
    """A namespace with rules and sets of its own; scans run in it, and write below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace = f"mig{secrets.token_hex(4)}"
        run("ip", "netns", "add", self.namespace)

    def inside(self, *command: str | Path) -> list[str]:
        """A command for the namespace, which keeps the machine's own mounts."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *map(str, command)]

    def do(self, *command: str | Path, text: str | None = None) -> str:
        """What a command prints inside. Raises CalledProcessError."""
        return subprocess.run(
            self.inside(*command), check=True, capture_output=True, text=True, input=text, cwd=self.folder
        ).stdout

    def load(self, sample: str) -> None:
        """The rules and sets of a sample."""
        self.do("ipset", "restore", text=(SAMPLES / sample / "ipset-save.txt").read_text())
        self.do("iptables-nft-restore", text=(SAMPLES / sample / "iptables-save.txt").read_text())
        older = SAMPLES / sample / "iptables-legacy-save.txt"
        if older.is_file():
            self.do("iptables-legacy-restore", text=older.read_text())

    def scan(self, *options: str | Path, before: str = "", under: tuple[str, ...] = ()) -> Ended:
        """How `migrate scan node` ends; `before` is shell that changes mounts for it alone, `under` restricts it."""
        words = [*under, *PROGRAM, "scan", "node", "--name", NAME, *map(str, options)]
        if before:
            words = ["unshare", "--mount", "sh", "-c", f"{before}\nexec {shlex.join(words)}"]
        done = subprocess.run(
            self.inside(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environment(),
            check=False,
            timeout=PATIENCE,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, before: str) -> subprocess.Popen[str]:
        """`migrate scan node` as a process that goes on, in a process group of its own as a terminal has it."""
        script = f"{before}\nexec {shlex.join([*PROGRAM, 'scan', 'node', '--name', NAME])}"
        return subprocess.Popen(
            self.inside("unshare", "--mount", "sh", "-c", script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment(),
            start_new_session=True,
        )

    @property
    def place(self) -> Path:
        """Where its dump is."""
        return self.folder / "migration/nodes" / NAME

    def remove(self) -> None:
        """Take the namespace away."""
        run("ip", "netns", "delete", self.namespace)


def program(folder: Path, name: str, text: str) -> Path:
    """A shell script that stands in for a program."""
    made = folder / name
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    return made


def replaced(name: str, by: Path | str = "/dev/null") -> str:
    """Shell that hides a program of the machine, or puts another in its place."""
    found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True).stdout
    return f"mount --bind {by} {shlex.quote(str(Path(found.strip()).resolve()))}"


def add_links(node: ScannedNode) -> None:
    """Links, addresses, routes and rules of many kinds; some kinds of links are modules that a kernel may lack."""
    with inside(node.namespace):  # else addresses come and change by themselves for seconds
        Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("1")
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    node.do("ip", "-batch", "-", text=_LINKS)
    node.do("sh", "-c", "ip -force -batch - || true", text=_MAY_BE_UNKNOWN)
    hops = ("nexthop", "via", "fd00::5", "dev", "ve1", "nexthop", "via", "fd00::6", "dev", "ve1")
    node.do("ip", "-6", "route", "add", "fd02::/64", *hops)
    for link in ("br0", "ve0", "ve1"):
        while json.loads(node.do("ip", "-j", "link", "show", "dev", link))[0]["operstate"] != "UP":
            time.sleep(STEP_SECONDS)


def status(dump: NodeDump) -> dict[str, str]:
    """How each file was read."""
    return {file.name: file.status for file in dump.manifest.files}


def detail(dump: NodeDump, printed: Printed) -> str:
    """What is said of a file."""
    return next(file.detail for file in dump.manifest.files if file.name == printed.name)


def _json(folder: Path, printed: Printed) -> object:
    return json.loads((folder / printed.name).read_text())


def members(sets: IpSets) -> dict[str, set[str]]:
    """The members of each set, as text."""
    return {one.name: {line for line in set_lines(one) if line.startswith("add ")} for one in sets.sets}


def same_entry(printed: Printed, mine: dict[str, object], theirs: dict[str, object]) -> bool:
    """Whether an entry is the same; of links only what both have, since `ip` says more of them; lifetimes go on."""
    if printed is files.LINKS:
        return {"ifname", "mtu", "flags", "link_type"} <= mine.keys() and _is_part(mine, theirs)
    for entry in (mine, theirs):
        for address in entry.get("addr_info") or ():  # type: ignore[attr-defined]
            if address.get("dynamic"):
                address.pop("valid_life_time", None)
                address.pop("preferred_life_time", None)
    return mine == theirs


def _is_part(mine: object, theirs: object) -> bool:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return all(key in theirs and _is_part(value, theirs[key]) for key, value in mine.items())
    return mine == theirs


def entries(folder: Path, printed: Printed) -> list[dict[str, object]]:
    """A list in a file of a dump."""
    found = _json(folder, printed)
    assert isinstance(found, list)
    return found


@contextmanager
def scanned_node(folder: Path) -> Iterator[ScannedNode]:
    """A node without rules and links, which ends with the block."""
    for name in ("ipset", "nft", "iptables-legacy-restore", "nsenter", "unshare"):
        require(shutil.which(name) is not None, name)
    made = ScannedNode(folder)
    try:
        yield made
    finally:
        made.remove()
