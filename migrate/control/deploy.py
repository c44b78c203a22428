"""Putting agents into a cluster: what would come of it, then all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from migrate.collect.cluster_nodes import nodes_of
from migrate.control.agent_pods import pod_of
from migrate.control.manifests import (
    DAEMON_SET_KIND,
    NAMESPACE_KIND,
    AgentWishes,
    Manifest,
    agent_pod,
    manifests,
)
from migrate.control.needed_rights import missing_rights, needed_rights
from migrate.control.objects import ALL_KINDS, Found, ObjectConnection, Right
from migrate.control.quotas import too_small
from migrate.control.refusals import ASK, refused
from migrate.control.removal import Removal, remove
from migrate.control.watched_nodes import NodePlan, plan_nodes
from migrate.errors import ClusterError
from migrate.scan.connection import ConnectionOptions, RequestError, connect_as
from migrate.scan.live import DEFAULT_PATIENCE
from migrate.scan.reader import Patience, Reader

_ROLL_BACK_SECONDS = 60.0
_TRIES = 4
_AGAIN_SECONDS = 1.0


class DeployError(ClusterError):
    """Agents were not deployed; the message says what of them is left."""


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """What deploying will do. Nothing has been made yet.

    `impossible` says why it cannot be, a sentence for each reason; `doubts` what may go wrong. `running` is a run whose
    agents are there already, `remains` what earlier runs left, which goes first; `namespace_stays`: it is not ours.
    """

    connection: ObjectConnection
    wishes: AgentWishes
    objects: tuple[Manifest, ...]
    nodes: NodePlan
    missing: tuple[Right, ...]
    running: str
    remains: tuple[Found, ...]
    namespace_stays: bool
    impossible: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def run(self) -> str:
        """The run's id."""
        return self.wishes.settings.run

    @property
    def namespace(self) -> str:
        """Where the agents will be."""
        return self.wishes.settings.namespace


def prepare(options: ConnectionOptions, wishes: AgentWishes, patience: Patience = DEFAULT_PATIENCE) -> DeployPlan:
    """Look at the cluster, and ask what it would take. Makes nothing.

    Raises InputError where the settings are too large, ClusterError where the cluster cannot be asked.
    """
    objects = manifests(wishes)
    connection = connect_as(ObjectConnection, options)
    return _Preparing(connection, wishes, objects, Reader(connection, patience)).plan()


@dataclass
class _Preparing:
    connection: ObjectConnection
    wishes: AgentWishes
    objects: tuple[Manifest, ...]
    reader: Reader

    def plan(self) -> DeployPlan:
        namespace = self.wishes.settings.namespace
        nodes = self._nodes()
        there, stays, unknown = self._found()
        needed = needed_rights(namespace, makes_namespace=not stays, makes_priority=self.wishes.priority is not None)
        missing = missing_rights(self.connection, needed)
        taken = [found for found in there if found.kind is not NAMESPACE_KIND]
        running = next((found.run for found in taken if found.run and found.kind is DAEMON_SET_KIND), "")
        alive = self._alive({found.run for found in there if found.run} - {running})
        impossible = [*self._lacking(missing, stays), *unknown, *_taken(taken, running), *alive]
        doubts: list[str] = []
        if not impossible:
            impossible += self._refusals(stays, taken)
            doubts += self._too_small(nodes)
        if not nodes.watched and not missing:
            impossible.append("no node would be watched: none is a Linux machine that is ready and not left out")
        return DeployPlan(
            connection=self.connection,
            wishes=self.wishes,
            objects=tuple(one for one in self.objects if not (stays and one.kind is NAMESPACE_KIND)),
            nodes=nodes,
            missing=missing,
            running=running,
            remains=tuple(found for found in taken if found.run and not running),
            namespace_stays=stays,
            impossible=tuple(impossible),
            doubts=tuple(doubts),
        )

    def _nodes(self) -> NodePlan:
        """No nodes where this user may not list them, which is said with the other rights."""
        try:
            return plan_nodes(nodes_of(self.reader, ()), self.wishes.node_selector)
        except RequestError as error:
            if error.status != 403:
                raise
            return NodePlan((), ())

    def _found(self) -> tuple[list[Found], bool, list[str]]:
        """What has a name of the run's, whether the namespace is there, and what else could not be looked at.

        What this user may not look at is said with the other rights; such a namespace is taken to be there.
        """
        found: list[Found] = []
        unknown: list[str] = []
        is_hidden = False
        for kind in ALL_KINDS:
            try:
                one = self.connection.find(kind, self.wishes.settings.namespace)
            except RequestError as error:
                is_hidden = is_hidden or (error.status == 403 and kind is NAMESPACE_KIND)
                if error.status != 403:
                    unknown.append(f"whether there is a {kind.kind} of that name is not known: {error}")
                continue
            if one is not None:
                found.append(one)
        return found, is_hidden or any(one.kind is NAMESPACE_KIND for one in found), unknown

    def _alive(self, runs: set[str]) -> Iterator[str]:
        """Runs that have agents, maybe in other namespaces: what they have in the whole cluster is theirs."""
        for run in sorted(runs):
            try:
                pod = pod_of(self.reader, run)
            except RequestError as error:
                if error.status != 403:  # said with the other rights
                    yield f"whether run {run} has agents is not known: {error}"
                continue
            if pod is not None:
                yield (
                    f"run {run} has agents in namespace {pod.namespace} (pod {pod.name}), and there is one run at a "
                    f"time; end it with migrate audit stop --namespace {pod.namespace}"
                )

    def _lacking(self, missing: tuple[Right, ...], stays: bool) -> Iterator[str]:
        if missing:
            yield f"you may not {', '.join(map(str, missing))}; {ASK}"
        if not stays and any(right.resource == "namespaces" for right in missing):
            name = self.wishes.settings.namespace
            yield f"there is no namespace {name}; kubectl apply -f docs/rbac-audit.yaml makes one"

    def _refusals(self, stays: bool, taken: list[Found]) -> Iterator[str]:
        """What the cluster says to each object, and to a pod of the agents. Nothing is stored."""
        names = {found.kind for found in taken}
        for one in self.objects:
            is_asked = one.kind is not NAMESPACE_KIND if stays else not one.kind.namespaced
            # The roles of bindings have to be there; who may make a role may bind it.
            if is_asked and one.kind not in names and not one.kind.kind.endswith("Binding"):
                yield from self._refusal(one.kind.collection(one.namespace), one.body, str(one))
        if stays:
            pod = agent_pod(self.objects[-1])
            yield from self._refusal(f"/api/v1/namespaces/{self.wishes.settings.namespace}/pods", pod, "its pods")

    def _refusal(self, path: str, body: bytes, what: str) -> Iterator[str]:
        try:
            self.connection.dry_run(path, body)
        except RequestError as error:
            if what == "its pods" and "not found" in error.reason and "service account" in error.reason:
                return  # the account comes before the pods
            yield refused(error, what, self.wishes.settings.namespace)

    def _too_small(self, nodes: NodePlan) -> tuple[str, ...]:
        try:
            return too_small(self.connection, self.wishes, nodes.agents)
        except RequestError as error:
            return (f"whether the quotas of the namespace have room is not known: {error}",)


def _taken(found: Iterable[Found], running: str) -> Iterator[str]:
    if running:
        yield f"run {running} is there already; migrate audit attach follows it, migrate audit stop ends it"
    for one in found:
        if not one.run:
            yield f"there is a {one} already that is not of any run; it is not touched: delete it, or rename it"


def deploy(plan: DeployPlan, progress: Callable[[str], None] = lambda what: None) -> None:
    """Make all objects; when one cannot be made, or it is interrupted, take back those that were made.

    Raises DeployError.
    """
    if plan.impossible:
        raise DeployError("; ".join(plan.impossible))
    _clear(plan)
    try:
        for one in plan.objects:
            progress(str(one))
            _create(plan, one)
    except RequestError as error:
        why = refused(error, f"{one}", plan.namespace)
        raise DeployError(f"{why}. {_taken_back(plan)}") from error
    except BaseException:
        _taken_back(plan)
        raise


def _clear(plan: DeployPlan) -> None:
    """Take away what earlier runs left. Raises DeployError."""
    for run in sorted({found.run for found in plan.remains}):
        removal = remove(plan.connection, plan.namespace, run, _ROLL_BACK_SECONDS)
        if removal.left:
            left = "; ".join(map(str, removal.left))
            raise DeployError(f"run {run} left objects that cannot be deleted, and nothing was made: {left}")


def _create(plan: DeployPlan, one: Manifest) -> None:
    """Raises RequestError. An answer that was lost may have been a yes: then the object is there, with our label."""
    for attempt in range(1, _TRIES + 1):
        try:
            return plan.connection.create(one.kind.collection(one.namespace), one.body)
        except RequestError as error:
            if error.status == 409 and attempt > 1 and _is_ours(plan, one):
                return None
            if not error.temporary or attempt == _TRIES:
                raise
            time.sleep(error.retry_after or _AGAIN_SECONDS)
    return None


def _is_ours(plan: DeployPlan, one: Manifest) -> bool:
    found = plan.connection.find(one.kind, plan.namespace)
    return found is not None and found.run == plan.run


def _taken_back(plan: DeployPlan) -> str:
    removal = remove(plan.connection, plan.namespace, plan.run, _ROLL_BACK_SECONDS)
    return left_text(removal, "What was made before is gone again")


def left_text(removal: Removal, gone: str) -> str:
    """What is left of a run as a sentence, or else `gone`."""
    if not removal.left:
        return gone
    return f"This is left of it, delete it by hand: {'; '.join(map(str, removal.left))}"
