"""Taking a run's objects out of a cluster: only those that carry its label, the last made first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

from migrate.collect.pod_status import Pod
from migrate.collect.pod_watch import list_pods
from migrate.control.manifests import (
    CONFIG_MAP_KIND,
    DAEMON_SET_KIND,
    LEASE_KIND,
    NAMESPACE_KIND,
    PRIORITY_CLASS_KIND,
    ObjectKind,
)
from migrate.control.objects import ALL_KINDS, Found, ObjectConnection
from migrate.model.agent_documents import DAEMON_SET, RUN_LABEL
from migrate.scan.connection import RequestError

_T = TypeVar("_T")
PATIENCE = 180.0
"""Seconds, for all of it. Agents have a minute for their last drain."""
_TURN_SECONDS = 0.5
_OF_EVERY_NAMESPACE = frozenset({"kube-root-ca.crt"})
"""ConfigMaps that Kubernetes puts into each namespace."""


@dataclass(frozen=True, slots=True, order=True)
class Left:
    """An object of a run that is still there, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Removal:
    """What was deleted, and what is left of the run. It is gone when nothing is left."""

    removed: tuple[str, ...]
    left: tuple[Left, ...]


def remove(
    connection: ObjectConnection,
    namespace: str,
    run: str,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> Removal:
    """Delete a run's objects and wait until its pods are gone. Never raises for what the cluster refuses: it is left.

    What has one of the names, but not the label of the run, is not touched.
    """
    return _Removing(connection, namespace, run, time.monotonic() + patience, sleep).run_all()


@dataclass
class _Removing:
    connection: ObjectConnection
    namespace: str
    run: str
    deadline: float
    sleep: Callable[[float], None]
    removed: list[str] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    has_priority: bool = True
    """Whether there may be a PriorityClass of the run."""

    def run_all(self) -> Removal:
        self._remove(DAEMON_SET_KIND)
        self._wait_for_pods()
        # The lease after the agents, which would make it again, and before the rights to delete it.
        others = [LEASE_KIND, *(kind for kind in reversed(ALL_KINDS) if kind not in (DAEMON_SET_KIND, LEASE_KIND))]
        for kind in others:
            if kind is NAMESPACE_KIND:
                self._wait_for_pods()  # a controller that had not heard of the end may have made one meanwhile
            self._remove(kind)
        return Removal(tuple(self.removed), tuple(sorted(self.left)))

    def _remove(self, kind: ObjectKind) -> None:
        """Delete the run's object of a kind, if there is one, and see that it is gone."""
        what = kind.kind
        try:
            found = self._ours(kind)
            if found is None:
                return
            what = str(found)
            if kind is DAEMON_SET_KIND:
                self.has_priority = found.priority_class == DAEMON_SET
            if kind is NAMESPACE_KIND and (others := self._others()):
                self.left.append(Left(what, f"something else is in it, so it stays: {', '.join(others)}"))
                return
            self._delete(found)
            self._see(kind, found)
        except RequestError as error:
            if kind is PRIORITY_CLASS_KIND and error.status == 403 and not self.has_priority:
                return  # whoever stops a run without one needs no right to see it
            self.left.append(Left(what, str(error)))

    def _ours(self, kind: ObjectKind) -> Found | None:
        found = self._patiently(lambda: self.connection.find(kind, self.namespace))
        return found if found is not None and self.run and found.run == self.run else None

    def _delete(self, found: Found) -> None:
        """One that has gone, or was replaced by another of its name, is no failure."""
        try:
            self._patiently(lambda: self.connection.delete_this(found))
        except RequestError as error:
            if error.status not in (404, 409):
                raise

    def _see(self, kind: ObjectKind, found: Found) -> None:
        """Wait until the object that was found is gone; another that has its name since is not ours to wait for."""
        while (now := self._ours(kind)) is not None and now.uid == found.uid:
            if time.monotonic() >= self.deadline:
                why = "its finalizers keep it" if now.goes else "the API server keeps it"
                self.left.append(Left(str(found), f"it is still there: {why}; look with kubectl describe"))
                return
            self.sleep(_TURN_SECONDS)
        self.removed.append(str(found))

    def _wait_for_pods(self) -> None:
        """Until the agents are gone. Those of nodes that are away stay until their kubelets are back."""
        if any(left.what.startswith("Pod ") for left in self.left):
            return
        selector = quote(f"{RUN_LABEL}={self.run}", safe="=/")
        try:
            while True:
                pods, _ = self._patiently(lambda: list_pods(self.connection, self.namespace, selector))
                if not pods or time.monotonic() >= self.deadline:
                    break
                self.sleep(_TURN_SECONDS)
        except RequestError as error:
            self.left.append(Left("the agents", f"whether they are gone is not known: {error}"))
            return
        self.left += [Left(f"Pod {pod.metadata.name}", _why_it_stays(pod)) for pod in pods]

    def _others(self) -> tuple[str, ...]:
        """What else is in a namespace of the run's."""
        pods, _ = self._patiently(lambda: list_pods(self.connection, self.namespace, ""))
        maps = self._patiently(lambda: self.connection.names(CONFIG_MAP_KIND, self.namespace))
        return (
            *(f"Pod {pod.metadata.name}" for pod in pods),
            *(f"ConfigMap {name}" for name in maps if name not in _OF_EVERY_NAMESPACE),
        )

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """An answer, asked for again while the API server cannot give one and there is time. Raises RequestError."""
        while True:
            try:
                return ask()
            except RequestError as error:
                if not error.temporary or time.monotonic() >= self.deadline:
                    raise
                self.sleep(error.retry_after or _TURN_SECONDS)


def _why_it_stays(pod: Pod) -> str:
    where = f"on node {pod.spec.node_name}" if pod.spec.node_name else "on no node"
    if pod.metadata.deletion_timestamp is None:
        return f"it is {where}, and nobody has asked it to go: does the cluster's controller manager run?"
    return f"it is {where}, which has not ended it; is the node ready? It goes when its kubelet is back"
