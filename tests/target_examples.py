"""Policies that a target's API server or agent takes or refuses, as tables for its rules and for the real programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.raw import Json

Fields: TypeAlias = "dict[str, Json]"

RELEASES = ("1.16", "1.17", "1.18", "1.19", "1.20")
CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"


def policy(section: str, *rules: Fields, kind: str = "CiliumNetworkPolicy", **changes: Json) -> Fields:
    """A policy with these rules; `changes` replace fields of the spec, None takes one away."""
    listed: list[Json] = list(rules)
    spec: Fields = {"endpointSelector": {}, section: listed, **changes}
    metadata: Fields = {"name": "example"} if kind == CLUSTERWIDE else {"name": "example", "namespace": "default"}
    kept: Fields = {field: value for field, value in spec.items() if value is not None}
    return {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": kept}


def ports(*several: Fields, **beside: Json) -> Fields:
    """A rule for some ports."""
    listed: list[Json] = list(several)
    item: Fields = {"ports": listed, **beside}
    return {"toPorts": [item]}


def tcp(port: str, **more: Json) -> Fields:
    """A TCP port."""
    return {"port": port, "protocol": "TCP", **more}


def group(version: str, *networks: str, **metadata: Json) -> Fields:
    """A CiliumCIDRGroup."""
    listed: list[Json] = list(networks)
    named: Fields = {"name": "example", **metadata}
    return {
        "apiVersion": f"cilium.io/{version}",
        "kind": "CiliumCIDRGroup",
        "metadata": named,
        "spec": {"externalCIDRs": listed},
    }


def with_metadata(**metadata: Json) -> Fields:
    """A good policy with other metadata."""
    found = policy("ingress", {"fromEndpoints": [{}]})
    return found | {"metadata": {"name": "example", "namespace": "default", **metadata}}


@dataclass(frozen=True, slots=True)
class SchemaExample:
    """An object, the releases whose API servers take it, and the field that the others complain about."""

    sentence: str
    data: Fields
    taken_by: tuple[str, ...]
    field: str = ""


def _since(release: str) -> tuple[str, ...]:
    return RELEASES[RELEASES.index(release) :]


_FROM_PODS: Fields = {"fromEndpoints": [{"matchLabels": {"app": "client"}}]}

SCHEMA_EXAMPLES = (
    SchemaExample("a plain policy is taken", policy("ingress", _FROM_PODS | ports(tcp("80"))), RELEASES),
    SchemaExample(
        "an explicit default deny is taken",
        policy("egress", {}, enableDefaultDeny={"ingress": False, "egress": True}),
        RELEASES,
    ),
    SchemaExample("a range of ports is taken", policy("ingress", ports(tcp("80", endPort=90))), RELEASES),
    SchemaExample(
        "an ICMP type by number is taken", policy("ingress", {"icmps": [{"fields": [{"type": 8}]}]}), RELEASES
    ),
    SchemaExample(
        "an ICMP type by name is taken", policy("ingress", {"icmps": [{"fields": [{"type": "EchoRequest"}]}]}), RELEASES
    ),
    SchemaExample(
        "an ICMP type that is no name is refused",
        policy("ingress", {"icmps": [{"fields": [{"type": "Ping"}]}]}),
        (),
        "spec.ingress[0].icmps[0].fields[0].type",
    ),
    SchemaExample(
        "an unknown field is refused", policy("ingress", _FROM_PODS | {"fromPods": []}), (), "spec.ingress[0].fromPods"
    ),
    SchemaExample("an unknown field of the metadata is refused", with_metadata(owner="me"), (), "metadata.owner"),
    SchemaExample(
        "a number as port is refused",
        policy("ingress", ports({"port": 80})),
        (),
        "spec.ingress[0].toPorts[0].ports[0].port",
    ),
    SchemaExample(
        "an endPort above 65535 is refused",
        policy("ingress", ports(tcp("80", endPort=65536))),
        (),
        "spec.ingress[0].toPorts[0].ports[0].endPort",
    ),
    SchemaExample(
        "an unknown protocol is refused",
        policy("ingress", ports({"port": "80", "protocol": "TCPv6"})),
        (),
        "spec.ingress[0].toPorts[0].ports[0].protocol",
    ),
    SchemaExample(
        "41 ports in one item are refused",
        policy("ingress", ports(*(tcp(str(number)) for number in range(1, 42)))),
        (),
        "spec.ingress[0].toPorts[0].ports",
    ),
    SchemaExample(
        "40 ports in one item are taken", policy("ingress", ports(*(tcp(str(n)) for n in range(1, 41)))), RELEASES
    ),
    SchemaExample(
        "an address without a length is refused",
        policy("ingress", {"fromCIDR": ["10.0.0.1"]}),
        (),
        "spec.ingress[0].fromCIDR[0]",
    ),
    SchemaExample("a prefix with host bits is taken", policy("ingress", {"fromCIDR": ["10.0.0.1/8"]}), RELEASES),
    SchemaExample("an IPv6 prefix is taken", policy("ingress", {"fromCIDR": ["2001:db8::/32"]}), RELEASES),
    SchemaExample(
        "a netmask is refused",
        policy("ingress", {"fromCIDR": ["10.0.0.0/255.0.0.0"]}),
        (),
        "spec.ingress[0].fromCIDR[0]",
    ),
    SchemaExample(
        "a block that names nothing is refused",
        policy("ingress", {"fromCIDRSet": [{}]}),
        (),
        "spec.ingress[0].fromCIDRSet[0]",
    ),
    SchemaExample(
        "a block that is a CIDR and a group is refused",
        policy("ingress", {"fromCIDRSet": [{"cidr": "10.0.0.0/8", "cidrGroupRef": "g"}]}),
        (),
        "spec.ingress[0].fromCIDRSet[0]",
    ),
    SchemaExample(
        "a CIDR group by name is taken", policy("ingress", {"fromCIDRSet": [{"cidrGroupRef": "g"}]}), RELEASES
    ),
    SchemaExample(
        "CIDR groups by label are taken since 1.17",
        policy("ingress", {"fromCIDRSet": [{"cidrGroupSelector": {"matchLabels": {"a": "b"}}}]}),
        _since("1.17"),
        "spec.ingress[0].fromCIDRSet[0]",
    ),
    SchemaExample(
        "both kinds of subject are refused", policy("ingress", {}, nodeSelector={}, kind=CLUSTERWIDE), (), "spec"
    ),
    SchemaExample("no subject is refused", policy("ingress", {}, endpointSelector=None), (), "spec"),
    SchemaExample("no list of rules is refused since 1.17", policy("ingress", ingress=None), ("1.16",), "spec"),
    SchemaExample(
        "no spec at all is refused since 1.20",
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumNetworkPolicy",
            "metadata": {"name": "e", "namespace": "default"},
        },
        RELEASES[:-1],
        "object",
    ),
    SchemaExample(
        "an unknown entity is refused",
        policy("ingress", {"fromEntities": ["internet"]}),
        (),
        "spec.ingress[0].fromEntities[0]",
    ),
    SchemaExample(
        "the entity world-ipv4 is refused",
        policy("ingress", {"fromEntities": ["world-ipv4"]}),
        (),
        "spec.ingress[0].fromEntities[0]",
    ),
    SchemaExample(
        "the entity cluster-mesh is taken since 1.20",
        policy("ingress", {"fromEntities": ["cluster-mesh"]}),
        ("1.20",),
        "spec.ingress[0].fromEntities[0]",
    ),
    SchemaExample(
        "a Kafka rule is refused since 1.20",
        policy("ingress", ports(tcp("9092"), rules={"kafka": [{"topic": "t"}]})),
        RELEASES[:-1],
        "spec.ingress[0].toPorts[0].rules.kafka",
    ),
    SchemaExample(
        "an L7 rule that denies is refused",
        policy("ingressDeny", ports(tcp("80"), rules={"http": [{}]})),
        (),
        "spec.ingressDeny[0].toPorts[0].rules",
    ),
    SchemaExample(
        "a long DNS name with a path is refused at once",
        policy("egress", {"toFQDNs": [{"matchName": "a-very-long-name-without-any-dot-in-it-at-all/path"}]}),
        (),
        "spec.egress[0].toFQDNs[0].matchName",
    ),
    SchemaExample(
        "a line break behind a DNS name is refused",
        policy("egress", {"toFQDNs": [{"matchName": "example.com\n"}]}),
        (),
        "spec.egress[0].toFQDNs[0].matchName",
    ),
    SchemaExample(
        "a label value of 64 characters is refused",
        policy("ingress", {"fromEndpoints": [{"matchLabels": {"a": "x" * 64}}]}),
        (),
        "spec.ingress[0].fromEndpoints[0].matchLabels.a",
    ),
    SchemaExample("null where a list belongs counts as missing", policy("ingress", {"fromEndpoints": None}), RELEASES),
    SchemaExample(
        "null where something has to be is refused",
        policy("ingress", {"icmps": [{"fields": [{"type": None}]}]}),
        (),
        "spec.ingress[0].icmps[0].fields[0].type",
    ),
    SchemaExample(
        "null in a list is refused", policy("ingress", {"fromCIDR": [None]}), (), "spec.ingress[0].fromCIDR[0]"
    ),
    SchemaExample("null in an unknown field is refused", policy("ingress", {"x": None}), (), "spec.ingress[0].x"),
    SchemaExample("a name with capitals is refused", with_metadata(name="Example"), (), "metadata.name"),
    SchemaExample("a name of 253 characters is taken", with_metadata(name="a" * 253), RELEASES),
    SchemaExample("a name of 254 characters is refused", with_metadata(name="a" * 254), (), "metadata.name"),
    SchemaExample(
        "a label of the object with a space is refused", with_metadata(labels={"a": "b c"}), (), "metadata.labels.a"
    ),
    SchemaExample(
        "a label key with two slashes is refused", with_metadata(labels={"a/b/c": "d"}), (), "metadata.labels"
    ),
    SchemaExample(
        "an annotation may hold any text", with_metadata(annotations={"cilium-migrate/source": "Kind a/b"}), RELEASES
    ),
    SchemaExample(
        "an annotation that is a number is refused", with_metadata(annotations={"a": 1}), (), "metadata.annotations.a"
    ),
    SchemaExample("a CIDR group of v2alpha1 is taken everywhere", group("v2alpha1", "10.0.0.0/8"), RELEASES),
    SchemaExample("a CIDR group of v2 is taken since 1.18", group("v2", "10.0.0.0/8"), _since("1.18"), "apiVersion"),
    SchemaExample(
        "a CIDR group with a wrong prefix is refused", group("v2alpha1", "10.0.0.0/33"), (), "spec.externalCIDRs[0]"
    ),
)


@dataclass(frozen=True, slots=True)
class AgentExample:
    """A policy that the API server takes, the field we complain about ("" for none), and what the agent does with it.

    `refused_by` are the releases of the real agent that do not take the policy. An agent that takes what we complain
    about reads it in another way than it is written.
    """

    sentence: str
    data: Fields
    field: str
    refused_by: tuple[str, ...] = ()


_BOTH = ("1.18", "1.20")
_PORT = "spec.ingress[0].toPorts[0].ports[0]"
_PING: Fields = {"icmps": [{"fields": [{"type": 8}]}]}
_SERVICE: Fields = {"toServices": [{"k8sService": {"serviceName": "web", "namespace": "default"}}]}
_DNS: Fields = {"dns": [{"matchPattern": "*.example.com"}]}
_DNS_PORT: Fields = {"port": "53", "protocol": "UDP"}


def _expression(operator: str, *values: str) -> Fields:
    listed: list[Json] = list(values)
    found: Fields = {"key": "app", "operator": operator}
    return {"fromEndpoints": [{"matchExpressions": [found | {"values": listed} if values else found]}]}


AGENT_EXAMPLES = (
    AgentExample("one kind of peer and a port", policy("ingress", _FROM_PODS | ports(tcp("80"))), ""),
    AgentExample("an empty rule, which isolates", policy("ingress", {}), ""),
    AgentExample(
        "two kinds of peer", policy("ingress", _FROM_PODS | {"fromCIDR": ["10.0.0.0/8"]}), "spec.ingress[0]", _BOTH
    ),
    AgentExample("an empty list of peers", policy("ingress", {"fromEndpoints": []}), "spec.ingress[0].fromEndpoints"),
    AgentExample("lists without any rule", policy("ingress"), "spec", _BOTH),
    AgentExample("a port with a leading zero", policy("ingress", ports(tcp("0100"))), f"{_PORT}.port"),
    AgentExample("a port above 65535", policy("ingress", ports(tcp("99999"))), f"{_PORT}.port", _BOTH),
    AgentExample("a port name of 15 characters", policy("ingress", ports(tcp("abcdefghijklmno"))), ""),
    AgentExample(
        "a port name of 16 characters", policy("ingress", ports(tcp("abcdefghijklmnop"))), f"{_PORT}.port", _BOTH
    ),
    AgentExample("port 0, which is every port", policy("ingress", ports(tcp("0"))), ""),
    AgentExample("a range from port 0", policy("ingress", ports(tcp("0", endPort=90))), f"{_PORT}.endPort"),
    AgentExample("a range that goes down", policy("ingress", ports(tcp("90", endPort=80))), f"{_PORT}.endPort"),
    AgentExample("a range from a name", policy("ingress", ports(tcp("http", endPort=90))), f"{_PORT}.endPort"),
    AgentExample(
        "ICMP beside ports",
        policy("ingress", {**_PING, **ports(tcp("80"))}),
        "spec.ingress[0]",
        _BOTH,
    ),
    AgentExample(
        "an exception outside its block",
        policy("ingress", {"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}]}),
        "spec.ingress[0].fromCIDRSet[0].except[0]",
        _BOTH,
    ),
    AgentExample(
        "an exception of the other family",
        policy("ingress", {"fromCIDRSet": [{"cidr": "::/0", "except": ["10.0.0.0/8"]}]}),
        "spec.ingress[0].fromCIDRSet[0].except[0]",
        _BOTH,
    ),
    AgentExample(
        "an exception wider than its block",
        policy("ingress", {"fromCIDRSet": [{"cidr": "10.0.0.0/16", "except": ["10.0.0.0/8"]}]}),
        "spec.ingress[0].fromCIDRSet[0].except[0]",
        ("1.20",),
    ),
    AgentExample(
        "an exception as wide as its block",
        policy("ingress", {"fromCIDRSet": [{"cidr": "10.0.0.0/16", "except": ["10.0.0.0/16"]}]}),
        "",
    ),
    AgentExample(
        "an exception from a CIDR group",
        policy("ingress", {"fromCIDRSet": [{"cidrGroupRef": "g", "except": ["10.0.0.0/8"]}]}),
        "spec.ingress[0].fromCIDRSet[0].except[0]",
    ),
    AgentExample(
        "nodes in a policy of a namespace",
        policy("ingress", {}, nodeSelector={}, endpointSelector=None),
        "spec.nodeSelector",
        _BOTH,
    ),
    AgentExample(
        "nodes without the host firewall",
        policy("ingress", {}, nodeSelector={}, endpointSelector=None, kind=CLUSTERWIDE),
        "spec.nodeSelector",
    ),
    AgentExample("peers that are nodes", policy("ingress", {"fromNodes": [{}]}), "spec.ingress[0].fromNodes", _BOTH),
    AgentExample(
        "an HTTP rule at port 0",
        policy("ingress", ports(tcp("0"), rules={"http": [{}]})),
        "spec.ingress[0].toPorts[0].rules",
        _BOTH,
    ),
    AgentExample("an HTTP rule on TCP", policy("ingress", ports(tcp("80"), rules={"http": [{}]})), ""),
    AgentExample(
        "an HTTP rule on any protocol",
        policy("ingress", ports({"port": "80"}, rules={"http": [{}]})),
        "spec.ingress[0].toPorts[0].rules",
        _BOTH,
    ),
    AgentExample("a DNS rule on egress", policy("egress", ports(_DNS_PORT, rules=_DNS)), ""),
    AgentExample(
        "a DNS rule on ingress",
        policy("ingress", ports(_DNS_PORT, rules=_DNS)),
        "spec.ingress[0].toPorts[0].rules",
        _BOTH,
    ),
    AgentExample(
        "a DNS rule without a port",
        policy("egress", {"toPorts": [{"rules": _DNS}]}),
        "spec.egress[0].toPorts[0].rules",
        _BOTH,
    ),
    AgentExample(
        "server names beside an HTTP rule",
        policy("egress", ports(tcp("443"), rules={"http": [{}]}, serverNames=["example.com"])),
        "spec.egress[0].toPorts[0].rules",
        _BOTH,
    ),
    AgentExample(
        "a listener on ingress",
        policy("ingress", ports(tcp("443"), listener={"envoyConfig": {"name": "e"}, "name": "l"})),
        "spec.ingress[0].toPorts[0].listener",
        _BOTH,
    ),
    AgentExample("a Service beside ports", policy("egress", _SERVICE | ports(tcp("80"))), "spec.egress[0].toServices"),
    AgentExample("a Service alone", policy("egress", _SERVICE), ""),
    AgentExample("a denied Service", policy("egressDeny", _SERVICE), "spec.egressDeny[0].toServices"),
    AgentExample("In with values", policy("ingress", _expression("In", "a", "b")), ""),
    AgentExample(
        "In without values",
        policy("ingress", _expression("In")),
        "spec.ingress[0].fromEndpoints[0].matchExpressions[0].values",
        _BOTH,
    ),
    AgentExample(
        "Exists with a value",
        policy("ingress", _expression("Exists", "a")),
        "spec.ingress[0].fromEndpoints[0].matchExpressions[0].values",
        _BOTH,
    ),
    AgentExample(
        "a value that no label can have",
        policy("ingress", _expression("In", "-a")),
        "spec.ingress[0].fromEndpoints[0].matchExpressions[0]",
        _BOTH,
    ),
    AgentExample(
        "a label of the namespace",
        policy(
            "ingress",
            {"fromEndpoints": [{"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.example.com/team": "a"}}]},
        ),
        "",
    ),
    AgentExample(
        "a key that no label can have",
        policy("ingress", {"fromEndpoints": [{"matchLabels": {"a b": "c"}}]}),
        "spec.ingress[0].fromEndpoints[0].matchLabels.a b",
        _BOTH,
    ),
)
