"""The pods that read nodes, as they are sent to the API server and shown to people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template
from textwrap import indent

import msgspec
import yaml

import migrate
from migrate.errors import InputError
from migrate.model.node_documents import System
from migrate.nodes.windows.collector import collector_script
from migrate.resources import data

NAME_LABEL = "app.kubernetes.io/name"
COLLECTOR = "cilium-migrate-collector"
RUN_LABEL = "cilium-migrate/run"
CONTAINER = "collector"
IMAGE_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9][a-zA-Z0-9._:/-]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOLLARS = re.compile(r"\$(?=[$(])")
_SCRIPT_INDENT = " " * 12
_TEMPLATES: dict[System, str] = {"linux": "pod-linux.yaml", "windows": "pod-windows.yaml"}
_WINDOWS_SCRIPT = "pod-windows.ps1"


@dataclass(frozen=True, slots=True)
class Images:
    """What the pods run: an image with this program for Linux nodes, any image for host processes for Windows nodes."""

    linux: str
    windows: str | None = None

    def of(self, system: System) -> str | None:
        """The image for nodes of a system, None when none was given."""
        return self.linux if system == "linux" else self.windows


@dataclass(frozen=True, slots=True)
class PodWish:
    """One pod: its name, the node that it reads, the run that it belongs to, and after how many seconds it ends."""

    name: str
    namespace: str
    node: str
    system: System
    image: str
    run: str
    seconds: int


def checked_image(image: str, option: str) -> str:
    """An image that names one content or version. Raises InputError for one that may be another one tomorrow."""
    found = IMAGE_REFERENCE.fullmatch(image)
    if found is None:
        raise InputError(f"{option} {image}: is no image; write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST")
    if found["digest"] is None and found["tag"] in (None, "latest"):
        raise InputError(f"{option} {image}: may be any version; give the tag of one, or best its digest (@sha256:...)")
    return image


def checked_namespace(namespace: str, option: str = "--collector-namespace") -> str:
    """A name that can be a namespace's. Raises InputError."""
    if _NAMESPACE.fullmatch(namespace) is None:
        raise InputError(f"{option} {namespace}: no name of a namespace; write small letters, digits and -")
    return namespace


def pod_yaml(wish: PodWish) -> str:
    """The pod as YAML, with the reason for each right that it has."""
    template = data("rules").joinpath("node", _TEMPLATES[wish.system]).read_text(encoding="utf-8")
    values = {
        "name": wish.name,
        "namespace": wish.namespace,
        "run": wish.run,
        "node": wish.node,
        "image": wish.image,
        "version": migrate.__version__,
    }
    quoted = {key: msgspec.json.encode(value).decode() for key, value in values.items()}
    scripts = _windows_scripts() if wish.system == "windows" else {}
    return Template(template).substitute(quoted, seconds=wish.seconds, **scripts)


def pod_json(wish: PodWish) -> bytes:
    """The pod as the API server is asked for it."""
    return msgspec.json.encode(yaml.load(pod_yaml(wish), Loader=yaml.CSafeLoader))


def _windows_scripts() -> dict[str, str]:
    """What runs on a Windows node. The kubelet replaces $(NAME) in values, and takes $$ for a dollar."""
    packer = data("rules").joinpath("node", _WINDOWS_SCRIPT).read_text(encoding="utf-8")
    scripts = {"reader": collector_script(), "script": packer}
    escaped = {name: _DOLLARS.sub("$$", text).rstrip() for name, text in scripts.items()}
    return {name: indent(text, _SCRIPT_INDENT).lstrip() for name, text in escaped.items()}
