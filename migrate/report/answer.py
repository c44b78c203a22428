"""The first screen: what the verdict rests on, what it lacks, and what to do first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrate.model.audit_documents import Audit
from migrate.model.documents import SnapshotHeader, Translation, Verification
from migrate.model.words import counted
from migrate.readiness import nodes_read, traffic
from migrate.readiness.documents import Documents
from migrate.report import after_cutover
from migrate.report.document import EvidenceLine, FindingGroup, Step
from migrate.report.entries import group_anchor

_BLOCKERS_FIRST = 3


def evidence(documents: Documents) -> Iterator[EvidenceLine]:
    """What was looked at and what was not, in the order in which the stages make it."""
    yield _snapshot(documents.header)
    yield _translation(documents.translation)
    yield _comparison(documents.verification)
    yield from traffic_lines(documents.audit)
    yield _nodes(documents)
    if documents.cutover is not None:
        yield after_cutover.evidence(documents.cutover)
    accepted = documents.translation.accepted if documents.translation else ()
    if accepted:
        said = ", ".join(map(str, accepted[:3])) + (f" and {len(accepted) - 3} more" if len(accepted) > 3 else "")
        yield EvidenceLine(topic="Accepted", state="partial", text=f"Somebody takes as they are: {said}.")


def _nodes(documents: Documents) -> EvidenceLine:
    states = documents.nodes
    if states is None:
        text = f"What the nodes enforce ({nodes_read.RULES}) was not read. `migrate scan --nodes` does."
        return EvidenceLine(topic="Nodes", state="missing", text=text)
    differ = sum(bool(node.findings) for node in states.nodes)
    said = f"something was found on {differ} of them" if differ else "nothing was found on them"
    basis = nodes_read.basis(states)
    text = f"{basis[:1].upper()}{basis[1:]}; {said}."
    whole = states.complete and not documents.nodes_outdated
    return EvidenceLine(topic="Nodes", state="there" if whole else "partial", text=text)


def _snapshot(header: SnapshotHeader | None) -> EvidenceLine:
    if header is None:
        return EvidenceLine(topic="Snapshot", state="missing", text="None. `migrate scan` takes one.")
    read = [kind for kind in header.kinds if kind.status == "read"]
    made = f"Taken {header.taken}" if header.taken else "Made from files of unknown age"
    text = f"{made}: {sum(kind.count for kind in read):,} objects of {counted(len(read), 'kind')}."
    return EvidenceLine(topic="Snapshot", state="there" if header.complete else "partial", text=text)


def _translation(translation: Translation | None) -> EvidenceLine:
    if translation is None:
        return EvidenceLine(topic="Translation", state="missing", text="None. `migrate translate` makes one.")
    results = len(translation.results)
    proved = sum(result.proof != "none" for result in translation.results)
    how = f"{proved} of them proved" if proved else "none of them proved"
    whole = translation.complete and proved == results
    text = f"For {translation.target}: {counted(results, 'result')}, {how}."
    return EvidenceLine(topic="Translation", state="there" if whole else "partial", text=text)


def _comparison(found: Verification | None) -> EvidenceLine:
    if found is None:
        text = "All flows before and after were not compared. `migrate verify --matrix namespace` does."
        return EvidenceLine(topic="Comparison", state="missing", text=text)
    between = f"{found.before[:1].upper()}{found.before[1:]}, against {found.after}"
    if found.result == "different":
        lost, new = counted(found.newly_denied_pairs, "pair"), counted(found.newly_allowed_pairs, "pair")
        text = f"{between}: {lost} of pods lose a connection, {new} gain one."
        return EvidenceLine(topic="Comparison", state="against", text=text)
    if found.result == "undecided" or not found.complete:
        text = f"{between}: no difference was found, but not everything could be read or is modelled."
        return EvidenceLine(topic="Comparison", state="partial", text=text)
    holds = "for any pods" if found.proof == "witness" else "for the pods of this snapshot"
    return EvidenceLine(topic="Comparison", state="there", text=f"{between}: the same flows, {holds}.")


def traffic_lines(audit: Audit | None) -> Iterator[EvidenceLine]:
    """What the audit says, and how much it watched."""
    if audit is None:
        text = "None was audited: what breaks is not known. `migrate audit` on the nodes records it."
        yield EvidenceLine(topic="Live traffic", state="missing", text=text)
        return
    where = f"Audited on {traffic.where_text(audit)} {traffic.span_text(audit)}"
    if audit.would_drop:
        kinds = counted(len(audit.would_drop), "kind")
        events = counted(sum(group.events for group in audit.would_drop), "connection")
        text = f"{where}: {kinds} of traffic that passes today would be dropped, {events}."
    else:
        nothing = audit.result == "nothing_seen"
        seen = "nothing was seen that could be judged" if nothing else "no drop among what was seen"
        text = f"{where}: {seen}."
    yield EvidenceLine(topic="Live traffic", state="against" if audit.would_drop else "partial", text=text)
    share = traffic.watched_share(audit.coverage)
    whole = audit.complete and share == 1.0
    text = f"{traffic.coverage_text(audit)}; {traffic.loss_text(audit)}."
    yield EvidenceLine(topic="Coverage", state="there" if whole else "partial", text=text[:1].upper() + text[1:])


def first_steps(documents: Documents, groups: Sequence[FindingGroup], *, complete: bool) -> Iterator[Step]:
    """What to do first: the gravest findings, then what is missing, then what has to be decided."""
    open_groups = [group for group in groups if not group.accepted]
    blockers = [group for group in open_groups if group.severity == "blocker"]
    for group in sorted(blockers, key=lambda group: not group.id.startswith("AUD-"))[:_BLOCKERS_FIRST]:
        yield _about(group)
    if len(blockers) > _BLOCKERS_FIRST:
        more = f"{counted(len(blockers) - _BLOCKERS_FIRST, 'kind')} of blockers more, each with its step."
        yield Step(title="Go on with the other blockers", detail=more, about="", anchor="blockers")
    if documents.translation is None:
        yield Step(title="Translate the policies", detail="Run `migrate translate`.", about="", anchor="unmeasured")
    if not complete:
        detail = "Then make the documents again."
        yield Step(title="Read what could not be read", detail=detail, about="", anchor="unmeasured")
    yield from _missing(documents)
    warnings = [group for group in open_groups if group.severity == "warning"]
    if warnings:
        total = sum(len(group.findings) for group in warnings)
        where = group_anchor(warnings[0].id, "warning")
        yield Step(title="Decide on the warnings", detail=f"{total} in all.", about=warnings[0].id, anchor=where)
    yield Step(
        title="Close the gaps in the evidence",
        detail="What nobody measured may still break.",
        about="",
        anchor="unmeasured",
    )


def _about(group: FindingGroup) -> Step:
    anchor = "traffic" if group.id == "AUD-WOULD-DROP" else group_anchor(group.id, group.severity)
    return Step(title=group.title, detail=first_sentence(group.do), about=group.id, anchor=anchor)


def first_sentence(text: str) -> str:
    """The first step of what to do; the page's section on blockers has all of them."""
    line = text.strip().split("\n", 1)[0].removeprefix("1. ")
    head, dot, _ = line.partition(". ")
    return f"{head}." if dot else line


def _missing(documents: Documents) -> Iterator[Step]:
    if documents.translation is not None and documents.verification is None:
        detail = "Run `migrate verify --matrix namespace`: it says who reaches whom before and after."
        yield Step(title="Compare all flows", detail=detail, about="", anchor="unmeasured")
    if documents.audit is None:
        detail = "Run `migrate audit` on the nodes for a day and a whole turn of every CronJob."
        yield Step(title="Audit live traffic", detail=detail, about="", anchor="unmeasured")
