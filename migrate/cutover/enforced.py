"""Whether endpoints are policed as the policies ask, and whether the policies are there at all: findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from migrate.audit.judge import Judge
from migrate.audit.world import World
from migrate.cutover.agents import AgentState, Endpoint, Imported
from migrate.model.cluster import Pod
from migrate.model.cutover_documents import EndpointCheck
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.translate.kinds import is_policy

_READY = ("ready", "regenerating", "waiting-to-regenerate", "restoring")
"""States in which an endpoint has a policy in force; regenerating, the one before."""
_PASSING = ("regenerating", "waiting-to-regenerate", "restoring", "creating", "waiting-for-identity")
_SHARE = 0.8
_POLICY_KINDS = ("NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
"""Kinds of which every agent has each object."""


@dataclass(slots=True)
class Enforcement:
    """What agents say of their endpoints, against what the policies ask. `limit`: entries that a policy map holds."""

    judge: Judge
    world: World
    limit: int
    findings: list[Finding] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    _fine: int = 0
    _not: int = 0
    _unjudged: int = 0

    def check(self, state: AgentState) -> None:
        """All endpoints of an agent."""
        for endpoint in state.endpoints or ():
            if not endpoint.pod or endpoint.is_reserved:
                continue
            found = list(self._of(endpoint, state))
            known = self._pod(endpoint) is not None
            self.findings += found
            self._unjudged += not known
            self._not += bool(found) and known
            self._fine += known and not found

    @property
    def endpoints(self) -> EndpointCheck:
        """In numbers."""
        total = self._fine + self._not + self._unjudged
        return EndpointCheck(pods=total, as_predicted=self._fine, not_as_predicted=self._not, not_judged=self._unjudged)

    def _pod(self, endpoint: Endpoint) -> Pod | None:
        return self.world.pod(endpoint.namespace, endpoint.pod)

    def _of(self, endpoint: Endpoint, state: AgentState) -> Iterator[Finding]:
        ref = ObjectRef("v1", "Pod", endpoint.namespace, endpoint.pod)
        where = f"endpoint {endpoint.number} on {state.node}"
        if endpoint.state and endpoint.state not in _READY:
            yield Finding(
                id="CUT-ENDPOINT-NOT-READY",
                detail=f"{where} is {endpoint.state}, so no policy is in force for it as it should be",
                effect=Effect.UNKNOWN,
                subject=ref,
            )
        if endpoint.enforced.startswith("audit"):
            yield Finding(
                id="CUT-AUDIT-MODE",
                detail=f"{where} is in policy audit mode: what its policies deny is told and let through",
                effect=Effect.WIDENS,
                subject=ref,
            )
        pod = self._pod(endpoint)
        if pod is None:
            self.unknown.add(f"{endpoint.namespace}/{endpoint.pod}")
        elif endpoint.enforced and not pod.host_network:
            yield from self._directions(endpoint, pod, ref, where)
        yield from self._map(endpoint, ref, where)
        behind = state.revision is not None and endpoint.revision is not None and endpoint.revision < state.revision
        if behind and endpoint.state not in _PASSING:
            yield Finding(
                id="CUT-ENDPOINT-NOT-READY",
                detail=f"{where} has policy revision {endpoint.revision}, its agent {state.revision}",
                effect=Effect.UNKNOWN,
                subject=ref,
            )

    def _directions(self, endpoint: Endpoint, pod: Pod, ref: ObjectRef, where: str) -> Iterator[Finding]:
        enforced = endpoint.enforced.removeprefix("audit-")
        for direction in Direction:
            wanted = self.judge.simulator.chain(pod, direction).enforced
            has = enforced in ("both", direction.value)
            if wanted and not has:
                detail = f"{where} polices no {direction.value}, and the policies isolate it there"
                yield Finding(id="CUT-NOT-ENFORCED", detail=detail, effect=Effect.WIDENS, subject=ref)
            if has and not wanted:
                detail = f"{where} polices {direction.value}, and no translated policy isolates it there"
                yield Finding(id="CUT-NOT-ENFORCED", detail=detail, effect=Effect.NARROWS, subject=ref)

    def _map(self, endpoint: Endpoint, ref: ObjectRef, where: str) -> Iterator[Finding]:
        entries = endpoint.entries
        if entries == 0 and endpoint.enforced in ("both", "ingress", "egress"):
            detail = f"{where} is policed, and its policy map is empty: nothing passes there"
            yield Finding(id="CUT-MAP-PRESSURE", detail=detail, effect=Effect.NARROWS, subject=ref)
        elif entries is not None and entries > _SHARE * self.limit:
            detail = f"the policy map of {where} has {entries:,} of {self.limit:,} entries"
            yield Finding(id="CUT-MAP-PRESSURE", detail=detail, effect=Effect.UNKNOWN, subject=ref)


def not_imported(states: Sequence[AgentState], expected: Iterable[RawObject]) -> Iterator[Finding]:
    """Policies that an agent does not have, and those that it has beside the expected ones."""
    wanted = {_imported(raw.ref): raw for raw in expected if raw.ref.kind in _POLICY_KINDS}
    asked = [state for state in states if state.policies is not None]
    for key in sorted(wanted, key=lambda one: (one.namespace, one.name, one.kind)):
        without = sorted(state.node for state in asked if state.policies is not None and key not in state.policies)
        if without:
            detail = f"{_some(without)} of {len(asked)} agents do not have it"
            ref = wanted[key].ref
            yield Finding(id="CUT-POLICY-NOT-IMPORTED", detail=detail, effect=Effect.UNKNOWN, subject=ref)
    beside = {one for state in asked for one in state.policies or () if one not in wanted and one.kind in _POLICY_KINDS}
    for one in sorted(beside, key=lambda each: (each.namespace, each.name, each.kind)):
        api = "networking.k8s.io/v1" if one.kind == "NetworkPolicy" else "cilium.io/v2"
        subject = ObjectRef(api, one.kind, one.namespace or None, one.name)
        detail = "agents enforce it, and it is not among the translated policies"
        yield Finding(id="CUT-POLICY-DIFFERS", detail=detail, effect=Effect.UNKNOWN, subject=subject)


def _some(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")


def _imported(ref: ObjectRef) -> Imported:
    return Imported(ref.kind, ref.namespace or "", ref.name)


def differing(expected: Iterable[RawObject], there: Iterable[RawObject]) -> Iterator[Finding]:
    """Policies of the cluster that are not those that were translated: missing, changed, or beside them."""
    wanted = {raw.ref: raw for raw in expected if _is_read_by_cilium(raw.ref)}
    found = {raw.ref: raw for raw in there if _is_read_by_cilium(raw.ref)}
    for ref in sorted(wanted.keys() | found.keys(), key=ObjectRef.sort_key):
        detail = _difference(wanted.get(ref), found.get(ref))
        if detail:
            at = wanted[ref].at() if ref in wanted else None
            yield Finding(id="CUT-POLICY-DIFFERS", detail=detail, effect=Effect.UNKNOWN, subject=ref, at=at)


def _is_read_by_cilium(ref: ObjectRef) -> bool:
    return is_policy(ref) and ref.group in ("networking.k8s.io", "cilium.io", "policy.networking.k8s.io")


def _difference(wanted: RawObject | None, there: RawObject | None) -> str:
    if there is None:
        return "it was translated, and is not in the cluster"
    if wanted is None:
        return "it is in the cluster, and not among the translated policies"
    if _said(wanted) != _said(there):
        return "what it says in the cluster is not what was translated"
    return ""


def _said(raw: RawObject) -> tuple[Json, Json]:
    return raw.data.get("spec"), raw.data.get("specs")
