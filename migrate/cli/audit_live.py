"""What a running audit shows on stderr: a view that changes in a terminal, else a line now and then."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

import typer

from migrate.audit.durations import duration_text
from migrate.audit.sizes import size_text
from migrate.cli.audit_text import connections_of
from migrate.cli.emit import decided_text, plain
from migrate.errors import InputError
from migrate.model.words import packet_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from migrate.audit.agent import Progress
    from migrate.audit.live import LiveJudge
    from migrate.model.audit_documents import ObservedGroup
    from migrate.recorded import PreparedAudit

_LINE_EVERY_SECONDS = 60.0
_MOST_SHOWN = 8


@contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the audit in good order, the second one at once."""
    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def live_view(prepared: PreparedAudit, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Something to tell how the audit goes."""
    from rich.console import Console

    console = Console(stderr=True)
    with ExitStack() as stack:
        if quiet:
            yield _nothing
        elif console.is_terminal:
            yield stack.enter_context(_in_terminal(prepared, console.width))
        else:
            yield _Lines(prepared).show


def _nothing(progress: Progress) -> None:
    """Nobody looks."""


@contextmanager
def _in_terminal(prepared: PreparedAudit, width: int) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.live import Live

    judge = prepared.live()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def show(progress: Progress) -> None:
            live.update(_view(prepared, progress, _judged(judge), width), refresh=True)

        yield show


class _Lines:
    """A line each minute, and one at the end."""

    def __init__(self, prepared: PreparedAudit) -> None:
        self._judge = prepared.live()
        self._due = 0.0

    def show(self, progress: Progress) -> None:
        """Print it when it is time."""
        if time.monotonic() < self._due and not progress.ending:
            return
        self._due = time.monotonic() + _LINE_EVERY_SECONDS
        parts = (_time_text(progress), _drops_text(_judged(self._judge)), _flows_text(progress), _pods_text(progress))
        typer.echo("; ".join(parts), err=True)


def _judged(judge: LiveJudge) -> Sequence[ObservedGroup]:
    """The would-be drops; those of before when the recording cannot be read just now."""
    with suppress(InputError):
        judge.look()
    return judge.groups


def _view(prepared: PreparedAudit, progress: Progress, drops: Sequence[ObservedGroup], width: int) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    done = progress.seconds - progress.seconds_left
    facts.add_row("time", ProgressBar(total=max(progress.seconds, 1.0), completed=done, width=min(60, width)))
    for name, text in (
        ("new flows", _flows_text(progress)),
        ("pods", _pods_text(progress)),
        ("recording", _recording_text(prepared, progress)),
    ):
        facts.add_row(name, plain(text))
    return Group(
        plain(f"migrate audit on {prepared.plan.node}: {_time_text(progress)}", "bold"),
        facts,
        plain(_drops_text(drops), "bold red" if drops else ""),
        *(plain(_short(line, width)) for group in drops[:_MOST_SHOWN] for line in _drop_lines(group)),
        *([plain(f"  and {len(drops) - _MOST_SHOWN} more")] if len(drops) > _MOST_SHOWN else []),
        plain("Ctrl-C ends it, keeps everything and reports", "dim"),
    )


def _time_text(progress: Progress) -> str:
    if progress.ending:
        return f"ended ({progress.ending})"
    done = progress.seconds - progress.seconds_left
    return f"{duration_text(done)} of {duration_text(progress.seconds)}, {duration_text(progress.seconds_left)} left"


def _drops_text(drops: Sequence[ObservedGroup]) -> str:
    if not drops:
        return "would be dropped: nothing so far"
    return f"would be dropped: {len(drops)} kinds of traffic, {connections_of(drops):,} connections so far"


def _drop_lines(group: ObservedGroup) -> Iterator[str]:
    side = f" at {group.side}" if group.side else ""
    yield f"  {group.events:>7,}  {group.source} → {group.destination} {packet_text(group)}{side}"
    yield f"           {decided_text(group.decided_by) or group.reason}"


def _flows_text(progress: Progress) -> str:
    balance = progress.balance
    kept = f"{balance.rows:,} exact, {balance.coarse:,} coarse, {balance.lost:,} lost"
    rate = f"{progress.new_per_second:,.0f} new flows a second"
    return f"{rate}, {kept}" + (f", {balance.unstored:,} without room" if balance.unstored else "")


def _pods_text(progress: Progress) -> str:
    coverage = progress.coverage
    if not progress.epochs:
        return "attaching to the pods' interfaces"
    share = 100 * coverage.watched_seconds / coverage.life_seconds if coverage.life_seconds else 0.0
    blind = f", {coverage.blind} not seen now" if coverage.blind else ""
    shown = "100" if share >= 100 else f"{min(share, 99.99):.2f}"
    if progress.ending:
        return f"{coverage.veths} interfaces, watched {shown} % of their time"
    return f"{coverage.alive} interfaces watched{blind}, {shown} % of their time"


def _recording_text(prepared: PreparedAudit, progress: Progress) -> str:
    text = f"{size_text(progress.size)} of {size_text(prepared.plan.max_size)}"
    if progress.is_waiting:
        return f"{text}; the disk is full, records wait in the kernel"
    level = {0: "", 1: "; nearly full, new flows are kept coarsely", 2: "; full"}[int(progress.level)]
    return f"{text}{level}; written every {progress.period:.0f} s in {1000 * progress.cost:.0f} ms of CPU"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
