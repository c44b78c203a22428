"""Names and files of what is written: stable, legal, without collisions, never outside the output folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count

from migrate.model.refs import ObjectRef
from migrate.translate.objects import ADMIN_POLICY, CCNP, CIDR_GROUP, CNP

MAX_NAME = 253
_MAX_STEM = 240
_LEGAL = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
CLUSTER_FOLDER = "_cluster"
KUSTOMIZATION = "kustomization"


TEXT_FOLDER, COMPAT_FOLDER, STAGED_FOLDER = "cilium", "compat", "staged"
"""What the policies say; apart from it what keeps more of today's enforcement, and what is never to be applied."""
SUGGESTED_FOLDER = "suggested"
"""What could replace objects of the first, and nothing applies."""


def file_of(kind: str, namespace: str | None, name: str, folder: str = TEXT_FOLDER) -> str:
    """Where an object is written, relative to the output folder; no namespace can be called like the last two."""
    stem = _shortened(name, _MAX_STEM)
    if stem == KUSTOMIZATION:
        stem += "_"  # kustomize and Flux would read the object as one of theirs; no object has this name
    if namespace:
        return f"{folder}/{namespace}/{stem}.yaml"
    if kind == CIDR_GROUP:
        return f"{folder}/{CLUSTER_FOLDER}/cidrgroups/{stem}.yaml"
    if kind == ADMIN_POLICY:
        return f"{folder}/{CLUSTER_FOLDER}/clusternetworkpolicies/{stem}.yaml"
    return f"{folder}/{CLUSTER_FOLDER}/{stem}.yaml"


def is_legal(ref: ObjectRef) -> bool:
    """Whether an API server takes the object's name and namespace, so that they can be used for ours."""
    parts = [ref.name] if ref.namespace is None else [ref.name, ref.namespace]
    return all(len(part) <= MAX_NAME and _LEGAL.fullmatch(part) and ".." not in part for part in parts)


@dataclass(slots=True)
class Names:
    """Gives each object a name that nothing else has; the same input gives the same names."""

    taken: set[tuple[str, str | None, str]] = field(default_factory=set)

    @classmethod
    def beside(cls, existing: Iterable[ObjectRef]) -> Names:
        """Names that avoid the Cilium policies that are there already."""
        kinds = (CNP, CCNP, CIDR_GROUP, ADMIN_POLICY)
        return cls({(ref.kind, ref.namespace, ref.name) for ref in existing if ref.kind in kinds})

    def give(self, kind: str, namespace: str | None, wanted: str, suffix: str) -> str:
        """`wanted`, or with the suffix (and a number) behind it where that is taken; cut where it is too long."""
        for number in count():
            candidate = _shortened(
                wanted if number == 0 else f"{wanted}-{suffix}" + (f"-{number}" if number > 1 else "")
            )
            if (kind, namespace, candidate) not in self.taken:
                break
        self.taken.add((kind, namespace, candidate))
        return candidate


def _shortened(name: str, longest: int = MAX_NAME) -> str:
    """A name that is too long, cut, with a hash of the whole."""
    if len(name) <= longest:
        return name
    digest = sha256(name.encode()).hexdigest()[:10]
    return f"{name[: longest - 11].rstrip('.-')}-{digest}"
