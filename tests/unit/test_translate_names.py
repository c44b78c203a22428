"""Names and files of what is written: legal, without collisions, never outside the output folder."""

from pathlib import Path, PurePosixPath

import pytest

from migrate.files import write_atomic
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, translate
from migrate.translate.profiles import load_profile
from tests.unit import translate_cases
from tests.unit.policies import calico, network_policy


def _translate(*objects: dict[str, Json], mode: str = "rewrite") -> Outcome:
    raw = [RawObject(data) for data in objects]
    return translate(raw, profile=load_profile("cilium-1.20"), networkpolicy=mode, complete=False)


def _cilium(kind: str, name: str, namespace: str | None = None) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    if kind == "CiliumCIDRGroup":
        spec: Json = {"externalCIDRs": ["192.0.2.0/24"]}
    else:
        spec = {"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}]}]}
    return {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": spec}


SPEC: Json = {"podSelector": {}}
ALLOW: Json = {"types": ["Ingress"], "ingress": [{"action": "Allow"}]}


@pytest.mark.parametrize(
    ("objects", "files"),
    [
        pytest.param([network_policy(SPEC, "a")], ["cilium/shop/a.yaml"], id="the name of the source"),
        pytest.param(
            [network_policy(SPEC, "a"), network_policy(SPEC, "a", "lab")],
            ["cilium/lab/a.yaml", "cilium/shop/a.yaml"],
            id="the same name in two namespaces",
        ),
        pytest.param(
            [network_policy(SPEC, "a"), _cilium("CiliumNetworkPolicy", "a", "shop")],
            ["cilium/shop/a-migrated.yaml"],
            id="a name that a Cilium policy has",
        ),
        pytest.param(
            [network_policy(SPEC, "a"), _cilium("CiliumNetworkPolicy", "a", "lab")],
            ["cilium/shop/a.yaml"],
            id="a name that a Cilium policy has in another namespace",
        ),
        pytest.param(
            [
                network_policy(SPEC, "a"),
                _cilium("CiliumNetworkPolicy", "a", "shop"),
                _cilium("CiliumNetworkPolicy", "a-migrated", "shop"),
            ],
            ["cilium/shop/a-migrated-2.yaml"],
            id="a name that two Cilium policies have",
        ),
        pytest.param(
            [network_policy(SPEC, "a"), calico("NetworkPolicy", ALLOW, {"name": "a", "namespace": "shop"})],
            ["cilium/shop/a-calico.yaml", "cilium/shop/a.yaml"],
            id="a Calico and a Kubernetes policy of one name",
        ),
        pytest.param(
            [
                network_policy(SPEC, "a"),
                network_policy(SPEC, "a-calico"),
                calico("NetworkPolicy", ALLOW, {"name": "a", "namespace": "shop"}),
            ],
            ["cilium/shop/a-calico-2.yaml", "cilium/shop/a-calico.yaml", "cilium/shop/a.yaml"],
            id="a name with the suffix that would be given",
        ),
        pytest.param(
            [calico("GlobalNetworkPolicy", ALLOW, {"name": "a"}), _cilium("CiliumClusterwideNetworkPolicy", "a")],
            ["cilium/_cluster/a-calico.yaml"],
            id="a name that a clusterwide policy has",
        ),
        pytest.param(
            [calico("GlobalNetworkPolicy", ALLOW, {"name": "cidrgroups"})],
            ["cilium/_cluster/cidrgroups.yaml"],
            id="the name of a folder",
        ),
    ],
)
def test_file_names(objects: list[dict[str, Json]], files: list[str]) -> None:
    assert [file.path for file in _translate(*objects).files] == files


def test_groups_avoid_groups_that_are_there() -> None:
    rule: Json = {"action": "Allow", "source": {"selector": "has(role)"}}
    policy = calico("GlobalNetworkPolicy", {"ingress": [rule]}, {"name": "a"})
    world = calico("GlobalNetworkSet", {"nets": ["203.0.113.0/24"]}, {"name": "world", "labels": {"role": "x"}})
    outcome = _translate(policy, world, _cilium("CiliumCIDRGroup", "world"))
    assert [file.path for file in outcome.files] == [
        "cilium/_cluster/a.yaml",
        "cilium/_cluster/cidrgroups/world-migrated.yaml",
    ]
    (written,) = (data for data in translate_cases.emitted_objects(outcome) if "Policy" in str(data["kind"]))
    assert {"cidrGroupRef": "world-migrated"} in _blocks(written)


def _blocks(policy: dict[str, Json]) -> list[Json]:
    spec = policy["spec"]
    assert isinstance(spec, dict)
    rules = spec["ingress"]
    assert isinstance(rules, list)
    found: list[Json] = []
    for rule in rules:
        blocks = rule.get("fromCIDRSet", []) if isinstance(rule, dict) else []
        assert isinstance(blocks, list)
        found += blocks
    return found


ILLEGAL = (
    "..",
    "../x",
    "a/b",
    "/etc/x",
    "a\\b",
    "X",
    "a_b",
    "",
    ".",
    "-a",
    "a\nb",
    "a b",
    "a..b",
    "x" * 254,
    "ä",
    "_cluster",
)


@pytest.mark.parametrize("name", ILLEGAL, ids=[ascii(name[:20]) for name in ILLEGAL])
@pytest.mark.parametrize("mode", ["rewrite", "supplement", "keep"])
def test_a_name_that_no_api_server_takes_is_told_and_nothing_is_written(name: str, mode: str) -> None:
    outcome = _translate(network_policy(SPEC, name), mode=mode)
    assert outcome.files == ()
    (result,) = outcome.translation.results
    assert result.result.value == "unsupported"
    assert [finding.id for finding in result.findings] == ["POL-INVALID"]


@pytest.mark.parametrize("namespace", ["..", "../x", "a/b", "_cluster", "A", "a\nb"])
def test_a_namespace_that_no_api_server_takes_is_told_and_nothing_is_written(namespace: str) -> None:
    outcome = _translate(network_policy(SPEC, "p", namespace))
    assert outcome.files == ()
    assert [result.result.value for result in outcome.translation.results] == ["unsupported"]


@pytest.mark.parametrize("name", ["../../x", "a/b", "Upper", "a\nb"])
def test_the_name_in_an_annotation_is_not_trusted_either(name: str) -> None:
    text = '{"name": "' + name.replace("\n", "\\n") + '"}'
    metadata: dict[str, Json] = {"name": "default.p", "annotations": {"projectcalico.org/metadata": text}}
    outcome = _translate(calico("GlobalNetworkPolicy", ALLOW, metadata, "crd.projectcalico.org/v1"))
    assert all(".." not in PurePosixPath(file.path).parts for file in outcome.files)
    assert [(result.result.value, result.objects) for result in outcome.translation.results] == [("unsupported", ())]


@pytest.mark.parametrize("mode", ["rewrite", "supplement"])
def test_the_longest_name_still_gets_a_name_of_its_own(mode: str) -> None:
    block: Json = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]}]}
    cluster = translate_cases.objects_of("block-over-all-pods")
    names = ["x" * 253, "x" * 252 + "y"]
    policies = [network_policy(block, name) for name in names]
    taken = [_cilium("CiliumNetworkPolicy", name, "shop") for name in names]
    own = [data for data in cluster if data["kind"] != "NetworkPolicy"]
    outcome = _translate(*own, *policies, *taken, mode=mode)
    written = [item.name for result in outcome.translation.results for item in result.objects]
    assert len(written) == len(set(written)) == 2
    assert all(len(name) <= 253 for name in written)
    assert not set(written) & set(names)


@pytest.mark.parametrize("length", [200, 240, 250, 253])
def test_every_legal_name_can_be_a_file(length: int, tmp_path: Path) -> None:
    (file,) = _translate(network_policy(SPEC, "x" * length)).files
    write_atomic(tmp_path / file.path, file.text.encode())
    assert (tmp_path / file.path).read_text() == file.text


def test_the_same_policies_always_get_the_same_names() -> None:
    objects = [
        network_policy(SPEC, "a"),
        calico("NetworkPolicy", ALLOW, {"name": "a", "namespace": "shop"}),
        calico("NetworkPolicy", ALLOW, {"name": "a-calico", "namespace": "shop"}),
    ]
    expected = [file.path for file in _translate(*objects).files]
    assert expected == [file.path for file in _translate(*reversed(objects)).files]
    assert len(expected) == 3
