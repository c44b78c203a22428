"""Policies written by hand for Cilium: what the target refuses, misreads, or takes otherwise than it was meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster
from migrate.model.finding import Effect, Finding
from migrate.model.raw import FieldPath, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.sources import kubernetes
from migrate.sources.cilium import CCNP, CNP, CidrGroup, CiliumPolicy, read_group, read_policy
from migrate.sources.cilium_selectors import IdentitySelectors
from migrate.sources.fields import dotted
from migrate.sources.kubernetes import NetworkPolicy
from migrate.translate import lint_addresses, lint_selectors, lint_traps
from migrate.translate.limits_identities import PodIdentities
from migrate.translate.limits_settings import settings_of
from migrate.translate.lint_complaint import Complaint
from migrate.translate.lint_needs import cut_off
from migrate.translate.lint_owners import ClusterAddresses
from migrate.translate.lint_rules import complaints
from migrate.translate.lint_scene import Note, Scene
from migrate.translate.profiles import Profile
from migrate.translate.schema import violations

_GROUP = "CiliumCIDRGroup"
_CILIUM = (CNP, CCNP, _GROUP)


def is_linted(ref: ObjectRef) -> bool:
    """Whether Cilium reads the kind as policy."""
    if ref.group == "cilium.io":
        return ref.kind in _CILIUM
    return (ref.group, ref.kind) in (
        ("networking.k8s.io", "NetworkPolicy"),
        ("policy.networking.k8s.io", "ClusterNetworkPolicy"),
    )


def lint(
    objects: Sequence[RawObject], profile: Profile, cluster: Cluster | None = None, beside: Sequence[RawObject] = ()
) -> list[Finding]:
    """Findings about policies for one target, in the order of findings.

    `cluster` is None when nothing is known of it; `beside` are objects of the cluster, of which Cilium's policies
    act together with those that are judged.
    """
    linted = [raw for raw in objects if is_linted(raw.ref)]
    given = {raw.ref for raw in linted}
    others = [raw for raw in beside if raw.ref.group == "cilium.io" and is_linted(raw.ref) and raw.ref not in given]
    scene = _scene(linted, others, profile, cluster)
    missing = cut_off(scene)
    found = [finding for raw in linted for finding in _object(raw, scene, missing)]
    return sorted(dict.fromkeys(found), key=Finding.sort_key)


def _scene(
    linted: Sequence[RawObject], others: Sequence[RawObject], profile: Profile, cluster: Cluster | None
) -> Scene:
    every = [*linted, *others]
    settings = settings_of(profile, cluster)
    groups = tuple(read_group(raw) for raw in every if raw.ref.kind == _GROUP)
    return Scene(
        profile=profile,
        settings=settings,
        selectors=IdentitySelectors(settings, cluster or Cluster(), AddressSet()),
        policies=[policy for raw in every if (policy := _policy(raw)) is not None and not policy.problems],
        groups=_known(groups, cluster),
        cluster=cluster,
        pods=None if cluster is None else PodIdentities(cluster, settings),
        addresses=None if cluster is None else ClusterAddresses.of(cluster),
        port_names=frozenset(port.name for pod in (cluster or Cluster()).pods for port in pod.named_ports),
    )


def _known(groups: tuple[CidrGroup, ...], cluster: Cluster | None) -> tuple[CidrGroup, ...] | None:
    """Without a whole snapshot there may be further groups."""
    return groups if cluster is not None and cluster.complete else None


def _policy(raw: RawObject) -> CiliumPolicy | NetworkPolicy | None:
    if raw.ref.kind in (CNP, CCNP):
        return read_policy(raw)
    return kubernetes.read_policy(raw) if raw.ref.kind == "NetworkPolicy" else None


def _object(raw: RawObject, scene: Scene, missing: Mapping[ObjectRef, tuple[Note, ...]]) -> Iterator[Finding]:
    """What the API server refuses first; what the agent says of the same field adds nothing to it."""
    policy = _policy(raw)
    refused = [_of_text(text) for text in violations(raw.data, scene.profile)]
    if isinstance(policy, NetworkPolicy):
        refused += [Note("LINT-SCHEMA", problem.field or "object", problem.message) for problem in policy.problems]
    fields = {note.field for note in refused}
    agent = [_of_complaint(c) for c in complaints(raw.data, scene.profile) if c.field not in fields]
    notes = [*refused, *agent]
    if policy is not None and not policy.problems:
        notes += _meaning(raw, policy, scene)
        notes += missing.get(policy.ref, ())
    elif policy is not None and not notes:
        notes += [Note("LINT-NOT-READ", problem.field, problem.message) for problem in policy.problems]
    lines = {dotted(path): path for path in raw.lines}
    for note in notes:
        yield Finding(
            id=note.id,
            detail=note.text,
            effect_on_intent=Effect.UNKNOWN,
            subject=raw.ref,
            field=note.field or None,
            at=_place(raw, note.field, lines),
        )


def _meaning(raw: RawObject, policy: CiliumPolicy | NetworkPolicy, scene: Scene) -> Iterator[Note]:
    """What Cilium takes and follows."""
    if isinstance(policy, CiliumPolicy):
        yield from lint_traps.notes(raw.data, policy, scene)
        yield from lint_selectors.notes(raw.data, policy, scene)
    else:
        yield from lint_traps.network_policy_notes(policy, scene)
        yield from lint_selectors.network_policy_notes(policy, scene)
    yield from lint_addresses.notes(policy, scene)


def _of_text(text: str) -> Note:
    """A violation, which is "field: what is wrong"."""
    field, _, reason = text.partition(": ")
    return Note("LINT-SCHEMA", field, reason)


def _of_complaint(complaint: Complaint) -> Note:
    return Note(complaint.id, complaint.field, complaint.text)


def _place(raw: RawObject, field: str, lines: Mapping[str, FieldPath]) -> Location | None:
    """The line of a field, or of the nearest field above it that has one."""
    return raw.at(*next((lines[text] for text in _shorter(field) if text in lines), ()))


def _shorter(field: str) -> Iterable[str]:
    """The field, then those above it; keys of labels may hold dots, so that some of them are no fields."""
    while field:
        yield field
        field = field[: max(field.rfind("."), field.rfind("["), 0)]
