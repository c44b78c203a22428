"""Selectors of suggestions: the fewest labels that select just one workload, against trying all of them."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from migrate.audit.narrow import Workloads
from migrate.model.cluster import Cluster, Pod
from migrate.model.labels import Labels
from migrate.model.selectors import Conjunction
from migrate.sources.cilium_settings import CiliumSettings

_KEYS = ("app", "tier", "zone", "pod-template-hash")
labels = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from("xy"), max_size=4)
pods = st.lists(st.tuples(st.sampled_from("abc"), labels, st.sampled_from(("shop", "billing"))), min_size=1, max_size=7)


def cluster_of(drawn: list[tuple[str, dict[str, str], str]]) -> Cluster:
    """Pods of up to three workloads in each namespace, whose labels may differ within a workload."""
    return Cluster(
        pods=tuple(
            Pod(namespace, f"{owner}-{number}", Labels.of(own), workload=f"Deployment/{owner}")
            for number, (owner, own, namespace) in enumerate(drawn)
        )
    )


def selected(selector: Conjunction, cluster: Cluster, namespace: str) -> set[str]:
    return {
        pod.name
        for pod in cluster.pods
        if pod.namespace == namespace and all(one.matches(pod.labels_of(one.scope)) for one in selector)
    }


def siblings(cluster: Cluster, pod: Pod) -> set[str]:
    """The names of the pods of a workload."""
    same = (other for other in cluster.pods if (other.namespace, other.workload) == (pod.namespace, pod.workload))
    return {other.name for other in same}


def smallest(cluster: Cluster, pod: Pod) -> int | None:
    """How many labels it takes, by trying all: they have to select all pods of the workload and no others."""
    own = siblings(cluster, pod)
    pairs = [pair for pair in pod.labels.pairs if pair[0] != "pod-template-hash"]
    for size in range(1, len(pairs) + 1):
        for chosen in combinations(pairs, size):
            found = {
                other.name
                for other in cluster.pods
                if other.namespace == pod.namespace and all(other.labels.get(key) == value for key, value in chosen)
            }
            if found == own:
                return size
    return None


@given(pods)
def test_the_fewest_labels_that_select_just_the_workload(drawn: list[tuple[str, dict[str, str], str]]) -> None:
    cluster = cluster_of(drawn)
    workloads = Workloads(cluster, CiliumSettings().is_identity_label)
    for pod in cluster.pods:
        found, wanted = workloads.narrow(pod), smallest(cluster, pod)
        assert (found is not None and not found.others) == (wanted is not None)
        if found is None:
            continue
        own = {
            other.name for other in cluster.pods if (other.namespace, other.workload) == (pod.namespace, pod.workload)
        }
        assert selected(found.selector, cluster, pod.namespace) == own | {other.name for other in found.others}
        assert wanted is None or len(found.selector) == wanted
        assert all(requirement.key != "pod-template-hash" for requirement in found.selector)
