"""`migrate simulate`: what an engine says of given flows in a given small cluster."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.errors import ExitStatus

if TYPE_CHECKING:
    from migrate.model.documents import SimulatedFlow, Simulation


class EngineName(Enum):
    """Whose meaning the policies are given."""

    KUBERNETES = "kubernetes"
    NPM = "npm"
    NPM_WINDOWS = "npm-windows"
    CALICO = "calico"
    CILIUM = "cilium"


EngineOption = Annotated[EngineName, typer.Option("--engine", help="Whose meaning the policies are given.")]
CaseFile = Annotated[
    list[Path], typer.Option("--filename", "-f", help="A case, or a document with cases; JSON or YAML; repeat it.")
]
Target = Annotated[str, typer.Option("--target", help="Profile that says which release of Cilium is meant.")]


def simulate(
    engine: EngineOption,
    filename: CaseFile,
    target: Target = "cilium-1.20",
    output: options.Output = options.OutputFormat.TABLE,
) -> None:
    """Say what an engine does with given flows in a given cluster, and which rule decides.

    The case format is in docs/simulate.md. Exit status 4 when something in a case is not modelled: then its
    answers are unknown.
    """
    from migrate.cli.emit import document_text, emit
    from migrate.workflow import run_simulate

    done = run_simulate(engine.value, filename, target)
    emit(_table(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    if not done.complete:
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _table(done: Simulation) -> str:
    from rich import box
    from rich.table import Table

    from migrate.cli.emit import plain, table_text

    table = Table("case", "flow", "egress", "ingress", "verdict", "decided by", box=box.SIMPLE_HEAD)
    for name, number, flow in _rows(done):
        table.add_row(plain(name), str(number), flow.egress, flow.ingress, flow.verdict, plain(_why(flow)))
    return table_text(table)


def _rows(done: Simulation) -> list[tuple[str, int, SimulatedFlow]]:
    cases = done.cases if isinstance(done.cases, tuple) else ()
    flows = done.flows if isinstance(done.flows, tuple) else ()
    single = [("", index, flow) for index, flow in enumerate(flows)]
    return single + [(case.name, index, flow) for case in cases for index, flow in enumerate(case.flows)]


def _why(flow: SimulatedFlow) -> str:
    """The side that denies, else the one that allows by a rule."""
    for side, word in (("egress", flow.egress), ("ingress", flow.ingress)):
        decided = flow.decided_by.get("egress" if side == "egress" else "ingress")
        if decided is not None and (word == "deny" or (flow.verdict == "allow" and decided.object)):
            rule = f"{decided.object} {decided.rule}" if decided.object else decided.reason
            return f"{side}: {rule}"
    return ""
