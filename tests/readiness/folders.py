"""Working folders as `migrate scan` and `migrate translate` make them, from what is kept under cases/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from migrate.model.raw import Json
from migrate.readiness.documents import Documents, read_folder
from tests.command_line import migrate

CASES = Path(__file__).parent.parent / "cases"
POLICIES = (CASES / "azure" / "policies" / "cluster.yaml", CASES / "azure" / "policies" / "policies.yaml")


def scanned(folder: Path, *files: Path, profile: str = "", **instead: Json) -> Documents:
    """What `migrate scan` keeps of some files, with what Azure says of a cluster; `instead` are other parts of that."""
    arguments: list[str | Path] = ["scan", "--output-dir", folder, "-q"]
    for file in files:
        arguments += ["-f", file]
    if profile:
        arguments += ["--az-json", azure_json(folder, profile, instead)]
    ended = migrate(folder, *arguments)
    assert ended.status in (0, 4), ended.stderr
    return read_folder(folder)


def translated(folder: Path, *options: str) -> Documents:
    """A folder with a snapshot, with the translation of its policies."""
    snapshot = folder / "snapshot.jsonl.gz"
    ended = migrate(folder, "translate", "--snapshot", snapshot, "--output-dir", folder, "-q", *options)
    assert ended.status in (0, 1, 4), ended.stderr
    return read_folder(folder)


def azure_json(folder: Path, profile: str, instead: Mapping[str, Json]) -> Path:
    """A file with what Azure says of a cluster, with parts of it replaced; parts of `networkProfile` one by one."""
    document = json.loads((CASES / "azure" / f"{profile}.json").read_text(encoding="utf-8"))
    network = instead.get("networkProfile")
    document |= {**instead, "networkProfile": document["networkProfile"] | (network or {})}
    place = folder / "az.json"
    place.write_text(json.dumps(document), encoding="utf-8")
    return place


def inventory(*names: str) -> Sequence[Path]:
    """Files of small clusters."""
    return [CASES / "inventory" / f"{name}.yaml" for name in names]


def written(folder: Path, *objects: Mapping[str, Json]) -> Path:
    """A file with some objects."""
    place = folder / "objects.json"
    place.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]}), encoding="utf-8")
    return place
