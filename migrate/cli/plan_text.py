"""What `migrate plan --check` found, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.plan_documents import ChangedObject, PlanCheck, StaleProof

_RESULTS = {
    "unchanged": "Nothing changed since it was proved and audited.",
    "holds": "Something changed, and everything that was proved and audited still holds.",
    "broken": "Do not begin: something that was proved or audited no longer holds.",
    "incomplete": "The fresh scan could not read everything; in what it read everything still holds.",
}
_SHOWN = 40


def check_text(found: PlanCheck) -> str:
    """The result, what no longer holds, then what changed."""
    return "".join(f"{_plain(line)}\n" for line in _lines(found))


def _lines(found: PlanCheck) -> Iterator[str]:
    yield _RESULTS[found.result]
    yield f"Compared: {found.before_taken or 'files'} with {found.after_taken or 'files'}."
    yield from (f"Not read: {text}" for text in found.incomplete)
    if found.proofs:
        yield ""
        yield "No longer holds:"
        for proof in found.proofs:
            yield from _proof(proof)
    if found.changes:
        yield ""
        yield "Changed:"
        yield from (f"  {_change(change)}" for change in found.changes[:_SHOWN])
        more = len(found.changes) - _SHOWN + found.more_changes
        if more > 0:
            yield f"  {more} more: -o json has them"


def _proof(proof: StaleProof) -> Iterator[str]:
    doubt = " (not known any more)" if proof.state == "stale" else ""
    yield f"  {proof.what}{doubt}: {proof.why}"
    yield from (f"    {name}" for name in proof.objects)


def _change(change: ChangedObject) -> str:
    sign = {"added": "+", "removed": "-", "changed": "~"}[change.change]
    fields = f": {', '.join(change.fields)}" if change.fields else ""
    return f"{sign} {change.kind} {change.object}{fields}"


def _plain(line: str) -> str:
    """No character that steers a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)
