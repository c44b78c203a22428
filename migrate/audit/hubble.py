"""Flows in the JSON that `hubble observe --output jsonpb` prints and `hubble observe --input-file` reads.

One line for each record, not for each connection. What the old engine lets through and Cilium would drop has the
verdict AUDIT, as in Cilium's own policy audit mode. Field names: Hubble's flow.proto and observer.proto (1.20).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from migrate.audit.exported import ExportedEnd, ExportedFlow
from migrate.model.raw import Json

_POLICY_VERDICT = 5
"""Cilium's number for events of the type policy-verdict."""

_RESERVED = {
    "node": (("reserved:host", 1), ("reserved:remote-node", 6)),
    "api_server": (("reserved:kube-apiserver", 7), ("reserved:kube-apiserver", 7)),
    "outside": (("reserved:world", 2), ("reserved:world", 2)),
    "cloud": (("reserved:world", 2), ("reserved:world", 2)),
}
"""Label and identity of what is no pod: on the node of the record, and elsewhere."""
_VERDICTS = {
    "would_drop": "AUDIT",
    "denied_today": "DROPPED",
    "would_allow": "FORWARDED",
    "unknown": "VERDICT_UNKNOWN",
    "not_judged": "TRACED",
}


def hubble_lines(flows: Iterable[ExportedFlow]) -> Iterator[bytes]:
    """One GetFlowsResponse a line, with its line end."""
    encoder = msgspec.json.Encoder()
    return (encoder.encode(_response(flow)) + b"\n" for flow in flows)


def _response(flow: ExportedFlow) -> Json:
    return {"flow": _flow(flow), "node_name": flow.node, "time": flow.first}


def _flow(flow: ExportedFlow) -> Json:
    verdict = _VERDICTS[flow.verdict]
    found: dict[str, Json] = {
        "time": flow.first,
        "verdict": verdict,
        "IP": {
            "source": flow.source.address,
            "destination": flow.destination.address,
            "ipVersion": "IPv6" if ":" in flow.source.address else "IPv4",
        },
        "source": _end(flow.source, flow.node),
        "destination": _end(flow.destination, flow.node),
        "Type": "L3_L4",
        "node_name": flow.node,
        "event_type": {"type": _POLICY_VERDICT},
        "traffic_direction": flow.direction.upper(),
        "is_reply": False,
        "Summary": _summary(flow),
    }
    transport = _transport(flow)
    if transport:
        found["l4"] = transport
    if verdict in ("AUDIT", "DROPPED"):
        found["drop_reason_desc"] = "POLICY_DENY" if flow.rule else "POLICY_DENIED"
    if flow.verdict == "would_drop" and flow.rule and flow.side:
        found[f"{flow.side}_denied_by"] = [_policy(flow.decided_by)]
    if flow.service:
        namespace, _, name = flow.service.partition("/")
        found["destination_service"] = {"name": name, "namespace": namespace}
    return found


def _transport(flow: ExportedFlow) -> dict[str, Json]:
    if flow.icmp_type is not None:
        name = "ICMPv6" if flow.protocol == "ICMPv6" else "ICMPv4"
        return {name: {"type": flow.icmp_type, "code": flow.icmp_code or 0}}
    ports: dict[str, Json] = {"source_port": flow.source_port, "destination_port": flow.port}
    if flow.protocol == "TCP":
        return {"TCP": ports | {"flags": {"SYN": True} if flow.kind == "new" else {"ACK": True}}}
    return {flow.protocol: ports} if flow.protocol in ("UDP", "SCTP") else {}


def _summary(flow: ExportedFlow) -> str:
    if flow.protocol == "TCP":
        return f"TCP Flags: {'SYN' if flow.kind == 'new' else 'ACK'}"
    return flow.protocol


def _end(end: ExportedEnd, node: str) -> Json:
    if end.kind == "pod":
        return _pod(end)
    reserved = _RESERVED.get(end.kind)
    if reserved is None:
        return {}
    label, identity = reserved[0 if end.node == node else 1]
    return {"identity": identity, "labels": [label]}


def _pod(end: ExportedEnd) -> Json:
    labels: list[Json] = [f"k8s:{label}" for label in end.labels]
    labels.append(f"k8s:io.kubernetes.pod.namespace={end.namespace}")
    found: dict[str, Json] = {"namespace": end.namespace, "labels": labels, "pod_name": end.name}
    kind, _, name = end.workload.partition("/")
    if name:
        found["workloads"] = [{"name": name, "kind": kind}]
    return found


def _policy(reference: str) -> Json:
    """An object as documents print it, "CiliumNetworkPolicy shop/web"."""
    kind, _, place = reference.partition(" ")
    namespace, slash, name = place.rpartition("/")
    return {"name": name, "namespace": namespace if slash else "", "kind": kind}
