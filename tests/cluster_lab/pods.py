"""Pods of the lab that send and serve: processes in network namespaces that count what they did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster_lab.wire import PodNetwork

PROGRAM = Path(__file__).with_name("pod_program.py")
PATIENCE = 60.0
"""Seconds to wait for an answer that will come."""
SHORT = 0.7
"""Seconds to wait for one that never comes. Where that takes longer and the SYN goes out again, it is counted once: as
one asked here, and as one event and a retransmission by the probe.
"""


class LabPod:
    """A pod, or another place with a program of the lab in it. `sent` counts what it asked, by host and port."""

    def __init__(self, name: str, labels: Mapping[str, str], network: PodNetwork, ports: Sequence[str]) -> None:
        self.name = name
        self.labels = dict(labels)
        self.network = network
        self.sent: Counter[str] = Counter()
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", network.namespace, sys.executable, "-S", "-E", str(PROGRAM), *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Until it serves."""
        assert self._answer() == {"ready": True}

    def ask(self, host: str, port: str, times: int = 1, *, patience: float = PATIENCE) -> dict[str, int]:
        """Open connections or send datagrams, one after the other: how many were answered, refused, silent."""
        protocol, number = port.split("/")
        self.sent[f"{host} {port}"] += times
        return self._order(do="ask", host=host, port=number, protocol=protocol, times=times, patience=patience)

    def served(self) -> dict[str, int]:
        """How many came to its servers: "ADDRESS TCP/8080" for those from an address to a port."""
        return self._order(do="served")

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _order(self, **order: str | float) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the program of {self.name} ended: {self._process.poll()}"
        found: dict[str, int] = json.loads(line)
        return found
