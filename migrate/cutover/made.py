"""The document: missed predictions first, then what could not be judged, then what is as was said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import migrate
from migrate.cutover.compare import Compared
from migrate.cutover.drops import find_reason
from migrate.cutover.groups import grouped, moment, not_confirmed, tally
from migrate.cutover.said import Said
from migrate.model.cutover_documents import (
    CutoverCheck,
    CutoverGroup,
    CutoverNode,
    CutoverSource,
    CutoverSuggestion,
    EndpointCheck,
)
from migrate.model.finding import Effect, Finding
from migrate.model.refs import ObjectRef
from migrate.model.words import counted, packet_text

GRAVE = ("CUT-NOT-ENFORCED", "CUT-AUDIT-MODE", "CUT-POLICY-NOT-IMPORTED", "CUT-POLICY-DIFFERS", "CUT-MAP-PRESSURE")
"""Findings that say that the policies are not in force as predicted."""
_NOT_SEEN = (
    "connections that nobody opened in this time: quiet is not the same as working",
    "traffic between containers of one pod, and of pods on their node's network beyond what its agent tells",
    "what a proxy decided by HTTP or DNS names",
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was compared. `problems` say why something may be missing, with how often."""

    policies: str
    made: str
    digests: tuple[str, str] = ("", "")
    span: tuple[int, int] = (0, 0)
    sources: tuple[CutoverSource, ...] = ()
    nodes: tuple[CutoverNode, ...] = ()
    compared: Sequence[Compared] = ()
    said: Said = Said()
    replies: int = 0
    trace: int = 0
    endpoints: EndpointCheck | None = None
    findings: Sequence[Finding] = ()
    problems: Mapping[str, int] = field(default_factory=dict)
    incomplete: Sequence[str] = ()
    assumptions: Sequence[str] = ()
    left_out: Sequence[str] = ()
    suggested: tuple[CutoverSuggestion, ...] = ()
    way_back: str = ""


def made_check(evidence: Evidence) -> CutoverCheck:
    """The result over all that was compared."""
    groups = grouped(evidence.compared)
    missed = tuple(group for group in groups if group.outcome in ("missed_drop", "missed_allow"))
    incomplete = tuple(_incomplete(evidence))
    unconfirmed = tuple(not_confirmed(evidence.said, evidence.compared))
    traffic = _findings(groups, evidence.compared, len(unconfirmed))
    findings = tuple(sorted((*traffic, *evidence.findings, *_coverage(incomplete)), key=Finding.sort_key))
    return CutoverCheck(
        tool_version=migrate.__version__,
        made=evidence.made,
        policies=evidence.policies,
        policies_digest=evidence.digests[0],
        snapshot_digest=evidence.digests[1],
        since=moment(evidence.span[0]),
        until=moment(evidence.span[1]),
        complete=not incomplete,
        incomplete=incomplete,
        result=_result(missed, findings, evidence),
        tally=tally(evidence.compared, evidence.replies, evidence.trace),
        sources=evidence.sources,
        nodes=evidence.nodes,
        endpoints=evidence.endpoints,
        missed=missed,
        not_judged=tuple(group for group in groups if group.outcome == "not_judged"),
        new_traffic=tuple(group for group in groups if group.outcome == "new_traffic"),
        as_predicted=tuple(group for group in groups if group.outcome == "as_predicted"),
        not_confirmed=unconfirmed,
        findings=findings,
        suggested=evidence.suggested,
        way_back=evidence.way_back,
        assumptions=tuple(evidence.assumptions),
        left_out=tuple(evidence.left_out),
        not_seen=_NOT_SEEN,
    )


def _incomplete(evidence: Evidence) -> Iterator[str]:
    for text, times in sorted(evidence.problems.items()):
        yield f"{text}: {times:,}"
    quiet = [node.name for node in evidence.nodes if not node.flows]
    if quiet:
        more = f" and {len(quiet) - 5} more" if len(quiet) > 5 else ""
        yield f"nothing was seen of {', '.join(quiet[:5])}{more}"
    if not any(source.flows for source in evidence.sources):
        yield "no flow was seen, so nothing shows what passes and what is dropped"
    elif not _is_judged(evidence):
        yield "no flow that was seen could be judged, so nothing shows what passes and what is dropped"
    for node in evidence.nodes:
        if node.failure:
            yield f"{node.name}: {node.failure}"
    yield from evidence.incomplete
    yield from (f"not modelled: {text}" for text in evidence.left_out)


def _result(
    missed: Sequence[CutoverGroup], findings: Iterable[Finding], evidence: Evidence
) -> Literal["missed", "findings", "as_predicted", "nothing_seen"]:
    if missed:
        return "missed"
    if any(finding.id in GRAVE for finding in findings):
        return "findings"
    has_endpoints = evidence.endpoints is not None and evidence.endpoints.as_predicted > 0
    return "as_predicted" if has_endpoints or _is_judged(evidence) else "nothing_seen"


def _is_judged(evidence: Evidence) -> bool:
    """Whether anything can be said of any flow."""
    return any(one.outcome != "not_judged" for one in evidence.compared)


def _findings(groups: Sequence[CutoverGroup], compared: Iterable[Compared], unconfirmed: int) -> Iterator[Finding]:
    yield from _missed("CUT-PREDICTION-MISSED", "missed_drop", Effect.NARROWS, groups)
    yield from _missed("CUT-PREDICTION-WIDER", "missed_allow", Effect.WIDENS, groups)
    new = [group for group in groups if group.outcome == "new_traffic" and group.observed in ("dropped", "audited")]
    for namespace, touching in _by_namespace(new):
        detail = f"{_kinds(touching)} that no audit saw and that the policies deny, most of all {_ends(touching[0])}"
        yield _finding("CUT-NEW-DROP", namespace, detail, Effect.NARROWS)
    yield from _other_drops(compared)
    if unconfirmed:
        detail = f"of {counted(unconfirmed, 'kind')} of traffic that would be dropped nothing was seen"
        yield _finding("CUT-NOT-CONFIRMED", None, detail, Effect.NONE)


def _missed(identity: str, outcome: str, effect: Effect, groups: Iterable[CutoverGroup]) -> Iterator[Finding]:
    """One for each namespace."""
    found = [group for group in groups if group.outcome == outcome]
    for namespace, touching in _by_namespace(found):
        said = "dropped, and was predicted to pass" if effect is Effect.NARROWS else "passes, and was to be dropped"
        detail = f"{_kinds(touching)} is {said}, most of all {_ends(touching[0])}"
        yield _finding(identity, namespace, detail.replace("is passes", "passes"), effect)


def _other_drops(compared: Iterable[Compared]) -> Iterator[Finding]:
    """One for each reason that is no policy's."""
    counts: dict[str, int] = {}
    for one in compared:
        for reason, times in one.seen.otherwise.items():
            counts[reason] = counts.get(reason, 0) + times
    for told, times in sorted(counts.items()):
        known = find_reason(told)
        says = f"{known.name}: {known.says}" if known is not None else f"{told}, which this version does not know"
        yield _finding("CUT-OTHER-DROP", None, f"{counted(times, 'packet')} dropped for {says}", Effect.UNKNOWN)


def _coverage(incomplete: Sequence[str]) -> Iterator[Finding]:
    if incomplete:
        more = f"; and {len(incomplete) - 2} more reasons" if len(incomplete) > 2 else ""
        yield _finding("CUT-COVERAGE", None, f"{'; '.join(incomplete[:2])}{more}", Effect.UNKNOWN)


def _by_namespace(groups: Iterable[CutoverGroup]) -> list[tuple[str | None, list[CutoverGroup]]]:
    found: dict[str | None, list[CutoverGroup]] = {}
    for group in groups:
        for namespace in sorted({end.namespace for end in (group.source, group.destination) if end.namespace}) or [""]:
            found.setdefault(namespace or None, []).append(group)
    return sorted(found.items(), key=lambda pair: pair[0] or "")


def _finding(identity: str, namespace: str | None, detail: str, effect: Effect) -> Finding:
    subject = None if namespace is None else ObjectRef("v1", "Namespace", None, namespace)
    return Finding(id=identity, detail=detail, effect=effect, subject=subject)


def _kinds(groups: Sequence[CutoverGroup]) -> str:
    return f"{counted(len(groups), 'kind')} of traffic ({counted(sum(group.times for group in groups), 'event')})"


def _ends(group: CutoverGroup) -> str:
    return f"{group.source} → {group.destination} {packet_text(group)}"
