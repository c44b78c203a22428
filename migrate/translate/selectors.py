"""Label selectors in Cilium's words.

Facts (measured on Cilium 1.18.8 and 1.20.2): labels outside the identity filter do not exist for policy; a peer
made of negations on namespace labels alone also matches the world in 1.18, so a positive requirement is added.
"""

from __future__ import annotations

import re

from migrate.model.labels import Scope
from migrate.model.selectors import NEGATIVE, Conjunction, Operator, Requirement, simplify
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.profiles import Profile, label_is_identity_relevant

_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
_OWN_KEYS = ("io.kubernetes.pod.namespace", "io.cilium.k8s.")
ANY_NAMESPACE = Requirement(NAMESPACE_NAME, Operator.EXISTS, (), Scope.NAMESPACE)
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(
    r"(?:(?=[^/]{1,253}/)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)


def in_namespaces(conjunction: Conjunction) -> Conjunction:
    """The conjunction with a positive requirement on the namespace, which keeps it to pods in every release."""
    positive = [r for r in conjunction if r.scope is Scope.NAMESPACE and r.operator not in NEGATIVE]
    if positive:
        return conjunction
    return tuple(sorted((*conjunction, ANY_NAMESPACE), key=Requirement.sort_key))


def possible(conjunction: Conjunction) -> Conjunction | None:
    """The same meaning for labels that Kubernetes can hold; None when no object can match.

    Selectors of other dialects may ask for keys or values that are not legal labels and so are on no object.
    """
    kept: list[Requirement] = []
    for requirement in conjunction:
        negative = requirement.operator in NEGATIVE
        if not _KEY.fullmatch(requirement.key):
            if negative:
                continue
            return None
        names_itself = requirement.key == NAMESPACE_NAME and requirement.scope is not Scope.POD
        if names_itself and requirement.operator is Operator.DOES_NOT_EXIST:
            return None
        if requirement.operator in (Operator.IN, Operator.NOT_IN):
            values = tuple(value for value in requirement.values if _VALUE.fullmatch(value))
            if not values:
                if negative:
                    continue
                return None
            requirement = Requirement(requirement.key, requirement.operator, values, requirement.scope)
        kept.append(requirement)
    return simplify(tuple(kept))


def pod_label_is_visible(profile: Profile, key: str) -> bool:
    """Whether policy can select by a pod's own label.

    Keys that Cilium itself puts on identities (io.kubernetes.pod.namespace, io.cilium.k8s...) mean something else
    in its selectors than a pod label of that name.
    """
    return not key.startswith(_OWN_KEYS) and label_is_identity_relevant(profile, key)


def filtered_labels(conjunction: Conjunction, profile: Profile) -> Conjunction:
    """The requirements on labels that Cilium leaves out of identities, so that policy cannot see them."""
    return tuple(requirement for requirement in conjunction if not _is_visible(requirement, profile))


def without_filtered(conjunction: Conjunction, profile: Profile) -> Conjunction:
    """The rest of a conjunction, which matches more; it stays with pods when it read namespaces."""
    rest = tuple(requirement for requirement in conjunction if _is_visible(requirement, profile))
    reads_namespaces = any(requirement.scope is Scope.NAMESPACE for requirement in conjunction)
    return in_namespaces(rest) if reads_namespaces else rest


def _is_visible(requirement: Requirement, profile: Profile) -> bool:
    if requirement.scope is Scope.POD:
        return pod_label_is_visible(profile, requirement.key)
    if requirement.scope is Scope.NAMESPACE and requirement.key != NAMESPACE_NAME:
        return label_is_identity_relevant(profile, f"{_NAMESPACE_LABELS}{requirement.key}")
    return True


def narrowed_to(conjunction: Conjunction, namespace: str) -> Conjunction | None:
    """The rest of a conjunction inside one namespace: its name is known there. None when it cannot match."""
    kept: list[Requirement] = []
    for requirement in conjunction:
        if requirement.scope is not Scope.NAMESPACE or requirement.key != NAMESPACE_NAME:
            kept.append(requirement)
            continue
        if requirement.operator is Operator.EXISTS:
            continue
        named = requirement.operator is Operator.IN and namespace in requirement.values
        spared = requirement.operator is Operator.NOT_IN and namespace not in requirement.values
        if not (named or spared):
            return None
    return tuple(kept)
