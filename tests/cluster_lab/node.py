"""A node of the lab: its network, files, boot id, clock and pods."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from migrate.audit import libbpf
from migrate.audit.attach import has_tcx
from migrate.audit.pins import mount_bpffs
from tests.cluster_lab.gate import Gate
from tests.cluster_lab.pods import LabPod
from tests.cluster_lab.runtime import Place
from tests.cluster_lab.wire import NodeNetwork
from tests.kernel.lab import inside, run, unmount

_TCX = (46, 47)
"""The kernel's numbers for what an interface sends and gets."""


class LabNode:
    """A node. `skew` are the seconds that its clock is ahead."""

    def __init__(self, name: str, network: NodeNetwork, folder: Path, skew: int, library: Path, port: int) -> None:
        self.name = name
        self.network = network
        self.skew = skew
        self.root = folder / "root"
        self.pods: dict[str, LabPod] = {}
        self._library = library
        self._port = port
        self._boot_id = folder / "boot_id"
        self.store.parent.mkdir(parents=True)
        self.bpffs.mkdir(parents=True)
        self._boot()

    @property
    def bpffs(self) -> Path:
        """The node's bpf filesystem."""
        return self.root / "sys/fs/bpf"

    @property
    def store(self) -> Path:
        """What agents write on the node's disk."""
        return self.root / "var/lib/cilium-migrate"

    @property
    def boot_id(self) -> str:
        """Of its present boot."""
        return self._boot_id.read_text().strip()

    def place(self) -> Place:
        """What its containers see."""
        skew = self._library if self.skew else None
        return Place(self.name, self.network.namespace, self.root, self._boot_id, skew, self.skew)

    def _boot(self) -> None:
        self._boot_id.write_text(f"{uuid.uuid4()}\n")
        mount_bpffs(self.bpffs)
        self.gate = Gate(self.network.namespace, self._port)

    def crash(self) -> None:
        """All processes, interfaces and pins are gone; files stay."""
        self.gate.close()
        for name in list(self.pods):
            self.remove_pod(name)
        unmount(self.bpffs)
        self.network.remove()

    def boot_again(self) -> None:
        """The network's namespace is there again, without pods."""
        self.network.build()
        self._boot()

    def add_pod(self, name: str, labels: dict[str, str], *ports: str) -> LabPod:
        """A new pod on this node; `wait` for it."""
        made = LabPod(name, labels, self.network.add_pod(name), ports)
        self.pods[name] = made
        return made

    def remove_pod(self, name: str) -> None:
        """Take a pod away."""
        pod = self.pods.pop(name)
        pod.close()
        self.network.remove_pod(pod.network)

    def close(self) -> None:
        """End what runs; files and namespaces go with the lab."""
        self.gate.close()
        for pod in self.pods.values():
            pod.close()

    def left(self) -> list[str]:
        """What of an audit is on the node: programs and filters at pods, pins, files."""
        files = (path for folder in (self.store, self.bpffs) for path in folder.glob("**/*"))
        found = [str(path.relative_to(self.root)) for path in files if not path.name.endswith(".debug")]
        with inside(self.network.namespace):
            return sorted(chain(found, *(self._left_at(pod) for pod in self.pods.values())))

    def _left_at(self, pod: LabPod) -> Iterator[str]:
        veth = pod.network.veth
        index = int(run("ip", "-o", "link", "show", "dev", veth).split(":")[0])
        for kind in _TCX if has_tcx() else ():
            yield from (f"a program at {pod.name}" for _ in libbpf.programs_at(index, kind))
        shown = subprocess.run(["tc", "qdisc", "show", "dev", veth], capture_output=True, text=True, check=True).stdout
        if "clsact" in shown:
            yield f"a discipline at {pod.name}"
