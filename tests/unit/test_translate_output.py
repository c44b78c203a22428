"""What is written: strings that stay strings, comments that stay comments, the same bytes for the same objects."""

import random
import re
from collections.abc import Iterator, Mapping

import pytest
import yaml

from migrate.model.documents import Result
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, translate
from migrate.translate.profiles import load_profile
from tests.unit import translate_cases
from tests.unit.policies import calico, network_policy

# What Kubernetes' decoder (YAML 1.1 with parts of 1.2) takes for something else than a string when it has no quotes.
_NOT_A_STRING = re.compile(
    r"""~|null|true|false|yes|no|on|off|y|n
    | [-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-f_]+|[0-9][0-9_]*)                    # integers
    | [-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:e[-+]?[0-9]+)?               # fractions
    | [-+]?\.(?:inf|nan)
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?                          # base 60
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?                                # dates
    | =|<<|
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Label values that Kubernetes takes and YAML readers mistake.
HOSTILE = (
    *("1e3", "08", "0o17", "017", "0x1F", "0b1", "1_000", "1.5", "12e03", "0", "1", "1.0", ""),
    *("y", "Y", "n", "N", "yes", "No", "on", "OFF", "true", "False", "null", "Null", "NaN", "inf", "Infinity"),
    *("2026-11-21", "12-30", "1e", "e3", "0-0", "1.2.3", "a.b_c-d"),
)


def _translate(*objects: Mapping[str, Json], target: str = "cilium-1.20", mode: str = "rewrite") -> Outcome:
    return translate(
        [RawObject(dict(data)) for data in objects], profile=load_profile(target), networkpolicy=mode, complete=False
    )


def _plain_strings(text: str) -> Iterator[str]:
    """Every string of a document that was written without quotes, keys included."""
    waiting: list[yaml.Node | None] = [yaml.compose(text, Loader=yaml.SafeLoader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.ScalarNode) and node.style is None and node.tag.endswith(":str"):
            yield node.value


@pytest.mark.parametrize("value", HOSTILE, ids=[f"label value {value or 'empty'}" for value in HOSTILE])
def test_a_label_value_stays_a_string(value: str) -> None:
    outcome = _translate(
        network_policy(
            {
                "podSelector": {"matchLabels": {"version": value}},
                "ingress": [
                    {
                        "from": [
                            {
                                "podSelector": {
                                    "matchExpressions": [{"key": "v", "operator": "In", "values": [value, "x"]}]
                                }
                            }
                        ]
                    }
                ],
            }
        )
    )
    (written,) = translate_cases.emitted_objects(outcome)
    spec = written["spec"]
    assert isinstance(spec, dict)
    assert spec["endpointSelector"] == {"matchLabels": {"version": value}}
    assert spec["ingress"] == [
        {"fromEndpoints": [{"matchExpressions": [{"key": "v", "operator": "In", "values": sorted([value, "x"])}]}]}
    ]
    assert [text for text in _plain_strings(outcome.files[0].text) if _NOT_A_STRING.fullmatch(text)] == []


@pytest.mark.parametrize("key", ["y", "n", "on", "1e3", "123", "true", "null", "2026-11-21"])
def test_a_label_key_stays_a_string(key: str) -> None:
    outcome = _translate(network_policy({"podSelector": {"matchLabels": {key: "x"}}}))
    (written,) = translate_cases.emitted_objects(outcome)
    spec = written["spec"]
    assert isinstance(spec, dict)
    assert spec["endpointSelector"] == {"matchLabels": {key: "x"}}
    assert [text for text in _plain_strings(outcome.files[0].text) if _NOT_A_STRING.fullmatch(text)] == []


@pytest.mark.parametrize("name", ["1e3", "0x1f", "null", "true", "y", "123", "2026-11-21"])
def test_names_stay_strings(name: str) -> None:
    outcome = _translate(network_policy({"podSelector": {}}, name=name, namespace="123"))
    (written,) = translate_cases.emitted_objects(outcome)
    metadata = written["metadata"]
    assert isinstance(metadata, dict)
    assert (metadata["name"], metadata["namespace"]) == (name, "123")


HOSTILE_FILES = (
    "a\nspec: {}\n",
    "a\r\nkind: Secret",
    "a\u2028b: c",
    "a\u0085b: c",
    "a\x0bb",
    "a\x00b",
    "\ufeffa",
    "# --- a",
)


@pytest.mark.parametrize("file", HOSTILE_FILES, ids=[ascii(file) for file in HOSTILE_FILES])
def test_no_file_name_ends_the_comment(file: str) -> None:
    raw = RawObject(network_policy({"podSelector": {}}), file, {(): 1})
    (written,) = translate([raw], profile=load_profile("cilium-1.20"), complete=False).files
    lines = written.text.splitlines()
    body = [line for line in lines if not line.startswith("#")]
    assert body[0] == "apiVersion: cilium.io/v2"
    assert lines[: len(lines) - len(body)] + body == lines
    assert len(list(yaml.safe_load_all(written.text))) == 1


def test_the_comment_says_source_target_and_what_the_result_rests_on() -> None:
    raw = RawObject(
        network_policy({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}),
        "p.yaml",
        {(): 7},
    )
    (written,) = translate([raw], profile=load_profile("cilium-1.18"), complete=False).files
    comment = "\n".join(line for line in written.text.splitlines() if line.startswith("#"))
    for part in ("NetworkPolicy shop/policy", "networking.k8s.io/v1", "p.yaml:7", "cilium-1.18", "exact_here", "IPv4"):
        assert part in comment


def _everything() -> list[dict[str, Json]]:
    return [
        *translate_cases.objects_of("calico-network-sets"),
        network_policy({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}, "same"),
        network_policy({"podSelector": {}, "egress": [{"ports": [{"port": "http"}]}]}, "other", "lab"),
        calico("NetworkPolicy", {"selector": "app in {'b', 'a'} || has(c)"}, {"name": "same", "namespace": "shop"}),
        calico("GlobalNetworkPolicy", {"ingress": [{"action": "Deny"}]}, {"name": "same"}),
    ]


@pytest.mark.parametrize("target", translate_cases.TARGETS)
@pytest.mark.parametrize("mode", ["rewrite", "supplement", "keep"])
def test_the_order_of_objects_does_not_matter(target: str, mode: str) -> None:
    expected = _translate(*_everything(), target=target, mode=mode)
    for seed in range(4):
        shuffled = _everything()
        random.Random(seed).shuffle(shuffled)
        assert _translate(*shuffled, target=target, mode=mode) == expected


def test_every_source_has_one_result_and_every_object_one_file() -> None:
    outcome = _translate(*_everything())
    sources = [str(result.source) for result in outcome.translation.results]
    assert sources == [
        "GlobalNetworkPolicy default.p",
        "GlobalNetworkSet mixed",
        "NetworkSet lab/partners",
        "NetworkPolicy lab/other",
        "NetworkPolicy shop/same",
        "GlobalNetworkPolicy same",
        "NetworkPolicy shop/same",
    ]
    files = [item.file for result in outcome.translation.results for item in result.objects]
    assert sorted(files) == [file.path for file in outcome.files]
    assert len(set(files)) == len(files)


def test_ports_are_split_where_one_rule_takes_no_more() -> None:
    ports: Json = [{"port": number} for number in range(1001, 1046)]
    (written,) = translate_cases.emitted_objects(
        _translate(network_policy({"podSelector": {}, "ingress": [{"ports": ports}]}))
    )
    spec = written["spec"]
    assert isinstance(spec, dict)
    items = [item for rule in _rules(spec["ingress"]) for item in _rules(rule["toPorts"])]
    numbers = [[port["port"] for port in _rules(item["ports"])] for item in items]
    assert [len(chunk) for chunk in numbers] == [40, 5]
    assert [number for chunk in numbers for number in chunk] == [str(number) for number in range(1001, 1046)]


def _rules(value: Json) -> list[dict[str, Json]]:
    assert isinstance(value, list)
    return [item for item in value if isinstance(item, dict)]


def test_protocol_and_default_deny_are_always_explicit() -> None:
    spec: Json = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80}, {}]}]}
    (written,) = translate_cases.emitted_objects(_translate(network_policy(spec)))
    assert written["spec"] == {
        "endpointSelector": {},
        "enableDefaultDeny": {"ingress": True, "egress": False},
        "ingress": [
            {
                "fromEntities": ["all"],
                "toPorts": [{"ports": [{"port": "0", "protocol": "TCP"}, {"port": "80", "protocol": "TCP"}]}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("target", "version"),
    [
        pytest.param("cilium-1.16", "cilium.io/v2alpha1", id="1.16 knows CIDR groups as v2alpha1 only"),
        pytest.param("cilium-1.17", "cilium.io/v2alpha1", id="1.17 as well"),
        pytest.param("cilium-1.18", "cilium.io/v2", id="1.18 has v2"),
        pytest.param("cilium-1.20", "cilium.io/v2", id="1.20 as well"),
    ],
)
def test_the_version_of_cidr_groups(target: str, version: str) -> None:
    outcome = _translate(*translate_cases.objects_of("calico-network-sets"), target=target)
    groups = [data for data in translate_cases.emitted_objects(outcome) if data["kind"] == "CiliumCIDRGroup"]
    assert [group["apiVersion"] for group in groups] == [version, version]


def test_a_policy_without_assumptions_and_findings_is_exact() -> None:
    (result,) = _translate(network_policy({"podSelector": {}})).translation.results
    assert (result.result, result.proof, result.findings, result.assumptions) == (Result.EXACT, "none", (), ())


@pytest.mark.parametrize(
    ("engines", "there"),
    [(("calico",), True), (("npm-linux",), False), (("none",), False), ((), False)],
)
def test_the_vxlan_rule_of_calico_is_kept_for_calico_only(engines: tuple[str, ...], there: bool) -> None:
    outcome = translate([], profile=load_profile("cilium-1.20"), engines=engines)
    assert any(finding.id == "POL-VXLAN" for finding in outcome.translation.findings) is there
    assert bool(outcome.files) is there


FELIX = "FelixConfiguration"


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        pytest.param({}, ["4789"], id="Calico's defaults"),
        pytest.param({"vxlanPort": 4790}, ["4790"], id="another VXLAN port"),
        pytest.param({"allowVXLANPacketsFromWorkloads": True}, [], id="pods may send VXLAN"),
    ],
)
def test_the_vxlan_rule_follows_felix(spec: Json, ports: list[str]) -> None:
    felix = RawObject(calico(FELIX, spec, {"name": "default"}, "crd.projectcalico.org/v1"))
    outcome = translate([felix], profile=load_profile("cilium-1.20"), engines=("calico",))
    assert re.findall(r'port: "(\d+)"', "".join(file.text for file in outcome.files)) == ports


@pytest.mark.parametrize(("action", "widens"), [("Drop", True), ("Accept", False), ("Return", False), (None, False)])
def test_calico_may_drop_what_pods_send_to_their_node(action: str | None, widens: bool) -> None:
    felix = RawObject(calico(FELIX, {"defaultEndpointToHostAction": action}, {"name": "default"}))
    outcome = translate([felix], profile=load_profile("cilium-1.20"), engines=("calico",))
    found = [f.effect.value for f in outcome.translation.findings if f.id == "POL-ENDPOINT-TO-HOST"]
    assert found == (["widens"] if widens else [])


@pytest.mark.parametrize(
    ("engines", "effects"), [(("npm-linux",), ["narrows"]), (("calico",), ["narrows"]), (("none",), [])]
)
def test_connections_that_stand_may_be_cut(engines: tuple[str, ...], effects: list[str]) -> None:
    raw = RawObject(network_policy({"podSelector": {}}))
    outcome = translate([raw], profile=load_profile("cilium-1.20"), engines=engines, complete=False)
    assert [f.effect.value for f in outcome.translation.findings if f.id == "POL-ESTABLISHED"] == effects
