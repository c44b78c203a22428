"""The three truths of one snapshot, for questions about single flows: intent, enforced, future."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

import migrate
from migrate.compared import (
    counts,
    engine_today,
    intent_engine,
    stale,
    unread_kinds,
    unreadable,
)
from migrate.futures import engine_over, future_objects
from migrate.model.cluster import Cluster, Pod
from migrate.model.documents import Explanation, Result, SimulatedFlow, Simulation, Translation, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Subject
from migrate.model.selectors import matches
from migrate.nodes.dump import read_dump
from migrate.nodes.netfilter.node_rules import NodeRules, OpenDump
from migrate.nodes.working import find_dumps, kept_dumps
from migrate.scan import snapshot
from migrate.scan.collector import collector_off
from migrate.scan.files import read_files
from migrate.scan.inventory import engines
from migrate.scan.snapshot import Snapshot
from migrate.sources.calico import GROUPS as CALICO_GROUPS
from migrate.sources.cases import Case
from migrate.sources.cilium_engine import CiliumEngine
from migrate.sources.cluster import read_cluster
from migrate.sources.endpoints import finished_pods, read_backends
from migrate.sources.npm_engine import NpmLinuxEngine
from migrate.translate import output
from migrate.translate.documents import TRANSLATION, read_translation
from migrate.translate.engine import translate
from migrate.translate.kinds import is_policy
from migrate.translate.profiles import Profile, load_profile, profile_for
from migrate.verify.engines import Built
from migrate.verify.explain import Truth
from migrate.verify.explain_flows import explain_flows
from migrate.verify.explain_nodes import with_nodes
from migrate.verify.question_ends import Scene
from migrate.verify.question_flows import Question, ask
from migrate.verify.simulation import simulate_case
from migrate.verify.ways import ways_of

ENGINE_TITLES = {
    "kubernetes": "Kubernetes",
    "npm": "Azure NPM",
    "npm-windows": "Azure NPM on Windows",
    "calico": "Calico",
    "cilium": "Cilium",
    "none": "the cluster, without a policy engine,",
}
MOST_TRANSLATED_NOW = 200
"""So many policies are translated in a moment for one answer; of more the future is not known before a translation."""

_KUBERNETES_GROUP = "networking.k8s.io"
_OF_A_NAMESPACE = ("NetworkPolicy", "CiliumNetworkPolicy")
_ADDRESSES = (b"cidr", b"ipblock", b"fqdn", b"services", b"domain")
"""What stands, in small letters, in every rule that names addresses or what stands for some."""


@dataclass(frozen=True, slots=True)
class FlowRequest:
    """A question about flows of a snapshot, as it was typed; `policies` are asked in place of the snapshot's."""

    source: str
    destination: str
    port: str
    snapshot: Path
    policies: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A question with where the future stands. Engine and target are None for what the documents say.

    `node_dumps` are folders of nodes' dumps that are asked before those of the working folder.
    """

    question: FlowRequest
    folder: Path
    before_engine: str | None = None
    target: str | None = None
    node_dumps: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A snapshot read, and the question looked up in it. `running` are the engines that act today, as far as known."""

    taken: Snapshot
    objects: Sequence[RawObject]
    cluster: Cluster
    policies: Sequence[RawObject]
    question: Question
    running: tuple[str, ...]

    @property
    def pods(self) -> tuple[Pod, ...]:
        """The pods at either end."""
        ends = (end for flow in self.question.flows for end in (flow.source, flow.destination))
        return tuple({str(end.pod): end.pod for end in ends if end.pod is not None}.values())

    @property
    def leftovers(self) -> Sequence[RawObject]:
        """Calico's objects in a cluster that something else polices: nobody reads them."""
        if intent_engine(self.policies, self.running) == "calico":
            return ()
        return [raw for raw in self.policies if raw.ref.group in CALICO_GROUPS and is_policy(raw.ref)]

    def concerned(self, policies: Sequence[RawObject]) -> Sequence[RawObject]:
        """Those without which the engines of Kubernetes and Cilium would say the same of these ends.

        A policy of another namespace selects neither end; Cilium only tells addresses apart that any policy names.
        """
        namespaces = {pod.namespace for pod in self.pods}
        return [
            raw
            for raw in policies
            if raw.ref.namespace is None
            or raw.ref.namespace in namespaces
            or raw.ref.kind not in _OF_A_NAMESPACE
            or _names_addresses(raw)
        ]


@dataclass(frozen=True, slots=True)
class _Future:
    """Where the future comes from; `notes` and `doubts` are about the translation as a whole.

    `unknown` says why there is none.
    """

    document: Translation
    objects: Sequence[RawObject]
    profile: Profile
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    unknown: str = ""


def explanation(request: ExplainRequest) -> Explanation:
    """The answer on all truths. Raises InputError for what cannot be read or is not there."""
    with collector_off():
        asked = _ask(request.question, request.before_engine or "none")
        name = request.before_engine or engine_today(asked.taken.header)
        left = _leftovers(asked)
        intent = _intent(asked, left)
        future = _future(request, asked, intent.built)
        texts = {**_subjects(intent.built), **left}
        truths = (intent, _enforced(name, asked, intent, texts), _cilium(future, asked, texts))
        doubts = (*unread_kinds(asked.taken.header), *future.doubts)
        question = replace(asked.question, notes=(*asked.question.notes, *future.notes))
        complete = asked.taken.header.complete and future.document.complete

        done = explain_flows(question, truths, asked.cluster, _findings(future), doubts=doubts, complete=complete)
        told = with_nodes(done, question.flows, NodeRules(_dumps(request)))
    return _with_note(told) if request.node_dumps and not any(flow.nodes for flow in told.flows) else told


def _with_note(done: Explanation) -> Explanation:
    note = "none of the dumps of --node-dump is of a node of these ends"
    return msgspec.structs.replace(done, notes=(*done.notes, note))


def _dumps(request: ExplainRequest) -> OpenDump:
    """The dumps by their nodes' names; none of them is read yet. Raises InputError where one is damaged."""
    given = find_dumps(request.node_dumps) if request.node_dumps else ()
    folders = {dump.manifest.name: dump.folder for dump in (*kept_dumps(request.folder), *given)}
    return lambda name: read_dump(folders[name]) if name in folders else None


def simulation(request: FlowRequest, engine: str, target: str) -> Simulation:
    """What one engine says of the flows, with all policies of the snapshot. Raises InputError as `explanation` does.

    Where something may decide otherwise (a kind that was not read, another source address), all answers are unknown.
    """
    release = int(load_profile(target).crds.partition(".")[2])
    with collector_off():
        asked = _ask(request, engine)
        policies, unread = _policies_of(request, asked)
        case = Case(str(request.snapshot), asked.cluster, policies, asked.question.flows)
        done = simulate_case(case, engine, release)
    doubts = (*unread, *asked.question.doubts, *unread_kinds(asked.taken.header))
    flows = tuple(_unknown(flow) for flow in done.flows) if doubts else done.flows
    left_out = (*done.left_out, *doubts)
    complete = not left_out and all(flow.verdict != "unknown" for flow in flows)
    return Simulation(
        tool_version=migrate.__version__, engine=engine, complete=complete, flows=flows, left_out=left_out
    )


def _policies_of(request: FlowRequest, asked: _Asked) -> tuple[tuple[RawObject, ...], tuple[str, ...]]:
    """The snapshot's policies, or those of the request's files; and what of the files cannot be read."""
    if not request.policies:
        return tuple(asked.policies), ()
    reading = read_files([str(path) for path in request.policies], None)
    beside = (raw for raw in asked.policies if not is_policy(raw.ref))
    own = (raw for raw in reading.objects if is_policy(raw.ref))
    return (*beside, *own), tuple(unreadable(reading))


def _unknown(flow: SimulatedFlow) -> SimulatedFlow:
    return SimulatedFlow(flow=flow.flow, egress="unknown", ingress="unknown", verdict="unknown")


def _ask(request: FlowRequest, engine: str = "none") -> _Asked:
    taken = snapshot.read(request.snapshot)
    objects = list(taken.objects)
    cluster = read_cluster(objects, complete=taken.header.complete)
    scene = Scene(cluster, read_backends(objects), finished_pods(objects))
    question = ask(request.source, request.destination, request.port, scene)
    running = engines(taken.header.facts) if engine == "none" else (engine,)
    return _Asked(taken, objects, cluster, [raw for raw in objects if counts(raw)], question, running)


def _intent(asked: _Asked, left: Mapping[ObjectRef, Subject]) -> Truth:
    """The objects' own text. Calico's policies are read as Calico's API says, with Kubernetes' in their place there."""
    engine = intent_engine(asked.policies, asked.running)
    kinds = "policies" if engine == "kubernetes" else f"and {ENGINE_TITLES[engine]} policies"
    policies = asked.policies if engine == "calico" else asked.concerned(asked.policies)
    return Truth(
        "intent",
        f"the {ENGINE_TITLES[engine]} API",
        f"the text of Kubernetes {kinds}",
        engine_over(engine, policies, asked.cluster, load_profile("cilium-1.20")),
        {ref: ("left over: Calico does not run here, so nobody enforces it", subject) for ref, subject in left.items()},
        ways=ways_of(engine, {}, policies),
    )


def _leftovers(asked: _Asked) -> dict[ObjectRef, Subject]:
    """What the policies would select that nobody enforces."""
    if not asked.leftovers:
        return {}
    return _subjects(engine_over("calico", asked.leftovers, asked.cluster, load_profile("cilium-1.20")))


def _enforced(name: str, asked: _Asked, intent: Truth, texts: Mapping[ObjectRef, Subject]) -> Truth:
    as_written = name == "calico" == intent_engine(asked.policies, asked.running)
    built = (
        intent.built if as_written else engine_over(name, asked.policies, asked.cluster, load_profile("cilium-1.20"))
    )
    known, refused, who = _subjects(built), _refused(built), ENGINE_TITLES[name]
    ignored = {
        ref: (f"{who} does not take it: {refused[ref]}" if ref in refused else f"{who} does not read it", subject)
        for ref, subject in texts.items()
        if ref not in known
    }
    if name == "none":
        return Truth("enforced", who, "nothing enforces policies", built, ways=ways_of("kubernetes", {}, ()))
    reading = f"{who}, as it works today"
    return Truth("enforced", who, reading, built, ignored, ways=ways_of(name, {}, asked.policies))


def _cilium(future: _Future, asked: _Asked, texts: Mapping[ObjectRef, Subject]) -> Truth:
    profile = future.profile
    built = engine_over("cilium", asked.concerned(future.objects), asked.cluster, profile)
    who = f"Cilium {profile.crds}"
    missing = {
        result.source: (f"not translated{_ids(result.findings)}", texts.get(result.source))
        for result in future.document.results
        if result.result is Result.UNSUPPORTED and result.source in texts
    }
    refused = {ref: (f"{who} does not take it: {reason}", None) for ref, reason in _refused(built).items()}
    return Truth(
        "future",
        who,
        f"{who} ({profile.name}) {'without a' if future.unknown else 'over the'} translation",
        built,
        {**missing, **refused},
        _sources(future.document),
        ways_of("cilium", {}, future.objects),
        future.unknown,
    )


def _future(request: ExplainRequest, asked: _Asked, intent: Built) -> _Future:
    """The translation in the working folder, or one made now where there is none."""
    path = request.folder / TRANSLATION
    if not path.exists():
        return _untranslated(request, asked, intent)
    document = read_translation(path)
    profile = load_profile(request.target or document.target)
    objects = future_objects(request.folder, document, asked.policies)
    notes: tuple[str, ...] = ()
    if profile.name != document.target:
        notes = (f"the translation was made for {document.target} and is judged as {profile.name} would take it",)
    return _Future(document, objects, profile, notes, tuple(stale(request.folder, document, asked.policies)))


def _untranslated(request: ExplainRequest, asked: _Asked, intent: Built) -> _Future:
    """A translation of what the answer rests on; none where that is too much for one answer."""
    facts = asked.taken.header.facts
    name, reason = (request.target, "as asked") if request.target else profile_for(facts)
    profile, path = load_profile(name), request.folder / TRANSLATION
    unneeded = _unneeded(asked, intent)
    if sum(is_policy(raw.ref) for raw in asked.policies) - len(unneeded) > MOST_TRANSLATED_NOW:
        nothing = Translation(tool_version=migrate.__version__, target=name, networkpolicy="rewrite", complete=False)
        return _Future(nothing, (), profile, unknown=f"not known: {path} is not there; run migrate translate first")
    outcome = translate(
        [raw for raw in asked.objects if raw.ref not in unneeded],
        profile=profile,
        engines=engines(facts),
        networkpolicy="rewrite",
        complete=asked.taken.header.complete and asked.taken.header.namespaces is None,
    )
    with TemporaryDirectory(prefix="cilium-migrate-") as folder:
        output.write_translation(Path(folder), outcome)
        objects = [_within(raw, folder) for raw in future_objects(Path(folder), outcome.translation, asked.policies)]
    note = (
        f"not translated yet ({path} is not there): the future is what migrate translate would write for "
        f"{profile.name} ({reason})"
    )
    return _Future(outcome.translation, objects, profile, (note,))


def _unneeded(asked: _Asked, intent: Built) -> frozenset[ObjectRef]:
    """NetworkPolicies whose translation has no part in the answer: each is translated alone, and these select no end.

    None where an order of policies is worked into them, or where Cilium's own objects stand beside them.
    """
    running = engines(asked.taken.header.facts)
    idle = CALICO_GROUPS if running and "calico" not in running else ()
    policies = [raw.ref for raw in asked.policies if is_policy(raw.ref) and raw.ref.group not in idle]
    if any(ref.group != _KUBERNETES_GROUP for ref in policies):
        return frozenset()
    needed = {ref for ref, found in _subjects(intent).items() if any(matches(found.selector, p) for p in asked.pods)}
    return frozenset(policies) - needed - {place.ref for place in intent.engine.unknown}


def _names_addresses(raw: RawObject) -> bool:
    text = msgspec.json.encode(raw.data).lower()
    return any(word in text for word in _ADDRESSES)


def _within(raw: RawObject, folder: str) -> RawObject:
    """An object of a folder that will be gone, with its place in that folder."""
    source = raw.source or ""
    return replace(raw, source=str(Path(source).relative_to(folder))) if source.startswith(folder) else raw


def _sources(document: Translation) -> dict[str, str]:
    """For each object of a translation the policy that it was written for."""
    return {str(ref): str(result.source) for result in document.results for ref in _written(result)}


def _written(result: TranslationResult) -> list[ObjectRef]:
    return [ObjectRef(o.api_version, o.kind, o.namespace, o.name) for o in result.objects]


def _findings(future: _Future) -> dict[str, list[str]]:
    """What the translation said of each policy that changes something, by the policy and by what was written for it."""
    found: dict[str, list[str]] = {}
    for result in future.document.results:
        texts = [f"{f.id}: {f.detail}" for f in result.findings if {f.effect, f.effect_on_intent} != {Effect.NONE}]
        for ref in (result.source, *_written(result)):
            found.setdefault(str(ref), []).extend(texts)
    return found


def _subjects(built: Built) -> dict[ObjectRef, Subject]:
    """What each policy of an engine selects."""
    return {subject.provenance.ref: subject for subject in built.engine.subjects if subject.provenance is not None}


def _refused(built: Built) -> Mapping[ObjectRef, str]:
    return built.engine.refused if isinstance(built.engine, NpmLinuxEngine | CiliumEngine) else {}


def _ids(findings: Sequence[Finding]) -> str:
    """The findings that say why, for `migrate explain-rule`."""
    ids = sorted({finding.id for finding in findings if finding.effect_on_intent is not Effect.NONE})
    return f" ({', '.join(ids)})" if ids else ""
