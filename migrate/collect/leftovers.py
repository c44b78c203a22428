"""Pods that an earlier run left in the cluster, since it was killed or lost the API server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from migrate.collect.manifest import COLLECTOR, NAME_LABEL, RUN_LABEL
from migrate.collect.pod_connection import PodConnection
from migrate.collect.pod_status import Pod
from migrate.collect.pod_watch import list_pods
from migrate.scan.connection import RequestError

_MARGIN_SECONDS = 60


@dataclass(frozen=True, slots=True, order=True)
class Leftover:
    """A collector's pod of another run. `busy`: it may still be read by somebody, so it is not ours to take."""

    name: str
    node: str
    run: str
    made: str
    busy: bool


def leftovers(connection: PodConnection, namespace: str, now: datetime) -> tuple[Leftover, ...]:
    """The collectors' pods in a namespace. Raises RequestError."""
    pods, _ = list_pods(connection, namespace, f"{NAME_LABEL}={COLLECTOR}")
    return tuple(sorted(_leftover(pod, now) for pod in pods))


def remove(connection: PodConnection, namespace: str, pods: Sequence[Leftover]) -> None:
    """Delete pods. One that has gone by itself is no failure. Raises RequestError."""
    for pod in pods:
        try:
            connection.delete(f"/api/v1/namespaces/{namespace}/pods/{pod.name}")
        except RequestError as error:
            if error.status != 404:
                raise


def _leftover(pod: Pod, now: datetime) -> Leftover:
    meta = pod.metadata
    return Leftover(
        name=meta.name,
        node=pod.spec.node_name,
        run=meta.labels.get(RUN_LABEL, ""),
        made=meta.creation_timestamp,
        busy=not pod.over and not _is_past(pod, now),
    )


def _is_past(pod: Pod, now: datetime) -> bool:
    """Whether its time is over, however its node is doing."""
    try:
        made = datetime.fromisoformat(pod.metadata.creation_timestamp).astimezone(UTC)
    except ValueError:
        return False
    allowed = pod.spec.active_deadline_seconds
    return allowed is not None and (now - made).total_seconds() > allowed + _MARGIN_SECONDS
