"""The policies of a cluster with the ACLs that NPM makes of them on Windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from migrate.model.cluster import Pod
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import Selector, matches
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.npm.settings import read_toggles
from migrate.nodes.windows.conversion import acl_id, converted, direct_forms, inverted
from migrate.nodes.windows.rules import Rule
from migrate.sources.kubernetes import NetworkPolicy
from migrate.sources.kubernetes_engine import in_namespace
from migrate.sources.npm_refusals import ignored_holes, linux_refusal, odd_values, windows_refusal


@dataclass(frozen=True, eq=False)
class PolicyAcls:
    """One policy: what it selects, and its ACLs. `refused` is why NPM makes none, empty when it does.

    `inverted`: the ACLs allow what an egress peer leaves out. `forms` are the other ways in which an ACL may be
    written. `doubtful`: releases differ in what they make of it.
    """

    ref: ObjectRef
    at: Location | None
    id: str
    selector: Selector
    rules: frozenset[Rule]
    refused: str
    inverted: bool
    forms: Mapping[Rule, frozenset[Rule]]
    doubtful: bool

    def lacking(self, given: frozenset[Rule]) -> list[Rule]:
        """ACLs of the policy that are not among those given, in none of their forms."""
        missing = (rule for rule in self.rules - given if not self.forms.get(rule, frozenset()) & given)
        return [] if self.doubtful else sorted(missing, key=Rule.sort_key)

    def besides(self, given: frozenset[Rule]) -> list[Rule]:
        """ACLs given that are not the policy's in any form."""
        more = given - self.rules.union(*self.forms.values())
        return [] if self.doubtful else sorted(more, key=Rule.sort_key)

    def selects(self, pod: Pod) -> bool:
        """Whether it is for a pod, which it has to know by an IPv4 address."""
        known = bool(pod.addresses) and pod.addresses[0].version == 4 and not pod.host_network
        return known and (self.ref.namespace or "default") == pod.namespace and matches(self.selector, pod)


@dataclass(frozen=True, eq=False)
class Policies:
    """All policies that could be read, by namespace and name.

    `by_id` are all that there are by the id of their ACLs, `unread_ids` the ids of those that could not be read.
    """

    all: tuple[PolicyAcls, ...]
    by_id: Mapping[str, tuple[ObjectRef, ...]]
    unread_ids: frozenset[str]

    @cached_property
    def _by_namespace(self) -> Mapping[str, tuple[PolicyAcls, ...]]:
        found: dict[str, list[PolicyAcls]] = {}
        for acls in self.all:
            found.setdefault(acls.ref.namespace or "default", []).append(acls)
        return {namespace: tuple(several) for namespace, several in found.items()}

    @cached_property
    def inverted(self) -> tuple[PolicyAcls, ...]:
        """Those that NPM takes and turns around."""
        return tuple(acls for acls in self.all if acls.inverted and not acls.refused)

    def of(self, pod: Pod) -> tuple[PolicyAcls, ...]:
        """Those that select a pod."""
        return tuple(acls for acls in self._by_namespace.get(pod.namespace, ()) if acls.selects(pod))


@lru_cache(maxsize=1)
def policies_of(view: ClusterView) -> Policies:
    """The policies of a snapshot, made once for all of its nodes."""
    raws = [raw for raw in view.by_kind.get("NetworkPolicy", ()) if raw.ref.group == "networking.k8s.io"]
    odd = odd_values(raws)
    by_id: dict[str, tuple[ObjectRef, ...]] = {}
    for raw in sorted(raws, key=lambda raw: raw.ref.sort_key()):
        by_id[acl_id(raw.ref)] = (*by_id.get(acl_id(raw.ref), ()), raw.ref)
    read = sorted(view.network_policies, key=lambda policy: policy.ref.sort_key())
    refs = {policy.ref for policy in read}
    unread = frozenset(acl_id(raw.ref) for raw in raws if raw.ref not in refs)
    lite = read_toggles(view).lite
    return Policies(tuple(_acls(policy, odd.get(policy.ref, ""), lite=lite) for policy in read), by_id, unread)


def _acls(policy: NetworkPolicy, odd: str, *, lite: bool) -> PolicyAcls:
    refused = odd or windows_refusal(policy, lite=lite) or linux_refusal(policy, lite=lite)
    return PolicyAcls(
        ref=policy.ref,
        at=policy.at,
        id=acl_id(policy.ref),
        selector=in_namespace(policy.subject, policy.ref.namespace),
        rules=frozenset() if refused else converted(policy),
        refused=refused,
        inverted=not refused and inverted(policy),
        forms=direct_forms(policy) if lite and not refused else {},
        doubtful=lite and any(True for _ in ignored_holes(policy)),
    )
