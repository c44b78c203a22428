"""Selectors over Cilium's identity labels, as the pods and the other ends that they mean.

Facts: pkg/labels (a key without a source, or with the source any, is looked up in every source), pkg/k8s (labels that
Cilium gives to pods), pkg/ipcache (labels of nodes, the outside and the API server); measured on v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster, Node
from migrate.model.labels import Labels, Scope
from migrate.model.ruleset import Addresses, AllOf, AnyOf, At, Except, Place, Pods, Predicate
from migrate.model.selectors import (
    EVERYTHING,
    NOTHING,
    And,
    Not,
    Operator,
    Or,
    Requirement,
    Selector,
    requirements,
)
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME

NAMESPACE = "io.kubernetes.pod.namespace"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
CLUSTER = "io.cilium.k8s.policy.cluster"
_EVERY_V4 = AddressSet(v4=AddressSet.everything().v4)
_EVERY_V6 = AddressSet(v6=AddressSet.everything().v6)


@dataclass(frozen=True, slots=True)
class _Other:
    """Ends that are no pods and share one identity, with its labels as "source:key" and value."""

    where: Predicate
    labels: tuple[tuple[str, str], ...]


class IdentitySelectors:
    """Turns selectors over identity labels into peers, for one agent's settings.

    `prefixes` are the addresses outside that have an identity of their own, because something names their prefix;
    `aggregated` are the ends that 1.20 finds under a common identity beside their own.
    """

    def __init__(self, settings: CiliumSettings, cluster: Cluster, prefixes: AddressSet) -> None:
        self._settings = settings
        self.api_server = _api_server(cluster)
        aggregates = tuple(_aggregates(settings, AnyOf((Addresses(prefixes), self.api_server))))
        self.aggregated: Predicate = AnyOf(tuple(aggregate.where for aggregate in aggregates))
        self._others = tuple(_others(settings, cluster, self.api_server))
        self._aggregates = aggregates

    def peers(self, selector: Selector, namespace: str | None, *, aggregated: bool = True) -> Predicate:
        """Whom an entry of fromEndpoints or toEndpoints means, in a CNP of a namespace or (None) in a CCNP."""
        asked = [requirement.key for requirement in requirements(selector)]
        if any(key.startswith("reserved:") for key in asked):
            return self.everyone(selector, aggregated=aggregated)
        terms: list[Selector] = [selector]
        if not any(_names(key, NAMESPACE) for key in asked):
            if namespace is None:
                terms.append(Requirement(f"k8s:{NAMESPACE}", Operator.EXISTS))
            elif not any(_bare(key).startswith(NAMESPACE_LABELS) for key in asked):
                terms.append(Requirement(f"k8s:{NAMESPACE}", Operator.IN, (namespace,)))
        return self.everyone(And((*terms, *self._own_cluster(asked))), aggregated=aggregated)

    def kubernetes_peers(self, pods: Selector, namespaces: Selector | None, namespace: str) -> Predicate:
        """Whom a peer of a NetworkPolicy in a namespace means."""
        asked = [requirement.key for requirement in requirements(pods)]
        terms: list[Selector] = [_prefixed(pods, ""), *self._own_cluster(asked)]
        if namespaces is None:
            terms.append(Requirement(f"k8s:{NAMESPACE}", Operator.IN, (namespace,)))
        elif any(requirements(namespaces)):
            terms.append(_prefixed(namespaces, NAMESPACE_LABELS))
        else:
            terms.append(Requirement(f"k8s:{NAMESPACE}", Operator.EXISTS))
        return self.everyone(And(tuple(terms)))

    def tier_pods(self, namespaces: Selector, pods: Selector | None, *, of_cluster: bool) -> Selector:
        """The identity labels that pods of a ClusterNetworkPolicy have: by labels of namespaces, and by their own."""
        terms: list[Selector] = [Requirement(f"k8s:{NAMESPACE}", Operator.EXISTS)]
        if any(requirements(namespaces)):
            terms = [_prefixed(namespaces, NAMESPACE_LABELS)]
        if pods is not None:
            terms.append(_prefixed(pods, ""))
            asked = [requirement.key for requirement in requirements(pods)]
            terms += self._own_cluster(asked) if of_cluster else ()
        return And(tuple(terms))

    def tier_nodes(self, selector: Selector) -> Predicate:
        """Nodes by label, the pod's own one too."""
        asked = [requirement.key for requirement in requirements(selector)]
        ours = And(tuple(replace(r, key=f"node:{r.key}") for r in requirements(selector)))
        kinds = (Requirement(f"reserved:{kind}", Operator.EXISTS) for kind in ("host", "remote-node"))
        return AnyOf(tuple(self.everyone(And((ours, kind, *self._own_cluster(asked)))) for kind in kinds))

    def _own_cluster(self, asked: Iterable[str]) -> list[Selector]:
        """Peers are of the own cluster (since 1.19) unless the selector names one."""
        if not self._settings.local_cluster or any(_names(key, CLUSTER) for key in asked):
            return []
        return [Requirement(f"k8s:{CLUSTER}", Operator.IN, (self._settings.cluster_name,))]

    def everyone(self, selector: Selector, *, aggregated: bool = True) -> Predicate:
        """Every end whose identity the selector matches, as it stands; `aggregated` by a common identity too."""
        known = (*self._others, *self._aggregates) if aggregated else self._others
        found: list[Predicate] = [other.where for other in known if _selects(selector, other.labels)]
        return AnyOf((Pods(self.pods(selector)), *found))

    def nodes(self, selector: Selector) -> Predicate:
        """Whom an entry of fromNodes or toNodes means: other nodes by label."""
        asked = [requirement.key for requirement in requirements(selector)]
        remote = Requirement("reserved:remote-node", Operator.EXISTS)
        return self.everyone(And((selector, remote, *self._own_cluster(asked))))

    def pods(self, selector: Selector) -> Selector:
        """A selector over identity labels, as one over the labels of pods, namespaces and accounts."""
        if isinstance(selector, Requirement):
            return self._requirement(selector)
        if isinstance(selector, Not):
            return Not(self.pods(selector.term))
        terms = tuple(self.pods(term) for term in selector.terms)
        return And(terms) if isinstance(selector, And) else Or(terms)

    def _requirement(self, requirement: Requirement) -> Selector:
        key = _bare(requirement.key)
        if _source(requirement.key) not in ("any", "k8s") or not self._settings.is_identity_label(key):
            return _fixed(requirement, None)
        if key == CLUSTER:
            return _fixed(requirement, self._settings.cluster_name)
        if key == NAMESPACE:
            return replace(requirement, key=NAMESPACE_NAME, scope=Scope.NAMESPACE)
        if key.startswith(NAMESPACE_LABELS):
            return replace(requirement, key=key.removeprefix(NAMESPACE_LABELS), scope=Scope.NAMESPACE)
        if key == ACCOUNT:
            return replace(requirement, key=SERVICE_ACCOUNT_NAME, scope=Scope.SERVICE_ACCOUNT)
        return replace(requirement, key=key)


def _api_server(cluster: Cluster) -> Predicate:
    """The API server: by address, but a pod's own node is it with all its addresses, and a pod is never."""
    here = set(cluster.api_server)
    nodes = [node for node in cluster.nodes if here.intersection(node.addresses)]
    every = Addresses(AddressSet.of_addresses(address for node in nodes for address in node.addresses))
    found: list[Predicate] = [AllOf((At(Place.API_SERVER), Except(At(Place.POD))))]
    if nodes:
        found.append(AllOf((At(Place.OWN_NODE), every)))
    return AnyOf(tuple(found))


def _others(settings: CiliumSettings, cluster: Cluster, server: Predicate) -> Iterator[_Other]:
    """Every kind of end beside pods: nodes and the outside, each with and without the API server."""
    for where, labels in [*_node_identities(settings, cluster), *_world_identities(settings)]:
        yield _Other(AllOf((where, Except(server))), labels)
        yield _Other(AllOf((where, server)), (*labels, ("reserved:kube-apiserver", "")))


def _aggregates(settings: CiliumSettings, named: Predicate) -> Iterator[_Other]:
    """The identities under which 1.20 looks up others a second time, with hardly any labels.

    A selector of nothing but negations finds them too, and with them all that they stand for (pkg/policy/aggregate.go).
    """
    if settings.release < 20:
        return
    yield _Other(At(Place.POD), (("reserved:aggregate-cluster", ""),))
    yield _Other(AllOf((At(Place.OUTSIDE), named)), (("reserved:aggregate-world", ""),))
    if settings.node_labels or "nodes" in settings.cidr_match_modes:
        yield _Other(At(Place.OTHER_NODE), (("reserved:aggregate-remote-node", ""),))


_Identity = tuple[Predicate, tuple[tuple[str, str], ...]]


def _world_identities(settings: CiliumSettings) -> Iterator[_Identity]:
    for family, every in ((4, _EVERY_V4), (6, _EVERY_V6)):
        name = f"reserved:world-ipv{family}" if len(settings.families) > 1 else "reserved:world"
        yield AllOf((At(Place.OUTSIDE), Addresses(every))), ((name, ""),)


def _node_identities(settings: CiliumSettings, cluster: Cluster) -> Iterator[_Identity]:
    """The own node and the others; one by one where nodes carry their labels as identity labels."""
    own, other = At(Place.OWN_NODE), At(Place.OTHER_NODE)
    if not settings.node_labels:
        yield own, (("reserved:host", ""),)
        yield other, (("reserved:remote-node", ""),)
        return
    for node in cluster.nodes:
        here = Addresses(AddressSet.of_addresses(node.addresses))
        labels = _node_labels(settings, node)
        yield AllOf((own, here)), (("reserved:host", ""), *(labels if settings.release >= 20 else ()))
        yield AllOf((other, here)), (("reserved:remote-node", ""), *labels)


def _node_labels(settings: CiliumSettings, node: Node) -> tuple[tuple[str, str], ...]:
    return (
        *((f"node:{key}", value) for key, value in node.labels.pairs),
        (f"k8s:{CLUSTER}", settings.cluster_name),
    )


def _source(key: str) -> str:
    source, colon, _ = key.partition(":")
    return source if colon else "any"


def _bare(key: str) -> str:
    source, colon, rest = key.partition(":")
    return rest if colon else source


def _names(key: str, label: str) -> bool:
    """Whether a selector's key is a label of Kubernetes, with or without its source."""
    return _bare(key) == label and _source(key) in ("any", "k8s")


def _prefixed(selector: Selector, prefix: str) -> Selector:
    """A selector of a NetworkPolicy in identity labels: its keys are of the source k8s."""
    terms = (replace(r, key=f"k8s:{prefix}{r.key}", scope=Scope.POD) for r in requirements(selector))
    return And(tuple(terms))


def _fixed(requirement: Requirement, value: str | None) -> Selector:
    """A requirement on a label that every pod has with one value, or (None) that none has."""
    labels = Labels() if value is None else Labels(((requirement.key, value),))
    return EVERYTHING if requirement.matches(labels) else NOTHING


def _selects(selector: Selector, labels: tuple[tuple[str, str], ...]) -> bool:
    """Whether an identity with these labels satisfies the selector."""
    if isinstance(selector, Requirement):
        key = selector.key
        found = [
            value for name, value in labels if name == key or (_source(key) == "any" and _bare(name) == _bare(key))
        ]
        return selector.matches(Labels(((key, found[0]),)) if found else Labels())
    if isinstance(selector, Not):
        return not _selects(selector.term, labels)
    terms = (_selects(term, labels) for term in selector.terms)
    return all(terms) if isinstance(selector, And) else any(terms)
