"""Tables of facts and findings, which several commands print alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate.cli.emit import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from migrate.model.documents import Fact
    from migrate.model.finding import Finding


def statements(fact: Fact) -> Iterator[str]:
    """What supports a fact, one by one."""
    if fact.detail:
        yield fact.detail
    for evidence in fact.evidence:
        yield f"{evidence.object} {evidence.field}={evidence.value}"


def findings_table(findings: Sequence[Finding], title: str = "Findings") -> Table:
    """Findings with their places."""
    rows = [(finding.id, finding.detail, str(finding.at or "")) for finding in findings]
    return table(title, ("id", "what", "where"), rows)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of texts as they are."""
    from rich import box
    from rich.table import Column, Table

    # Evidence is there to be read and copied: it is wrapped, never cut.
    headings = [Column(column, overflow="fold") for column in columns]
    made = Table(*headings, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*map(plain, row))
    return made
