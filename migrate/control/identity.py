"""Whether a cluster is the one that a snapshot was taken of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from migrate.control.objects import ObjectConnection, decoded
from migrate.errors import InputError
from migrate.model.addresses import Address
from migrate.scan.connection import RequestError


class _Spec(msgspec.Struct, frozen=True):
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")


class _Service(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()


class _Services(msgspec.Struct, frozen=True):
    items: tuple[_Service, ...] = ()


def check_identity(
    connection: ObjectConnection, snapshot: Path, known: Mapping[tuple[str, str], Sequence[Address]]
) -> None:
    """Raises InputError where none of the Services that the snapshot knows has its address in the cluster.

    A cluster that does not tell of them is believed. `known` are Services, by namespace and name, that keep theirs.
    """
    for (namespace, name), addresses in known.items():
        path = f"/api/v1/namespaces/{namespace}/services?fieldSelector=metadata.name%3D{name}"
        try:
            found = decoded(connection.get(path), _Services, path).items
        except RequestError:
            continue
        now = {address for service in found for address in service.spec.cluster_ips}
        if now and now.isdisjoint(map(str, addresses)):
            raise InputError(
                f"{snapshot}: a snapshot of another cluster than {connection.name}, where {namespace}/{name} has "
                f"the address {', '.join(sorted(now))}; choose another --context, or take a snapshot with migrate scan"
            )
