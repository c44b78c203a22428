"""Limits of Cilium's model: refusals, what it calls unknown, wrong options, and big or odd input."""

from __future__ import annotations

import re

import pytest

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import Case, read_case
from migrate.sources.cilium_engine import CiliumEngine
from migrate.verify.engines import Built, build_engine
from migrate.verify.simulate import Simulator
from tests.conftest import required_engine
from tests.policy_engines import policy_engine
from tests.reference.cases import Case as DrawnCase
from tests.reference.cases import End, Flow, Namespace, Node, Pod
from tests.simulate.dialects import DIALECTS

Object = dict[str, Json]

POD_A: Object = {"namespace": "default", "name": "a", "labels": {"app": "a"}, "ips": ["10.0.0.1"], "node": "n"}
POD_B: Object = {"namespace": "default", "name": "b", "labels": {"app": "b"}, "ips": ["10.0.0.2"], "node": "n"}
ODD_VALUES = ("A" + "-" * 61 + "z", "a.b_c-" * 10 + "Z9", "0" * 63, "", "true", "1e3")
WEB: Object = {"port": "80", "protocol": "TCP"}


def policy(spec: Object, name: str = "p", kind: str = "CiliumNetworkPolicy") -> Object:
    """A policy for every pod of its namespace, or of all."""
    metadata: Object = {"name": name} if "Cluster" in kind else {"name": name, "namespace": "default"}
    subject: Object = {} if "nodeSelector" in spec else {"endpointSelector": {}}
    return {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": {**subject, **spec}}


def case(*policies: Object, **more: Json) -> Case:
    """Two pods on a node, and one flow between them."""
    flow: Object = {"src": {"pod": "default/a"}, "dst": {"pod": "default/b"}, "protocol": "TCP", "port": 80}
    document: Object = {
        "name": "limits",
        "namespaces": [{"name": "default"}],
        "pods": [POD_A, POD_B],
        "nodes": [{"name": "n", "ips": ["10.1.0.1"]}],
        "policies": list(policies),
        "flows": [flow],
    }
    return read_case(RawObject(document | more))


def built(asked: Case, release: int, **options: Json) -> Built:
    """Cilium's engine for a case, with flags of the agent."""
    flags = {name.replace("_", "-"): value for name, value in options.items()}
    return build_engine("cilium", asked.policies, asked.cluster, flags, release)


def refusals(asked: Case, release: int, **options: Json) -> str:
    """Why the agent does not take the policies of a case."""
    engine = built(asked, release, **options).engine
    assert isinstance(engine, CiliumEngine)
    return "; ".join(engine.refused.values())


def unknown(asked: Case, release: int, **options: Json) -> list[str]:
    """The fields for which the model has no answer."""
    return [place.field for place in built(asked, release, **options).engine.unknown]


def words(asked: Case, release: int = 20, **options: Json) -> list[tuple[str, str]]:
    """What both ends say of the case's flows."""
    engine = built(asked, release, **options).engine
    assert engine.unknown == ()
    simulator = Simulator(engine, asked.cluster)
    answers = [simulator.answer(flow) for flow in asked.flows]
    return [(answer.egress.value, answer.ingress.value) for answer in answers]


@pytest.mark.parametrize("release", [18, 20])
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({}, "it has no rule", id="a policy without rules"),
        pytest.param(
            {"ingress": [{"fromEndpoints": [{}], "fromEntities": ["world"]}]},
            "may not have Endpoints and Entities",
            id="two kinds of peers in one rule",
        ),
        pytest.param(
            {"egress": [{"toServices": [{"k8sService": {"serviceName": "s"}}], "toCIDR": ["10.0.0.0/8"]}]},
            "may not have CIDR and Services",
            id="services beside addresses",
        ),
        pytest.param(
            {"ingress": [{"fromNodes": [{}]}]}, "need enable-node-selector-labels", id="nodes as peers, by default"
        ),
        pytest.param(
            {"ingress": [{"icmps": [{"fields": [{"type": 8}]}], "toPorts": [{"ports": [WEB]}]}]},
            "may not have ICMP and ports",
            id="ICMP beside ports",
        ),
        pytest.param(
            {"ingress": [{"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}]}]},
            "is outside of it",
            id="an exception outside of its CIDR",
        ),
        pytest.param(
            {"ingress": [{"fromCIDRSet": [{"cidr": "10.0.0.0/8", "cidrGroupRef": "g"}]}]},
            "needs one of cidr",
            id="a CIDR and a group in one entry",
        ),
        pytest.param(
            {"ingress": [{"toPorts": [{"ports": [WEB] * 41}]}]}, "more than 40 ports", id="41 ports in one item"
        ),
        pytest.param(
            {"ingress": [{"toPorts": [{"ports": [{"port": "80"}], "rules": {"http": [{"path": "/"}]}}]}]},
            "are for TCP",
            id="HTTP for any protocol",
        ),
        pytest.param(
            {"ingress": [{"toPorts": [{"ports": [{"port": "53"}], "rules": {"dns": [{"matchName": "a.b"}]}}]}]},
            "may not stand on ingress",
            id="DNS rules on ingress",
        ),
        pytest.param(
            {
                "ingress": [
                    {"toPorts": [{"ports": [WEB], "listener": {"name": "l", "envoyConfig": {"name": "e"}}}]},
                ]
            },
            "may not stand on ingress",
            id="a listener on ingress",
        ),
        pytest.param(
            {
                "egress": [
                    {"toPorts": [{"ports": [{"port": "53", "endPort": 54}], "rules": {"dns": [{"matchName": "a.b"}]}}]}
                ]
            },
            "may not stand on a range",
            id="DNS rules on a range",
        ),
        pytest.param(
            {"egress": [{"toPorts": [{"ports": [WEB], "rules": {"http": [{}]}, "serverNames": ["a.b"]}]}]},
            "need terminatingTLS",
            id="server names and HTTP without the keys to look inside",
        ),
    ],
)
def test_policy_that_the_agent_does_not_take_isolates_nobody(spec: Object, reason: str, release: int) -> None:
    asked = case(policy(spec))
    assert reason in refusals(asked, release)
    assert words(asked, release) == [("unenforced", "unenforced")]


@pytest.mark.parametrize(
    ("spec", "release", "field"),
    [
        pytest.param(
            {"egress": [{"toGroups": [{"aws": {"region": "x"}}]}]}, 18, "toGroups", id="security groups of a cloud"
        ),
        pytest.param({"egress": [{"toFQDNs": [{"matchName": "a.b"}]}]}, 20, "toFQDNs", id="names without a DNS"),
        pytest.param(
            {"ingress": [{"toPorts": [{"ports": [WEB], "rules": {"kafka": [{"topic": "t"}]}}]}]},
            20,
            "toPorts",
            id="Kafka rules, which 1.20 no longer has",
        ),
        pytest.param(
            {
                "ingress": [
                    {"toPorts": [{"ports": [WEB], "rules": {"http": [{}]}}]},
                    {"toPorts": [{"ports": [WEB], "rules": {"kafka": [{"topic": "t"}]}}]},
                ]
            },
            18,
            "ingress[1]",
            id="two kinds of L7 rules for one port, which fails at the endpoint",
        ),
        pytest.param(
            {
                "ingress": [
                    {"fromEndpoints": [{}], "authentication": {"mode": "required"}},
                    {"fromEntities": ["cluster"], "authentication": {"mode": "disabled"}},
                ]
            },
            20,
            "ingress[1]",
            id="two modes of authentication",
        ),
        pytest.param(
            {
                "ingressDeny": [
                    {"toPorts": [{"ports": [{"port": "http"}]}]},
                    {"toPorts": [{"ports": [{"port": "http", "endPort": 9000}]}]},
                ]
            },
            18,
            "ingressDeny[1]",
            id="a named port with two ends, of which 1.18 takes the first it meets",
        ),
        pytest.param({"ingress": [{"unheardOf": 1}]}, 20, "unheardOf", id="a field that nobody knows"),
    ],
)
def test_what_is_not_modelled_is_unknown_with_its_place(spec: Object, release: int, field: str) -> None:
    assert any(field in place for place in unknown(case(policy(spec)), release))


def test_host_policy_is_unknown_only_where_the_host_firewall_is_on() -> None:
    asked = case(policy({"nodeSelector": {}, "ingress": [{}]}, kind="CiliumClusterwideNetworkPolicy"))
    assert unknown(asked, 20) == []
    assert unknown(asked, 20, enable_host_firewall=True) == ["spec.nodeSelector"]


def test_requirements_narrow_the_endpoints_of_other_policies_up_to_118() -> None:
    allow = policy({"ingress": [{"fromEndpoints": [{}]}]}, "allow")
    require = policy({"ingress": [{"fromRequires": [{"matchLabels": {"app": "c"}}]}]}, "require")
    assert words(case(allow), 18) == [("unenforced", "allow")]
    assert words(case(allow, require), 18) == [("unenforced", "deny")]
    assert "are gone since 1.19" in refusals(case(allow, require), 20)


def test_service_that_is_not_there_opens_its_ports_to_everyone() -> None:
    absent: Object = {"toServices": [{"k8sService": {"serviceName": "absent"}}]}
    assert words(case(policy({"egress": [absent]}))) == [("deny", "unenforced")]
    ported = absent | {"toPorts": [{"ports": [WEB]}]}
    assert words(case(policy({"egress": [ported]}))) == [("allow", "unenforced")]


def test_service_means_the_pods_of_its_selector() -> None:
    asked = policy({"egress": [{"toServices": [{"k8sService": {"serviceName": "s"}}]}]})
    found = [case(asked, services=[{"name": "s", "selector": {"app": app}}]) for app in ("a", "b")]
    assert [words(some) for some in found] == [[("deny", "unenforced")], [("allow", "unenforced")]]


@pytest.mark.parametrize(
    ("pattern", "releases"),
    [
        pytest.param("*.example.com", (), id="one star is one label"),
        pytest.param("*.*.example.com", (18, 20), id="two labels are two stars"),
        pytest.param("**.example.com", (20,), id="two stars are any number of labels since 1.19"),
        pytest.param("*", (18, 20), id="a star alone is every name"),
    ],
)
def test_pattern_of_names(pattern: str, releases: tuple[int, ...]) -> None:
    flow: Object = {"src": {"pod": "default/a"}, "dst": {"ip": "203.0.113.1"}, "protocol": "TCP", "port": 80}
    asked = case(
        policy({"egress": [{"toFQDNs": [{"matchPattern": pattern}]}]}),
        dns={"a.b.example.com": ["203.0.113.1"]},
        flows=[flow],
    )
    for release in (18, 20):
        assert words(asked, release) == [("allow" if release in releases else "deny", "unenforced")]


def tiered(tier: str, action: str) -> Object:
    """A ClusterNetworkPolicy about everything into every pod."""
    spec: Object = {"tier": tier, "priority": 1, "subject": {"namespaces": {}}, "ingress": [{"action": action}]}
    metadata: Object = {"name": f"{tier}-{action}".lower()}
    version = "policy.networking.k8s.io/v1alpha2"
    return {"apiVersion": version, "kind": "ClusterNetworkPolicy", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("policies", "word"),
    [
        pytest.param([tiered("Admin", "Deny")], "deny", id="an Admin deny"),
        pytest.param([tiered("Admin", "Pass")], "allow", id="passed traffic that nobody isolates"),
        pytest.param([tiered("Admin", "Accept"), policy({"ingress": [{}]})], "allow", id="an Admin accept goes first"),
        pytest.param([tiered("Admin", "Pass"), policy({"ingress": [{}]})], "deny", id="passed traffic meets policies"),
        pytest.param([tiered("Baseline", "Accept"), policy({"ingress": [{}]})], "allow", id="Baseline goes behind"),
        pytest.param(
            [tiered("Baseline", "Deny"), policy({"ingress": [{"fromEntities": ["cluster"]}]})],
            "allow",
            id="Baseline is not asked about what a policy allows",
        ),
    ],
)
def test_tiers_are_read_when_the_agent_is_told_to(policies: list[Object], word: str) -> None:
    asked = case(*policies)
    assert words(asked, 20, enable_k8s_cluster_network_policy=True) == [("unenforced", word)]
    without = case(*(item for item in policies if item["kind"] != "ClusterNetworkPolicy"))
    assert words(asked, 20) == words(without, 20)


@pytest.mark.parametrize(
    ("name", "value", "release"),
    [
        pytest.param("enable-policies", "always", 20, id="a name that is no flag"),
        pytest.param("enable-policy", "sometimes", 20, id="a value that the flag does not take"),
        pytest.param("enable-sctp", "yes", 20, id="a text for a switch"),
        pytest.param("policy-cidr-match-mode", ["pods"], 18, id="pods as match mode before 1.20"),
        pytest.param("enable-k8s-cluster-network-policy", True, 18, id="tiers before 1.20"),
    ],
)
def test_wrong_option_is_named(name: str, value: Json, release: int) -> None:
    asked = case()
    with pytest.raises(InputError, match=re.escape(f"option {name}: {value!r}")):
        build_engine("cilium", asked.policies, asked.cluster, {name: value}, release)


@pytest.mark.parametrize("release", [18, 20])
@pytest.mark.parametrize("value", ODD_VALUES)
def test_odd_label_value_is_compared_letter_by_letter(value: str, release: int) -> None:
    pods: Json = [POD_A | {"labels": {"k": value}}, POD_B]
    peers: list[Object] = [{"matchLabels": {"k": value}}, {"matchLabels": {"k": value.lower() + "x"}}]
    found = [case(policy({"ingress": [{"fromEndpoints": [peer]}]}), pods=pods) for peer in peers]
    assert [words(some, release) for some in found] == [[("unenforced", "allow")], [("unenforced", "deny")]]


@pytest.mark.parametrize("release", [18, 20])
def test_5000_cidrs_in_one_policy(release: int) -> None:
    blocks: list[Json] = [f"100.{index // 256}.{index % 256}.0/25" for index in range(5000)]
    source: Object = {"ip": "100.19.0.127"}
    flows: Json = [
        {"src": source, "dst": {"pod": "default/b"}, "protocol": "TCP", "port": 80},
        {"src": {"ip": "100.19.0.128"}, "dst": {"pod": "default/b"}, "protocol": "TCP", "port": 80},
    ]
    asked = case(policy({"ingress": [{"fromCIDR": blocks}]}), flows=flows)
    assert words(asked, release) == [("unenforced", "allow"), ("unenforced", "deny")]


def test_10000_policies_on_two_pods() -> None:
    policies = [
        policy({"ingress": [{"fromEndpoints": [{}], "toPorts": [{"ports": [{"port": str(port)}]}]}]}, f"p-{port}")
        for port in range(1, 10001)
    ]
    ends: Object = {"src": {"pod": "default/a"}, "dst": {"pod": "default/b"}, "protocol": "TCP"}
    asked = case(*policies, flows=[ends | {"port": 80}, ends | {"port": 10001}])
    assert words(asked) == [("unenforced", "allow"), ("unenforced", "deny")]


@pytest.mark.engine
@pytest.mark.parametrize(("name", "runs"), [("cilium-1.18", "ipv4"), ("cilium-1.18", "ipv6"), ("cilium-1.20", "ipv4")])
def test_prefix_of_no_bits_of_the_version_that_does_not_run(name: str, runs: str) -> None:
    off = {"ipv4": "ipv6", "ipv6": "ipv4"}[runs]
    prefixes = {"ipv4": ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"], "ipv6": ["::/0", "::/1", "8000::/1"]}[off]
    own, outside = {"ipv4": ("10.0.0.1", "8.8.8.8"), "ipv6": ("fd00::1", "2001:db8::1")}[runs]
    rules: list[Json] = [
        {"fromCIDRSet": [{"cidr": prefix}], "toPorts": [{"ports": [{"port": str(index + 1)}]}]}
        for index, prefix in enumerate(prefixes)
    ]
    drawn = DrawnCase(
        name=f"{name}-{runs}",
        engine="cilium",
        namespaces=(Namespace("default"),),
        pods=(Pod("default", "a", {}, (own,), node="n"),),
        nodes=(Node("n", ("10.1.0.1" if runs == "ipv4" else "fd10::1",)),),
        policies=({**policy({"ingress": rules})},),
        flows=tuple(Flow(End(ip=outside), End(pod="default/a"), "TCP", port) for port in (1, 2, 3)),
        options={off: False},
    )
    said = DIALECTS[name].truth(policy_engine(required_engine(name)))(drawn)
    assert DIALECTS[name].model(drawn).answers == said.answers
    taken = name == "cilium-1.18"
    assert [answer and answer.ingress for answer in said.answers] == ["allow" if taken else "deny", "deny", "deny"]


@pytest.mark.engine
@pytest.mark.parametrize("name", ["cilium-1.18", "cilium-1.20"])
def test_engine_compares_odd_label_values_in_the_same_way(name: str) -> None:
    def ports(number: int) -> list[Json]:
        return [{"ports": [{"port": str(number), "protocol": "TCP"}]}]

    values = [*ODD_VALUES, "A" * 63, "a" * 63]
    pods = tuple(
        Pod("default", f"p-{index}", {"k": value}, (f"10.0.0.{index + 1}",), node="n")
        for index, value in enumerate(values)
    )
    rules: list[Object] = [
        {"fromEndpoints": [{"matchLabels": {"k": value}}], "toPorts": ports(index + 1)}
        for index, value in enumerate(values)
    ]
    policies: list[dict[str, object]] = [
        {**policy({"ingress": [rule]}, f"p-{index}")} for index, rule in enumerate(rules)
    ]
    drawn = DrawnCase(
        name=f"{name}-odd-values",
        engine="cilium",
        namespaces=(Namespace("default"),),
        pods=pods,
        nodes=(Node("n", ("10.1.0.1",)),),
        policies=tuple(policies),
        flows=tuple(
            Flow(End(pod=source.key), End(pod=pods[0].key), "TCP", port + 1)
            for source in pods[1:]
            for port in range(len(values))
        ),
    )
    dialect = DIALECTS[name]
    said = dialect.truth(policy_engine(required_engine(name)))(drawn)
    assert dialect.model(drawn).answers == said.answers
    assert {answer.ingress for answer in said.answers if answer is not None} == {"allow", "deny"}
