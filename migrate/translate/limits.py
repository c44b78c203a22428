"""What a set of policies costs on the target: policy-map entries of the worst endpoints, identities, ports of a rule.

An endpoint's policy map holds one entry for each direction, peer identity and key (protocol and port prefix). Facts:
pkg/policy/l4.go (toMapState) and mapstate.go of cilium/cilium v1.20.2, counted with the engines of v1.18.8 and
v1.20.2. A deny takes entries away that it covers; they are counted here, so the figures are never too low by that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migrate.model.cluster import Cluster, Pod
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.raw import RawObject
from migrate.model.ruleset import Action, Chain, Provenance, Rule
from migrate.sources import kubernetes
from migrate.sources.cilium import CCNP, CNP, CidrGroup, CiliumPolicy, read_group, read_policy
from migrate.sources.cilium_engine import CiliumEngine
from migrate.sources.kubernetes import NetworkPolicy
from migrate.translate.limits_identities import PodIdentities, bits_of
from migrate.translate.limits_keys import Key, keys_of
from migrate.translate.limits_peers import Many, Peers, named
from migrate.translate.limits_settings import settings_of
from migrate.translate.profiles import Profile

RED = 0.8
"""The share of a limit above which a forecast is a finding."""
_WORST = 5


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """Entries in the policy map of pods that the same policies select.

    `largest` is the rule that costs most of them, with its share; None when no rule costs anything.
    """

    pods: tuple[Pod, ...]
    ingress: int
    egress: int
    largest: Provenance | None = None
    largest_entries: int = 0

    @property
    def pod(self) -> Pod:
        """The first of the pods."""
        return self.pods[0]

    @property
    def entries(self) -> int:
        """Entries of both directions."""
        return self.ingress + self.egress


@dataclass(frozen=True, slots=True)
class Figures:
    """What the policies cost: `maps` are those of all pods that policies select, the largest first."""

    identities: int
    cidr_identities: int
    ports_of_a_rule: int
    maps: tuple[EndpointFigures, ...]


def forecast(objects: Sequence[RawObject], cluster: Cluster, profile: Profile) -> list[Finding]:
    """Findings for what comes near a limit of the target, or is above it."""
    found = figures(objects, cluster, profile)
    worst = [one for one in found.maps[:_WORST] if one.entries > RED * profile.policy_map_entries]
    findings = [_map_finding(one, profile) for one in worst]
    if found.identities > RED * profile.identities:
        detail = f"{found.identities} identities of pods, {_share(found.identities, profile.identities)}"
        findings.append(Finding(id="LIM-IDENTITIES", detail=detail, effect=Effect.UNKNOWN))
    if found.ports_of_a_rule > profile.ports_per_rule:
        detail = f"{found.ports_of_a_rule} ports in one rule; {profile.title} takes {profile.ports_per_rule}"
        findings.append(Finding(id="LIM-PORTS", detail=detail, effect=Effect.UNKNOWN))
    return findings


def figures(objects: Sequence[RawObject], cluster: Cluster, profile: Profile) -> Figures:
    """The figures behind the findings."""
    policies = [policy for raw in objects if (policy := _policy(raw)) is not None and not policy.problems]
    groups = [read_group(raw) for raw in objects if raw.ref.kind == "CiliumCIDRGroup"]
    return _Forecast(policies, groups, cluster, profile).figures()


def _policy(raw: RawObject) -> CiliumPolicy | NetworkPolicy | None:
    if raw.ref.group == "cilium.io" and raw.ref.kind in (CNP, CCNP):
        return read_policy(raw)
    is_kubernetes = raw.ref.group == "networking.k8s.io" and raw.ref.kind == "NetworkPolicy"
    return kubernetes.read_policy(raw) if is_kubernetes else None


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one rule puts into a map: its keys, and the peers of each."""

    rule: Rule
    keys: frozenset[Key]
    peers: Many
    entries: int


class _Forecast:
    """One pass: every rule is counted once, then the pods that the same policies select together."""

    def __init__(
        self,
        policies: Sequence[CiliumPolicy | NetworkPolicy],
        groups: Sequence[CidrGroup],
        cluster: Cluster,
        profile: Profile,
    ) -> None:
        settings = settings_of(profile, cluster)
        self._policies = policies
        self._prefixes = named(policies, groups)
        self._pods = PodIdentities(cluster, settings)
        self._peers = Peers(self._pods, self._prefixes, cluster, settings)
        self._engine = CiliumEngine(policies, groups, cluster, settings)
        self._release = settings.release
        self._costs: dict[int, _Cost] = {}

    def figures(self) -> Figures:
        maps = sorted(self._maps(), key=lambda one: (-one.entries, str(one.pod)))
        specs = [spec for policy in self._policies if isinstance(policy, CiliumPolicy) for spec in policy.specs]
        items = [item for spec in specs for rule in spec.rules for item in rule.items or ()]
        return Figures(
            identities=len(self._pods.identities),
            cidr_identities=len(self._prefixes),
            ports_of_a_rule=max((len(item.ports) for item in items), default=0),
            maps=tuple(maps),
        )

    def _maps(self) -> Iterator[EndpointFigures]:
        for policies, bits in self._groups().items():
            pods = sorted((pod for bit in bits for pod in self._pods.identities[bit].pods), key=str)
            ingress, egress = (self._engine.chain(direction, policies) for direction in Direction)
            costs = [cost for chain in (ingress, egress) for cost in self._rules(chain)]
            largest = max(costs, key=lambda cost: cost.entries, default=None)
            yield EndpointFigures(
                pods=tuple(pods),
                ingress=self._entries(ingress, Direction.INGRESS),
                egress=self._entries(egress, Direction.EGRESS),
                largest=None if largest is None else largest.rule.provenance,
                largest_entries=0 if largest is None else largest.entries,
            )

    def _groups(self) -> dict[tuple[int, ...], list[int]]:
        """Identities by the policies that select them."""
        selected: dict[int, list[int]] = {}
        for index, subject in enumerate(self._engine.subjects):
            for bit in bits_of(self._pods.mask(subject.selector)):
                selected.setdefault(bit, []).append(index)
        groups: dict[tuple[int, ...], list[int]] = {}
        for bit, policies in selected.items():
            groups.setdefault(tuple(policies), []).append(bit)
        return groups

    def _entries(self, chain: Chain, direction: Direction) -> int:
        """Entries of one direction; where it is open, the wildcard; the own host is let in by an entry of its own."""
        is_open = chain.default is Action.ALLOW
        by_key: dict[tuple[Action, Key], Many] = {}
        for cost in self._rules(chain):
            for key in cost.keys:
                at = (cost.rule.action, key)
                by_key[at] = by_key.get(at, Many()) | cost.peers
        host = direction is Direction.INGRESS and (not is_open or self._release < 20)
        start = (self._peers.wildcards if is_open else 0) + host
        return start + sum(self._at_key(key, many) for (_, key), many in by_key.items())

    def _at_key(self, key: Key, many: Many) -> int:
        """The wildcard stands for all who have the same key, but in 1.18 not for the key of all traffic."""
        if not many.everyone:
            return self._peers.count(many)
        beside = self._peers.count(many) if key.is_everything and self._release < 20 else 0
        return self._peers.wildcards + beside

    def _rules(self, chain: Chain) -> Iterator[_Cost]:
        for rule in (rule for stage in chain.stages for rule in stage.rules if rule.provenance is not None):
            if id(rule) not in self._costs or self._costs[id(rule)].rule is not rule:
                self._costs[id(rule)] = self._cost(rule)
            yield self._costs[id(rule)]

    def _cost(self, rule: Rule) -> _Cost:
        keys = frozenset(keys_of(rule.traffic))
        peers = self._peers.of(rule.peer)
        return _Cost(rule, keys, peers, sum(self._at_key(key, peers) for key in keys))


def _map_finding(worst: EndpointFigures, profile: Profile) -> Finding:
    entries = worst.entries
    others = f" and {len(worst.pods) - 1} more pods with the same policies" if len(worst.pods) > 1 else ""
    by = f"; {worst.largest_entries} of them by {worst.largest}" if worst.largest is not None else ""
    text = f"the policy map of pod {worst.pod}{others} needs {entries} entries"
    return Finding(
        id="LIM-POLICY-MAP",
        detail=f"{text}, {_share(entries, profile.policy_map_entries)}{by}",
        effect=Effect.UNKNOWN,
        subject=None if worst.largest is None else worst.largest.ref,
        field=None if worst.largest is None else worst.largest.field,
        at=None if worst.largest is None else worst.largest.at,
    )


def _share(value: int, limit: int) -> str:
    return f"{value * 100 // limit} % of the limit of {limit}"
