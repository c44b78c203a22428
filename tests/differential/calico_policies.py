"""Random Calico policies and network sets, all of them accepted by Calico's validation.

The grammar's defaults are what one unordered tier of Allow rules can say. Ordered policies come by widening
`Grammar`: more actions, orders and tiers (the caller then also draws the Tier objects).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tests.differential.blocks import draw_block, draw_version
from tests.differential.calico_selectors import draw_selector
from tests.differential.chance import Chance
from tests.differential.clusters import (
    ACCOUNT_LABELS,
    ACCOUNTS,
    IGNORED_LABELS,
    NAMESPACE_LABELS,
    NAMESPACES,
    POD_LABELS,
    PORT_NAMES,
    Traits,
    draw_namespace,
    labels,
)
from tests.reference.cases import Case

Object: TypeAlias = dict[str, object]

PORTS: tuple[int | str, ...] = (53, 80, "443", 8080, "80:90", "1:1023", "8000:8100", "1:65535", "9000:9999")
STORED = "crd.projectcalico.org/v1"
_TYPES = (("Ingress",), ("Egress",), ("Ingress", "Egress"))


@dataclass(frozen=True, slots=True)
class Grammar:
    """What policies may say of order."""

    actions: tuple[str, ...] = ("Allow",)
    orders: tuple[float | None, ...] = (None, 100.0, 1000.0)
    tiers: tuple[str, ...] = ("default",)


_EXOTIC = (
    *("notSelector", "notNets", "both nets and selector", "own selector", "own nets", "own notNets", "own notSelector"),
    *("ipVersion", "notProtocol", "notICMP", "code", "ports"),
)


class CalicoPolicies:
    """Draws Calico objects for one cluster."""

    def __init__(self, chance: Chance, traits: Traits, case: Case, grammar: Grammar | None = None) -> None:
        self._chance = chance
        self._traits = traits
        self._case = case
        self._grammar = grammar or Grammar()

    def policy(self, name: str) -> Object:
        """A NetworkPolicy or a GlobalNetworkPolicy, as users write it or as Calico stores it."""
        chance = self._chance
        global_policy = chance.happens(0.4)
        spec = self._spec(global_policy)
        namespace = "" if global_policy else draw_namespace(chance, self._case)
        stored = chance.happens(0.4)
        if not stored or chance.happens(0.5):
            self._give_types(spec)
        tier = chance.pick(self._grammar.tiers)
        if tier != "default":
            spec["tier"] = tier
        kind = "GlobalNetworkPolicy" if global_policy else "NetworkPolicy"
        full = name if tier == "default" and not stored else f"{tier}.{name}"
        return _object(kind, full, namespace, spec, stored=stored)

    def network_set(self, name: str) -> Object:
        """A NetworkSet or a GlobalNetworkSet; stored ones may keep their labels in Calico's annotation."""
        chance = self._chance
        namespace = draw_namespace(chance, self._case) if chance.happens(0.5) else ""
        nets = [str(block) for block in chance.repeat(1, 3, lambda: draw_block(chance, self._traits, self._case))]
        kind = "NetworkSet" if namespace else "GlobalNetworkSet"
        stored = chance.happens(0.4)
        found = _object(kind, name, namespace, {"nets": nets}, stored=stored)
        metadata = found["metadata"]
        assert isinstance(metadata, dict)
        own = labels(chance, POD_LABELS, 0.6)
        if stored and chance.happens(0.5):
            metadata["annotations"] = {"projectcalico.org/metadata": json.dumps({"labels": own})}
        else:
            metadata["labels"] = own
        return found

    def _spec(self, global_policy: bool) -> Object:
        chance = self._chance
        spec: Object = {}
        order = chance.pick(self._grammar.orders)
        if order is not None:
            spec["order"] = order
        if chance.happens(0.85):
            spec["selector"] = self._pods()
        if global_policy and chance.happens(0.35):
            spec["namespaceSelector"] = self._namespaces()
        if chance.happens(0.15):
            spec["serviceAccountSelector"] = self._accounts()
        for field in ("ingress", "egress"):
            if chance.happens(0.6):
                spec[field] = chance.repeat(1, 3, partial(self._rule, field))
        return spec

    def _give_types(self, spec: Object) -> None:
        """Types by the rules that are there, or by choice (which may leave rules without effect)."""
        chance = self._chance
        if not chance.happens(0.6):
            return
        present = [kind for kind in ("Ingress", "Egress") if kind.lower() in spec]
        spec["types"] = present if present and chance.happens(0.6) else list(chance.pick(_TYPES))

    def _rule(self, field: str) -> Object:
        chance = self._chance
        rule: Object = {"action": chance.pick(self._grammar.actions)}
        protocol = chance.pick(("", "", "TCP", "TCP", "UDP", "SCTP", "ICMP", 6, 17))
        version = draw_version(chance, self._traits.families)
        if protocol == "ICMP" and version == 6:
            protocol = "ICMPv6"
        if protocol:
            rule["protocol"] = protocol
        if protocol in ("ICMP", "ICMPv6") and chance.happens(0.6):
            rule["icmp"] = {"type": chance.pick((3, 8, 128))}
        has_ports = protocol not in ("", "ICMP", "ICMPv6")
        peer, own = ("source", "destination") if field == "ingress" else ("destination", "source")
        if chance.happens(0.75):
            rule[peer] = self._entity(version)
        if has_ports and chance.happens(0.7):
            destination = rule.setdefault("destination", {})
            assert isinstance(destination, dict)
            destination["ports"] = chance.repeat(1, 45 if chance.happens(0.02) else 3, self._port)
        if chance.happens(self._traits.exotic):
            self._make_exotic(rule, peer, own, version)
        return rule

    def _entity(self, version: int) -> Object:
        chance = self._chance
        kind = chance.pick(("selector", "selector", "namespaces", "both", "nets", "accounts"))
        if kind == "nets":
            draw = chance.repeat(1, 2, lambda: draw_block(chance, self._traits, self._case, version))
            return {"nets": [str(block) for block in draw]}
        entity: Object = {}
        if kind == "accounts":
            entity["serviceAccounts"] = self._account_match()
        if kind in ("selector", "both"):
            entity["selector"] = self._pods()
        if kind in ("namespaces", "both") or chance.happens(0.15):
            entity["namespaceSelector"] = chance.pick(("all()", "global()", "", "", "")) or self._namespaces()
        return entity

    def _account_match(self) -> Object:
        match: Object = {}
        if self._chance.happens(0.7):
            match["names"] = self._chance.some(ACCOUNTS, 1, 2)
        if not match or self._chance.happens(0.3):
            match["selector"] = self._accounts()
        return match

    def _make_exotic(self, rule: Object, peer: str, own: str, version: int) -> None:
        """One of the fields that few policies use."""
        chance = self._chance
        entity, mine = rule.setdefault(peer, {}), rule.setdefault(own, {})
        assert isinstance(entity, dict)
        assert isinstance(mine, dict)
        block = partial(draw_block, chance, self._traits, self._case, version)
        what = chance.pick(_EXOTIC)
        if what in ("notSelector", "own notSelector"):
            (mine if what.startswith("own") else entity)["notSelector"] = self._pods()
        elif what in ("notNets", "own notNets"):
            (mine if what.startswith("own") else entity)["notNets"] = [str(block())]
        elif what == "both nets and selector":
            entity.setdefault("nets", [str(block())])
            entity.setdefault("selector", self._pods())
        elif what == "own selector":
            mine["selector"] = self._pods()
        elif what == "own nets":
            mine["nets"] = [str(block())]
        elif what == "ipVersion" and rule.get("protocol") not in ("ICMP", "ICMPv6"):
            rule["ipVersion"] = version
        else:
            self._make_exotic_traffic(rule, what)

    def _make_exotic_traffic(self, rule: Object, what: str) -> None:
        """A negation or a source port, where the rule's protocol has such."""
        chance = self._chance
        protocol = rule.get("protocol")
        if what == "notProtocol" and protocol is None:
            rule["notProtocol"] = chance.pick(("TCP", "UDP", "ICMP"))
        elif what in ("notICMP", "code") and protocol in ("ICMP", "ICMPv6"):
            rule["notICMP" if what == "notICMP" else "icmp"] = {"type": 8, **({"code": 0} if what == "code" else {})}
        elif protocol not in (None, "ICMP", "ICMPv6"):
            side, field = chance.pick((("destination", "notPorts"), ("source", "ports"), ("source", "notPorts")))
            end = rule.setdefault(side, {})
            assert isinstance(end, dict)
            end[field] = chance.repeat(1, 2, self._port)

    def _port(self) -> int | str:
        named = self._chance.happens(self._traits.names)
        return self._chance.pick([*PORT_NAMES, "absent"]) if named else self._chance.pick(PORTS)

    def _pods(self) -> str:
        chance = self._chance
        pool = POD_LABELS | IGNORED_LABELS if chance.happens(self._traits.ignored) else POD_LABELS
        if chance.happens(0.15):
            pool = pool | {"projectcalico.org/namespace": NAMESPACES, "projectcalico.org/serviceaccount": ACCOUNTS}
        if chance.happens(0.1):
            pool = pool | {f"pcns.{key}": values for key, values in NAMESPACE_LABELS.items()}
            pool = pool | {f"pcsa.{key}": values for key, values in ACCOUNT_LABELS.items()}
        return draw_selector(chance, pool)

    def _namespaces(self) -> str:
        pool = NAMESPACE_LABELS | {"projectcalico.org/name": NAMESPACES, "kubernetes.io/metadata.name": NAMESPACES}
        return draw_selector(self._chance, pool)

    def _accounts(self) -> str:
        return draw_selector(self._chance, ACCOUNT_LABELS | {"projectcalico.org/name": ACCOUNTS}, depth=1)


def _object(kind: str, name: str, namespace: str, spec: Object, *, stored: bool) -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    version = STORED if stored else "projectcalico.org/v3"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
