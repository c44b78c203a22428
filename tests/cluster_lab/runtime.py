"""A container runtime for the nodes of the lab: containers of pods' specs as processes, and commands inside of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tests.apiserver.admin import Object

PROGRAM = Path(__file__).with_name("container_program.py")
_ROOT = Path(__file__).parents[2]
_PYTHON, _CHECKOUT = "/image/python", "/image/checkout"
"""Where containers have what runs the program, so that no volume of theirs can be in its way."""
_PATH = f"{_PYTHON}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Place:
    """A node, as a container sees it. `root` has the node's files, `skew` is a library, or None for the true time."""

    name: str
    network: str
    root: Path
    boot_id: Path
    skew: Path | None
    skew_seconds: int


@dataclass
class Container:
    """A container that was started. `process` ends when it does; `folder` has its log."""

    spec: Object
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    folder: Path
    rights: list[str]
    _number: int | None = field(default=None)

    @property
    def number(self) -> int:
        """Of its first process. Raises RuntimeError when it never came up."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while self._number is None:
            told = self.folder / "process"
            if told.is_file() and told.read_text():
                self._number = int(told.read_text())
            elif time.monotonic() > end or not self.runs:
                raise RuntimeError(f"the container did not start: {self.log()}")
            else:
                time.sleep(_LOOK_AGAIN_SECONDS)
        return self._number

    @property
    def runs(self) -> bool:
        """Whether its first process has not ended."""
        return self.process.poll() is None

    def log(self) -> str:
        """What it printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command of this machine that runs one in the container, with the container's rights."""
        into = ["nsenter", "--target", str(self.number), "--mount", "--pid", "--net", "--uts", "--ipc", "--root"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return [*into, "--wd=/", "env", "-i", *variables, *self.rights, *program(command)]

    def kill(self) -> None:
        """End it with SIGKILL, as the kernel does when its memory is over."""
        if self.runs:
            os.kill(self.number, signal.SIGKILL)
            self.process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.runs:
            os.kill(self.number, signal.SIGTERM)


def start(place: Place, pod: Object, mounts: list[tuple[str, str, bool]], work: Path, api: dict[str, str]) -> Container:
    """Start the only container of a pod. `mounts` are sources on this machine, targets, and whether to read only."""
    spec = cast("dict[str, object]", pod["spec"])
    [container] = cast("list[Object]", spec["containers"])
    assert spec.get("hostNetwork") is True, "the lab has no other network for pods of a DaemonSet"
    assert not any(spec.get(name) for name in ("hostPID", "hostIPC"))
    rights = cast("Object", container.get("securityContext") or {})
    shutil.rmtree(work, ignore_errors=True)
    (work / "root").mkdir(parents=True)
    variables = _environment(pod, container) | api
    if place.skew is not None:
        variables["SKEW_SECONDS"] = str(place.skew_seconds)
    narrowed = _rights(spec, rights)
    order = {
        "network": place.network,
        "processFile": str(work / "process"),
        "work": str(work / "root"),
        "mounts": mounts,
        "bootId": str(place.boot_id),
        "skew": "" if place.skew is None else str(place.skew),
        "hostName": place.name,
        "command": [*narrowed, *program(_command(container))],
        "environment": variables,
        "readOnlyRoot": rights.get("readOnlyRootFilesystem") is True,
        "image": [(sys.base_prefix, sys.base_prefix), (sys.prefix, _PYTHON), (str(_ROOT), _CHECKOUT)],
    }
    with (work / "log").open("wb") as log:
        command = [sys.executable, str(PROGRAM), json.dumps(order)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    within = dict(variables) | ({"LD_PRELOAD": "/skew.so"} if place.skew is not None else {})
    return Container(container, within, process, work, narrowed)


def program(command: Sequence[str]) -> list[str]:
    """A command of the image on this machine: migrate is what is in this checkout."""
    name, *arguments = command
    return [f"{_PYTHON}/bin/python", "-m", "migrate", *arguments] if name == "migrate" else [name, *arguments]


def _command(container: Object) -> list[str]:
    """The image's entry point is migrate."""
    command = cast("list[str]", container.get("command") or ["migrate"])
    return [*command, *cast("list[str]", container.get("args") or [])]


def _rights(spec: dict[str, object], rights: Object) -> list[str]:
    """The command that gives up what the spec does not grant."""
    of_pod = cast("Object", spec.get("securityContext") or {})
    assert not rights.get("privileged")
    capabilities = cast("dict[str, list[str]]", rights.get("capabilities") or {})
    assert capabilities.get("drop") == ["ALL"], "what a runtime grants by default is not known here"
    bounding = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities.get("add", []))])
    user, group = (str(rights.get(name, of_pod.get(name, 0))) for name in ("runAsUser", "runAsGroup"))
    narrowed = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--inh-caps", "-all"]
    narrowed += ["--bounding-set", bounding]
    return [*narrowed, "--no-new-privs"] if rights.get("allowPrivilegeEscalation") is False else narrowed


def _environment(pod: Object, container: Object) -> dict[str, str]:
    """The variables of the spec, those of the image, and none of this machine."""
    made = {"PATH": _PATH, "PYTHONPATH": _CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"}
    for variable in cast("list[Object]", container.get("env") or []):
        name = str(variable["name"])
        made[name] = str(variable.get("value", "")) if "valueFrom" not in variable else _of_field(pod, variable)
    return made


def _of_field(pod: Object, variable: Object) -> str:
    path = cast("dict[str, dict[str, str]]", variable["valueFrom"])["fieldRef"]["fieldPath"]
    found: object = pod
    for step in path.split("."):
        found = cast("Object", found)[step]
    return str(found)
