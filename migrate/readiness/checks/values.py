"""What stands in the way of carrying a data plane over to a Cilium that the cluster's owner installs.

On AKS Azure sets Cilium's values, and none of this applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache, partial

from migrate.model.finding import Finding
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check
from migrate.readiness.helm.values import helm_values, is_managed

_NODES = ("Node",)
_POOLS = ("IPPool", "FelixConfiguration", "Installation")
_PEERS = ("BGPPeer", "BGPConfiguration")
_ADDRESSES = ("Node", "Pod", "Service", "IPPool")


@lru_cache(maxsize=1)
def _said(documents: Documents) -> tuple[Finding, ...]:
    """The findings of all ids at once: each costs a look at the whole cluster."""
    return helm_values(documents).findings


def _found(rule_id: str, documents: Documents, today: date) -> Iterable[Finding]:
    return (finding for finding in _said(documents) if finding.id == rule_id)


def _is_own(documents: Documents) -> bool:
    return not is_managed(documents)


def _check(rule_id: str, kinds: tuple[str, ...]) -> Check:
    find: Callable[[Documents, date], Iterable[Finding]] = partial(_found, rule_id)
    return Check(rule_id, find, kinds=kinds, concerns=_is_own)


CHECKS = (
    _check("VAL-API-SERVER", _NODES),
    _check("VAL-BGP-FILTER", _PEERS),
    _check("VAL-BGP-IMPORT", _PEERS),
    _check("VAL-BGP-MESH", (*_PEERS, "IPPool")),
    _check("VAL-BGP-NODES", (*_PEERS, "Node")),
    _check("VAL-BGP-PASSWORD", _PEERS),
    _check("VAL-BGP-REFLECTOR", _PEERS),
    _check("VAL-BGP-SERVICES", _PEERS),
    _check("VAL-BGP-SESSION", _PEERS),
    _check("VAL-CALICO-EBPF", _POOLS),
    _check("VAL-CHAINED-PLUGINS", ("DaemonSet",)),
    _check("VAL-DUAL-OVERLAY", _NODES),
    _check("VAL-ENCAPSULATION", ("IPPool",)),
    _check("VAL-HOST-FIREWALL", ("HostEndpoint", "KubeControllersConfiguration")),
    _check("VAL-HOST-PORTS", ("Pod",)),
    _check("VAL-MASQUERADE-EXCEPTIONS", ("IPPool",)),
    _check("VAL-MASQUERADE-MIXED", ("IPPool",)),
    _check("VAL-MTU", _POOLS),
    _check("VAL-NO-COUNTERPART", (*_POOLS, *_PEERS)),
    _check("VAL-POD-CIDR", _ADDRESSES),
    _check("VAL-POOLS", ("IPPool",)),
    _check("VAL-SETTING-UNKNOWN", (*_POOLS, *_PEERS)),
    _check("VAL-WIREGUARD", ("FelixConfiguration",)),
)
"""VAL-MANAGED and what is wrong with a network that the user gives are said by `migrate values` alone."""
