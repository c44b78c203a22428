"""Documents → Report: every number, word and order of the page is decided here, and nothing about its looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath

import migrate
from migrate.model.documents import Cause, SnapshotHeader, Translation
from migrate.readiness import verdict
from migrate.readiness.deadlines import AppliedDeadline
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Unchecked
from migrate.readiness.rules import Rule
from migrate.report import words
from migrate.report.answer import evidence, first_steps
from migrate.report.coverage import selected_pods
from migrate.report.document import (
    Answer,
    Deadline,
    FindingGroup,
    Inventory,
    NamespaceRow,
    PolicyRow,
    Report,
    Summary,
    Tally,
    UncheckedRule,
)
from migrate.report.nodes import node_rows, rule_uses
from migrate.report.policies import Levels, namespace_rows, policy_rows, standings


def _cluster_name(documents: Documents) -> str | None:
    """What people call the cluster: its name in Azure, else the kubeconfig context or the last part of the path."""
    header = documents.header
    azure = None if documents.azure is None else documents.azure.ref.name
    if azure or header is None:
        return azure
    return PurePath(header.name).name if header.origin == "files" else header.name


def build_view(documents: Documents, rules: Mapping[str, Rule], now: datetime) -> Report:
    """The report on a working folder as of `now`, without its runbook; its times are in UTC."""
    header, translation = documents.header, documents.translation
    moment = now.astimezone(UTC)
    judged = verdict.judge(documents, rules, moment.date())
    accepted = translation.accepted if translation else ()
    levels = Levels(rules, frozenset(accepted))
    policies = policy_rows(documents.objects, translation, has_snapshot=header is not None, levels=levels)
    complete = all(document.complete for document in documents.inputs)
    cluster = documents.cluster
    selected = selected_pods(cluster, documents.objects) if cluster.pods else None
    namespaces = namespace_rows(policies, judged.findings, cluster, selected, levels)
    groups = (*(_group(each) for each in judged.groups), *(_group(each, accepted=True) for each in judged.accepted))
    return Report(
        tool_version=migrate.__version__,
        generated=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        cluster=_cluster_name(documents),
        engines=translation.engines if translation else _active_engines(header),
        target=translation.target if translation else None,
        networkpolicy=translation.networkpolicy if translation else None,
        scope=None,
        complete=complete,
        answer=_answer(documents, judged, groups, complete=complete),
        since=None,
        deadlines=tuple(_deadline(each) for each in judged.deadlines),
        summary=_summary(policies, namespaces, judged, selected),
        namespaces=namespaces,
        policies=policies,
        findings=groups,
        accepted=accepted,
        against_today=_against_today(translation),
        verification=documents.verification,
        audit=documents.audit,
        cutover=documents.cutover,
        plan=None,
        nodes=node_rows(documents),
        rule_uses=rule_uses(documents.nodes),
        inventory=Inventory(facts=header.facts if header else (), kinds=header.kinds if header else ()),
        unmeasured=judged.not_measured,
        unchecked=tuple(_unchecked(rule, rules) for rule in judged.unchecked),
        inputs=documents.inputs,
    )


def _answer(documents: Documents, judged: verdict.Verdict, groups: Sequence[FindingGroup], *, complete: bool) -> Answer:
    return Answer(
        state=judged.state,
        word=words.STATE_ANSWERS[judged.state],
        sentence=judged.sentence,
        evidence=tuple(evidence(documents)),
        first=tuple(first_steps(documents, groups, complete=complete)),
    )


def _against_today(translation: Translation | None) -> tuple[Cause, ...]:
    if translation is None or translation.against_today is None:
        return ()
    return translation.against_today.cilium


def _active_engines(header: SnapshotHeader | None) -> tuple[str, ...]:
    facts = header.facts if header else ()
    return tuple(sorted({fact.value for fact in facts if fact.topic == "engine" and fact.state == "active"}))


def _deadline(applied: AppliedDeadline) -> Deadline:
    known = applied.deadline
    return Deadline(
        what=known.what,
        title=known.title,
        date=known.date.isoformat(),
        days=applied.days_left,
        meaning=known.meaning.strip(),
        uses=tuple(sorted(set(applied.uses))),
        images_removed=known.images_removed.isoformat() if known.images_removed else None,
        source=known.source,
        source_date=known.source_date.isoformat(),
        corrections=tuple(
            f"Not {old.date}, as {old.source} said on {old.source_date}. {old.reason.strip()}"
            for old in known.superseded
        ),
    )


def _summary(
    policies: Sequence[PolicyRow],
    namespaces: Sequence[NamespaceRow],
    judged: verdict.Verdict,
    selected: Counter[str] | None,
) -> Summary:
    return Summary(
        policies=len(policies),
        accepted=sum(len(group.findings) for group in judged.accepted),
        standings=standings(Counter(row.standing for row in policies)),
        findings=Tally(
            blocker=sum(len(group.findings) for group in judged.blockers),
            warning=sum(len(group.findings) for group in judged.warnings),
            info=sum(len(group.findings) for group in judged.infos),
        ),
        namespaces=sum(row.name is not None for row in namespaces),
        pods=None if selected is None else sum(row.pods or 0 for row in namespaces),
        pods_selected=None if selected is None else selected.total(),
    )


def _unchecked(rule: Unchecked, rules: Mapping[str, Rule]) -> UncheckedRule:
    known = rules.get(rule.id)
    return UncheckedRule(id=rule.id, title=known.title if known else rule.id, lacks=rule.lacks)


def _group(group: verdict.FindingGroup, *, accepted: bool = False) -> FindingGroup:
    rule = group.rule
    return FindingGroup(
        id=group.id,
        title=group.title,
        severity=words.LEVELS[group.severity],
        known=rule is not None,
        accepted=accepted,
        why=rule.why.strip() if rule else "The document was written by another version of migrate.",
        do=rule.do.strip() if rule else "Make the report with the version that wrote the document.",
        evidence=rule.evidence if rule else None,
        as_of=rule.as_of.isoformat() if rule else None,
        sources=tuple(map(str, rule.sources)) if rule else (),
        findings=group.findings,
    )
