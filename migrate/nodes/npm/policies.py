"""What NPM on Linux programs for a policy: the jump to its chain, the rules in it, and the sets that it brings.

Facts: npm/pkg/controlplane/translation/translatePolicy.go of Azure/azure-container-networking, and its dumps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from migrate.model.addresses import Network
from migrate.model.flow import Direction
from migrate.model.raw import Json, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.nodes.npm.rules import ALLOW, DROP, NpmRule, SetUse, port_text
from migrate.nodes.npm.selectors import NamedSet, namespace_set, namespace_sets, pod_sets
from migrate.scan.inventory.look import dig, text
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PortMatch, Rule

_EVERYTHING = IPv4Network("0.0.0.0/0")
_PEERS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_PEER_END = {Direction.INGRESS: "src", Direction.EGRESS: "dst"}
_SUBJECT_END = {Direction.INGRESS: "dst", Direction.EGRESS: "src"}
_BLOCK_SUFFIX = {Direction.INGRESS: "IN", Direction.EGRESS: "OUT"}


@dataclass(frozen=True, slots=True)
class Block:
    """The set of an ipBlock, and its members as ipset prints them."""

    name: str
    spellings: tuple[str, ...]
    members: tuple[str, ...]


@dataclass(frozen=True)
class ExpectedPolicy:
    """What belongs on every node for a policy. `key` is "namespace/name"; `rules` are its chains, by direction.

    `created` is empty where the snapshot does not say it.
    """

    key: str
    ref: ObjectRef
    at: Location | None
    created: str
    jumps: Mapping[Direction, frozenset[SetUse]]
    rules: Mapping[Direction, frozenset[NpmRule]]
    named: tuple[NamedSet, ...]
    blocks: tuple[Block, ...]


def expected_policy(policy: NetworkPolicy, raw: RawObject) -> ExpectedPolicy:
    """What NPM makes of a policy that it does not refuse. `raw` is the policy's object."""
    return _Translation(policy, raw).expected()


def policy_key(ref: ObjectRef) -> str:
    """How NPM calls a policy."""
    return f"{ref.namespace or 'default'}/{ref.name}"


class _Translation:
    """Gathers the sets of one policy while its rules are made."""

    def __init__(self, policy: NetworkPolicy, raw: RawObject) -> None:
        self._policy = policy
        self._raw = raw
        self._key = policy_key(policy.ref)
        self._namespace = policy.ref.namespace or "default"
        self._named: dict[str, NamedSet] = {}
        self._blocks: dict[str, Block] = {}

    def expected(self) -> ExpectedPolicy:
        """The whole policy."""
        subject = self._with_namespace(dig(self._raw.data, "spec", "podSelector"))
        directions = sorted(self._policy.directions, key=lambda direction: direction.name)
        jumps = {d: frozenset(self._uses(subject, _SUBJECT_END[d])) for d in directions}
        rules = {d: frozenset(self._chain(d)) for d in directions}
        named, blocks = tuple(self._named.values()), tuple(self._blocks.values())
        created = text(self._raw, "metadata", "creationTimestamp")
        return ExpectedPolicy(self._key, self._policy.ref, self._policy.at, created, jumps, rules, named, blocks)

    def _chain(self, direction: Direction) -> Iterator[NpmRule]:
        """A direction in which one rule allows everything has no other rules, and drops nothing."""
        rules = self._policy.rules(direction)
        if any(rule.peers is None and rule.ports is None for rule in rules):
            yield NpmRule(ALLOW)
            return
        for index, rule in enumerate(rules):
            for sets in self._sides(direction, index, rule):
                yield from self._with_ports(sets, rule)
        yield NpmRule(DROP)

    def _sides(self, direction: Direction, index: int, rule: Rule) -> Iterator[frozenset[SetUse]]:
        """The sets of each peer; a rule without peers has none, and asks for ports alone."""
        if rule.peers is None:
            yield frozenset()
        for number, peer in enumerate(rule.peers or ()):
            if isinstance(peer, BlockPeer):
                yield frozenset({SetUse(self._block(direction, index, number, peer), _PEER_END[direction])})
                continue
            given = dig(self._raw.data, "spec", direction.value, index, _PEERS[direction], number)
            for sets in self._selected(given):
                yield frozenset(self._uses(sets, _PEER_END[direction]))

    def _selected(self, peer: Json) -> Iterator[tuple[NamedSet, ...]]:
        pods, namespaces = dig(peer, "podSelector"), dig(peer, "namespaceSelector")
        if namespaces is None:
            yield self._with_namespace(pods)
            return
        for sets in namespace_sets(namespaces):
            yield (*sets, *pod_sets(self._key, pods))

    def _with_namespace(self, pods: Json) -> tuple[NamedSet, ...]:
        return (*pod_sets(self._key, pods), namespace_set(self._namespace))

    def _uses(self, sets: tuple[NamedSet, ...], end: str) -> Iterator[SetUse]:
        for each in sets:
            self._named.setdefault(each.name, each)
            yield SetUse(each.name, end, each.negated)

    def _block(self, direction: Direction, rule: int, peer: int, block: BlockPeer) -> str:
        place = f"{rule}-{peer}{_BLOCK_SUFFIX[direction]}"
        name = f"cidr-{self._policy.ref.name}:in-ns:{self._namespace}-{place}"
        old = f"cidr-{self._policy.ref.name}-in-ns-{self._namespace}-{place}"
        self._blocks[name] = Block(name, (old,), tuple(_members(block)))
        return name

    def _with_ports(self, sets: frozenset[SetUse], rule: Rule) -> Iterator[NpmRule]:
        if rule.ports is None:
            yield NpmRule(ALLOW, sets=sets)
        for match in rule.ports or ():
            yield self._with_port(sets, match)

    def _with_port(self, sets: frozenset[SetUse], match: PortMatch) -> NpmRule:
        if isinstance(match.port, str):
            named = NamedSet(f"namedport:{match.port}")
            return NpmRule(ALLOW, match.protocol, "", sets | set(self._uses((named,), "dst,dst")))
        ports = "" if match.port is None else port_text(match.port, match.end or match.port)
        return NpmRule(ALLOW, match.protocol, ports, sets)


def _members(block: BlockPeer) -> Iterator[str]:
    """A hash:net cannot hold 0.0.0.0/0, so that it is there as two halves; an exception may take the place of one."""
    found: dict[Network, str] = {block.cidr: ""}
    if block.cidr == _EVERYTHING:
        found = {IPv4Network("0.0.0.0/1"): "", IPv4Network("128.0.0.0/1"): ""}
    found |= dict.fromkeys(block.excepts, " nomatch")
    return (f"{network_text(network)}{word}" for network, word in found.items())


def network_text(network: Network) -> str:
    """A network as ipset prints it: a single address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
