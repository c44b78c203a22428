"""Which kinds an API server has.

It is asked first, since for a user without rights a kind that does not exist and one that is forbidden give the same
answer (403).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from migrate.scan.connection import RequestError
from migrate.scan.kinds import Kind
from migrate.scan.reader import Reader

_AGGREGATED = ",".join(
    [
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    ]
)


@dataclass(frozen=True, slots=True)
class Discovery:
    """The kinds served, as (apiVersion, kind), and the API versions whose own server does not answer.

    `known` is False when the user may not even ask which kinds there are.
    """

    served: frozenset[tuple[str, str]] = frozenset()
    unavailable: frozenset[str] = frozenset()
    known: bool = True

    def candidates(self, kind: Kind) -> tuple[str, ...]:
        """API versions under which to ask for the kind, best first, one for each group."""
        if not self.known:
            return kind.api_versions
        groups = [_group(version) for version in kind.api_versions]
        others = sorted(v for v, name in self.served if name == kind.kind and _group(v) in groups)
        best: dict[str, str] = {}
        for version in (*kind.api_versions, *others):
            if (version, kind.kind) in self.served:
                best.setdefault(_group(version), version)
        return tuple(best.values())


class _ResponseKind(msgspec.Struct, frozen=True):
    kind: str = ""


class _DiscoveredResource(msgspec.Struct, frozen=True):
    response_kind: _ResponseKind | None = msgspec.field(default=None, name="responseKind")


class _DiscoveredVersion(msgspec.Struct, frozen=True):
    version: str
    resources: list[_DiscoveredResource] | None = None
    freshness: str = "Current"


class _Name(msgspec.Struct, frozen=True):
    name: str = ""


class _DiscoveredGroup(msgspec.Struct, frozen=True):
    """A group of aggregated discovery (Kubernetes 1.27 on). The core group has no name."""

    metadata: _Name = _Name()
    versions: list[_DiscoveredVersion] | None = None


class _Version(msgspec.Struct, frozen=True):
    group_version: str = msgspec.field(name="groupVersion")


class _Group(msgspec.Struct, frozen=True):
    """A group of plain discovery, which lists only names of versions."""

    versions: list[_Version] | None = None


class _GroupList(msgspec.Struct, frozen=True):
    """The answer of /api or /apis in its three forms."""

    kind: str
    items: list[_DiscoveredGroup] | None = None
    groups: list[_Group] | None = None
    versions: list[str] | None = None


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str


class _ResourceList(msgspec.Struct, frozen=True):
    resources: list[_Resource] | None = None


def discover(reader: Reader, wanted: tuple[Kind, ...]) -> Discovery:
    """What the server has, in two requests, or in one more for each wanted API version when it is an older one.

    Raises RequestError when the server does not answer or refuses the credentials.
    """
    try:
        lists = [reader.fetch(root, _decode_groups, _AGGREGATED) for root in ("/api", "/apis")]
    except RequestError as failure:
        if failure.status != 403:
            raise
        return Discovery(known=False)
    served: set[tuple[str, str]] = set()
    unavailable: set[str] = set()
    groups = {_group(version) for kind in wanted for version in kind.api_versions}
    for found in lists:
        for version in _plain_versions(found):
            if _group(version) in groups:
                _ask_for_resources(reader, version, served, unavailable)
        for group in found.items or ():
            _take_aggregated(group, served, unavailable)
    return Discovery(frozenset(served), frozenset(unavailable))


def _decode_groups(body: bytes) -> _GroupList:
    return msgspec.json.decode(body, type=_GroupList)


def _decode_resources(body: bytes) -> _ResourceList:
    return msgspec.json.decode(body, type=_ResourceList)


def _take_aggregated(group: _DiscoveredGroup, served: set[tuple[str, str]], unavailable: set[str]) -> None:
    for version in group.versions or ():
        name = f"{group.metadata.name}/{version.version}" if group.metadata.name else version.version
        if version.freshness == "Stale":
            unavailable.add(name)
        served |= {
            (name, resource.response_kind.kind) for resource in version.resources or () if resource.response_kind
        }


def _plain_versions(found: _GroupList) -> list[str]:
    named = (version.group_version for group in found.groups or () for version in group.versions or ())
    return [*(found.versions or ()), *named]


def _ask_for_resources(reader: Reader, version: str, served: set[tuple[str, str]], unavailable: set[str]) -> None:
    try:
        found = reader.fetch(f"/apis/{version}" if "/" in version else f"/api/{version}", _decode_resources)
    except RequestError as failure:
        if failure.status != 404:
            unavailable.add(version)
        return
    served |= {(version, resource.kind) for resource in found.resources or () if "/" not in resource.name}


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
