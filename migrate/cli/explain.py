"""`migrate explain`: one flow by the policies' text, by what enforces them today, and by Cilium after the cutover."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.cli.options import EngineName
from migrate.errors import ExitStatus

if TYPE_CHECKING:
    from migrate.model.documents import ExplainedFlow, ExplainedNode, ExplainedSide, ExplainedTruth, Explanation

_WIDTH = 80
_WIDEST = 110
_MOST_SAME = 3
_LEAD = re.compile(r" *(?:- |note: |not certain: |(?:from|to|port|same) +)?")


Source = Annotated[
    str,
    typer.Argument(
        metavar="SRC", help="NAMESPACE/POD, NAMESPACE/WORKLOAD, deploy/NAMESPACE/NAME, node/NAME or an address."
    ),
]
Destination = Annotated[str, typer.Argument(metavar="DST", help="The same, or svc/NAMESPACE/NAME for a Service.")]
Port = Annotated[
    str, typer.Argument(metavar="PORT", help="TCP/443, 443, UDP/53, a name of the destination's ports, ICMP/8 or ICMP.")
]
Folder = Annotated[
    Path, typer.Option("--folder", "--dir", "-d", help="Working folder: its snapshot, its translation if any.")
]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot to ask, instead of the folder's.")]
Target = Annotated[str | None, typer.Option("--target", help="Profile of Cilium; default: that of the translation.")]
BeforeEngine = Annotated[
    EngineName | None,
    typer.Option("--before-engine", help="What enforces today; default: what the snapshot shows."),
]
NodeDump = Annotated[
    list[Path] | None,
    typer.Option(
        "--node-dump",
        help="Folder of a node's dump, or of one folder per node; repeat it. Default: nodes/ of the folder.",
    ),
]


def explain(
    source: Source,
    destination: Destination,
    port: Port,
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    target: Target = None,
    before_engine: BeforeEngine = None,
    node_dump: NodeDump = None,
    output: options.Output = options.OutputFormat.TABLE,
) -> None:
    """Say whether a connection is allowed: by the policies' text, by today's engine, and by Cilium; and why.

    Exit status 1 when the cutover changes it, 4 when something that may decide is not known.
    """
    from migrate.cli.emit import document_text, emit
    from migrate.truths import ExplainRequest, FlowRequest
    from migrate.workflow import run_explain

    question = FlowRequest(source, destination, port, snapshot or folder / "snapshot.jsonl.gz")
    engine = None if before_engine is None else before_engine.value
    done = run_explain(ExplainRequest(question, folder, engine, target, tuple(node_dump or ())))
    emit(_text(done) if output is options.OutputFormat.TABLE else document_text(done, output))
    raise typer.Exit(_status(done))


def _status(done: Explanation) -> ExitStatus:
    if any(flow.change in ("newly_denied", "newly_allowed") for flow in done.flows):
        return ExitStatus.FINDINGS
    return ExitStatus.FINE if done.complete else ExitStatus.INCOMPLETE


def _text(done: Explanation) -> str:
    from migrate.cli.emit import plain

    width = min(shutil.get_terminal_size().columns, _WIDEST) if sys.stdout.isatty() else _WIDTH
    lines = [plain(line).plain for line in _lines(done)]
    return "".join(f"{part}\n" for line in lines for part in _wrapped(line, width))


def _wrapped(line: str, width: int) -> list[str]:
    """A line cut at blanks; what follows stands under its text."""
    lead = _LEAD.match(line)
    hanging = " " * (lead.end() if lead else 0)
    cut = textwrap.wrap(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
    return cut or [""]


def _lines(done: Explanation) -> Iterator[str]:
    several = len(done.flows) > 1
    if several:
        yield _summary(done)
        yield ""
        yield f"  {done.source} to {done.destination}, {done.port}"
        yield from _remarks(done)
    for number, flow in enumerate(done.flows, 1):
        if several:
            yield ""
            yield f"=== Answer {number} of {len(done.flows)} ({_count(1 + len(flow.same))}) ==="
        yield flow.headline
        yield from (f"  - {text}" for text in flow.because)
        yield from (f"  - see {text}" for text in flow.findings)
        yield ""
        yield from _flow(flow)
        if not several:
            yield from _remarks(done)
        yield ""
        yield from _summary_table(flow)
        for truth in flow.truths:
            yield ""
            yield from _truth(truth)
        for node in flow.nodes:
            yield ""
            yield from _node(node)


def _count(flows: int) -> str:
    return f"{flows} flow{'s' if flows > 1 else ''}"


def _summary(done: Explanation) -> str:
    total = sum(1 + len(flow.same) for flow in done.flows)
    changed = sum(1 + len(flow.same) for flow in done.flows if flow.change in ("newly_denied", "newly_allowed"))
    said = f"CHANGES AT CUTOVER for {changed} of {total}" if changed else f"No change at cutover for {total}"
    return f"{said} flows; they have {len(done.flows)} different answers"


def _remarks(done: Explanation) -> Iterator[str]:
    yield from (f"  note: {note}" for note in done.notes)
    yield from (f"  not certain: {doubt}" for doubt in done.doubts)


def _flow(explained: ExplainedFlow) -> Iterator[str]:
    flow = explained.flow
    code = f"/{flow.icmp_code}" if flow.icmp_code else ""
    yield f"  from  {_end(flow.source, flow.source_address)}"
    yield f"  to    {_end(flow.destination, flow.destination_address)}"
    yield f"  port  {flow.protocol}/{flow.port}{code}"
    for same in explained.same[:_MOST_SAME]:
        yield f"  same  {same}"
    if len(explained.same) > _MOST_SAME:
        yield f"  same  and {len(explained.same) - _MOST_SAME} more flows (-o json has them all)"


def _end(name: str, address: str) -> str:
    return name if address in name else f"{name} ({address})"


def _summary_table(explained: ExplainedFlow) -> Iterator[str]:
    rows = [("", *(truth.truth for truth in explained.truths))]
    rows += [("egress", *(truth.egress.word for truth in explained.truths))]
    rows += [("ingress", *(truth.ingress.word for truth in explained.truths))]
    rows += [("verdict", *(truth.verdict.upper() for truth in explained.truths))]
    for row in rows:
        yield "  " + "".join(f"{cell:<14}" for cell in row).rstrip()


def _truth(truth: ExplainedTruth) -> Iterator[str]:
    yield f"{truth.truth}: {truth.verdict.upper()} by {truth.reading}"
    for name, side in (("egress", truth.egress), ("ingress", truth.ingress)):
        yield f"  {name}: {side.word}"
        yield from _side(side)


def _side(side: ExplainedSide) -> Iterator[str]:
    yield from (f"    {passed}" for passed in side.passed)
    stage = f"{side.stage}: " if side.stage else ""
    yield f"    {stage}{side.reason}"
    if side.decided_by.at:
        yield f"    at {_place(side.decided_by.at)}"
    for policy in side.policies:
        yield f"    - {policy.object}: {policy.outcome}"
        if policy.at:
            yield f"      at {_place(policy.at)}"


_PARTS = {"source": "the source", "destination": "the destination", "both": "both ends"}


def _node(node: ExplainedNode) -> Iterator[str]:
    yield f"node {node.node}, that of {_PARTS[node.part]}: {node.verdict.upper()} by its rules, {node.way}"
    for step in node.steps:
        backend = f" ({step.backend})" if step.backend else ""
        comment = f", {step.comment}" if step.comment else ""
        yield f"    - {step.table} {step.chain}{backend}: {step.action}{comment}"
        if step.unsure:
            yield f"      may not hold: nothing tells about {', '.join(step.unsure)}"
        yield f"      at {step.at}"
    yield from (f"    not certain: {doubt}" for doubt in node.doubts)


def _place(place: str) -> str:
    """A file below the current folder without the path of that folder."""
    here = f"{Path.cwd()}{os.sep}"
    return place.removeprefix(here)
