"""Pods of agents as the API server tells of them, and why one does not run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

import msgspec

from migrate.model.agent_documents import CONTAINER, DAEMON_SET, RUN_LABEL
from migrate.model.words import one_line
from migrate.scan.reader import Reader

_PAGE = 500
_OUT_OF_MEMORY = "OOMKilled"


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _Requirement(msgspec.Struct, frozen=True):
    key: str = ""
    values: tuple[str, ...] | None = None


class _Term(msgspec.Struct, frozen=True, rename="camel"):
    match_fields: tuple[_Requirement, ...] | None = None


class _Terms(msgspec.Struct, frozen=True, rename="camel"):
    node_selector_terms: tuple[_Term, ...] | None = None


class _NodeAffinity(msgspec.Struct, frozen=True):
    required: _Terms | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class _Affinity(msgspec.Struct, frozen=True, rename="camel"):
    node_affinity: _NodeAffinity | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    affinity: _Affinity | None = None


class _Ended(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""
    exit_code: int = 0


class _State(msgspec.Struct, frozen=True):
    waiting: _Ended | None = None
    running: dict[str, object] | None = None
    terminated: _Ended | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: _State = _State()
    last_state: _State = _State()


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[_Condition, ...] | None = None
    container_statuses: tuple[_Container, ...] | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _ListMeta(msgspec.Struct, frozen=True):
    token: str = msgspec.field(default="", name="continue")


class _Pods(msgspec.Struct, frozen=True):
    items: tuple[_Pod, ...] = ()
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    message: str = ""
    last_timestamp: str | None = None
    event_time: str | None = None


class _Events(msgspec.Struct, frozen=True):
    items: tuple[_Event, ...] = ()


class _TemplateSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_selector: dict[str, str] | None = None


class _Template(msgspec.Struct, frozen=True):
    spec: _TemplateSpec = _TemplateSpec()


class _SetSpec(msgspec.Struct, frozen=True):
    template: _Template = _Template()


class _DaemonSet(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _SetSpec = _SetSpec()


@dataclass(frozen=True, slots=True)
class AgentPod:
    """An agent's pod. `trouble` says why it does not run, or why it began anew; `runs`: commands can be run in it.

    `has_run`: this pod or another one of the run on its node may have recorded something.
    """

    name: str
    namespace: str
    uid: str
    run: str
    node: str
    created: str
    phase: str
    runs: bool
    is_ready: bool = False
    restarts: int = 0
    has_run: bool = False
    trouble: str = ""
    is_leaving: bool = False

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{quote(self.name, safe='')}"


@dataclass(frozen=True, slots=True)
class AgentSet:
    """The DaemonSet of the agents. `run` is empty when there is none; `selector` are labels of the nodes it is for.

    `refusal` is why its pods cannot be made, by its newest event of that kind; empty when there is none.
    """

    run: str = ""
    selector: tuple[tuple[str, str], ...] = ()
    refusal: str = ""


def agent_pods(reader: Reader, namespace: str, run: str) -> tuple[AgentPod, ...]:
    """The pods of a run's agents, of each node the one that counts. Raises RequestError."""
    selector = quote(f"{RUN_LABEL}={run}")
    path, found, token = f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}&limit={_PAGE}", [], ""
    while True:
        more = f"&continue={quote(token, safe='')}" if token else ""
        page = reader.fetch(path + more, lambda body: msgspec.json.decode(body, type=_Pods))
        found += [_read(pod) for pod in page.items]
        token = page.metadata.token
        if not token:
            return _one_for_each_node(found)


def pod_of(reader: Reader, run: str) -> AgentPod | None:
    """A pod of a run's agents in whatever namespace, None where there is none. Raises RequestError."""
    path = f"/api/v1/pods?labelSelector={quote(f'{RUN_LABEL}={run}')}&limit=1"
    found = reader.fetch(path, lambda body: msgspec.json.decode(body, type=_Pods)).items
    return _read(found[0]) if found else None


def agent_set(reader: Reader, namespace: str) -> AgentSet:
    """The DaemonSet, without its events. Raises RequestError, also where there is none (404)."""
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{DAEMON_SET}"
    found = reader.fetch(path, lambda body: msgspec.json.decode(body, type=_DaemonSet))
    selector = found.spec.template.spec.node_selector or {}
    return AgentSet((found.metadata.labels or {}).get(RUN_LABEL, ""), tuple(sorted(selector.items())))


def refusal_to_make_pods(reader: Reader, namespace: str) -> str:
    """What the newest event says of pods that the DaemonSet could not make, such as a quota. Raises RequestError."""
    fields = f"involvedObject.kind=DaemonSet,involvedObject.name={DAEMON_SET},reason=FailedCreate"
    path = f"/api/v1/namespaces/{namespace}/events?fieldSelector={quote(fields)}"
    events = reader.fetch(path, lambda body: msgspec.json.decode(body, type=_Events)).items
    newest = max(events, key=lambda event: event.last_timestamp or event.event_time or "", default=None)
    return "" if newest is None else _plain(newest.message)


def _one_for_each_node(pods: list[AgentPod]) -> tuple[AgentPod, ...]:
    """The one that runs, else the newest: a DaemonSet makes a new pod beside one that was evicted or is leaving."""
    best: dict[str, AgentPod] = {}
    for pod in sorted(pods, key=lambda pod: (pod.runs, not pod.is_leaving, pod.created, pod.name)):
        best[pod.node] = pod
    ran = {pod.node for pod in pods if pod.has_run}
    return tuple(replace(best[node], has_run=node in ran) for node in sorted(best) if node)


def _read(pod: _Pod) -> AgentPod:
    statuses = pod.status.container_statuses or ()
    container = next((one for one in statuses if one.name == CONTAINER), _Container())
    return AgentPod(
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        uid=pod.metadata.uid,
        run=(pod.metadata.labels or {}).get(RUN_LABEL, ""),
        node=pod.spec.node_name or _wanted_node(pod.spec),
        created=pod.metadata.creation_timestamp or "",
        phase=pod.status.phase,
        runs=container.state.running is not None and pod.status.phase == "Running",
        is_ready=container.ready,
        restarts=container.restart_count,
        has_run=pod.status.phase not in ("", "Pending") or container.restart_count > 0,
        trouble=_trouble(pod, container),
        is_leaving=pod.metadata.deletion_timestamp is not None,
    )


def _wanted_node(spec: _Spec) -> str:
    """The node that a pod of a DaemonSet is for, before it is there."""
    node = spec.affinity.node_affinity if spec.affinity is not None else None
    for term in (node.required.node_selector_terms if node is not None and node.required is not None else ()) or ():
        for field in term.match_fields or ():
            if field.key == "metadata.name" and field.values:
                return field.values[0]
    return ""


def _trouble(pod: _Pod, container: _Container) -> str:
    """A pod that failed says why (Evicted, NodeShutdown); else its container says why it waits, or how it ended."""
    status, state, before = pod.status, container.state, container.last_state.terminated
    if status.phase in ("Failed", "Succeeded"):
        ended = state.terminated or _Ended()
        return _told(status.reason or ended.reason or f"it is {status.phase}", status.message or ended.message)
    if pod.metadata.deletion_timestamp is not None:
        return "it is being deleted"
    if state.running is not None:
        return f"it began anew after {_how(before)}" if before is not None else ""
    if state.terminated is not None:
        return f"its container ended: {_how(state.terminated)}"
    if state.waiting is not None and state.waiting.reason not in ("", "ContainerCreating", "PodInitializing"):
        last = f" (last time: {_how(before)})" if before is not None else ""
        return _told(state.waiting.reason, state.waiting.message) + last
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return _told(condition.reason or "not scheduled", condition.message)
    return "it has not begun yet"


def _how(ended: _Ended) -> str:
    if ended.reason == _OUT_OF_MEMORY:
        return f"{_OUT_OF_MEMORY}: it needed more memory than its limit"
    return _told(f"{ended.reason or 'Error'}, exit status {ended.exit_code}", ended.message)


def _told(reason: str, message: str) -> str:
    return ": ".join(filter(None, (reason, _plain(message))))


def _plain(text: str) -> str:
    """On one line, and not longer than a line should be: image errors come with whole requests."""
    plain = one_line(" ".join(text.split()))
    return plain if len(plain) <= 300 else f"{plain[:299]}…"
