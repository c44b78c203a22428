"""What Calico does to all pods beside any policy, as a Cilium policy.

Fact: Calico drops VXLAN packets (UDP 4789) that pods send, before policy (felix allowVXLANPacketsFromWorkloads, false
by default; measured with Calico's engine).
"""

from __future__ import annotations

from migrate import yaml_out
from migrate.model.finding import Effect, Finding
from migrate.sources.felix import FelixSettings
from migrate.translate.render import NAMESPACE_KEY, JsonMap, marks

NAME = "calico-no-vxlan-from-pods"
ORIGIN = "Calico's own rule for all pods"


def vxlan_guard(name: str, port: int) -> JsonMap:
    """A CCNP that denies VXLAN (UDP) from every pod and isolates nobody."""
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": name, **marks(ORIGIN)},
        "spec": {
            "endpointSelector": {"matchExpressions": [{"key": NAMESPACE_KEY, "operator": "Exists"}]},
            "enableDefaultDeny": {"ingress": False, "egress": False},
            "egressDeny": [{"toPorts": [{"ports": [{"port": str(port), "protocol": "UDP"}]}]}],
        },
    }


def text(data: JsonMap) -> str:
    """The object with a comment that says where it comes from."""
    return f"# Calico drops VXLAN that pods send, whatever policy says; this keeps it so.\n{yaml_out.dump(data)}"


def finding(path: str, port: int) -> Finding:
    """What is told about it."""
    return Finding(id="POL-VXLAN", detail=f"Calico drops UDP {port} (VXLAN) from pods; {path} keeps it so")


def host_action_findings(felix: FelixSettings) -> list[Finding]:
    """A pod's connections to its own node, which Calico may drop after the pod's policy has let them through."""
    if felix.endpoint_to_host != "Drop":
        return []
    return [
        Finding(
            id="POL-ENDPOINT-TO-HOST",
            detail="defaultEndpointToHostAction is Drop: Calico drops connections from pods to their own node that no "
            "policy denies; Cilium lets them through",
            effect=Effect.WIDENS,
            subject=felix.ref,
            field="spec.defaultEndpointToHostAction",
        )
    ]
