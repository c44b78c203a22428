"""Which way a cluster takes to Cilium, on what scans of it give."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.model.raw import Json
from migrate.readiness.documents import Documents
from migrate.readiness.route import Wishes, route_of
from tests.readiness.folders import POLICIES, inventory, scanned, translated

CALICO: Json = {"networkPolicy": "calico"}
NO_ENGINE: Json = {"networkPolicy": None}


@pytest.mark.parametrize(
    ("profile", "network", "wishes", "steps"),
    [
        pytest.param("npm-node-subnet", {}, Wishes(), ("dataplane",), id="NPM is replaced by the data plane update"),
        pytest.param("npm-overlay-nap", {}, Wishes(), ("dataplane",), id="what is overlay stays overlay"),
        pytest.param("npm-overlay-nap", {}, Wishes(overlay=True), ("dataplane",), id="overlay is not made twice"),
        pytest.param(
            "npm-node-subnet",
            {},
            Wishes(overlay=True),
            ("policy-none", "overlay", "dataplane"),
            id="overlay is only for clusters without a policy engine",
        ),
        pytest.param(
            "kubenet-calico", {}, Wishes(), ("policy-none", "overlay", "dataplane"), id="kubenet has to go to overlay"
        ),
        pytest.param(
            "kubenet-calico", NO_ENGINE, Wishes(), ("overlay", "dataplane"), id="kubenet without an engine to take away"
        ),
        pytest.param("npm-node-subnet", CALICO, Wishes(), ("dataplane",), id="Calico is replaced too"),
        pytest.param(
            "npm-node-subnet",
            CALICO,
            Wishes(through_none=True),
            ("policy-none", "dataplane"),
            id="Calico in a step of its own when asked",
        ),
        pytest.param(
            "npm-node-subnet", NO_ENGINE, Wishes(through_none=True), ("dataplane",), id="nothing to take away"
        ),
    ],
)
def test_ways_of_aks(profile: str, network: Json, wishes: Wishes, steps: tuple[str, ...], tmp_path: Path) -> None:
    route = route_of(scanned(tmp_path, *POLICIES, profile=profile, networkProfile=network), wishes)
    assert (route.path, route.steps) == ("aks", steps)
    assert route.reimages == len(steps)


def test_a_pod_subnet_stays_whatever_is_wished(tmp_path: Path) -> None:
    pools: Json = [{"name": "one", "osType": "Linux", "podSubnetId": "/subnets/pods"}]
    documents = scanned(tmp_path, *POLICIES, profile="npm-node-subnet", agentPoolProfiles=pools)
    assert route_of(documents, Wishes(overlay=True)).steps == ("dataplane",)


def test_cilium_is_there_already(tmp_path: Path) -> None:
    route = route_of(scanned(tmp_path, *POLICIES, profile="acpc-acns-l7"))
    assert (route.path, route.engine, route.steps) == ("already-cilium", "cilium", ())


def test_a_cluster_of_nobody_gets_a_second_overlay(tmp_path: Path) -> None:
    route = route_of(scanned(tmp_path, *inventory("calico-operator")))
    assert (route.path, route.engine) == ("dual-overlay", "calico")
    assert route.steps == ("cilium-beside", "nodes", "enforce", "remove-old")
    assert any("was not tested" in doubt for doubt in route.doubts)


def test_nobody_enforced_anything_before(tmp_path: Path) -> None:
    route = route_of(scanned(tmp_path, *inventory("flannel-fail-open")))
    assert (route.path, route.engine, route.doubts) == ("dual-overlay", "", ())


def test_own_cni_on_aks_is_not_azure_s_to_update(tmp_path: Path) -> None:
    network: Json = {"networkPlugin": "none", "networkPolicy": None}
    documents = scanned(tmp_path, *inventory("calico-operator"), profile="npm-node-subnet", networkProfile=network)
    assert (route_of(documents).path, route_of(documents).engine) == ("dual-overlay", "calico")


def test_aks_is_known_without_azure_s_word(tmp_path: Path) -> None:
    route = route_of(scanned(tmp_path, *inventory("aks-npm")))
    assert (route.path, route.engine, route.cni) == ("aks", "npm-linux", "azure-cni-overlay")
    assert route.steps == ("dataplane",)


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        pytest.param(["policies-only"], ["who runs the cluster", "who gives pods", "which engine"], id="policies only"),
        pytest.param(["two-engines"], ["which of"], id="two engines, and nobody says which one counts"),
        pytest.param(["unknown-cni"], ["which engine"], id="a CNI that nobody knows may enforce"),
    ],
)
def test_what_is_missing_is_named(names: list[str], lacking: list[str], tmp_path: Path) -> None:
    route = route_of(scanned(tmp_path, *inventory(*names)))
    assert (route.path, route.steps) == ("unknown", ())
    assert [any(text.startswith(words) for text in route.missing) for words in lacking] == [True] * len(lacking)


def test_without_a_snapshot_nothing_is_known(tmp_path: Path) -> None:
    scanned(tmp_path, *POLICIES, profile="npm-node-subnet")
    documents = translated(tmp_path)
    assert documents.header is not None
    alone = Documents(tmp_path, None, (), documents.translation)
    assert route_of(alone).missing == ("a snapshot: `migrate scan`",)


@pytest.mark.parametrize("said", [{"networkPolicy": "weave"}, {"networkPolicy": 1}])
def test_an_engine_that_azure_does_not_name_is_not_no_engine(said: dict[str, Json], tmp_path: Path) -> None:
    (tmp_path / "namespace.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    route = route_of(scanned(tmp_path, tmp_path / "namespace.yaml", profile="npm-node-subnet", networkProfile=said))
    assert (route.path, route.engine) == ("unknown", "")
    assert any("which engine" in lack for lack in route.missing)


def test_azure_and_what_runs_disagree(tmp_path: Path) -> None:
    documents = scanned(tmp_path, *inventory("aks-npm"), profile="npm-node-subnet", networkProfile=CALICO)
    route = route_of(documents)
    assert route.engine == "calico"
    assert "Azure says Calico, and the snapshot shows Azure NPM running" in route.doubts[0]
    assert not route_of(scanned(tmp_path, *inventory("aks-npm"), profile="npm-node-subnet")).doubts


def test_documents_that_disagree_are_named(tmp_path: Path) -> None:
    (doubt,) = route_of(scanned(tmp_path, *POLICIES, profile="kubenet-calico")).doubts
    assert "use-network-policies.md" in doubt
    assert "update-azure-cni.md" in doubt


def test_other_ways_are_named_with_their_option(tmp_path: Path) -> None:
    documents = scanned(tmp_path, *POLICIES, profile="npm-node-subnet")
    assert [option in " ".join(route_of(documents).choices) for option in ("--overlay", "--through-none")] == [True] * 2
    assert route_of(documents, Wishes(overlay=True)).choices == ()
