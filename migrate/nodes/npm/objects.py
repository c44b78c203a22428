"""The members of NPM's sets as the objects of the cluster say them.

Facts: npm/pkg/controlplane/controllers/v2 of Azure/azure-container-networking. NPM takes a pod's status.podIP alone,
and only when it is IPv4; pods with hostNetwork and pods that ended are in no set. Ports of init containers have none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from migrate.model.raw import Json, RawObject
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.npm.policies import ExpectedPolicy
from migrate.nodes.npm.selectors import ALL_NAMESPACES
from migrate.scan.inventory.look import dig, items, text
from migrate.sources.cluster import FINISHED
from migrate.sources.kubernetes import NAMESPACE_NAME

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class KnownPod:
    """A pod with an IPv4 address. `why_not` says why NPM has it in no set; empty where it belongs in some."""

    key: str
    address: str
    node: str
    why_not: str = ""
    created: str = ""


@dataclass
class ExpectedSets:
    """What belongs in each set, by its name. `may` are members that may be there or not.

    `unlabelled` are sets of namespaces whose labels are not known: they may be in every set of namespaces.
    `pods` are the pods by address.
    """

    must: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    may: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    spellings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unlabelled: set[str] = field(default_factory=set)
    pods: dict[str, list[KnownPod]] = field(default_factory=lambda: defaultdict(list))

    def members(self, name: str) -> tuple[set[str] | frozenset[str], set[str] | frozenset[str]]:
        """The members that must, and that may, be in a set."""
        return self.must.get(name, _NOBODY), self.may.get(name, _NOBODY)


def expected_sets(view: ClusterView, policies: Iterable[ExpectedPolicy]) -> ExpectedSets:
    """The sets of all pods, namespaces and policies."""
    return _Gatherer(view).gather(policies)


class _Gatherer:
    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._sets = ExpectedSets()
        self._names: dict[tuple[tuple[str, str], ...], tuple[str, ...]] = {}

    def gather(self, policies: Iterable[ExpectedPolicy]) -> ExpectedSets:
        """All sets."""
        for raw in self._view.by_kind.get("Namespace", ()):
            self._take_namespace(raw)
        for raw in self._view.by_kind.get("Pod", ()):
            self._take_pod(raw)
        for policy in policies:
            self._take_policy(policy)
            self._know_namespace(f"ns-{policy.ref.namespace or 'default'}")
        for name in self._sets.must.keys() | self._sets.may.keys():
            self._sets.spellings.setdefault(name, (name,))
        return self._sets

    def _take_namespace(self, raw: RawObject) -> None:
        member = f"ns-{raw.ref.name}"
        self._sets.must.setdefault(member, set())
        into = self._sets.may if text(raw, "status", "phase") == "Terminating" else self._sets.must
        into[ALL_NAMESPACES].add(member)
        labels = _labels(raw)
        for name in self._label_names("nslabel", labels):
            into[name].add(member)
        if NAMESPACE_NAME not in labels:  # the API server sets it; a file need not have it
            for name in self._label_names("nslabel", {NAMESPACE_NAME: raw.ref.name}):
                self._sets.may[name].add(member)

    def _know_namespace(self, own: str) -> None:
        """A namespace that something is in exists, whether its object was read or not."""
        if own not in self._sets.must[ALL_NAMESPACES] and own not in self._sets.may[ALL_NAMESPACES]:
            self._sets.must.setdefault(own, set())
            self._sets.must[ALL_NAMESPACES].add(own)
            self._sets.unlabelled.add(own)

    def _take_pod(self, raw: RawObject) -> None:
        namespace = raw.ref.namespace or "default"
        own = f"ns-{namespace}"
        self._know_namespace(own)
        names = (own, *self._label_names("podlabel", _labels(raw)))
        for name in names:
            self._sets.spellings.setdefault(name, (name,))
        address = _ipv4(text(raw, "status", "podIP") or text(raw, "status", "podIPs", 0, "ip"))
        if address is None:
            return
        why_not = _why_not(raw)
        node, created = text(raw, "spec", "nodeName"), text(raw, "metadata", "creationTimestamp")
        pod = KnownPod(f"{namespace}/{raw.ref.name}", address, node, why_not, created)
        self._sets.pods[address].append(pod)
        if not why_not:
            into = self._sets.may if text(raw, "metadata", "deletionTimestamp") else self._sets.must
            self._add(into, names, address, raw)

    def _add(self, into: dict[str, set[str]], names: Iterable[str], address: str, raw: RawObject) -> None:
        for name in names:
            into[name].add(address)
        for port, entry in _named_ports(raw):
            into[f"namedport:{port}"].add(f"{address},{entry}")

    def _take_policy(self, policy: ExpectedPolicy) -> None:
        for named in policy.named:
            self._sets.must[named.name].update(named.members)
            self._sets.spellings[named.name] = (named.name, *named.spellings)
            for member in named.members:
                self._sets.must.setdefault(member, set())
        for block in policy.blocks:
            self._sets.must[block.name].update(block.members)
            self._sets.spellings[block.name] = (block.name, *block.spellings)

    def _label_names(self, kind: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The two sets of each label, made once for all that have the same labels."""
        pairs = ((kind, ""), *labels.items())
        found = self._names.get(pairs)
        if found is None:
            found = tuple(name for key, value in labels.items() for name in (f"{kind}-{key}", f"{kind}-{key}:{value}"))
            self._names[pairs] = found
        return found


def _why_not(raw: RawObject) -> str:
    if dig(raw.data, "spec", "hostNetwork") is True:
        return "has its node's address"
    phase = text(raw, "status", "phase")
    return f"ended as {phase}" if phase in FINISHED else ""


def _labels(raw: RawObject) -> dict[str, str]:
    labels = dig(raw.data, "metadata", "labels")
    return {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _named_ports(raw: RawObject) -> Iterator[tuple[str, str]]:
    for container in items(dig(raw.data, "spec", "containers")):
        for port in items(dig(container, "ports")):
            name, number = dig(port, "name"), dig(port, "containerPort")
            if isinstance(name, str) and name and isinstance(number, int):
                yield name, f"{_protocol(dig(port, 'protocol'))}:{number}"


def _protocol(value: Json) -> str:
    return value.lower() if isinstance(value, str) and value else "tcp"


def _ipv4(address: str) -> str | None:
    try:
        return str(IPv4Address(address))
    except ValueError:
        return None
