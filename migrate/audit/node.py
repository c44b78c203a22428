"""Which node of a snapshot this machine is, and which cluster a snapshot is of."""

from __future__ import annotations

import difflib
import hashlib
import socket

from migrate.errors import InputError
from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, Node

IDENTIFYING = (("default", "kubernetes"), ("kube-system", "kube-dns"))
"""Services that keep their addresses for as long as a cluster lives."""


def node_here(cluster: Cluster, wanted: str | None = None) -> Node:
    """The node that this machine is: by `wanted`, else by its addresses, else by its host name.

    Raises InputError where the snapshot does not have it: then it is of another cluster, or older than the node.
    """
    if wanted is not None:
        return _named(cluster, wanted)
    found = [node for node in cluster.nodes if any(_is_ours(address) for address in node.addresses)]
    name = socket.gethostname()
    found = [node for node in found if node.name == name] or found
    found = found or [node for node in cluster.nodes if node.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(node.name for node in found)
        raise InputError(f"this machine has addresses of several nodes of the snapshot ({names}); name it with --node")
    raise InputError(
        f"this machine ({name}) is none of the {len(cluster.nodes)} nodes of the snapshot, by name or address; "
        "the snapshot is of another cluster or older than the node: make a new one with migrate scan, or give --node"
    )


def is_a_node(cluster: Cluster) -> bool:
    """Whether this machine is a node of the snapshot, or may be one."""
    name = socket.gethostname()
    return any(node.name == name or any(_is_ours(address) for address in node.addresses) for node in cluster.nodes)


def _named(cluster: Cluster, wanted: str) -> Node:
    names = [node.name for node in cluster.nodes]
    if wanted in names:
        return cluster.nodes[names.index(wanted)]
    near = difflib.get_close_matches(wanted, names, n=3)
    hint = f"; there is {' or '.join(near)}" if near else ""
    raise InputError(f"--node {wanted}: not in the snapshot{hint}; take one of its nodes, or make a new snapshot")


def _is_ours(address: Address) -> bool:
    """Whether an address is one of this machine's: nothing else can be bound."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def cluster_digest(cluster: Cluster) -> str:
    """The same for every snapshot of one cluster, and seldom the same for two; empty where nothing tells."""
    known = {(service.namespace, service.name): service.addresses for service in cluster.services}
    texts = [f"{'/'.join(name)}={','.join(map(str, known[name]))}" for name in IDENTIFYING if name in known]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12] if texts else ""
