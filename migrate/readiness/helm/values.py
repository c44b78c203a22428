"""Today's data plane as values for Cilium's Helm chart, each with the object and field that it comes from.

The values put Cilium beside the old network, node by node. What Cilium has nothing for is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from migrate import __version__
from migrate.model.addresses import Network
from migrate.model.finding import Finding
from migrate.readiness.documents import Documents
from migrate.readiness.helm.addresses import said_of_addresses
from migrate.readiness.helm.bgp import said_of_bgp
from migrate.readiness.helm.data import chart
from migrate.readiness.helm.nodes import (
    said_of_host_ports,
    said_of_hosts,
    said_of_meshes,
    said_of_plugins,
    said_of_services,
    said_of_staging,
    said_of_the_rest,
)
from migrate.readiness.helm.routing import (
    said_of_encryption,
    said_of_masquerading,
    said_of_mtu,
    said_of_tunnels,
)
from migrate.readiness.helm.said import Manifest, Said, Stage, Value, about
from migrate.readiness.helm.source import DataPlane

ValueTree: TypeAlias = "dict[str, bool | int | str | list[str] | ValueTree]"


class HelmValues(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Values for Cilium's chart: `migration` while nodes move, `final` what changes when all have moved.

    `node_config` is applied beside the chart at once, `bgp` with the final values. `versions` are the releases of the
    chart that have all the values.
    """

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["HelmValues"] = "HelmValues"
    tool_version: str
    complete: bool
    versions: tuple[str, ...]
    migration: tuple[Value, ...]
    final: tuple[Value, ...]
    node_config: tuple[Manifest, ...]
    bgp: tuple[Manifest, ...]
    findings: tuple[Finding, ...]

    def of(self, stage: Stage) -> tuple[Value, ...]:
        """The values that hold in a stage, by key."""
        chosen = {value.key: value for value in self.migration}
        if stage is Stage.FINAL:
            chosen |= {value.key: value for value in self.final}
        return tuple(chosen[key] for key in sorted(chosen))


def helm_values(documents: Documents, networks: Iterable[Network] = ()) -> HelmValues:
    """The values that carry today's data plane over; `networks` are the pods' new ones, chosen when none is given."""
    said = list(_said(DataPlane(documents), tuple(networks)))
    values = [one for one in said if isinstance(one, Value)]
    objects = [one for one in said if isinstance(one, dict)]
    return HelmValues(
        tool_version=__version__,
        complete=documents.header is not None and documents.header.complete,
        versions=chart().versions,
        migration=_by_key(value for value in values if value.stage is Stage.MIGRATION),
        final=_by_key(value for value in values if value.stage is Stage.FINAL),
        node_config=tuple(one for one in objects if one["kind"] == "CiliumNodeConfig"),
        bgp=tuple(one for one in objects if one["kind"] != "CiliumNodeConfig"),
        findings=tuple(sorted((one for one in said if isinstance(one, Finding)), key=Finding.sort_key)),
    )


def tree(values: Iterable[Value]) -> ValueTree:
    """Values as the chart nests them."""
    root: ValueTree = {}
    for value in values:
        *path, last = value.key.split(".")
        place = root
        for step in path:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{value.key}: {step} is a value already")
            place = inner
        place[last] = list(value.value) if isinstance(value.value, tuple) else value.value
    return root


def is_managed(documents: Documents) -> bool:
    """Whether somebody else than the cluster's owner sets Cilium's values: on AKS, Azure does."""
    target = documents.translation.target if documents.translation is not None else ""
    on_azure = documents.azure is not None or any(fact.value == "aks" for fact in documents.facts("cloud"))
    return target.startswith("aks-") or (on_azure and not target)


def _said(plane: DataPlane, networks: tuple[Network, ...]) -> Iterator[Said]:
    if is_managed(plane.documents):
        yield about("VAL-MANAGED", "the cluster is AKS, where Azure installs Cilium and sets its values")
    yield from said_of_staging(plane)
    yield from said_of_addresses(plane, networks)
    for said in (
        said_of_tunnels,
        said_of_mtu,
        said_of_encryption,
        said_of_masquerading,
        said_of_services,
        said_of_host_ports,
        said_of_hosts,
        said_of_plugins,
        said_of_meshes,
        said_of_bgp,
        said_of_the_rest,
    ):
        yield from said(plane)


def _by_key(values: Iterable[Value]) -> tuple[Value, ...]:
    found: Mapping[str, Value] = {value.key: value for value in values}
    return tuple(found[key] for key in sorted(found))
