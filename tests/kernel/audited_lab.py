"""The lab of tests/kernel/kube_lab.py as a snapshot with policies, and `migrate audit` as a process on its node."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migrate import yaml_out
from migrate.audit import libbpf
from migrate.audit.attach import has_tcx
from migrate.audit.reading import open_recording
from migrate.audit.recording import writer_of
from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from tests.command_line import PROGRAM, environment, migrate
from tests.kernel import kube_lab
from tests.kernel.kube_lab import Lab
from tests.kernel.lab import inside, run

NODE_NAME = "node-1"
PATIENCE = 120.0
OTHER_POLICIES = ("--policies", "policies")
_LOOK_AGAIN_SECONDS = 0.1
_TCX = (46, 47)
"""The kernel's numbers for what an interface sends and gets."""


def objects(lab: Lab) -> list[dict[str, Json]]:
    """The cluster: a node, a namespace, the lab's pods as Deployments of their own, and the Service before pod b."""
    found: list[dict[str, Json]] = [
        _object("v1", "Namespace", None, "shop"),
        {
            **_object("v1", "Node", None, NODE_NAME),
            "status": {"addresses": [{"type": "InternalIP", "address": kube_lab.NODE_ADDRESS}]},
        },
        {
            **_object("v1", "Service", "shop", "b"),
            "spec": {
                "clusterIP": kube_lab.SERVICE,
                "selector": {"app": "b"},
                "ports": [{"port": kube_lab.SERVICE_PORT, "targetPort": kube_lab.BACKEND_PORT, "protocol": "TCP"}],
            },
        },
    ]
    found += [pod_object(name, pod.address) for name, pod in sorted(lab.pods.items())]
    return found


def pod_object(name: str, address: str) -> dict[str, Json]:
    """A running pod with the label app."""
    pod = _object("v1", "Pod", "shop", f"{name}-0", {"app": name})
    pod["spec"] = {"nodeName": NODE_NAME, "containers": [{"name": "main"}]}
    pod["status"] = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return pod


def policy(name: str, app: str, rules: dict[str, Json]) -> dict[str, Json]:
    """A CiliumNetworkPolicy for the pods of an app."""
    made = _object("cilium.io/v2", "CiliumNetworkPolicy", "shop", name)
    made["spec"] = {"endpointSelector": {"matchLabels": {"app": app}}, **rules}
    return made


def working_folder(folder: Path, lab: Lab, policies: list[dict[str, Json]]) -> None:
    """A folder with a snapshot of the lab, and policies/ beside it."""
    (folder / "cluster.yaml").write_text("---\n".join(yaml_out.dump(entry) for entry in objects(lab)))
    ended = migrate(folder, "scan", "-f", "cluster.yaml", "--output-dir", ".", "--quiet")
    assert ended.status == 0, ended.stderr
    write_policies(folder / "policies", policies)


def translated_folder(folder: Path, lab: Lab, *policies: dict[str, Json]) -> None:
    """A folder with a snapshot of the lab that has these NetworkPolicies, and their translation."""
    (folder / "cluster.yaml").write_text("---\n".join(yaml_out.dump(entry) for entry in (*objects(lab), *policies)))
    for command in (
        ("scan", "-f", "cluster.yaml", "--quiet", "--output-dir", "."),
        ("translate", "--before-engine", "none", "--output-dir", "."),
    ):
        ended = migrate(folder, *command)
        assert ended.status == 0, ended.stderr


def write_policies(folder: Path, policies: list[dict[str, Json]]) -> None:
    """Manifests in a folder."""
    folder.mkdir(exist_ok=True)
    for entry in policies:
        (folder / f"{RawObject(entry).ref.name}.yaml").write_text(yaml_out.dump(entry))


class Audited:
    """An audit that runs as a process, and its recording."""

    def __init__(self, process: subprocess.Popen[str], recording: Path) -> None:
        self.process = process
        self.recording = recording

    def wait_until_watching(self, pods: int) -> None:
        """Return when all these pods are watched."""
        end = time.monotonic() + PATIENCE
        while not self._watches(pods):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"the audit does not watch: {self.process.communicate()}")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _watches(self, pods: int) -> bool:
        """What a killed audit left looks watched too, so that this one has to be the writer."""
        if writer_of(self.recording) != self.process.pid:
            return False
        try:
            with open_recording(self.recording) as reading:
                return sum(1 for veth in reading.veths() if veth.until is None) >= pods
        except InputError:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: status, stdout, stderr."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, stdout, stderr


class Auditing(Audited):
    """`migrate audit` as a process in the network namespace of the lab's node."""

    def __init__(
        self, lab: Lab, folder: Path, bpffs: Path, duration: str, *more: str, through: tuple[str, ...] = ()
    ) -> None:
        arguments = ("--dir", ".", "--node", NODE_NAME, "--bpffs", str(bpffs), *(more or OTHER_POLICIES))
        command = (*PROGRAM, "audit", "--duration", duration, *arguments)
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{lab.node}", *through, *command],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        super().__init__(process, folder / "audit.db")


def left_in_kernel(lab: Lab, bpffs: Path) -> list[str]:
    """What of an audit is at the lab's pods or pinned: links, filters, their discipline, pins."""
    left = [str(path) for path in bpffs.glob("cilium-migrate/**/*")]
    with inside(lab.node):
        for name, pod in sorted(lab.pods.items()):
            left += [f"link at {name}" for kind in _TCX if has_tcx() for _ in libbpf.programs_at(pod.ifindex, kind)]
            shown = run("tc", "qdisc", "show", "dev", pod.veth) + run(
                "tc", "filter", "show", "dev", pod.veth, "ingress"
            )
            left += [f"{word} at {name}" for word in ("clsact", "migrate_") if word in shown]
    return left


@contextmanager
def auditing(
    lab: Lab, folder: Path, bpffs: Path, duration: str, *more: str, through: tuple[str, ...] = ()
) -> Iterator[Auditing]:
    """An audit that ends with the test at the latest, run by the command `through`.

    `more` arguments are in place of those that name policies/.
    """
    made = Auditing(lab, folder, bpffs, duration, *more, through=through)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.communicate()


def _object(
    version: str, kind: str, namespace: str | None, name: str, labels: dict[str, Json] | None = None
) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
