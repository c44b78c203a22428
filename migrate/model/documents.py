"""The versioned documents that the stages hand to each other; each has a JSON schema in reports/schemas/.

They are msgspec structs rather than dataclasses, since they are checked whenever they are read back from disk.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec

from migrate.model.finding import Finding
from migrate.model.refs import Location, ObjectRef

API_VERSION = "cilium-migrate/v1alpha1"


class Evidence(msgspec.Struct, frozen=True, order=True):
    """What a statement rests on: an object, a field in it, and the value that stood there."""

    object: str
    field: str
    value: str


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One statement about the cluster, such as topic "engine", value "npm-linux".

    `state` is "active" (it runs or is in force), "present" (there but not in force: leftovers), "absent",
    or "unknown" (what would tell could not be read).
    """

    topic: str
    value: str
    state: Literal["active", "present", "absent", "unknown"] = "active"
    detail: str = ""
    evidence: tuple[Evidence, ...] = ()


class KindCount(msgspec.Struct, frozen=True, order=True, rename={"api_version": "apiVersion"}):
    """How a kind was read: "read", "absent" (the cluster does not know it), "forbidden" or "failed"."""

    api_version: str
    kind: str
    status: Literal["read", "absent", "forbidden", "failed"]
    count: int = 0
    detail: str = ""


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """First line of snapshot.jsonl.gz; every further line is one object.

    `taken` is RFC 3339 in UTC, None for files (their age is unknown). `complete` is False when a kind was
    forbidden or failed. `name` is the kubeconfig context, or the first path given.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Snapshot"] = "Snapshot"
    tool_version: str
    origin: Literal["cluster", "files"]
    name: str
    taken: str | None = None
    server_version: str | None = None
    namespaces: tuple[str, ...] | None = None
    complete: bool = True
    kinds: tuple[KindCount, ...] = ()
    facts: tuple[Fact, ...] = ()
    findings: tuple[Finding, ...] = ()


class Result(Enum):
    """What became of one source object; what each word claims stands in docs/architecture.md."""

    KEPT = "kept"
    EXACT = "exact"
    EXACT_HERE = "exact_here"
    CHANGED = "changed"
    UNSUPPORTED = "unsupported"


class EmittedObject(msgspec.Struct, frozen=True, kw_only=True, rename={"api_version": "apiVersion"}):
    """An object that the translation wrote; `file` is relative to the output folder."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    file: str


class TranslationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one source object became. `assumptions` say what `exact_here` rests on."""

    source: ObjectRef
    at: Location | None
    result: Result
    proof: Literal["none", "witness", "snapshot"] = "none"
    objects: tuple[EmittedObject, ...] = ()
    findings: tuple[Finding, ...] = ()
    assumptions: tuple[str, ...] = ()


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """translation.json: one result per source object, in the order of their references.

    `objects` are written for the cluster as a whole and belong to no source object.
    """

    api_version: Annotated[Literal["cilium-migrate/v1alpha1"], msgspec.Meta()] = msgspec.field(
        default="cilium-migrate/v1alpha1", name="apiVersion"
    )
    kind: Literal["Translation"] = "Translation"
    tool_version: str = msgspec.field(name="toolVersion")
    target: str
    networkpolicy: Literal["rewrite", "supplement", "keep"]
    engines: tuple[str, ...] = ()
    complete: bool = True
    results: tuple[TranslationResult, ...] = ()
    objects: tuple[EmittedObject, ...] = ()
    findings: tuple[Finding, ...] = ()


class DecidedBy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The rule that decided a side of a flow. All None, with a `reason`, when no rule did.

    `rule` is the field of the rule, such as spec.ingress[0]; `at` its file and line.
    """

    object: str | None = None
    rule: str | None = None
    at: str | None = None
    reason: str = ""


class SimulatedFlow(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says of one flow. `unknown`: the answer rests on something that is not modelled.

    `flow` names the ends and the packet for people to read.
    """

    flow: str
    egress: Literal["allow", "deny", "unenforced", "unknown"]
    ingress: Literal["allow", "deny", "unenforced", "unknown"]
    verdict: Literal["allow", "deny", "unknown"]
    decided_by: dict[Literal["egress", "ingress"], DecidedBy] = {}


class SimulatedCase(msgspec.Struct, frozen=True, kw_only=True):
    """The flows of one case, in its order. `left_out` are objects and fields that the engine does not model."""

    name: str
    flows: tuple[SimulatedFlow, ...]
    left_out: tuple[str, ...] = ()


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What `migrate simulate` prints: `flows` for one input, `cases` for several."""

    api_version: Literal["cilium-migrate/v1alpha1"] = msgspec.field(
        default="cilium-migrate/v1alpha1", name="apiVersion"
    )
    kind: Literal["Simulation"] = "Simulation"
    tool_version: str = msgspec.field(name="toolVersion")
    engine: str
    complete: bool = True
    flows: tuple[SimulatedFlow, ...] | msgspec.UnsetType = msgspec.UNSET
    cases: tuple[SimulatedCase, ...] | msgspec.UnsetType = msgspec.UNSET
    left_out: tuple[str, ...] = ()


class FlowExample(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One concrete flow. Ends read "pod shop/web-0", "node n1" or "outside 203.0.113.7", with the address.

    `port` is the destination port, for ICMP the type.
    """

    source: str
    source_address: str
    destination: str
    destination_address: str
    protocol: str
    port: int
    source_port: int = 0
    icmp_code: int = 0


class Cause(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Changed flows that have the same deciding rules, with one flow as the counterexample.

    `source_pods` and `destination_pods` count the pods at either end, `namespaces` those of all of them.
    """

    change: Literal["newly_denied", "newly_allowed"]
    side: Literal["egress", "ingress"]
    before: DecidedBy
    after: DecidedBy
    counterexample: FlowExample
    source_pods: int
    destination_pods: int
    namespaces: tuple[str, ...]


class Verification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Two policy states compared over the whole flow space of a cluster.

    "undecided": no difference was found, but not everything could be read or is modelled (`left_out`). `classes`,
    `ends` and `packets` are the pieces that the space was cut into.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Verification"] = "Verification"
    tool_version: str
    before: str
    after: str
    result: Literal["equivalent", "different", "undecided"]
    complete: bool
    classes: int
    ends: int
    packets: int
    causes: tuple[Cause, ...] = ()
    left_out: tuple[str, ...] = ()
