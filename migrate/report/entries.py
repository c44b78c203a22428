"""Rows as plain words. Each is used twice: by the template, and as data for the rows that a script adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from migrate.model.finding import Effect, Finding
from migrate.model.refs import ObjectRef
from migrate.report import words
from migrate.report.document import LEVELS, STANDINGS, FindingGroup, Level, NamespaceRow, PolicyRow
from migrate.report.policies import Levels
from migrate.report.source_view import Pair, Text
from migrate.report.tables import Words

NAMESPACE_COLUMNS = (
    ("Policies", ("All", *(words.STANDING_TITLES[standing] for standing in STANDINGS))),
    ("Findings", tuple(words.LEVEL_TITLES[level] for level in LEVELS)),
    ("Pods", ("All", "Selected")),
)
_FINDINGS_OF_A_POLICY = 40


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One finding of a policy, ready to be shown."""

    id: str
    anchor: str
    level: Level
    title: str
    field: str
    at: str
    detail: str
    effect: str

    def words(self) -> Words:
        """The same as data, in the order that report.js reads."""
        return (self.id, self.anchor, self.level, self.title, self.field, self.at, self.detail, self.effect)


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One policy with both its texts. `level` is the gravest of its findings, or empty."""

    anchor: str
    standing: str
    level: str
    title: str
    name: str
    kind: str
    note: str
    meaning: str
    assumptions: tuple[str, ...]
    beside: tuple[str, ...]
    findings: tuple[FindingLine, ...]
    source: Text
    results: tuple[Text, ...]

    def words(self) -> Words:
        """The same as data, in the order that report.js reads; texts are cut into lines, which repeat a lot."""
        return (
            self.anchor,
            self.standing,
            self.level,
            self.title,
            self.name,
            self.kind,
            self.note,
            self.meaning,
            self.assumptions,
            self.beside,
            tuple(line.words() for line in self.findings),
            _text_words(self.source),
            tuple(_text_words(text) for text in self.results),
        )


def _text_words(text: Text) -> Words:
    """Each line after a sign that says whether it is marked."""
    return (text.caption, tuple(f"{'*' if marked else ' '}{line}" for marked, line in text.lines))


def policy_entry(number: int, row: PolicyRow, pair: Pair, levels: Levels) -> PolicyEntry:
    """A policy as the page shows it, its findings the gravest first."""
    hidden = len(row.findings) - _FINDINGS_OF_A_POLICY
    more = f" {hidden} further findings are in the JSON report." if hidden > 0 else ""
    proof = "" if row.standing in ("not_translated", "unsupported") else f" It is {words.PROOF_TITLES[row.proof]}."
    return PolicyEntry(
        anchor=anchor(number),
        standing=row.standing,
        level=row.worst or "",
        title=words.STANDING_TITLES[row.standing],
        name=place(row.source),
        kind=f"{row.source.kind} {row.source.api_version}",
        note=_note(row, levels),
        meaning=words.STANDING_MEANINGS[row.standing] + proof + more,
        assumptions=row.assumptions,
        beside=tuple(_beside(row)),
        findings=tuple(_line(finding, levels) for finding in row.findings[:_FINDINGS_OF_A_POLICY]),
        source=pair.source,
        results=pair.results,
    )


def _beside(row: PolicyRow) -> Iterator[str]:
    """What else there is to know of a policy: proposals, files for other times, and who keeps the source."""
    if row.suggested:
        yield f"Proposed, and taken by nobody yet: {', '.join(row.suggested)}."
    if row.staged:
        yield f"What the staged policy would mean, for questions only: {', '.join(row.staged)}."
    if row.plain:
        yield f"For the time of the cutover: {', '.join(row.plain)}."
    if row.owner is not None and row.owner.kind not in ("file", "unknown"):
        back = words.RETURN_TITLES[row.owner.returns]
        yield f"Kept by {row.owner.kind} {row.owner.name} ({row.owner.evidence}); {back}: {row.owner.change}."
    if row.standing != "not_translated":
        yield f"The source object {words.ORIGINAL_TITLES[row.original]}."


def anchor(number: int) -> str:
    """The address of a policy within the page, by its position."""
    return f"policy-{number + 1}"


def group_anchor(identity: str, level: Level, *, accepted: bool = False) -> str:
    """The address of the findings of one id and severity within the page."""
    return f"finding-{identity}-{'accepted' if accepted else level}"


def place(ref: ObjectRef) -> str:
    """Namespace and name of an object, its name alone when it has no namespace."""
    return f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name


def _note(row: PolicyRow, levels: Levels) -> str:
    counts = Counter(levels(finding) for finding in row.findings if not levels.is_accepted(finding))
    there = [_count(counts[level], words.LEVEL_TITLES[level].lower()) for level in LEVELS if counts[level]]
    if accepted := sum(map(levels.is_accepted, row.findings)):
        there.append(f"{accepted} accepted")
    return ", ".join(there) or "no findings"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 or noun == 'info' else 's'}"


def _line(finding: Finding, levels: Levels) -> FindingLine:
    level, accepted = levels(finding), levels.is_accepted(finding)
    return FindingLine(
        id=finding.id,
        anchor=group_anchor(finding.id, level, accepted=accepted),
        level="info" if accepted else level,
        title=f"Accepted {level}" if accepted else words.LEVEL_TITLES[level],
        field=finding.field or "",
        at=str(finding.at or ""),
        detail=finding.detail,
        effect=_effect(finding.effect, finding.effect_on_intent),
    )


def _effect(today: Effect, intent: Effect) -> str:
    """What the future allows, compared with today and with the policies' text."""
    now, text = words.EFFECT_TITLES[today.value], words.EFFECT_TITLES[intent.value]
    return f"After the cutover, compared with today: {now}. Compared with the policy's text: {text}."


def namespace_cells(row: NamespaceRow) -> tuple[str, ...]:
    """The cells of a namespace, in the order of its columns."""
    findings = row.findings
    numbers = (row.policies, *row.standings.values(), findings.blocker, findings.warning, findings.info)
    pods = (row.pods, row.pods_selected)
    return (row.name or "(cluster-wide)", *map(str, numbers), *("–" if pod is None else str(pod) for pod in pods))


def place_cells(finding: Finding, anchors: dict[ObjectRef, str]) -> tuple[str, ...]:
    """The cells of a place where something was found; the last is where in the page its policy is, or empty."""
    subject = finding.subject
    return (
        str(subject) if subject else "the cluster",
        finding.field or "",
        str(finding.at or ""),
        words.EFFECT_TITLES[finding.effect.value],
        finding.detail,
        anchors.get(subject, "") if subject else "",
    )


def affected(group: FindingGroup) -> str:
    """How much a finding touches, in words."""
    subjects = {finding.subject for finding in group.findings if finding.subject}
    if not subjects:
        return "the cluster"
    spaces = {subject.namespace for subject in subjects if subject.namespace}
    where = f" in {_count(len(spaces), 'namespace')}" if spaces else ""
    return _count(len(subjects), "object") + where
