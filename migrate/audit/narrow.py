"""Selectors for a workload: the fewest labels that select exactly its pods, and none that only one rollout has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from migrate.model.cluster import Cluster, Pod
from migrate.model.labels import Scope
from migrate.model.selectors import Conjunction, Operator, Requirement
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME

_OF_ONE_RUN = ("job-name", "batch.kubernetes.io/job-name", "controller-uid", "batch.kubernetes.io/controller-uid")
_TELLING = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "app", "k8s-app")
_MOST_LABELS = 3
_RUN_OF_CRONJOB = re.compile(r"Job/(.+)-\d{8,}")
"""A CronJob names its Jobs by the minute of the run, counted since 1970."""


@dataclass(frozen=True, slots=True)
class Narrow:
    """A selector for pods of one namespace. `others` are the pods beyond the workload's own that it selects too."""

    selector: Conjunction
    others: tuple[Pod, ...] = ()


def workload_of(pod: Pod) -> str:
    """ "Kind/name" of what makes pods like this one: of a Job that a CronJob made, the CronJob."""
    found = pod.workload or f"Pod/{pod.name}"
    run = _RUN_OF_CRONJOB.fullmatch(found)
    return found if run is None else f"CronJob/{run[1]}"


class Workloads:
    """The pods of a cluster by workload. `is_kept` says which label keys the target takes into identities."""

    def __init__(self, cluster: Cluster, is_kept: Callable[[str], bool]) -> None:
        self._is_kept = is_kept
        self._in_namespace: dict[str, list[Pod]] = {}
        for pod in cluster.pods:
            if not pod.host_network:
                self._in_namespace.setdefault(pod.namespace, []).append(pod)

    def narrow(self, pod: Pod) -> Narrow | None:
        """A selector for the workload of a pod; None where no label would tell it from the whole namespace."""
        neighbours = self._in_namespace.get(pod.namespace, [])
        own = [other for other in neighbours if workload_of(other) == workload_of(pod)] or [pod]
        rest = [other for other in neighbours if workload_of(other) != workload_of(pod)]
        common = _ordered(self._common(own))
        for size in range(1, _MOST_LABELS + 1):
            for chosen in combinations(common, size):
                if not any(_selects(chosen, other) for other in rest):
                    return Narrow(chosen)
        labels = tuple(one for one in common if one.scope is Scope.POD)
        if not labels:
            return None
        return Narrow(labels, tuple(other for other in rest if _selects(labels, other)))

    def _common(self, own: Sequence[Pod]) -> Iterator[Requirement]:
        """What all pods of the workload have, and the next ones will have, too."""
        for key, value in own[0].labels.pairs:
            if key not in _OF_ONE_RUN and self._is_kept(key) and all(pod.labels.get(key) == value for pod in own):
                yield Requirement(key, Operator.IN, (value,))
        account = own[0].service_account
        if account != "default" and all(pod.service_account == account for pod in own):
            yield Requirement(SERVICE_ACCOUNT_NAME, Operator.IN, (account,), Scope.SERVICE_ACCOUNT)


def _ordered(found: Iterable[Requirement]) -> list[Requirement]:
    """Labels that name an application first, the service account last."""
    return sorted(found, key=lambda one: (one.scope is not Scope.POD, _rank(one.key), one.sort_key()))


def _rank(key: str) -> int:
    return _TELLING.index(key) if key in _TELLING else len(_TELLING)


def _selects(selector: Iterable[Requirement], pod: Pod) -> bool:
    return all(one.matches(pod.labels_of(one.scope)) for one in selector)
