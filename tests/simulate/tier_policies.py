"""Random ClusterNetworkPolicies: both tiers, every action, every kind of peer and protocol."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

from tests.differential.blocks import draw_block
from tests.differential.chance import Chance
from tests.differential.clusters import NAMESPACE_LABELS, NAMESPACES, POD_LABELS, PORT_NAMES, Traits
from tests.reference.cases import Case
from tests.simulate.cilium_rules import DOMAINS

Object: TypeAlias = dict[str, object]
Pool: TypeAlias = dict[str, tuple[str, ...]]

_NAMESPACES: Pool = NAMESPACE_LABELS | {"kubernetes.io/metadata.name": NAMESPACES}
_NODES: Pool = {"role": ("worker", "infra")}
_PATTERNS = ("*.example.com", "*.api.example.com", "*.org")
_NUMBERS = (53, 80, 443, 8080)


class TierPolicies:
    """Draws ClusterNetworkPolicies for one cluster."""

    def __init__(self, chance: Chance, traits: Traits, case: Case) -> None:
        self._chance = chance
        self._traits = traits
        self._case = case

    def policy(self, name: str) -> Object:
        """One policy; equal priorities are as likely as different ones."""
        chance = self._chance
        spec: Object = {
            "tier": chance.pick(("Admin", "Baseline")),
            "priority": chance.pick((0, 10, 10, 11, 1000)),
            "subject": self._pods() if chance.happens(0.6) else {"namespaces": {}},
        }
        for field in ("ingress", "egress"):
            if chance.happens(0.75):
                spec[field] = chance.repeat(1, 3, partial(self._rule, field))
        return {
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }

    def _rule(self, field: str) -> Object:
        chance = self._chance
        action = chance.pick(("Accept", "Deny", "Pass"))
        rule: Object = {"name": "why", "action": action}
        if chance.happens(0.8):
            peer = self._pods if field == "ingress" else partial(self._target, accepts=action == "Accept")
            rule["from" if field == "ingress" else "to"] = chance.repeat(1, 2, peer)
        if chance.happens(0.5):
            rule["protocols"] = chance.repeat(1, 4, self._protocol)
        return rule

    def _target(self, *, accepts: bool) -> Object:
        chance = self._chance
        kinds = ["pods", "pods", "networks"]
        kinds += ["domainNames"] if accepts else []
        kinds += ["nodes", "nodes"] if self._case.options.get("nodeSelectorLabels") else []
        kind = chance.pick(kinds)
        if kind == "networks":
            draw = partial(draw_block, chance, self._traits, self._case)
            return {"networks": [str(block) for block in chance.repeat(1, 2, draw)]}
        if kind == "domainNames":
            return {"domainNames": [chance.pick((*DOMAINS, *_PATTERNS))]}
        return {"nodes": self._selector(_NODES)} if kind == "nodes" else self._pods()

    def _pods(self) -> Object:
        namespaces = self._selector(_NAMESPACES)
        if self._chance.happens(0.5):
            return {"namespaces": namespaces}
        return {"pods": {"namespaceSelector": namespaces, "podSelector": self._selector(POD_LABELS)}}

    def _selector(self, pool: Pool) -> Object:
        chance = self._chance
        found: Object = {}
        if chance.happens(0.45):
            key = chance.pick(list(pool))
            found["matchLabels"] = {key: chance.pick(pool[key])}
        if chance.happens(0.45):
            key, operator = chance.pick(list(pool)), chance.pick(("In", "NotIn", "Exists", "DoesNotExist"))
            expression: Object = {"key": key, "operator": operator}
            if operator in ("In", "NotIn"):
                expression["values"] = chance.some((*pool[key], "other"), 1, 2)
            found["matchExpressions"] = [expression]
        return found

    def _protocol(self) -> Object:
        chance = self._chance
        kind = chance.pick(("tcp", "tcp", "udp", "sctp", "named"))
        if kind == "named":
            return {"destinationNamedPort": chance.pick([*PORT_NAMES, "absent"])}
        if chance.happens(0.15):
            return {kind: {}}
        start = chance.pick(_NUMBERS)
        port: Object = {"number": start}
        if chance.happens(0.4):
            port = {"range": {"start": start, "end": start + chance.pick((1, 10, 8000))}}
        return {kind: {"destinationPort": port}}
