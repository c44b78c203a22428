"""Which fields each dialect has, which of them are not asked here, and which cannot decide anything for a pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

import yaml

Field: TypeAlias = tuple[str, str]
"""A kind and the path of a field: ("Tier", "spec.order")."""

KUBERNETES = "Kubernetes NetworkPolicy"
"""What NetworkPolicies of networking.k8s.io are called here, since Calico has a kind of that name too."""

_CRDS = Path(__file__).parents[2] / "rules" / "crds"
_SCHEMAS = {
    "calico": {
        "NetworkPolicy": "calico/projectcalico.org/networkpolicies.yaml",
        "GlobalNetworkPolicy": "calico/projectcalico.org/globalnetworkpolicies.yaml",
        "Tier": "calico/projectcalico.org/tiers.yaml",
        "NetworkSet": "calico/projectcalico.org/networksets.yaml",
        "GlobalNetworkSet": "calico/projectcalico.org/globalnetworksets.yaml",
        "HostEndpoint": "calico/projectcalico.org/hostendpoints.yaml",
    },
    "cilium": {
        "CiliumNetworkPolicy": "cilium/{release}/ciliumnetworkpolicies.yaml",
        "CiliumClusterwideNetworkPolicy": "cilium/{release}/ciliumclusterwidenetworkpolicies.yaml",
        "CiliumCIDRGroup": "cilium/{release}/ciliumcidrgroups.yaml",
    },
    "cilium-1.20": {"ClusterNetworkPolicy": "network-policy-api/clusternetworkpolicies.experimental.yaml"},
}
_SELECTOR = ("matchLabels", "matchExpressions[].key", "matchExpressions[].operator", "matchExpressions[].values[]")
_PEER = (
    *(f"{kind}.{part}" for kind in ("podSelector", "namespaceSelector") for part in _SELECTOR),
    *("ipBlock.cidr", "ipBlock.except[]"),
)
_RULE = {"from[]": _PEER, "to[]": _PEER, "ports[]": ("protocol", "port", "endPort")}
_KUBERNETES_FIELDS = (
    *(f"spec.podSelector.{part}" for part in _SELECTOR),
    "spec.policyTypes[]",
    *(
        f"spec.{direction}[].{part}.{leaf}"
        for direction, peers in (("ingress", "from[]"), ("egress", "to[]"))
        for part in (peers, "ports[]")
        for leaf in _RULE[part]
    ),
)
NOT_ASKED: dict[str, dict[str, str]] = {
    "calico": {
        "egress[].http": "refused by Calico's validation",
        "egress[].source.services": "refused by Calico's validation",
        "ingress[].destination.services": "refused by Calico's validation",
        "HostEndpoint spec.ports": "named ports of hosts are not modelled: unknown",
    },
    "cilium": {"Groups": "security groups of a cloud: unknown"},
    "cilium-1.20": {"Requires": "refused since 1.19"},
}
"""Parts of fields, or of kind and field, that no generated policy has, with the reason."""
NEVER_DECIDES: dict[str, dict[str, str]] = {
    "cilium": {
        "spec.nodeSelector": "for hosts only",
        "ingress[].toPorts[].listener": "refused by the agent",
        "ingress[].toPorts[].rules.dns": "refused by the agent",
    },
}
"""Fields with which a policy holds for no pod, or is not taken."""


def family(dialect: str) -> str:
    """The dialect without its release: cilium-1.20 is cilium."""
    return dialect.partition("-")[0]


@cache
def every_field(dialect: str) -> list[Field]:
    """Every field of the kinds that a dialect has."""
    found = [(KUBERNETES, path) for path in _KUBERNETES_FIELDS]
    for kind, place in {**_SCHEMAS.get(family(dialect), {}), **_SCHEMAS.get(dialect, {})}.items():
        document = yaml.safe_load((_CRDS / place.format(release=dialect.partition("-")[2])).read_text())
        schema = document["spec"]["versions"][-1]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        found += [(kind, path) for path in _leaves(schema, "spec")]
    return sorted(found)


def fields_of(dialect: str) -> list[Field]:
    """Every field that the dialect's generator has to use."""
    return [found for found in every_field(dialect) if not reason(NOT_ASKED, dialect, found)]


def reason(table: Mapping[str, Mapping[str, str]], dialect: str, field: Field) -> str:
    """Why a field is in a table; empty when it is not."""
    text = " ".join(field)
    parts = {**table.get(family(dialect), {}), **table.get(dialect, {})}
    return next((why for part, why in parts.items() if part in text), "")


def _leaves(schema: Mapping[str, object], path: str) -> Iterator[str]:
    """Paths of a schema's leaves, lists as []; a map is a leaf."""
    properties, items = schema.get("properties"), schema.get("items")
    if isinstance(properties, dict):
        for key, child in properties.items():
            yield from _leaves(child, f"{path}.{key}")
    elif isinstance(items, dict):
        yield from _leaves(items, f"{path}[]")
    else:
        yield path
