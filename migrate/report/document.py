"""The Report document: everything that the HTML page says, as data. Schema: reports/schemas/report.schema.json."""

from __future__ import annotations

from typing import Literal

import msgspec

from migrate.model.documents import Fact, KindCount
from migrate.model.finding import Finding
from migrate.model.refs import Location, ObjectRef
from migrate.readiness.documents import Input
from migrate.readiness.verdict import State

Standing = Literal["kept", "exact", "exact_here", "changed", "unsupported", "not_translated"]
"""What became of a policy: the translation's five words, or that no translation speaks of it."""

STANDINGS: tuple[Standing, ...] = ("unsupported", "changed", "not_translated", "exact_here", "exact", "kept")
"""All standings, the ones that need attention first."""

Level = Literal["blocker", "warning", "info"]
LEVELS: tuple[Level, ...] = ("blocker", "warning", "info")
"""All severities, the gravest first."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A part of the report: strict, so that the schema names every field."""


class Answer(_Part, frozen=True, kw_only=True):
    """May we cut over: `word` is the short answer, `sentence` the whole one, `rests_on` what it stands on."""

    state: State
    word: str
    sentence: str
    rests_on: tuple[str, ...]


class Deadline(_Part, frozen=True, kw_only=True):
    """A date from which something that this cluster uses is no longer supported.

    `days` from the report to it, not above 0 once it is past. `images_removed` is the day from which nodes can no
    longer be made from their image. `corrections` name wrong dates that documents once gave.
    """

    what: str
    title: str
    date: str
    days: int
    meaning: str
    uses: tuple[str, ...]
    images_removed: str | None
    source: str
    source_date: str
    corrections: tuple[str, ...]


class Tally(_Part, frozen=True, kw_only=True):
    """Numbers of findings by severity."""

    blocker: int = 0
    warning: int = 0
    info: int = 0


class Summary(_Part, frozen=True, kw_only=True):
    """The report in numbers. `pods` and `pods_selected` are None when no pods were read."""

    policies: int
    standings: dict[Standing, int]
    findings: Tally
    namespaces: int
    pods: int | None
    pods_selected: int | None


class NamespaceRow(_Part, frozen=True, kw_only=True):
    """One namespace; `name` is None for what belongs to no namespace."""

    name: str | None
    policies: int
    standings: dict[Standing, int]
    findings: Tally
    pods: int | None
    pods_selected: int | None


class PolicyRow(_Part, frozen=True, kw_only=True):
    """One source object. `files` are relative to the working folder; `in_snapshot` is None without a snapshot."""

    source: ObjectRef
    at: Location | None
    standing: Standing
    proof: Literal["none", "witness", "snapshot"]
    assumptions: tuple[str, ...]
    files: tuple[str, ...]
    findings: tuple[Finding, ...]
    worst: Level | None
    in_snapshot: bool | None


class FindingGroup(_Part, frozen=True, kw_only=True):
    """All findings of one id and severity, with what the id means.

    `known` is False for an id without a rule.
    """

    id: str
    title: str
    severity: Level
    known: bool
    why: str
    do: str
    evidence: str | None
    as_of: str | None
    sources: tuple[str, ...]
    findings: tuple[Finding, ...]


class UncheckedRule(_Part, frozen=True, kw_only=True):
    """A rule that could not be put to the documents, or not in full, and what it lacks."""

    id: str
    title: str
    lacks: tuple[str, ...]


class Inventory(_Part, frozen=True, kw_only=True):
    """What the snapshot says about the cluster."""

    facts: tuple[Fact, ...] = ()
    kinds: tuple[KindCount, ...] = ()


class Report(_Part, frozen=True, kw_only=True):
    """The answer to "may we cut over", with everything it rests on.

    `cluster` is the kubeconfig context or path that was scanned, `generated` the time of the report (RFC 3339).
    `complete` is False when a document says so of itself. Policies are in the order of attention they need,
    namespaces by name, findings by severity and id.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Report"] = "Report"
    tool_version: str
    generated: str
    cluster: str | None
    engines: tuple[str, ...]
    target: str | None
    networkpolicy: str | None
    complete: bool
    answer: Answer
    deadlines: tuple[Deadline, ...]
    summary: Summary
    namespaces: tuple[NamespaceRow, ...]
    policies: tuple[PolicyRow, ...]
    findings: tuple[FindingGroup, ...]
    inventory: Inventory
    unmeasured: tuple[str, ...]
    unchecked: tuple[UncheckedRule, ...]
    inputs: tuple[Input, ...]
