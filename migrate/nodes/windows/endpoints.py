"""The ACLs of endpoints, compared with those that NPM makes of the policies that select their pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from migrate.model.cluster import Pod
from migrate.model.finding import Effect, Finding
from migrate.model.refs import Location, ObjectRef
from migrate.nodes.windows.conversion import ACL_PREFIX
from migrate.nodes.windows.platform import platform
from migrate.nodes.windows.policies import Policies, PolicyAcls
from migrate.nodes.windows.ports import HnsNode, Port
from migrate.nodes.windows.rules import Rule, rule_of
from migrate.nodes.windows.sets import NodeSets
from migrate.nodes.windows.words import DISAGREE, DRIFT, INVERTED, REFUSED, SHARED_ID, listed

_REFUSED_SINCE = "it has NotIn or DoesNotExist in an egress namespaceSelector, which newer releases refuse"


@dataclass(frozen=True, eq=False)
class PortRules:
    """The ACLs of one endpoint by id. Where files differ, `certain` are in all of them and `possible` in one."""

    port: Port
    certain: Mapping[str, frozenset[Rule]]
    possible: Mapping[str, frozenset[Rule]]
    places: Mapping[tuple[str, Rule], Location]

    @property
    def policy_ids(self) -> list[str]:
        """Ids that NPM gives the ACLs of policies."""
        return sorted(i for i in self.certain if i.startswith(ACL_PREFIX) and i not in platform().base_ids)

    def of_others(self) -> dict[Rule, Location]:
        """ACLs that are of no policy, certain ones only."""
        policies = set(self.policy_ids)
        return {r: self.places[i, r] for i, rules in self.certain.items() if i not in policies for r in rules}

    def strays(self, selecting: Collection[str]) -> dict[Rule, str]:
        """ACLs under ids that none of the policies of these ids has, with that id."""
        known = {*selecting, *platform().base_ids}
        return {rule: i for i in sorted(self.certain) if i not in known for rule in self.certain[i]}

    @property
    def differ(self) -> list[Rule]:
        """ACLs that only some of the files have."""
        several = {rule for i, rules in self.possible.items() for rule in rules - self.certain.get(i, frozenset())}
        return sorted(several, key=Rule.sort_key)


def port_rules(port: Port, sets: NodeSets, node_addresses: frozenset[str]) -> PortRules:
    """What an endpoint's ACLs say. Without addresses of the node any single one may be its own."""
    versions: list[dict[str, set[Rule]]] = []
    places: dict[tuple[str, Rule], Location] = {}
    for state, endpoint in port.versions:
        found: dict[str, set[Rule]] = defaultdict(set)
        for acl in endpoint.acls:
            rule = rule_of(acl, sets.name, lambda place: _may_be_node(place, node_addresses))
            if endpoint.unread and acl.unread:
                continue
            found[acl.id].add(rule)
            places.setdefault((acl.id, rule), state.at(acl))
        versions.append(found)
    ids = sorted({acl_id for found in versions for acl_id in found})
    empty: set[Rule] = set()
    certain = {i: frozenset(set.intersection(*(found.get(i, empty) for found in versions))) for i in ids}
    possible = {i: frozenset(empty.union(*(found.get(i, empty) for found in versions))) for i in ids}
    return PortRules(port, {i: rules for i, rules in certain.items() if rules}, possible, places)


def _may_be_node(place: str, addresses: frozenset[str]) -> bool:
    return place in addresses if addresses else place.endswith("/32")


@dataclass(frozen=True, eq=False)
class EndpointDrift:
    """The comparison of one node's endpoints with a cluster that is known.

    Not `complete`: there may be pods and policies that are not known, so that nothing is said to be too many. Not
    `node_known`: the cluster has no such node, and endpoints are those of pods wherever these run.
    """

    node: ObjectRef
    hns: HnsNode
    sets: NodeSets
    policies: Policies
    pods: tuple[Pod, ...]
    node_addresses: frozenset[str]
    node_known: bool
    complete: bool

    @cached_property
    def rules(self) -> tuple[PortRules, ...]:
        """The ACLs of all endpoints in use."""
        return tuple(port_rules(port, self.sets, self.node_addresses) for port in self.hns.in_use)

    @cached_property
    def _by_address(self) -> Mapping[str, Pod]:
        """Pods by address; of several with one address the one on this node."""
        here = self.node.name
        known = sorted(self.pods, key=lambda pod: (pod.node == here, str(pod)))
        return {str(address): pod for pod in known for address in pod.addresses if not pod.host_network}

    def pod(self, port: Port) -> Pod | None:
        """The pod that an endpoint is of."""
        return next((pod for a in port.addresses if (pod := self._by_address.get(str(a))) is not None), None)

    @cached_property
    def _here(self) -> tuple[tuple[PortRules, Pod], ...]:
        """Endpoints with their pods, without those of pods that run on other nodes."""
        found = ((rules, self.pod(rules.port)) for rules in self.rules)
        return tuple((rules, pod) for rules, pod in found if pod is not None and self._may_run_here(pod))

    def _may_run_here(self, pod: Pod) -> bool:
        return not self.node_known or pod.node in (self.node.name, None)

    @cached_property
    def _selecting(self) -> Mapping[str, tuple[PolicyAcls, ...]]:
        """The policies that select each pod here."""
        return {str(pod): self.policies.of(pod) for _, pod in self._here}

    @cached_property
    def _selected(self) -> Mapping[ObjectRef, list[tuple[PortRules, Pod]]]:
        """Endpoints with their pods by the policies that select them."""
        found: dict[ObjectRef, list[tuple[PortRules, Pod]]] = {}
        for rules, pod in self._here:
            for acls in self._selecting[str(pod)]:
                found.setdefault(acls.ref, []).append((rules, pod))
        return found

    def needed(self) -> frozenset[str]:
        """Sets that ACLs here should name."""
        policies = {acls for several in self._selecting.values() for acls in several}
        return frozenset(place for acls in policies for rule in acls.rules - acls.forms.keys() for place in rule.sets())

    def is_foreign(self) -> bool:
        """Whether no endpoint and no set with policies is of a pod of the cluster, although there are some."""
        with_policies = [rules.port for rules in self.rules if rules.policy_ids]
        known = any(pod.addresses and not pod.host_network for pod in self.pods)
        if not known or not self.complete or any(self.pod(rules.port) is not None for rules in self.rules):
            return False
        members = self.sets.pod_members()
        return not members & self._by_address.keys() if members else len(with_policies) > 1

    def findings(self) -> Iterator[Finding]:
        """All that differs."""
        yield from self._disagreements()
        yield from self._pods_without_endpoint()
        yield from self._of_policies()
        yield from self._shared_ids()
        for rules, pod in self._here:
            yield from self._of_endpoint(rules, pod)
        yield from self._of_nobody()

    def _disagreements(self) -> Iterator[Finding]:
        for rules in self.rules:
            if rules.differ:
                files = listed(dict.fromkeys(state.source for state, _ in rules.port.versions), " and ")
                detail = f"{files} differ in {listed(rules.differ, '; ')} of endpoint {rules.port.name}"
                yield self._finding(DISAGREE, detail, at=rules.port.at)

    def _pods_without_endpoint(self) -> Iterator[Finding]:
        there = {str(address) for port in self.hns.in_use for address in port.addresses}
        for pod in self.pods if self.hns.whole else ():
            mine = pod.node == self.node.name and bool(pod.addresses) and not pod.host_network
            if mine and not any(str(address) in there for address in pod.addresses):
                yield self._finding(DRIFT, f"pod {pod} ({pod.addresses[0]}) runs here and has no endpoint in use")

    @cached_property
    def _not_programmed(self) -> frozenset[str]:
        """Ids of policies that the conversion would turn around, and of which no endpoint here has anything."""
        there = {acl_id for rules, _ in self._here for acl_id in rules.possible}
        return frozenset(acls.id for acls in self.policies.inverted) - there

    def _of_policies(self) -> Iterator[Finding]:
        """What is to be said of a policy once for the whole node."""
        for acls in self.policies.all:
            selected = self._selected.get(acls.ref, [])
            reason = _REFUSED_SINCE if acls.id in self._not_programmed else acls.refused
            free = [pod for rules, pod in selected if acls.id not in rules.possible and rules.port.whole]
            turned = [pod for rules, pod in selected if acls.inverted and acls.id in rules.certain]
            if reason and free:
                detail = f"nothing of {acls.ref} is programmed, since {reason}; it leaves {_pods(free)} open"
                yield self._finding(REFUSED, detail, Effect.NARROWS, acls.ref, acls.at)
            elif turned:
                detail = f"{acls.ref} allows {_pods(turned)} the very namespaces that its egress peer leaves out"
                yield self._finding(INVERTED, detail, Effect.UNKNOWN, acls.ref, acls.at)

    def _shared_ids(self) -> Iterator[Finding]:
        """Ids that several policies have, one of which at least is for a pod of this node."""
        for acl_id in sorted({acls.id for several in self._selecting.values() for acls in several}):
            refs = self.policies.by_id[acl_id]
            if len(refs) > 1:
                detail = f"{listed(refs, ' and ')} have ACLs with one id, {acl_id}: deleting one opens the other"
                yield self._finding(SHARED_ID, detail, subject=refs[0])

    def _of_endpoint(self, rules: PortRules, pod: Pod) -> Iterator[Finding]:
        """What an endpoint lacks of each policy that selects its pod, and what it has of others."""
        selecting = {acls.id: acls for acls in self._selecting[str(pod)]}
        strays = rules.strays(selecting)
        moved: set[tuple[str, Rule]] = set()
        for acls in selecting.values():
            if acls.refused and acls.id in rules.certain:
                words = "has ACLs of an earlier text of it, since NPM refuses the present one"
                yield self._differs(rules, pod, acls, words, Effect.UNKNOWN, [])
            elif not acls.refused and acls.id not in self._not_programmed:
                yield from self._of_policy(rules, pod, acls, strays)
                moved |= {(strays[rule], rule) for rule in self._lacks(rules, acls) if rule in strays}
        for acl_id in rules.policy_ids if self.complete else ():
            left = {rule for rule in rules.certain[acl_id] if (acl_id, rule) not in moved}
            if left and acl_id not in selecting and acl_id not in self.policies.unread_ids:
                yield self._leftover(rules, pod, acl_id, left)

    def _lacks(self, rules: PortRules, acls: PolicyAcls) -> list[Rule]:
        """ACLs of a policy that an endpoint does not have in any file; none when not all of them were read."""
        return acls.lacking(rules.possible.get(acls.id, frozenset())) if rules.port.whole else []

    def _of_policy(self, rules: PortRules, pod: Pod, acls: PolicyAcls, strays: Mapping[Rule, str]) -> Iterator[Finding]:
        lacks = self._lacks(rules, acls)
        besides = acls.besides(rules.certain.get(acls.id, frozenset()))
        if not lacks and not besides:
            return
        words = [f"lacks {listed(lacks, '; ')}"] if lacks else []
        words += [f"has {listed(besides, '; ')} besides"] if besides else []
        ids = sorted({strays[rule] for rule in lacks if rule in strays})
        words += [f"has such ones under {listed([repr(i) for i in ids])}"] if ids else []
        open_to_all = acls.id not in rules.possible and not ids
        if open_to_all:
            words = [f"has none of its {len(lacks)} ACLs"]
        yield self._differs(rules, pod, acls, " and ".join(words), _effect(open_to_all), besides)

    def moved(self, rules: PortRules) -> frozenset[Rule]:
        """ACLs of no policy that are those of one but for their id."""
        pod = next((pod for found, pod in self._here if found is rules), None)
        selecting = self._selecting[str(pod)] if pod is not None else ()
        return frozenset(rule for acls in selecting for rule in self._lacks(rules, acls))

    def _differs(
        self, rules: PortRules, pod: Pod, acls: PolicyAcls, words: str, effect: Effect, besides: list[Rule]
    ) -> Finding:
        at = rules.places[acls.id, besides[0]] if besides else rules.port.at
        detail = f"for {acls.ref} endpoint {rules.port.name} of pod {pod} {words}"
        return self._finding(DRIFT, detail, effect, acls.ref, at)

    def _leftover(self, rules: PortRules, pod: Pod, acl_id: str, left: set[Rule]) -> Finding:
        """ACLs of a policy that is gone or selects other pods. An id is never cut apart: it may fit several names."""
        fitting = self.policies.by_id.get(acl_id, ())
        why = f"which fits only {listed(fitting)}, and that does not select it" if fitting else "which no policy has"
        count = "an ACL" if len(left) == 1 else f"{len(left)} ACLs"
        detail = f"endpoint {rules.port.name} of pod {pod} has {count} with the id {acl_id}, {why}"
        return self._finding(DRIFT, detail, at=rules.places[acl_id, min(left, key=Rule.sort_key)])

    def _of_nobody(self) -> Iterator[Finding]:
        """Endpoints in use that have ACLs of policies, and whose addresses no pod has, or one of another node."""
        mine = {rules for rules, _ in self._here}
        for rules in self.rules if self.complete else ():
            if rules in mine or not rules.policy_ids:
                continue
            pod = self.pod(rules.port)
            where = "which no pod has" if pod is None else f"which is that of pod {pod} on node {pod.node}"
            detail = f"endpoint {rules.port.name} has the address {rules.port.addresses[0]}, {where}, and ACLs"
            yield self._finding(DRIFT, f"{detail} of {listed(rules.policy_ids)}", at=rules.port.at)

    def _finding(
        self,
        finding_id: str,
        detail: str,
        effect: Effect = Effect.UNKNOWN,
        subject: ObjectRef | None = None,
        at: Location | None = None,
    ) -> Finding:
        text = f"node {self.node.name}: {detail}"
        return Finding(id=finding_id, detail=text, effect=effect, subject=subject or self.node, at=at)


def _effect(open_to_all: bool) -> Effect:
    return Effect.NARROWS if open_to_all else Effect.UNKNOWN


def _pods(pods: list[Pod]) -> str:
    return f"pod {pods[0]}" if len(pods) == 1 else f"pods {listed(pods)}"
