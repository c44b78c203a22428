"""Policies and pods against a node's chains: which are missing, which nobody asks for, which differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from migrate.model.finding import Finding
from migrate.model.flow import Direction
from migrate.model.node_state import Chain
from migrate.model.refs import ObjectRef
from migrate.nodes.calico.names import DISPATCH, GROUP, POD, POLICY, PREFIX, PROFILE, chain_name, interface_of, is_known
from migrate.nodes.calico.node import (
    DIRECTIONS,
    HOOK,
    POD_DRIFT,
    POLICY_MISSING,
    POLICY_STALE,
    RULES,
    Compared,
    LocalPod,
)
from migrate.nodes.calico.policies import FelixPolicy
from migrate.nodes.calico.shapes import Shape, as_nft_lists, found_in, wanted
from migrate.nodes.calico.tables import is_felix, says, stops
from migrate.nodes.wording import first_few

_DOWN = "Endpoint admin disabled"
_NO_POLICY = "if no policies passed packet"
_NO_PROFILE = "if no profiles matched"
_TIERS_THAT_PASS = frozenset({"kube-admin", "kube-baseline", "adminnetworkpolicy", "baselineadminnetworkpolicy"})
"""Tiers that Calico makes itself, whose policies hand on what they do not decide."""


def policy_drift(node: Compared) -> Iterator[Finding]:
    """What differs between the policies and pods of a cluster and the filter table of a node."""
    whole = node.chains.filter.complete
    for direction in DIRECTIONS:
        side = _Side(node, direction)
        if whole:
            yield from side.unreached()
            yield from side.missing_pods()
            yield from side.missing_policies()
        yield from side.not_asked_for()
        yield from side.different_rules()
        if whole:
            yield from side.incomplete_pods()
    yield from _strange_interfaces(node)
    yield from _strange_chains(node)
    yield from _strange_rules(node)


def other_node(node: Compared) -> Finding | None:
    """One finding for a dump whose interfaces are of another node's pods, or are named in a way that is not known."""
    prefixes = tuple(POD.values())
    chains = [chain for chain in node.chains.own() if chain.name.startswith(prefixes)]
    interfaces = {chain.name[len(prefixes[0]) :] for chain in chains}
    if not interfaces or not node.pods or interfaces & {pod.interface for pod in node.pods}:
        return None
    owners = {node.objects.node_of_interface.get(interface, "") for interface in interfaces}
    if len(owners) > 1 or owners == {node.name}:
        return None
    (name,) = owners
    if name:
        detail = f"the dump has the interfaces of node {name}'s pods and none of this node's: it is of another node"
    else:
        detail = f"none of the {len(interfaces)} interfaces with chains has the name of a pod's; nothing was compared"
    return node.finding(POD_DRIFT, detail, None, node.chains.at(chains[0]))


@dataclass(slots=True)
class _Side:
    """One direction of the traffic of a node's pods."""

    node: Compared
    direction: Direction

    @property
    def policies(self) -> Mapping[str, FelixPolicy]:
        """Policies by the names that their chains may have."""
        return self.node.policy_chains[self.direction]

    def chain_of(self, pod: LocalPod) -> Chain | None:
        """The chain of a pod; None when there is none, or when it drops all by order."""
        chain = self.node.chains.by_name.get(chain_name(POD[self.direction], pod.interface))
        if chain is not None and any(says(rule, _DOWN) for rule in chain.rules):
            return None
        return chain

    def reached(self, chain: Chain) -> dict[str, None]:
        """The policy chains that a pod's chain leads to."""
        return self.node.chains.behind((chain.name,), (POLICY[self.direction],), (GROUP[self.direction],))

    def unreached(self) -> Iterator[Finding]:
        """The way from Calico's own FORWARD to the chains of pods; without it no policy is asked."""
        chain, root = self.node.chains.by_name.get(f"{PREFIX}FORWARD"), DISPATCH[self.direction]
        known = root in self.node.chains.by_name
        if chain is not None and known and self.node.pods and root not in self.node.chains.jumps(chain.name):
            detail = f"{chain.name} has no jump to {root}: no policy is asked ({self.direction.value})"
            yield self.node.finding(HOOK, detail, None, self.node.chains.at(chain))

    def missing_pods(self) -> Iterator[Finding]:
        """Pods without a chain, and pods whose packets are not led to theirs."""
        dispatched = self.node.chains.dispatched(self.direction)
        for pod in self.node.pods:
            name = chain_name(POD[self.direction], pod.interface)
            if name not in self.node.chains.by_name:
                detail = f"pod {pod.name} has no chain {name}"
            elif (pod.interface, name) not in dispatched:
                detail = f"{DISPATCH[self.direction]} does not lead {pod.interface} of pod {pod.name} to {name}"
            else:
                continue
            yield self.node.finding(POD_DRIFT, detail, None, self.node.chains.at(self.node.chains.filter))

    def missing_policies(self) -> Iterator[Finding]:
        """Policies that a pod's chain does not lead to, one finding for each policy."""
        lacking: dict[ObjectRef, tuple[FelixPolicy, list[str]]] = {}
        for pod in self.node.pods:
            chain = self.chain_of(pod)
            if chain is None:
                continue
            there = {self.policies[name].ref for name in self.reached(chain) if name in self.policies}
            for policy in pod.policies[self.direction]:
                if policy.ref not in there:
                    lacking.setdefault(policy.ref, (policy, []))[1].append(pod.name)
        for policy, pods in lacking.values():
            names = sorted(chain_name(POLICY[self.direction], name) for name in policy.names)
            there_is = next((name for name in names if name in self.node.chains.by_name), None)
            what = f"no chain {' or '.join(names)}" if there_is is None else f"no way to chain {there_is}"
            detail = f"{what} for {policy.ref}, which selects {first_few(pods)} ({self.direction.value})"
            yield self.node.finding(POLICY_MISSING, detail, policy.ref, policy.at)

    def not_asked_for(self) -> Iterator[Finding]:
        """Chains of policies that do not exist or do not select what they are used for."""
        used = self._used()
        of_hosts = self.node.chains.behind(self.node.chains.hosts, (POLICY[self.direction],), (GROUP[self.direction],))
        for chain in self.node.chains.own():
            if not chain.name.startswith(POLICY[self.direction]):
                continue
            policy = self.policies.get(chain.name)
            if policy is None:
                if self.node.everything_read:
                    detail = f"no policy of the snapshot has the chain {chain.name}{_commented(chain)}"
                    yield self.node.finding(POLICY_STALE, detail, None, self.node.chains.at(chain))
            elif policy.ref in self.node.objects.decided_refs and chain.name not in of_hosts and chain.name in used:
                pods = first_few(used[chain.name]) or "no pod of the node"
                detail = f"chain {chain.name} of {policy.ref} is used for {pods}, which it does not select"
                yield self.node.finding(POLICY_STALE, detail, policy.ref, self.node.chains.at(chain))

    def _used(self) -> dict[str, list[str]]:
        """Chains that pods use although their policy does not select them, with those pods; or that none can use."""
        wrong: dict[str, list[str]] = {}
        expected = {policy.ref for pod in self.node.pods for policy in pod.policies[self.direction]}
        for pod in self.node.pods:
            chain = self.chain_of(pod)
            selecting = {policy.ref for policy in pod.policies[self.direction]}
            for name in self.reached(chain) if chain is not None else ():
                policy = self.policies.get(name)
                if policy is not None and policy.ref not in selecting:
                    wrong.setdefault(name, []).append(pod.name)
        of_strangers = self._of_strangers()
        for chain in self.node.chains.own():
            policy = self.policies.get(chain.name)
            if policy is not None and policy.ref not in expected and chain.name not in of_strangers:
                wrong.setdefault(chain.name, [])
        return wrong

    def _of_strangers(self) -> dict[str, None]:
        """Chains used by interfaces that no pod has, which are told by themselves."""
        interfaces = {chain_name(POD[self.direction], pod.interface) for pod in self.node.pods}
        names = (c.name for c in self.node.chains.own() if c.name.startswith(POD[self.direction]))
        strangers = tuple(name for name in names if name not in interfaces)
        return self.node.chains.behind(strangers, (POLICY[self.direction],), (GROUP[self.direction],))

    def different_rules(self) -> Iterator[Finding]:
        """Chains whose rules are not those of their policy."""
        for chain in self.node.chains.own():
            policy = self.policies.get(chain.name)
            if policy is None or not policy.readable or not self.node.chains.filter.complete:
                continue
            found = found_in(chain, self.node.chains.marks)
            if found is None:
                continue
            expected = wanted(policy.rules(self.direction), self.node.family)
            actual = tuple(rule.shape for rule in found)
            if self.node.chains.nft:
                expected, actual = tuple(map(as_nft_lists, expected)), tuple(map(as_nft_lists, actual))
            difference = _difference(expected, actual)
            if difference:
                detail = f"chain {chain.name} of {policy.ref} differs: {difference}"
                yield self.node.finding(RULES, detail, policy.ref, self.node.chains.at(chain))

    def incomplete_pods(self) -> Iterator[Finding]:
        """Chains of pods that lack what ends them."""
        for pod in self.node.pods:
            chain = self.chain_of(pod)
            if chain is None:
                continue
            for lack in self._lacks(pod, chain):
                detail = f"chain {chain.name} of pod {pod.name} has no {lack}"
                yield self.node.finding(RULES, detail, None, self.node.chains.at(chain))

    def _lacks(self, pod: LocalPod, chain: Chain) -> Iterator[str]:
        ends = [rule for rule in chain.rules if stops(rule)]
        tiers = {policy.tier for policy in pod.policies[self.direction]}
        if sum(says(rule, _NO_POLICY) for rule in ends) < sum(not self._passes(tier) for tier in tiers):
            yield "rule that drops what no policy passed"
        if not any(says(rule, _NO_PROFILE) for rule in ends):
            yield "rule that drops what no profile allowed"
        prefix, name = PROFILE[self.direction], f"kns.{pod.namespace}"
        profile = chain_name(prefix, name)
        if not {profile, prefix + name} & set(self.node.chains.jumps(chain.name)):
            yield f"way to {profile}, the namespace's profile"

    def _passes(self, tier: str) -> bool:
        found = self.node.objects.tiers.get(tier)
        return found.passes if found is not None else tier in _TIERS_THAT_PASS


def _difference(expected: tuple[Shape, ...], found: tuple[Shape, ...]) -> str:
    """What is missing, too much or in another order; "" when nothing is."""
    if expected == found:
        return ""
    missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    parts = [f"no rule {shape}" for shape in missing] + [f"a rule too many, {shape}" for shape in extra]
    return first_few(parts) if parts else "its rules are in another order than the policy's"


def _strange_interfaces(node: Compared) -> Iterator[Finding]:
    """Chains of pods that are not on the node."""
    if not node.everything_read:
        return
    expected = {pod.interface for pod in node.pods}
    expected |= {
        interface_of(pod.namespace, pod.name, prefix)
        for pod in node.objects.cluster.pods
        if pod.node == node.name and not pod.addresses
        for prefix in node.prefixes
    }
    seen: set[str] = set()
    for chain in node.chains.own():
        for direction in DIRECTIONS:
            interface = chain.name.removeprefix(POD[direction])
            if interface != chain.name and interface not in expected and interface not in seen:
                seen.add(interface)
                detail = f"chain {chain.name} is of an interface that no pod of the snapshot has on this node"
                yield node.finding(POD_DRIFT, detail, None, node.chains.at(chain))


def _strange_chains(node: Compared) -> Iterator[Finding]:
    for table in node.chains.tables.values():
        for chain in table.chains:
            if chain.name.startswith(PREFIX) and not is_known(chain.name):
                detail = f"Calico has no chain {chain.name} (table {table.name})"
                yield node.finding(POLICY_STALE, detail, None, node.chains.at(chain))


def _strange_rules(node: Compared) -> Iterator[Finding]:
    """Rules in Calico's chains that Felix did not write; those of policies are told with the policy."""
    for table in node.chains.tables.values():
        for chain in table.chains:
            foreign = [rule.line for rule in chain.rules if not is_felix(rule)]
            if chain.name.startswith(PREFIX) and foreign and not _told(node, chain):
                lines = first_few(f"line {line}" for line in foreign)
                detail = f"chain {chain.name} (table {table.name}) has rules that Calico did not write: {lines}"
                yield node.finding(RULES, detail, None, node.chains.at(chain))


def _told(node: Compared, chain: Chain) -> bool:
    """Whether the comparison with its policy can tell what is wrong with a chain."""
    if not chain.name.startswith(tuple(POLICY.values())):
        return False
    known = any(chain.name in node.policy_chains[direction] for direction in DIRECTIONS)
    return not known or found_in(chain, node.chains.marks) is not None


def _commented(chain: Chain) -> str:
    """What the chain says of itself."""
    texts = (text for rule in chain.rules[:1] for text in rule.comments if text.endswith(("gress", "gress ")))
    return "".join(f" ({text})" for text in texts)
