"""A laptop from which a cluster is audited: a working folder, and commands as processes that can be ended or killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from tests.apiserver.admin import Object
from tests.cluster_lab.cluster import ClusterLab
from tests.command_line import PROGRAM, Ended, environment

IMAGE = f"registry.example/cilium-migrate@sha256:{'a' * 64}"
PATIENCE = 240.0


class Command:
    """`migrate` with some arguments, that runs."""

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        self._streams = [(folder / f".{name}").open("w+b") for name in ("stdout", "stderr")]
        stdout, stderr = self._streams
        self._process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def interrupt(self) -> Ended:
        """Ctrl-C, and how it ended."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self.end()

    def end(self) -> Ended:
        """Wait for its end."""
        status = self._process.wait(PATIENCE)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode())
            stream.close()
        return Ended(status, *texts)

    def close(self) -> None:
        """It ends with the test at the latest."""
        if self.runs:
            self._process.kill()
            self._process.wait()
        for stream in self._streams:
            with suppress(OSError):
                stream.close()


class Laptop:
    """A working folder, and who works in it."""

    def __init__(self, lab: ClusterLab, folder: Path, kubeconfig: Path | None = None) -> None:
        self.folder = folder
        self._lab = lab
        self._kubeconfig = str(kubeconfig or lab.server.admin)

    def begin(self, *arguments: str) -> Command:
        """Start `migrate audit` with these arguments, about the cluster."""
        return Command(self.folder, ("audit", *arguments, "--dir", ".", "--kubeconfig", self._kubeconfig))

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Command]:
        """The same, until the end of the block at the latest."""
        made = self.begin(*arguments)
        try:
            yield made
        finally:
            made.close()

    def run(self, *arguments: str) -> Ended:
        """The same, until it ends by itself."""
        with self.running(*arguments) as made:
            return made.end()

    def copied(self, folder: Path) -> None:
        """Another one gets the snapshot and the translation."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("audit*", ".std*"))

    @property
    def watch(self) -> Object:
        """What this one knows of the run; empty before it knows anything."""
        path = self.folder / "audit" / "run.json"
        return cast("Object", json.loads(path.read_text())) if path.exists() else {}

    def nodes(self) -> dict[str, Object]:
        """What it knows of each node."""
        return {str(node["name"]): node for node in cast("list[Object]", self.watch.get("nodes") or [])}

    def logs(self) -> dict[str, list[str]]:
        """What agents printed, for who looks for the cause of a failure."""
        return {node: [one.log()[-2000:] for one in self._lab.kubelets.of_node(node)] for node in self._lab.nodes}
