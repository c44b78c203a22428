"""A namespace that stands for a node, and `migrate scan node` as a process in it."""

from __future__ import annotations

import secrets
import shlex
import subprocess
from pathlib import Path

from tests.command_line import PATIENCE, PROGRAM, Ended, environment
from tests.kernel.lab import run

NAME = "aks-nodepool1-12345678-vmss000000"
SAMPLES = Path(__file__).parents[1] / "cases/azure/linux-npm"


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
