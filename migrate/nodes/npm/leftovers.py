"""What NPM left behind: its first version's chains, chains in the backend that is not used, chains without NPM."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.finding import Effect, Finding
from migrate.model.node_state import Backend
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.nodes.npm.found import FORWARD, NpmFound, NpmTable
from migrate.nodes.npm.names import BASE, SET_PREFIX

OTHER_BACKEND, OLD, LEFT, AFTER = (
    "NODE-NPM-OTHER-BACKEND",
    "NODE-NPM-V1-LEFT",
    "NODE-NPM-LEFT",
    "NODE-LEFTOVER-AFTER",
)
_REMOVE_SETS = f"`for f in flush destroy; do ipset list -n | grep ^{SET_PREFIX} | xargs -rn1 ipset $f; done`"


def runs_npm(view: ClusterView) -> bool | None:
    """Whether NPM runs on the cluster's Linux nodes; None when the snapshot does not show it."""
    if view.runs("npm-linux"):
        return True
    engines = [fact for fact in view.header.facts if fact.topic == "engine"]
    if any(fact.state == "unknown" for fact in engines):
        return None
    sure = any(fact.state == "active" or (fact.value, fact.state) == ("none", "absent") for fact in engines)
    return False if sure else None


def other_backend(dump: NodeDump, found: NpmFound) -> Iterator[Finding]:
    """Chains of NPM where neither the node's kubelet nor NPM looks."""
    for npm in found.others:
        jump = f"with a jump from {FORWARD}" if npm.forward_jumps() else f"without a jump from {FORWARD}"
        used = found.active.backend if found.active is not None else "the other one"
        where = f"in iptables-{npm.backend}, {jump}, while {used} is in use"
        detail = f"node {dump.manifest.name}: {_chains(npm)} of NPM {where}; they go away with {_removal(npm)}"
        yield _finding(dump, OTHER_BACKEND, detail, npm)


def old_version(dump: NodeDump, found: NpmFound) -> Iterator[Finding]:
    """Chains of NPM's first version, in force or not."""
    for npm in (*((found.active,) if found.active is not None else ()), *found.others):
        old = npm.old_chains()
        if old:
            how = "are in force: its policies cannot be compared with this node" if npm.is_old() else "are left"
            detail = (
                f"node {dump.manifest.name}: chains of NPM before version 2 {how} ({npm.backend}): {', '.join(old)}"
            )
            yield _finding(dump, OLD, detail, npm)


def without_npm(dump: NodeDump, view: ClusterView, npm: NpmTable) -> Finding:
    """NPM's chains on a node of a cluster in which it does not run."""
    on_cilium = view.runs("cilium")
    runs = "Cilium runs" if on_cilium else "NPM does not run"
    detail = (
        f"node {dump.manifest.name}: {runs}, and {_chains(npm)} of NPM are in iptables-{npm.backend}; "
        f"they go away with {_removal(npm)}, and then the sets with {_REMOVE_SETS}"
    )
    return _finding(dump, AFTER if on_cilium else LEFT, detail, npm)


def _chains(npm: NpmTable) -> str:
    return "1 chain" if len(npm.chains) == 1 else f"{len(npm.chains)} chains"


def _removal(npm: NpmTable) -> str:
    """The commands that take the chains away; they are said, and never run. No name of the dump stands in them."""
    program = "iptables-legacy" if npm.table.backend is Backend.LEGACY else "iptables-nft"
    jumps = [f"`{program} -D {FORWARD} {number}`" for number, _ in reversed(npm.forward_jumps())]
    own = f"$({program} -S | sed -n 's/^-N \\({BASE}.*\\)$/\\1/p')"
    return ", ".join([*jumps, f"`for f in -F -X; do for c in {own}; do {program} $f $c; done; done`"])


def _finding(dump: NodeDump, identity: str, detail: str, npm: NpmTable) -> Finding:
    effect = Effect.NARROWS if identity == AFTER else Effect.UNKNOWN
    at = npm.at(next(iter(npm.chains.values())))
    return Finding(id=identity, detail=detail, effect=effect, subject=dump.node, at=at)
