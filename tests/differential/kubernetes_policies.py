"""Random NetworkPolicies over the whole language of networking.k8s.io/v1, all of them valid."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

from tests.differential.blocks import draw_block, draw_holes
from tests.differential.chance import Chance
from tests.differential.clusters import (
    IGNORED_LABELS,
    NAMESPACE_LABELS,
    NAMESPACES,
    POD_LABELS,
    PORT_NAMES,
    Traits,
    draw_namespace,
)
from tests.reference.cases import Case

Object: TypeAlias = dict[str, object]

PORTS = (53, 80, 443, 8080, 8081, 9999)
ENDS = (1, 10, 1000)
DIRECTIONS = (("Ingress", "ingress", "from"), ("Egress", "egress", "to"))


class KubernetesPolicies:
    """Draws NetworkPolicies for one cluster."""

    def __init__(self, chance: Chance, traits: Traits, case: Case) -> None:
        self._chance = chance
        self._traits = traits
        self._case = case

    def policy(self, name: str) -> Object:
        """One NetworkPolicy in one of the cluster's namespaces."""
        namespace = draw_namespace(self._chance, self._case)
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": self._spec(),
        }

    def _spec(self) -> Object:
        chance = self._chance
        spec: Object = {"podSelector": {} if chance.happens(0.35) else self._pods()}
        types = chance.pick(((), ("Ingress",), ("Ingress",), ("Egress",), ("Ingress", "Egress")))
        if types:
            spec["policyTypes"] = list(types)
        for direction, field, peers in DIRECTIONS:
            wanted = direction in types or (not types and chance.happens(0.6))
            if chance.happens(0.8 if wanted else 0.08):
                spec[field] = chance.repeat(0 if chance.happens(0.15) else 1, 3, partial(self._rule, peers))
        return spec

    def _rule(self, peers: str) -> Object:
        rule: Object = {}
        if self._chance.happens(0.75):
            rule[peers] = self._chance.repeat(0 if self._chance.happens(0.1) else 1, 3, self._peer)
        if self._chance.happens(0.6):
            most = 45 if self._chance.happens(0.02) else 3
            rule["ports"] = self._chance.repeat(0 if self._chance.happens(0.1) else 1, most, self._port)
        return rule

    def _peer(self) -> Object:
        kind = self._chance.pick(("pods", "pods", "namespaces", "both", "both", "block"))
        if kind == "block":
            return {"ipBlock": self._block()}
        peer: Object = {}
        if kind in ("pods", "both"):
            peer["podSelector"] = {} if self._chance.happens(0.2) else self._pods()
        if kind in ("namespaces", "both"):
            peer["namespaceSelector"] = {} if self._chance.happens(0.25) else self._namespaces()
        return peer

    def _block(self) -> Object:
        block = draw_block(self._chance, self._traits, self._case)
        holes = draw_holes(self._chance, self._traits, self._case, block)
        return {"cidr": str(block), "except": [str(hole) for hole in holes]} if holes else {"cidr": str(block)}

    def _pods(self) -> Object:
        pool = POD_LABELS | IGNORED_LABELS if self._chance.happens(self._traits.ignored) else POD_LABELS
        return self._selector(pool)

    def _namespaces(self) -> Object:
        return self._selector(NAMESPACE_LABELS | {"kubernetes.io/metadata.name": NAMESPACES})

    def _selector(self, pool: dict[str, tuple[str, ...]]) -> Object:
        chance = self._chance
        keys = list(pool)
        if chance.happens(0.5):
            return {"matchLabels": {key: chance.pick(pool[key]) for key in chance.some(keys, 1, 2)}}
        selector: Object = {"matchExpressions": chance.repeat(1, 2, lambda: self._expression(pool, chance.pick(keys)))}
        if chance.happens(0.25):
            key = chance.pick(keys)
            selector["matchLabels"] = {key: chance.pick(pool[key])}
        return selector

    def _expression(self, pool: dict[str, tuple[str, ...]], key: str) -> Object:
        operator = self._chance.pick(("In", "NotIn", "Exists", "DoesNotExist"))
        expression: Object = {"key": key, "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = self._chance.some((*pool[key], "other"), 1, 3)
        return expression

    def _port(self) -> Object:
        chance = self._chance
        port: Object = {"protocol": chance.pick(("TCP", "TCP", "UDP", "SCTP"))} if chance.happens(0.85) else {}
        if chance.happens(self._traits.names):
            return port | {"port": chance.pick([*PORT_NAMES, "absent"])}
        if chance.happens(0.2):
            return port
        number = chance.pick(PORTS)
        if not chance.happens(0.25):
            return port | {"port": number}
        return port | {"port": number, "endPort": chance.pick((number, *(number + end for end in ENDS), 65535))}
