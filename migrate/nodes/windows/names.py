"""The names of NPM's sets, and the ids under which HNS knows them.

Facts: npm/util and npm/pkg/controlplane/translation of Azure/azure-container-networking, and names that the program
printed. Releases differ in the hash of ids and in how the name of a policy's own sets is put together, so that one set
has several names here: the first is the one that this program uses.
"""

from __future__ import annotations

from migrate.nodes.npm.names import Scheme, set_name

EMPTY = "empty-emptyhashset"
"""A set without members, in every list of namespaces: HNS takes no empty list."""
ALL_NAMESPACES = "nslabel-all-namespaces"


def ids_of(name: str) -> tuple[str, str]:
    """The ids of a set: as newer releases make them of its name, and as older ones do."""
    return set_name(name, Scheme.SHA256), set_name(name, Scheme.FNV32)


def namespace_set(namespace: str) -> str:
    """The pods of a namespace."""
    return f"ns-{namespace}"


def pod_label(key: str, value: str | None = None) -> str:
    """The pods with a label, or with one of its values."""
    return f"podlabel-{_pair(key, value)}"


def namespace_label(key: str, value: str | None = None) -> str:
    """The namespaces with a label, or with one of its values."""
    return f"nslabel-{_pair(key, value)}"


def _pair(key: str, value: str | None) -> str:
    return key if value is None else f"{key}:{value}"


def any_of(namespace: str, policy: str, key: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """A policy's own list of the sets of several values of a pod's label, in the order that the policy gives them."""
    owner, listed = f"{namespace}/{policy}", ":".join(values)
    return (
        f"nestedlabel-{owner}:{key}:{listed}",
        f"nestedlabel-{owner}-{key}:{listed}",
        f"nestedlabel-{len(owner)}-{owner}-{len(key)}-{key}:{listed}",
    )


def block(namespace: str, policy: str, rule: int, peer: int, inbound: bool) -> tuple[str, ...]:
    """The set of an ipBlock, by the places of its rule and peer in the policy, from 0."""
    place = f"{namespace}-{rule}-{peer}{'IN' if inbound else 'OUT'}"
    return f"cidr-{policy}:in-ns:{place}", f"cidr-{policy}-in-ns-{place}"
