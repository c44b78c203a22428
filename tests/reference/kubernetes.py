"""NetworkPolicy by the text of the Kubernetes API: pod by pod, rule by rule."""

from __future__ import annotations

from tests.reference.cases import FREE, Answer, Case, Directory, Flow, Party, own_node, same_pod
from tests.reference.network_policy import Direction, LabelSelector, NetworkPolicy, Peer, decide, read_policies


def evaluate(case: Case, *, block_covers_cluster: bool) -> list[Answer]:
    """What each flow of the case meets.

    The API leaves open whether an ipBlock covers addresses of pods and nodes: `block_covers_cluster` decides.
    It says nothing of protocols without ports: here a rule with ports keeps ICMP out and one without lets it in.
    """
    directory = Directory(case)
    policies = read_policies(case.policies)

    def is_peer(peer: Peer, namespace: str, other: Party) -> bool:
        if peer.ip_block is not None:
            inside = other.pod is not None or other.node != ""
            return (block_covers_cluster or not inside) and peer.ip_block.holds(other.address)
        if other.pod is None:
            return False
        if peer.namespace_selector is None:
            in_namespace = other.pod.namespace == namespace
        else:
            in_namespace = peer.namespace_selector.holds(directory.namespace_labels[other.pod.namespace])
        return in_namespace and (peer.pod_selector or LabelSelector()).holds(other.pod.labels)

    def answer(flow: Flow) -> Answer:
        source, destination = directory.parties(flow)
        if same_pod(source, destination) or own_node(source, destination):
            return FREE
        return decide(policies, (source, destination, flow.protocol, flow.port), _isolates, is_peer)

    return [answer(flow) for flow in case.flows]


def _isolates(policy: NetworkPolicy, direction: Direction, subject: Party) -> bool:
    return (
        subject.pod is not None
        and subject.pod.namespace == policy.metadata.namespace
        and direction in policy.spec.directions()
        and policy.spec.pod_selector.holds(subject.pod.labels)
    )
