"""A Linux node beside the policy engine's own rules: kube-proxy, pods' network, marks, the machine, leftovers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migrate.model.documents import Fact
from migrate.model.finding import Finding
from migrate.model.node_documents import RuleHits
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.cni import examine_cni
from migrate.nodes.dump import NodeDump
from migrate.nodes.host import Host, host_of
from migrate.nodes.kube_proxy.examine import examine_kube_proxy
from migrate.nodes.leftovers import examine_leftovers
from migrate.nodes.machine import examine_machine
from migrate.nodes.marks import examine_marks
from migrate.nodes.no_engine import examine_no_engine

_Part = Callable[[Host, ClusterView | None], Iterator[Finding | Fact | RuleHits]]
_PARTS: tuple[_Part, ...] = (
    examine_machine,
    examine_kube_proxy,
    examine_cni,
    examine_no_engine,
    examine_marks,
    examine_leftovers,
)


def examine_linux(dump: NodeDump, view: ClusterView | None) -> Iterator[Finding | Fact | RuleHits]:
    """All that the node's other files say, and what of them could not be read."""
    if dump.manifest.system != "linux":
        return
    host = host_of(dump)
    for part in _PARTS:
        yield from part(host, view)
    yield from host.problems
