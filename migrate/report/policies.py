"""The report's view of policies and namespaces: what became of each, and where it needs attention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from migrate.model.cluster import Cluster
from migrate.model.documents import AcceptedFinding, EmittedObject, Result, Translation, TranslationResult
from migrate.model.finding import Finding
from migrate.model.raw import RawObject
from migrate.readiness.rules import Rule, severity_of
from migrate.report import words
from migrate.report.document import LEVELS, STANDINGS, Level, NamespaceRow, PolicyRow, Standing, Tally
from migrate.translate.accepted import accepted_as

_POLICY_KINDS = frozenset(
    {
        "NetworkPolicy",
        "GlobalNetworkPolicy",
        "StagedNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
        "AdminNetworkPolicy",
        "BaselineAdminNetworkPolicy",
        "ClusterNetworkPolicy",
    }
)

_STANDING: dict[Result, Standing] = {
    Result.KEPT: "kept",
    Result.EXACT: "exact",
    Result.EXACT_HERE: "exact_here",
    Result.CHANGED: "changed",
    Result.UNSUPPORTED: "unsupported",
}


@dataclass(frozen=True, slots=True)
class Levels:
    """The severity of each finding, as the report writes it."""

    rules: Mapping[str, Rule]
    accepted: frozenset[AcceptedFinding] = frozenset()

    def __call__(self, finding: Finding) -> Level:
        return words.LEVELS[severity_of(finding, self.rules)]

    def is_accepted(self, finding: Finding) -> bool:
        """Whether somebody takes the finding as it is."""
        return accepted_as(finding) in self.accepted


def policy_rows(
    objects: Sequence[RawObject], translation: Translation | None, *, has_snapshot: bool, levels: Levels
) -> tuple[PolicyRow, ...]:
    """One row per policy of the snapshot or the translation, the ones that need attention first."""
    known = {raw.ref for raw in objects}
    results = translation.results if translation else ()
    spoken_of = {result.source for result in results}
    rows = [_translated(result, result.source in known if has_snapshot else None, levels) for result in results]
    rows += [
        PolicyRow(
            source=raw.ref,
            at=raw.at(),
            standing="not_translated",
            proof="none",
            assumptions=(),
            files=(),
            plain=(),
            suggested=(),
            staged=(),
            owner=None,
            original="decided",
            findings=(),
            worst=None,
            in_snapshot=True,
        )
        for raw in objects
        if raw.ref.kind in _POLICY_KINDS and raw.ref not in spoken_of
    ]
    return tuple(sorted(rows, key=_attention))


def _translated(result: TranslationResult, in_snapshot: bool | None, levels: Levels) -> PolicyRow:
    there = {levels(finding) for finding in result.findings if not levels.is_accepted(finding)}
    return PolicyRow(
        source=result.source,
        at=result.at,
        standing=_STANDING[result.result],
        proof=result.proof,
        assumptions=result.assumptions,
        files=_files(result.objects),
        plain=_files(result.plain),
        suggested=_files(result.suggested),
        staged=_files(result.staged),
        owner=result.owner,
        original=result.original,
        findings=tuple(sorted(result.findings, key=lambda f: (LEVELS.index(levels(f)), f.sort_key()))),
        worst=next((level for level in LEVELS if level in there), None),
        in_snapshot=in_snapshot,
    )


def _files(objects: tuple[EmittedObject, ...]) -> tuple[str, ...]:
    return tuple(emitted.file for emitted in objects)


def _attention(row: PolicyRow) -> tuple[int, int, str, str, str, str]:
    severity = LEVELS.index(row.worst) if row.worst else len(LEVELS)
    ref = row.source
    return (severity, STANDINGS.index(row.standing), ref.namespace or "", ref.name, ref.kind, ref.api_version)


@dataclass(slots=True)
class _Counts:
    standings: Counter[Standing] = field(default_factory=Counter)
    findings: Counter[Level] = field(default_factory=Counter)
    pods: int = 0


def namespace_rows(
    policies: Iterable[PolicyRow],
    findings: Iterable[Finding],
    cluster: Cluster,
    selected: Counter[str] | None,
    levels: Levels,
) -> tuple[NamespaceRow, ...]:
    """One row per namespace, by name, what is in none of them first. `selected` is None when no pods were read."""
    counts: dict[str | None, _Counts] = {namespace.name: _Counts() for namespace in cluster.namespaces}
    for row in policies:
        counts.setdefault(row.source.namespace, _Counts()).standings[row.standing] += 1
    for finding in findings:
        counts.setdefault(place_of(finding), _Counts()).findings[levels(finding)] += 1
    for pod in cluster.pods:
        counts.setdefault(pod.namespace, _Counts()).pods += 1
    return tuple(
        NamespaceRow(
            name=name,
            policies=found.standings.total(),
            standings=standings(found.standings),
            findings=tally(found.findings),
            pods=None if selected is None or name is None else found.pods,
            pods_selected=None if selected is None or name is None else selected[name],
        )
        for name, found in sorted(counts.items(), key=lambda item: (item[0] is not None, item[0] or ""))
    )


def place_of(finding: Finding) -> str | None:
    """The namespace that a finding is about; None for the cluster as a whole."""
    subject = finding.subject
    if subject is None:
        return None
    return subject.name if subject.kind == "Namespace" else subject.namespace


def tally(levels: Counter[Level]) -> Tally:
    """Counted severities as part of the document."""
    return Tally(blocker=levels["blocker"], warning=levels["warning"], info=levels["info"])


def standings(found: Counter[Standing]) -> dict[Standing, int]:
    """Counted standings, all words in their order, also those with none."""
    return {standing: found[standing] for standing in STANDINGS}
