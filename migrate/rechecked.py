"""A fresh scan against the one that was proved and audited: what changed, and which proofs no longer hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import yaml

import migrate
from migrate.compared import VerifyRequest, compared
from migrate.errors import InputError
from migrate.model.documents import Cause, Result, Translation, TranslationResult, Verification
from migrate.model.finding import Finding, Severity
from migrate.model.forms import Forms
from migrate.model.plan_documents import ChangedObject, PlanCheck, StaleProof
from migrate.model.raw import RawObject
from migrate.readiness.documents import Documents, read_folder
from migrate.readiness.planning.changes import changed_workloads, changes
from migrate.readiness.route import route_of
from migrate.readiness.rules import severity_of
from migrate.scan import snapshot
from migrate.scan.collector import collector_off
from migrate.scan.live import Progress
from migrate.scan.taking import ScanInputs, take_snapshot
from migrate.translate import output
from migrate.translate.engine import Outcome
from migrate.verify.verification import Wanted, verify

MOST_CHANGES = 200
_MOST_NAMED = 20
_PROOFS = ("none", "snapshot", "witness")


@dataclass(frozen=True, slots=True)
class Recheck:
    """A folder with what was proved, and a fresh snapshot on disk. `translate` makes the translation of a snapshot."""

    folder: Path
    fresh: Path
    translate: Callable[[Path, Translation], Outcome]


def forms_of(translation: Translation) -> Forms:
    """The forms in which a translation was made, as far as it shows them."""
    return Forms(
        split=translation.split,
        on_gap=translation.on_gap,
        accept=tuple(str(one) for one in translation.accepted),
        kustomize=any(file.endswith("/kustomization.yaml") for file in translation.files),
        plain=any(result.plain for result in translation.results),
        hosts=any(result.source.kind == "HostEndpoint" and result.objects for result in translation.results),
        ordered=translation.ordered,
    )


def rechecked(asked: Recheck, now: datetime) -> PlanCheck:
    """What changed and what no longer holds. Raises InputError where there is no snapshot, or a document is bad."""
    before = read_folder(asked.folder)
    if before.header is None:
        raise InputError(f"{asked.folder}: no snapshot is there to compare with; run `migrate scan` first")
    taken = snapshot.read(asked.fresh)
    after = Documents(asked.folder, taken.header, tuple(taken.objects), None)
    found = changes(before, after)
    proofs = list(_proofs(asked, before, after, found))
    incomplete = tuple(_incomplete(after))
    return PlanCheck(
        tool_version=migrate.__version__,
        checked=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        before_taken=before.header.taken,
        after_taken=taken.header.taken,
        result="broken" if proofs else "incomplete" if incomplete else "holds" if found else "unchanged",
        complete=not incomplete,
        changes=found[:MOST_CHANGES],
        more_changes=max(0, len(found) - MOST_CHANGES),
        proofs=tuple(proofs),
        incomplete=incomplete,
    )


def scan_beside(
    folder: Path, place: Path, inputs: ScanInputs, now: datetime, stdin: BinaryIO | None, progress: Progress
) -> Path:
    """Take a fresh snapshot into another folder. What Azure said before counts again where it is not asked anew."""
    if inputs.az_json is None:
        azure = read_folder(folder).azure
        if azure is not None:
            known = place / "az.json"
            known.write_bytes(msgspec.json.encode(azure.data.get("spec")))
            inputs = replace(inputs, az_json=known)
    taking = take_snapshot(inputs, stdin, now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), progress)
    snapshot.write(place / snapshot.FILE_NAME, taking.header, taking.objects)
    return place / snapshot.FILE_NAME


def _proofs(
    asked: Recheck, before: Documents, after: Documents, found: tuple[ChangedObject, ...]
) -> Iterator[StaleProof]:
    """Everything that no longer holds; nothing has to be proved again where nothing changed."""
    if not found:
        return
    yield from _way(before, after)
    yield from _new_findings(before, after)
    translation = list(_translation(asked, before.translation, found)) if before.translation is not None else []
    yield from translation
    if before.verification is not None:
        yield from _verification(asked, before.verification)
    if before.audit is not None:
        yield from _audit(before, after, translated_otherwise=bool(translation))


def _way(before: Documents, after: Documents) -> Iterator[StaleProof]:
    old, new = route_of(before), route_of(after)
    if (old.path, old.steps, old.engine, old.cni) != (new.path, new.steps, new.engine, new.cni):
        why = f"it was “{old.title}” and is “{new.title}”: the runbook is about another cluster"
        yield StaleProof(what="the way to Cilium", state="broken", why=why)


def _new_findings(before: Documents, after: Documents) -> Iterator[StaleProof]:
    known = {(finding.id, finding.subject) for finding in _graver(before)}
    new = [finding for finding in _graver(after) if (finding.id, finding.subject) not in known]
    for identity in sorted({finding.id for finding in new}):
        details = tuple(finding.detail for finding in new if finding.id == identity)
        yield _stale(f"finding {identity}", "broken", "the fresh scan has it, the one before had not", details)


def _graver(documents: Documents) -> tuple[Finding, ...]:
    """Findings of the scan that stand in the way."""
    header = documents.header
    return tuple(f for f in (header.findings if header else ()) if severity_of(f) is not Severity.INFO)


def _translation(asked: Recheck, old: Translation, found: Sequence[ChangedObject]) -> Iterator[StaleProof]:
    try:
        outcome = asked.translate(asked.fresh, old)
    except InputError as error:
        yield StaleProof(what="the translation", state="broken", why=f"it cannot be made again as it was: {error}")
        return
    new = outcome.translation
    mine = {result.source: result for result in old.results}
    fresh = {result.source: result for result in new.results}
    unknown = sorted(str(source) for source in fresh.keys() - mine.keys())
    if unknown:
        yield _stale("the translation", "broken", "there are policies that were never translated", unknown)
    gone = sorted(str(source) for source in mine.keys() - fresh.keys())
    if gone:
        yield _stale("the translation", "broken", "policies are gone, and what was written for them is not", gone)
    both = [(mine[source], fresh[source]) for source in mine.keys() & fresh.keys()]
    weaker = sorted(text for pair in both if (text := _weaker(*pair)))
    if weaker:
        yield _stale("the translation's claims", "broken", "they no longer hold as they were proved", weaker)
    texts = {(each.kind, each.object) for each in found if each.change == "changed"}
    gaps = sorted(str(one.source) for one, now in both if _decided_otherwise(one, now, texts))
    if gaps:
        yield _stale("what was decided about gaps", "broken", "other flows change than those that were seen", gaps)
    findings = sorted(_added(old, new))
    if findings:
        yield _stale("the translation's findings", "broken", "there are new ones", findings)
    others = _others(output.earlier_files(asked.folder), {file.path: file.text for file in outcome.files})
    if others:
        yield _stale("the written objects", "broken", "today's policies and cluster would make others", others)


def _weaker(old: TranslationResult, new: TranslationResult) -> str:
    """What is claimed less of a policy than before."""
    order = list(Result)
    if order.index(new.result) > order.index(old.result):
        return f"{old.source}: {old.result.value} -> {new.result.value}"
    if _PROOFS.index(new.proof) < _PROOFS.index(old.proof):
        return f"{old.source}: proof {old.proof} -> {new.proof}"
    return ""


def _decided_otherwise(old: TranslationResult, new: TranslationResult, changed: Set[tuple[str, str]]) -> bool:
    """Whether a policy that could not be said exactly means other changes now than when somebody looked at them."""
    if new.result not in (Result.CHANGED, Result.UNSUPPORTED):
        return False
    ref = old.source
    place = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    known = {_cause(cause) for cause in old.changes}
    return (f"{ref.kind} ({ref.group})", place) in changed or any(_cause(cause) not in known for cause in new.changes)


def _added(old: Translation, new: Translation) -> Iterator[str]:
    known = {(finding.id, finding.subject) for finding in _all(old)}
    for finding in _all(new):
        if (finding.id, finding.subject) not in known and severity_of(finding) is not Severity.INFO:
            yield f"{finding.id} {finding.subject or 'the cluster'}: {finding.detail}"


def _all(translation: Translation) -> Iterator[Finding]:
    yield from translation.findings
    for result in translation.results:
        yield from result.findings


def _others(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Objects to apply that differ; files may be called otherwise, after the files that were read."""
    mine, fresh = _objects(old), _objects(new)
    differing = [key for key in mine.keys() | fresh.keys() if mine.get(key) != fresh.get(key)]
    return sorted(f"{kind} {namespace}/{name} in {folder}/" for folder, kind, namespace, name in differing)


def _objects(files: Mapping[str, str]) -> dict[tuple[str, ...], object]:
    """The objects of the files by folder, kind, namespace and name. Suggestions are nobody's to apply."""
    found: dict[tuple[str, ...], object] = {}
    for path, text in files.items():
        folder = path.partition("/")[0]
        if folder in ("cilium", "compat", "networkpolicy") and not path.endswith("/kustomization.yaml"):
            for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
                ref = RawObject(document).ref
                found[folder, ref.kind, ref.namespace or "", ref.name] = document
    return found


def _verification(asked: Recheck, old: Verification) -> Iterator[StaleProof]:
    try:
        with collector_off():
            both = compared(VerifyRequest(folder=asked.folder, snapshot=asked.fresh))
            new = verify(both.before, both.after, both.cluster, unread=both.unread, wanted=Wanted(proof="snapshot"))
    except InputError as error:
        yield StaleProof(what="the verification", state="stale", why=f"it cannot be made again: {error}")
        return
    known = {_cause(cause) for cause in old.causes}
    fresh = sorted(_shown(cause) for cause in new.causes if _cause(cause) not in known)
    if fresh:
        yield _stale("the verification", "broken", "flows change that did not when it was made", fresh)
    elif old.result == "equivalent" and new.result == "undecided":
        yield _stale("the verification", "broken", "it can no longer be decided", new.left_out)


def _cause(cause: Cause) -> tuple[str | None, ...]:
    """What makes two causes the same, whatever the pods are called today."""
    return (
        cause.change,
        cause.side,
        *(part for end in (cause.before, cause.after) for part in (end.object, end.rule, end.reason)),
        *(str((end.namespaces, end.nodes, end.outside)) for end in (cause.sources, cause.destinations)),
        f"{cause.counterexample.protocol} {cause.counterexample.port}",
    )


def _shown(cause: Cause) -> str:
    flow = cause.counterexample
    what = cause.change.replace("_", " ")
    return f"{what}: {flow.source} → {flow.destination} {flow.protocol} {flow.port}"


def _audit(before: Documents, after: Documents, *, translated_otherwise: bool) -> Iterator[StaleProof]:
    """A recording stays what it is; what it says of the cluster of today may not."""
    added, changed = changed_workloads(before, after)
    if added:
        yield _stale("the audit", "stale", "workloads are there that it never saw", added)
    if changed:
        yield _stale("the audit", "stale", "pods have other labels or ports than when it judged them", changed)
    if translated_otherwise:
        why = "it was judged under policies that are no longer the ones to apply: translate, then migrate audit replay"
        yield StaleProof(what="the audit", state="stale", why=why)


def _incomplete(after: Documents) -> Iterator[str]:
    header = after.header
    if header is None:
        return
    for count in header.kinds:
        if count.status in ("forbidden", "failed"):
            yield f"{count.kind}: {count.status} in the fresh scan {count.detail}".rstrip()
    if not header.complete and not any(count.status in ("forbidden", "failed") for count in header.kinds):
        yield "the fresh scan is not complete: its findings say what could not be read"
    if header.namespaces is not None:
        yield f"the fresh scan has only the namespaces {', '.join(header.namespaces)}"


def _stale(what: str, state: Literal["broken", "stale"], why: str, objects: Sequence[str]) -> StaleProof:
    more = [f"{len(objects) - _MOST_NAMED} more"] if len(objects) > _MOST_NAMED else []
    named = (*objects[:_MOST_NAMED], *more)
    return StaleProof(what=what, state=state, why=why, objects=named)
