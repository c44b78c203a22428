"""`migrate audit verify-cutover`: what Cilium does now, compared with what the policies and the audit said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from migrate.audit.fresh import files_digest
from migrate.audit.judge import Judge
from migrate.audit.made import audit_of
from migrate.audit.reading import open_recording
from migrate.audit.replay import Line, Replay
from migrate.audit.results import grouped
from migrate.audited import Place, Policies, Scene, check_cluster, read_policies, read_scene
from migrate.cutover.agents import AgentState, read_states
from migrate.cutover.asking import Told, Wanted, agent_pods, ask_all
from migrate.cutover.compare import Compared, Comparer
from migrate.cutover.enforced import Enforcement, differing, not_imported
from migrate.cutover.groups import moment
from migrate.cutover.made import Evidence, made_check
from migrate.cutover.meaning import Meaning
from migrate.cutover.observed import Watched
from migrate.cutover.probe import compared_lines
from migrate.cutover.said import Said, groups_of, said_by
from migrate.cutover.suggested import suggestions_for
from migrate.errors import InputError
from migrate.evidence import cilium_monitor, hubble
from migrate.evidence.formats import format_of
from migrate.evidence.seen import SeenFlow, Unread
from migrate.evidence.source_file import SourceFile, split_lines
from migrate.files import write_atomic
from migrate.model.cluster import Pod
from migrate.model.cutover_documents import CutoverCheck, CutoverNode, CutoverSource, EndpointCheck
from migrate.model.finding import Finding
from migrate.model.plan_documents import Plan
from migrate.model.refs import ObjectRef
from migrate.readiness.documents import CUTOVER, PLAN, read_audit, read_optional
from migrate.scan import snapshot
from migrate.scan.collector import collector_off
from migrate.scan.connection import ConnectionOptions
from migrate.scan.taking import ScanInputs, take_snapshot

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class CutoverRequest:
    """What to compare. `flows` are files of Hubble or `cilium-dbg monitor`, `recordings` our own, made afterwards.

    `states` is a folder with what agents said, `after` a snapshot of now; `cluster` is asked for all of these.
    """

    place: Place
    flows: tuple[Path, ...] = ()
    recordings: tuple[Path, ...] = ()
    states: Path | None = None
    after: Path | None = None
    cluster: ConnectionOptions | None = None
    wanted: Wanted = Wanted()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare with."""
        return not (self.flows or self.recordings or self.states or self.after or self.cluster)


@dataclass(slots=True)
class _Gathered:
    """All that was read of how things are now."""

    watched: Watched = field(default_factory=Watched)
    states: list[AgentState] = field(default_factory=list)
    later: Scene | None = None
    incomplete: list[str] = field(default_factory=list)


def run_check(request: CutoverRequest, now: datetime, progress: Progress) -> CutoverCheck:
    """The comparison. Raises InputError where something cannot be used, ClusterError where nobody answers."""
    if request.is_empty:
        raise InputError("nothing to compare with: give --flows, --recording, --agents, --after or --context")
    scene = read_scene(request.place)
    policies = read_policies(request.place, scene)
    said = _said(request.place, scene, policies)
    gathered = _gather(request, now, progress)
    with collector_off():
        return _Check(request, scene, policies, said, gathered).made(now)


def write_check(place: Place, check: CutoverCheck) -> Path | None:
    """Leave the result in the working folder, for the report; None where other policies than the folder's judged."""
    if place.document is None:
        return None
    path = place.folder / CUTOVER
    write_atomic(path, msgspec.json.format(msgspec.json.encode(check), indent=2) + b"\n")
    return path


def _said(place: Place, scene: Scene, policies: Policies) -> Said:
    """By the recording of before, judged again by these policies; else by what was written down of it."""
    if place.audit_db.is_file():
        with open_recording(place.audit_db) as reading, collector_off():
            check_cluster(reading, scene)
            lines = Replay(reading, policies.revision, scene.judging).run()
            return said_by(grouped(line for line in lines if not line.kind), whole=True)
    audit = read_audit(place.folder)
    if audit is None:
        return Said()
    is_other = audit.judged_from is None or audit.judged_from.policies != policies.digest
    return said_by(groups_of(audit), whole=False, other_policies=is_other)


def _gather(request: CutoverRequest, now: datetime, progress: Progress) -> _Gathered:
    gathered = _Gathered()
    for path in request.flows:
        _read_file(gathered, path)
    if request.states is not None:
        gathered.states += read_states(request.states)
    if request.after is not None:
        taken = snapshot.read(request.after)
        gathered.later = Scene(request.after, taken.header, list(taken.objects))
    if request.cluster is not None:
        _ask(request, request.cluster, gathered, now, progress)
    return gathered


def _ask(
    request: CutoverRequest, options: ConnectionOptions, gathered: _Gathered, now: datetime, progress: Progress
) -> None:
    """The cluster as it is, and its agents."""
    from migrate.control.exec import ExecConnection
    from migrate.scan.connection import connect_as

    if gathered.later is None:
        taken_at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        taken = take_snapshot(ScanInputs(connection=options), None, taken_at, progress)
        gathered.later = Scene(Path("the cluster"), taken.header, list(taken.objects))
    cluster = connect_as(ExecConnection, options)
    pods = agent_pods(cluster, request.wanted.namespace)
    for told in ask_all(cluster, pods, request.wanted, progress):
        gathered.states.append(told.state)
        gathered.watched.take(told.state.node, _told(told))


def _told(told: Told) -> Iterator[SeenFlow | Unread]:
    """Flows of one agent; lines of the monitor have no node of their own."""
    read = hubble.read if told.kind == "hubble" else cilium_monitor.read
    for one in read(split_lines(told.chunks), told.state.node):
        yield one._replace(node=told.state.node) if isinstance(one, SeenFlow) and not one.node else one


def _read_file(gathered: _Gathered, path: Path) -> None:
    """A file of flows of Cilium; one with nothing in it tells nothing. Raises InputError for any other."""
    source = SourceFile(path)
    if not path.stat().st_size:
        gathered.incomplete.append(f"{path.name}: nothing is in it")
        return
    form = format_of(source.lines(), path)
    if form.name not in (hubble.ORIGIN, cilium_monitor.ORIGIN):
        raise InputError(f"{path}: {form.what}; what Cilium did is in flows of Hubble and lines of cilium monitor")
    read = hubble.read if form.name == hubble.ORIGIN else cilium_monitor.read
    gathered.watched.take(path.name, read(source.lines(), path.name))
    if source.broken:
        gathered.incomplete.append(f"{path.name}: {source.broken}")


class _Check:
    """One comparison."""

    def __init__(
        self, request: CutoverRequest, scene: Scene, policies: Policies, said: Said, gathered: _Gathered
    ) -> None:
        self._request, self._scene, self._policies = request, scene, policies
        self._said, self._gathered = said, gathered
        observations = gathered.watched.observations.values()
        self._meaning = Meaning(scene.judging, observations, _pods_of(gathered.later))
        self._judge = Judge(policies.revision, self._meaning.world.cluster)
        comparer = Comparer(self._judge, self._meaning, said)
        self._compared = [comparer.compare(seen) for seen in observations]
        self._sources: list[CutoverSource] = []
        self._probed: dict[str, int] = {}
        self._incomplete = [*gathered.incomplete, *(f"not read: {text}" for text in policies.unread)]

    def made(self, now: datetime) -> CutoverCheck:
        """The document."""
        watched = self._gathered.watched
        for path in self._request.recordings:
            self._compared += self._recorded(path)
        findings, endpoints = self._states()
        suggested = suggestions_for(
            self._compared, self._meaning.world.cluster, self._policies.profile, self._names_taken()
        )
        place = self._request.place
        return made_check(
            Evidence(
                policies=self._policies.revision.name,
                made=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                digests=(self._policies.digest, files_digest(self._scene.path.parent, [self._scene.path])),
                span=_span(watched, self._compared),
                sources=(*watched.sources(moment), *self._sources),
                nodes=tuple(self._nodes()),
                compared=self._compared,
                said=self._said,
                replies=watched.replies,
                trace=watched.trace,
                endpoints=endpoints,
                findings=findings,
                problems=watched.problems,
                incomplete=self._incomplete,
                assumptions=tuple(f"{pod}: {text}" for pod, text in sorted(self._meaning.world.assumptions.items())),
                left_out=self._judge.doubts(),
                suggested=suggested,
                way_back=way_back(read_optional(place.folder / PLAN, Plan)),
            )
        )

    def _recorded(self, path: Path) -> list[Compared]:
        """What our own probe saw."""
        with open_recording(path) as reading:
            check_cluster(reading, self._scene)
            replay = Replay(reading, self._policies.revision, self._scene.judging)
            lines: Sequence[Line] = replay.run()
            node = reading.node or path.name
            told = audit_of(replay).incomplete
            self._incomplete += [f"{node}: {text}" for text in told if not text.startswith("not modelled")]
            events = sum(line.events for line in lines)
            self._probed[node] = self._probed.get(node, 0) + events
            interval = reading.interval() or (0, 0)
            self._sources.append(
                CutoverSource(
                    name=path.name, kind="probe", flows=events, since=moment(interval[0]), until=moment(interval[1])
                )
            )
            return list(compared_lines(lines, self._said, path.name))

    def _states(self) -> tuple[list[Finding], EndpointCheck | None]:
        """What agents and the API server say of policies and endpoints."""
        states, expected = self._gathered.states, self._policies.objects
        enforcement = Enforcement(self._judge, self._meaning.world, self._policies.profile.policy_map_entries)
        for state in states:
            enforcement.check(state)
        findings = [*enforcement.findings, *not_imported(states, expected)]
        if self._gathered.later is not None:
            findings += differing(expected, self._gathered.later.objects)
        unknown = sorted(enforcement.unknown)
        if unknown:
            self._incomplete.append(f"{len(unknown)} endpoints are of pods that nothing tells of, such as {unknown[0]}")
        told = [state for state in states if state.endpoints is not None]
        return findings, enforcement.endpoints if told else None

    def _nodes(self) -> Iterator[CutoverNode]:
        """Nodes with pods that policies can select, and all others that anything was seen of."""
        flows = dict(self._probed)
        for name, times in self._gathered.watched.nodes.items():
            name = name.rpartition("/")[2]
            flows[name] = flows.get(name, 0) + times
        states = {state.node: state for state in self._gathered.states}
        own = {pod.node for pod in self._scene.cluster.pods if pod.node and not pod.host_network}
        linux = {node.name for node in self._scene.cluster.nodes if node.operating_system == "linux"}
        for name in sorted((own & linux) | flows.keys() | states.keys()):
            state = states.get(name)
            yield CutoverNode(
                name=name,
                flows=flows.get(name, 0),
                endpoints=None if state is None or state.endpoints is None else len(state.endpoints),
                failure=_failure(state, asked=bool(states)),
            )

    def _names_taken(self) -> list[ObjectRef]:
        return [raw.ref for raw in (*self._scene.objects, *self._policies.objects)]


def _failure(state: AgentState | None, *, asked: bool) -> str:
    if state is None:
        return "its agent was not asked" if asked else ""
    return "; ".join(state.failures)


def _pods_of(later: Scene | None) -> tuple[Pod, ...]:
    return () if later is None else later.cluster.pods


def _span(watched: Watched, compared: Iterable[Compared]) -> tuple[int, int]:
    """First and last time of anything that was seen."""
    times = [(one.seen.first, one.seen.last) for one in compared if one.seen.first]
    times += [(watched.first, watched.last)] if watched.first else []
    return min((first for first, _ in times), default=0), max((last for _, last in times), default=0)


def way_back(plan: Plan | None) -> str:
    """The last step of the runbook from which there is a way back, in words; empty without a runbook."""
    if plan is None:
        return ""
    gone = next((number for number, step in enumerate(plan.steps) if step.no_return), len(plan.steps))
    possible = [step for step in plan.steps if step.rollback.possible and step.rollback.commands]
    if not possible:
        return "the runbook has no way back: mend it forward"
    step = possible[-1]
    after = " (a step without return comes before it)" if plan.steps.index(step) > gone else ""
    return f"step {step.id} of runbook.md, {step.title}: {step.rollback.how}{after}"
