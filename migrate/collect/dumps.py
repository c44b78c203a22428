"""What pods and NPM gave of a node, as one dump."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

import migrate
from migrate.collect.bundle import BundleError
from migrate.collect.npm_endpoint import NpmReading
from migrate.model.node_documents import NodeManifest, System
from migrate.nodes.files import MANIFEST


def of_pod(node: str, files: Mapping[str, bytes]) -> tuple[NodeManifest, dict[str, bytes]]:
    """The description and the raw files of a dump that a pod on the node printed. Raises BundleError."""
    try:
        manifest = msgspec.json.decode(files[MANIFEST], type=NodeManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(
            f"its node.json is no description of a dump: {error}; use an image of this version"
        ) from error
    bodies = {name: body for name, body in files.items() if name != MANIFEST}
    for file in manifest.files:
        if file.status != "read":
            continue
        if file.name not in bodies:
            raise BundleError(f"the dump lists {file.name} and does not hold it; use an image of this version")
        if file.sha256 not in (None, hashlib.sha256(bodies[file.name]).hexdigest()):
            raise BundleError(f"{file.name} of the dump is not what the node read: the SHA-256 differs; read it again")
    return msgspec.structs.replace(manifest, name=node, way="pod"), bodies


def of_npm(node: str, system: System, taken: str, reading: NpmReading) -> tuple[NodeManifest, dict[str, bytes]]:
    """The description and the raw files where only NPM's endpoint was read."""
    manifest = NodeManifest(
        tool_version=migrate.__version__, name=node, system=system, way="proxy", taken=taken, files=reading.listed
    )
    return manifest, reading.files


def with_npm(
    manifest: NodeManifest, bodies: dict[str, bytes], reading: NpmReading
) -> tuple[NodeManifest, dict[str, bytes]]:
    """A dump and what NPM's endpoint told of the same node, where the dump does not have that already."""
    there = {file.name for file in manifest.files if file.status == "read"} | bodies.keys()
    listed = tuple(file for file in reading.listed if file.name not in there)
    kept = tuple(file for file in manifest.files if file.name not in {entry.name for entry in listed})
    added = {file.name: reading.files[file.name] for file in listed if file.name in reading.files}
    return msgspec.structs.replace(manifest, files=(*kept, *listed)), {**bodies, **added}
