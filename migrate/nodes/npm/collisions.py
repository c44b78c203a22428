"""Names of a cluster that NPM's older, short digests cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.finding import Effect, Finding
from migrate.nodes.dump import NodeDump
from migrate.nodes.npm.expected import Expected
from migrate.nodes.npm.names import Names, Scheme

COLLISION = "NODE-NPM-HASH-COLLISION"
_MOST = 20


def collisions(dump: NodeDump, expected: Expected, names: Names) -> Iterator[Finding]:
    """Policies that share a chain, and sets that share a name, on a node with the older names."""
    if names.scheme is not Scheme.FNV32:
        return
    node = dump.manifest.name
    for shared in expected.shared_chains(names.scheme)[:_MOST]:
        detail = (
            f"node {node}: policies {' and '.join(shared.names)} share the chains that end in {shared.kernel}; "
            "the later one replaces the rules of the other"
        )
        subject = expected.policies[shared.names[0]].ref
        yield Finding(id=COLLISION, detail=detail, effect=Effect.UNKNOWN, subject=subject)
    for shared in names.shared[:_MOST]:
        spelled = {expected.sets.spellings[name][-1] for name in shared.names}
        why = f", since both are written {min(spelled)}" if len(spelled) == 1 else ""
        detail = f"node {node}: the sets {' and '.join(shared.names)} are one set, {shared.kernel}{why}"
        yield Finding(id=COLLISION, detail=detail, effect=Effect.UNKNOWN, subject=dump.node)
    if len(names.shared) > _MOST:
        detail = f"node {node}: {len(names.shared) - _MOST} more names of sets are shared"
        yield Finding(id=COLLISION, detail=detail, effect=Effect.UNKNOWN, subject=dump.node)
