"""The setting that makes CIDRs cover pods or nodes is named with its cost where the target offers it."""

import pytest

from migrate.model.raw import Json, RawObject
from migrate.translate.engine import translate
from migrate.translate.profiles import load_profile


def node(name: str, address: str) -> RawObject:
    """A node with one address."""
    status: Json = {"addresses": [{"type": "InternalIP", "address": address}]}
    return RawObject({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status})


def pod(name: str, address: str) -> RawObject:
    """A pod that no label tells from others."""
    return RawObject(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "one", "containers": [{"name": "main"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]},
        }
    )


def told(cidr: str, target: str) -> str:
    """What the findings say of a policy that lets this block in."""
    policy = RawObject(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]},
        }
    )
    namespace = RawObject({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    objects = [namespace, node("one", "10.0.0.1"), node("two", "10.0.0.2"), pod("a", "10.1.0.1"), pod("b", "10.1.0.2")]
    (result,) = translate([*objects, policy], profile=load_profile(target)).translation.results
    return " ".join(finding.detail for finding in result.findings)


@pytest.mark.parametrize(
    ("cidr", "target", "mode"),
    [
        pytest.param("10.0.0.1/32", "cilium-1.20", "nodes", id="one of two nodes"),
        pytest.param("10.0.0.1/32", "cilium-1.18", "nodes", id="nodes also in the older release"),
        pytest.param("10.1.0.1/32", "cilium-1.20", "pods", id="one of two pods with the same labels"),
        pytest.param("10.1.0.0/24", "cilium-1.20", "pods", id="pods that selectors were written for"),
        pytest.param("10.1.0.1/32", "cilium-1.18", "", id="the older release has no such mode for pods"),
        pytest.param("10.0.0.1/32", "aks-1.36", "", id="AKS has no setting for it"),
        pytest.param("203.0.113.0/24", "cilium-1.20", "", id="a block outside the cluster"),
    ],
)
def test_the_alternative_is_named_where_the_target_offers_it(cidr: str, target: str, mode: str) -> None:
    text = told(cidr, target)
    assert ("policy-cidr-match-mode" in text) is bool(mode)
    assert not mode or f"policy-cidr-match-mode {mode} could be set (" in text
