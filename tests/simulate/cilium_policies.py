"""Random CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies and CiliumCIDRGroups.

All pass the CRD's schema. A few are refused by the agent, which is part of what they mean: nobody is isolated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from tests.differential.blocks import draw_block, draw_holes
from tests.differential.chance import Chance
from tests.differential.clusters import (
    ACCOUNTS,
    IGNORED_LABELS,
    NAMESPACE_LABELS,
    NAMESPACES,
    POD_LABELS,
    PORT_NAMES,
    Traits,
    draw_namespace,
    versions,
)
from tests.reference.cases import Case
from tests.simulate.cilium_rules import GROUP_FORMS, DecidingRules, forms

Object: TypeAlias = dict[str, object]
Pool: TypeAlias = dict[str, tuple[str, ...]]

NAMESPACE_KEY = "io.kubernetes.pod.namespace"
NAMESPACE_LABEL = "io.cilium.k8s.namespace.labels."
FILTERED: Pool = {
    **IGNORED_LABELS,
    "topology.kubernetes.io/zone": ("a", "b"),
    "app.kubernetes.io.beta.kubernetes.io/x": ("1",),
    "batch.kubernetes.io/job-name": ("one",),
}
"""Pod labels around the borders of the filter that says which of them are part of an identity."""
FILTERED_NAMESPACE: Pool = {"failure-domain.beta.kubernetes.io/zone": ("a", "b")}
GROUP_LABELS: Pool = {"zone": ("x", "y"), "owner": ("net", "app.kubernetes.io")}
GROUPS = ("g-0", "g-1", "g-2")
PORTS = ("80", "443", "53", "8080", "8081", "9999", "1", "65535")
HTTP_PORTS = ("80", "443", "8080", "8081")
"""Without those of other L7 rules: two kinds of them on one port fail at the endpoint."""
ODD_PORTS = ("0", "0", "0120", "0100", "00", "0x50")
"""Every port, octal numbers, and a name that looks like a hexadecimal number."""
ICMP_TYPES: dict[str, tuple[int | str, ...]] = {
    "IPv4": (0, "0", 3, 8, "8", 13, 255, "EchoReply", "EchoRequest", "Echo", "DestinationUnreachable", "Photuris"),
    "IPv6": (0, 1, 128, "129", 255, "EchoRequest", "EchoReply", "PacketTooBig", "NeighborSolicitation"),
}
ENTITIES = (
    *("all", "world", "world", "cluster", "cluster", "host", "host", "remote-node", "remote-node"),
    *("kube-apiserver", "kube-apiserver", "init", "ingress", "unmanaged", "health", "none"),
)
_RESERVED = ("host", "world", "world-ipv4", "world-ipv6", "remote-node", "kube-apiserver", "health")


class CiliumPolicies:
    """Draws Cilium's objects for one cluster and one release (the minor number of 1.x)."""

    def __init__(self, chance: Chance, traits: Traits, case: Case, release: int) -> None:
        self._chance = chance
        self._traits = traits
        self._case = case
        self._release = release
        self._rules = DecidingRules(chance, traits, case)
        self._ends = {name: chance.pick((0, 0, 1000, 65535)) for name in (*PORT_NAMES, "absent", "0x50")}

    def objects(self, shown: Sequence[tuple[bool, str, str]], alone: bool) -> list[Object]:
        """Policies that use each of the forms shown and the groups that they name, further ones if not `alone`."""
        rules = self._rules
        found = [self._shown(f"shown-{index}", *combination) for index, combination in enumerate(shown)]
        if any(form in GROUP_FORMS for _, _, form in shown):
            found.append(rules.shown_group())
        if alone:
            return found
        found += [self._policy(f"p-{index}") for index in range(self._chance.number(0, 2))]
        return found + [self._group(name) for name in GROUPS if self._chance.happens(0.5)]

    def _shown(self, name: str, everywhere: bool, field: str, form: str) -> Object:
        """One rule of a form, mostly for every pod."""
        spec = self._rules.subject(form)
        if "endpointSelector" in spec and self._chance.happens(0.2):
            spec["endpointSelector"] = self._subject()
        spec[field] = [self._rules.rule(field, form)]
        self._give_comments(spec)
        if everywhere:
            return _object("CiliumClusterwideNetworkPolicy", name, "", {"spec": spec})
        crowded = Counter(pod.namespace for pod in self._case.pods if not pod.host_network).most_common(1)
        return _object("CiliumNetworkPolicy", name, crowded[0][0] if crowded else "default", {"spec": spec})

    def _group(self, name: str) -> Object:
        draw = partial(draw_block, self._chance, self._traits, self._case)
        nets = [str(block) for block in self._chance.repeat(0 if self._chance.happens(0.1) else 1, 3, draw)]
        own = {key: self._chance.pick(values) for key, values in GROUP_LABELS.items() if self._chance.happens(0.6)}
        found = _object("CiliumCIDRGroup", name, "", {"spec": {"externalCIDRs": nets}})
        metadata = found["metadata"]
        assert isinstance(metadata, dict)
        metadata["labels"] = own
        return found

    def _policy(self, name: str) -> Object:
        chance = self._chance
        everywhere = chance.happens(0.4)
        body: Object = {}
        if chance.happens(0.85):
            body["spec"] = self._spec(everywhere)
        if not body or chance.happens(0.1):
            body["specs"] = chance.repeat(1, 2, partial(self._spec, everywhere))
        if everywhere:
            return _object("CiliumClusterwideNetworkPolicy", name, "", body)
        return _object("CiliumNetworkPolicy", name, draw_namespace(chance, self._case), body)

    def _spec(self, everywhere: bool) -> Object:
        chance = self._chance
        on_nodes = everywhere and chance.happens(0.05)
        spec: Object = {"nodeSelector": {}} if on_nodes else {"endpointSelector": self._subject()}
        for field, share in (("ingress", 0.55), ("egress", 0.5), ("ingressDeny", 0.25), ("egressDeny", 0.25)):
            if chance.happens(share):
                rules = chance.repeat(0 if chance.happens(0.05) else 1, 2, partial(self._rule, field))
                spec[field] = rules
        if not any(spec.get(field) for field in ("ingress", "egress", "ingressDeny", "egressDeny")):
            spec["ingress"] = [self._rule("ingress")]
        if chance.happens(0.3):
            default = {side: chance.happens(0.4) for side in ("ingress", "egress") if chance.happens(0.7)}
            spec["enableDefaultDeny"] = default
        self._give_comments(spec)
        return spec

    def _give_comments(self, spec: Object) -> None:
        """Fields that no verdict depends on."""
        if self._chance.happens(0.1):
            spec["description"] = "why"
        if self._chance.happens(0.05):
            spec["labels"] = [{"key": "a", "source": "b", "value": "c"}]
        if self._chance.happens(0.05):
            spec["log"] = {"value": "text"}

    def _subject(self) -> Object:
        chance = self._chance
        if chance.happens(0.3):
            return {}
        pool = self._pod_pool()
        if chance.happens(0.12):
            pool = {NAMESPACE_KEY: NAMESPACES, f"k8s:{NAMESPACE_KEY}": NAMESPACES, f"any:{NAMESPACE_KEY}": NAMESPACES}
        return self._selector(pool)

    def _rule(self, field: str) -> Object:
        chance = self._chance
        side, deny = ("from" if field.startswith("in") else "to"), field.endswith("Deny")
        if chance.happens(0.12):
            return self._rules.rule(field, chance.pick(forms(field, self._release)))
        rule: Object = {}
        if chance.happens(0.78):
            self._give_peers(rule, side)
        if chance.happens(0.03):
            self._give_peers(rule, side)
        if chance.happens(0.04):
            rule[f"{side}{chance.pick(('Endpoints', 'CIDR', 'CIDRSet', 'Entities'))}"] = []
        if chance.happens(0.5):
            draw = partial(self._ports, deny)
            rule["toPorts"] = chance.repeat(0 if chance.happens(0.06) else 1, 2, draw)
        elif chance.happens(0.3):
            rule["icmps"] = chance.repeat(0 if chance.happens(0.1) else 1, 2, self._icmp)
        if chance.happens(0.01):
            rule["icmps"] = [self._icmp()]
        return rule

    def _give_peers(self, rule: Object, side: str) -> None:
        chance = self._chance
        kind = chance.pick(("Endpoints", "Endpoints", "Endpoints", "CIDR", "CIDRSet", "CIDRSet", "Entities", "Nodes"))
        if kind == "Nodes" and not (self._case.options.get("nodeSelectorLabels") or chance.happens(0.1)):
            kind = "Endpoints"
        draw = {
            "Endpoints": self._peer,
            "CIDR": self._address,
            "CIDRSet": self._cidr,
            "Entities": self._entity,
            "Nodes": self._nodes,
        }[kind]
        rule[f"{side}{kind}"] = chance.repeat(0 if chance.happens(0.04) else 1, 2, draw)

    def _entity(self) -> object:
        return self._chance.pick((*ENTITIES, "cluster-mesh") if self._release >= 20 else ENTITIES)

    def _nodes(self) -> object:
        return self._selector({"kubernetes.io/hostname": ("node-0", "node-1"), "role": ("worker", "infra")})

    def _address(self) -> object:
        return str(draw_block(self._chance, self._traits, self._case))

    def _cidr(self) -> object:
        chance = self._chance
        kind = chance.pick(("cidr", "cidr", "cidr", "ref", "selector"))
        block = draw_block(chance, self._traits, self._case)
        holes = [str(hole) for hole in draw_holes(chance, self._traits, self._case, block)]
        if kind == "cidr":
            text = f"{block[-1]}/{block.prefixlen}" if chance.happens(0.1) else str(block)
            found: Object = {"cidr": text}
        elif kind == "ref":
            found = {"cidrGroupRef": chance.pick((*GROUPS, "absent"))}
        else:
            found = {"cidrGroupSelector": {} if chance.happens(0.1) else self._selector(GROUP_LABELS)}
        if holes and (kind == "cidr" or chance.happens(0.5)):
            found["except"] = holes
        return found

    def _peer(self) -> object:
        """A selector of endpoints, in one of the forms that Cilium treats apart."""
        chance = self._chance
        if chance.happens(0.12):
            return {}
        pool = self._pod_pool()
        if chance.happens(0.45):
            pool = self._other_pool()
        if chance.happens(0.2):
            pool = pool | self._other_pool()
        return self._selector(pool)

    def _pod_pool(self) -> Pool:
        chance = self._chance
        pool = POD_LABELS | (FILTERED if chance.happens(self._traits.ignored) else {})
        return {f"{chance.pick(('', '', 'k8s:', 'any:'))}{key}": values for key, values in pool.items()}

    def _other_pool(self) -> Pool:
        """Keys of labels that Cilium itself gives."""
        chance = self._chance
        prefix = chance.pick(("", "", "k8s:", "k8s:", "any:"))
        kind = chance.pick(("namespace", "namespace labels", "namespace labels", "account", "cluster", "reserved"))
        if kind == "namespace":
            return {f"{prefix}{NAMESPACE_KEY}": NAMESPACES}
        if kind == "namespace labels":
            pool = NAMESPACE_LABELS | {"kubernetes.io/metadata.name": NAMESPACES}
            pool = pool | FILTERED_NAMESPACE if chance.happens(self._traits.ignored) else pool
            return {f"{prefix}{NAMESPACE_LABEL}{key}": values for key, values in pool.items()}
        if kind == "account":
            return {f"{prefix}io.cilium.k8s.policy.serviceaccount": ACCOUNTS}
        if kind == "cluster":
            return {f"{prefix}io.cilium.k8s.policy.cluster": ("default", "other")}
        source = chance.pick(("reserved:", "reserved:", "reserved:", "", "container:"))
        return {f"{source}{name}": ("",) for name in _RESERVED}

    def _selector(self, pool: Pool) -> Object:
        chance = self._chance
        keys = list(pool)
        if chance.happens(0.45):
            chosen = {key.removeprefix("any:"): key for key in chance.some(keys, 1, 2)}
            return {"matchLabels": {key: chance.pick(pool[key]) for key in chosen.values()}}
        draw = partial(self._expression, pool)
        selector: Object = {"matchExpressions": chance.repeat(1, 2, draw)}
        if chance.happens(0.2):
            key = chance.pick(keys)
            selector["matchLabels"] = {key: chance.pick(pool[key])}
        return selector

    def _expression(self, pool: Pool) -> Object:
        key = self._chance.pick(list(pool))
        operator = self._chance.pick(("In", "NotIn", "Exists", "DoesNotExist"))
        expression: Object = {"key": key, "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = self._chance.some((*pool[key], "other"), 1, 3)
        return expression

    def _ports(self, deny: bool) -> object:
        chance = self._chance
        found: Object = {}
        if chance.happens(0.96):
            found["ports"] = chance.repeat(0 if chance.happens(0.04) else 1, 3, self._port)
        if not deny and chance.happens(0.06):
            found = {
                "ports": [{"port": chance.pick(HTTP_PORTS), "protocol": "TCP"}],
                "rules": {"http": [{"method": "GET", "path": "/a"}]},
            }
        return found

    def _port(self) -> Object:
        chance = self._chance
        named = chance.happens(max(0.1, self._traits.names))
        text = chance.pick([*PORT_NAMES, "absent"] if named else PORTS)
        if chance.happens(0.2):
            text = chance.pick(ODD_PORTS)
        port: Object = {"port": text}
        if chance.happens(0.85):
            port["protocol"] = chance.pick(("TCP", "TCP", "UDP", "SCTP", "ANY"))
        if text in self._ends:
            if self._ends[text]:  # 1.18 takes one end for all rules with a name, whichever it meets first.
                port["endPort"] = self._ends[text]
        elif chance.happens(0.25):
            port["endPort"] = chance.pick((1, 79, 80, 443, 1000, 8090, 65535))
        if self._release >= 20 and chance.happens(0.02):
            return self._portless()
        return port

    def _portless(self) -> Object:
        """A protocol without ports, with the port that it may and may not have."""
        found: Object = {"protocol": self._chance.pick(("VRRP", "IGMP", "GRE", "ESP", "TCP"))}
        port = self._chance.pick(("", "0", "0", "80"))
        return found | {"port": port} if port else found

    def _icmp(self) -> object:
        return {"fields": self._chance.repeat(0 if self._chance.happens(0.05) else 1, 2, self._icmp_field)}

    def _icmp_field(self) -> Object:
        version = self._chance.pick(versions(self._traits.families))
        family = f"IPv{version}"
        found: Object = {"type": self._chance.pick(ICMP_TYPES[family])}
        if family == "IPv6" or self._chance.happens(0.7):
            found["family"] = family
        return found


def _object(kind: str, name: str, namespace: str, body: Object) -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, **body}
