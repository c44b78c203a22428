"""`migrate scan node`: what the node enforces on which this runs."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder that gets nodes/NAME.")]
Name = Annotated[
    str | None, typer.Option("--name", "--node-name", help="The node's name in the cluster; default: the host name.")
]
HostRoot = Annotated[
    Path, typer.Option("--host-root", help="Where the node's root is mounted, for a pod with hostNetwork.")
]
PrintCommands = Annotated[
    bool, typer.Option("--print-commands", help="Only print a shell script that makes the same dump by hand.")
]
Windows = Annotated[
    bool, typer.Option("--windows", help="With --print-commands: the PowerShell script for a Windows node.")
]
Bundle = Annotated[
    bool,
    typer.Option("--bundle", help="Write no files: print the dump as checked lines of text, for the log of a pod."),
]


def scan_node(
    folder: Folder = options.WORKING_FOLDER,
    name: Name = None,
    host_root: HostRoot = Path("/"),
    print_commands: PrintCommands = False,
    windows: Windows = False,
    bundle: Bundle = False,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Read what this node enforces: rules, sets, links, routes, eBPF programs, CNI files. Only reads; needs root.

    Writes the folder nodes/NAME, which migrate scan --node-dump compares with the cluster. Exit status 4 when a part
    could not be read.
    """
    from migrate.cli.emit import document_text, emit, hint, reading_progress
    from migrate.cli.node_tables import node_text
    from migrate.workflow import run_node_scan

    if print_commands:
        from migrate.collect.by_hand import script
        from migrate.nodes.windows.collector import collector_script

        emit(collector_script() if windows else script())
        return
    if windows:
        raise InputError("--windows: this program does not run there; add --print-commands, and run what it prints")
    taken = options.rfc3339(options.now())
    if bundle:
        _print_bundle(_named(name), host_root, taken)
        return
    with reading_progress(quiet) as progress:
        place, states = run_node_scan(folder, _named(name), host_root, taken, progress=progress)
    hint(f"wrote {place}; copy it to where the snapshot is: migrate scan --node-dump {place.name}", quiet)
    emit(node_text(states.nodes[0]) if output is options.OutputFormat.TABLE else document_text(states, output))
    if not states.complete:
        hint("incomplete: the findings say what could not be read", quiet)
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _print_bundle(name: str, host_root: Path, taken: str) -> None:
    from migrate.cli.emit import emit
    from migrate.collect.bundle import bundle_text
    from migrate.collect.host import host_at
    from migrate.collect.node import read_node

    reading = read_node(host_at(host_root), name, taken, way="pod")
    emit(bundle_text(reading.manifest, reading.bodies))
    if any(file.status == "failed" for file in reading.manifest.files):
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _named(name: str | None) -> str:
    from migrate.nodes.written import check_name

    found = socket.gethostname().lower() if name is None else name
    try:
        check_name(found, "give the node's name in the cluster with --name")
    except InputError as error:
        raise InputError(f"host name {error}" if name is None else f"--name {error}") from error
    return found
