"""`migrate simulate`: what an engine says of given flows, in a given small cluster or in a snapshot."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.model.documents import SimulatedCase, SimulatedFlow, Simulation
    from migrate.truths import FlowRequest


class EngineName(Enum):
    """Whose meaning the policies are given."""

    KUBERNETES = "kubernetes"
    NPM = "npm"
    NPM_WINDOWS = "npm-windows"
    CALICO = "calico"
    CILIUM = "cilium"


EngineOption = Annotated[EngineName, typer.Option("--engine", help="Whose meaning the policies are given.")]
CaseFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--filename",
        "-f",
        help="A case, or a document with cases, as JSON or YAML: a file, a folder, or - for standard input; with "
        "--snapshot the policies to ask in place of the snapshot's. Repeat it.",
    ),
]
Target = Annotated[str, typer.Option("--target", help="Profile that says which release of Cilium is meant.")]
SnapshotFile = Annotated[
    Path | None, typer.Option("--snapshot", help="Snapshot to ask instead of cases, with --from, --to and --port.")
]
Source = Annotated[
    str | None, typer.Option("--from", help="NAMESPACE/POD, NAMESPACE/WORKLOAD, node/NAME or an address.")
]
Destination = Annotated[str | None, typer.Option("--to", help="The same, or svc/NAMESPACE/NAME for a Service.")]
Port = Annotated[str | None, typer.Option("--port", help="TCP/443, 443, UDP/53, a port's name, ICMP/8 or ICMP.")]


def simulate(
    engine: EngineOption,
    filename: CaseFile = None,
    snapshot: SnapshotFile = None,
    source: Source = None,
    destination: Destination = None,
    port: Port = None,
    target: Target = "cilium-1.20",
    output: options.Output = options.OutputFormat.TABLE,
) -> None:
    """Say what an engine does with flows of cases, or of a snapshot, and which rule decides.

    The case format is in docs/simulate.md, the names of ends and ports in docs/explain.md. Exit status 4 when
    something in a case or the snapshot is not modelled: then its answers are unknown.
    """
    from migrate.cli.emit import document_text, emit
    from migrate.workflow import run_simulate, run_simulate_snapshot

    question = _question(filename, snapshot, source, destination, port)
    if question is not None:
        done = run_simulate_snapshot(engine.value, question, target)
    else:
        stdin = None if sys.stdin is None else sys.stdin.buffer
        done = run_simulate(engine.value, filename or [], target, stdin=stdin)
    emit(_table(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    if not done.complete:
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _question(
    files: list[Path] | None, snapshot: Path | None, source: str | None, destination: str | None, port: str | None
) -> FlowRequest | None:
    """The question to a snapshot; None when cases are given. Raises InputError when it is neither or both."""
    parts = {"--snapshot": snapshot, "--from": source, "--to": destination, "--port": port}
    given = [name for name, value in parts.items() if value is not None]
    if files and given and snapshot is None:
        raise InputError(f"-f puts the flows of cases, {given[0]} a flow of a snapshot; give one or the other")
    if files and not given:
        return None
    if not given:
        raise InputError("no flows; give cases with -f, or --snapshot with --from, --to and --port")
    if snapshot is None or source is None or destination is None or port is None:
        missing = " and ".join(name for name in parts if name not in given)
        raise InputError(f"{missing}: missing; a flow of a snapshot needs {', '.join(parts)}")
    from migrate.truths import FlowRequest

    return FlowRequest(source, destination, port, snapshot, tuple(files or ()))


def _table(done: Simulation) -> str:
    from rich import box
    from rich.table import Table

    from migrate.cli.emit import plain, table_text

    cases = _cases(done)
    several = isinstance(done.cases, tuple)
    headings = ("flow", "egress", "ingress", "verdict", "decided by")
    table = Table(*(("case", *headings) if several else headings), box=box.SIMPLE_HEAD)
    for case in cases:
        for flow in case.flows:
            words = (flow.egress, flow.ingress, flow.verdict)
            names = (plain(case.name), plain(flow.flow)) if several else (plain(flow.flow),)
            table.add_row(*names, *words, plain(_why(flow)))
    return table_text(table, *(plain(_left_out(case)) for case in cases if case.left_out))


def _cases(done: Simulation) -> tuple[SimulatedCase, ...]:
    from migrate.model.documents import SimulatedCase

    if isinstance(done.flows, tuple):
        return (SimulatedCase(name="", flows=done.flows, left_out=done.left_out),)
    return done.cases if isinstance(done.cases, tuple) else ()


def _left_out(case: SimulatedCase) -> str:
    name = f"case {case.name}: " if case.name else ""
    return f"{name}all answers are unknown, since these are not modelled or cannot be read: {', '.join(case.left_out)}"


def _why(flow: SimulatedFlow) -> str:
    """The sides that deny, or are not known; else, for an allowed flow, every side that something may police."""
    from migrate.cli.emit import decided_text

    words = {side: getattr(flow, side) for side in flow.decided_by}
    deciding = [side for side, word in words.items() if word == ("unknown" if flow.verdict == "unknown" else "deny")]
    policed = deciding or [side for side, word in words.items() if word in ("allow", "unknown")]
    if flow.verdict == "allow" and not policed:
        return "nothing polices either end"
    return "; ".join(f"{side}: {decided_text(flow.decided_by[side])}" for side in policed)
