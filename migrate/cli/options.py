"""Options that several commands share, so that each means the same everywhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.errors import InputError

if TYPE_CHECKING:
    from migrate.scan.taking import ScanInputs


class OutputFormat(Enum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class EngineName(Enum):
    """Whose meaning policies are given; none enforces nothing."""

    KUBERNETES = "kubernetes"
    NPM = "npm"
    NPM_WINDOWS = "npm-windows"
    CALICO = "calico"
    CILIUM = "cilium"
    NONE = "none"


Filename = Annotated[
    list[str] | None,
    typer.Option("--filename", "-f", help="Manifests: a file, a folder with all below it, or - for standard input."),
]
Context = Annotated[str | None, typer.Option("--context", help="kubeconfig context to use.")]
Kubeconfig = Annotated[str | None, typer.Option("--kubeconfig", help="kubeconfig file to use.")]
Namespace = Annotated[list[str] | None, typer.Option("--namespace", "-n", help="Only these namespaces; repeat it.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces, which is the default.")]
AsUser = Annotated[str | None, typer.Option("--as", help="User to impersonate.")]
AsGroup = Annotated[list[str] | None, typer.Option("--as-group", help="Group to impersonate; repeat it.")]
AzJson = Annotated[Path | None, typer.Option("--az-json", help="Output of az aks show -o json, or a folder with more.")]
OutputDir = Annotated[Path, typer.Option("--output-dir", help="Working folder that gets the result.")]
Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="How to print the result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no hints on stderr.")]

WORKING_FOLDER = Path("migration")


def scan_inputs(
    filename: list[str] | None,
    context: str | None,
    kubeconfig: str | None,
    namespace: list[str] | None,
    all_namespaces: bool,
    as_user: str | None,
    as_group: list[str] | None,
    az_json: Path | None,
) -> ScanInputs:
    """The inputs that the options name. Raises InputError when they contradict each other."""
    from migrate.scan.connection import ConnectionOptions
    from migrate.scan.taking import ScanInputs

    if all_namespaces and namespace:
        raise InputError("-A and -n contradict each other; give one of them")
    if filename and (context or kubeconfig or as_user or as_group):
        raise InputError("-f reads files, --context, --kubeconfig and --as a cluster; give one or the other")
    return ScanInputs(
        paths=tuple(filename or ()),
        connection=ConnectionOptions(context, kubeconfig, as_user, tuple(as_group or ())),
        namespaces=tuple(sorted(set(namespace))) if namespace else None,
        az_json=az_json,
    )


def now() -> datetime:
    """The time of this run in UTC; SOURCE_DATE_EPOCH stands in for the clock where output must not change."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f"SOURCE_DATE_EPOCH={epoch}: not a time; give seconds since 1970 or unset it") from error


def rfc3339(time: datetime) -> str:
    """A time in UTC as documents have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
