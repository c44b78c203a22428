"""`migrate values`: today's data plane as values for Cilium's Helm chart."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import InputError

if TYPE_CHECKING:
    from migrate.model.addresses import Network


class ValuesFormat(Enum):
    """How values are printed."""

    YAML = "yaml"
    JSON = "json"


class Part(Enum):
    """What to print: the chart's values in a stage of the migration, or objects that go beside the chart."""

    MIGRATION = "migration"
    FINAL = "final"
    NODE_CONFIG = "node-config"
    BGP = "bgp"


Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot.")]
Shown = Annotated[
    Part,
    typer.Option("--part", help="Values while nodes move or after that, or the objects that go with each of the two."),
]
PodCidr = Annotated[
    list[str] | None, typer.Option("--pod-cidr", help="The pods' new network; repeat it, for dual stack too.")
]
Format = Annotated[ValuesFormat, typer.Option("--output", "-o", help="yaml; or json with all parts and their sources.")]
Place = Annotated[Path | None, typer.Option("--output-file", help="Where the result goes; stdout if not given.")]


def values(
    folder: Folder = options.WORKING_FOLDER,
    part: Shown = Part.MIGRATION,
    pod_cidr: PodCidr = None,
    output: Format = ValuesFormat.YAML,
    output_file: Place = None,
    quiet: options.Quiet = False,
) -> None:
    """Write values for Cilium's Helm chart that carry today's data plane over: a cluster that runs Cilium itself.

    Nothing is installed. Exit status 4 when the snapshot is incomplete.
    """
    from migrate.cli.emit import document_text, emit, hint
    from migrate.errors import ExitStatus
    from migrate.files import write_atomic
    from migrate.readiness.documents import read_folder
    from migrate.readiness.helm.said import Stage
    from migrate.readiness.helm.text import objects_text, values_text
    from migrate.readiness.helm.values import helm_values

    found = helm_values(read_folder(folder), _networks(pod_cidr or []))
    if output is ValuesFormat.JSON:
        text = document_text(found, options.OutputFormat.JSON)
    else:
        objects = {Part.NODE_CONFIG: found.node_config, Part.BGP: found.bgp}.get(part)
        text = values_text(found, Stage(part.value)) if objects is None else objects_text(objects)
    if output_file is None:
        emit(text)
    else:
        write_atomic(output_file.absolute(), text.encode())
    if found.findings:
        ids = sorted({finding.id for finding in found.findings})
        hint(f"read first: {', '.join(ids)}; `migrate explain-rule ID` says what each means", quiet)
    if not found.complete:
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _networks(texts: list[str]) -> tuple[Network, ...]:
    from migrate.model.addresses import parse_network

    try:
        return tuple(parse_network(text) for text in texts)
    except ValueError as error:
        raise InputError(f"--pod-cidr: {error}; give a network such as 10.245.0.0/16") from error
