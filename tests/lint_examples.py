"""Policies for `migrate lint`: for each finding one that has it, and one that looks like it and has not."""

from __future__ import annotations

import pytest

from migrate.model.raw import Json
from tests.target_examples import CLUSTERWIDE, Fields, policy, ports, tcp
from tests.unit.policies import network_policy

_ANY_POD: Json = {"matchExpressions": [{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}]}
_CLIENT: Json = {"matchLabels": {"app": "client"}}
FROM_CLIENT: Fields = {"fromEndpoints": [_CLIENT]}
TO_CLIENT: Fields = {"toEndpoints": [_CLIENT]}
DNS_RULE: Fields = {
    "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s-app": "kube-dns"}}],
    "toPorts": [
        {"ports": [{"port": "53", "protocol": "UDP"}], "rules": {"dns": [{"matchPattern": "*.example.com"}]}},
    ],
}
TO_NAMES: Fields = {"toFQDNs": [{"matchName": "example.com"}]}
TO_EVERYTHING: Fields = {"toEntities": ["all"]}
_OPEN: Json = {"ingress": False, "egress": False}


def peers(*entries: Json) -> Fields:
    """An ingress rule of a NetworkPolicy with these peers."""
    listed: list[Json] = list(entries)
    return {"from": listed}


def by_team(operator: str, *more: Json) -> Json:
    """A peer of a NetworkPolicy: namespaces by their team."""
    listed: list[Json] = [{"key": "team", "operator": operator, "values": ["blue"]}, *more]
    return {"namespaceSelector": {"matchExpressions": listed}}


def kubernetes(**spec: Json) -> Fields:
    """A NetworkPolicy for all pods of the namespace default."""
    return network_policy({"podSelector": {}, **spec}, namespace="default")


_NOT_BLUE: Json = {
    "matchExpressions": [
        {"key": "k8s:io.cilium.k8s.namespace.labels.team", "operator": "NotIn", "values": ["blue"]},
    ]
}
_MONITORING: Json = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "monitoring"}}
_BOTH: Json = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "monitoring", "app": "client"}}
_HIDDEN: Json = {"matchLabels": {"pod-template-hash": "5d8c7"}}
_OTHER_NAMESPACE: Json = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "other"}}
_OWN_NAMESPACE: Json = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "default"}}
_ZERO: Fields = {"family": "IPv4", "type": 0}
_ZERO_V6: Fields = {"family": "IPv6", "type": 0}


def _icmp(*fields: Json) -> Fields:
    listed: list[Json] = list(fields)
    return FROM_CLIENT | {"icmps": [{"fields": listed}]}


WITHOUT_SNAPSHOT = [
    pytest.param(
        "LINT-SCHEMA", policy("ingress", FROM_CLIENT | {"fromPods": []}), policy("ingress", FROM_CLIENT), id="a field"
    ),
    pytest.param(
        "LINT-SCHEMA",
        kubernetes(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}]),
        kubernetes(ingress=[{"from": [{"podSelector": {}}]}]),
        id="a NetworkPolicy that the API server refuses",
    ),
    pytest.param(
        "LINT-REFUSED",
        policy("ingress", FROM_CLIENT | {"fromCIDR": ["203.0.113.0/24"]}),
        policy("ingress", FROM_CLIENT, {"fromCIDR": ["203.0.113.0/24"]}),
        id="two kinds of peer in one rule, or each in its own",
    ),
    pytest.param(
        "LINT-MISREAD", policy("ingress", ports(tcp("0100"))), policy("ingress", ports(tcp("100"))), id="octal"
    ),
    pytest.param(
        "LINT-MISREAD",
        policy("egressDeny", {"toServices": [{"k8sService": {"serviceName": "web", "namespace": "default"}}]}),
        policy("egress", {"toServices": [{"k8sService": {"serviceName": "web", "namespace": "default"}}]}),
        id="a Service in a deny rule",
    ),
    pytest.param(
        "LINT-FEATURE-OFF",
        policy("ingress", ports(tcp("80"), rules={"http": [{}]})),
        policy("ingress", ports(tcp("80"))),
        id="HTTP rules on AKS without the add-on",
    ),
    pytest.param("LINT-FEATURE-OFF", policy("egress", TO_NAMES), policy("egress", TO_CLIENT), id="names on AKS"),
    pytest.param(
        "LINT-EMPTY-LIST", policy("ingress", {"fromEndpoints": []}), policy("ingress", {}), id="an empty list of peers"
    ),
    pytest.param("LINT-EMPTY-RULE", policy("ingress", {}), policy("ingress", FROM_CLIENT), id="an empty rule alone"),
    pytest.param(
        "LINT-EMPTY-RULE-BESIDE",
        policy("ingress", {}, FROM_CLIENT),
        policy("ingress", {}),
        id="an empty rule beside another",
    ),
    pytest.param(
        "LINT-DENY-ISOLATES",
        policy("ingressDeny", FROM_CLIENT),
        policy("ingressDeny", FROM_CLIENT, enableDefaultDeny=_OPEN),
        id="denies alone, with and without default deny",
    ),
    pytest.param(
        "LINT-DENY-ISOLATES",
        policy("ingressDeny", FROM_CLIENT),
        policy("ingressDeny", FROM_CLIENT, ingress=[{"fromEntities": ["all"]}]),
        id="denies alone, or beside an allow",
    ),
    pytest.param(
        "LINT-HEALTH-CUT",
        policy("ingress", FROM_CLIENT, kind=CLUSTERWIDE),
        policy("ingress", FROM_CLIENT, kind=CLUSTERWIDE, endpointSelector=_ANY_POD),
        id="a default deny for every endpoint, or for pods",
    ),
    pytest.param(
        "LINT-HEALTH-CUT",
        policy("ingress", FROM_CLIENT, kind=CLUSTERWIDE),
        policy("ingress", FROM_CLIENT, {"fromEntities": ["health"]}, kind=CLUSTERWIDE),
        id="health left out, or admitted",
    ),
    pytest.param(
        "LINT-SERVICE-PORTS",
        policy("egress", {"toServices": [{"k8sService": {"serviceName": "web"}}], **ports(tcp("80"))}),
        policy("egress", {"toServices": [{"k8sService": {"serviceName": "web"}}]}),
        id="a Service beside ports",
    ),
    pytest.param(
        "LINT-GROUP-EXCEPT",
        policy("ingress", {"fromCIDRSet": [{"cidrGroupRef": "g", "except": ["203.0.113.0/28"]}]}),
        policy("ingress", {"fromCIDRSet": [{"cidr": "203.0.113.0/24", "except": ["203.0.113.0/28"]}]}),
        id="an exception from a group, or from a prefix",
    ),
    pytest.param(
        "LINT-SCTP",
        policy("ingress", ports({"port": "80", "protocol": "SCTP"})),
        policy("ingress", ports(tcp("80"))),
        id="SCTP in a Cilium policy",
    ),
    pytest.param(
        "LINT-SCTP",
        kubernetes(ingress=[{"ports": [{"port": 80, "protocol": "SCTP"}]}]),
        kubernetes(ingress=[{"ports": [{"port": 80}]}]),
        id="SCTP in a NetworkPolicy",
    ),
    pytest.param(
        "LINT-PROTOCOL-ANY",
        policy("ingress", ports({"port": "80"})),
        policy("ingress", ports(tcp("80"))),
        id="no protocol",
    ),
    pytest.param(
        "LINT-NAMED-EGRESS-PORT",
        policy("egress", TO_CLIENT | ports(tcp("sql"))),
        policy("egress", TO_CLIENT | ports(tcp("5432"))),
        id="a named port on egress, or a number",
    ),
    pytest.param(
        "LINT-NAMED-EGRESS-PORT",
        policy("egress", TO_CLIENT | ports(tcp("sql"))),
        policy("ingress", FROM_CLIENT | ports(tcp("sql"))),
        id="a named port on egress, or on ingress",
    ),
    pytest.param(
        "LINT-NAMED-EGRESS-PORT",
        kubernetes(egress=[{"ports": [{"port": "sql"}]}]),
        kubernetes(egress=[{"ports": [{"port": 5432}]}]),
        id="a named egress port of a NetworkPolicy",
    ),
    pytest.param(
        "LINT-ICMP-ZERO", policy("ingress", _icmp(_ZERO)), policy("ingress", _icmp({"type": 8})), id="type 0, or 8"
    ),
    pytest.param(
        "LINT-ICMP-ZERO", policy("ingress", _icmp(_ZERO)), policy("ingress", _icmp(_ZERO, _ZERO_V6)), id="all of ICMP"
    ),
    pytest.param(
        "LINT-ENTITY-ALL",
        policy("ingress", {"fromEntities": ["all"]}),
        policy("ingress", {"fromEntities": ["world"]}),
        id="all, or the world",
    ),
    pytest.param(
        "LINT-FQDN-WITHOUT-DNS",
        policy("egress", TO_NAMES),
        policy("egress", TO_NAMES, DNS_RULE),
        id="names, with a DNS rule or not",
    ),
    pytest.param(
        "LINT-LABEL-FILTERED",
        policy("ingress", FROM_CLIENT, endpointSelector=_HIDDEN),
        policy("ingress", FROM_CLIENT, endpointSelector={"matchLabels": {"app": "web"}}),
        id="a subject by a label outside identities",
    ),
    pytest.param(
        "LINT-LABEL-FILTERED",
        policy("ingress", {"fromEndpoints": [{"matchLabels": {"kubernetes.io/metadata.name": "a"}}]}),
        policy("ingress", {"fromEndpoints": [_MONITORING]}),
        id="a namespace by a label of pods, or by its own",
    ),
    pytest.param(
        "LINT-LABEL-FILTERED",
        kubernetes(ingress=[peers({"podSelector": _HIDDEN})]),
        kubernetes(ingress=[peers({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}})]),
        id="a peer of a NetworkPolicy",
    ),
    pytest.param(
        "LINT-SUBJECT-NAMESPACE",
        policy("ingress", FROM_CLIENT, endpointSelector=_OTHER_NAMESPACE),
        policy("ingress", FROM_CLIENT, kind=CLUSTERWIDE, endpointSelector=_OTHER_NAMESPACE),
        id="pods of another namespace",
    ),
    pytest.param(
        "LINT-NEGATIVE-ONLY",
        kubernetes(ingress=[peers(by_team("NotIn"))]),
        kubernetes(ingress=[peers(by_team("NotIn", {"key": "kubernetes.io/metadata.name", "operator": "Exists"}))]),
        id="a namespaceSelector of negations, or with something positive",
    ),
    pytest.param(
        "LINT-NEGATIVE-ONLY",
        policy("ingress", {"fromEndpoints": [_NOT_BLUE]}),
        policy("ingress", {"fromEndpoints": [_NOT_BLUE]}, kind=CLUSTERWIDE, endpointSelector=_ANY_POD),
        id="namespaces left out in a CNP, where Cilium adds nothing, or in a CCNP, where it does",
    ),
    pytest.param(
        "LINT-NEGATIVE-ONLY",
        policy(
            "ingress",
            {
                "fromCIDRSet": [
                    {"cidrGroupSelector": {"matchExpressions": [{"key": "list", "operator": "DoesNotExist"}]}}
                ]
            },
        ),
        policy("ingress", {"fromCIDRSet": [{"cidrGroupSelector": {"matchLabels": {"list": "a"}}}]}),
        id="groups by a negation",
    ),
    pytest.param(
        "LINT-OWN-NAMESPACE",
        policy("ingress", {"fromEndpoints": [{}]}),
        policy("ingress", {"fromEndpoints": [{}]}, kind=CLUSTERWIDE, endpointSelector=_ANY_POD),
        id="an empty selector in a CNP, or in a CCNP",
    ),
    pytest.param(
        "LINT-AND-OR",
        kubernetes(ingress=[peers({"namespaceSelector": {"matchLabels": {"a": "b"}}}, {"podSelector": _CLIENT})]),
        kubernetes(ingress=[peers({"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": _CLIENT})]),
        id="two entries of a NetworkPolicy, or one",
    ),
    pytest.param(
        "LINT-AND-OR",
        policy("ingress", {"fromEndpoints": [_MONITORING, _CLIENT]}),
        policy("ingress", {"fromEndpoints": [_BOTH]}),
        id="two entries of a CNP, or one",
    ),
    pytest.param(
        "LINT-AND-OR",
        policy("ingress", {"fromEndpoints": [_MONITORING, _CLIENT]}),
        policy("ingress", {"fromEndpoints": [_MONITORING, _OTHER_NAMESPACE]}),
        id="two namespaces are no mistake",
    ),
    pytest.param(
        "LINT-CIDR-PRIVATE",
        policy("egress", {"toCIDR": ["10.0.0.0/8"]}),
        policy("egress", {"toCIDR": ["203.0.113.0/24"]}),
        id="private addresses, or public ones",
    ),
    pytest.param(
        "LINT-CIDR-PRIVATE",
        kubernetes(ingress=[peers({"ipBlock": {"cidr": "192.168.0.0/16"}})]),
        kubernetes(ingress=[peers({"ipBlock": {"cidr": "203.0.113.0/24"}})]),
        id="an ipBlock",
    ),
    pytest.param(
        "LINT-CIDR-EVERYTHING",
        policy("egress", {"toCIDR": ["0.0.0.0/0"]}),
        policy("egress", {"toEntities": ["world"]}),
        id="every address, or the world by name",
    ),
    pytest.param(
        "LINT-CIDR-ZERO",
        policy("ingress", {"fromCIDRSet": [{"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24"]}, {"cidr": "::/0"}]}),
        policy("ingress", {"fromCIDRSet": [{"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24"]}, {"cidr": "::/1"}]}),
        id="all of IPv6 beside a part of IPv4, or a half",
    ),
    pytest.param(
        "LINT-CIDR-ZERO",
        policy("egress", {"toCIDRSet": [{"cidr": "::/0"}]}),
        policy("egress", {"toCIDR": ["::/0"]}),
        id="in a set, or in a plain list",
    ),
    pytest.param(
        "LINT-CIDR-ZERO",
        kubernetes(ingress=[peers({"ipBlock": {"cidr": "::/0"}})]),
        kubernetes(ingress=[peers({"ipBlock": {"cidr": "::/0"}}, {"ipBlock": {"cidr": "0.0.0.0/0"}})]),
        id="an ipBlock alone, or beside all of IPv4",
    ),
    pytest.param(
        "LINT-TYPES-EXCLUDED",
        kubernetes(policyTypes=["Egress"], ingress=[peers({"podSelector": {}})]),
        kubernetes(policyTypes=["Ingress", "Egress"], ingress=[peers({"podSelector": {}})]),
        id="ingress rules that policyTypes leaves out",
    ),
    pytest.param(
        "LINT-EGRESS-NEEDS",
        policy("egress", TO_CLIENT | ports(tcp("80"))),
        policy("egress", TO_EVERYTHING),
        id="egress closed",
    ),
    pytest.param(
        "LINT-EGRESS-NEEDS",
        kubernetes(policyTypes=["Egress"]),
        kubernetes(policyTypes=["Ingress"]),
        id="a default deny of egress",
    ),
    pytest.param(
        "LINT-NOT-READ",
        policy("egress", {"toGroups": [{"aws": {"labels": {"team": "blue"}}}]}),
        policy("egress", TO_CLIENT),
        id="groups of a cloud provider",
    ),
]


_ONE_POD: Fields = {"toCIDR": ["10.244.0.10/32"]}
TO_WEB: Fields = {"toEndpoints": [{"matchLabels": {"app": "web"}}]}


WITH_SNAPSHOT = [
    pytest.param(
        "LINT-CIDR-CLUSTER",
        policy("egress", _ONE_POD),
        policy("egress", {"toCIDR": ["203.0.113.0/24"]}),
        id="the address of a pod, or of the outside",
    ),
    pytest.param(
        "LINT-CIDR-CLUSTER", policy("egress", _ONE_POD), policy("egress", _ONE_POD, TO_WEB), id="named beside it"
    ),
    pytest.param(
        "LINT-CIDR-CLUSTER",
        policy("egress", {"toCIDR": ["10.0.0.4/32"]}),
        policy("egress", {"toCIDR": ["10.0.0.4/32"]}, {"toEntities": ["host", "remote-node"]}),
        id="the address of a node",
    ),
    pytest.param(
        "LINT-CIDR-CLUSTER",
        policy("egress", {"toCIDR": ["10.96.0.10/32"]}),
        policy("egress", {"toCIDR": ["10.96.0.0/16"]}),
        id="a ClusterIP, or a network with one in it",
    ),
    pytest.param(
        "LINT-CIDR-CLUSTER",
        kubernetes(egress=[{"to": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]}]),
        kubernetes(egress=[{"to": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.0.0/24"]}}]}]),
        id="an ipBlock over pods, or with a hole where they are",
    ),
    pytest.param(
        "LINT-SELECTS-NOBODY",
        policy("ingress", FROM_CLIENT, endpointSelector={"matchLabels": {"app": "wbe"}}),
        policy("ingress", FROM_CLIENT, endpointSelector={"matchLabels": {"app": "web"}}),
        id="a subject that is misspelt",
    ),
    pytest.param(
        "LINT-PORT-NAME-UNKNOWN",
        policy("ingress", FROM_CLIENT | ports(tcp("htp"))),
        policy("ingress", FROM_CLIENT | ports(tcp("http"))),
        id="a port name that no pod has",
    ),
    pytest.param(
        "LINT-PORT-NAME-UNKNOWN",
        kubernetes(ingress=[{"ports": [{"port": "htp"}]}]),
        kubernetes(ingress=[{"ports": [{"port": "http"}]}]),
        id="a port name of a NetworkPolicy",
    ),
    pytest.param(
        "LINT-NO-DNS",
        policy("egress", TO_WEB),
        policy("egress", TO_WEB, DNS_RULE),
        id="egress without DNS, and with it",
    ),
    pytest.param(
        "LINT-NO-DNS",
        policy("egress", TO_WEB),
        policy("egress", TO_WEB, endpointSelector={"matchLabels": {"app": "nobody"}}),
        id="pods that are isolated, or none",
    ),
    pytest.param(
        "LINT-NO-PLATFORM-EGRESS", policy("egress", TO_WEB), policy("egress", TO_EVERYTHING), id="closed, or open"
    ),
    pytest.param(
        "LINT-GROUP-MISSING",
        policy("ingress", {"fromCIDRSet": [{"cidrGroupRef": "partners"}]}),
        policy("ingress", {"fromCIDRSet": [{"cidr": "203.0.113.0/24"}]}),
        id="a group that is not there",
    ),
]
