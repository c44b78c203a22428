"""The state of a recording as text."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.audit.durations import duration_text
from migrate.audit.sizes import size_text
from migrate.audit.status import AuditStatus
from migrate.cli.emit import plain, table_text

_MOST = 10
_REPLAY = "; migrate audit replay makes it anew"


def status_text(done: AuditStatus) -> str:
    """One fact a line."""
    head, *rest = _lines(done)
    return table_text(plain(head, "bold"), *(plain(line) for line in rest))


def _lines(done: AuditStatus) -> Iterator[str]:
    yield f"{done.recording}: {_state(done)}"
    yield f"nodes       {len(done.nodes):,} watched" if len(done.nodes) > 1 else f"node        {done.node or '?'}"
    for name, reason in list(done.not_watched.items())[:_MOST]:
        yield f"not watched {name}: {reason}"
    if len(done.not_watched) > _MOST:
        yield f"not watched {len(done.not_watched) - _MOST} more, which -o json shows"
    yield f"recorded    {duration_text(done.recorded_seconds)} of {duration_text(done.wanted_seconds)}{_runs(done)}"
    yield f"from        {done.since or '-'}"
    yield f"until       {done.until or '-'}"
    yield f"new flows   {done.new_flows:,}: {done.exact:,} exact, {done.coarse:,} coarse, {done.lost:,} lost"
    yield f"pods        {done.watched_pods:,} watched" + (f", {done.open_gaps:,} not seen" if done.open_gaps else "")
    yield f"size        {size_text(done.bytes)}"
    for kind, count in sorted(done.losses.items()):
        yield f"loss        {kind}: {count:,}"
    if done.judged:
        yield f"audit.json  {'; '.join(done.outdated) or 'as of now'}{_REPLAY if done.outdated else ''}"
    for note in done.notes:
        yield f"note        {note}"


def _state(done: AuditStatus) -> str:
    if done.running is not None:
        return f"running as process {done.running}, {duration_text(done.left_seconds)} left"
    if done.left_seconds and len(done.nodes) + len(done.not_watched) > 1:
        return f"merged, {duration_text(done.left_seconds)} less than was wanted"
    if done.left_seconds:
        return f"not running, {duration_text(done.left_seconds)} left; migrate audit goes on with it"
    return "finished"


def _runs(done: AuditStatus) -> str:
    return f" in {done.runs} runs" if done.runs > 1 else ""
