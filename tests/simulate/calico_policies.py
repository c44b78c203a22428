"""Random Calico objects over the whole of projectcalico.org/v3, ordered: tiers, every action, every field of a rule.

All of them pass Calico's validation.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tests.differential.blocks import draw_block
from tests.differential.calico_policies import CalicoPolicies as UnorderedPolicies
from tests.differential.calico_selectors import draw_selector
from tests.differential.chance import Chance
from tests.differential.clusters import (
    ACCOUNT_LABELS,
    ACCOUNTS,
    NAMESPACE_LABELS,
    NAMESPACES,
    POD_LABELS,
    PORT_NAMES,
    Traits,
    draw_namespace,
    versions,
)
from tests.reference.cases import Case
from tests.simulate.calico_hosts import draw_felix, draw_hosts, draw_slices, elsewhere
from tests.simulate.calico_rules import HOST_FORMS, Combination, DecidingPolicies

Object: TypeAlias = dict[str, object]

STORED, V3 = "crd.projectcalico.org/v1", "projectcalico.org/v3"
ORDERS = (None, None, -5, 10, 10.5, 100, 100, 1000, 1000, 2000)
TIERS = ("default", "default", "alpha", "security", "zeta")
PORTS: tuple[int | str, ...] = (22, 53, 80, 6443, 443, 8080, "80:90", "8000:8100", "1:65535", "1:79", "9999")
SOURCE_PORTS: tuple[int | str, ...] = (1024, "1024:65535", 40000, "1:1023", "http")
ACTIONS = ("Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log")
PROTOCOLS = ("", "", "", "TCP", "TCP", "UDP", "SCTP", "ICMP", "ICMP", "UDPLite", 6, 17, 132, 136, 47)
WITH_PORTS = ("TCP", "UDP", "SCTP", 6, 17, 132)
ICMP_TYPES, ICMP_CODES = (0, 3, 8, 128, 254), (0, 1, 255)
_CONDITIONS = (
    *("selector", "selector", "namespaceSelector", "namespaceSelector", "nets", "nets"),
    *("notSelector", "notNets", "serviceAccounts"),
)
_AUTOMATIC: dict[str, tuple[str, ...]] = {
    "projectcalico.org/namespace": NAMESPACES,
    "projectcalico.org/serviceaccount": ACCOUNTS,
    "projectcalico.org/orchestrator": ("k8s",),
    "pcns.projectcalico.org/name": NAMESPACES,
    "pcsa.projectcalico.org/name": ACCOUNTS,
    **{f"pcns.{key}": values for key, values in NAMESPACE_LABELS.items()},
    **{f"pcsa.{key}": values for key, values in ACCOUNT_LABELS.items()},
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """What holds for all parts of a rule: the IP version of its networks, and whether it may name ports."""

    version: int
    has_ports: bool


class CalicoPolicies:
    """Draws Calico objects for one cluster."""

    def __init__(self, chance: Chance, traits: Traits, case: Case) -> None:
        self._chance = chance
        self._tiers = chance.pick((TIERS, TIERS, ("default",), ("alpha",)))
        self._orders = chance.pick((ORDERS, ORDERS, (None,), (100,)))
        self._traits = traits
        self._case = case
        self._sets = UnorderedPolicies(chance, traits, case)

    def objects(self, shown: Sequence[Combination], most: int) -> list[Object]:
        """Policies that show each of the forms, at most some others, the tiers, and what policies refer to."""
        chance = self._chance
        deciding = DecidingPolicies(chance, self._traits, self._case)
        found = [deciding.tier()] if shown else []
        found += [deciding.policy(f"shown-{index}", combination) for index, combination in enumerate(shown)]
        found += [self._policy(f"{chance.pick('azm')}-{index}") for index in range(chance.number(0, most))]
        found += [self._sets.network_set(f"set-{index}") for index in range(chance.number(0, 2))]
        found += [self._tier(name) for name in dict.fromkeys(TIERS[2:]) if chance.happens(0.75)]
        for_hosts = any(form in HOST_FORMS for _, _, form in shown)
        if for_hosts or chance.happens(0.3):
            found += draw_hosts(chance, self._case)
        if chance.happens(0.3):
            found.append(elsewhere(chance, self._case, "host-elsewhere"))
        if chance.happens(0.3):
            found.append(draw_felix(chance, self._traits))
        return found + draw_slices(chance, self._case, self._traits)

    def staged(self, policies: Sequence[Object]) -> list[Object]:
        """Staged policies: new ones, and some that stand for an enforced one of their name."""
        chance = self._chance
        enforced = [item for item in policies if str(item["kind"]).endswith("NetworkPolicy")]
        found: dict[str, Object] = {}
        for index in range(chance.number(1, 3)):
            drawn = self._policy(f"{chance.pick('azm')}-staged-{index}")
            item = copy.deepcopy(chance.pick(enforced)) if chance.happens(0.6) else drawn
            if str(item["kind"]).startswith("Staged"):
                continue
            if item["apiVersion"] == "networking.k8s.io/v1":
                item |= {"apiVersion": V3, "kind": "KubernetesNetworkPolicy"}
            else:
                item["spec"] = self._respecified(item)
            spec = item["spec"]
            assert isinstance(spec, dict)
            action = chance.pick(("", "Set", "Set", "Delete", "Ignore", "Learn"))
            item |= {"kind": f"Staged{item['kind']}", "spec": spec | ({"stagedAction": action} if action else {})}
            found.setdefault(f"{item['kind']} {item['metadata']}", item)
        return list(found.values())

    def _respecified(self, item: Object) -> Object:
        """Another spec for a policy, in the same tier."""
        old = item["spec"]
        assert isinstance(old, dict)
        spec = self._spec(item["kind"] == "GlobalNetworkPolicy")
        self._give_types(spec)
        return spec | ({"tier": old["tier"]} if "tier" in old else {})

    def _tier(self, name: str) -> Object:
        spec: Object = {}
        order = self._chance.pick((None, 5, 50, 50, 2_000_000))
        if order is not None:
            spec["order"] = order
        action = self._chance.pick(("", "Deny", "Pass", "Pass"))
        if action:
            spec["defaultAction"] = action
        return _object("Tier", name, "", spec)

    def _policy(self, name: str) -> Object:
        chance = self._chance
        everywhere = chance.happens(0.5)
        namespace = "" if everywhere else draw_namespace(chance, self._case)
        tier, spec = chance.pick(self._tiers), self._spec(everywhere)
        if tier != "default" or chance.happens(0.2):
            spec["tier"] = tier
        stored = chance.happens(0.35)
        if not stored or chance.happens(0.5):
            self._give_types(spec)
        kind = "GlobalNetworkPolicy" if everywhere else "NetworkPolicy"
        full = f"{tier}.{name}" if stored or tier != "default" else name
        found = _object(kind, full, namespace, spec, stored=stored)
        if stored and chance.happens(0.3):
            metadata = found["metadata"]
            assert isinstance(metadata, dict)
            kept = {"name": name if tier == "default" else full, "labels": {"a": "b"}}
            metadata["annotations"] = {"projectcalico.org/metadata": json.dumps(kept)}
        return found

    def _spec(self, everywhere: bool) -> Object:
        chance = self._chance
        spec: Object = {}
        order = chance.pick(self._orders)
        if order is not None:
            spec["order"] = order
        if chance.happens(0.65):
            spec["selector"] = self._pods()
        if everywhere and chance.happens(0.35):
            spec["namespaceSelector"] = self._namespaces()
        if chance.happens(0.15):
            spec["serviceAccountSelector"] = self._accounts()
        if everywhere and chance.happens(0.25):
            self._make_host_policy(spec)
        if chance.happens(0.05):
            spec["performanceHints"] = ["AssumeNeededOnEveryNode"]
        for field in ("ingress",) if spec.get("preDNAT") else ("ingress", "egress"):
            if chance.happens(0.65):
                spec[field] = chance.repeat(0 if chance.happens(0.1) else 1, 4, partial(self._rule, field))
        return spec

    def _make_host_policy(self, spec: Object) -> None:
        """A policy of which some parts hold for hosts only."""
        kind = self._chance.pick(("doNotTrack", "preDNAT", "applyOnForward"))
        if kind != "applyOnForward":
            spec[kind] = True
            spec.pop("namespaceSelector", None)
        spec["applyOnForward"] = True

    def _give_types(self, spec: Object) -> None:
        chance = self._chance
        if not chance.happens(0.6):
            return
        present = [kind for kind in ("Ingress", "Egress") if kind.lower() in spec]
        spec["types"] = present if present and chance.happens(0.6) else ["Ingress", "Egress"]
        if spec.get("preDNAT"):
            spec["types"] = ["Ingress"]

    def _rule(self, field: str) -> Object:
        chance = self._chance
        rule: Object = {"action": chance.pick(ACTIONS)}
        version = chance.pick(versions(self._traits.families))
        protocol = chance.pick(PROTOCOLS)
        if protocol == "ICMP" and version == 6:
            protocol = "ICMPv6"
        if protocol:
            rule["protocol"] = protocol
        if protocol in ("ICMP", "ICMPv6"):
            self._give_icmp(rule)
        elif chance.happens(0.15):
            rule["ipVersion"] = version
        if chance.happens(0.08):
            rule["notProtocol"] = chance.pick(("TCP", "UDP", "ICMP" if version == 4 else "ICMPv6", "UDPLite", 132, 47))
        shape = _Rule(version, protocol in WITH_PORTS)
        peer = "source" if field == "ingress" else "destination"
        for side in ("source", "destination"):
            entity = self._entity(side, shape, 0.75 if side == peer else 0.25)
            if entity:
                rule[side] = entity
        if chance.happens(0.05):
            rule["metadata"] = {"annotations": {"why": "because"}}
        if field == "ingress" and rule["action"] == "Allow" and protocol in ("", "TCP") and chance.happens(0.25):
            rule["http"] = {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}
        return rule

    def _give_icmp(self, rule: Object) -> None:
        chance = self._chance
        for key, share in (("icmp", 0.5), ("notICMP", 0.2)):
            if chance.happens(share):
                match: Object = {"type": chance.pick(ICMP_TYPES)}
                if chance.happens(0.4):
                    match["code"] = chance.pick(ICMP_CODES)
                rule[key] = match

    def _entity(self, side: str, shape: _Rule, share: float) -> Object:
        """One side of a rule: mostly one or two of its fields, so that it often matches."""
        chance = self._chance
        entity: Object = {}
        if chance.happens(share):
            for key in chance.some(_CONDITIONS, 1, 1 if chance.happens(0.7) else 3):
                entity[key] = self._condition(key, shape)
        if shape.has_ports:
            ports = SOURCE_PORTS if side == "source" else PORTS
            for key, likely in (("ports", 0.5), ("notPorts", 0.15)):
                if chance.happens(likely if side == "destination" else likely / 2.5):
                    entity[key] = chance.repeat(1, 3, partial(self._port, ports))
        return entity

    def _condition(self, key: str, shape: _Rule) -> object:
        chance = self._chance
        if key in ("selector", "notSelector"):
            return self._pods()
        if key == "namespaceSelector":
            return chance.pick(("all()", "global()", "", "", "", "")) or self._namespaces()
        if key == "serviceAccounts":
            return self._account_match()
        draw = partial(draw_block, chance, self._traits, self._case, shape.version)
        return [str(block) for block in chance.repeat(1, 2, draw)]

    def _account_match(self) -> Object:
        match: Object = {}
        if self._chance.happens(0.7):
            match["names"] = self._chance.some(ACCOUNTS, 1, 2)
        if not match or self._chance.happens(0.3):
            match["selector"] = self._accounts()
        return match

    def _port(self, ports: tuple[int | str, ...]) -> int | str:
        named = self._chance.happens(max(0.1, self._traits.names))
        return self._chance.pick([*PORT_NAMES, "absent"]) if named else self._chance.pick(ports)

    def _pods(self) -> str:
        chance = self._chance
        return draw_selector(chance, POD_LABELS | _AUTOMATIC if chance.happens(0.4) else POD_LABELS)

    def _namespaces(self) -> str:
        pool = NAMESPACE_LABELS | {"projectcalico.org/name": NAMESPACES, "kubernetes.io/metadata.name": NAMESPACES}
        return draw_selector(self._chance, pool)

    def _accounts(self) -> str:
        return draw_selector(self._chance, ACCOUNT_LABELS | {"projectcalico.org/name": ACCOUNTS}, depth=1)


def _object(kind: str, name: str, namespace: str, spec: Object, *, stored: bool = False) -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": STORED if stored else V3, "kind": kind, "metadata": metadata, "spec": spec}
