"""FelixConfiguration: the settings of Calico's agent that change verdicts.

Defaults after felix/config/config_params.go; the host action is that of Calico's manifests and operator, which set
Accept where Felix itself would take Drop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.sources.calico import GROUPS
from migrate.sources.fields import Reading


@dataclass(frozen=True, slots=True)
class FelixSettings:
    """`endpoint_to_host` is Accept, Drop or Return; `ref` is None when no object was given."""

    ref: ObjectRef | None = None
    endpoint_to_host: str = "Accept"
    drops_vxlan: bool = True
    vxlan_port: int = 4789


def read_felix(objects: Iterable[RawObject]) -> FelixSettings:
    """The settings of FelixConfiguration "default"; the defaults when it is not among the objects."""
    for raw in objects:
        if raw.ref.kind == "FelixConfiguration" and raw.ref.group in GROUPS and raw.ref.name == "default":
            spec = Reading(raw).root().child("spec")
            if spec is not None:
                return FelixSettings(
                    ref=raw.ref,
                    endpoint_to_host=spec.text("defaultEndpointToHostAction", "Accept").capitalize(),
                    drops_vxlan=not spec.flag("allowVXLANPacketsFromWorkloads"),
                    vxlan_port=spec.integer("vxlanPort") or 4789,
                )
    return FelixSettings()
