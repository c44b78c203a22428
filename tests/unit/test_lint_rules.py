"""What Cilium's agent refuses or misreads although the API server takes it."""

import pytest

from migrate.translate.lint_rules import problems
from migrate.translate.profiles import load_profile
from migrate.translate.schema import violations
from tests.target_examples import AGENT_EXAMPLES, CLUSTERWIDE, AgentExample, Fields, group, policy, ports, tcp


@pytest.mark.parametrize("target", ["cilium-1.18", "cilium-1.20"])
@pytest.mark.parametrize("example", AGENT_EXAMPLES, ids=lambda example: example.sentence)
def test_what_the_agent_does_not_take_as_written(example: AgentExample, target: str) -> None:
    assert violations(example.data, load_profile(target)) == ()
    found = problems(example.data, load_profile(target))
    if example.field:
        assert [text.partition(": ")[0] for text in found] == [example.field]
    else:
        assert found == ()


_HTTP = policy("ingress", ports(tcp("80"), rules={"http": [{}]}))
_HTTP_FOR_ALL = policy("ingress", ports(tcp("80"), rules={"http": [{}]}), kind=CLUSTERWIDE)
_SERVICE: Fields = {"toServices": [{"k8sService": {"serviceName": "web"}}]}


def _dns(pattern: str) -> Fields:
    return policy("egress", ports({"port": "53", "protocol": "UDP"}, rules={"dns": [{"matchPattern": pattern}]}))


_NAMES = policy("egress", {"toFQDNs": [{"matchPattern": "*.example.com"}]})


@pytest.mark.parametrize(
    ("data", "refused_by", "taken_by"),
    [
        pytest.param(
            _HTTP, "aks-1.34 aks-1.34-acns-fqdn", "aks-1.34-acns-l7 cilium-1.18", id="HTTP rules need ACNS L7"
        ),
        pytest.param(
            _HTTP_FOR_ALL, "aks-1.34-acns-l7", "cilium-1.18", id="ACNS has no HTTP rules in cluster-wide ones"
        ),
        pytest.param(_NAMES, "aks-1.34", "aks-1.34-acns-fqdn aks-1.34-acns-l7 cilium-1.18", id="names need ACNS"),
        pytest.param(
            _dns("*"), "aks-1.34 aks-1.34-acns-fqdn aks-1.34-acns-l7", "cilium-1.18", id="AKS refuses any name"
        ),
        pytest.param(_dns("*.a"), "aks-1.34", "aks-1.34-acns-fqdn cilium-1.18", id="AKS takes a pattern with ACNS"),
        pytest.param(_dns("**.a"), "cilium-1.18", "cilium-1.19 cilium-1.20", id="any depth of names is new in 1.19"),
    ],
)
def test_targets_differ_in_what_they_take(data: Fields, refused_by: str, taken_by: str) -> None:
    assert all(problems(data, load_profile(target)) for target in refused_by.split())
    assert not any(problems(data, load_profile(target)) for target in taken_by.split())


def test_a_service_beside_ports_is_refused_before_1_17() -> None:
    both = policy("egress", _SERVICE | ports(tcp("80")))
    (text,) = problems(both, load_profile("cilium-1.16"))
    assert "cannot stand beside toPorts" in text


def test_the_limit_of_ports_is_the_profile_s() -> None:
    many = policy("ingress", ports(*(tcp(str(number)) for number in range(1, 42))))
    (text,) = problems(many, load_profile("cilium-1.20"))
    assert text == "spec.ingress[0].toPorts[0].ports: has 41 items; at most 40 are allowed"


def test_a_protocol_without_ports_needs_its_setting() -> None:
    (text,) = problems(policy("ingress", ports({"port": "0", "protocol": "GRE"})), load_profile("cilium-1.20"))
    assert "enable-extended-ip-protocols" in text


def test_every_spec_is_looked_at() -> None:
    wrong = policy("ingress", ports(tcp("0100")))
    several: Fields = {"kind": wrong["kind"], "specs": [wrong["spec"], wrong["spec"]]}
    places = [text.partition(": ")[0] for text in problems(several, load_profile("cilium-1.20"))]
    assert places == [f"specs[{index}].ingress[0].toPorts[0].ports[0].port" for index in (0, 1)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(policy("ingress", ports()) | {"spec": "text"}, id="a spec that is no mapping"),
        pytest.param(policy("ingress", {"toPorts": "80"}), id="ports that are no list"),
        pytest.param(policy("ingress", {"toPorts": ["80"]}), id="ports that are no mappings"),
        pytest.param(policy("ingress", {"fromCIDRSet": [{"cidr": 1, "except": [2]}]}), id="a prefix that is a number"),
        pytest.param(policy("ingress", {"fromEndpoints": [{"matchLabels": ["a"]}]}), id="labels that are a list"),
        pytest.param(group("v2", "x"), id="another kind"),
    ],
)
def test_what_the_schema_refuses_does_no_harm_here(data: Fields) -> None:
    assert isinstance(problems(data, load_profile("cilium-1.20")), tuple)
