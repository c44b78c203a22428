"""Asking the agents of Cilium in a live cluster, by running their own programs in their pods."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol
from urllib.parse import quote

import msgspec

from migrate.cutover.agents import COMMANDS, AgentState, Question, agent_state
from migrate.errors import ClusterError, InputError

NAMESPACE = "kube-system"
LABEL = "k8s-app=cilium"
CONTAINER = "cilium-agent"
_SILENCE = 120.0
_AT_ONCE = 8
_ENDED_BY_TIMEOUT = 124
"""The exit status of coreutils' timeout when the time was over."""
_GRACE = 30


class Cluster(Protocol):
    """A connection that reads, and runs commands in containers."""

    def get(self, path: str, accept: str = ...) -> bytes: ...

    def execute(self, pod_path: str, container: str, command: Sequence[str], silence: float) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask, in Cilium's namespace: the last `events` that Hubble keeps, or (seconds) what comes from now on."""

    namespace: str = NAMESPACE
    events: int = 20_000
    seconds: int | None = None
    monitor_seconds: int = 60


@dataclass(frozen=True, slots=True)
class AgentPod:
    """Cilium's agent on a node; `phase` is its pod's."""

    node: str
    namespace: str
    name: str
    phase: str

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(self.name)}"


class _Meta(msgspec.Struct):
    name: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Status(msgspec.Struct):
    phase: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Pods(msgspec.Struct):
    items: list[_Pod] = msgspec.field(default_factory=list)


def agent_pods(cluster: Cluster, namespace: str = NAMESPACE) -> tuple[AgentPod, ...]:
    """Cilium's agents, by node. Raises ClusterError, and InputError where there is none."""
    path = f"/api/v1/namespaces/{quote(namespace)}/pods?labelSelector={quote(LABEL)}"
    try:
        found = msgspec.json.decode(cluster.get(path), type=_Pods)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClusterError(f"pods in {namespace}: the answer is no list of pods: {error}") from error
    if not found.items:
        raise InputError(
            f"no pod with {LABEL} in {namespace}: Cilium is not in this cluster (yet), or elsewhere: --cilium-namespace"
        )
    pods = (AgentPod(one.spec.node_name, namespace, one.metadata.name, one.status.phase) for one in found.items)
    return tuple(sorted(pods, key=lambda pod: (pod.node, pod.name)))


@dataclass(frozen=True, slots=True)
class Told:
    """What was asked of one agent: its state, and (kind, lines) of flows; kind is hubble or monitor, or empty."""

    state: AgentState
    kind: str
    chunks: tuple[bytes, ...]


def ask_all(
    cluster: Cluster, pods: Sequence[AgentPod], wanted: Wanted, progress: Callable[[str, int, int | None], None]
) -> Iterator[Told]:
    """Every agent in their order, some at a time; no more than these wait with their answers in memory."""
    waiting: deque[Future[Told]] = deque()
    left = iter(pods)
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for number in range(1, len(pods) + 1):
            waiting.extend(workers.submit(ask, cluster, pod, wanted) for pod in islice(left, _AT_ONCE - len(waiting)))
            told = waiting.popleft().result()
            progress("agents", number, len(pods))
            yield told


def ask(cluster: Cluster, pod: AgentPod, wanted: Wanted) -> Told:
    """One agent. What it does not answer is among the failures of its state."""
    if pod.phase not in ("", "Running"):
        return Told(AgentState(pod.node, failures=(f"pod {pod.name} is {pod.phase}",)), "", ())
    answers: dict[Question, bytes] = {}
    failures: list[str] = []
    for question, command in COMMANDS.items():
        try:
            answers[question] = b"".join(cluster.execute(pod.path, CONTAINER, command, _SILENCE))
        except ClusterError as error:
            failures.append(f"{' '.join(command)}: {error}")
    state = agent_state(pod.node, answers, failures)
    kind = "hubble" if state.hubble.lower() in ("ok", "warning") else "monitor"
    chunks, failure = _flows(cluster, pod, _command(kind, wanted), wanted)
    if failure:
        state = agent_state(pod.node, answers, [*failures, failure])
    return Told(state, kind, chunks)


def _command(kind: str, wanted: Wanted) -> tuple[str, ...]:
    if kind == "monitor":
        seconds = str(wanted.seconds or wanted.monitor_seconds)
        return ("timeout", seconds, "cilium-dbg", "monitor", "--type", "drop", "--type", "policy-verdict")
    observe = ("hubble", "observe", "--last", str(wanted.events), "-o", "jsonpb")
    return observe if wanted.seconds is None else ("timeout", str(wanted.seconds), *observe, "--follow")


def _flows(cluster: Cluster, pod: AgentPod, command: Sequence[str], wanted: Wanted) -> tuple[tuple[bytes, ...], str]:
    """What the command printed, also where it broke off then, with the reason."""
    chunks: list[bytes] = []
    silence = (wanted.seconds or wanted.monitor_seconds) + _GRACE
    try:
        for chunk in cluster.execute(pod.path, CONTAINER, command, max(silence, _SILENCE)):
            chunks.append(chunk)
    except ClusterError as error:
        if getattr(error, "status", None) != _ENDED_BY_TIMEOUT:
            return tuple(chunks), f"{' '.join(command)}: {error}"
    return tuple(chunks), ""
