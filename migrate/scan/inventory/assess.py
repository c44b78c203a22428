"""What is wrong with the picture that the facts give, apart from any single policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrate.model.documents import Fact
from migrate.model.finding import Effect, Finding
from migrate.scan.inventory.enforcement import NETWORK_POLICY_GROUP, NOT_ENFORCED, group_of
from migrate.scan.inventory.gather import Inventory

_NPM = ("npm-linux", "npm-windows")
_CILIUM_POLICIES = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")


def assess(facts: Sequence[Fact], inventory: Inventory) -> tuple[Finding, ...]:
    """The findings about the cluster as a whole, in the order of their sort keys."""
    found = [
        *_fail_open(facts),
        *_two_engines(facts),
        *_windows(facts),
        *_free_ipv6(facts),
        *_cilium_before_its_time(facts, inventory),
        *_calico_left(facts),
    ]
    return tuple(sorted(found, key=Finding.sort_key))


def _fail_open(facts: Sequence[Fact]) -> Iterable[Finding]:
    """Policies of Cilium that nobody enforces have a finding of their own: Cilium will enforce them untranslated."""
    for fact in facts:
        group = group_of(fact)
        if fact.value != NOT_ENFORCED or group == "cilium.io":
            continue
        translated = group == NETWORK_POLICY_GROUP or group.endswith("projectcalico.org")
        effect = Effect.NARROWS if translated else Effect.UNKNOWN
        detail = f"{fact.detail}, and no engine that reads them runs: what they forbid is allowed today"
        yield Finding(id="SCAN-FAIL-OPEN", detail=detail, effect=effect)


def _two_engines(facts: Sequence[Fact]) -> Iterable[Finding]:
    for fact in facts:
        if fact.topic != "policy-enforcement" or fact.state != "active" or group_of(fact) != NETWORK_POLICY_GROUP:
            continue
        who = fact.value.split(", ")
        if len(who) > 1 and not set(who) <= set(_NPM):
            detail = f"{' and '.join(who)} enforce NetworkPolicies at the same time"
            yield Finding(id="SCAN-TWO-ENGINES", detail=detail, effect=Effect.UNKNOWN)


def _windows(facts: Sequence[Fact]) -> Iterable[Finding]:
    for fact in facts:
        if fact.topic == "windows-pool" and fact.state == "active":
            detail = f"node pool {fact.value} runs Windows"
            yield Finding(id="CLU-WINDOWS-POOL", detail=detail, effect=Effect.UNKNOWN)


def _free_ipv6(facts: Sequence[Fact]) -> Iterable[Finding]:
    """NPM polices IPv4 only, so on other clusters than IPv4 ones the policies are new for IPv6."""
    families = next((f.value for f in facts if f.topic == "ip-families" and f.state == "active"), "")
    npm = [f.value for f in facts if f.topic == "engine" and f.state == "active" and f.value in _NPM]
    if npm and families in ("dual-stack", "ipv6"):
        detail = f"the cluster is {families}, and {' and '.join(npm)} enforces nothing for IPv6"
        yield Finding(id="POL-IPV6", detail=detail, effect=Effect.NARROWS)


def _cilium_before_its_time(facts: Sequence[Fact], inventory: Inventory) -> Iterable[Finding]:
    if not _is_left(facts, "cilium"):
        return
    policies = [raw for kind in _CILIUM_POLICIES for raw in inventory.all(kind) if raw.ref.group == "cilium.io"]
    for raw in policies:
        detail = "has no effect today and is enforced as soon as Cilium runs"
        yield Finding(id="POL-CILIUM-CRD-PRESENT", detail=detail, effect=Effect.UNKNOWN, subject=raw.ref, at=raw.at())
    if not policies:
        yield Finding(id="POL-CILIUM-CRD-PRESENT", detail="Cilium's kinds are in the API, without any policy")


def _calico_left(facts: Sequence[Fact]) -> Iterable[Finding]:
    if _is_left(facts, "calico"):
        detail = next(fact.detail for fact in facts if fact.topic == "engine" and fact.value == "calico")
        yield Finding(id="NODE-CALICO-CRD-LEFT", detail=detail)


def _is_left(facts: Sequence[Fact], engine: str) -> bool:
    return any(f.topic == "engine" and f.value == engine and f.state == "present" for f in facts)
