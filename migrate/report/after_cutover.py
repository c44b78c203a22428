"""What Cilium did after the cutover, as the report shows it."""

from __future__ import annotations

from migrate.model.cutover_documents import CutoverCheck, CutoverGroup
from migrate.model.documents import DecidedBy
from migrate.report.document import EvidenceLine
from migrate.report.tables import PAGE, Shown

_SAID = {"would_drop": "dropped", "would_allow": "passes", "unknown": "not known"}
_HAPPENED = {"dropped": "dropped", "allowed": "passed", "audited": "dropped, in audit mode", "unanswered": "no answer"}
_RESULTS = {
    "missed": "Cilium does not do what was predicted.",
    "findings": "No missed prediction was seen, but policies are not in force as they were translated.",
    "as_predicted": "What was seen is as predicted.",
    "nothing_seen": "Nothing was seen that could be compared.",
}


def sentence(check: CutoverCheck) -> str:
    """The result; what is missing is said with it."""
    return _RESULTS[check.result] + ("" if check.complete else " Not everything was seen.")


def classes(check: CutoverCheck) -> tuple[tuple[str, int], ...]:
    """Events by class, the worst first."""
    tally = check.tally
    return (
        ("Dropped, and was predicted to pass", tally.missed_drop),
        ("Passed, and was predicted to be dropped", tally.missed_allow),
        ("Not judged", tally.not_judged),
        ("Never seen by the audit, as the policies say", tally.new_traffic),
        ("As predicted", tally.as_predicted),
        ("Replies", tally.replies),
    )


def rows(check: CutoverCheck) -> Shown[tuple[str, ...]]:
    """The first missed predictions."""
    number = len(check.missed)
    more = f", of which {number - PAGE:,} are in the JSON report only" if number > PAGE else ""
    shown = [_cells(group) for group in check.missed[:PAGE]]
    return Shown(shown, f"{number:,} {'kind' if number == 1 else 'kinds'} of traffic{more}.")


def _cells(group: CutoverGroup) -> tuple[str, ...]:
    side = f" at {group.side}" if group.side else ""
    happened = f"{_HAPPENED.get(group.observed, 'not known')}{side if group.observed == 'dropped' else ''}"
    reason = f" ({group.drop_reason})" if group.drop_reason else ""
    what = f"{group.protocol}/{group.port}" if group.port or group.protocol == "TCP" else group.protocol
    ends = (str(group.source), str(group.destination))
    said, by = _SAID[group.predicted], _rule(group.decided_by)
    return (*ends, what, f"{group.times:,}", said, happened + reason, by, group.do)


def _rule(by: DecidedBy) -> str:
    if by.object is None:
        return by.reason
    return f"{by.object} {by.rule}" + (f" ({by.at})" if by.at else "")


def evidence(check: CutoverCheck) -> EvidenceLine:
    """One line of what the verdict rests on."""
    bad = check.result in ("missed", "findings")
    whole = check.complete and check.result == "as_predicted"
    return EvidenceLine(
        topic="After the cutover", state="against" if bad else "there" if whole else "partial", text=sentence(check)
    )
