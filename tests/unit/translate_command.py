"""`migrate translate` in the test's own process, with the objects that its tests share."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from migrate.cli import main
from migrate.model.raw import Json
from tests.unit.policies import network_policy

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "samples" / "demo" / "cluster"
CLIENT: Json = {"matchLabels": {"app": "client"}}
PLAIN = network_policy({"podSelector": {}, "ingress": [{"from": [{"podSelector": CLIENT}]}]}, "plain")
EGRESS = network_policy({"podSelector": {}, "egress": [{"to": [{"podSelector": CLIENT}]}]}, "egress")
HIDDEN_LABEL = network_policy({"podSelector": {"matchLabels": {"pod-template-hash": "5d8c7"}}}, "hidden-label")
UNREADABLE_POD: Mapping[str, Json] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "odd", "namespace": "shop"},
    "spec": {"containers": 1},
}


class Done(NamedTuple):
    """A run that has ended."""

    status: int
    out: str
    err: str


class Command:
    """`migrate translate` in a folder of its own; `folder` is the current one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("HOME", str(folder))
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str | Path, stdin: str = "", command: str = "translate") -> Done:
        self._monkeypatch.setattr(sys, "argv", ["migrate", command, *map(str, arguments)])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)


def manifests(*objects: Mapping[str, Json]) -> str:
    """The objects as one file."""
    return "".join(f"---\n{json.dumps(item)}\n" for item in objects)


def given(folder: Path, *objects: Mapping[str, Json], name: str = "in.yaml") -> Path:
    """A file with the objects in it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifests(*objects))
    return path


def results(document: str) -> dict[str, str]:
    """The result of each source object of a translation."""
    return {f"{r['source']['kind']}/{r['source']['name']}": r["result"] for r in json.loads(document)["results"]}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def files(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
