"""`migrate scan`: an inventory of a cluster, or of a folder of its objects; with dumps of nodes, what these enforce."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from migrate.cli import options, scan_nodes
from migrate.cli.scan_node import scan_node
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from migrate.model.documents import Fact, KindCount, SnapshotHeader
    from migrate.model.node_documents import NodeStates

scan_app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
NodeDumps = Annotated[
    list[Path] | None,
    typer.Option("--node-dump", help="A node's dump, or a folder with one folder per node; repeat it."),
]


@scan_app.callback(invoke_without_command=True)
def scan(
    invoked: typer.Context,
    filename: options.Filename = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    as_user: options.AsUser = None,
    as_group: options.AsGroup = None,
    az_json: options.AzJson = None,
    node_dump: NodeDumps = None,
    output_dir: options.OutputDir = options.WORKING_FOLDER,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
    nodes: scan_nodes.Nodes = False,
    node: scan_nodes.NodeName = None,
    image: scan_nodes.Image = None,
    windows_image: scan_nodes.WindowsImage = None,
    collector_namespace: scan_nodes.CollectorNamespace = scan_nodes.NAMESPACE,
    node_parallel: scan_nodes.NodeParallel = 8,
    node_timeout: scan_nodes.NodeTimeout = scan_nodes.TIMEOUT,
    npm_only: scan_nodes.NpmOnly = False,
    nodes_manifest: scan_nodes.NodesManifest = False,
    yes: scan_nodes.Yes = False,
) -> None:
    """Take an inventory of a cluster's policies and data plane. Only reads; writes snapshot.jsonl.gz.

    Dumps of nodes (--nodes reads them now; --node-dump, and those in nodes/ already) are compared with it into
    nodes.json. Exit status 4 when something could not be read.
    """
    if invoked.invoked_subcommand is not None:
        _refuse_own_options(invoked)
        return
    from migrate.cli.emit import document_text, emit, hint, reading_progress
    from migrate.scan.snapshot import FILE_NAME
    from migrate.workflow import run_scan_with_nodes

    inputs = options.scan_inputs(filename, context, kubeconfig, namespace, all_namespaces, as_user, as_group, az_json)
    wishes = scan_nodes.wishes_of(
        filename,
        nodes,
        node,
        image,
        windows_image,
        collector_namespace,
        node_parallel,
        node_timeout,
        npm_only,
        nodes_manifest,
    )
    if wishes is not None and nodes_manifest:
        emit(scan_nodes.manifests(inputs.connection, wishes))
        return
    live = None if wishes is None else scan_nodes.agreed(inputs.connection, wishes, yes=yes)
    taken = options.rfc3339(options.now())
    dumps = node_dump or []
    with reading_progress(quiet) as progress:
        snapshot, states = run_scan_with_nodes(
            inputs, output_dir, taken, dumps, stdin=_stdin(), progress=progress, live=live
        )
    hint(f"wrote {output_dir / FILE_NAME} with {len(snapshot.objects)} objects", quiet)
    if states is not None and states.nodes:
        hint(_examined(output_dir, states, new=bool(dumps) or live is not None), quiet)
    if live is not None:
        live.end()
    header = snapshot.header
    document = header if states is None else _with_nodes(header, states)
    emit(_tables(header, states) if output is options.OutputFormat.TABLE else document_text(document, output))
    if not header.complete or (states is not None and not states.complete) or (live is not None and live.left):
        hint("incomplete: the findings say what could not be read", quiet)
        raise typer.Exit(ExitStatus.INCOMPLETE)


scan_app.command("node")(scan_node)


def _examined(folder: Path, nodes: NodeStates, *, new: bool) -> str:
    """What was compared; of dumps that were there before, from when they are."""
    from migrate.nodes.examine import FILE_NAME, FOLDER

    times = sorted(node.taken or "an unknown time" for node in nodes.nodes)
    between = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
    count = f"{len(nodes.nodes)} node" + ("" if len(nodes.nodes) == 1 else "s")
    again = "" if new else f"; they were in {folder / FOLDER} already, and --node-dump takes newer ones"
    return f"wrote {folder / FILE_NAME} with {count}, by dumps of {between}{again}"


def _with_nodes(header: SnapshotHeader, nodes: NodeStates) -> SnapshotHeader:
    import msgspec

    from migrate.model.node_documents import SnapshotWithNodes

    return SnapshotWithNodes(**msgspec.structs.asdict(header), node_states=nodes)


def _refuse_own_options(invoked: typer.Context) -> None:
    """Options in front of `node` would be lost. Raises InputError."""
    given = [
        parameter.opts[0]
        for parameter in invoked.command.params
        if parameter.name and getattr(invoked.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise InputError(f"{', '.join(given)}: an option of `migrate scan`; those of `scan node` stand behind node")


def _stdin() -> BinaryIO | None:
    """Standard input; None when the caller closed it."""
    return None if sys.stdin is None else sys.stdin.buffer


def _tables(header: SnapshotHeader, nodes: NodeStates | None) -> str:
    from migrate.cli.emit import plain, table_text
    from migrate.cli.node_tables import nodes_parts
    from migrate.cli.tables import findings_table

    version = f", Kubernetes {header.server_version}" if header.server_version else ""
    state = "complete" if header.complete else "incomplete"
    findings = [findings_table(header.findings)] if header.findings else []
    tables = [_facts(header.facts), _kinds(header.kinds), *findings]
    of_nodes = () if nodes is None else nodes_parts(nodes)
    return table_text(plain(f"{header.name} ({header.origin}{version}), {state}", "bold"), *tables, *of_nodes)


def _facts(facts: Sequence[Fact]) -> Table:
    from migrate.cli.tables import statements, table

    rows = [(fact.topic, fact.value, fact.state, "; ".join(statements(fact))) for fact in facts]
    return table("Facts", ("topic", "value", "state", "evidence"), rows)


def _kinds(kinds: Sequence[KindCount]) -> Table:
    from migrate.cli.tables import table

    rows = [(kind.kind, kind.api_version, kind.status, str(kind.count)) for kind in kinds if kind.status != "absent"]
    return table("Objects", ("kind", "version", "status", "count"), rows)
