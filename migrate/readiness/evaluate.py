"""Puts every rule to the documents at hand: what is found, and which rules nobody could answer for lack of an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum

import msgspec

from migrate.model.finding import Finding
from migrate.readiness.documents import Documents
from migrate.scan.kinds import KINDS


class Need(Enum):
    """An input that a rule cannot do without; the value says how it is made."""

    SNAPSHOT = "a snapshot: `migrate scan`"
    AZURE = "Azure's own settings: `az aks show -o json`, given to `migrate scan --az-json`"
    TRANSLATION = "a translation: `migrate translate`"
    VERIFICATION = "a verification: `migrate verify`"
    AUDIT = "an audit of live traffic: `migrate audit`"
    NODES = "what the nodes enforce: `migrate scan --nodes`"


class Unchecked(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A rule that could not be put to the documents, and what it lacks."""

    id: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of the question that could not be answered, and what would tell: "the address spaces of peered VNets"."""

    what: str


def always(documents: Documents) -> bool:
    """For a rule that concerns every cluster."""
    return True


@dataclass(frozen=True, slots=True)
class Check:
    """How findings of one id come out of the documents, as of a day.

    `kinds` are kinds of objects that have to be read whole. `find` may yield findings of `id` only, and is asked
    only when everything is there that it needs; what it lacks beyond that it yields as Missing, beside what it found.
    `concerns` says whether the rule has anything to say about such a cluster: where it has not, the rule is neither
    found nor unchecked. Where that is not known it concerns the cluster.
    """

    id: str
    find: Callable[[Documents, date], Iterable[Finding | Missing]]
    needs: tuple[Need, ...] = (Need.SNAPSHOT,)
    kinds: tuple[str, ...] = ()
    concerns: Callable[[Documents], bool] = always


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the rules found, and the rules that were not checked."""

    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]


def evaluate(documents: Documents, today: date, checks: Iterable[Check]) -> Evaluation:
    """Put the checks to the documents."""
    findings: list[Finding] = []
    unchecked: list[Unchecked] = []
    for check in checks:
        if not check.concerns(documents):
            continue
        lacking = list(_lacking(check, documents))
        answers = () if lacking else check.find(documents, today)
        lacking += _elsewhere(check, documents)
        for answer in answers:
            if isinstance(answer, Missing):
                lacking.append(answer.what)
            else:
                findings.append(answer)
        if lacking:
            unchecked.append(Unchecked(id=check.id, lacks=tuple(dict.fromkeys(lacking))))
    return Evaluation(tuple(sorted(findings, key=Finding.sort_key)), tuple(sorted(unchecked)))


def _lacking(check: Check, documents: Documents) -> Iterator[str]:
    there = {
        Need.SNAPSHOT: documents.header is not None,
        Need.AZURE: documents.azure is not None,
        Need.TRANSLATION: documents.translation is not None,
        Need.VERIFICATION: documents.verification is not None,
        Need.AUDIT: documents.audit is not None,
        Need.NODES: documents.nodes is not None,
    }
    yield from (need.value for need in check.needs if not there[need])
    if Need.TRANSLATION in check.needs and documents.lost:
        yield f"{documents.lost[0]}, which the translation names: `migrate translate` writes it"
    if documents.header is not None:
        yield from (
            f"objects of kind {kind}, which were not read" for kind in check.kinds if not documents.was_read(kind)
        )


def _elsewhere(check: Check, documents: Documents) -> Iterator[str]:
    """What lies in namespaces that were not read: it may hold more of what the rule finds."""
    read = documents.header.namespaces if documents.header is not None else None
    for kind in check.kinds if read is not None else ():
        if any(known.kind == kind and known.namespaced for known in KINDS):
            yield f"objects of kind {kind} in other namespaces than {', '.join(read or ())}"
