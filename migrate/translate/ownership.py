"""Who keeps a source object in the cluster, by what tools leave on the objects that they apply.

Facts: Helm pkg/action/validate.go (meta.helm.sh annotations), Argo CD common/common.go (tracking id), Flux
fluxcd/pkg/ssa and helm-controller (name and namespace labels), OLM pkg/lib/ownerutil, kapp pkg/kapp/app,
kubectl pkg/cmd/apply (field manager kubectl-client-side-apply).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from migrate.model.documents import Owner
from migrate.model.raw import Json, RawObject
from migrate.sources.calico import stored_metadata

_Returns: TypeAlias = Literal["at_once", "at_deploy", "never", "unknown"]
_HELM_RELEASE, _HELM_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_ARGO_ID, _ARGO_LABEL = "argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"
_MANAGED_BY, _INSTANCE = "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"
_FLUX = {"kustomize.toolkit.fluxcd.io": "Kustomization", "helm.toolkit.fluxcd.io": "HelmRelease"}
_DEPLOYERS = {"terraform": "Terraform", "hashicorp": "Terraform", "pulumi": "Pulumi"}


@dataclass(frozen=True, slots=True)
class _Marks:
    """What an object says of itself; `managers` are the field managers of its metadata."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    references: Sequence[Mapping[str, Json]]
    managers: Sequence[str]


def owner_of(raw: RawObject) -> Owner:
    """The one whose word counts longest: a controller before a release, a release before a person's apply."""
    metadata = raw.data.get("metadata")
    meta = metadata if isinstance(metadata, dict) else {}
    stored = stored_metadata(raw)
    marks = _Marks(
        {**_texts(meta.get("labels")), **_texts(stored.get("labels"))},
        {**_texts(meta.get("annotations")), **_texts(stored.get("annotations"))},
        _objects(meta.get("ownerReferences")),
        [name for entry in _objects(meta.get("managedFields")) if isinstance(name := entry.get("manager"), str)],
    )
    found = (owner for find in _FINDERS if (owner := find(marks)) is not None)
    return next(found, None) or _by_place(raw)


def _operator(marks: _Marks) -> Owner | None:
    controllers = sorted(marks.references, key=lambda entry: entry.get("controller") is not True)
    if not controllers:
        return None
    name = f"{controllers[0].get('kind')} {controllers[0].get('name')}"
    return Owner(
        kind="operator",
        name=name,
        evidence="metadata.ownerReferences",
        returns="at_once",
        change=f"{name} ({controllers[0].get('apiVersion')}), from which its controller makes the policy",
    )


def _olm(marks: _Marks) -> Owner | None:
    name = marks.labels.get("olm.owner")
    if name is None:
        return None
    kind = marks.labels.get("olm.owner.kind", "ClusterServiceVersion")
    return Owner(
        kind="operator",
        name=f"{kind} {name}",
        evidence="label olm.owner",
        returns="at_once",
        change=f"the operator's {kind} {name}, or the custom resource from which the operator makes the policy",
    )


def _argo(marks: _Marks) -> Owner | None:
    tracking = marks.annotations.get(_ARGO_ID)
    app = marks.labels.get(_ARGO_LABEL) if tracking is None else tracking.partition(":")[0]
    evidence = f"label {_ARGO_LABEL}" if tracking is None else f"annotation {_ARGO_ID}"
    if app is None and "argocd-controller" in marks.managers:
        app, evidence = marks.labels.get(_INSTANCE, ""), "field manager argocd-controller"
    if app is None:
        return None
    name = f"Argo CD Application {app.replace('_', '/')}" if app else "an Argo CD Application"
    return Owner(
        kind="argo",
        name=name,
        evidence=evidence,
        returns="at_once",
        change=f"the source repository of {name}",
    )


def _flux(marks: _Marks) -> Owner | None:
    for prefix, kind in _FLUX.items():
        name = marks.labels.get(f"{prefix}/name")
        if name is not None:
            place = f"Flux {kind} {marks.labels.get(f'{prefix}/namespace', '?')}/{name}"
            where = "values or chart" if kind == "HelmRelease" else "source repository"
            return Owner(
                kind="flux",
                name=place,
                evidence=f"label {prefix}/name",
                returns="at_once" if kind == "Kustomization" else "at_deploy",
                change=f"the {where} of {place}",
            )
    if "kustomize-controller" not in marks.managers:
        return None
    return Owner(
        kind="flux",
        name="a Flux Kustomization",
        evidence="field manager kustomize-controller",
        returns="at_once",
        change="the source repository of the Flux Kustomization that applies it",
    )


def _addon(marks: _Marks) -> Owner | None:
    """Managers that watch what they applied and are no operator of the user's."""
    if marks.annotations.get("configmanagement.gke.io/managed") == "enabled":
        return _tool("Config Sync", "annotation configmanagement.gke.io/managed", "at_once", "its source repository")
    if marks.labels.get("addonmanager.kubernetes.io/mode") == "Reconcile":
        what = "the settings of the add-on; its manager does not allow anything else"
        return _tool("the add-on manager", "label addonmanager.kubernetes.io/mode", "at_once", what)
    return None


def _helm(marks: _Marks) -> Owner | None:
    release = marks.annotations.get(_HELM_RELEASE)
    managed = marks.labels.get(_MANAGED_BY) in ("Helm", "Tiller")
    if release is None and not managed and "helm" not in marks.managers:
        return None
    evidence = f"annotation {_HELM_RELEASE}" if release else f"label {_MANAGED_BY}" if managed else "field manager helm"
    namespace = marks.annotations.get(_HELM_NAMESPACE)
    known = release or marks.labels.get(_INSTANCE)
    name = f"Helm release {f'{namespace}/' if namespace else ''}{known}" if known else "a Helm release"
    return Owner(
        kind="helm",
        name=name,
        evidence=evidence,
        returns="at_deploy",
        change=f"the values or templates of {name}",
    )


def _kustomize(marks: _Marks) -> Owner | None:
    if not marks.labels.get(_MANAGED_BY, "").startswith("kustomize"):
        return None
    return Owner(
        kind="kustomize",
        name="a kustomization",
        evidence=f"label {_MANAGED_BY}",
        returns="at_deploy",
        change="the kustomization's folder",
    )


def _deployer(marks: _Marks) -> Owner | None:
    app = marks.labels.get("kapp.k14s.io/app")
    if app is not None:
        return _tool(f"kapp app {app}", "label kapp.k14s.io/app", "at_deploy", "the app's configuration")
    for manager in marks.managers:
        name = next((name for mark, name in _DEPLOYERS.items() if manager.lower().startswith(mark)), None)
        if name is not None:
            return _tool(name, f"field manager {manager}", "at_deploy", f"the {name} configuration")
    named = marks.labels.get(_MANAGED_BY)
    if named is None:
        return None
    return _tool(named, f"label {_MANAGED_BY}", "unknown", f"wherever {named} takes it from")


def _kubectl(marks: _Marks) -> Owner | None:
    manager = next((name for name in marks.managers if name.startswith("kubectl")), None)
    if manager is None:
        return None
    return Owner(
        kind="kubectl",
        name="a person or a pipeline with kubectl",
        evidence=f"field manager {manager}",
        returns="never",
        change="the cluster, and the manifest that was applied if it is kept",
    )


def _by_place(raw: RawObject) -> Owner:
    if raw.source is not None:
        return Owner(
            kind="file",
            name=raw.source,
            evidence="read from a file",
            returns="unknown",
            change=f"the file {raw.source}",
        )
    what = "the cluster, and wherever the object was made from: it bears no mark of a tool"
    return Owner(kind="unknown", name="", evidence="no mark of an owner", returns="unknown", change=what)


def _tool(name: str, evidence: str, returns: _Returns, change: str) -> Owner:
    return Owner(kind="tool", name=name, evidence=evidence, returns=returns, change=change)


_FINDERS: Sequence[Callable[[_Marks], Owner | None]] = (
    _operator,
    _olm,
    _argo,
    _flux,
    _addon,
    _helm,
    _kustomize,
    _deployer,
    _kubectl,
)


def _texts(value: Json | None) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _objects(value: Json | None) -> list[Mapping[str, Json]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
