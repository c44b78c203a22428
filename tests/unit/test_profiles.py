"""Target profiles: what the data says, how it is put together, and which target a cluster gets."""

import pytest

from migrate.errors import InputError
from migrate.model.documents import Fact
from migrate.resources import data
from migrate.translate.profiles import label_is_identity_relevant, load_profile, profile_for, profile_names

_RELEASES = tuple(f"cilium-1.{minor}" for minor in range(16, 21))
_AKS = tuple(f"aks-1.{minor}" for minor in range(31, 38))
_FORMS = ("", "-acns-fqdn", "-acns-l7")


def test_there_is_a_profile_for_each_release_and_each_form_of_each_aks_version() -> None:
    assert profile_names() == (*_RELEASES, *(name + form for name in _AKS for form in _FORMS))


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_loads_with_sources_and_shipped_schemas(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert all(source.where and source.says for source in profile.sources)
    assert len(set(profile.sources)) == len(profile.sources)
    assert data("rules").joinpath("crds", "cilium", profile.crds, "ciliumnetworkpolicies.yaml").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("aks-1.3", "did you mean aks-1.31, aks-1.32", id="the beginning of some names"),
        pytest.param("aks-1.34-acns", "did you mean aks-1.34-acns-", id="half a form"),
        pytest.param("cillium-1.20", "did you mean cilium-1.20", id="a letter too many"),
        pytest.param("aks-1.38", "did you mean aks-1.3", id="a version without a profile"),
        pytest.param("openshift", "known are cilium-1.16", id="nothing like any name"),
        pytest.param("cilium-1.20-acns-l7", "did you mean cilium-1.20", id="a form that only AKS has"),
        pytest.param("parts/aks", "unknown target parts/aks", id="a part is no target"),
        pytest.param("", "unknown target", id="nothing at all"),
    ],
)
def test_an_unknown_target_is_an_error_with_names_that_are_close(name: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_profile(name)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "cilium", "crds"),
    [
        ("aks-1.31", "1.16.16", "1.16"),
        ("aks-1.32", "1.17.9", "1.17"),
        ("aks-1.33", "1.17.9", "1.17"),
        ("aks-1.34", "1.18.6", "1.18"),
        ("aks-1.35-acns-l7", "1.18.6", "1.18"),
        ("aks-1.36", "1.18.9", "1.18"),
        ("aks-1.37", None, "1.18"),
    ],
)
def test_aks_runs_the_cilium_that_its_documents_name(name: str, cilium: str | None, crds: str) -> None:
    profile = load_profile(name)
    assert (profile.cilium, profile.crds, profile.managed) == (cilium, crds, True)


def _names_where(field: str) -> set[str]:
    """The targets, without AKS's forms, for which a field is true."""
    return {name for name in (*_RELEASES, *_AKS) if getattr(load_profile(name), field)}


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("end_port", {*_RELEASES, *_AKS}),
        ("cidr_group_selector", {*_RELEASES[1:], *_AKS[1:]}),
        ("to_services_with_ports", {*_RELEASES[1:], *_AKS[1:]}),
        ("default_local_cluster", {"cilium-1.19", "cilium-1.20"}),
        ("negative_namespace_selector_admits_world", {*_RELEASES[:3], *_AKS}),
        ("zero_prefix_is_world", {*_RELEASES[1:3], *_AKS[1:]}),
        ("dns_any_depth_pattern", {"cilium-1.19", "cilium-1.20"}),
        ("named_ports_per_identity", {"cilium-1.20"}),
        ("cluster_network_policy", {"cilium-1.20"}),
        ("fqdn", {*_RELEASES}),
        ("l7", {*_RELEASES}),
        ("audit_mode", {*_RELEASES}),
        ("sctp", set()),
        ("node_selector_labels", set()),
        ("host_firewall", set()),
    ],
)
def test_features_come_with_their_release_and_go_where_aks_lacks_them(field: str, names: set[str]) -> None:
    assert _names_where(field) == names


def test_cidr_groups_are_v2_since_1_18() -> None:
    versions = [load_profile(name).cidr_group_api_version for name in _RELEASES]
    assert versions == ["v2alpha1", "v2alpha1", "v2", "v2", "v2"]


def test_a_form_adds_to_its_aks_version_and_changes_nothing_else() -> None:
    plain, fqdn, l7 = (load_profile(f"aks-1.34{form}") for form in _FORMS)
    assert (plain.fqdn, fqdn.fqdn, l7.fqdn) == (False, True, True)
    assert (plain.l7, fqdn.l7, l7.l7) == (False, False, True)
    assert fqdn.refused_dns_patterns == l7.refused_dns_patterns == ("*",)
    assert fqdn.title.startswith(plain.title)
    assert (fqdn.cilium, fqdn.policy_map_entries) == (plain.cilium, plain.policy_map_entries)


@pytest.mark.parametrize(
    ("key", "kept_by"),
    [
        pytest.param("app", _RELEASES, id="an ordinary label"),
        pytest.param("app.kubernetes.io/name", _RELEASES, id="the recommended labels"),
        pytest.param("kubernetes.io/os", (), id="labels of Kubernetes"),
        pytest.param("example.kubernetes.io/a", _RELEASES, id="patterns count at the start of a key only"),
        pytest.param("pod-template-hash", (), id="the hash of a ReplicaSet"),
        pytest.param("our-pod-template-hash", _RELEASES, id="a key that ends like an ignored one"),
        pytest.param("pod-template-hash-of-ours", (), id="a key that begins like an ignored one"),
        pytest.param("a.beta.kubernetes.io/b", (), id="a pattern that may begin anywhere"),
        pytest.param("app.kubernetes.io.beta.kubernetes.io/b", (), id="the longer match wins"),
        pytest.param("statefulset.kubernetes.io/pod-name", (), id="the name of a StatefulSet's pod"),
        pytest.param("topology.kubernetes.io/zone", _RELEASES[:2], id="zones are left out since a patch of 1.18"),
        pytest.param("io.kubernetes.pod.namespace", _RELEASES, id="the namespace"),
        pytest.param("io.cilium.k8s.namespace.labels.team", _RELEASES, id="a namespace's label"),
        pytest.param("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", _RELEASES, id="a namespace's name"),
        pytest.param("io.cilium.k8s.namespace.labels.a.beta.kubernetes.io/b", (), id="a namespace's beta label"),
        pytest.param("reserved", _RELEASES, id="patterns for reserved labels are not for pods"),
    ],
)
def test_labels_that_policies_can_select_by(key: str, kept_by: tuple[str, ...]) -> None:
    assert tuple(name for name in _RELEASES if label_is_identity_relevant(load_profile(name), key)) == kept_by


def _fact(topic: str, value: str, state: str = "active") -> Fact:
    return Fact(topic=topic, value=value, state="active" if state == "active" else "unknown")


_ON_AKS = _fact("cloud", "aks")


@pytest.mark.parametrize(
    ("facts", "name", "reason"),
    [
        pytest.param((), "cilium-1.20", "newest", id="nothing known"),
        pytest.param((_fact("cloud", "eks"),), "cilium-1.20", "newest", id="another cloud"),
        pytest.param((_fact("kubernetes-version", "v1.34.2"),), "cilium-1.20", "newest", id="a version alone"),
        pytest.param((_ON_AKS, _fact("kubernetes-version", "v1.34.2")), "aks-1.34", "1.34", id="AKS of a version"),
        pytest.param((_ON_AKS, _fact("kubernetes-version", "1.36.0")), "aks-1.36", "1.36", id="without the v"),
        pytest.param((_ON_AKS, _fact("kubernetes-version", "v1.29.9")), "aks-1.31", "nearest", id="older than any"),
        pytest.param((_ON_AKS, _fact("kubernetes-version", "v1.41.0")), "aks-1.37", "nearest", id="newer than any"),
        pytest.param((_ON_AKS,), "aks-1.37", "unknown", id="AKS of an unknown version"),
        pytest.param(
            (_ON_AKS, _fact("kubernetes-version", "unknown", "unknown")), "aks-1.37", "unknown", id="said to be unknown"
        ),
        pytest.param(
            (_ON_AKS, _fact("kubernetes-version", "v1.35.1"), _fact("acns", "l7")),
            "aks-1.35-acns-l7",
            "1.35",
            id="ACNS",
        ),
        pytest.param(
            (_ON_AKS, _fact("kubernetes-version", "1.35.1"), _fact("kubernetes-version", "v1.33.0")),
            "aks-1.35",
            "1.35",
            id="the control plane is told before the kubelets",
        ),
    ],
)
def test_the_target_comes_from_the_cluster(facts: tuple[Fact, ...], name: str, reason: str) -> None:
    chosen, why = profile_for(facts)
    assert chosen == name
    assert reason in why
    assert load_profile(chosen).name == name
