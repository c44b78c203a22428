"""What nodes enforce as text: for a single node, and for all of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate.cli.emit import plain, table_text
from migrate.cli.tables import findings_table, statements, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from migrate.model.node_documents import NodeState, NodeStates


def node_text(node: NodeState) -> str:
    """One node: its facts, what was not read, its findings."""
    taken = f", {node.taken}" if node.taken else ""
    state = "complete" if node.complete else "incomplete"
    return table_text(plain(f"node {node.name} ({node.system}{taken}), {state}", "bold"), *_parts(node))


def _parts(node: NodeState) -> Iterator[RenderableType]:
    facts = [(fact.topic, fact.value, fact.state, "; ".join(statements(fact))) for fact in node.facts]
    if facts:
        yield table("Facts", ("topic", "value", "state", "evidence"), facts)
    yield table("Files", ("file", "status", "made by", "why"), _files(node))
    if node.findings:
        yield findings_table(node.findings)


def _files(node: NodeState) -> list[tuple[str, ...]]:
    return [(file.name, file.status, file.command, file.detail) for file in node.files]


def nodes_parts(states: NodeStates) -> Iterator[RenderableType]:
    """All nodes of a cluster: one line each, then the facts and findings of all."""
    yield table("Nodes", ("node", "system", "read by", "taken", "state", "files", "findings"), _lines(states))
    facts = [
        (node.name, fact.topic, fact.value, fact.state, "; ".join(statements(fact)))
        for node in states.nodes
        for fact in node.facts
    ]
    if facts:
        yield table("Facts of nodes", ("node", "topic", "value", "state", "evidence"), facts)
    findings = [*states.findings, *(finding for node in states.nodes for finding in node.findings)]
    if findings:
        yield findings_table(findings, "Findings of nodes")


def _lines(states: NodeStates) -> list[tuple[str, ...]]:
    return [
        (
            node.name,
            node.system,
            node.way,
            node.taken or "not known",
            "complete" if node.complete else "incomplete",
            _counts(node),
            str(len(node.findings)),
        )
        for node in states.nodes
    ]


def _counts(node: NodeState) -> str:
    """How many files were read, and how many failed."""
    read, failed = (sum(file.status == status for file in node.files) for status in ("read", "failed"))
    return f"{read} read" + (f", {failed} failed" if failed else "")
