"""Rules of Cilium's policies that use a field on purpose, about peers that the cluster has: so they often decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.differential.chance import Chance
from tests.differential.clusters import Traits, versions
from tests.reference.cases import Case, Pod

Object: TypeAlias = dict[str, object]

FIELDS = ("ingress", "ingressDeny", "egress", "egressDeny")
SHOWN_GROUP = "g-shown"
SHOWN_LABELS = {"zone": "x", "owner": "net"}
BLOCKS = {4: ("203.0.113.0/24", "203.0.113.128/25"), 6: ("2001:db8::/32", "2001:db8:a::/48")}
"""An outside block of each IP version, and a hole in it."""
NODE_FORM, GROUP_FORMS = "nodes", ("groups by name", "groups by label")
HOST_FORM = "host"
_EVERYWHERE = ("endpoints", NODE_FORM, "CIDR", "CIDRSet", *GROUP_FORMS, "entities", "icmps", "range")
_SERVICES = ("services by name", "services by label")
_BY_FIELD = {
    "ingress": ("http", "http", "authentication", "dns", "listener", HOST_FORM),
    "ingressDeny": (),
    "egress": ("http", "authentication", "dns", "listener", "names", *_SERVICES, *_SERVICES),
    "egressDeny": (*_SERVICES, *_SERVICES),
}
"""What stands here twice is shown twice as often, since it decides less often."""
_NAMESPACE = "k8s:io.kubernetes.pod.namespace"
_SECRET = {"name": "secret", "namespace": "default"}
_TLS = {"secret": _SECRET, "certificate": "tls.crt", "privateKey": "tls.key", "trustedCA": "ca.crt"}
_HTTP: Object = {
    "method": "GET",
    "path": "/a",
    "host": "a.example.com",
    "headers": ["X-A"],
    "headerMatches": [{"name": "X-B", "value": "b", "mismatch": "LOG", "secret": _SECRET}],
}
_KAFKA = [{"apiKey": "fetch", "apiVersion": "1", "clientID": "c", "topic": "t"}, {"role": "consume", "topic": "t"}]
_LISTENER = {
    "envoyConfig": {"kind": "CiliumClusterwideEnvoyConfig", "name": "config"},
    "name": "listener",
    "priority": 5,
}
DOMAINS = ("api.example.com", "www.example.com", "deep.api.example.com", "example.org")
PATTERNS = ("*.example.com", "**.example.com", "*", "**", "*.api.*.com", "api*.example.com", "***.example.com", "x*")


def forms(field: str, release: int) -> tuple[str, ...]:
    """What can be shown in one list of rules."""
    old = ("requirements", "requirements", *(("kafka", "l7") if not field.endswith("Deny") else ()))
    return (*_EVERYWHERE, *_BY_FIELD[field], *(old if release < 19 else ()))


def combinations(release: int) -> list[tuple[bool, str, str]]:
    """Everything to show: whether in a clusterwide policy, the list of rules, and the form."""
    return [(wide, field, form) for field in FIELDS for form in forms(field, release) for wide in (False, True)]


class DecidingRules:
    """Makes them for one cluster."""

    def __init__(self, chance: Chance, traits: Traits, case: Case) -> None:
        self._chance = chance
        self._version = chance.pick(versions(traits.families))
        self._case = case

    def rule(self, field: str, form: str) -> Object:
        """A rule of that form for a list of rules."""
        side = "from" if field.startswith("in") else "to"
        makers: dict[str, Callable[[str], Object]] = {
            "endpoints": lambda side: {f"{side}Endpoints": [self._selector()]},
            NODE_FORM: lambda side: {f"{side}Nodes": [self._node()]},
            "CIDR": lambda side: {f"{side}CIDR": [self._block(0)]},
            "CIDRSet": lambda side: {f"{side}CIDRSet": [{"cidr": self._block(0), "except": [self._block(1)]}]},
            "groups by name": lambda side: {f"{side}CIDRSet": [{"cidrGroupRef": SHOWN_GROUP}]},
            "groups by label": lambda side: {f"{side}CIDRSet": [{"cidrGroupSelector": self._group()}]},
            "entities": lambda side: {f"{side}Entities": [self._chance.pick(("all", "world", "cluster", "cluster"))]},
            "icmps": lambda _: {"icmps": [{"fields": [self._icmp()]}]},
            "range": lambda _: {"toPorts": [{"ports": [{"port": "8000", "endPort": 8090, "protocol": "TCP"}]}]},
            HOST_FORM: lambda side: {f"{side}Entities": ["world"]},
            "requirements": lambda side: {
                f"{side}Endpoints": [{"matchLabels": {_NAMESPACE: self._pod().namespace}}],
                f"{side}Requires": [self._selector()],
            },
        }
        if form in makers:
            return self._with_ports(makers[form](side), field, form)
        return self._egress(field, form) if form in _EGRESS_PEERS else self._judged(side, form)

    def _with_ports(self, rule: Object, field: str, form: str) -> Object:
        limited = self._chance.happens(0.2) and form not in ("icmps", NODE_FORM, "range")
        return {**rule, "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]} if limited else rule

    def _egress(self, field: str, form: str) -> Object:
        chance = self._chance
        ports: Object = {}
        if field.endswith("Deny") or chance.happens(0.2):
            ports = {"toPorts": [{"ports": [{"port": chance.pick(("80", "0")), "protocol": "ANY"}]}]}
        if form == "names":
            names = [{"matchName": chance.pick(DOMAINS)}, {"matchPattern": chance.pick(PATTERNS)}]
            return {"toFQDNs": names, **ports}
        return {
            "toServices": [self._named_service() if form == "services by name" else self._chosen_service()],
            **ports,
        }

    def _named_service(self) -> Object:
        service = self._chance.pick(self._case.services)
        found = {"serviceName": service.name if self._chance.happens(0.9) else "absent"}
        return {"k8sService": found | ({"namespace": service.namespace} if self._chance.happens(0.85) else {})}

    def _chosen_service(self) -> Object:
        chance = self._chance
        service = chance.pick(self._case.services)
        own = dict(chance.some(list(service.labels.items()), 1, 2))
        other: Object = {"key": "app.kubernetes.io/name", "operator": chance.pick(("NotIn", "In")), "values": ["pay"]}
        if chance.happens(0.6):
            other = {"key": next(iter(service.labels)), "operator": "NotIn", "values": ["none"]}
        selector = {"matchLabels": own, "matchExpressions": [other]}
        namespace = {"namespace": service.namespace} if chance.happens(0.85) else {}
        return {"k8sServiceSelector": {"selector": selector, **namespace}}

    def _judged(self, side: str, form: str) -> Object:
        """Rules for ports that are each of one proxy's, since no engine takes two kinds of L7 rules for one port."""
        if form == "authentication":
            return {f"{side}Endpoints": [self._selector()], "authentication": {"mode": "required"}}
        port, rules = {
            "http": ("80", {"http": [_HTTP]}),
            "dns": ("53", {"dns": [{"matchName": "a.example.com"}, {"matchPattern": "*.example.com"}]}),
            "kafka": ("9092", {"kafka": _KAFKA}),
            "l7": ("7000", {"l7proto": "protocol", "l7": [{"key": "value"}]}),
            "listener": ("8443", {}),
        }[form]
        item: Object = {"ports": [{"port": port, "protocol": "ANY" if form == "dns" else "TCP"}]}
        if rules:
            item["rules"] = rules
        if form == "listener":
            item["listener"] = _LISTENER
        if form == "http" and self._chance.happens(0.85):
            item |= {"terminatingTLS": _TLS, "originatingTLS": _TLS, "serverNames": ["a.example.com"]}
        return {"toPorts": [item]}

    def _pod(self) -> Pod:
        return self._chance.pick(self._case.pods)

    def _selector(self) -> Object:
        """Means at least one pod."""
        pod = self._pod()
        expression: Object = {"key": "app", "operator": "NotIn", "values": ["none"]}
        if "app" in pod.labels:
            expression = {"key": "app", "operator": "In", "values": [pod.labels["app"], "other"]}
        return {"matchLabels": {_NAMESPACE: pod.namespace}, "matchExpressions": [expression]}

    def subject(self, form: str) -> Object:
        """Every pod; or some node, for the form about hosts."""
        return {"nodeSelector": self._node()} if form == HOST_FORM else {"endpointSelector": {}}

    def _node(self) -> Object:
        node = self._chance.pick(self._case.nodes)
        expression = {"key": "role", "operator": "In", "values": ["worker", "infra"]}
        selector: Object = {"matchExpressions": [expression]}
        if self._chance.happens(0.8):
            selector["matchLabels"] = {"role": node.labels.get("role", "worker")}
        return selector

    def _block(self, index: int) -> str:
        return BLOCKS[self._version][index]

    def _group(self) -> Object:
        expression = {"key": "owner", "operator": "In", "values": ["net", "other"]}
        return {"matchLabels": {"zone": "x"}, "matchExpressions": [expression]}

    def _icmp(self) -> Object:
        return {"family": f"IPv{self._version}", "type": self._chance.pick((0, 8, 128, "EchoRequest"))}

    def shown_group(self) -> Object:
        """The group of CIDRs that the forms about groups mean."""
        return {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumCIDRGroup",
            "metadata": {"name": SHOWN_GROUP, "labels": SHOWN_LABELS},
            "spec": {"externalCIDRs": [self._block(0)]},
        }


_EGRESS_PEERS = ("names", *_SERVICES)
