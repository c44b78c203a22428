"""What a release's API server takes, checked offline against its CRDs."""

import pytest

from migrate.resources import data
from migrate.translate.profiles import load_profile
from migrate.translate.schema import is_cidr, violations
from tests.target_examples import RELEASES, SCHEMA_EXAMPLES, Fields, SchemaExample, group, policy


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("example", SCHEMA_EXAMPLES, ids=lambda example: example.sentence)
def test_each_release_takes_what_its_schema_allows(example: SchemaExample, release: str) -> None:
    found = violations(example.data, load_profile(f"cilium-{release}"))
    if release in example.taken_by:
        assert found == ()
    else:
        assert any(text.startswith(f"{example.field}:") for text in found), found


def test_each_unknown_and_missing_field_is_named() -> None:
    wrong = policy("ingress", {"x": 1, "y": 2, "icmps": [{"fields": [{}]}]})
    found = violations(wrong, load_profile("cilium-1.20"))
    assert {"spec.ingress[0].x: unknown field", "spec.ingress[0].y: unknown field"} <= set(found)
    assert "spec.ingress[0].icmps[0].fields[0].type: is missing" in found


def test_a_long_wrong_value_is_cut_in_the_message() -> None:
    (text,) = violations(policy("egress", {"toFQDNs": [{"matchName": "/" * 200}]}), load_profile("cilium-1.20"))
    assert len(text) < 200
    assert "…" in text


def test_the_message_for_a_version_that_is_not_served_names_those_that_are() -> None:
    (text,) = violations(group("v2", "10.0.0.0/8"), load_profile("aks-1.32"))
    assert "cilium.io/v2alpha1" in text
    assert "AKS 1.32" in text


def test_several_specs_are_all_checked() -> None:
    wrong = policy("ingress", {"fromCIDR": ["10.0.0.0"]})
    several: Fields = {**wrong, "specs": [wrong.pop("spec")]}
    several.pop("spec")
    assert violations(several, load_profile("cilium-1.18"))[0].startswith("specs[0].ingress[0].fromCIDR[0]:")


def test_a_namespace_on_a_kind_without_one_is_refused() -> None:
    found = violations(group("v2", "10.0.0.0/8", namespace="default"), load_profile("cilium-1.20"))
    assert found == ("metadata.namespace: unknown field",)


def _cluster_network_policy(start: int, network: str) -> Fields:
    rule: Fields = {
        "action": "Accept",
        "to": [{"networks": [network]}],
        "protocols": [{"tcp": {"destinationPort": {"range": {"start": start, "end": 90}}}}],
    }
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "example"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [rule]},
    }


@pytest.mark.parametrize(
    ("target", "data", "field"),
    [
        pytest.param("cilium-1.20", _cluster_network_policy(80, "10.0.0.0/8"), "", id="a good one is taken by 1.20"),
        pytest.param("cilium-1.19", _cluster_network_policy(80, "10.0.0.0/8"), "kind", id="1.19 does not know it"),
        pytest.param("aks-1.36", _cluster_network_policy(80, "10.0.0.0/8"), "kind", id="nor does AKS"),
        pytest.param(
            "cilium-1.20", _cluster_network_policy(99, "10.0.0.0/8"), "spec.egress[0].protocols", id="a range goes up"
        ),
        pytest.param(
            "cilium-1.20", _cluster_network_policy(80, "10.0.0.0"), "spec.egress[0].to", id="a network has a length"
        ),
    ],
)
def test_cluster_network_policy(target: str, data: Fields, field: str) -> None:
    found = violations(data, load_profile(target))
    assert found[0].startswith(field) if field else not found


def test_a_kind_without_a_shipped_schema_is_not_judged() -> None:
    assert violations({"apiVersion": "cilium.io/v2", "kind": "CiliumEnvoyConfig"}, load_profile("cilium-1.20")) == ()


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.5/8", True),
        ("::/0", True),
        ("10.0.0.0", False),
        ("10.0.0.0/33", False),
        ("010.0.0.0/8", False),
        ("fe80::%eth0/64", False),
        ("10.0.0.0/²", False),
        (8, False),
    ],
)
def test_a_prefix_is_what_go_reads_as_one(text: str | int, holds: bool) -> None:
    assert is_cidr(text) is holds


def test_the_schemas_ship_with_their_licence() -> None:
    folder = data("rules") / "crds"
    assert "Apache License" in (folder / "LICENSE.Apache-2.0").read_text(encoding="utf-8")
