"""What endpoints have without any policy: the ACLs of the CNI, and what the release of Windows does by default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from migrate.model.finding import Effect, Finding
from migrate.model.refs import ObjectRef
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.nodes.files import WINDOWS
from migrate.nodes.windows.endpoints import PortRules
from migrate.nodes.windows.platform import Release, platform
from migrate.nodes.windows.ports import CALICO, HnsNode
from migrate.nodes.windows.rules import Rule
from migrate.nodes.windows.words import BASE, DENIES, listed
from migrate.scan.inventory.look import text

_BUILD = re.compile(r"\b10\.0\.(\d{4,6})(?:\.\d+)?\b")


def build_of(dump: NodeDump, view: ClusterView | None) -> tuple[str, int] | None:
    """The node's version and build: by its dump, else by what its kubelet says."""
    said = ((dump.text(WINDOWS) or "").replace("\0", ""), _info(dump, view, "kernelVersion"))
    found = next((match for given in said if (match := _BUILD.search(given)) is not None), None)
    return None if found is None else (found[0], int(found[1]))


def release_of(dump: NodeDump, view: ClusterView | None) -> Release | None:
    """The release of Windows; None when nothing tells."""
    build, image = build_of(dump, view), _info(dump, view, "osImage")
    if build is not None:
        return platform().release(build[1])
    return next((release for release in platform().releases if release.name in image), None)


def _info(dump: NodeDump, view: ClusterView | None, key: str) -> str:
    """What the node's kubelet says of it."""
    nodes = view.by_kind.get("Node", ()) if view is not None else ()
    return next((text(raw, "status", "nodeInfo", key) for raw in nodes if raw.ref == dump.node), "")


Moved = Callable[[PortRules], frozenset[Rule]]
"""ACLs of an endpoint that are told of elsewhere."""


def base_findings(node: ObjectRef, hns: HnsNode, rules: tuple[PortRules, ...], moved: Moved) -> Iterator[Finding]:
    """Endpoints that lack base ACLs, or have ACLs that neither a policy nor the platform explains."""
    for port_rules in rules:
        port, others, told = port_rules.port, port_rules.of_others(), moved(port_rules)
        given = {rule: at for rule, at in others.items() if rule not in told}
        if not port.whole:
            continue
        possible = {rule for several in port_rules.possible.values() for rule in several} - _of_policies(port_rules)
        lacks = [acl.title for acl in platform().base if not any(acl.fits(rule) for rule in possible)]
        besides = [] if hns.network_name(port) == CALICO else sorted(filter(_strange, given), key=Rule.sort_key)
        if lacks or besides:
            words = [f"lacks {listed(lacks)}"] if lacks else []
            words += [f"has {listed(besides, '; ')}, which no policy and no CNI explains"] if besides else []
            detail = f"node {node.name}: endpoint {port.name} ({port.addresses[0]}) {' and '.join(words)}"
            at = given[besides[0]] if besides else port.at
            yield Finding(id=BASE, detail=detail, effect=Effect.UNKNOWN, subject=node, at=at)


def _of_policies(port_rules: PortRules) -> set[Rule]:
    return {rule for i in port_rules.policy_ids for rule in port_rules.possible[i]}


def _strange(rule: Rule) -> bool:
    return not platform().of_platform(rule) and not any(acl.fits(rule) for acl in platform().base)


def default_findings(node: ObjectRef, release: Release | None, rules: tuple[PortRules, ...]) -> Iterator[Finding]:
    """Whether the release of Windows closes endpoints in what no ACL speaks of."""
    if release is None or not release.denies_by_default:
        return
    with_acls = [port_rules for port_rules in rules if port_rules.possible]
    if not with_acls:
        return
    closed = [f"{found.port.name} ({', '.join(ways)})" for found in with_acls if (ways := _closed(found))]
    words = "only ACLs that allow everything behind the policies keep them open in the rest"
    if closed:
        words = f"nothing allows the rest on {listed(closed)}"
    detail = f"node {node.name}: {release.name} denies on {len(with_acls)} endpoints what no ACL allows; {words}"
    yield Finding(id=DENIES, detail=detail, effect=Effect.UNKNOWN, subject=node, at=with_acls[0].port.at)


def _closed(port_rules: PortRules) -> list[str]:
    """Directions in which an endpoint has no ACL that allows everything."""
    rules = [rule for several in port_rules.possible.values() for rule in several if rule.allows and rule.for_all]
    return [way for way, inbound in (("In", True), ("Out", False)) if not any(r.inbound is inbound for r in rules)]
