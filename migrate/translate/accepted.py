"""Findings that the user accepted by ID@object."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from migrate.errors import InputError
from migrate.model.documents import AcceptedFinding
from migrate.model.finding import Finding

WHOLE_CLUSTER = "cluster"
_EVERY = "*"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The findings that count no more, and what of them stands in the document."""

    findings: frozenset[Finding]
    items: tuple[AcceptedFinding, ...]


def matched(texts: Iterable[str], findings: Sequence[Finding]) -> Accepted:
    """The findings that the texts mean. Raises InputError for a text that means none, with what is near it.

    The object is written as findings show it ("NetworkPolicy shop/web"), without its kind ("shop/web"), "cluster" for
    a finding about no object, or "*" for all objects.
    """
    chosen: set[Finding] = set()
    for text in texts:
        identity, _, wanted = text.partition("@")
        found = [f for f in findings if f.id == identity.strip().upper() and _means(wanted.strip(), f)]
        if not found:
            raise InputError(_nothing(text, findings))
        chosen.update(found)
    return Accepted(frozenset(chosen), tuple(sorted(set(map(accepted_as, chosen)))))


def accepted_as(finding: Finding) -> AcceptedFinding:
    """What the document says when the finding is accepted."""
    return AcceptedFinding(finding.id, object_of(finding))


def object_of(finding: Finding) -> str:
    """The object of a finding as documents print it."""
    return WHOLE_CLUSTER if finding.subject is None else str(finding.subject)


def _means(wanted: str, finding: Finding) -> bool:
    name = object_of(finding)
    return wanted in (_EVERY, name, name.partition(" ")[2] or name)


def _nothing(text: str, findings: Sequence[Finding]) -> str:
    if "@" not in text or not text.partition("@")[2].strip():
        return f"--accept {text}: it is written ID@object, such as POL-SCTP@shop/web"
    known = sorted({f"{finding.id}@{object_of(finding)}" for finding in findings})
    short = {name.partition("@")[0] + "@" + (name.partition(" ")[2] or name.partition("@")[2]): name for name in known}
    near = difflib.get_close_matches(text, [*known, *short], n=1, cutoff=0.4)
    hint = f"the nearest is {short.get(near[0], near[0])}" if near else "there is nothing like it"
    return f"--accept {text}: no finding of this translation is meant; {hint}"
