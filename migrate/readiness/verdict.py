"""May the cluster be switched over: what the documents at hand answer, and what they cannot answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Literal

import msgspec

from migrate.model.audit_documents import Audit
from migrate.model.documents import SnapshotHeader, Translation, Verification
from migrate.model.finding import Finding, Severity
from migrate.model.node_documents import NodeStates
from migrate.readiness import deadlines, nodes_read, traffic
from migrate.readiness.checks import all_checks
from migrate.readiness.deadlines import AppliedDeadline
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Unchecked, evaluate
from migrate.readiness.rules import Rule, severity_of
from migrate.translate.accepted import accepted_as

State = Literal["blocked", "incomplete", "decide_first", "no_blocker_found"]

_UNREAD = ("forbidden", "failed")


class FindingGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of one id and severity; `rule` is None for an id that this version does not know."""

    id: str
    severity: Severity
    rule: Rule | None
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        """What the group is about, in a few words."""
        return self.rule.title if self.rule else "A finding that this version does not know"

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects concerned, each once."""
        return tuple(sorted({str(finding.subject) for finding in self.findings if finding.subject is not None}))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, and everything it rests on.

    What is proved bad comes before what is not known: "blocked", then "incomplete" (something could not be read or
    was not translated), "decide_first" (warnings), "no_blocker_found". None of them says that a cutover is safe:
    `not_measured` says what nobody has looked at, `unchecked` which rules could not be put, or not in full.
    """

    state: State
    sentence: str
    blockers: tuple[FindingGroup, ...]
    warnings: tuple[FindingGroup, ...]
    infos: tuple[FindingGroup, ...]
    deadlines: tuple[AppliedDeadline, ...]
    not_measured: tuple[str, ...]
    unchecked: tuple[Unchecked, ...] = ()
    accepted: tuple[FindingGroup, ...] = ()

    @property
    def groups(self) -> tuple[FindingGroup, ...]:
        """All findings that nobody has accepted, the gravest first."""
        return self.blockers + self.warnings + self.infos

    @property
    def findings(self) -> list[Finding]:
        """Those of all these groups."""
        return [finding for group in self.groups for finding in group.findings]


def judge(documents: Documents, rules: Mapping[str, Rule], today: date) -> Verdict:
    """The verdict over the documents that are there, on a day. Accepted findings no longer stand in the way."""
    header, translation, audit = documents.header, documents.translation, documents.audit
    applied = deadlines.applying(header.facts if header else (), today)
    evaluation = evaluate(documents, today, all_checks())
    found = [*_findings(header, translation), *deadlines.findings(applied), *evaluation.findings]
    taken = set(translation.accepted) if translation else set()
    groups = _grouped((finding for finding in found if accepted_as(finding) not in taken), rules)
    blockers, warnings, infos = (
        tuple(group for group in groups if group.severity is severity) for severity in Severity
    )
    holes = (*_holes(header, translation), *_undecided(documents.verification), *traffic.audit_holes(audit))
    state = _state(bool(blockers), bool(holes), bool(warnings))
    not_measured = (*holes, *_never_measured(documents))
    return Verdict(
        state=state,
        sentence=f"{_sentence(state, blockers, warnings, len(holes))} {_basis(translation, audit, documents.nodes)}",
        blockers=blockers,
        warnings=warnings,
        infos=infos,
        deadlines=applied,
        not_measured=not_measured,
        unchecked=evaluation.unchecked,
        accepted=_grouped((finding for finding in found if accepted_as(finding) in taken), rules),
    )


def _undecided(verification: Verification | None) -> Iterator[str]:
    if verification is not None and (verification.result == "undecided" or not verification.complete):
        why = "; ".join(verification.left_out[:2]) or "it says so of itself"
        yield f"The comparison of all flows is not decided: {why}."


def _findings(header: SnapshotHeader | None, translation: Translation | None) -> Iterator[Finding]:
    if header is not None:
        yield from header.findings
    if translation is not None:
        yield from translation.findings
        for result in translation.results:
            yield from result.findings


def _grouped(found: Iterable[Finding], rules: Mapping[str, Rule]) -> tuple[FindingGroup, ...]:
    """Each finding once, by id and severity, in the order of ids."""
    groups: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in sorted(dict.fromkeys(found), key=Finding.sort_key):
        groups.setdefault((finding.id, severity_of(finding, rules)), []).append(finding)
    return tuple(
        FindingGroup(id=identity, severity=severity, rule=rules.get(identity), findings=tuple(same))
        for (identity, severity), same in groups.items()
    )


def _state(blocked: bool, incomplete: bool, warned: bool) -> State:
    if blocked:
        return "blocked"
    if incomplete:
        return "incomplete"
    return "decide_first" if warned else "no_blocker_found"


def _sentence(state: State, blockers: tuple[FindingGroup, ...], warnings: tuple[FindingGroup, ...], holes: int) -> str:
    match state:
        case "blocked":
            return f"Do not switch over: {_amount(blockers, 'blocker')} must be resolved first."
        case "incomplete":
            lacking = "1 part" if holes == 1 else f"{holes} parts"
            return f"No blocker was found, but {lacking} of the picture could not be read."
        case "decide_first":
            return f"No blocker was found; {_amount(warnings, 'warning')} need a decision."
        case "no_blocker_found":
            return "No blocker and no warning was found in what was read."


def _basis(translation: Translation | None, audit: Audit | None, nodes: NodeStates | None) -> str:
    """What stands behind the verdict and what does not, in one sentence."""
    proof = "every" if translation is not None and not _unproved(translation) else "not every"
    seen = "no live traffic was audited"
    if audit is not None:
        node = f" on {traffic.where_text(audit)}" if audit.node or audit.nodes else ""
        seen = f"live traffic was audited{node} {traffic.span_text(audit)}"
    text = f"{proof} policy was proved, {seen} and {nodes_read.basis(nodes)}."
    return text[0].upper() + text[1:]


def _amount(groups: tuple[FindingGroup, ...], noun: str) -> str:
    findings = sum(len(group.findings) for group in groups)
    kinds = f" of {len(groups)} kinds" if len(groups) > 1 else ""
    return f"{findings} {noun}{'' if findings == 1 else 's'}{kinds}"


def _holes(header: SnapshotHeader | None, translation: Translation | None) -> Iterator[str]:
    """What should have been read and was not."""
    if header is None:
        yield "The cluster: there is no snapshot. `migrate scan` takes one."
    else:
        unread = [count for count in header.kinds if count.status in _UNREAD]
        for count in unread:
            yield f"{count.api_version} {count.kind}: {count.status}. {count.detail}".rstrip(". ") + "."
        if not header.complete and not unread:
            yield "A part of the snapshot; its findings say which."
    if translation is None:
        yield "What the policies become: there is no translation. `migrate translate` makes one."
    elif not translation.complete:
        yield "A part of the policies: the translation says that it is incomplete."


def _never_measured(documents: Documents) -> Iterator[str]:
    """What no stage has looked at, however complete the documents are."""
    header, translation = documents.header, documents.translation
    unproved = _unproved(translation)
    if unproved and translation is not None:
        yield f"Proof: {unproved} of {len(translation.results)} results were not compared flow by flow."
    yield traffic.beyond_audit(documents.audit)
    yield from nodes_read.not_known(documents)
    if header is None:
        return
    topics = [fact for fact in header.facts if fact.state == "unknown"]
    yield from (f"{fact.topic}: {fact.detail or fact.value}." for fact in topics)
    if header.origin == "files":
        yield "The age of the input: it was read from files, and a cluster may have changed since."
    if header.namespaces is not None:
        yield f"Other namespaces: only {', '.join(header.namespaces)} were read."
    if _is(header, "cloud", "aks") and not _is_azure_known(header):
        yield "Azure's own settings of the cluster: `az aks show -o json`, given with --az-json, would tell."


def _unproved(translation: Translation | None) -> int:
    return 0 if translation is None else sum(result.proof == "none" for result in translation.results)


def _is(header: SnapshotHeader, topic: str, value: str) -> bool:
    return any(fact.topic == topic and fact.value == value for fact in header.facts)


def _is_azure_known(header: SnapshotHeader) -> bool:
    """Whether any statement rests on what Azure said."""
    return any(one.object.startswith("AzureManagedCluster") for fact in header.facts for one in fact.evidence)
