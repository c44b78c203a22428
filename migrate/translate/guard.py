"""What Calico does to all pods beside any policy, as a Cilium policy.

Fact: Calico drops VXLAN packets (UDP 4789) that pods send, before policy (felix allowVXLANPacketsFromWorkloads, false
by default; measured with Calico's engine).
"""

from __future__ import annotations

from migrate import yaml_out
from migrate.model.finding import Finding
from migrate.translate.render import NAMESPACE_KEY, JsonMap, marks

NAME = "calico-no-vxlan-from-pods"


def vxlan_guard(name: str) -> JsonMap:
    """A CCNP that denies UDP 4789 from every pod and isolates nobody."""
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": name, **marks("Calico's own rule for all pods")},
        "spec": {
            "endpointSelector": {"matchExpressions": [{"key": NAMESPACE_KEY, "operator": "Exists"}]},
            "enableDefaultDeny": {"ingress": False, "egress": False},
            "egressDeny": [{"toPorts": [{"ports": [{"port": "4789", "protocol": "UDP"}]}]}],
        },
    }


def text(data: JsonMap) -> str:
    """The object with a comment that says where it comes from."""
    return f"# Calico drops VXLAN that pods send, whatever policy says; this keeps it so.\n{yaml_out.dump(data)}"


def finding(path: str) -> Finding:
    """What is told about it."""
    return Finding(id="POL-VXLAN", detail=f"Calico drops UDP 4789 (VXLAN) from pods; {path} keeps it so")
