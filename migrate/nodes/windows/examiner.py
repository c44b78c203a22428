"""Says what it sees in the dump of a Windows node."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.nodes.windows.base import Moved, base_findings, build_of, default_findings, release_of
from migrate.nodes.windows.catalog import EMPTY, catalog_of
from migrate.nodes.windows.conversion import ACL_PREFIX
from migrate.nodes.windows.endpoints import EndpointDrift, PortRules, port_rules
from migrate.nodes.windows.policies import policies_of
from migrate.nodes.windows.ports import AZURE, CALICO, HnsNode, hns_node
from migrate.nodes.windows.rules import Rule
from migrate.nodes.windows.sets import NodeSets
from migrate.nodes.windows.words import FOREIGN, LEFT
from migrate.nodes.wording import clean, printable

_NPM = ("npm-linux", "npm-windows")


def examine_windows(dump: NodeDump, view: ClusterView | None) -> Iterator[Finding | Fact]:
    """What the Host Networking Service holds; with a snapshot also where that differs from the policies."""
    if dump.manifest.system != "windows" and not dump.hns:
        return
    hns = hns_node(dump.hns)
    yield from _facts(dump, view, hns)
    for finding in _findings(dump, view, hns):
        yield printable(finding)


def _findings(dump: NodeDump, view: ClusterView | None, hns: HnsNode) -> Iterator[Finding]:
    sets = NodeSets(dump.node, hns.pod_network, catalog_of(view) if view is not None else EMPTY)
    moved: Moved = _nothing
    if view is None or _npm_runs(view) is False:
        rules = tuple(port_rules(port, sets, frozenset()) for port in hns.in_use)
        yield from _leftovers(dump, view, rules)
    else:
        drift = _drift(dump, view, hns, sets)
        rules, moved = drift.rules, drift.moved
        if drift.is_foreign():
            yield _foreign(dump, rules)
        else:
            yield from drift.findings()
            yield from sets.findings(drift.needed(), drift.complete)
    yield from base_findings(dump.node, hns, _on_pod_networks(hns, rules), moved)
    yield from default_findings(dump.node, release_of(dump, view), rules)


def _foreign(dump: NodeDump, rules: tuple[PortRules, ...]) -> Finding:
    detail = (
        f"node {dump.manifest.name}: no endpoint and no set has the address of a pod of the snapshot; "
        "the dump is of another cluster, or the snapshot is"
    )
    at = rules[0].port.at if rules else None
    return Finding(id=FOREIGN, detail=detail, effect=Effect.UNKNOWN, subject=dump.node, at=at)


def _leftovers(dump: NodeDump, view: ClusterView | None, rules: tuple[PortRules, ...]) -> Iterator[Finding]:
    """ACLs of policies where NPM does not run any more: nobody takes them away."""
    left = [found for found in rules if found.policy_ids] if view is not None else []
    if left:
        count = sum(len(found.certain[acl_id]) for found in left for acl_id in found.policy_ids)
        detail = (
            f"node {dump.manifest.name}: NPM does not run, and {count} ACLs of it are on {len(left)} endpoints, "
            f"such as {left[0].port.name}; they go away with the pods, or with the node's image"
        )
        yield Finding(id=LEFT, detail=detail, effect=Effect.UNKNOWN, subject=dump.node, at=left[0].port.at)


def _nothing(rules: PortRules) -> frozenset[Rule]:
    return frozenset()


def _drift(dump: NodeDump, view: ClusterView, hns: HnsNode, sets: NodeSets) -> EndpointDrift:
    name, cluster = dump.manifest.name, view.cluster
    return EndpointDrift(
        node=dump.node,
        hns=hns,
        sets=sets,
        policies=policies_of(view),
        pods=cluster.pods,
        node_addresses=_node_addresses(dump, view),
        node_known=any(node.name == name for node in cluster.nodes) or any(pod.node == name for pod in cluster.pods),
        complete=view.header.complete and view.header.namespaces is None,
    )


def _on_pod_networks(hns: HnsNode, rules: tuple[PortRules, ...]) -> tuple[PortRules, ...]:
    """Endpoints of networks that NPM works on, or whose network has no name that is known.

    On Calico's network the base ACLs are NPM's own, so that they are only missed where NPM left something.
    """
    networks = {"", AZURE}
    if any(acl.id.startswith(ACL_PREFIX) for port in hns.ports for _, acl in port.acls()):
        networks.add(CALICO)
    return tuple(found for found in rules if hns.network_name(found.port) in networks)


def _npm_runs(view: ClusterView) -> bool | None:
    """Whether NPM runs on Windows nodes; None when the snapshot does not show it."""
    engines = [fact for fact in view.header.facts if fact.topic == "engine"]
    active = {fact.value for fact in engines if fact.state == "active"}
    if active & set(_NPM) or any(fact.state == "unknown" for fact in engines):
        return True if active & set(_NPM) else None
    none = any((fact.value, fact.state) == ("none", "absent") for fact in engines)
    return False if active or none else None


def _node_addresses(dump: NodeDump, view: ClusterView) -> frozenset[str]:
    """The node's IPv4 addresses as ACLs name them; empty when they are not known."""
    nodes = (node for node in view.cluster.nodes if node.name == dump.manifest.name)
    return frozenset(str(ipaddress.ip_network(a)) for node in nodes for a in node.addresses if a.version == 4)


def _facts(dump: NodeDump, view: ClusterView | None, hns: HnsNode) -> Iterator[Fact]:
    build, release = build_of(dump, view), release_of(dump, view)
    if build is not None:
        yield _fact(dump, "windows-build", build[0], release.name if release is not None else "", "Windows's version")
    if not dump.hns:
        return
    acls = [acl for port in hns.in_use for acl in port.versions[0][1].acls]
    of_policies = sum(acl.id.startswith(ACL_PREFIX) for acl in acls)
    sources = ", ".join(state.source for state in dump.hns if state.endpoints)
    yield _fact(dump, "hns-endpoints", str(len(hns.ports)), f"{len(hns.in_use)} of running pods", sources)
    yield _fact(dump, "hns-acls", str(len(acls)), f"{of_policies} with an id that NPM gives", sources)
    for network in hns.networks:
        detail = " ".join(filter(None, [network.kind, f"with {len(network.sets)} sets" if network.sets else ""]))
        yield _fact(dump, "hns-network", clean(network.name or network.id), clean(detail), network.at.file)


def _fact(dump: NodeDump, topic: str, value: str, detail: str, source: str) -> Fact:
    evidence = (Evidence(str(dump.node), source, value),) if source else ()
    return Fact(topic=topic, value=value, detail=detail, evidence=evidence)
