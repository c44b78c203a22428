"""Label selectors that match exactly a given set of today's pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from migrate.model.cluster import Pod
from migrate.model.labels import Scope
from migrate.model.selectors import Conjunction, Operator, Requirement
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.context import Context
from migrate.translate.selectors import ANY_NAMESPACE, pod_label_is_visible


def select_exactly(
    wanted: Sequence[Pod], context: Context, *, cluster_wide: bool = False
) -> tuple[tuple[Conjunction, ...], tuple[Pod, ...]]:
    """Conjunctions that together match exactly the wanted pods, and the pods that labels cannot tell apart.

    With `cluster_wide` all pods there are or will be are meant, if none of today's is left out. Else whole
    namespaces, where several workloads show that the namespace is meant, then workloads by the fewest labels that no
    other pod of the namespace has. Only labels that Cilium keeps in identities are used.
    """
    if cluster_wide and len(wanted) == len(context.pods):
        return ((ANY_NAMESPACE,),), ()
    by_namespace: dict[str, list[Pod]] = {}
    for pod in wanted:
        by_namespace.setdefault(pod.namespace, []).append(pod)
    whole = sorted(name for name, pods in by_namespace.items() if _is_whole(pods, context.neighbours[name]))
    found: list[Conjunction] = [(_in_namespace(*whole),)] if whole else []
    lost: list[Pod] = []
    for name in sorted(by_namespace.keys() - set(whole)):
        conjunctions, missed = _within(by_namespace[name], context.neighbours[name], context)
        found += [(_in_namespace(name), *conjunction) for conjunction in conjunctions]
        lost += missed
    return tuple(found), tuple(lost)


def look_alikes(pods: Sequence[Pod], context: Context) -> tuple[Conjunction, ...]:
    """Conjunctions that match the pods and, in their namespaces, all others with the same labels."""
    found = [
        (_in_namespace(pod.namespace), *(Requirement(key, Operator.IN, (value,)) for key, value in labels))
        for pod in pods
        for labels in [sorted(_visible(pod, context))]
    ]
    return tuple(dict.fromkeys(found))


def _is_whole(pods: Sequence[Pod], all_pods: Sequence[Pod]) -> bool:
    """Whether all pods of a namespace are wanted, and not just the one workload that it has."""
    return len(pods) == len(all_pods) and len({pod.workload or pod.name for pod in pods}) > 1


def _in_namespace(*names: str) -> Requirement:
    return Requirement(NAMESPACE_NAME, Operator.IN, names, Scope.NAMESPACE)


def _within(wanted: Sequence[Pod], neighbours: Sequence[Pod], context: Context) -> tuple[list[Conjunction], list[Pod]]:
    """As `select_exactly`, inside one namespace."""
    names = {pod.name for pod in wanted}
    others = [_visible(pod, context) for pod in neighbours if pod.name not in names]
    groups: dict[frozenset[tuple[str, str]], list[Pod]] = {}
    for pod in wanted:
        groups.setdefault(_visible(pod, context), []).append(pod)
    found: list[Conjunction] = []
    lost: list[Pod] = []
    for labels, pods in sorted(groups.items(), key=lambda item: item[1][0].name):
        chosen = _fewest(labels, others)
        if chosen is None:
            lost += pods
        elif chosen not in found:
            found.append(chosen)
    return found, lost


def _visible(pod: Pod, context: Context) -> frozenset[tuple[str, str]]:
    """The pod's labels that Cilium's policy can see."""
    return frozenset(pair for pair in pod.labels.pairs if pod_label_is_visible(context.profile, pair[0]))


def _fewest(labels: frozenset[tuple[str, str]], others: Iterable[frozenset[tuple[str, str]]]) -> Conjunction | None:
    """One, two, or all labels that none of the others has together; None when there are none."""
    others = list(others)
    ordered = sorted(labels)
    for chosen in (*combinations(ordered, 1), *combinations(ordered, 2), tuple(ordered)):
        if chosen and not any(set(chosen) <= other for other in others):
            return tuple(Requirement(key, Operator.IN, (value,)) for key, value in chosen)
    return None
