"""Who had which address when: the snapshot's pods and nodes, and those that came and went while the audit ran."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from migrate.audit.layout import address_of, bytes_of
from migrate.audit.reading import Owner, Veth
from migrate.model.addresses import Address
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.flow import End, EndKind
from migrate.model.ruleset import ends_of

_NAMED_BY_TEMPLATE = re.compile(r"(?P<owner>.+?)(-\d{6,})?-[a-z0-9]{5}")
_Life: TypeAlias = tuple[str, str, str]
"""Namespace, name and uid of a pod."""


@dataclass(frozen=True, slots=True)
class Who:
    """The ends that had an address in some time; several or none where that is not known, and `reason` says why."""

    ends: tuple[End, ...]
    reason: str = ""


class World:
    """A cluster with everybody who had an address while it was recorded.

    `assumptions`: pods that are not in the snapshot, and with whose labels they are judged. `node` is that of
    interfaces that say none.
    """

    def __init__(self, cluster: Cluster, owners: Iterable[Owner], veths: Iterable[Veth], node: str) -> None:
        self.snapshot = cluster
        self.node = node
        self.assumptions: dict[str, str] = {}
        self._api_server = frozenset(cluster.api_server)
        self._pods = {str(pod): pod for pod in cluster.pods}
        self._templates = {_template(pod.namespace, pod.name): pod for pod in cluster.pods if not pod.host_network}
        self._nodes = {entry.name: entry for entry in cluster.nodes}
        self._made: dict[tuple[str, str], Pod] = {}
        self._here = {(veth.namespace, veth.pod): veth.node or node for veth in veths}
        self._rows: dict[bytes, list[Owner]] = {}
        self._lives: dict[_Life, Pod | None] = {}
        self._static: dict[bytes, Who] = {}
        self._bridges = {bytes_of(address): node for node in cluster.nodes for address in _bridges(node)}
        self._by_snapshot = {bytes_of(end.address): end for end in ends_of(cluster).values()}
        self._take(owners)
        extra = [pod for pod in self._lives.values() if pod is not None and self._pods.get(str(pod)) is not pod]
        self.cluster = replace(cluster, pods=(*cluster.pods, *extra)) if extra else cluster

    def _take(self, owners: Iterable[Owner]) -> None:
        addresses: dict[_Life, list[Address]] = {}
        for owner in owners:
            self._rows.setdefault(bytes_of(owner.address), []).append(owner)
            if owner.kind == "pod":
                addresses.setdefault((owner.namespace, owner.name, owner.uid), []).append(owner.address)
        for life, found in addresses.items():
            self._lives[life] = self._living(life, tuple(dict.fromkeys(found)))

    def _living(self, life: _Life, addresses: tuple[Address, ...]) -> Pod | None:
        """The pod of one life; it takes the labels of its snapshot, or else those of a pod of the same template."""
        pod = self.pod(life[0], life[1])
        if pod is None or pod.host_network or set(addresses) <= set(pod.addresses):
            return pod
        return replace(pod, addresses=addresses)

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, or what it must have looked like; None where nothing tells."""
        known = self._pods.get(f"{namespace}/{name}")
        if known is not None:
            return known
        if (namespace, name) in self._made:
            return self._made[namespace, name]
        alike = self._templates.get(_template(namespace, name))
        if alike is None:
            return None
        self.assumptions.setdefault(
            f"{namespace}/{name}", f"judged with the labels of {alike.name}, as of one template"
        )
        node = self._here.get((namespace, name))
        made = self._made[namespace, name] = replace(alike, name=name, addresses=(), node=node)
        return made

    def who(self, data: bytes, first: int, last: int) -> Who:
        """Who had an address between two moments, in nanoseconds since 1970."""
        known = self._static.get(data)
        if known is not None:
            return known
        rows = [row for row in self._rows.get(data, ()) if row.kind != "service"]
        if len(rows) == 1 and not rows[0].since and rows[0].until is None:
            found = self._static[data] = self._of(rows, "")
            return found
        if not rows:
            found = self._static[data] = self._unlisted(data)
            return found
        return self._timed(rows, first, last)

    @property
    def known(self) -> frozenset[bytes]:
        """The addresses that somebody of the cluster ever had."""
        return frozenset((*self._rows, *self._by_snapshot, *self._bridges))

    def is_static(self, data: bytes) -> bool:
        """Whether the last answer about an address holds for all times."""
        return data in self._static

    def _timed(self, rows: list[Owner], first: int, last: int) -> Who:
        then = [row for row in rows if row.since <= last and (row.until is None or row.until >= first)]
        if then:
            names = " and ".join(dict.fromkeys(_name(row) for row in then))
            return self._of(then, f"the address belonged to {names} within the time of the record")
        nearest = min(rows, key=lambda row: min(abs(row.since - last), abs((row.until or row.since) - first)))
        return self._of([nearest], "")

    def _of(self, rows: list[Owner], several: str) -> Who:
        ends = list(dict.fromkeys(end for row in rows if (end := self._end(row)) is not None))
        missing = [_name(row) for row in rows if self._end(row) is None]
        if missing:
            return Who((), f"{' and '.join(missing)}: not in the snapshot, so its labels are not known")
        return Who(tuple(ends), several if len(ends) > 1 else "")

    def _end(self, row: Owner) -> End | None:
        api_server = row.address in self._api_server
        if row.kind == "node":
            node = self._nodes.get(row.name) or Node(row.name, addresses=(row.address,))
            return End(EndKind.NODE, row.address, node=node, api_server=api_server)
        pod = self._lives.get((row.namespace, row.name, row.uid))
        if pod is None:
            return None
        if pod.host_network:
            return self._by_snapshot.get(bytes_of(row.address))
        return End(EndKind.POD, row.address, pod=pod, api_server=api_server)

    def _unlisted(self, data: bytes) -> Who:
        """By the snapshot alone. The first address of a node's pods is the node's own on their bridge."""
        known, address = self._by_snapshot.get(data), address_of(data)
        if known is not None:
            return Who((known,))
        bridge = self._bridges.get(data)
        if bridge is not None:
            return Who((End(EndKind.NODE, address, node=bridge),))
        if address in self.snapshot.pod_networks:
            return Who((), f"{address} is in the cluster's pod networks, but no pod is known to have had it")
        return Who((End(EndKind.OUTSIDE, address, api_server=address in self._api_server),))


def _bridges(node: Node) -> Iterator[Address]:
    return (network.network_address + 1 for network in node.pod_networks.networks())


def _template(namespace: str, name: str) -> tuple[str, str]:
    """Pods of one ReplicaSet, DaemonSet or CronJob share the name before their own suffix."""
    found = _NAMED_BY_TEMPLATE.fullmatch(name)
    return namespace, found["owner"] if found else f"={name}"


def _name(row: Owner) -> str:
    return f"node {row.name}" if row.kind == "node" else f"{row.namespace}/{row.name}"
