"""The sets that NPM makes of a cluster: their names, ids and members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from migrate.model.cluster import Cluster
from migrate.model.flow import Direction
from migrate.model.raw import Json, RawObject
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.windows import names
from migrate.nodes.windows.policies import policies_of
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy

_HALVES = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1")}
"""HNS gets all addresses as two halves, as ipset does."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a set should hold: networks as they are written (10.0.0.1/32), or names of other sets."""

    networks: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Catalog:
    """All sets of a cluster by the name that this program uses, and the names that an id may stand for."""

    contents: Mapping[str, Contents]
    by_id: Mapping[str, tuple[str, ...]]
    other_names: Mapping[str, str]

    def name(self, given: str) -> str:
        """The name that this program uses for a set that HNS calls so."""
        return self.other_names.get(given, given)

    def expected(self, name: str) -> Contents | None:
        """What the set should hold; None when that cannot be told from the cluster."""
        found = self.contents.get(name)
        if found is None and name.startswith(("podlabel-", "nslabel-", "ns-")):
            return Contents()
        return found


EMPTY = Catalog({}, {}, {})


@lru_cache(maxsize=1)
def catalog_of(view: ClusterView) -> Catalog:
    """The sets of a snapshot's cluster, made once for all of its nodes."""
    contents = {names.EMPTY: Contents(), **_of_cluster(view.cluster)}
    other_names: dict[str, str] = {}
    for policy in view.network_policies:
        for several, block in _blocks(policy):
            contents[several[0]] = block
            other_names |= dict.fromkeys(several, several[0])
    for raw in view.by_kind.get("NetworkPolicy", ()):
        for several, nested in _lists(raw):
            contents.setdefault(several[0], nested)
            other_names |= dict.fromkeys(several, several[0])
    for name in _named(view, contents):
        contents.setdefault(name, Contents(sets=frozenset({names.EMPTY} if name.startswith("nslabel-") else ())))
    by_id: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys((*contents, *other_names)):
        for text in names.ids_of(name):
            known = by_id.get(text, ())
            by_id[text] = tuple(dict.fromkeys((*known, other_names.get(name, name))))
    return Catalog(contents, by_id, other_names)


def _named(view: ClusterView, contents: Mapping[str, Contents]) -> frozenset[str]:
    """Sets that policies and lists name, which NPM also makes where no pod and no namespace has such a label."""
    of_policies = {name for acls in policies_of(view).all for rule in acls.rules for name in rule.sets()}
    return frozenset(of_policies.union(*(one.sets for one in contents.values())))


def _of_cluster(cluster: Cluster) -> Mapping[str, Contents]:
    """The sets of pods and namespaces. NPM knows one address of a pod, and none of a pod of the node's network."""
    flat: dict[str, set[str]] = {names.namespace_set(n.name): set() for n in cluster.namespaces}
    for pod in cluster.pods:
        if pod.host_network or not pod.addresses or pod.addresses[0].version != 4:
            continue
        own, address = {names.namespace_set(pod.namespace)}, f"{pod.addresses[0]}/32"
        for key, value in pod.labels.items():
            own |= {names.pod_label(key), names.pod_label(key, value)}
        for name in own:
            flat.setdefault(name, set()).add(address)
    lists: dict[str, set[str]] = {names.ALL_NAMESPACES: {names.EMPTY}}
    for namespace in cluster.namespaces:
        asked = {names.ALL_NAMESPACES}
        for key, value in namespace.labels.items():
            asked |= {names.namespace_label(key), names.namespace_label(key, value)}
        for name in asked:
            lists.setdefault(name, {names.EMPTY}).add(names.namespace_set(namespace.name))
    return {
        **{name: Contents(networks=frozenset(members)) for name, members in flat.items()},
        **{name: Contents(sets=frozenset(members)) for name, members in lists.items()},
    }


def _blocks(policy: NetworkPolicy) -> Iterator[tuple[tuple[str, ...], Contents]]:
    namespace = policy.ref.namespace or "default"
    for direction in policy.directions:
        for index, rule in enumerate(policy.rules(direction)):
            for place, peer in enumerate(rule.peers or ()):
                if isinstance(peer, BlockPeer):
                    several = names.block(namespace, policy.ref.name, index, place, direction is Direction.INGRESS)
                    yield several, Contents(frozenset(_HALVES.get(str(peer.cidr), (str(peer.cidr),))))


def _lists(raw: RawObject) -> Iterator[tuple[tuple[str, ...], Contents]]:
    """The policy's own lists of values. The order of values is part of the name, so that it is read from the object."""
    namespace = raw.ref.namespace or "default"
    for key, values in _expressions(raw.data.get("spec")):
        distinct = tuple(sorted(set(values)))
        if len(distinct) > 1:
            own = names.any_of(namespace, raw.ref.name, key, distinct)
            members = frozenset(names.pod_label(key, value) for value in distinct)
            yield (*own, *names.any_of(namespace, raw.ref.name, key, values)), Contents(sets=members)


def _expressions(value: Json) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys and values of all expressions below."""
    if isinstance(value, list):
        for item in value:
            yield from _expressions(item)
    elif isinstance(value, dict):
        key, values = value.get("key"), value.get("values")
        if isinstance(key, str) and isinstance(values, list) and all(isinstance(item, str) for item in values):
            yield key, tuple(item for item in values if isinstance(item, str))
        for item in value.values():
            yield from _expressions(item)
