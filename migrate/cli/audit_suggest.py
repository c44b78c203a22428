"""Suggested policies as YAML, with what speaks for and against them as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from migrate.audit.suggested import AuditSuggestions, SuggestedPolicy
from migrate.cli.emit import plain, table_text
from migrate.files import write_atomic
from migrate.model.documents import Cause
from migrate.model.words import one_line
from migrate.translate.names import file_of

_WIDTH = 110
_MOST = 50


def suggestions_text(done: AuditSuggestions) -> str:
    """A stream of YAML documents that kubectl reads; everything else is a comment."""
    parts = [_comments(done), *(policy.text for policy in done.suggested)]
    return table_text(*(plain(line) for line in "---\n".join(parts).splitlines()))


def write_suggestions(done: AuditSuggestions, folder: Path) -> list[Path]:
    """Write one file for each policy. Raises InputError when that cannot be."""
    paths = [folder / _file(policy) for policy in done.suggested]
    for path, policy in zip(paths, done.suggested, strict=True):
        write_atomic(path, policy.text.encode())
    return paths


def _file(policy: SuggestedPolicy) -> Path:
    """Namespace and name, below no folder of a translation."""
    ref = policy.object
    return Path(*Path(file_of(ref.kind, ref.namespace, ref.name)).parts[1:])


def _comments(done: AuditSuggestions) -> str:
    lines = [line for text in _texts(done) for line in textwrap.wrap(one_line(text), _WIDTH, subsequent_indent="  ")]
    return "".join(f"# {line}\n" for line in lines)


def _texts(done: AuditSuggestions) -> Iterator[str]:
    yield f"Suggested for {done.policies}: {len(done.suggested)} policies"
    before, after = f"{done.dropped_before:,}", f"{done.dropped_after:,}"
    yield f"Of the connections that were seen (at each end), {before} are dropped without them, {after} with them"
    for one in done.unhelped[:_MOST]:
        yield f"No policy for {one.flow}: {one.reason}"
    if len(done.unhelped) > _MOST:
        yield f"and {len(done.unhelped) - _MOST} more without, which -o json shows"
    for cause in done.opens[:_MOST]:
        yield _opened(cause)
    if len(done.opens) > _MOST:
        yield f"and {len(done.opens) - _MOST} more causes, which -o json shows"
    for text in done.left_out[:_MOST]:
        yield f"Not read or not modelled: {text}"


def _opened(cause: Cause) -> str:
    flow = cause.counterexample
    pairs = f"; {cause.pod_pairs} pairs of pods" if cause.pod_pairs else ""
    by = f" by {cause.after.object} {cause.after.rule}" if cause.after.object else ""
    what = "Opens" if cause.change == "newly_allowed" else "CLOSES"
    return f"{what}{by}: such as {flow.source} to {flow.destination} {flow.protocol}/{flow.port}{pairs}"
