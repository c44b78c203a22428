"""The Report document: everything that the HTML page says, as data. Schema: reports/schemas/report.schema.json."""

from __future__ import annotations

from typing import Literal

import msgspec

from migrate.model.audit_documents import Audit
from migrate.model.cutover_documents import CutoverCheck
from migrate.model.documents import AcceptedFinding, Cause, Fact, KindCount, Owner, Verification
from migrate.model.finding import Finding
from migrate.model.plan_documents import Plan
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


class EvidenceLine(_Part, frozen=True, kw_only=True):
    """One thing that the verdict rests on, or lacks.

    "there": it was looked at whole. "partial": a part is missing. "missing": nobody looked. "against": it was looked
    at and speaks against the cutover.
    """

    topic: str
    state: Literal["there", "partial", "missing", "against"]
    text: str


class Step(_Part, frozen=True, kw_only=True):
    """One thing to do first; `about` is the id of a finding, or empty. `anchor` is where the page says more."""

    title: str
    detail: str
    about: str
    anchor: str


class Answer(_Part, frozen=True, kw_only=True):
    """May we cut over: `word` is the short answer, `sentence` the whole one, `first` what to do first."""

    state: State
    word: str
    sentence: str
    evidence: tuple[EvidenceLine, ...]
    first: tuple[Step, ...]


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
    """The report in numbers. Findings that somebody accepted are in `accepted` only.

    `pods` and `pods_selected` are None when no pods were read.
    """

    policies: int
    accepted: int
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
    """One source object. Files are relative to the working folder; `in_snapshot` is None without a snapshot.

    `files` are what Cilium would get, `plain` NetworkPolicies for the time of the cutover, `suggested` proposals that
    nobody has taken yet, and `staged` what a staged policy would mean, which is for questions only.
    """

    source: ObjectRef
    at: Location | None
    standing: Standing
    proof: Literal["none", "witness", "snapshot"]
    assumptions: tuple[str, ...]
    files: tuple[str, ...]
    plain: tuple[str, ...]
    suggested: tuple[str, ...]
    staged: tuple[str, ...]
    owner: Owner | None
    original: Literal["stays", "after_cutover", "with_old_engine", "decided"]
    findings: tuple[Finding, ...]
    worst: Level | None
    in_snapshot: bool | None


class FindingGroup(_Part, frozen=True, kw_only=True):
    """All findings of one id and severity, with what the id means.

    `known` is False for an id without a rule. `accepted`: somebody takes them as they are.
    """

    id: str
    title: str
    severity: Level
    known: bool
    accepted: bool
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


class NodeRow(_Part, frozen=True, kw_only=True):
    """A node of the snapshot or of a dump. `pods` counts those that run on it, `audited`: the audit watched it.

    `read` says how and when it was read, None: it was not; `whole` is false when that failed in part, `rules` when its
    rules were not among it. `facts` and `findings` are what its rules say.
    """

    name: str
    pool: str
    os: str
    image: str
    kernel: str
    kubelet: str
    pods: int
    audited: bool
    read: str | None = None
    whole: bool = False
    rules: bool = False
    facts: tuple[Fact, ...] = ()
    findings: tuple[Finding, ...] = ()


class RuleUse(_Part, frozen=True, kw_only=True):
    """What the counters of rules say, over all nodes that have such a rule: packets that it let through or stopped.

    `since` is the latest start of the counting on these nodes and `until` the earliest end, both RFC 3339: what all
    counters cover. None where a node does not tell.
    """

    of: str
    verdict: str
    policy: ObjectRef | None
    nodes: int
    packets: int
    bytes: int
    since: str | None
    until: str | None


class ChangedFinding(_Part, frozen=True, kw_only=True, order=True):
    """A finding that only one of two reports has. `object` as documents print it."""

    severity: Level
    id: str
    object: str
    field: str
    detail: str


class ChangedPolicy(_Part, frozen=True, kw_only=True, order=True):
    """A policy with another standing than in the last report; None where a report does not have it."""

    object: str
    before: Standing | None
    after: Standing | None


class Since(_Part, frozen=True, kw_only=True):
    """What changed since an earlier report: of `generated`, with the answer `word`.

    Drops are kinds of traffic: "source → destination protocol/port".
    """

    generated: str
    state: State
    word: str
    new_findings: tuple[ChangedFinding, ...]
    gone_findings: tuple[ChangedFinding, ...]
    policies: tuple[ChangedPolicy, ...]
    new_drops: tuple[str, ...]
    gone_drops: tuple[str, ...]


class Inventory(_Part, frozen=True, kw_only=True):
    """What the snapshot says about the cluster."""

    facts: tuple[Fact, ...] = ()
    kinds: tuple[KindCount, ...] = ()


class Report(_Part, frozen=True, kw_only=True):
    """The answer to "may we cut over", with everything it rests on.

    `cluster` is the kubeconfig context or path that was scanned, `generated` the time of the report (RFC 3339).
    `complete` is False when a document says so of itself. Policies are in the order of attention they need,
    namespaces by name, findings by severity and id, accepted ones last. `scope` names the namespaces that it speaks
    of, None for all. `against_today` are flows that the engine of today admits and that the translation changes.
    `unchecked` are the rules that lack an input.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Report"] = "Report"
    tool_version: str
    generated: str
    cluster: str | None
    engines: tuple[str, ...]
    target: str | None
    networkpolicy: str | None
    scope: tuple[str, ...] | None
    complete: bool
    answer: Answer
    since: Since | None
    deadlines: tuple[Deadline, ...]
    summary: Summary
    namespaces: tuple[NamespaceRow, ...]
    policies: tuple[PolicyRow, ...]
    findings: tuple[FindingGroup, ...]
    accepted: tuple[AcceptedFinding, ...]
    against_today: tuple[Cause, ...]
    verification: Verification | None
    audit: Audit | None
    cutover: CutoverCheck | None = None
    plan: Plan | None
    nodes: tuple[NodeRow, ...]
    rule_uses: tuple[RuleUse, ...]
    inventory: Inventory
    unmeasured: tuple[str, ...]
    unchecked: tuple[UncheckedRule, ...]
    inputs: tuple[Input, ...]
