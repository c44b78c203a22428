"""Target profiles: what a release of Cilium, or AKS's managed one, can say and does. Data: rules/targets/."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import msgspec

from migrate.errors import InputError
from migrate.model.documents import Fact
from migrate.resources import data, read_yaml, yaml_files

_NEWEST = "cilium-1.20"
_FORMS = {"fqdn": "-acns-fqdn", "l7": "-acns-l7"}


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a value comes from and when that was read."""

    where: str
    says: str
    as_of: datetime.date


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target. No field has a default, so that a profile that leaves one out cannot be loaded.

    `cilium` is the lowest version that the target runs, None when no source names it; `crds` is the folder of its
    schemas under rules/crds/cilium. `managed` targets have a configuration that users cannot change.
    """

    name: str
    title: str
    cilium: str | None
    kubernetes: str | None
    crds: str
    managed: bool
    # What a policy can say.
    end_port: bool
    enable_default_deny: bool
    cidr_group_ref: bool
    cidr_group_api_version: Literal["v2alpha1", "v2"]
    cidr_group_selector: bool
    to_services_with_selector: bool
    to_services_with_ports: bool
    dns_any_depth_pattern: bool
    cluster_network_policy: bool
    # What the engine makes of it.
    named_ports_per_identity: bool
    default_local_cluster: bool
    negative_namespace_selector_admits_world: bool
    zero_prefix_is_world: bool
    range_from_zero: Literal["as-written", "every-port", "unknown"]
    identity_label_patterns: tuple[str, ...]
    # Settings, as they are unless somebody changes them.
    sctp: bool
    icmp_rules: bool
    node_selector_labels: bool
    host_firewall: bool
    extended_protocols: bool
    audit_mode: bool
    cidr_match_modes: tuple[str, ...]
    cidr_match_modes_offered: tuple[str, ...]
    # Kinds of policy that the target takes.
    clusterwide: bool
    fqdn: bool
    l7: bool
    l7_in_clusterwide: bool
    refused_dns_patterns: tuple[str, ...]
    # Limits.
    ports_per_rule: int
    icmp_fields: int
    policy_map_entries: int
    identities: int
    sources: tuple[Source, ...]


@cache
def profile_names() -> tuple[str, ...]:
    """Every target, Cilium's releases first, each AKS version before its forms."""
    names: list[str] = []
    for file in reversed(yaml_files(data("rules") / "targets")):
        base = file.name.removesuffix(".yaml")
        names += [base, *(f"{base}-{form}" for form in _forms(base))]
    return tuple(sorted(names, key=lambda name: (not name.startswith("cilium-"), name)))


@cache
def load_profile(name: str) -> Profile:
    """The profile of that name. Raises InputError, with the names that are close, when there is none."""
    if name not in profile_names():
        raise InputError(f"unknown target {name}; {_hint(name)}")
    base, _, form = name.partition("-acns-")
    values = _merged(base)
    if form:
        part = _read(f"acns-{form}")
        values = _over(values, part) | {"title": f"{values['title']} {part['title']}"}
    return msgspec.convert({**values, "name": name}, type=Profile)


def profile_for(facts: Sequence[Fact]) -> tuple[str, str]:
    """The target that suits a cluster, and why: its AKS version, else the newest Cilium."""
    if not any(fact.topic == "cloud" and fact.value == "aks" and fact.state == "active" for fact in facts):
        return _NEWEST, "no AKS cluster was seen, so the newest Cilium release is taken"
    versions = [_minor(fact.value) for fact in facts if fact.topic == "kubernetes-version" and fact.state == "active"]
    known = [version for version in versions if version is not None]
    if not known:
        newest = max(_aks_minors())
        return _aks(newest, facts), f"AKS of an unknown Kubernetes version; {_dotted(newest)} is the newest profile"
    wanted = known[0]
    nearest = min(_aks_minors(), key=lambda minor: (abs(minor[0] - wanted[0]), abs(minor[1] - wanted[1])))
    reason = f"AKS with Kubernetes {_dotted(wanted)}"
    if nearest != wanted:
        reason += f", for which there is no profile; {_dotted(nearest)} is the nearest"
    return _aks(nearest, facts), reason


def label_is_identity_relevant(profile: Profile, key: str) -> bool:
    """Whether Cilium keeps a label in identities, so that policies can select by it.

    `key` is the key as identities have it: a pod label as it is, a namespace's label behind
    "io.cilium.k8s.namespace.labels.".
    """
    return _keeps(profile.identity_label_patterns, key)


@cache
def _keeps(patterns: tuple[str, ...], key: str) -> bool:
    kept = left_out = 0
    for pattern in patterns:
        source, colon, rest = pattern.rpartition(":")
        if colon and source.lstrip("!") != "k8s":
            continue
        found = re.search(rest.removeprefix("!"), key)
        if found is None or found.start() > 0:
            continue
        if rest.startswith("!"):
            left_out = min(left_out or found.end(), found.end())
        else:
            kept = max(kept, found.end())
    return left_out == 0 or kept > left_out


def _forms(base: str) -> tuple[str, ...]:
    forms = _merged(base, with_forms=True).get("forms", ())
    return msgspec.convert(forms, type=tuple[str, ...])


def _merged(name: str, with_forms: bool = False) -> dict[str, object]:
    """A file's values over those of the files that it extends, in their order."""
    own = _read(name)
    values: dict[str, object] = {}
    for parent in msgspec.convert(own.pop("extends", ()), type=tuple[str, ...]):
        values = _over(values, _merged(parent, with_forms))
    if not with_forms:
        own.pop("forms", None)
    return _over(values, own)


def _over(values: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """`more` wins; sources add up."""
    sources = [*_list(values.get("sources")), *_list(more.get("sources"))]
    return {**values, **more, "sources": [source for n, source in enumerate(sources) if source not in sources[:n]]}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _read(name: str) -> dict[str, object]:
    targets = data("rules") / "targets"
    file = targets / f"{name}.yaml"
    return read_yaml(file if file.is_file() else targets / "parts" / f"{name}.yaml", dict[str, object])


def _aks(minor: tuple[int, int], facts: Sequence[Fact]) -> str:
    """The AKS profile of a version, with the form that Azure's own description of the cluster names."""
    name = f"aks-{_dotted(minor)}"
    forms = {_FORMS[fact.value] for fact in facts if fact.topic == "acns" and fact.value in _FORMS}
    return name + max(forms, default="")


def _aks_minors() -> list[tuple[int, int]]:
    names = (re.fullmatch(r"aks-(\d+)\.(\d+)", name) for name in profile_names())
    return [(int(found[1]), int(found[2])) for found in names if found]


def _minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(minor: tuple[int, int]) -> str:
    return f"{minor[0]}.{minor[1]}"


def _hint(name: str) -> str:
    plain = [known for known in profile_names() if "-acns-" not in known]
    close = [known for known in plain if known.startswith(name)] or difflib.get_close_matches(name, profile_names())
    return f"did you mean {', '.join(close)}?" if close else f"known are {', '.join(plain)}"
