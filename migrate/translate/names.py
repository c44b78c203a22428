"""Names and files of what is written: stable, legal, without collisions, never outside the output folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from migrate.errors import InputError
from migrate.model.refs import ObjectRef
from migrate.translate.objects import CCNP, CIDR_GROUP, CNP

MAX_NAME = 253
_LEGAL = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
CLUSTER_FOLDER = "_cluster"


def file_of(kind: str, namespace: str | None, name: str) -> str:
    """Where an object is written, relative to the output folder; no namespace can be called like the last two."""
    if namespace:
        return f"cilium/{namespace}/{name}.yaml"
    if kind == CIDR_GROUP:
        return f"cilium/{CLUSTER_FOLDER}/cidrgroups/{name}.yaml"
    return f"cilium/{CLUSTER_FOLDER}/{name}.yaml"


@dataclass(slots=True)
class Names:
    """Gives each object a name that nothing else has; the same input gives the same names."""

    taken: set[tuple[str, str | None, str]] = field(default_factory=set)

    @classmethod
    def beside(cls, existing: Iterable[ObjectRef]) -> Names:
        """Names that avoid the Cilium policies that are there already."""
        return cls({(ref.kind, ref.namespace, ref.name) for ref in existing if ref.kind in (CNP, CCNP, CIDR_GROUP)})

    def give(self, kind: str, namespace: str | None, wanted: str, suffix: str) -> str:
        """`wanted`, or with the suffix (and a number) behind it where that is taken or too long.

        Raises InputError when it is no legal name of an object, which an API server would have refused.
        """
        if not _LEGAL.fullmatch(wanted) or (namespace is not None and not _LEGAL.fullmatch(namespace)):
            raise InputError(f"{namespace}/{wanted}: not a legal name and namespace; correct metadata.name")
        candidates = [wanted, f"{wanted}-{suffix}", *(f"{wanted}-{suffix}-{number}" for number in range(2, 1000))]
        for candidate in candidates:
            if len(candidate) <= MAX_NAME and (kind, namespace, candidate) not in self.taken:
                self.taken.add((kind, namespace, candidate))
                return candidate
        raise InputError(f"{namespace}/{wanted}: no free name of at most {MAX_NAME} characters; rename the policy")
