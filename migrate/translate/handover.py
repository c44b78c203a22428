"""The forms in which a translation is handed over: owners, file names, gaps, accepted findings, kustomizations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath, PurePosixPath
from typing import Literal

import msgspec

from migrate import yaml_out
from migrate.model.documents import EmittedObject, Owner, Result, Translation, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.forms import Forms
from migrate.model.raw import Json, RawObject
from migrate.model.words import one_line
from migrate.sources.calico import GROUPS
from migrate.sources.cluster import read_cluster
from migrate.translate.accepted import matched
from migrate.translate.context import Context
from migrate.translate.engine import Outcome, OutputFile, read_sets
from migrate.translate.kinds import is_policy
from migrate.translate.names import COMPAT_FOLDER, KUSTOMIZATION, TEXT_FOLDER
from migrate.translate.ownership import owner_of
from migrate.translate.plain_policies import FOLDER, with_plain_policies
from migrate.translate.profiles import load_profile
from migrate.translate.render import MANAGED_BY
from migrate.translate.workloads import per_workload

_STEM = re.compile(r"[a-z0-9][a-z0-9_.-]{0,239}")
_SUFFIXES = (".yaml", ".yml", ".json")
_GAPS = (Result.CHANGED, Result.UNSUPPORTED)


def handed_over(outcome: Outcome, objects: Sequence[RawObject], forms: Forms) -> Outcome:
    """The outcome of translating the objects, in the chosen forms.

    Raises InputError for an accepted finding that is not there.
    """
    sources = [raw for raw in objects if is_policy(raw.ref)]
    done = _with_owners(_with_plain(outcome, objects, sources) if forms.plain else outcome, sources)
    accepted = matched(forms.accept, all_findings(done.translation))
    done = replace(
        done,
        translation=msgspec.structs.replace(
            done.translation, split=forms.split, on_gap=forms.on_gap, accepted=accepted.items
        ),
    )
    if forms.on_gap == "refuse":
        done = _without_gaps(done, accepted.findings)
    if forms.on_gap == "widen":
        done = _not_widened(done)
    done = per_workload(done) if forms.split == "per-workload" else _with_file_names(done, sources)
    return _kustomized(done) if forms.kustomize else done


def _with_plain(outcome: Outcome, objects: Sequence[RawObject], sources: Sequence[RawObject]) -> Outcome:
    translation = outcome.translation
    cluster = read_cluster(objects, complete=translation.complete)
    profile = load_profile(translation.target)
    context = Context(cluster, profile, translation.engines, read_sets(sources, cluster))
    return with_plain_policies(outcome, sources, context)


def all_findings(translation: Translation) -> list[Finding]:
    """All findings, those of the whole cluster and those of single objects."""
    return [*translation.findings, *(finding for result in translation.results for finding in result.findings)]


def _with_results(outcome: Outcome, results: Iterable[TranslationResult]) -> Outcome:
    return replace(outcome, translation=msgspec.structs.replace(outcome.translation, results=tuple(results)))


def _with_finding(result: TranslationResult, finding_id: str, detail: str) -> tuple[Finding, ...]:
    found = Finding(id=finding_id, detail=detail, subject=result.source, at=result.at)
    return tuple(sorted((*result.findings, found), key=Finding.sort_key))


def _with_owners(outcome: Outcome, sources: Sequence[RawObject]) -> Outcome:
    """Each result with its owner and the fate of the original, which the files' comments say too."""
    owners = {raw.ref: owner_of(raw) for raw in sources}
    mode = outcome.translation.networkpolicy
    results = [_owned(result, owners.get(result.source), mode) for result in outcome.translation.results]
    lines = {item.file: _owner_line(result.owner) for result in results for item in result.objects if result.owner}
    files = tuple(replace(file, text=_below_header(file.text, lines.get(file.path, ""))) for file in outcome.files)
    return _with_results(replace(outcome, files=files), results)


def _owned(result: TranslationResult, owner: Owner | None, mode: str) -> TranslationResult:
    original = _original(result, mode)
    found = msgspec.structs.replace(result, owner=owner, original=original)
    if owner is None or original not in ("after_cutover", "with_old_engine"):
        return found
    if owner.returns not in _BROUGHT_BACK:
        return found
    finding_id, what = _BROUGHT_BACK[owner.returns]
    detail = f"{owner.name} owns it ({owner.evidence}) and {what}; change {owner.change}"
    return msgspec.structs.replace(found, findings=_with_finding(found, finding_id, detail))


_BROUGHT_BACK = {
    "at_once": ("POL-OWNER-CONTROLLER", "undoes what is done past it"),
    "at_deploy": ("POL-OWNER-RELEASE", "brings it back with the next deployment"),
}


def _original(result: TranslationResult, mode: str) -> Literal["stays", "after_cutover", "with_old_engine", "decided"]:
    group = result.source.group
    if group in GROUPS:
        return "decided" if result.result is Result.UNSUPPORTED else "with_old_engine"
    if result.result is Result.KEPT or (group in ("networking.k8s.io", "extensions") and mode == "keep"):
        return "stays"
    if mode == "supplement" and not any(finding.id == "POL-SOURCE-STAYS" for finding in result.findings):
        return "stays"
    return "decided" if result.result is Result.UNSUPPORTED else "after_cutover"


def _owner_line(owner: Owner) -> str:
    return "" if owner.kind in ("file", "unknown") else f"# {one_line(f'Owner {owner.name}: change {owner.change}')}\n"


def _below_header(text: str, line: str) -> str:
    """The text with a line below the comment that it begins with."""
    if not line:
        return text
    body = re.search(r"^(?!#)", text, re.MULTILINE)
    place = body.start() if body else 0
    return f"{text[:place]}{line}{text[place:]}"


def _with_file_names(outcome: Outcome, sources: Sequence[RawObject]) -> Outcome:
    """Objects whose source was alone in its file are written into a file of that name."""
    alone = Counter(raw.source for raw in sources)
    files = {raw.ref: raw.source for raw in sources if raw.source is not None and alone[raw.source] == 1}
    wanted: dict[str, str] = {}
    for result in outcome.translation.results:
        given = PurePath(files.get(result.source, ""))
        stem = given.stem if given.suffix in _SUFFIXES else ""
        if len(result.objects) == 1 and _STEM.fullmatch(stem) and stem != KUSTOMIZATION:
            path = PurePosixPath(result.objects[0].file)
            wanted[str(path)] = str(path.with_name(f"{stem}.yaml"))
    return _renamed(outcome, _without_clashes([file.path for file in outcome.files], wanted))


def _without_clashes(paths: Sequence[str], wanted: Mapping[str, str]) -> Mapping[str, str]:
    """The renames that leave every file a name of its own; of those that want the same name none gets it."""
    while True:
        count = Counter(wanted.get(path, path) for path in paths)
        fine = {path: new for path, new in wanted.items() if count[new] == 1}
        if len(fine) == len(wanted):
            return fine
        wanted = fine


def _renamed(outcome: Outcome, names: Mapping[str, str]) -> Outcome:
    """The same objects in files of other names."""
    if not names:
        return outcome
    files = [OutputFile(names.get(file.path, file.path), file.text) for file in outcome.files]
    results = [
        msgspec.structs.replace(result, objects=tuple(_moved(item, names) for item in result.objects))
        for result in outcome.translation.results
    ]
    return _with_results(replace(outcome, files=tuple(sorted(files, key=lambda file: file.path))), results)


def _moved(item: EmittedObject, names: Mapping[str, str]) -> EmittedObject:
    return msgspec.structs.replace(item, file=names.get(item.file, item.file))


def _without_gaps(outcome: Outcome, accepted: frozenset[Finding]) -> Outcome:
    """Nothing is written for a source whose translation differs, unless every difference of it was accepted."""
    results = [_refused(result, accepted) for result in outcome.translation.results]
    kept = {item.file for result in results for item in (*result.objects, *result.plain, *result.staged)}
    kept |= {item.file for item in outcome.translation.objects}
    return _with_results(replace(outcome, files=tuple(file for file in outcome.files if file.path in kept)), results)


def _refused(result: TranslationResult, accepted: frozenset[Finding]) -> TranslationResult:
    gaps = [finding for finding in _differing(result) if finding not in accepted]
    if result.result not in _GAPS or not gaps:
        return result
    ids = ", ".join(sorted({finding.id for finding in gaps}))
    detail = f"gaps are refused and it has {ids}, so nothing was written for it"
    findings = _with_finding(result, "POL-GAP-REFUSED", detail)
    fate = "stays" if result.original == "stays" else "decided"
    return msgspec.structs.replace(result, result=Result.UNSUPPORTED, objects=(), findings=findings, original=fate)


def _differing(result: TranslationResult) -> list[Finding]:
    """The findings by which a result is worse than exact."""
    none = Effect.NONE
    return [
        finding for finding in result.findings if finding.effect is not none or finding.effect_on_intent is not none
    ]


def _not_widened(outcome: Outcome) -> Outcome:
    """Says of which sources something is still denied that their text allows."""
    results: list[TranslationResult] = []
    for result in outcome.translation.results:
        narrow = sorted({f.id for f in _differing(result) if f.effect_on_intent is Effect.NARROWS})
        if result.result in _GAPS and narrow:
            detail = f"{', '.join(narrow)}: Cilium has no wider words for it, so it narrows as without --on-gap widen"
            result = msgspec.structs.replace(result, findings=_with_finding(result, "POL-GAP-NOT-WIDENED", detail))
        results.append(result)
    return _with_results(outcome, results)


def _kustomized(outcome: Outcome) -> Outcome:
    for folder in (TEXT_FOLDER, COMPAT_FOLDER, FOLDER):
        outcome = _with_kustomization(outcome, folder)
    return outcome


def _with_kustomization(outcome: Outcome, folder: str) -> Outcome:
    """A kustomization.yaml over all objects below a folder of the output; none over none."""
    inside = [file.path.removeprefix(f"{folder}/") for file in outcome.files if file.path.startswith(f"{folder}/")]
    if not inside:
        return outcome
    resources: list[Json] = [*sorted(inside)]
    path = f"{folder}/{KUSTOMIZATION}.yaml"
    text = yaml_out.dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "metadata": {"name": "cilium-migrate", "labels": {MANAGED_BY: "cilium-migrate"}},
            "resources": resources,
        }
    )
    files = tuple(sorted((*outcome.files, OutputFile(path, text)), key=lambda file: file.path))
    translation = msgspec.structs.replace(outcome.translation, files=(*outcome.translation.files, path))
    return replace(outcome, files=files, translation=translation)
