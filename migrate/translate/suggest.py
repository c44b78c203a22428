"""Proposals beside a translation, in suggested/: DNS names in place of CIDRs, HTTP rules on the ports of workloads.

Each is a whole object that would replace the written one of the same name. Nothing applies it, and nothing of the
translation rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import yaml

from migrate import yaml_out
from migrate.model.cluster import Cluster
from migrate.model.documents import EmittedObject, Translation, TranslationResult
from migrate.model.finding import Finding
from migrate.model.raw import FieldPath, RawObject
from migrate.model.refs import ObjectRef
from migrate.model.words import one_line
from migrate.scan.connection import Connection
from migrate.scan.dry_run import refusals
from migrate.sources.cluster import read_cluster
from migrate.sources.fields import dotted
from migrate.sources.hints import DnsServer, Hints, HttpHint, NamesHint
from migrate.translate.engine import Outcome, OutputFile
from migrate.translate.lint_rules import problems
from migrate.translate.names import SUGGESTED_FOLDER, TEXT_FOLDER
from migrate.translate.objects import CCNP, CIDR_GROUP, CNP
from migrate.translate.profiles import Profile, load_profile, profile_names
from migrate.translate.render import JsonMap
from migrate.translate.schema import violations
from migrate.translate.suggest_http import with_http
from migrate.translate.suggest_names import (
    cidr_places,
    names_problem,
    server_problem,
    server_text,
    specs_of,
    why_unused,
    with_names,
)

MARK = "cilium-migrate/suggested"
_KINDS = {"fqdn": "FQDN", "l7": "L7"}
_MADE = {"fqdn": "POL-SUGGEST-FQDN", "l7": "POL-SUGGEST-HTTP"}
_NOT_MADE, _UNUSED = "POL-SUGGEST-NOT-MADE", "POL-SUGGEST-UNUSED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be proposed: "fqdn", "l7" or both, by these hints."""

    kinds: frozenset[str]
    hints: Hints


@dataclass(frozen=True, slots=True)
class _Change:
    """Something that was proposed for an object (`kind`), or that could not be (`kind` is empty)."""

    kind: str
    detail: str
    hint: NamesHint | HttpHint


@dataclass(slots=True)
class _Draft:
    """A written object with the proposals worked in."""

    item: EmittedObject
    data: JsonMap
    changes: list[_Change] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{SUGGESTED_FOLDER}/{self.item.file.removeprefix(f'{TEXT_FOLDER}/')}"

    @property
    def kinds(self) -> list[str]:
        return sorted({change.kind for change in self.changes} - {""})


def with_suggestions(
    outcome: Outcome, objects: Sequence[RawObject], wanted: Wanted, connection: Connection | None = None
) -> Outcome:
    """The outcome with the proposals in suggested/, and a finding for each, and for each hint that gave none.

    `connection` is a cluster that is asked whether it would take them. Raises RequestError when it does not answer.
    """
    profile = load_profile(outcome.translation.target)
    cluster = read_cluster(objects, complete=outcome.translation.complete)
    written = _written(outcome)
    drafts = [_Draft(item, data) for item, data in _written(outcome) if item.kind in (CNP, CCNP)]
    names, findings = _usable_names(wanted, profile, cluster)
    http, lacking = _usable_http(wanted, profile)
    findings += lacking
    for draft in drafts:
        _propose_names(draft, names, wanted.hints.dns, profile, cluster)
        _propose_http(draft, http, profile)
        _check(draft, profile)
    if connection is not None:
        _ask(drafts, connection)
    findings += [_unused(hint, why_unused(hint, written), outcome) for hint in names if not _was_used(hint, drafts)]
    findings += [_unused(one, _no_port(one), outcome) for one in http if not _was_used(one, drafts)]
    return _extended(outcome, objects, drafts, findings)


def _written(outcome: Outcome) -> list[tuple[EmittedObject, JsonMap]]:
    """The objects of cilium/ that have a source, each once."""
    texts = {file.path: file.text for file in outcome.files}
    items = {item.file: item for result in outcome.translation.results for item in result.objects}
    kinds = (CNP, CCNP, CIDR_GROUP)
    return [(i, yaml.load(texts[f], Loader=yaml.CSafeLoader)) for f, i in sorted(items.items()) if i.kind in kinds]


def _usable_names(wanted: Wanted, profile: Profile, cluster: Cluster) -> tuple[list[NamesHint], list[Finding]]:
    if "fqdn" not in wanted.kinds or not wanted.hints.names:
        return [], []
    if not profile.fqdn:
        return [], [_lacking("fqdn", len(wanted.hints.names), profile)]
    general = server_problem(wanted.hints.dns, cluster)
    usable: list[NamesHint] = []
    findings: list[Finding] = []
    for hint in wanted.hints.names:
        problem = general or names_problem(hint, profile)
        if problem:
            findings.append(Finding(id=_NOT_MADE, detail=f"{_said(hint)}: {problem}", at=hint.at))
        else:
            usable.append(hint)
    return usable, findings


def _usable_http(wanted: Wanted, profile: Profile) -> tuple[list[HttpHint], list[Finding]]:
    if "l7" not in wanted.kinds or not wanted.hints.http:
        return [], []
    if not profile.l7:
        return [], [_lacking("l7", len(wanted.hints.http), profile)]
    return list(wanted.hints.http), []


def _lacking(kind: str, count: int, profile: Profile) -> Finding:
    """The target has no such policies; says which of its forms has."""
    base = profile.name.partition("-acns-")[0]
    forms = [load_profile(name) for name in profile_names() if name.startswith(f"{base}-acns-")]
    having = [form.name for form in forms if (form.fqdn if kind == "fqdn" else form.l7)]
    other = f"; --target {having[0]} has, for a cluster with that add-on" if having else ""
    detail = (
        f"{profile.title} has no {_KINDS[kind]} policies, so none of the {_KINDS[kind]} hints ({count}) was used{other}"
    )
    return Finding(id=_NOT_MADE, detail=detail)


def _propose_names(
    draft: _Draft, hints: Sequence[NamesHint], server: DnsServer, profile: Profile, cluster: Cluster
) -> None:
    here = [hint for hint in hints if not hint.namespaces or draft.item.namespace in hint.namespaces]
    for spec in specs_of(draft.data):
        closes = spec.get("enableDefaultDeny")
        if isinstance(closes, dict) and closes.get("egress") is not True:
            continue
        places: dict[int, list[str]] = {}
        for number, place in with_names(spec, here, server):
            places.setdefault(number, []).append(place)
        for number, rules in sorted(places.items()):
            text = _names_text(draft, here[number], rules, server, profile, cluster)
            draft.changes.append(_Change("fqdn", text, here[number]))


def _names_text(
    draft: _Draft, hint: NamesHint, rules: Sequence[str], server: DnsServer, profile: Profile, cluster: Cluster
) -> str:
    seen = any(pod.namespace == server.namespace for pod in cluster.pods)
    add_on = "Advanced Container Networking Services and " if profile.managed else ""
    return (
        f"{draft.path} ({', '.join(rules)}): {', '.join(hint.names)} in place of {hint.network}. Narrower: addresses "
        "of the CIDR that the pods did not look up under these names are denied. Wider: addresses outside of it that "
        f"such a lookup gives are allowed, and the lookups at {server_text(server)}. Needs {add_on}pods that look the "
        f"names up there before they connect{'' if seen else ', which no snapshot shows'}"
    )


def _propose_http(draft: _Draft, hints: Sequence[HttpHint], profile: Profile) -> None:
    clusterwide = draft.item.namespace is None and not profile.l7_in_clusterwide
    refused = f"{profile.title} takes no L7 rules in cluster-wide policies" if clusterwide else ""
    for hint in hints:
        for spec in specs_of(draft.data):
            uses = with_http(spec, hint, draft.item, refused)
            fine = [use.place for use in uses if not use.problem]
            if fine:
                draft.changes.append(_Change("l7", _http_text(draft, hint, fine, profile), hint))
            for use in uses:
                if use.problem:
                    text = f"{draft.item.file} ({use.place}) lets every request in on {_name(hint)}: {use.problem}"
                    draft.changes.append(_Change("", text, hint))


def _http_text(draft: _Draft, hint: HttpHint, rules: Sequence[str], profile: Profile) -> str:
    shown = ", ".join(f"{one.method or 'any method'} {one.path or 'any path'}" for one in hint.requests)
    add_on = "Advanced Container Networking Services with L7 policies" if profile.managed else "enable-l7-proxy"
    return (
        f"{draft.path} ({', '.join(rules)}): only {shown} on {_name(hint)}. Narrower: other requests get status 403, "
        "and what is not plain HTTP/1 or HTTP/2 fails; whom it lets in stays the same, and so does what other policies "
        f"let in on that port without such rules. Needs {add_on}; every request passes Envoy on the node"
    )


def _name(hint: HttpHint) -> str:
    labels = ",".join(f"{key}={value}" for key, value in hint.pod_labels.pairs)
    return f"{hint.namespace} {labels} TCP {hint.port}"


def _check(draft: _Draft, profile: Profile) -> None:
    """What the target would refuse is not written."""
    refused = [*violations(draft.data, profile), *problems(draft.data, profile)] if draft.kinds else []
    if refused:
        _drop(draft, f"{profile.title} would refuse it: {refused[0]}")


def _ask(drafts: Sequence[_Draft], connection: Connection) -> None:
    """What the cluster would refuse is not written either."""
    asked = {RawObject(draft.data).ref: draft for draft in drafts if draft.kinds}
    refused = refusals(connection, [draft.data for draft in asked.values()])
    for ref, message in refused.items():
        _drop(asked[ref], f"cluster {connection.name} refuses it: {message}")


def _drop(draft: _Draft, reason: str) -> None:
    text = f"{draft.path} was not written: {reason}"
    draft.changes = [replace(change, kind="", detail=text) for change in draft.changes]


def _was_used(hint: NamesHint | HttpHint, drafts: Sequence[_Draft]) -> bool:
    return any(change.hint is hint for draft in drafts for change in draft.changes)


def _said(hint: NamesHint | HttpHint) -> str:
    """A hint with its place in the file."""
    what = str(hint.network) if isinstance(hint, NamesHint) else _name(hint)
    return f"hint for {what}{f' ({hint.at})' if hint.at else ''}"


def _unused(hint: NamesHint | HttpHint, reason: str, outcome: Outcome) -> Finding:
    kept = outcome.translation.networkpolicy != "rewrite"
    more = (
        "; NetworkPolicies that are kept have no object to replace: --networkpolicy rewrite writes one" if kept else ""
    )
    return Finding(id=_UNUSED, detail=f"{_said(hint)}: {reason}{more}", at=hint.at)


def _no_port(hint: HttpHint) -> str:
    return f"no ingress rule of a written object opens TCP {hint.port} to these pods"


def _extended(
    outcome: Outcome, objects: Sequence[RawObject], drafts: Sequence[_Draft], findings: Sequence[Finding]
) -> Outcome:
    made = [draft for draft in drafts if draft.kinds]
    sources = {raw.ref: raw for raw in objects}
    files = [OutputFile(draft.path, _text(draft)) for draft in made]
    results = tuple(_with_drafts(result, drafts, sources) for result in outcome.translation.results)
    everything = tuple(sorted((*outcome.translation.findings, *findings), key=Finding.sort_key))
    translation: Translation = msgspec.structs.replace(outcome.translation, results=results, findings=everything)
    return Outcome(translation, tuple(sorted((*outcome.files, *files), key=lambda file: file.path)))


def _with_drafts(
    result: TranslationResult, drafts: Sequence[_Draft], sources: dict[ObjectRef, RawObject]
) -> TranslationResult:
    own = {item.file for item in result.objects}
    mine = [draft for draft in drafts if draft.item.file in own and draft.changes]
    raw = sources.get(result.source)
    found = [_finding(change, result, raw) for draft in mine for change in draft.changes]
    suggested = tuple(
        msgspec.structs.replace(draft.item, file=draft.path)
        for draft in sorted(mine, key=lambda draft: draft.path)
        if draft.kinds
    )
    findings = tuple(sorted((*result.findings, *found), key=Finding.sort_key))
    return msgspec.structs.replace(result, findings=findings, suggested=suggested)


def _finding(change: _Change, result: TranslationResult, raw: RawObject | None) -> Finding:
    """A change as a finding about the source, at the CIDR there when that is what it replaces."""
    places: list[FieldPath] = []
    if raw is not None and isinstance(change.hint, NamesHint):
        places = cidr_places(raw.data, change.hint.network)
    return Finding(
        id=_MADE.get(change.kind, _NOT_MADE),
        detail=change.detail,
        subject=result.source,
        field=dotted(places[0]) if places else None,
        at=raw.at(*places[0]) if raw is not None and places else result.at,
    )


def _text(draft: _Draft) -> str:
    """The object with a comment that says what it is; its label says which kind of proposal is in it."""
    metadata = draft.data["metadata"]
    assert isinstance(metadata, dict)
    labels = metadata.get("labels")
    marked: JsonMap = {**(labels if isinstance(labels, dict) else {}), MARK: "-".join(draft.kinds)}
    source = metadata.get("annotations")
    origin = ", ".join(map(str, source.values())) if isinstance(source, dict) else ""
    lines = [
        f"Proposal: replaces {draft.item.file} when somebody applies it",
        f"From {origin}",
        *(f"{_MADE[change.kind]} {change.detail}" for change in draft.changes if change.kind),
    ]
    header = "".join(f"# {one_line(line)}\n" for line in lines)
    return header + yaml_out.dump({**draft.data, "metadata": {**metadata, "labels": marked}})
