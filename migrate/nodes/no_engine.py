"""Policies that select pods of a node on which no engine has left any trace: nobody enforces them."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.documents import Fact
from migrate.model.finding import Effect, Finding
from migrate.model.selectors import matches
from migrate.nodes import files
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.host import Host
from migrate.nodes.software import Software, known
from migrate.nodes.traces import traces
from migrate.nodes.wording import first_few
from migrate.sources.kubernetes import NetworkPolicy

_ENFORCE = frozenset(("chains", "tables", "bpf", "pinned", "links"))
"""Sorts of traces without which no engine enforces anything."""


def examine_no_engine(host: Host, view: ClusterView | None) -> Iterator[Finding | Fact]:
    """One finding for the node, when its dump would show any engine that could be there."""
    engines = sorted(
        {
            owner.id
            for trace in traces(host)
            if trace.what in _ENFORCE
            for owner in trace.owners
            if owner.role == "engine"
        }
    )
    for name in engines:
        yield Fact(topic="engine-on-node", value=name)
    if view is None or engines or not _would_show(host, view):
        return
    policies = sorted(_selecting(host, view), key=lambda policy: policy.ref.sort_key())
    if policies:
        yield Finding(
            id="NODE-NO-ENGINE",
            detail=(
                f"node {host.dump.manifest.name} has chains of no policy engine, but {len(policies)} NetworkPolicies "
                f"select pods on it: {first_few(f'{policy.ref.namespace}/{policy.ref.name}' for policy in policies)}"
            ),
            effect=Effect.NARROWS,
            subject=host.dump.node,
            at=host.place(files.IPTABLES_NFT),
        )


def _would_show(host: Host, view: ClusterView) -> bool:
    """Whether every engine that runs in the cluster would show in what the dump has."""
    tables = [table for ruleset in host.dump.rulesets for table in ruleset.tables]
    if not host.dump.rulesets or not all(table.complete for table in tables):
        return False
    return all(
        _seen_in(host, program) for program in known().programs if program.role == "engine" and view.runs(program.id)
    )


def _seen_in(host: Host, program: Software) -> bool:
    """Whether an engine would show: it may keep its rules in nftables or BPF instead of iptables."""
    by_tables = not program.tables or host.nft is not None
    by_programs = not program.bpf or host.pinned is not None or files.BPF in host.dump.paths
    return by_tables and by_programs


def _selecting(host: Host, view: ClusterView) -> Iterator[NetworkPolicy]:
    """The policies that select a pod on this node's pod network."""
    name = host.dump.manifest.name
    pods = [pod for pod in view.cluster.pods if pod.node == name and not pod.host_network]
    for policy in view.network_policies:
        if any(pod.namespace == policy.ref.namespace and matches(policy.subject, pod) for pod in pods):
            yield policy
