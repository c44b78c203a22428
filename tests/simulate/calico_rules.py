"""Rules of Calico's policies that use a field on purpose, about ends that the cluster has: so they often decide."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from tests.differential.chance import Chance
from tests.differential.clusters import Traits, versions
from tests.reference.cases import Case, Pod

Object: TypeAlias = dict[str, object]
Combination: TypeAlias = tuple[bool, str, str]

FIRST_TIER = "first"
SERVICE = "backend"
HOST_FORMS = ("doNotTrack", "preDNAT")
_OF_AN_END = (
    *("selector", "notSelector", "namespaceSelector", "nets", "notNets"),
    *("names", "accounts", "ports", "notPorts"),
)
_OF_A_RULE = (
    *("protocol", "notProtocol", "ipVersion", "metadata", "services", "services"),
    *("icmp", "icmp code", "notICMP", "notICMP code"),
)
_BLOCKS = {4: "203.0.113.0/24", 6: "2001:db8:b::/64"}
_LENGTHS = {4: 24, 6: 64}


def combinations() -> list[Combination]:
    """Everything to show: whether in a GlobalNetworkPolicy, the list of rules, and the form."""
    of_ends = tuple(f"{side} {part}" for side in ("source", "destination") for part in _OF_AN_END)
    found = [
        (everywhere, field, form)
        for form in (*of_ends, *_OF_A_RULE)
        for field in ("ingress", "egress")
        for everywhere in (False, True)
    ]
    found += [(everywhere, "ingress", "http") for everywhere in (False, True)]
    return [*found, *((True, "ingress", form) for form in HOST_FORMS), (True, "egress", "doNotTrack")]


class DecidingPolicies:
    """Makes them for one cluster. They stand in a tier before all others, which passes what they leave."""

    def __init__(self, chance: Chance, traits: Traits, case: Case) -> None:
        self._chance = chance
        self._versions = versions(traits.families)
        self._pods = [pod for pod in case.pods if not pod.host_network] or list(case.pods)
        self._accounts = {(account.namespace, account.name): account.labels for account in case.service_accounts}

    def tier(self) -> Object:
        """The tier that the policies stand in."""
        spec = {"order": 1, "defaultAction": "Pass"}
        return {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": FIRST_TIER}, "spec": spec}

    def policy(self, name: str, combination: Combination) -> Object:
        """One policy with one rule of a form."""
        everywhere, field, form = combination
        own = self._chance.pick(self._pods)
        spec: Object = {"tier": FIRST_TIER, "types": [field.capitalize()]}
        if form in HOST_FORMS:
            spec |= {form: True, "applyOnForward": True}
        if self._chance.happens(0.15):
            spec["performanceHints"] = ["AssumeNeededOnEveryNode"]
        near = [pod for pod in self._pods if everywhere or pod.namespace == own.namespace]
        spec[field] = [self._rule(combination, own, self._chance.pick(near))]
        metadata: Object = {"name": f"{FIRST_TIER}.{name}"}
        if not everywhere:
            metadata["namespace"] = own.namespace
        kind = "GlobalNetworkPolicy" if everywhere else "NetworkPolicy"
        return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}

    def _rule(self, combination: Combination, own: Pod, peer: Pod) -> Object:
        chance, (everywhere, field, form) = self._chance, combination
        rule: Object = {"action": chance.pick(("Allow", "Deny"))}
        side, _, part = form.partition(" ")
        if side in ("source", "destination"):
            pod = own if (side == "destination") == (field == "ingress") else peer
            rule[side] = self._condition(part, pod)
            if part in ("ports", "notPorts"):
                rule["protocol"] = chance.pick(("TCP", "UDP", "SCTP"))
        elif form == "services":
            service: Object = {"name": SERVICE, "namespace": self._pods[0].namespace}
            if not everywhere and chance.happens(0.2):
                del service["namespace"]
            rule["destination" if field == "egress" else "source"] = {"services": service}
        else:
            rule |= self._of_the_rule(form)
        return rule

    def _condition(self, part: str, pod: Pod) -> Object:
        """A condition that holds for a pod."""
        chance = self._chance
        version = 6 if ":" in pod.ips[0] else 4
        labels = self._accounts.get((pod.namespace, pod.service_account), {})
        label = next(iter(labels.items()), None)
        conditions: dict[str, Object] = {
            "selector": {"selector": _equal(chance, pod.labels)},
            "notSelector": {"notSelector": "app == 'absent'"},
            "namespaceSelector": {
                "namespaceSelector": chance.pick(("all()", f"projectcalico.org/name == '{pod.namespace}'"))
            },
            "nets": {"nets": [_around(pod.ips[0], _LENGTHS[version])]},
            "notNets": {"notNets": [_BLOCKS[version]]},
            "names": {"serviceAccounts": {"names": [pod.service_account]}},
            "accounts": {"serviceAccounts": {"selector": f"{label[0]} == '{label[1]}'" if label else "!has(role)"}},
            "ports": {"ports": ["1:60000"]},
            "notPorts": {"notPorts": [9]},
        }
        return conditions[part]

    def _of_the_rule(self, form: str) -> Object:
        chance = self._chance
        version = chance.pick(self._versions)
        protocol = {4: "ICMP", 6: "ICMPv6"}[version]
        if form.startswith(("icmp", "notICMP")):
            match: Object = {"type": chance.pick((3, 8, 128))}
            if form.endswith("code"):
                match["code"] = chance.pick((0, 1))
            return {"protocol": protocol, form.split(" ")[0]: match}
        rules: dict[str, Object] = {
            "protocol": {"protocol": chance.pick(("TCP", "UDP", 17, protocol))},
            "notProtocol": {"notProtocol": chance.pick(("TCP", "SCTP"))},
            "ipVersion": {"ipVersion": version},
            "metadata": {"metadata": {"annotations": {"why": "because"}}},
            "http": {"action": "Allow", "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}},
        }
        return rules.get(form, {})


def _equal(chance: Chance, labels: dict[str, str]) -> str:
    if not labels:
        return "!has(app)"
    key, value = chance.pick(list(labels.items()))
    return f"{key} == '{value}'"


def _around(address: str, length: int) -> str:
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def shown_kubernetes(chance: Chance, case: Case, number: int) -> Object:
    """A NetworkPolicy that uses one of the fields of that API on purpose; the number says which."""
    pods = [pod for pod in case.pods if not pod.host_network] or list(case.pods)
    own, peer = chance.pick([pod for pod in pods if pod.labels] or pods), chance.pick(pods)
    field, key = (("ingress", "from"), ("egress", "to"))[number % 2]
    forms = _kubernetes_forms(own, peer, key)
    rule = forms[number // 2 % len(forms)]
    subject: Object = {"matchLabels": own.labels}
    if chance.happens(0.7):
        subject = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["absent"]}]}
    spec: Object = {"podSelector": subject, "policyTypes": [field.capitalize()], field: [rule]}
    metadata = {"name": "shown", "namespace": own.namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _kubernetes_forms(own: Pod, peer: Pod, key: str) -> list[Object]:
    """Rules about all ends that have something; most hold for many."""
    space = "kubernetes.io/metadata.name"
    version = 6 if ":" in peer.ips[0] else 4
    block = {"cidr": ("0.0.0.0/0", "::/0")[version == 6], "except": [_BLOCKS[version]]}
    others = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["absent"]}]}
    return [
        {key: [{"podSelector": {"matchLabels": own.labels}}]},
        {key: [{"podSelector": others}]},
        {key: [{"namespaceSelector": {"matchLabels": {space: peer.namespace}}}]},
        {
            key: [
                {
                    "namespaceSelector": {
                        "matchExpressions": [{"key": space, "operator": "In", "values": [peer.namespace]}]
                    }
                }
            ]
        },
        {key: [{"ipBlock": block}]},
        {"ports": [{"protocol": "UDP", "port": 1, "endPort": 60000}]},
    ]
