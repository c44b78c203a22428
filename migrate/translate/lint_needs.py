"""What pods usually need and a new default deny takes away: DNS, the API server, instance metadata, telemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrate.model.addresses import Address, parse_address
from migrate.model.cluster import Cluster, Pod
from migrate.model.flow import TCP, UDP, Direction, End, EndKind, Packet
from migrate.model.labels import Labels
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Action, Chain, carries, decide
from migrate.sources.cilium import CiliumPolicy
from migrate.sources.cilium_engine import CiliumEngine
from migrate.sources.kubernetes import NAMESPACE_NAME, NetworkPolicy
from migrate.translate.limits_identities import bits_of
from migrate.translate.lint_scene import Note, Scene
from migrate.translate.lint_traps import closes

_METADATA = parse_address("169.254.169.254")
_SOMEWHERE = parse_address("192.0.2.1")
_OTLP = 4317
_DNS_LABELS = Labels((("k8s-app", "kube-dns"),))
_KUBE_SYSTEM = Labels(((NAMESPACE_NAME, "kube-system"),))


@dataclass(frozen=True, slots=True)
class _Need:
    """Something that pods usually reach. One way to one of the ends is enough."""

    id: str
    name: str
    ends: tuple[End, ...]
    packets: tuple[Packet, ...]


def cut_off(scene: Scene) -> Mapping[ObjectRef, tuple[Note, ...]]:
    """By policy: what pods that it isolates can no longer reach, by all policies together.

    With a snapshot this is about its pods, and about those targets that it shows.
    """
    if scene.cluster is not None and scene.pods is not None:
        return _in_snapshot(scene, scene.cluster)
    return _by_text(scene)


def isolates_egress(policy: CiliumPolicy | NetworkPolicy) -> bool:
    """Whether the policy closes egress of the pods that it selects."""
    if isinstance(policy, NetworkPolicy):
        return Direction.EGRESS in policy.directions
    return any(closes(spec, Direction.EGRESS) for spec in policy.specs if spec.endpoint_selector is not None)


def _in_snapshot(scene: Scene, cluster: Cluster) -> Mapping[ObjectRef, tuple[Note, ...]]:
    engine = _engine(scene, cluster)
    needs = list(_needs(cluster))
    closing = {policy.ref for policy in scene.policies if isolates_egress(policy)} - set(engine.refused)
    cut: dict[tuple[ObjectRef, int], list[Pod]] = {}
    for policies, pods in _by_policies(scene, engine):
        refs = {p.ref for index in policies if (p := engine.subjects[index].provenance) is not None} & closing
        if not refs:
            continue
        chain = engine.chain(Direction.EGRESS, policies)
        for number, need in enumerate(needs):
            if not _reaches(chain, _end(pods[0]), need):
                for ref in refs:
                    cut.setdefault((ref, number), []).extend(pods)
    found: dict[ObjectRef, tuple[Note, ...]] = {}
    for (ref, number), pods in cut.items():
        found[ref] = (*found.get(ref, ()), _note(needs[number], pods))
    return found


def _by_policies(scene: Scene, engine: CiliumEngine) -> Iterator[tuple[tuple[int, ...], list[Pod]]]:
    """Pods that the same policies select, by the indexes of these."""
    if scene.pods is None:
        return
    selected: dict[int, list[int]] = {}
    for index, subject in enumerate(engine.subjects):
        for bit in bits_of(scene.pods.mask(subject.selector)):
            selected.setdefault(bit, []).append(index)
    groups: dict[tuple[int, ...], list[Pod]] = {}
    for bit, policies in selected.items():
        groups.setdefault(tuple(policies), []).extend(scene.pods.identities[bit].pods)
    yield from groups.items()


def _engine(scene: Scene, cluster: Cluster) -> CiliumEngine:
    return CiliumEngine(scene.policies, scene.groups or (), cluster, scene.settings)


def _needs(cluster: Cluster) -> Iterator[_Need]:
    """What the snapshot shows, and instance metadata, which no snapshot shows."""
    dns = tuple(
        _end(pod)
        for pod in cluster.pods
        if pod.namespace == "kube-system" and pod.labels.get("k8s-app") == "kube-dns" and pod.addresses
    )
    if dns:
        yield _Need("LINT-NO-DNS", "DNS (UDP 53 of kube-dns)", dns[:1], (Packet(UDP, 53),))
    if cluster.api_server:
        ends = tuple(_server(cluster, address) for address in cluster.api_server[:1])
        yield _Need("LINT-NO-PLATFORM-EGRESS", "the API server", ends, (Packet(TCP, 443), Packet(TCP, 6443)))
    metadata = (End(EndKind.OUTSIDE, _METADATA),)
    yield _Need("LINT-NO-PLATFORM-EGRESS", f"instance metadata ({_METADATA})", metadata, (Packet(TCP, 80),))
    collectors = [pod for pod in cluster.pods if pod.addresses and any(p.port == _OTLP for p in pod.named_ports)]
    if collectors:
        ends = tuple(_end(pod) for pod in collectors[:1])
        yield _Need("LINT-NO-PLATFORM-EGRESS", f"telemetry ({collectors[0]} port {_OTLP})", ends, (Packet(TCP, _OTLP),))


def _server(cluster: Cluster, address: Address) -> End:
    for node in cluster.nodes:
        if address in node.addresses:
            return End(EndKind.NODE, address, node=node, api_server=True)
    return End(EndKind.OUTSIDE, address, api_server=True)


def _end(pod: Pod) -> End:
    return End(EndKind.POD, pod.addresses[0] if pod.addresses else _SOMEWHERE, pod=pod)


def _reaches(chain: Chain, own: End, need: _Need) -> bool:
    return any(
        decide(chain, own, end, packet, Direction.EGRESS).action is Action.ALLOW
        for end in need.ends
        for packet in need.packets
    )


def _note(need: _Need, pods: Sequence[Pod]) -> Note:
    shown = str(pods[0]) if len(pods) == 1 else f"{len(pods)} pods, such as {pods[0]},"
    return Note(need.id, "", f"{shown} cannot reach {need.name} any more by these policies")


def _by_text(scene: Scene) -> Mapping[ObjectRef, tuple[Note, ...]]:
    """Without a snapshot: the policies of a namespace, and those for all pods beside them, taken together."""
    dns = Pod("kube-system", "kube-dns", _DNS_LABELS, _KUBE_SYSTEM, addresses=(_SOMEWHERE,))
    engine = _engine(scene, Cluster())
    own = _end(Pod("", ""))
    needs = (
        _Need("", "DNS (port 53)", (_end(dns),), (Packet(UDP, 53),)),
        _Need(
            "",
            "the API server (443)",
            (End(EndKind.OUTSIDE, _SOMEWHERE, api_server=True),),
            (Packet(TCP, 443), Packet(TCP, 6443)),
        ),
        _Need("", f"instance metadata ({_METADATA}:80)", (End(EndKind.OUTSIDE, _METADATA),), (Packet(TCP, 80),)),
        _Need("", f"telemetry ({_OTLP})", (End(EndKind.OUTSIDE, _SOMEWHERE),), (Packet(TCP, _OTLP),)),
    )
    found: dict[ObjectRef, tuple[Note, ...]] = {}
    for policy in filter(isolates_egress, scene.policies):
        if policy.ref in engine.refused:
            continue
        beside = {p.ref for p in scene.policies if p.ref.namespace in (None, policy.ref.namespace)}
        indexes = [n for n, s in enumerate(engine.subjects) if s.provenance is not None and s.provenance.ref in beside]
        chain = engine.chain(Direction.EGRESS, tuple(indexes))
        missing = [need.name for need in needs if not (_reaches(chain, own, need) or _is_named(chain, need))]
        if missing:
            text = f"closes egress, and nothing here opens {', '.join(missing)}"
            found[policy.ref] = (Note("LINT-EGRESS-NEEDS", "", text),)
    return found


def _is_named(chain: Chain, need: _Need) -> bool:
    """Whether an allow rule names one of the ports, whoever its peers are."""
    rules = [rule for stage in chain.stages for rule in stage.rules if rule.action is Action.ALLOW]
    traffic = [one for rule in rules for one in rule.traffic if one.ports is not None]
    return any(carries(one, packet, need.ends[0], need.ends[0]) for one in traffic for packet in need.packets)
