"""What NPM's rules counted: traffic that policies let through or did not, since NPM began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.node_documents import NodeManifest, RuleHits
from migrate.model.node_state import Chain, Ending, Rule
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.nodes.moments import moment
from migrate.nodes.npm.found import DIRECTION_CHAIN, NpmTable, commented_key
from migrate.nodes.npm.policy_drift import VERDICTS
from migrate.nodes.npm.rules import ALLOW, DROP, target_text
from migrate.scan.inventory.look import dig, items, text

COUNTERS = "NODE-NPM-COUNTERS"
_NPM_POD = "azure-npm"
_MOST = 3


def counted_since(manifest: NodeManifest, view: ClusterView | None) -> str | None:
    """The earliest moment that the counters can speak of: NPM makes its rules anew when it starts.

    The node's start when NPM's is not known or was before it; None when neither is known.
    """
    begun = [_started(raw) for raw in (view.by_kind.get("Pod", ()) if view else ()) if _is_npm(raw, manifest.name)]
    known = [(at, text) for text in (*begun, manifest.booted) if text and (at := moment(text)) is not None]
    return max(known)[1] if known else None


def rule_hits(
    npm: NpmTable, since: str | None, known: Callable[[Direction, str], tuple[str, ObjectRef] | None]
) -> Iterator[RuleHits]:
    """The counters of each policy's chain, and of the rules that drop. `known` tells whose chain it is.

    A packet that a policy marks to be dropped can still be let through by another policy for the same pods.
    """
    for direction, suffix, chain in npm.policy_chains():
        owner = known(direction, suffix)
        key, subject = owner or (_from_jumps(npm, direction, chain), None)
        of = f"{direction.value} of policy {key}"
        yield from _counted(npm, of, "allowed", _with_verdict(chain, direction, ALLOW), since, subject)
        yield from _counted(npm, of, "denied", _with_verdict(chain, direction, DROP), since, subject)
    for direction, name in DIRECTION_CHAIN.items():
        yield from _counted(npm, name, "denied", _dropping(npm, direction), since)


def _counted(
    npm: NpmTable,
    of: str,
    verdict: Literal["allowed", "denied"],
    rules: list[Rule],
    since: str | None,
    subject: ObjectRef | None = None,
) -> Iterator[RuleHits]:
    """The sum of the rules' counters; nothing where a dump has none."""
    counters = [rule.counters for rule in rules if rule.counters is not None]
    if counters:
        packets, octets = sum(each.packets for each in counters), sum(each.bytes for each in counters)
        at = npm.at(rules[-1])
        yield RuleHits(of=of, verdict=verdict, packets=packets, bytes=octets, subject=subject, since=since, at=at)


def _with_verdict(chain: Chain, direction: Direction, verdict: str) -> list[Rule]:
    return [rule for rule in chain.rules if VERDICTS[direction].get(target_text(rule.target)) == verdict]


def denials(dump: NodeDump, npm: NpmTable, hits: list[RuleHits], since: str | None) -> Iterator[Finding]:
    """That connections are denied on the node today, and whose policies they met."""
    dropped = {hit.of: hit for hit in hits if hit.of in DIRECTION_CHAIN.values() and hit.packets}
    if not dropped:
        return
    words = [f"{dropped[of].packets} at {d.value}" for d, of in DIRECTION_CHAIN.items() if of in dropped]
    met = sorted(
        (hit for hit in hits if hit.verdict == "denied" and hit.packets and hit.of not in DIRECTION_CHAIN.values()),
        key=lambda hit: (-hit.packets, hit.of),
    )
    most = "; most met " + ", ".join(f"{hit.of} ({hit.packets})" for hit in met[:_MOST]) if met else ""
    span = f"since {since}" if since else "since NPM began"
    until = f" until {dump.manifest.taken}" if dump.manifest.taken else ""
    detail = f"node {dump.manifest.name}: NPM dropped {' and '.join(words)} {span}{until}{most}"
    first = next(iter(dropped.values()))
    yield Finding(id=COUNTERS, detail=detail, effect=Effect.NONE, subject=dump.node, at=first.at)


def _dropping(npm: NpmTable, direction: Direction) -> list[Rule]:
    chain = npm.chains.get(DIRECTION_CHAIN[direction])
    return [rule for rule in chain.rules if rule.target is Ending.DROP] if chain is not None else []


def _from_jumps(npm: NpmTable, direction: Direction, chain: Chain) -> str:
    keys = map(commented_key, npm.jumps.get((direction, chain.name), ()))
    return next(filter(None, keys), chain.name)


def _is_npm(raw: RawObject, node: str) -> bool:
    own = raw.ref.namespace == "kube-system" and raw.ref.name.startswith(_NPM_POD)
    return own and text(raw, "spec", "nodeName") == node


def _started(raw: RawObject) -> str:
    """When NPM's container began; empty when the snapshot does not say."""
    statuses = items(dig(raw.data, "status", "containerStatuses"))
    found = (dig(status, "state", "running", "startedAt") for status in statuses)
    return max((begun for begun in found if isinstance(begun, str)), default="")
