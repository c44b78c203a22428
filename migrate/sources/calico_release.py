"""Which release of Calico runs, as it says itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from migrate.model.raw import Json, RawObject
from migrate.sources.calico import GROUPS

Release: TypeAlias = tuple[int, int]
"""Major and minor."""

LAST_LEGACY: Release = (3, 28)
"""The newest release that is known to sort policies of equal order in the old way."""
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\..*)?")


def read_release(objects: Iterable[RawObject]) -> Release | None:
    """The release in ClusterInformation or in the operator's Installation; None when neither tells."""
    for raw in objects:
        if raw.ref.kind == "ClusterInformation" and raw.ref.group in GROUPS:
            found = _release(raw.data.get("spec"))
        elif raw.ref.kind == "Installation" and raw.ref.group == "operator.tigera.io":
            found = _release(raw.data.get("status"))
        else:
            continue
        if found is not None:
            return found
    return None


def _release(part: Json) -> Release | None:
    version = part.get("calicoVersion") if isinstance(part, dict) else None
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    return (int(found[1]), int(found[2])) if found else None
