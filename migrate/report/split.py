"""Parts of a report that can be handed out alone: for each namespace, or for each owner by a label of namespaces."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from msgspec import structs

from migrate.errors import InputError
from migrate.model.audit_documents import Audit, AuditEnd, ObservedGroup, Tally, TopicResult
from migrate.model.documents import Cause, Matrix, Verification
from migrate.model.raw import RawObject
from migrate.model.words import counted
from migrate.readiness.verdict import State
from migrate.report import words
from migrate.report.answer import first_sentence, traffic_lines
from migrate.report.document import (
    Answer,
    EvidenceLine,
    FindingGroup,
    Inventory,
    Level,
    NamespaceRow,
    Report,
    Step,
    Summary,
)
from migrate.report.document import Tally as Levels
from migrate.report.entries import group_anchor
from migrate.report.policies import place_of, tally

BY_NAMESPACE = "namespace"
_LABEL = "label="
_UNSAFE = re.compile(r"[^a-z0-9.-]+")
_STEPS = 3


@dataclass(frozen=True, slots=True)
class Part:
    """Some namespaces under the name of their owner; `file` is a file name without an ending."""

    title: str
    file: str
    namespaces: frozenset[str]


def parts_of(report: Report, objects: Iterable[RawObject], by: str) -> tuple[Part, ...]:
    """The parts, by name. `by` is "namespace" or "label=KEY". Raises InputError for anything else, or nothing found."""
    names = [row.name for row in report.namespaces if row.name is not None]
    if by == BY_NAMESPACE:
        owners = {name: [name] for name in names}
    elif by.startswith(_LABEL) and by != _LABEL:
        owners = _by_label(names, objects, by.removeprefix(_LABEL))
    else:
        raise InputError(f"--split-by {by}: it is written namespace, or label=KEY with a label of namespaces")
    return tuple(Part(title, _file_name(title), frozenset(spaces)) for title, spaces in sorted(owners.items()))


def _by_label(names: Iterable[str], objects: Iterable[RawObject], key: str) -> dict[str, list[str]]:
    values = {raw.ref.name: _label(raw, key) for raw in objects if raw.ref.kind == "Namespace"}
    if not any(values.values()):
        raise InputError(f"--split-by label={key}: no namespace of the snapshot has this label")
    owners: dict[str, list[str]] = {}
    for name in names:
        owners.setdefault(values.get(name) or f"without {key}", []).append(name)
    return owners


def _label(raw: RawObject, key: str) -> str:
    metadata = raw.data.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    value = labels.get(key) if isinstance(labels, dict) else None
    return value if isinstance(value, str) else ""


def _file_name(title: str) -> str:
    """A name that every file system takes, and that no two titles share."""
    plain = _UNSAFE.sub("-", title.lower()).strip("-.") or "part"
    if plain == title and plain != "index" and len(plain) <= 100:
        return plain
    return f"{plain[:100]}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"


def narrowed(report: Report, part: Part) -> Report:
    """What of a report is about the namespaces of a part. Names of others are in it only where they meet these."""
    spaces = part.namespaces
    groups = tuple(_groups(report.findings, spaces))
    audit = None if report.audit is None else _audit(report.audit, spaces)
    verification = None if report.verification is None else _verification(report.verification, spaces)
    rows = tuple(row for row in report.namespaces if row.name in spaces)
    policies = tuple(row for row in report.policies if row.source.namespace in spaces)
    about = {str(finding.subject) for group in groups if group.accepted for finding in group.findings}
    return structs.replace(
        report,
        scope=tuple(sorted(spaces)),
        answer=_answer(report, groups, verification, audit),
        since=None,
        summary=_summary(report, groups, rows, len(policies)),
        namespaces=rows,
        policies=policies,
        findings=groups,
        accepted=tuple(one for one in report.accepted if one.object in about),
        against_today=tuple(cause for cause in report.against_today if _touches(cause, spaces)),
        verification=verification,
        audit=audit,
        cutover=None,
        plan=None,
        nodes=(),
        rule_uses=tuple(use for use in report.rule_uses if use.policy and use.policy.namespace in spaces),
        inventory=Inventory(),
        unmeasured=tuple(_gaps(report)),
    )


def _gaps(report: Report) -> Iterator[str]:
    """What was not measured, without the names of others' pods."""
    for gap in report.unmeasured:
        if gap.startswith("Live traffic: the audit is incomplete"):
            yield "Live traffic: the audit is incomplete; the report on the whole cluster says why."
        else:
            yield gap


def _groups(groups: Iterable[FindingGroup], spaces: frozenset[str]) -> Iterator[FindingGroup]:
    for group in groups:
        own = tuple(finding for finding in group.findings if place_of(finding) in spaces)
        if own:
            yield structs.replace(group, findings=own)


def _answer(
    report: Report, groups: tuple[FindingGroup, ...], verification: Verification | None, audit: Audit | None
) -> Answer:
    counts = _levels(groups)
    state = _state(report, counts)
    found = f"{counted(counts.blocker, 'blocker')} and {counted(counts.warning, 'warning')} about these namespaces"
    whole = report.answer.word[:1].lower() + report.answer.word[1:]
    return Answer(
        state=state,
        word=words.STATE_ANSWERS[state],
        sentence=f"{found}. For the whole cluster the answer is: {whole}.",
        evidence=tuple(_evidence(report, verification, audit)),
        first=tuple(_steps(groups)),
    )


def _levels(groups: Iterable[FindingGroup]) -> Levels:
    """Findings that nobody accepted, by severity."""
    found = Counter[Level]()
    for group in groups:
        found[group.severity] += 0 if group.accepted else len(group.findings)
    return tally(found)


def _state(report: Report, found: Levels) -> State:
    if found.blocker:
        return "blocked"
    if report.answer.state == "incomplete" or not report.complete:
        return "incomplete"
    return "decide_first" if found.warning else "no_blocker_found"


def _evidence(report: Report, verification: Verification | None, audit: Audit | None) -> Iterator[EvidenceLine]:
    for line in report.answer.evidence:
        if line.topic == "Comparison" and verification is not None:
            number = len(verification.causes)
            touching = f"{number} causes of changed connections touch these namespaces."
            text = touching if number else "No changed connection touches these namespaces."
            state = line.state if line.state == "partial" else "against" if number else "there"
            yield EvidenceLine(topic=line.topic, state=state, text=text)
        elif line.topic == "Live traffic":
            yield from traffic_lines(audit)
        elif line.topic not in ("Coverage", "Accepted"):
            yield line


def _steps(groups: tuple[FindingGroup, ...]) -> Iterator[Step]:
    there = [group for group in groups if group.severity != "info" and not group.accepted]
    for group in there[:_STEPS]:
        anchor = group_anchor(group.id, group.severity)
        yield Step(title=group.title, detail=first_sentence(group.do), about=group.id, anchor=anchor)
    if len(there) > _STEPS:
        detail = f"{len(there) - _STEPS} kinds more, each with its step."
        yield Step(title="Go on with the other findings", detail=detail, about="", anchor="findings")
    detail = "What nobody measured may still break."
    yield Step(title="Close the gaps in the evidence", detail=detail, about="", anchor="unmeasured")


def _summary(
    report: Report, groups: tuple[FindingGroup, ...], rows: tuple[NamespaceRow, ...], policies: int
) -> Summary:
    known = report.summary.pods is not None
    return Summary(
        policies=policies,
        accepted=sum(len(group.findings) for group in groups if group.accepted),
        standings={name: sum(row.standings[name] for row in rows) for name in report.summary.standings},
        findings=_levels(groups),
        namespaces=len(rows),
        pods=sum(row.pods or 0 for row in rows) if known else None,
        pods_selected=sum(row.pods_selected or 0 for row in rows) if known else None,
    )


def _touches(cause: Cause, spaces: frozenset[str]) -> bool:
    return not spaces.isdisjoint((*cause.sources.namespaces, *cause.destinations.namespaces))


def _verification(found: Verification, spaces: frozenset[str]) -> Verification:
    """The causes that touch the namespaces. Pairs are counted for the whole cluster, so not here."""
    causes = tuple(cause for cause in found.causes if _touches(cause, spaces))
    matrix = None if found.matrix is None else _matrix(found.matrix, spaces)
    return structs.replace(
        found, causes=causes, matrix=matrix, witness=None, newly_denied_pairs=0, newly_allowed_pairs=0
    )


def _matrix(matrix: Matrix, spaces: frozenset[str]) -> Matrix:
    """The rows and columns of the namespaces, with those that something changes between, the nodes and the outside."""
    size = range(len(matrix.names))
    own = {index for index in size if matrix.names[index].split("/", 1)[0] in spaces}
    met = {
        other
        for index in own
        for other in size
        if matrix.before[index][other] != matrix.after[index][other]
        or matrix.before[other][index] != matrix.after[other][index]
    }
    kept = sorted(own | met | set(size[-2:]))
    return Matrix(
        by=matrix.by,
        names=tuple(matrix.names[index] for index in kept),
        before=tuple("".join(matrix.before[row][column] for column in kept) for row in kept),
        after=tuple("".join(matrix.after[row][column] for column in kept) for row in kept),
    )


def _audit(audit: Audit, spaces: frozenset[str]) -> Audit:
    """The traffic of the namespaces. What the node lost as a whole stays, as it may have been theirs."""

    def own(groups: Iterable[ObservedGroup]) -> tuple[ObservedGroup, ...]:
        return tuple(group for group in groups if _is_of(group.source, spaces) or _is_of(group.destination, spaces))

    def topic(found: TopicResult) -> TopicResult:
        groups = own(found.groups)
        return TopicResult(tally=_tally(groups), groups=groups)

    drops, denied = own(audit.would_drop), own(audit.denied_today)
    ambiguous, not_judged = own(audit.ambiguous), own(audit.not_judged)
    incomplete = ("the report on the whole cluster says why the audit is incomplete",) if audit.incomplete else ()
    return structs.replace(
        audit,
        incomplete=incomplete,
        result="would_drop" if drops else "nothing_seen" if audit.result == "nothing_seen" else "clean",
        tally=_tally((*drops, *denied, *ambiguous, *not_judged)),
        coverage=tuple(pod for pod in audit.coverage if pod.namespace in spaces),
        namespaces=tuple(one for one in audit.namespaces if one.namespace in spaces),
        hours=(),
        cron_jobs=tuple(one for one in audit.cron_jobs if one.job.partition("/")[0] in spaces),
        would_drop=drops,
        probes=topic(audit.probes),
        dns=topic(audit.dns),
        api_server=topic(audit.api_server),
        cloud_metadata=topic(audit.cloud_metadata),
        other_node_clients=topic(audit.other_node_clients),
        connections=tuple(one for one in audit.connections if _is_of(one.client, spaces) or _is_of(one.server, spaces)),
        denied_today=denied,
        never_seen=tuple(
            rule for rule in audit.never_seen if any(w.split("/", 1)[0] in spaces for w in rule.workloads)
        ),
        ambiguous=ambiguous,
        not_judged=not_judged,
        assumptions=(),
    )


def _is_of(end: AuditEnd, spaces: frozenset[str]) -> bool:
    return end.namespace in spaces


def _tally(groups: Iterable[ObservedGroup]) -> Tally:
    """Connections of some groups by verdict."""
    sums: dict[str, int] = {}
    records = 0
    for group in groups:
        records += group.records
        sums[group.verdict] = sums.get(group.verdict, 0) + group.events
    return Tally(records=records, **_known(sums))


def _known(sums: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in sums.items() if name in Tally.__struct_fields__}
