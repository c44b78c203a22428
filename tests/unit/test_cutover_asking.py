"""Asking the agents of a large cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from migrate.cutover.asking import AgentPod, Wanted, ask_all


class Agents:
    """Agents that answer nothing; counts those that were asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: set[str] = set()

    def get(self, path: str, accept: str = "") -> bytes:
        raise AssertionError(path)

    def execute(self, pod_path: str, container: str, command: Sequence[str], silence: float) -> Iterator[bytes]:
        with self._lock:
            self.asked.add(pod_path)
        return iter(())


def test_no_more_answers_wait_than_are_asked_for_at_once() -> None:
    agents, most = Agents(), 8
    pods = [AgentPod(f"node-{number}", "kube-system", f"cilium-{number}", "Running") for number in range(100)]
    nodes = []
    for taken, told in enumerate(ask_all(agents, pods, Wanted(), lambda *_: None)):
        nodes.append(told.state.node)
        assert len(agents.asked) <= taken + most
    assert nodes == [pod.node for pod in pods]
