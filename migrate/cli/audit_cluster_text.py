"""A run on a cluster as text: while it is watched, what its agents say, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from migrate.audit.durations import duration_text
from migrate.audit.sizes import size_text
from migrate.audit.times import rfc3339
from migrate.cli.emit import plain, table_text
from migrate.model.words import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from migrate.control.attach import Show
    from migrate.control.state import ClusterWatch, NodeState
    from migrate.control.stopping import Stopped

_LINE_EVERY_SECONDS = 60.0
_MOST_SHOWN = 12
_SKEWED = 10**9
"""A clock that is further off than this is worth a word, in nanoseconds."""


@contextmanager
def cluster_view(name: str, quiet: bool) -> Iterator[Show]:
    """Something to tell how the watch of a cluster (its context's name) goes."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if quiet:
        yield lambda state: None
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda state: live.update(_view(state, name, console.width), refresh=True)
    else:
        yield _Lines(name).show


class _Lines:
    """A line each minute, after a turn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._due = 0.0
        self._turns: int | None = None

    def show(self, state: ClusterWatch) -> None:
        """Print it when it is time."""
        if self._turns is None:
            self._turns = state.turns
        if state.turns == self._turns or time.monotonic() < self._due:
            return
        self._turns, self._due = state.turns, time.monotonic() + _LINE_EVERY_SECONDS
        texts = (f"{self._name}: {_time_text(state)}", *_facts(state).values(), *_troubles(state))
        typer.echo("; ".join(texts), err=True)


def _view(state: ClusterWatch, name: str, width: int) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    done = min(max(0.0, time.time() - state.began / 1e9), state.seconds)
    facts.add_row("time", ProgressBar(total=max(state.seconds, 1), completed=done, width=min(60, width)))
    for word, text in _facts(state).items():
        facts.add_row(word, plain(text))
    troubles = _troubles(state)
    return Group(
        plain(f"migrate audit of {name}, run {state.run}: {_time_text(state)}", "bold"),
        facts,
        *(plain(_short(f"  {line}", width), "yellow") for line in troubles[:_MOST_SHOWN]),
        *([plain(f"  and {len(troubles) - _MOST_SHOWN} more")] if len(troubles) > _MOST_SHOWN else []),
        plain("Ctrl-C leaves; the agents go on, and migrate audit attach comes back to them", "dim"),
    )


def _time_text(state: ClusterWatch) -> str:
    done = min(max(0.0, time.time() - state.began / 1e9), state.seconds)
    left = state.seconds - done
    over = "over" if not left else f"{duration_text(left)} left"
    return f"{duration_text(done)} of {duration_text(state.seconds)}, {over}"


def _facts(state: ClusterWatch) -> dict[str, str]:
    """What there is to say of all nodes together, by a word for it."""
    told = [node.status for node in state.nodes if node.status is not None]
    sums = [sum(getattr(status, name) for status in told) for name in ("new_flows", "exact", "coarse", "lost")]
    pulled = [node.pulled for node in state.nodes if node.pulled is not None]
    size = size_text(sum(node.octets for node in state.nodes))
    since = f", the last {duration_text(max(0.0, time.time() - max(pulled) / 1e9))} ago" if pulled else ""
    return {
        "nodes": nodes_text(state),
        "new flows": f"{sums[0]:,} new flows: {sums[1]:,} exact, {sums[2]:,} coarse, {sums[3]:,} lost",
        "pulled": f"{size} pulled{since}",
    }


def nodes_text(state: ClusterWatch) -> str:
    """How many nodes are watched, and what changed."""
    here = [node for node in state.nodes if node.left is None]
    watched = sum(node.state == "watched" for node in here)
    finished = sum(node.has_ended for node in here)
    counts = [f"{watched} of {len(here)} nodes watched"]
    counts += [f"{finished} finished"] if finished else []
    for change in ("joined", "left"):
        number = sum(one.change == change for one in state.changes)
        counts += [f"{number} {change}"] if number else []
    return ", ".join(counts)


def _troubles(state: ClusterWatch) -> list[str]:
    """What is wrong, the cluster first."""
    lines = [f"the cluster: {state.trouble}"] if state.trouble else []
    lines += [f"{node.name}: {node.reason}" for node in state.nodes if node.reason]
    lines += [f"{node.name}: its clock is {skew_text(node.skew)}" for node in state.nodes if abs(node.skew) >= _SKEWED]
    return [one_line(line) for line in lines]


def skew_text(skew: int) -> str:
    """How far a node's clock is off, in nanoseconds."""
    return f"{duration_text(abs(skew) / 1e9)} {'ahead' if skew > 0 else 'behind'}"


def survey_text(state: ClusterWatch, name: str) -> str:
    """One line for each node, those that are not well first."""
    from rich.table import Table

    table = Table("node", "agent", "recorded", "new flows", "lost", "what is wrong", box=None, pad_edge=False)
    for node in sorted(state.nodes, key=lambda node: (not node.reason, node.name)):
        table.add_row(*(plain(one_line(text)) for text in _cells(node)))
    head = f"{name}: run {state.run}, {_time_text(state)}, until {rfc3339(state.end)[:19]}Z; {_asked_text(state)}"
    return table_text(plain(head, "bold"), table)


def _asked_text(state: ClusterWatch) -> str:
    here = [node for node in state.nodes if node.left is None]
    answered = sum(node.status is not None for node in here)
    return f"{answered} of {len(here)} nodes have an agent that answers"


def _cells(node: NodeState) -> Sequence[str]:
    status = node.status
    wrong = [node.reason] if node.reason else []
    wrong += [f"its clock is {skew_text(node.skew)}"] if abs(node.skew) >= _SKEWED else []
    if status is None:
        return (node.name, "-", "-", "-", "-", "; ".join(wrong))
    leads = ", leads" if status.leads else ""
    return (
        node.name,
        f"{status.state}{leads}",
        duration_text(status.recorded_seconds),
        f"{status.new_flows:,}",
        f"{status.lost:,}",
        "; ".join(wrong),
    )


def stopped_text(done: Stopped) -> str:
    """How a run ended, node by node where something is left to do."""
    return table_text(*(plain(line) for line in _stopped_lines(done)))


def _stopped_lines(done: Stopped) -> Iterator[str]:
    pulled = sum(node.pulled for node in done.nodes)
    yield f"run {done.run}: {pulled} of {len(done.nodes)} nodes pulled to the end"
    if not done.removed:
        yield "nothing was taken away: these nodes have records that are nowhere else"
        yield from (f"  {node.node}: {node.reason}" for node in done.nodes if node.node in done.unpulled)
        yield "try again when they are back, or give their records up with --discard NODE or --force"
        return
    clean = sum(node.cleaned for node in done.nodes)
    yield f"{clean} of {len(done.nodes)} nodes say that nothing of the run is left on them"
    for node in done.nodes:
        if not node.cleaned:
            left = f"; left there: {', '.join(node.left)}" if node.left else ""
            yield f"  {node.node}: {node.reason or 'not asked'}{left}; run there as root: {'; '.join(node.commands)}"
        elif not node.pulled:
            yield f"  {node.node}: its records were given up: {node.reason}"
    yield from (f"left in the cluster: {what}" for what in done.left)
    if not done.left:
        yield "no object of the run is left in the cluster"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
