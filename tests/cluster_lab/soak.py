"""An audit of the lab's cluster in which programs are killed and connections cut at random, while its pods talk.

By hand, for an hour: python -m tests.cluster_lab.soak --seconds 3600
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from migrate.model.agent_documents import RUN_LABEL
from tests.apiserver.admin import wait_until
from tests.cluster_lab.cluster import ClusterLab
from tests.cluster_lab.flows import Way, counted, recorded
from tests.cluster_lab.kubelet import NodeScript
from tests.cluster_lab.laptop import IMAGE, PATIENCE, Command, Laptop
from tests.cluster_lab.objects import is_going, items, part
from tests.cluster_lab.scene import Scene, working_folder
from tests.command_line import Ended

INTERVAL = "5s"
"""Each question starts a program on each node, which is what these tests cost."""
_LARGEST_CUT = 20_000
_PATIENCE = 120.0
_LOOK_AGAIN_SECONDS = 0.2


class Soak:
    """A run of agents that is disturbed. `done` has what was done to it, for who looks for the cause of a failure."""

    def __init__(self, scene: Scene, laptop: Laptop, seed: int) -> None:
        self.scene = scene
        self.laptop = laptop
        self.done: list[str] = []
        self._chance = random.Random(seed)
        self._watcher: Command | None = None

    def run(self, seconds: float, *, restarts: bool = False) -> Ended:
        """Deploy, disturb for so long, and stop. `restarts`: the API server is restarted now and then as well."""
        deployed = self.laptop.run("deploy", "--image", IMAGE, "--duration", "2h", "--yes")
        assert deployed.status == 0, deployed.stderr
        self._watch()
        wait_until_watching(self.laptop, self.scene.watched)
        ways: list[Callable[[], None]] = [self._kill_agent, self._kill_watcher, self._cut, self._slow, self._refuse]
        ways += [self._evict]
        ways += [self._shut_gate, *([self._restart_server] if restarts else [])]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for way in self._chance.sample(ways, 2):
                way()
            self.scene.talk()
        self._calm()
        assert self._watcher is not None
        self._watcher.interrupt()
        wait_until(self._all_record, seconds=PATIENCE)
        return self.laptop.run("stop")

    def close(self) -> None:
        """Who watches ends with the test at the latest."""
        if self._watcher is not None:
            self._watcher.close()

    def _watch(self) -> None:
        self._watcher = self.laptop.begin("attach", "--interval", INTERVAL)

    def _node(self) -> str:
        return self._chance.choice(sorted(self.scene.lab.nodes))

    def _script(self, node: str) -> NodeScript:
        return self.scene.lab.kubelets.scripts.setdefault(node, NodeScript())

    def _kill_agent(self) -> None:
        node = self._node()
        self.done.append(f"killed the agent of {node}")
        for container in self.scene.lab.kubelets.containers(node):
            container.kill()

    def _evict(self) -> None:
        node = self._node()
        self.done.append(f"evicted the agent of {node}")
        self.scene.lab.kubelets.evict(node, "The node was low on resource: ephemeral-storage.")

    def _kill_watcher(self) -> None:
        self.done.append("killed who watches")
        assert self._watcher is not None
        self._watcher.kill()
        self._watch()

    def _cut(self) -> None:
        node, octets = self._node(), self._chance.randrange(_LARGEST_CUT)
        self.done.append(f"cut an answer of {node} after {octets} bytes")
        self._script(node).execs.cuts.append(octets)

    def _slow(self) -> None:
        node = self._node()
        self.done.append(f"slow answers of {node}")
        self._script(node).execs.piece, self._script(node).execs.pause = 512, 0.02

    def _refuse(self) -> None:
        node = self._node()
        self.done.append(f"refused a command on {node}")
        self._script(node).execs.refusals.append(self._chance.choice((403, 500, 503)))

    def _shut_gate(self) -> None:
        """The agents of a node hear nothing of the API server for a while."""
        node = self._node()
        self.done.append(f"shut the way of {node} to the API server")
        gate = self.scene.lab.nodes[node].gate
        gate.shut()
        self.scene.talk()
        gate.open()

    def _restart_server(self) -> None:
        self.done.append("restarted the API server")
        self.scene.lab.restart_server()

    def _all_record(self) -> bool:
        """Whether every node's newest agent runs and says that it records; a stop tells of those that do not."""
        return all(self._records(node) for node in self.scene.lab.nodes)

    def _records(self, node: str) -> bool:
        pods = items(self.scene.lab.admin, f"/api/v1/pods?labelSelector={RUN_LABEL}&fieldSelector=spec.nodeName={node}")
        living = [pod for pod in pods or [] if part(pod, "status").get("phase") != "Failed" and not is_going(pod)]
        containers = self.scene.lab.kubelets.containers(node)
        if [part(pod, "status").get("phase") for pod in living] != ["Running"] or len(containers) != 1:
            return False
        asked = subprocess.run(
            containers[0].inside(["migrate", "audit", "agent", "status"]), capture_output=True, text=True, check=False
        )
        return asked.returncode == 0 and json.loads(asked.stdout)["state"] == "recording"

    def _calm(self) -> None:
        """Nothing goes wrong any more, so that all of it can be ended and taken away."""
        for script in self.scene.lab.kubelets.scripts.values():
            execs = script.execs
            execs.piece, execs.pause = 1 << 15, 0.0
            execs.cuts.clear()
            execs.refusals.clear()


def wait_until_watching(laptop: Laptop, pods: dict[str, int]) -> None:
    """Until who watches knows that the agents of these nodes record the interfaces of so many pods."""
    end = time.monotonic() + _PATIENCE
    while (seen := watching(laptop)) != pods:
        assert time.monotonic() < end, f"not watched: {seen}; {laptop.watch}; {laptop.logs()}"
        time.sleep(_LOOK_AGAIN_SECONDS)


def watching(laptop: Laptop) -> dict[str, object]:
    """How many pods the agent of each node records, as far as who watches knows."""
    return {
        name: part(node, "status").get("watchedPods")
        for name, node in laptop.nodes().items()
        if part(node, "status").get("state") == "recording"
    }


def differences(scene: Scene, recording: Path) -> dict[Way, tuple[int, int]]:
    """Flows of which a recording has more or fewer than pods counted: counted and recorded."""
    sent, kept = counted(scene.pods), recorded(recording)
    return {way: (sent[way], kept[way]) for way in sorted(sent.keys() | kept.keys()) if sent[way] != kept[way]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with ClusterLab() as lab, tempfile.TemporaryDirectory() as folder:
        scene, laptop = Scene(lab), Laptop(lab, Path(folder))
        working_folder(lab, laptop.folder)
        soak = Soak(scene, laptop, arguments.seed)
        stopped = soak.run(arguments.seconds, restarts=True)
        print("\n".join(soak.done))
        print(stopped.stdout, stopped.stderr)
        wrong, left = differences(scene, laptop.folder / "audit.db"), lab.left()
        print(f"counted differently: {wrong or 'nothing'}; left on nodes: {left or 'nothing'}")
        raise SystemExit(1 if wrong or left else 0)


if __name__ == "__main__":
    main()
