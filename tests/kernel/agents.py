"""An agent as its container runs it: a process in the network namespace of a node, and the commands beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import migrate as package
from migrate.agent.ending import clean, stop
from migrate.agent.settings import Places
from migrate.agent.telling import agent_status
from migrate.audit.pulling import Pulled
from migrate.model.agent_documents import NODE_VARIABLE, POD_VARIABLE, AgentSettings, AgentStatus, Cleaned
from tests.command_line import PROGRAM, environment
from tests.kernel.lab import inside
from tests.unit.pulled import pull

NODE_NAME, RUN = "node-1", "run-7f3a"
PATIENCE = 120.0
_LOOK_AGAIN_SECONDS = 0.1
SETTINGS = AgentSettings(
    tool_version=package.__version__,
    run=RUN,
    cluster="digest-of-a-cluster",
    began=1_700_000_000_000_000_000,
    seconds=3600,
    shortest_epoch=1.0,
)


@dataclass
class Agent:
    """The agent of a node, whose files are in `folder`. `through` is a command that runs it, `pod` its pod if any."""

    namespace: str
    folder: Path
    bpffs: Path
    through: tuple[str, ...] = ()
    pod: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def recording(self) -> Path:
        """Where it records."""
        return self.folder / "store" / RUN / "audit.db"

    @property
    def log(self) -> str:
        """What it said to people."""
        return (self.folder / "log").read_text()

    def settle(self, settings: AgentSettings | bytes) -> None:
        """Write its settings."""
        data = settings if isinstance(settings, bytes) else msgspec.json.encode(settings)
        (self.folder / "run.json").write_bytes(data)

    def start(self) -> None:
        """Start its container, or start it again."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command("run", through=self.through), env=self._environment(), stdout=log, stderr=log
            )

    def signal(self, number: signal.Signals) -> int:
        """Send a signal that ends it; its exit status."""
        assert self.process is not None
        os.kill(self.process.pid, number)
        return self.process.wait(PATIENCE)

    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def ask(self, *command: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
        """A command beside it."""
        return subprocess.run(
            self._command(*command),
            env=self._environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
        )

    @property
    def places(self) -> Places:
        """Where its files are."""
        return Places(self.folder / "run.json", self.folder / "store", self.bpffs)

    def status(self) -> AgentStatus:
        """How it does."""
        return agent_status(self.places, NODE_NAME)

    def wait_until(self, is_so: Callable[[AgentStatus], bool]) -> AgentStatus:
        """Its state when it is so."""
        end = time.monotonic() + PATIENCE
        while not is_so(told := self.status()):
            assert time.monotonic() < end, f"{told}\n{self.log}"
            time.sleep(_LOOK_AGAIN_SECONDS)
        return told

    def wait_until_watching(self, pods: int) -> AgentStatus:
        """Return when it sees all these pods."""
        return self.wait_until(lambda told: told.state == "recording" and told.watched_pods >= pods)

    def stop(self) -> AgentStatus:
        """Ask it to end the recording."""
        return stop(self.places, NODE_NAME, PATIENCE)

    def pull(self, copy: Path) -> Pulled:
        """What is new in its recording."""
        return pull(self.recording, copy)

    def clean(self, patience: float = PATIENCE) -> Cleaned:
        """Take everything of it off the node."""
        with inside(self.namespace):
            return clean(self.places, NODE_NAME, patience)

    def _command(self, *command: str, through: tuple[str, ...] = ()) -> list[str]:
        places = self.places
        options = {"--settings": places.settings, "--store": places.store, "--bpffs": places.bpffs}
        more = [str(part) for option in options.items() for part in option]
        entering = ("nsenter", f"--net=/run/netns/{self.namespace}", *through)
        return [*entering, *PROGRAM, "audit", "agent", *command, *more]

    def _environment(self) -> dict[str, str]:
        of_pod = {POD_VARIABLE: self.pod, "TMPDIR": str(self.folder)} if self.pod else {}
        return environment(**{NODE_VARIABLE: NODE_NAME}, **of_pod)


@contextmanager
def an_agent(
    namespace: str,
    folder: Path,
    bpffs: Path,
    settings: AgentSettings | bytes = SETTINGS,
    through: tuple[str, ...] = (),
    pod: str = "",
) -> Iterator[Agent]:
    """An agent that has started; it ends with the block."""
    agent = Agent(namespace, folder, bpffs, through, pod)
    agent.settle(settings)
    agent.start()
    try:
        yield agent
    finally:
        if agent.process is not None and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()
