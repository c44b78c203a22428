"""Calico's policy kinds as typed values: projectcalico.org/v3, and crd.projectcalico.org/v1 as stored.

Facts: libcalico-go clientv3 (defaults of `types`), felix/calc policy_sorter.go (raw objects without types hold in
both directions), lib/backend/k8s/resources (metadata in the annotation projectcalico.org/metadata).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from migrate.model.addresses import Network
from migrate.model.flow import Direction
from migrate.model.labels import Labels, Scope
from migrate.model.raw import Json, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import EVERYTHING, NOTHING, And, Operator, Requirement, Selector
from migrate.sources.calico_rules import (
    HAS_NAMESPACE,
    CalicoRule,
    EntityMatch,
    IcmpMatch,
    PortRange,
    ServiceMatch,
    account_requirement,
    namespace_requirement,
    optional_selector,
    read_networks,
    read_rules,
    read_selector,
    requirement,
)
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.fields import Fields, Problem, Reading
from migrate.sources.kubernetes import NAMESPACE_NAME

__all__ = [
    "GROUPS",
    "HOST_ENDPOINT",
    "ORCHESTRATOR",
    "STORED_GROUP",
    "CalicoPolicy",
    "CalicoRule",
    "EntityMatch",
    "IcmpMatch",
    "NetworkSet",
    "PortRange",
    "ServiceMatch",
    "object_labels",
    "owning_namespace",
    "plain_name",
    "read_network_set",
    "read_policy",
    "stored_metadata",
]

GROUPS = ("projectcalico.org", "crd.projectcalico.org")
HOST_ENDPOINT = "HostEndpoint"
STORED_GROUP = "crd.projectcalico.org"
ORCHESTRATOR = "projectcalico.org/orchestrator"
_HAS_ACCOUNT = Requirement(SERVICE_ACCOUNT_NAME, Operator.EXISTS, (), Scope.SERVICE_ACCOUNT)


@dataclass(frozen=True, slots=True)
class CalicoPolicy:
    """A NetworkPolicy (namespace given) or a GlobalNetworkPolicy, staged or not.

    `name` is the name that users gave, without the prefix of stored objects. `order` None sorts last.
    `selects_hosts` is the whole selection as HostEndpoints take it. `staged_action` is Set, Delete, Learn or Ignore.
    """

    ref: ObjectRef
    at: Location | None
    name: str
    namespace: str | None
    staged: bool
    tier: str
    order: float | None
    selector: Selector
    namespace_selector: Selector | None
    account_selector: Selector | None
    directions: frozenset[Direction]
    ingress: tuple[CalicoRule, ...]
    egress: tuple[CalicoRule, ...]
    do_not_track: bool
    pre_dnat: bool
    apply_on_forward: bool
    problems: tuple[Problem, ...]
    selects_hosts: Selector = NOTHING
    staged_action: str = ""

    def rules(self, direction: Direction) -> tuple[CalicoRule, ...]:
        """The rules of one direction; none when the policy does not hold in it."""
        if direction not in self.directions:
            return ()
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """A NetworkSet (namespace given) or GlobalNetworkSet: addresses with labels of their own.

    A HostEndpoint is one too as far as rules are concerned: its expected addresses with its labels.
    """

    ref: ObjectRef
    at: Location | None
    name: str
    namespace: str | None
    labels: Labels
    namespace_labels: Labels
    nets: tuple[Network, ...]
    problems: tuple[Problem, ...]

    def labels_of(self, scope: Scope) -> Labels:
        """What a requirement of that scope reads; a set has no service account."""
        if scope is Scope.POD:
            return self.labels
        return self.namespace_labels if scope is Scope.NAMESPACE else Labels()


def read_policy(raw: RawObject) -> CalicoPolicy:
    """A policy from its object; what cannot be used is in `problems`, and then nothing may be built on it."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec") or Fields(reading, {}, ("spec",))
    root.close()
    namespace = owning_namespace(raw)
    ingress = read_rules(spec, Direction.INGRESS, namespace)
    egress = read_rules(spec, Direction.EGRESS, namespace)
    tier = spec.text("tier") or "default"
    spec.ignore("performanceHints")
    policy = CalicoPolicy(
        ref=raw.ref,
        at=raw.at(),
        name=plain_name(raw, tier),
        namespace=namespace,
        staged=raw.ref.kind.startswith("Staged"),
        tier=tier,
        order=spec.number("order"),
        selector=read_selector(spec, "selector") or EVERYTHING,
        namespace_selector=optional_selector(spec, "namespaceSelector", namespace_requirement),
        account_selector=optional_selector(spec, "serviceAccountSelector", account_requirement),
        directions=_directions(raw, spec, bool(ingress), bool(egress)),
        ingress=ingress,
        egress=egress,
        do_not_track=spec.flag("doNotTrack"),
        pre_dnat=spec.flag("preDNAT"),
        apply_on_forward=spec.flag("applyOnForward"),
        problems=(),
        selects_hosts=NOTHING if namespace is not None or reading.problems else _selects_hosts(spec),
        staged_action=spec.text("stagedAction"),
    )
    _check_host_policy(spec, policy)
    spec.close()
    return replace(policy, problems=tuple(reading.problems))


def _selects_hosts(spec: Fields) -> Selector:
    """A global policy's selection of HostEndpoints, which have no namespace and no service account.

    Beside a namespaceSelector, or else a serviceAccountSelector, all() means "has one".

    Source: updateprocessors/globalnetworkpolicyprocessor.go.
    """
    everything: Selector = EVERYTHING
    if spec.text("namespaceSelector"):
        everything = HAS_NAMESPACE
    elif spec.text("serviceAccountSelector"):
        everything = _HAS_ACCOUNT
    terms = (
        optional_selector(spec, "selector", requirement, everything),
        optional_selector(spec, "namespaceSelector", namespace_requirement, everything),
        optional_selector(spec, "serviceAccountSelector", account_requirement, _HAS_ACCOUNT),
    )
    return And(tuple(term for term in terms if term is not None))


def _check_host_policy(spec: Fields, policy: CalicoPolicy) -> None:
    """What Calico refuses in policies that act before or beside connection tracking."""
    special = "doNotTrack" if policy.do_not_track else "preDNAT" if policy.pre_dnat else ""
    if policy.do_not_track and policy.pre_dnat:
        spec.invalid("it cannot stand beside doNotTrack", "preDNAT")
    if special and not policy.apply_on_forward:
        spec.invalid(f"{special} needs applyOnForward: true", "applyOnForward")
    if policy.pre_dnat and (policy.egress or "Egress" in spec.texts("types")):
        spec.invalid("a policy with preDNAT has no egress", "egress" if policy.egress else "types")


def plain_name(raw: RawObject, tier: str = "default") -> str:
    """The name a user knows: stored objects carry "<tier>." before it, or the real one in an annotation."""
    annotated = stored_metadata(raw).get("name")
    if isinstance(annotated, str) and annotated:
        return annotated
    name = raw.ref.name
    if raw.ref.group == STORED_GROUP:
        return name.removeprefix(f"{tier}.")
    return name


def stored_metadata(raw: RawObject) -> Mapping[str, Json]:
    """What Calico keeps as JSON in the annotation projectcalico.org/metadata of stored objects; empty without it."""
    metadata = raw.data.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.get("projectcalico.org/metadata") if isinstance(annotations, dict) else None
    if not isinstance(text, str):
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def object_labels(raw: RawObject) -> Labels:
    """Labels of a Calico object: those of its metadata and of the annotation, the annotation wins."""
    found: dict[str, str] = {}
    metadata = raw.data.get("metadata")
    for owner in (metadata if isinstance(metadata, dict) else {}, stored_metadata(raw)):
        labels = owner.get("labels")
        if isinstance(labels, dict):
            found |= {key: value for key, value in labels.items() if isinstance(value, str)}
    return Labels.of(found)


def owning_namespace(raw: RawObject) -> str | None:
    """The namespace of a namespaced kind ("default" when none is given); None for a global kind."""
    is_global = "Global" in raw.ref.kind or raw.ref.kind == HOST_ENDPOINT
    return None if is_global else raw.ref.namespace or "default"


def read_network_set(raw: RawObject, namespaces: Mapping[str, Labels]) -> NetworkSet:
    """A set from its object; `namespaces` are the labels of each namespace, which a namespaced set inherits."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("apiVersion", "kind", "metadata", "status")
    spec = root.child("spec") or Fields(reading, {}, ("spec",))
    root.close()
    is_host = raw.ref.kind == HOST_ENDPOINT
    nets = read_networks(spec, "expectedIPs" if is_host else "nets")
    if is_host:
        spec.ignore("node", "interfaceName", "profiles", "ports")
    spec.close()
    namespace = owning_namespace(raw)
    return NetworkSet(
        ref=raw.ref,
        at=raw.at(),
        name=plain_name(raw),
        namespace=namespace,
        labels=object_labels(raw),
        namespace_labels=namespaces.get(namespace or "", _name_label(namespace)),
        nets=nets,
        problems=tuple(reading.problems),
    )


def _name_label(namespace: str | None) -> Labels:
    return Labels(((NAMESPACE_NAME, namespace),)) if namespace else Labels()


def _directions(raw: RawObject, spec: Fields, ingress: bool, egress: bool) -> frozenset[Direction]:
    """`types`, or the default: both for stored objects, by the lists that have rules for all others."""
    types = spec.texts("types")
    if len(set(types)) < len(types):
        spec.invalid("a direction stands here twice", "types")
    for index, text in enumerate(types):
        if text not in ("Ingress", "Egress"):
            spec.invalid(f'"{text}" is not Ingress or Egress', "types", index)
    if types:
        return frozenset(Direction(text.lower()) for text in types if text in ("Ingress", "Egress"))
    if raw.ref.group == STORED_GROUP or (ingress and egress):
        return frozenset(Direction)
    return frozenset({Direction.EGRESS if egress else Direction.INGRESS})
