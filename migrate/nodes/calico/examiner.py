"""What a Linux node's dump says of Calico: mode, drift, leftovers, other software's rules, counters."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.errors import InputError
from migrate.model.documents import Fact
from migrate.model.finding import Effect, Finding
from migrate.model.ip_sets import IpSets
from migrate.model.node_documents import RuleHits
from migrate.nodes import files
from migrate.nodes.calico.counted import chain_facts, chain_hits
from migrate.nodes.calico.hooks import hook_drift, other_rules
from migrate.nodes.calico.leftovers import leftovers, other_backend
from migrate.nodes.calico.names import PREFIX
from migrate.nodes.calico.nft import TABLE, as_ip_sets, as_ruleset
from migrate.nodes.calico.node import HOOK, Compared
from migrate.nodes.calico.policy_drift import other_node, policy_drift
from migrate.nodes.calico.programs import Programs, calico_programs, program_facts, program_findings
from migrate.nodes.calico.set_drift import set_drift
from migrate.nodes.calico.tables import FAMILIES, Chains, calico_chains
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.sources.node.nft_json import NftRuleset, read_nft_json

ENGINE = "calico"


def examine_calico(dump: NodeDump, view: ClusterView | None) -> Iterator[Finding | Fact | RuleHits]:
    """Everything about Calico on a node."""
    if dump.manifest.system != "linux":
        return
    nft = _nft(dump)
    programs = calico_programs(dump)
    yield from programs.problems
    yield from program_facts(programs)
    seen = [chains for family in FAMILIES if (chains := _chains(dump, nft, family)) is not None]
    yield from _modes(seen, programs)
    objects = None if view is None else view.calico
    for chains in seen:
        yield from chain_facts(chains)
        yield from chain_hits(chains, objects, dump.manifest.name)
    if view is None:
        return
    if view.runs(ENGINE):
        yield from program_findings(dump, programs)
        why = _not_comparable(dump, view)
        if why:
            yield Fact(topic="calico-drift", value="not compared", state="unknown", detail=why)
        else:
            yield from _drift(dump, view, nft, seen, programs)
    elif _is_gone(view):
        yield from leftovers(dump, programs, nft)


def _not_comparable(dump: NodeDump, view: ClusterView) -> str:
    """Why nothing can be said of drift; "" when it can."""
    name = dump.manifest.name
    if view.header.redacted:
        return "the snapshot is redacted, and interfaces and sets are named by hashes of the real names"
    if any(node.name == name for node in view.cluster.nodes) or view.calico.local(name):
        return ""
    return f"the snapshot has no node {name}; give the dump's folder the name of its node"


def _is_gone(view: ClusterView) -> bool:
    """Whether the snapshot is sure that Calico does not run."""
    engines = [fact for fact in view.header.facts if fact.topic == "engine"]
    doubtful = [fact for fact in engines if fact.value in (ENGINE, "unknown") and fact.state in ("active", "unknown")]
    return view.header.complete and bool(engines) and not doubtful


def _nft(dump: NodeDump) -> NftRuleset | None:
    """nftables' own ruleset; that it cannot be read is told where all of its tables are."""
    for at, body in dump.bodies(files.NFT):
        try:
            return read_nft_json(body, str(at))
        except InputError:
            return None
    return None


def _chains(dump: NodeDump, nft: NftRuleset | None, family: int) -> Chains | None:
    """Calico's chains of an IP version, in iptables or else in nftables."""
    in_iptables = calico_chains(dump, family)
    ruleset = None if nft is None else as_ruleset(nft, family)
    if ruleset is None:
        return in_iptables
    in_nft = Chains(family, ruleset, {table.name: table for table in ruleset.tables}, nft=True)
    if in_iptables is not None and len(list(in_iptables.own())) > len(list(in_nft.own())):
        return in_iptables
    return in_nft


def _modes(seen: list[Chains], programs: Programs) -> Iterator[Fact]:
    for chains in seen:
        if any(chain.name.startswith(PREFIX) for chain in chains.own()):
            value = "nftables" if chains.nft else "iptables"
            backend = "" if chains.filter.backend is None else f", {chains.filter.backend.value}"
            yield Fact(topic="calico-mode", value=value, detail=f"IPv{chains.family}{backend}")
    if programs:
        yield Fact(topic="calico-mode", value="bpf", detail=programs.said())


def _drift(
    dump: NodeDump, view: ClusterView, nft: NftRuleset | None, seen: list[Chains], programs: Programs
) -> Iterator[Finding]:
    by_programs = bool(programs) or view.calico.by_programs(dump.manifest.name)
    if by_programs and not any(_has_pods(chains) for chains in seen):
        return
    if not any(chains.family == 4 for chains in seen):
        yield from _nothing(dump)
    for chains in seen:
        yield from other_backend(dump, chains)
        node = Compared(dump.manifest.name, chains, view.calico)
        other = other_node(node)
        if other is not None:
            yield other
            return
        appends = view.calico.appends(dump.manifest.name)
        yield from hook_drift(node, appends=appends)
        yield from other_rules(node, appends=appends)
        yield from policy_drift(node)
        sets = _whole_sets(dump) if not chains.nft or nft is None else as_ip_sets(nft, chains.family)
        if sets is not None:
            yield from set_drift(node, sets)


def _has_pods(chains: Chains) -> bool:
    return any(chain.name.startswith(("cali-tw-", "cali-fw-")) for chain in chains.own())


def _nothing(dump: NodeDump) -> Iterator[Finding]:
    """A node whose filter table was read and on which there is nothing of Calico."""
    active = dump.active_backend
    read = [(ruleset, table) for ruleset, table in dump.tables("filter") if active in (None, table.backend)]
    if read and not dump.problems:
        ruleset, table = read[0]
        detail = f"node {dump.manifest.name}: nothing of Calico is in iptables or the nftables table {TABLE}"
        at = ruleset.at(table)
        yield Finding(id=HOOK, detail=detail, effect=Effect.NARROWS, subject=dump.node, at=at)


def _whole_sets(dump: NodeDump) -> IpSets | None:
    """The node's sets; None when they were not read, or not all of them."""
    sets = dump.sets
    if sets is None or any(problem.detail.startswith(f"{sets.source}:") for problem in dump.problems):
        return None
    return sets
