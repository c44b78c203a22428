"""Calico policies as plain NetworkPolicies, for the time between the old engine and Cilium.

Both engines read NetworkPolicies, so what stands in them is enforced before, during and after the change. A policy is
said only if its NetworkPolicy means the same by itself, and only if every policy for the same pods and direction is:
a part of them would cut off what the rest allows, or open what the rest denies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from migrate import yaml_out
from migrate.model.documents import EmittedObject, Translation, TranslationResult
from migrate.model.finding import Finding
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.model.selectors import And, Conjunction, Operator, Requirement, TooManyTermsError, disjuncts, simplify
from migrate.sources import calico
from migrate.sources.calico import CalicoPolicy
from migrate.sources.calico_tiers import DEFAULT_TIER, Order, read_tier
from migrate.sources.kubernetes import NAMESPACE_NAME, read_policy
from migrate.translate.calico_selectors import pod_conjunctions
from migrate.translate.context import Context
from migrate.translate.engine import Outcome, OutputFile
from migrate.translate.kept import differences
from migrate.translate.kinds import CALICO_POLICIES
from migrate.translate.names import file_of
from migrate.translate.notes import Notes
from migrate.translate.plain_rules import CannotSayError, label_selector, rules_of
from migrate.translate.render import JsonMap, marks

FOLDER = "networkpolicy"
_COMMENT = (
    "# {source} for the time of the cutover: the old engine and Cilium both enforce it.\n"
    "# Delete it once Cilium enforces the objects of cilium/.\n"
)


@dataclass(slots=True)
class _Sources:
    """`policies` are those in force for pods; `said` has their objects, `unsaid` the reasons of all others."""

    policies: Mapping[ObjectRef, CalicoPolicy]
    said: dict[ObjectRef, list[JsonMap]]
    unsaid: dict[ObjectRef, str]


def with_plain_policies(outcome: Outcome, sources: Sequence[RawObject], context: Context) -> Outcome:
    """The outcome with the NetworkPolicies in networkpolicy/, and a finding for each policy that has none."""
    found = _read(sources, context)
    _leave_out_shared(found)
    files: list[OutputFile] = []
    emitted: dict[ObjectRef, tuple[EmittedObject, ...]] = {}
    taken = {(raw.ref.namespace, raw.ref.name) for raw in sources if raw.ref.group == "networking.k8s.io"}
    for source in sorted(found.said, key=ObjectRef.sort_key):
        written = [_file(data, source, taken) for data in found.said[source]]
        files += [file for file, _ in written]
        emitted[source] = tuple(item for _, item in written)
    results = [_extended(result, emitted, found.unsaid) for result in outcome.translation.results]
    translation: Translation = msgspec.structs.replace(outcome.translation, results=tuple(results))
    all_files = sorted((*outcome.files, *files), key=lambda file: file.path)
    return replace(outcome, translation=translation, files=tuple(all_files))


def _extended(
    result: TranslationResult, emitted: Mapping[ObjectRef, tuple[EmittedObject, ...]], unsaid: Mapping[ObjectRef, str]
) -> TranslationResult:
    reason = unsaid.get(result.source)
    if reason is None:
        return msgspec.structs.replace(result, plain=emitted.get(result.source, ()))
    finding = Finding(
        id="POL-PLAIN-NOT-SAID", detail=f"no NetworkPolicy: {reason}", subject=result.source, at=result.at
    )
    return msgspec.structs.replace(result, findings=tuple(sorted((*result.findings, finding), key=Finding.sort_key)))


def _read(sources: Sequence[RawObject], context: Context) -> _Sources:
    own = [raw for raw in sources if raw.ref.group in calico.GROUPS]
    tiers = [read_tier(raw) for raw in own if raw.ref.kind == "Tier"]
    ends_in_deny = not Order(tiers, "legacy").tier(DEFAULT_TIER).passes
    read = [calico.read_policy(raw) for raw in own if raw.ref.kind in CALICO_POLICIES]
    for_hosts = {policy.ref: "it is for hosts only" for policy in read if policy.do_not_track or policy.pre_dnat}
    found = _Sources({policy.ref: policy for policy in read if policy.ref not in for_hosts}, {}, dict(for_hosts))
    for policy in found.policies.values():
        try:
            if not ends_in_deny:
                raise CannotSayError("the default tier ends in Pass, not in Deny")
            found.said[policy.ref] = _objects(policy, context)
        except CannotSayError as error:
            found.unsaid[policy.ref] = str(error)
    return found


def _objects(policy: CalicoPolicy, context: Context) -> list[JsonMap]:
    """The NetworkPolicies that mean the policy. Raises CannotSayError with the reason when there are none."""
    if policy.problems:
        raise CannotSayError("it has fields that cannot be read")
    if policy.tier != DEFAULT_TIER:
        raise CannotSayError(f"it is in tier {policy.tier}")
    if policy.apply_on_forward:
        raise CannotSayError("spec.applyOnForward")
    rules: JsonMap = {}
    for direction in Direction:
        if direction in policy.directions:
            rules[direction.value] = rules_of(policy, direction, context)
    types: list[Json] = [direction.value.capitalize() for direction in Direction if direction in policy.directions]
    found: list[JsonMap] = []
    for namespace, pods in _subjects(policy, context):
        data: JsonMap = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": policy.name, "namespace": namespace, **marks(str(policy.ref))},
            "spec": {"podSelector": label_selector(pods), "policyTypes": types, **rules},
        }
        for _, text in differences(read_policy(RawObject(data)), context):
            raise CannotSayError(text)
        found.append(data)
    return found


def _subjects(policy: CalicoPolicy, context: Context) -> list[tuple[str, Conjunction]]:
    """The pods of the policy as namespaces with a conjunction on pod labels each."""
    terms = [t for t in (policy.selector, policy.namespace_selector, policy.account_selector) if t is not None]
    notes = Notes(policy.ref, policy.at)
    alternatives = pod_conjunctions(terms, "spec.selector", context, notes)
    if alternatives is None or notes.assumptions:
        raise CannotSayError("spec.selector asks for what labels of a NetworkPolicy cannot say")
    found: list[tuple[str, Conjunction]] = []
    for alternative in alternatives:
        for namespace in (policy.namespace,) if policy.namespace else _named_namespaces(alternative, context):
            pods = _inside(alternative, namespace)
            if pods is not None:
                found.append((namespace, pods))
    return found


def _named_namespaces(conjunction: Conjunction, context: Context) -> tuple[str, ...]:
    """The namespaces that a conjunction of a global policy names."""
    known = {namespace.name for namespace in context.cluster.namespaces}
    for requirement in conjunction:
        if _is_name(requirement) and requirement.operator is Operator.IN:
            missing = [name for name in requirement.values if known and name not in known]
            if missing:
                raise CannotSayError(f"it names namespace {missing[0]}, which is not there")
            return requirement.values
    raise CannotSayError("it holds in namespaces that it does not name, also in later ones")


def _inside(conjunction: Conjunction, namespace: str) -> Conjunction | None:
    """What is left for pods of the namespace; None when none can match."""
    own = Requirement(NAMESPACE_NAME, Operator.IN, (namespace,), Scope.NAMESPACE)
    combined = simplify((*conjunction, own))
    if combined is None:
        return None
    rest = tuple(requirement for requirement in combined if not _is_name(requirement))
    if any(requirement.scope is not Scope.POD for requirement in rest):
        raise CannotSayError("its selectors ask for labels of namespaces or for service accounts")
    return rest


def _is_name(requirement: Requirement) -> bool:
    return requirement.scope is Scope.NAMESPACE and requirement.key == NAMESPACE_NAME


def _leave_out_shared(found: _Sources) -> None:
    """Also leave out what shares pods and a direction with something that is not said, and so on."""
    alternatives = {ref: _alternatives(policy) for ref, policy in found.policies.items()}
    by_namespace: dict[str | None, list[ObjectRef]] = defaultdict(list)
    for ref in found.said:
        by_namespace[found.policies[ref].namespace].append(ref)
    waiting = [ref for ref in found.unsaid if ref in found.policies]
    while waiting:
        other = found.policies[waiting.pop()]
        near = [*by_namespace[None], *(by_namespace[other.namespace] if other.namespace else ())]
        for ref in found.said if other.namespace is None else near:
            policy = found.policies[ref]
            shares = ref not in found.unsaid and bool(policy.directions & other.directions)
            if shares and _may_meet(alternatives[ref], alternatives[other.ref]):
                found.unsaid[ref] = f"it shares pods with {other.ref}, which cannot be said"
                waiting.append(ref)
    for ref in found.said.keys() & found.unsaid.keys():
        del found.said[ref]


def _alternatives(policy: CalicoPolicy) -> tuple[Conjunction, ...]:
    """Whom the policy selects; everybody of its namespace when that is too much to say."""
    own = Requirement(NAMESPACE_NAME, Operator.IN, (policy.namespace,), Scope.NAMESPACE) if policy.namespace else And()
    terms = (policy.selector, policy.namespace_selector, policy.account_selector, own)
    try:
        return disjuncts(And(tuple(term for term in terms if term is not None)))
    except TooManyTermsError:
        return disjuncts(own)


def _may_meet(left: Iterable[Conjunction], right: Sequence[Conjunction]) -> bool:
    return any(simplify((*one, *two)) is not None for one in left for two in right)


def _file(data: JsonMap, source: ObjectRef, taken: set[tuple[str | None, str]]) -> tuple[OutputFile, EmittedObject]:
    """The object under a name that no NetworkPolicy of its namespace has."""
    ref = RawObject(data).ref
    name, number = f"{ref.name}-calico", 1
    while (ref.namespace, name) in taken:
        number += 1
        name = f"{ref.name}-calico-{number}"
    taken.add((ref.namespace, name))
    metadata = data["metadata"]
    assert isinstance(metadata, dict)
    metadata["name"] = name
    path = FOLDER + file_of(ref.kind, ref.namespace, name).removeprefix("cilium")
    item = EmittedObject(api_version=ref.api_version, kind=ref.kind, namespace=ref.namespace, name=name, file=path)
    return OutputFile(path, _COMMENT.format(source=source) + yaml_out.dump(data)), item
