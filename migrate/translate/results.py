"""What is said of a source object: its result, and the reasons for which nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.documents import EmittedObject, Result, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.sources import calico
from migrate.sources.fields import Problem, ProblemKind
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.render import JsonMap


def emitted_object(data: JsonMap, namespace: str | None, path: str) -> EmittedObject:
    """Where a written object is found."""
    ref = RawObject(data).ref
    return EmittedObject(api_version=ref.api_version, kind=ref.kind, namespace=namespace, name=ref.name, file=path)


def finish(notes: Notes, emitted: tuple[EmittedObject, ...]) -> TranslationResult:
    """What became of a source object, with all that was noted of it."""
    return TranslationResult(
        source=notes.subject,
        at=notes.at,
        result=notes.result,
        objects=emitted,
        findings=tuple(sorted(notes.findings, key=Finding.sort_key)),
        assumptions=tuple(notes.assumptions),
    )


def is_about_pods(policy: calico.CalicoPolicy, notes: Notes) -> bool:
    """Whether the policy is in force for pods; what is for hosts only is said and left out."""
    reasons = [text for text, there in (("preDNAT", policy.pre_dnat), ("doNotTrack", policy.do_not_track)) if there]
    for reason in reasons:
        notes.find(
            "POL-HOST-POLICY",
            f"{reason}: it is in force on the network interfaces of hosts only; nothing was written",
            place="spec",
            effect=Effect.UNKNOWN,
            on_intent=Effect.UNKNOWN,
            result=Result.UNSUPPORTED,
        )
    if policy.apply_on_forward and not reasons:
        text = "applyOnForward: the part for pods was written, the part for what hosts forward was not"
        notes.find("POL-HOST-POLICY", text, place="spec.applyOnForward")
    return not reasons


def ill_named(notes: Notes) -> TranslationResult:
    """The result of an object that no cluster can hold."""
    notes.find(
        "POL-INVALID",
        "its name or namespace is none that an API server takes; nothing was written",
        place="metadata.name",
        effect=Effect.UNKNOWN,
        on_intent=Effect.UNKNOWN,
        result=Result.UNSUPPORTED,
    )
    return finish(notes, ())


def is_unusable(found: Sequence[Problem], context: Context, notes: Notes) -> bool:
    """Whether the object has fields that nothing can be built on; each becomes a finding."""
    for problem in found:
        unknown = problem.kind is ProblemKind.UNKNOWN
        notes.find(
            "POL-UNKNOWN-FIELD" if unknown else "POL-INVALID",
            f"{problem.field}: {problem.message}; nothing was written for the policy",
            place=problem.field,
            at=problem.at,
            effect=context.changes(Effect.UNKNOWN),
            on_intent=Effect.UNKNOWN,
            result=Result.UNSUPPORTED,
        )
    return bool(found)
