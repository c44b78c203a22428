"""What the cluster that the translation is for says of the objects before anything is applied."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import yaml

from migrate.model.documents import EmittedObject, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.scan.connection import Connection
from migrate.scan.dry_run import refusals
from migrate.translate.engine import Outcome
from migrate.translate.render import JsonMap


def with_refusals(outcome: Outcome, connection: Connection) -> Outcome:
    """The outcome with a finding for each object that the server would not create, in its own words.

    Raises RequestError when the server does not answer or may not be asked.
    """
    objects: list[JsonMap] = [yaml.load(f.text, Loader=yaml.CSafeLoader) for f in outcome.to_apply]
    refused = refusals(connection, sorted(objects, key=lambda data: RawObject(data).ref.sort_key()))
    translation = outcome.translation
    results = tuple(_with_findings(result, refused, connection.name) for result in translation.results)
    others = [_finding(refused[ref], ref, None, connection.name) for ref in _refs(translation.objects, refused)]
    findings = tuple(sorted((*translation.findings, *others), key=Finding.sort_key))
    return replace(outcome, translation=msgspec.structs.replace(translation, results=results, findings=findings))


def _with_findings(result: TranslationResult, refused: dict[ObjectRef, str], cluster: str) -> TranslationResult:
    refs = _refs((*result.objects, *result.plain), refused)
    found = [_finding(refused[ref], ref, result, cluster) for ref in refs]
    if not found:
        return result
    return msgspec.structs.replace(result, findings=tuple(sorted((*result.findings, *found), key=Finding.sort_key)))


def _refs(items: tuple[EmittedObject, ...], refused: dict[ObjectRef, str]) -> list[ObjectRef]:
    refs = [ObjectRef(item.api_version, item.kind, item.namespace, item.name) for item in items]
    return [ref for ref in refs if ref in refused]


def _finding(message: str, ref: ObjectRef, result: TranslationResult | None, cluster: str) -> Finding:
    return Finding(
        id="POL-PROFILE-REFUSES",
        detail=f"cluster {cluster} refuses {ref}: {message}",
        effect=Effect.UNKNOWN,
        effect_on_intent=Effect.UNKNOWN,
        subject=None if result is None else result.source,
        at=None if result is None else result.at,
    )
