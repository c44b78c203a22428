"""Taking a snapshot: objects from a cluster or from files, and what they say about the cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

import migrate
from migrate.errors import InputError
from migrate.model.documents import KindCount, SnapshotHeader
from migrate.model.finding import Finding
from migrate.model.raw import RawObject
from migrate.scan.azure_folder import read_azure
from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.encoded import EncodedObjects
from migrate.scan.files import read_files, shown
from migrate.scan.inventory import Inventory, assess, detect
from migrate.scan.live import Progress, read_cluster
from migrate.scan.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ScanInputs:
    """Where objects come from: the files of `paths` if there are any, else the cluster that `connection` names.

    `namespaces` is None for all; objects that belong to no namespace are always read. `az_json` is the output of
    `az aks show`, or a folder with it and what other commands printed.
    """

    paths: tuple[str, ...] = ()
    connection: ConnectionOptions = ConnectionOptions()
    namespaces: tuple[str, ...] | None = None
    az_json: Path | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """Objects and how they were read, before anything is concluded from them."""

    header: SnapshotHeader
    objects: EncodedObjects


def take_snapshot(inputs: ScanInputs, stdin: BinaryIO | None, taken: str, progress: Progress) -> Snapshot:
    """Read the inputs and say what they show. `taken` is the time of a cluster's snapshot, RFC 3339 in UTC.

    Raises InputError and ClusterError as the readers do.
    """
    azure = () if inputs.az_json is None else read_azure(inputs.az_json)
    reading = _from_files(inputs, stdin) if inputs.paths else _from_cluster(inputs, taken, progress)
    objects = reading.objects
    for said in azure:
        objects = objects.with_object(said)
    inventory = Inventory.of(objects, reading.header.kinds, every_namespace=inputs.namespaces is None)
    facts = detect(inventory)
    findings = sorted((*reading.header.findings, *assess(facts, inventory)), key=Finding.sort_key)
    return Snapshot(msgspec.structs.replace(reading.header, facts=facts, findings=tuple(findings)), objects)


def _from_cluster(inputs: ScanInputs, taken: str, progress: Progress) -> _Reading:
    connection = connect(inputs.connection)
    reading = read_cluster(connection, inputs.namespaces, progress)
    header = SnapshotHeader(
        tool_version=migrate.__version__,
        origin="cluster",
        name=connection.name,
        taken=taken,
        server_version=reading.server_version,
        namespaces=inputs.namespaces,
        complete=reading.complete,
        kinds=reading.kinds,
        findings=reading.findings,
    )
    return _Reading(header, reading.objects)


def _from_files(inputs: ScanInputs, stdin: BinaryIO | None) -> _Reading:
    reading = read_files(inputs.paths, stdin)
    objects = _in_namespaces(reading.objects, inputs.namespaces)
    counts = Counter((raw.ref.api_version, raw.ref.kind) for raw in objects)
    header = SnapshotHeader(
        tool_version=migrate.__version__,
        origin="files",
        name=shown(inputs.paths[0]),
        namespaces=inputs.namespaces,
        complete=reading.complete,
        kinds=tuple(KindCount(version, kind, "read", counts[version, kind]) for version, kind in sorted(counts)),
        findings=reading.findings,
    )
    return _Reading(header, EncodedObjects.of(objects))


def _in_namespaces(objects: tuple[RawObject, ...], namespaces: tuple[str, ...] | None) -> tuple[RawObject, ...]:
    """The objects of these namespaces and those of none."""
    if namespaces is None:
        return objects
    there = {raw.ref.namespace for raw in objects} | {raw.ref.name for raw in objects if raw.ref.kind == "Namespace"}
    missing = [name for name in namespaces if name not in there]
    if missing:
        raise InputError(f"no object of namespace {', '.join(missing)} is in the files; check -n")
    return tuple(raw for raw in objects if raw.ref.namespace is None or raw.ref.namespace in namespaces)
