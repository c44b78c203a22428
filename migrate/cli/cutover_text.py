"""A check after the cutover as text of 80 columns, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from migrate.cli.emit import decided_text, plain, table_text, wrapped
from migrate.cli.listing import kinds_of_traffic, listed, paragraphs
from migrate.cutover.made import GRAVE
from migrate.files import write_atomic
from migrate.model.cutover_documents import CutoverCheck, CutoverGroup, CutoverSuggestion, NotConfirmed
from migrate.model.finding import Finding
from migrate.model.words import counted, packet_text
from migrate.translate.names import file_of

_ABOVE = ("CUT-PREDICTION-MISSED", "CUT-PREDICTION-WIDER")
"""Findings whose traffic stands above them, kind by kind."""
_RESULTS = {
    "missed": "MISSED PREDICTIONS: Cilium does not do what was said",
    "findings": "NOT IN FORCE: policies are not in force as they were translated",
    "as_predicted": "as predicted, as far as was seen",
    "nothing_seen": "NOTHING SEEN: there was no traffic that could be compared",
}
_SAID = {"would_drop": "that Cilium drops it", "would_allow": "that it passes", "unknown": "nothing certain"}
_HAPPENED = {
    "dropped": "dropped",
    "allowed": "it passed",
    "left": "it was let out at its source",
    "audited": "it would be dropped, in audit mode",
    "unanswered": "nobody answered",
    "dropped_otherwise": "dropped, by no policy",
    "unknown": "not known",
}
_BEFORE = {
    "would_drop": "the audit said the same drop",
    "would_allow": "the audit saw it pass, and said that it would",
    "unknown": "the audit was not certain of it",
    "denied_today": "the old engine denied it",
    "never_seen": "the audit never saw it",
}


def check_text(check: CutoverCheck) -> str:
    """The result, what was missed with what to do, what is not in force, and what was not seen."""
    head, *rest = _lines(check)
    return table_text(plain(head, "bold"), *(plain(line) for line in rest))


def write_suggested(check: CutoverCheck, folder: Path) -> list[Path]:
    """One file for each suggested policy. Raises InputError when that cannot be."""
    paths = []
    for policy in check.suggested:
        ref = policy.object
        path = folder / Path(*Path(file_of(ref.kind, ref.namespace, ref.name)).parts[1:])
        write_atomic(path, policy.text.encode())
        paths.append(path)
    return paths


def _lines(check: CutoverCheck) -> Iterator[str]:
    tally = check.tally
    text = _RESULTS[check.result]
    yield from wrapped(text if check.complete else f"{text} (incomplete)")
    yield from wrapped(f"seen {check.since or '?'} to {check.until or '?'}, judged by {check.policies}", "  ")
    yield from wrapped(
        f"{tally.missed_drop:,} dropped against the prediction, {tally.missed_allow:,} passed against it, "
        f"{tally.as_predicted:,} as predicted, {tally.new_traffic:,} never seen before, "
        f"{tally.not_judged:,} not judged, {tally.replies:,} replies",
        "  ",
    )
    if check.endpoints is not None:
        ends = check.endpoints
        yield f"  {counted(ends.pods, 'endpoint')}: {ends.not_as_predicted:,} not enforced as the policies ask"
    drops = [group for group in check.missed if group.outcome == "missed_drop"]
    passes = [group for group in check.missed if group.outcome == "missed_allow"]
    yield from kinds_of_traffic("Dropped, and was predicted to pass", drops, _group)
    yield from kinds_of_traffic("Passes, and was predicted to be dropped", passes, _group)
    yield from _helps(check)
    yield from _findings(check)
    denied = [group for group in check.new_traffic if group.observed in ("dropped", "audited", "unanswered")]
    yield from kinds_of_traffic("Never seen by the audit, and dropped as the policies say", denied, _group)
    yield from kinds_of_traffic("Not judged", check.not_judged, _group)
    yield from kinds_of_traffic("Said to be dropped, and not seen since", check.not_confirmed, _not_confirmed)
    yield from paragraphs(
        ("incomplete", check.incomplete), ("assumed", check.assumptions), ("not seen", check.not_seen)
    )


def _group(number: int, group: CutoverGroup) -> Iterator[str]:
    through = f" through {group.service}" if group.service else ""
    ends = f"{group.source} → {group.destination} {packet_text(group)}{through}: {counted(group.times, 'event')}"
    yield from wrapped(f"{number}. {ends}", "   ")
    said = _SAID[group.predicted]
    before = _BEFORE.get(group.audit, "")
    yield from wrapped(f"said     {said}" + (f"; {before}" if before else ""), " " * 12, "   ")
    yield from wrapped(f"happened {_happened(group)}", " " * 12, "   ")
    by = decided_text(group.decided_by)
    if by:
        yield from wrapped(f"by       {by}", " " * 12, "   ")
    if group.reason:
        yield from wrapped(f"note     {group.reason}", " " * 12, "   ")
    if group.first:
        yield f"   seen     {group.first} to {group.last}"
    example = f"{group.example.source} to {group.example.destination}"
    yield from wrapped(f"such as  {example}" + (f", {group.evidence}" if group.evidence else ""), " " * 12, "   ")
    if group.do:
        yield from wrapped(f"do       {group.do}", " " * 12, "   ")


def _happened(group: CutoverGroup) -> str:
    side = f" at {group.side}" if group.side and group.observed in ("dropped", "audited") else ""
    reason = f" ({group.drop_reason})" if group.drop_reason else ""
    both = f", {group.passed:,} of the same passed" if group.dropped and group.passed else ""
    by = f"; Cilium names {', '.join(group.reported)}" if group.reported else ""
    return f"{_HAPPENED[group.observed]}{side}{reason}{both}{by}"


def _helps(check: CutoverCheck) -> Iterator[str]:
    if check.suggested:
        yield ""
        names = (
            f"{counted(len(check.suggested), 'suggested policy').replace('policys', 'policies')} would let it through"
        )
        yield from wrapped(f"{names} (--output-dir writes them):", "  ")
        yield from listed(check.suggested, _suggested)
    if check.way_back and check.result == "missed":
        yield ""
        yield from wrapped(f"way back: {check.way_back}", "  ")


def _suggested(_: int, policy: CutoverSuggestion) -> list[str]:
    return wrapped(f"{policy.object}: {'; '.join(policy.flows[:3])}", "    ", "  - ")


def _findings(check: CutoverCheck) -> Iterator[str]:
    told = [finding for finding in check.findings if finding.id not in _ABOVE]
    told.sort(key=lambda finding: finding.id not in GRAVE)
    if told:
        yield ""
        yield f"Findings: {len(told)} (migrate explain-rule ID says more)"
    yield from listed(told, _finding)


def _finding(_: int, finding: Finding) -> list[str]:
    where = f"{finding.subject}: " if finding.subject is not None else ""
    return wrapped(f"{finding.id} {where}{finding.detail}", "    ", "  ")


def _not_confirmed(_: int, one: NotConfirmed) -> list[str]:
    events = counted(one.events, "connection")
    return wrapped(f"{one.source} → {one.destination} {packet_text(one)}: {events} before", "    ", "  - ")
