"""Selectors that mean other ends than they seem to.

Facts: pkg/k8s/apis/cilium.io/utils, pkg/labelsfilter; measured on the policy engines of v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrate.model.addresses import parse_address
from migrate.model.cluster import Pod
from migrate.model.flow import Direction, End, EndKind
from migrate.model.raw import Json
from migrate.model.ruleset import Predicate, holds
from migrate.model.selectors import NEGATIVE, Selector, requirements
from migrate.sources.cilium import CiliumPolicy, CiliumRule
from migrate.sources.cilium_selectors import CLUSTER, NAMESPACE, NAMESPACE_LABELS
from migrate.sources.kubernetes import NAMESPACE_NAME, NetworkPolicy, PodPeer, Rule
from migrate.sources.kubernetes_engine import in_namespace
from migrate.translate.lint_scene import Note, Scene, only_negations
from migrate.translate.lint_traps import raw_specs, spec_fields

_OUTSIDE = (parse_address("203.0.113.7"), parse_address("2001:db8::7"))
_SOMEONE = End(EndKind.POD, parse_address("192.0.2.1"), pod=Pod("", ""))


def notes(data: Mapping[str, Json], policy: CiliumPolicy, scene: Scene) -> Iterator[Note]:
    """What to say of the selectors of a CNP or CCNP."""
    for field, raw, spec in zip(spec_fields(data), raw_specs(data), policy.specs, strict=True):
        if spec.endpoint_selector is not None:
            place = f"{field}.endpointSelector"
            yield from _filtered(place, _asked(spec.endpoint_selector), scene)
            yield from _other_namespace(place, raw.get("endpointSelector"), policy)
            yield from _no_pods(place, in_own(scene.selectors.pods(spec.endpoint_selector), policy.namespace), scene)
        if spec.node_selector is not None:
            yield from _filtered(f"{field}.nodeSelector", _asked(spec.node_selector), scene)
        for rule in spec.rules:
            yield from _peers(rule, policy, scene)


def _peers(rule: CiliumRule, policy: CiliumPolicy, scene: Scene) -> Iterator[Note]:
    side = "from" if rule.direction is Direction.INGRESS else "to"
    entries = rule.peers.endpoints
    for index, selector in enumerate(entries):
        place = f"{rule.field}.{side}Endpoints[{index}]"
        yield from _filtered(place, _asked(selector), scene)
        if only_negations(selector) and admits_outside(scene.peers(selector, policy)):
            yield Note("LINT-NEGATIVE-ONLY", place, _world(scene))
        if policy.namespace is not None and not _asked(selector) and not rule.deny:
            text = f"an empty selector is the pods of namespace {policy.namespace} here, not everybody"
            yield Note("LINT-OWN-NAMESPACE", place, text)
    kinds = [_kind(selector) for selector in entries]
    if policy.namespace is not None and _looks_split(kinds):
        yield Note("LINT-AND-OR", f"{rule.field}.{side}Endpoints", _split(f"one entry of {side}Endpoints"))


def network_policy_notes(policy: NetworkPolicy, scene: Scene) -> Iterator[Note]:
    """What to say of the selectors of a NetworkPolicy."""
    namespace = policy.ref.namespace or "default"
    yield from _filtered("spec.podSelector", _asked(policy.subject), scene)
    yield from _no_pods("spec.podSelector", in_own(policy.subject, namespace), scene)
    for direction, rules in ((Direction.INGRESS, policy.ingress), (Direction.EGRESS, policy.egress)):
        for rule in rules:
            yield from _kubernetes_rule(rule, direction, namespace, scene)


def _kubernetes_rule(rule: Rule, direction: Direction, namespace: str, scene: Scene) -> Iterator[Note]:
    peers = [peer for peer in rule.peers or () if isinstance(peer, PodPeer)]
    for peer in peers:
        yield from _filtered(peer.field, _asked(peer.pods), scene)
        if peer.namespaces is None:
            continue
        labels = [NAMESPACE_LABELS + key for key in _asked(peer.namespaces)]
        yield from _filtered(peer.field, labels, scene)
        if only_negations(peer.namespaces) and admits_outside(
            scene.selectors.kubernetes_peers(peer.pods, peer.namespaces, namespace)
        ):
            yield Note("LINT-NEGATIVE-ONLY", f"{peer.field}.namespaceSelector", _world(scene))
    if len(peers) == len(rule.peers or ()) and _looks_split([_kubernetes_kind(peer) for peer in peers]):
        place = f"{rule.field}.{'from' if direction is Direction.INGRESS else 'to'}"
        yield Note("LINT-AND-OR", place, _split("one entry with both selectors"))


def admits_outside(predicate: Predicate) -> bool:
    """Whether somebody outside the cluster is among the peers."""
    return any(holds(predicate, End(EndKind.OUTSIDE, address), _SOMEONE) for address in _OUTSIDE)


def in_own(selector: Selector, namespace: str | None) -> Selector:
    """The selector within a policy's namespace, where it has one."""
    return selector if namespace is None else in_namespace(selector, namespace)


def _asked(selector: Selector) -> list[str]:
    return [requirement.key for requirement in requirements(selector)]


def _filtered(place: str, keys: Sequence[str], scene: Scene) -> Iterator[Note]:
    """Labels that identities do not have: what asks for them finds nobody, what negates them everybody."""
    for key in keys:
        source, colon, rest = key.partition(":")
        bare = rest if colon else source
        if (colon and source not in ("any", "k8s")) or scene.settings.is_identity_label(bare):
            continue
        hint = f"; a namespace's name is {NAMESPACE}" if bare == NAMESPACE_NAME else ""
        text = f"label {bare} is no part of identities: asked for it finds nobody, negated it finds everybody{hint}"
        yield Note("LINT-LABEL-FILTERED", place, text)


def _other_namespace(place: str, subject: Json, policy: CiliumPolicy) -> Iterator[Note]:
    """A namespace in the subject of a CNP, by the text: the reader overwrites it, as Cilium does."""
    labels = subject.get("matchLabels") if isinstance(subject, dict) else None
    for key, value in labels.items() if isinstance(labels, dict) and policy.namespace is not None else ():
        if key.removeprefix("k8s:") == NAMESPACE and value != policy.namespace:
            text = f"a policy of namespace {policy.namespace} selects pods of that namespace only, not of {value}"
            yield Note("LINT-SUBJECT-NAMESPACE", place, text)


def _no_pods(place: str, selector: Selector, scene: Scene) -> Iterator[Note]:
    if scene.pods is None or scene.cluster is None or not scene.cluster.complete:
        return
    if not scene.pods.mask(selector):
        yield Note("LINT-SELECTS-NOBODY", place, "no pod of the snapshot is selected")


def _world(scene: Scene) -> str:
    return f"made of negations alone, so in {scene.profile.title} it also means the outside and nodes"


def _kind(selector: Selector) -> str:
    """What an entry names: "namespace", "pods" (of the own namespace), or empty for both or neither."""
    asked = [key.removeprefix("k8s:") for key in _asked(selector)]
    if not asked or any(requirement.operator in NEGATIVE for requirement in requirements(selector)):
        return ""
    spaces = [key == NAMESPACE or key.startswith(NAMESPACE_LABELS) for key in asked]
    if all(spaces):
        return "namespace"
    return "" if any(spaces) or any(":" in key or key == CLUSTER for key in asked) else "pods"


def _kubernetes_kind(peer: PodPeer) -> str:
    pods, namespaces = _asked(peer.pods), [] if peer.namespaces is None else _asked(peer.namespaces)
    if namespaces and not pods:
        return "namespace"
    return "pods" if pods and peer.namespaces is None else ""


def _looks_split(kinds: Sequence[str]) -> bool:
    """Two entries of which one names a namespace and the other pods: often meant as one."""
    return sorted(kinds) == ["namespace", "pods"]


def _split(meant: str) -> str:
    return (
        "two entries are alternatives: every pod of that namespace, and such pods of the policy's own namespace; if "
        f"such pods of that namespace were meant, make it {meant}"
    )
