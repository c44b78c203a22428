"""Who keeps a source object in the cluster, by what tools leave on it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from migrate.model.raw import Json, RawObject
from migrate.scan.encoded import decoded
from migrate.scan.prune import Cutter
from migrate.translate.ownership import owner_of

HELM: dict[str, Json] = {"app.kubernetes.io/managed-by": "Helm"}
RELEASE: Json = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}
KUBECTL: Json = [{"manager": "kubectl-client-side-apply"}]


def reference(kind: str, name: str, controller: bool) -> Json:
    return {"apiVersion": "example.com/v1", "kind": kind, "name": name, "uid": "1", "controller": controller}


def policy(metadata: Mapping[str, Json], source: str | None = None) -> RawObject:
    """A policy with this metadata beside its name."""
    return RawObject(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "web", "namespace": "shop", **metadata},
            "spec": {"podSelector": {}},
        },
        source,
    )


OWNERS = [
    pytest.param({}, "unknown", "", "unknown", id="no mark at all"),
    pytest.param(
        {"labels": None, "annotations": [], "managedFields": "x"}, "unknown", "", "unknown", id="odd metadata"
    ),
    pytest.param(
        {"ownerReferences": [reference("Gateway", "a", False), reference("Tenant", "b", True)]},
        "operator",
        "Tenant b",
        "at_once",
        id="the owner reference that is the controller",
    ),
    pytest.param(
        {"labels": {"olm.owner": "etcd.v1", "olm.owner.kind": "ClusterServiceVersion"}},
        "operator",
        "ClusterServiceVersion etcd.v1",
        "at_once",
        id="an operator of OLM",
    ),
    pytest.param(
        {"annotations": {"argocd.argoproj.io/tracking-id": "shop:networking.k8s.io/NetworkPolicy:shop/web"}},
        "argo",
        "Argo CD Application shop",
        "at_once",
        id="Argo CD by tracking id",
    ),
    pytest.param(
        {"annotations": {"argocd.argoproj.io/tracking-id": "team_shop:networking.k8s.io/NetworkPolicy:shop/web"}},
        "argo",
        "Argo CD Application team/shop",
        "at_once",
        id="an Application outside Argo CD's namespace",
    ),
    pytest.param(
        {"labels": {"argocd.argoproj.io/instance": "shop"}},
        "argo",
        "Argo CD Application shop",
        "at_once",
        id="Argo CD by its own label",
    ),
    pytest.param(
        {"labels": {"app.kubernetes.io/instance": "shop"}, "managedFields": [{"manager": "argocd-controller"}]},
        "argo",
        "Argo CD Application shop",
        "at_once",
        id="Argo CD by field manager and the common label",
    ),
    pytest.param(
        {"labels": {"app.kubernetes.io/instance": "shop"}},
        "unknown",
        "",
        "unknown",
        id="the common label alone says nothing",
    ),
    pytest.param(
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}},
        "flux",
        "Flux Kustomization flux/apps",
        "at_once",
        id="a Flux Kustomization",
    ),
    pytest.param(
        {"labels": {"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "flux", **HELM}},
        "flux",
        "Flux HelmRelease flux/web",
        "at_deploy",
        id="a Flux HelmRelease before its Helm release",
    ),
    pytest.param(
        {"managedFields": [{"manager": "kustomize-controller"}]},
        "flux",
        "a Flux Kustomization",
        "at_once",
        id="Flux by field manager",
    ),
    pytest.param(
        {"labels": HELM, "annotations": RELEASE}, "helm", "Helm release shop/web", "at_deploy", id="a Helm release"
    ),
    pytest.param({"labels": HELM}, "helm", "a Helm release", "at_deploy", id="Helm's label alone"),
    pytest.param(
        {"labels": {**HELM, "app.kubernetes.io/instance": "web"}},
        "helm",
        "Helm release web",
        "at_deploy",
        id="a rendered chart",
    ),
    pytest.param(
        {"labels": HELM, "annotations": {"argocd.argoproj.io/tracking-id": "shop:g/K:shop/web"}},
        "argo",
        "Argo CD Application shop",
        "at_once",
        id="a chart that Argo CD renders is Argo CD's",
    ),
    pytest.param(
        {"labels": {"app.kubernetes.io/managed-by": "kustomize-v5.4"}},
        "kustomize",
        "a kustomization",
        "at_deploy",
        id="kustomize's own label",
    ),
    pytest.param({"labels": {"kapp.k14s.io/app": "17"}}, "tool", "kapp app 17", "at_deploy", id="kapp"),
    pytest.param({"managedFields": [{"manager": "Terraform"}]}, "tool", "Terraform", "at_deploy", id="Terraform"),
    pytest.param(
        {"labels": {"addonmanager.kubernetes.io/mode": "Reconcile"}},
        "tool",
        "the add-on manager",
        "at_once",
        id="an add-on that is reconciled",
    ),
    pytest.param(
        {"labels": {"addonmanager.kubernetes.io/mode": "EnsureExists"}},
        "unknown",
        "",
        "unknown",
        id="an add-on that is not",
    ),
    pytest.param(
        {"annotations": {"configmanagement.gke.io/managed": "enabled"}},
        "tool",
        "Config Sync",
        "at_once",
        id="Config Sync",
    ),
    pytest.param(
        {"labels": {"app.kubernetes.io/managed-by": "kyverno"}},
        "tool",
        "kyverno",
        "unknown",
        id="a tool nobody knows here",
    ),
    pytest.param(
        {"managedFields": KUBECTL}, "kubectl", "a person or a pipeline with kubectl", "never", id="kubectl apply"
    ),
    pytest.param(
        {"managedFields": KUBECTL, "annotations": RELEASE},
        "helm",
        "Helm release shop/web",
        "at_deploy",
        id="an edit by kubectl does not change the owner",
    ),
    pytest.param(
        {"annotations": {"projectcalico.org/metadata": json.dumps({"annotations": RELEASE})}},
        "helm",
        "Helm release shop/web",
        "at_deploy",
        id="marks that Calico's API server keeps in an annotation",
    ),
]


@pytest.mark.parametrize(("metadata", "kind", "name", "returns"), OWNERS)
def test_owner(metadata: Mapping[str, Json], kind: str, name: str, returns: str) -> None:
    found = owner_of(policy(metadata))
    assert (found.kind, found.name, found.returns) == (kind, name, returns)
    assert found.evidence
    assert name in found.change or kind in ("unknown", "kubectl", "kustomize", "tool", "flux")


def test_what_is_read_from_a_file_is_changed_there() -> None:
    found = owner_of(policy({}, "apps/web.yaml"))
    assert (found.kind, found.change) == ("file", "the file apps/web.yaml")
    assert owner_of(policy({"annotations": RELEASE}, "apps/web.yaml")).kind == "helm"


def test_a_scan_keeps_the_names_of_field_managers_and_nothing_else_of_them() -> None:
    managed: Json = [
        {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {}}},
        {"manager": "helm"},
        {"manager": "kubectl-edit", "time": "2026-11-21T00:00:00Z"},
        {"operation": "Update"},
        "odd",
    ]
    body = json.dumps({"items": [policy({"managedFields": managed}).data]}).encode()
    (item,) = Cutter("networking.k8s.io/v1", "NetworkPolicy", None).page(body).objects
    raw = decoded(item.line)
    metadata = raw.data["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["managedFields"] == [{"manager": "helm"}, {"manager": "kubectl-edit"}]
    assert owner_of(raw).kind == "helm"
