"""The versioned documents that the stages hand to each other; each has a JSON schema in reports/schemas/.

They are msgspec structs rather than dataclasses, since they are checked whenever they are read back from disk.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec

from migrate.model.finding import Finding, Severity
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
    forbidden or failed. `name` is the kubeconfig context, or the first path given. `redacted`: names and addresses are
    pseudonyms, in this document and all that are made from it.
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
    redacted: bool = False
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


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who keeps a source object in the cluster, by its own labels, annotations and bookkeeping (`evidence`).

    `returns` says when the owner undoes a change that is made past it: "at_once" (a controller watches), "at_deploy"
    (with the next release or apply), "never" (nobody does), "unknown". `change` is where it has to be made instead.
    """

    kind: Literal["argo", "flux", "operator", "helm", "kustomize", "tool", "kubectl", "file", "unknown"]
    name: str
    evidence: str
    returns: Literal["at_once", "at_deploy", "never", "unknown"]
    change: str


class TranslationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one source object became. `assumptions` say what `exact_here` rests on.

    `original` says what has to become of the source object: it "stays" (Cilium reads it as it is), it goes
    "after_cutover" (until then the old engine needs it, from then on Cilium enforces it beside what was written), it
    goes "with_old_engine" (Cilium does not read it), or it has to be "decided" (nothing was written in its place).
    `plain` are the NetworkPolicies that say the same for the time of the cutover; `suggested` are proposals, each in
    place of the object of the same name; `staged` is what a staged policy would mean, which is for questions only.
    `proof` says how the result was shown on the written objects: for any pods ("witness"), for those of the snapshot,
    or not. `changes` are the flows of the snapshot that `changed` and `unsupported` speak of.
    """

    source: ObjectRef
    at: Location | None
    result: Result
    proof: Literal["none", "witness", "snapshot"] = "none"
    objects: tuple[EmittedObject, ...] = ()
    findings: tuple[Finding, ...] = ()
    assumptions: tuple[str, ...] = ()
    owner: Owner | None = None
    original: Literal["stays", "after_cutover", "with_old_engine", "decided"] = "decided"
    plain: tuple[EmittedObject, ...] = ()
    staged: tuple[EmittedObject, ...] = ()
    suggested: tuple[EmittedObject, ...] = ()
    changes: tuple[Cause, ...] = ()


class AcceptedFinding(msgspec.Struct, frozen=True, order=True):
    """A finding that somebody accepted: it no longer makes the exit status 1. `object` as documents print it."""

    id: str
    object: str

    def __str__(self) -> str:
        return f"{self.id}@{self.object}"


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """translation.json: one result per source object, in the order of their references.

    `objects` are written for the cluster as a whole and belong to no source object; `files` are those that hold no
    object of a cluster, such as cilium/kustomization.yaml. `changes` are flows that change for no single source object,
    but by findings about the cluster, or by POL-EGRESS-OWN-NODE. `against_today` compares both parts with what is
    enforced, where the snapshot says by which engine.
    """

    api_version: Annotated[Literal["cilium-migrate/v1alpha1"], msgspec.Meta()] = msgspec.field(
        default="cilium-migrate/v1alpha1", name="apiVersion"
    )
    kind: Literal["Translation"] = "Translation"
    tool_version: str = msgspec.field(name="toolVersion")
    target: str
    networkpolicy: Literal["rewrite", "supplement", "keep"]
    split: Literal["per-source", "per-workload"] = "per-source"
    on_gap: Literal["refuse", "narrow", "widen"] = msgspec.field(default="narrow", name="onGap")
    ordered: Literal["cilium", "cluster-network-policy"] = "cilium"
    accepted: tuple[AcceptedFinding, ...] = ()
    engines: tuple[str, ...] = ()
    complete: bool = True
    redacted: bool = False
    results: tuple[TranslationResult, ...] = ()
    objects: tuple[EmittedObject, ...] = ()
    files: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    changes: tuple[Cause, ...] = ()
    against_today: AgainstToday | None = msgspec.field(default=None, name="againstToday")


class AgainstToday(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What changes of the flows that `engine` admits today: with cilium/ alone, and with compat/ beside it."""

    engine: str
    cilium: tuple[Cause, ...]
    with_compat: tuple[Cause, ...]


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

    `port` is the destination port, for ICMP the type. The traits of a made-up pod are the labels and named ports that
    rules look at, such as "app=web", "namespace team=blue" or "port http=8080/TCP".
    """

    source: str
    source_address: str
    destination: str
    destination_address: str
    protocol: str
    port: int
    source_port: int = 0
    icmp_code: int = 0
    source_traits: tuple[str, ...] = ()
    destination_traits: tuple[str, ...] = ()


class CauseEnds(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who is at one end of changed flows. A workload is an owner such as Deployment/web, or a pod without one.

    `nodes` and `outside` say whether nodes and addresses outside the cluster are among them.
    """

    pods: int
    workloads: int
    namespaces: tuple[str, ...]
    nodes: bool
    outside: bool


class Cause(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Changed flows with one of them as the counterexample, and the rules that decide that one on both sides.

    `pod_pairs` counts pairs of source pod and destination pod with at least one changed flow between them. In the
    middle of a cause another rule of the same policies may decide too.
    """

    change: Literal["newly_denied", "newly_allowed"]
    side: Literal["egress", "ingress"]
    before: DecidedBy
    after: DecidedBy
    counterexample: FlowExample
    sources: CauseEnds
    destinations: CauseEnds
    pod_pairs: int


class WitnessProof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Two states compared over made-up pods: one for every combination that the policies can tell apart.

    "equivalent" holds for any pods, so also after the next rollout. "undecided" says in `reason` why it was not
    tried, or what is not known. `assumptions` name what of the cluster is taken to stay as it is. `pods` counts the
    kinds of made-up pods; counts in the causes are of these.
    """

    result: Literal["equivalent", "different", "undecided"]
    reason: str = ""
    pods: int = 0
    assumptions: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()


class Matrix(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who reaches whom: `before[i][j]` is about flows from `names[i]` to `names[j]`.

    "a" all flows, "s" some (some pods, ports or protocols), "-" none, " " there are no flows that policies see.
    The last two names are the nodes and the outside of the cluster.
    """

    by: Literal["namespace", "workload"]
    names: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


class Verification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Two policy states compared over the whole flow space of a cluster.

    "undecided": no difference was found, but not everything could be read or is modelled (`left_out`). `proof` says
    what an "equivalent" holds for: any pods (witness), the pods of this snapshot, or nothing was proved. `classes`,
    `ends` and `packets` are the pieces that the space was cut into. `newly_denied_pairs` and `newly_allowed_pairs`
    count pairs of pods with such a flow, each pair once. `inputs` is a digest of everything that was read.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Verification"] = "Verification"
    tool_version: str
    before: str
    after: str
    result: Literal["equivalent", "different", "undecided"]
    proof: Literal["none", "witness", "snapshot"] = "none"
    complete: bool
    classes: int
    ends: int
    packets: int
    causes: tuple[Cause, ...] = ()
    newly_denied_pairs: int = 0
    newly_allowed_pairs: int = 0
    left_out: tuple[str, ...] = ()
    redacted: bool = False
    witness: WitnessProof | None = None
    matrix: Matrix | None = None
    inputs: str = ""


class AskedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that selects a side of a flow, and why none of its rules decided.

    `ignored`: it has no part in this truth, since the engine does not take it or nothing was written for it.
    """

    object: str
    outcome: str
    at: str | None = None
    ignored: bool = False


class ExplainedSide(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one truth says of one side of a flow, and why.

    `stage` is where that was decided, such as "tier default". `reason` is one sentence; `policies` are those that
    select this end in this direction, where none of their rules decided.
    """

    word: Literal["allow", "deny", "unenforced", "unknown"]
    reason: str
    decided_by: DecidedBy
    stage: str = ""
    passed: tuple[str, ...] = ()
    policies: tuple[AskedPolicy, ...] = ()


class ExplainedTruth(msgspec.Struct, frozen=True, kw_only=True):
    """One truth on one flow. `reading` says whose meaning was given to which objects."""

    truth: Literal["intent", "enforced", "future"]
    reading: str
    verdict: Literal["allow", "deny", "unknown"]
    egress: ExplainedSide
    ingress: ExplainedSide


class NodeStep(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a node's packet filter that holds for a flow, or the policy at a chain's end, with its file and line.

    `unsure`: nothing tells about these of its conditions, so that the rule may also not hold.
    """

    table: str
    chain: str
    action: str
    at: str
    backend: Literal["nft", "legacy"] | None = None
    comment: str = ""
    unsure: tuple[str, ...] = ()


class ExplainedNode(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules of one node do with a flow's first packet, by the node's dump.

    `part`: the node of the flow's source, of its destination, or of both. `steps` lead to the rule that decides; where
    the verdict is unknown they are one of the ways that the packet may take, and `doubts` say why.
    """

    node: str
    part: Literal["source", "destination", "both"]
    way: str
    verdict: Literal["allow", "deny", "unknown"]
    steps: tuple[NodeStep, ...] = ()
    doubts: tuple[str, ...] = ()


class ExplainedFlow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One flow on all truths.

    `because` says in sentences what differs between the truths, `findings` what the translation said about the
    policies that make the difference ("ID: detail"). `same` are the other flows of the question that the same rules
    decide in the same way. `nodes` are the nodes at its ends that there are dumps of.
    """

    flow: FlowExample
    change: Literal["none", "newly_denied", "newly_allowed", "unknown"]
    headline: str
    truths: tuple[ExplainedTruth, ...]
    because: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    nodes: tuple[ExplainedNode, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `migrate explain` prints.

    `complete` is False when something that may decide could not be read or is not modelled; `doubts` say what.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Explanation"] = "Explanation"
    tool_version: str
    source: str
    destination: str
    port: str
    complete: bool
    flows: tuple[ExplainedFlow, ...]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class JudgedFinding(Finding, frozen=True, kw_only=True, omit_defaults=False):
    """A finding with how much it stands in the way."""

    severity: Severity


class Lint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `migrate lint` prints. `objects` counts those that were checked; `snapshot` says whether one was given."""

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["Lint"] = "Lint"
    tool_version: str
    target: str
    objects: int
    snapshot: bool = False
    complete: bool = True
    findings: tuple[JudgedFinding, ...] = ()
