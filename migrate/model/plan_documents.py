"""The cutover plan: what people run and check, in order, and what is open to whom in the meantime. Nothing runs it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from migrate.model.documents import DecidedBy, FlowExample

Phase: TypeAlias = Literal["prepare", "change", "apply", "clean-up"]
Known: TypeAlias = Literal["met", "not_met", "check"]
"""What the documents say of a condition: it holds, it does not, or only the command can tell."""


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a figure or a fact about a product comes from, and of which day (ISO 8601)."""

    source: str
    as_of: str
    says: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A shell command for people to run, with the plan's variables. `expect` is what it has to show; "" for nothing.

    A text that is only a comment ("# reboot ...") is something to be done by hand.
    """

    text: str
    expect: str = ""


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A shell variable of the commands. `value` is None where it is not known: then `meaning` says how to find it."""

    name: str
    value: str | None
    meaning: str


class Attribute(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a step is in Terraform: an attribute of azurerm_kubernetes_cluster and its value; None takes it away."""

    block: str
    name: str
    value: str | None
    note: str = ""


class Duration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How long a step takes, in minutes: as documented, and at worst when every drain runs into its limit.

    `basis` says how it was worked out. None of it was measured on this cluster.
    """

    expected_minutes: int
    worst_minutes: int
    basis: str
    sources: tuple[Statement, ...] = ()


class Precondition(msgspec.Struct, frozen=True, kw_only=True):
    """What has to hold before the first change. `detail` is what was seen; `rules` are finding ids that explain it."""

    id: str
    title: str
    state: Known
    detail: str = ""
    commands: tuple[Command, ...] = ()
    otherwise: str = ""
    rules: tuple[str, ...] = ()


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Questions that all have to be answered with yes before a step; `no` says what to do if one is not."""

    before: str
    title: str
    questions: tuple[str, ...]
    no: str


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """The way back from a step. `possible` is False where there is none: then `how` says what is left to do."""

    possible: bool
    how: str
    commands: tuple[Command, ...] = ()


class PlanStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step. `no_return`: after it there is no way back to what was before.

    `minimum_cli` is the lowest version of the Azure CLI that knows every option of its commands.
    """

    id: str
    phase: Phase
    title: str
    why: str
    commands: tuple[Command, ...] = ()
    notes: tuple[str, ...] = ()
    terraform: tuple[Attribute, ...] = ()
    minimum_cli: str | None = None
    duration: Duration | None = None
    no_return: bool = False
    rollback: Rollback
    rules: tuple[str, ...] = ()


class OpenedEnd(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A destination that more can reach in a window than today: a workload, a namespace, "nodes" or "outside".

    `sources` counts those that gain something, `newly` those of them that today reach nothing of it. `first` names
    some of them, "outside" and "nodes" before all others.
    """

    destination: str
    sources: int
    newly: int
    first: tuple[str, ...]
    from_outside: bool
    from_nodes: bool


class Opened(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Flows that a policy stops today and nothing stops in a window, with one of them."""

    stopped_by: DecidedBy
    side: Literal["egress", "ingress"]
    example: FlowExample
    source_pods: int
    source_namespaces: tuple[str, ...]
    from_nodes: bool
    from_outside: bool
    destination_pods: int
    destination_namespaces: tuple[str, ...]
    to_nodes: bool
    to_outside: bool
    pod_pairs: int


class Exposure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Connectivity without any policy minus today's, over the pods of the snapshot.

    `pod_pairs` counts ordered pairs of pods with at least one such flow, each once. `destinations` are workloads (or
    namespaces, as `by` says), those that gain from outside first; `opened` are the largest causes. `more_...` count
    what is left out. `known` is False when it could not be worked out: `unknown` says why, or what is not counted.
    """

    known: bool
    engine: str
    pod_pairs: int = 0
    opened: tuple[Opened, ...] = ()
    more_opened: int = 0
    by: Literal["workload", "namespace"] = "workload"
    destinations: tuple[OpenedEnd, ...] = ()
    more_destinations: int = 0
    unknown: tuple[str, ...] = ()


class Window(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A time in which policy is not, or not wholly, enforced: from some moment of step `begins` to the end of `ends`.

    `exposed` says whether the plan's exposure (all of it, at most) is open. Minutes are those of the steps in it.
    """

    id: str
    title: str
    begins: str
    ends: str
    enforced: Literal["nothing", "partly"]
    what: str
    exposed: bool
    expected_minutes: int | None
    worst_minutes: int | None
    guard: str


class Restart(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A workload to restart for the sake of its long-lived connections; `order` counts from 1.

    `connections` are those in which it takes part: "client → server port/protocol (effect)".
    """

    order: int
    namespace: str
    workload: str
    reason: str
    connections: tuple[str, ...]
    command: Command | None


class Removal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An old policy object and what has to become of it.

    `when`: with the translated policies, which it contradicts ("with_apply"), later, for Cilium means the same by it
    ("after_cutover"), once the old engine is gone ("with_old_engine"), or after somebody
    decided ("decide"). `owner` would bring it back as `returns` says; then `change` is where it has to be removed.
    """

    object: str
    api_version: str
    when: Literal["with_apply", "after_cutover", "with_old_engine", "decide"]
    why: str
    owner: str = ""
    returns: Literal["at_once", "at_deploy", "never", "unknown"] = "unknown"
    change: str = ""
    command: Command | None = None


class PlanRoute(msgspec.Struct, frozen=True, kw_only=True):
    """The way of this cluster; see migrate/readiness/route.py."""

    path: Literal["aks", "dual-overlay", "already-cilium", "unknown"]
    title: str
    steps: tuple[str, ...] = ()
    engine: str = ""
    cni: str = "unknown"
    doubts: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """plan.json, and what runbook.md is made of.

    `made` and `snapshot_taken` are RFC 3339 (None for files). `complete` is False when something that the plan rests
    on is not known: `incomplete` says what. `files` were written beside the plan, relative to the working folder.
    `redacted`: names and addresses are pseudonyms, so that nothing of it can be run.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Plan"] = "Plan"
    tool_version: str
    made: str
    cluster: str
    snapshot_taken: str | None
    snapshot_sha256: str | None
    target: str | None
    route: PlanRoute
    complete: bool
    redacted: bool = False
    incomplete: tuple[str, ...] = ()
    minimum_cli: str | None = None
    nodes: int | None = None
    expected_minutes: int | None = None
    worst_minutes: int | None = None
    variables: tuple[Variable, ...] = ()
    preconditions: tuple[Precondition, ...] = ()
    gates: tuple[Gate, ...] = ()
    steps: tuple[PlanStep, ...] = ()
    windows: tuple[Window, ...] = ()
    exposure: Exposure | None = None
    restarts: tuple[Restart, ...] = ()
    restarts_unknown: str = ""
    after_checks: tuple[Precondition, ...] = ()
    removals: tuple[Removal, ...] = ()
    files: tuple[str, ...] = ()
    sources: tuple[Statement, ...] = ()


class StaleProof(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was proved, found or audited and that no longer holds, or may not: `state` says which."""

    what: str
    state: Literal["broken", "stale"]
    why: str
    objects: tuple[str, ...] = ()


class ChangedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the cluster that is not as it was; `fields` are the paths that differ, such as "spec.ingress[0]"."""

    change: Literal["added", "removed", "changed"]
    kind: str
    object: str
    fields: tuple[str, ...] = ()


class PlanCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A fresh scan against the one that was proved and audited.

    "unchanged": nothing that anything rests on differs. "holds": something does, and all was proved again with the
    same result. "broken": something proved or audited no longer holds, or was not shown to. "incomplete": the fresh
    scan could not read everything, and nothing else was found broken.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["PlanCheck"] = "PlanCheck"
    tool_version: str
    checked: str
    before_taken: str | None
    after_taken: str | None
    result: Literal["unchanged", "holds", "broken", "incomplete"]
    complete: bool
    changes: tuple[ChangedObject, ...] = ()
    more_changes: int = 0
    proofs: tuple[StaleProof, ...] = ()
    incomplete: tuple[str, ...] = ()
