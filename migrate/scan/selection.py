"""Which objects of files a scan keeps, and how much of them: the same that it would read of a cluster.

Policies of kinds that this program does not know are kept too: each must get a result, if only "unsupported".
"""

from __future__ import annotations

from functools import cache

from migrate.model.raw import Json
from migrate.scan.kinds import CONFIG_MAP, KINDS, SETTINGS, SETTINGS_NAMESPACE, Kind
from migrate.scan.prune import Cutter

_POLICY_GROUPS = frozenset({"projectcalico.org", "crd.projectcalico.org", "cilium.io", "policy.networking.k8s.io"})
_BY_GROUP = {(version.rpartition("/")[0], kind.kind): kind for kind in KINDS for version in kind.api_versions}


def is_policy(api_version: str, kind: str) -> bool:
    """Whether the object's text may be policy: then findings name its lines."""
    return api_version.rpartition("/")[0] in _POLICY_GROUPS or kind.endswith("NetworkPolicy")


def known(api_version: str, kind: str) -> Kind | None:
    """The kind as a scan reads it of a cluster, whatever its version; None for others."""
    return _BY_GROUP.get((api_version.rpartition("/")[0], kind))


def is_setting(api_version: str, kind: str, namespace: str | None, name: str) -> bool:
    """Whether this is one of the ConfigMaps that say how the data plane is set up."""
    return (api_version, kind, namespace) == ("v1", CONFIG_MAP.kind, SETTINGS_NAMESPACE) and name in SETTINGS


def is_namespaced(api_version: str, kind: str) -> bool | None:
    """Whether objects of the kind belong to a namespace; None when that is not known."""
    found = known(api_version, kind)
    if found is not None:
        return found.namespaced
    return True if (api_version, kind) == ("v1", CONFIG_MAP.kind) or kind == "NetworkPolicy" else None


def cut(data: dict[str, Json], api_version: str, kind: str) -> tuple[dict[str, Json], list[str]]:
    """The fields of an object that later stages use, and what of it had another type than it should."""
    metadata = data["metadata"]
    assert isinstance(metadata, dict)
    namespace, name = metadata.get("namespace"), metadata["name"]
    place = f"{namespace}/{name}" if namespace else str(name)
    kept, odd = _cutter(api_version, kind).cut(data, place)
    return {"apiVersion": api_version, "kind": kind, **kept}, odd


@cache
def _cutter(api_version: str, kind: str) -> Cutter:
    found = CONFIG_MAP if kind == CONFIG_MAP.kind else known(api_version, kind)
    return Cutter(api_version, kind, None) if found is None else Cutter(api_version, kind, found.shape, found.detailed)
