"""NPM's own settings, as its ConfigMap has them."""

from __future__ import annotations

import msgspec

from migrate.nodes.cluster_view import ClusterView
from migrate.scan.inventory.look import text

_CONFIG_MAP, _KEY = "azure-npm-config", "azure-npm.json"


class Toggles(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The switches that change what is on a node. `on_need`: only sets that rules use are made; None is not known.

    Source: npm/config/config.go of Azure/azure-container-networking.
    """

    place_azure_chain_first: bool = False
    lite: bool = msgspec.field(default=False, name="EnableNPMLite")
    on_need: bool | None = msgspec.field(default=None, name="ApplyIPSetsOnNeed")


class _Settings(msgspec.Struct, frozen=True):
    toggles: Toggles = msgspec.field(default_factory=Toggles, name="Toggles")


def read_toggles(view: ClusterView) -> Toggles:
    """The switches of the cluster; NPM's own defaults where its settings were not read or are none."""
    for raw in view.by_kind.get("ConfigMap", ()):
        if raw.ref.name == _CONFIG_MAP and raw.ref.namespace == "kube-system":
            try:
                return msgspec.json.decode(text(raw, "data", _KEY), type=_Settings).toggles
            except msgspec.DecodeError:
                return Toggles()
    return Toggles()
