"""The nodes of the snapshot, what their rules say, and what the rules' counters tell of today's traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from migrate.model.documents import Fact
from migrate.model.node_documents import NodeState, NodeStates, RuleHits
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.readiness.documents import Documents
from migrate.readiness.nodes_read import has_rules
from migrate.readiness.traffic import watched_nodes
from migrate.report.document import NodeRow, RuleUse
from migrate.scan.inventory.look import text

_POOLS = ("kubernetes.azure.com/agentpool", "agentpool", "node.kubernetes.io/instance-type")
_WAYS = {"node": "on the node", "pod": "by a pod on it", "proxy": "through NPM", "files": "by hand"}
_VERDICTS = {"allowed": "let through", "denied": "stopped", "logged": "logged", "went-on": "counted"}
_GRAVEST = ("denied", "allowed", "logged", "went-on")


def node_rows(documents: Documents) -> tuple[NodeRow, ...]:
    """One row per node of the snapshot and per dump of another one, by name."""
    pods = Counter(_text(raw, "spec", "nodeName") for raw in documents.by_kind.get("Pod", ()))
    audited = watched_nodes(documents.audit) if documents.audit else frozenset()
    states = {state.name: state for state in documents.nodes.nodes} if documents.nodes else {}
    known = {raw.ref.name: raw for raw in documents.by_kind.get("Node", ())}
    return tuple(
        _row(name, known.get(name), pods[name], name in audited, states.get(name))
        for name in sorted(known.keys() | states.keys())
    )


def _row(name: str, raw: RawObject | None, pods: int, audited: bool, state: NodeState | None) -> NodeRow:
    info = ("status", "nodeInfo")
    system = _text(raw, *info, "operatingSystem") or _text(raw, "metadata", "labels", "kubernetes.io/os")
    return NodeRow(
        name=name,
        pool=next((found for key in _POOLS if (found := _text(raw, "metadata", "labels", key))), ""),
        os=system or (state.system if state else ""),
        image=_text(raw, *info, "osImage"),
        kernel=_text(raw, *info, "kernelVersion"),
        kubelet=_text(raw, *info, "kubeletVersion"),
        pods=pods,
        audited=audited,
        read=_how(state),
        whole=state is not None and state.complete,
        rules=state is not None and has_rules(state),
        facts=state.facts if state else (),
        findings=state.findings if state else (),
    )


def _how(state: NodeState | None) -> str | None:
    if state is None:
        return None
    return _WAYS[state.way] + (f", {state.taken}" if state.taken else "")


def _text(raw: RawObject | None, *path: str) -> str:
    """A text deep in an object; empty when it is not there."""
    return "" if raw is None else text(raw, *path)


@dataclass(frozen=True, slots=True)
class _Count:
    """One rule's counter, and the time that it covers."""

    node: str
    hits: RuleHits
    since: str | None
    until: str | None


def rule_uses(states: NodeStates | None) -> tuple[RuleUse, ...]:
    """What the counters say, by rule: what was stopped before what was let through, and the most packets first."""
    found: dict[tuple[str, str, ObjectRef | None], list[_Count]] = {}
    for node in states.nodes if states is not None else ():
        for hits in node.hits:
            count = _Count(node.name, hits, hits.since or node.booted, node.taken)
            found.setdefault((hits.of, hits.verdict, hits.subject), []).append(count)
    uses = [_use(of, verdict, policy, counts) for (of, verdict, policy), counts in found.items()]
    return tuple(sorted(uses, key=lambda use: (_GRAVEST.index(use.verdict), -use.packets, use.of)))


def _use(of: str, verdict: str, policy: ObjectRef | None, counts: list[_Count]) -> RuleUse:
    starts, ends = [count.since for count in counts], [count.until for count in counts]
    return RuleUse(
        of=of,
        verdict=verdict,
        policy=policy,
        nodes=len({count.node for count in counts}),
        packets=sum(count.hits.packets for count in counts),
        bytes=sum(count.hits.bytes for count in counts),
        since=None if None in starts else max(filter(None, starts)),
        until=None if None in ends else min(filter(None, ends)),
    )


def use_cells(use: RuleUse) -> tuple[str, ...]:
    """A row of the table of counters."""
    span = f"{use.since or 'an unknown time'} to {use.until or 'an unknown time'}"
    policy = "" if use.policy is None else str(use.policy)
    return (use.of, policy, _VERDICTS[use.verdict], f"{use.packets:,}", str(use.nodes), span)


@dataclass(frozen=True, slots=True)
class NodeItem:
    """A node with something to tell, as the page shows it below the table."""

    name: str
    said: str
    facts: tuple[tuple[str, str, str], ...]
    findings: tuple[tuple[str, str], ...]


def node_items(rows: Iterable[NodeRow]) -> Iterator[NodeItem]:
    """Those whose rules were read, the ones with the most findings first."""
    read = [row for row in rows if row.read is not None]
    for row in sorted(read, key=lambda row: (-len(row.findings), row.name)):
        yield NodeItem(
            name=row.name,
            said=_said(row),
            facts=tuple((fact.topic, fact.value, _detail(fact)) for fact in row.facts),
            findings=tuple((finding.id, _shortened(finding.detail, row.name)) for finding in row.findings),
        )


def _shortened(detail: str, node: str) -> str:
    """What stands below the node's name need not begin with it."""
    return detail.removeprefix(f"node {node}: ").removeprefix(f"node {node} ")


def _said(row: NodeRow) -> str:
    number = len(row.findings)
    found = "nothing found" if not number else "1 finding" if number == 1 else f"{number} findings"
    return found if row.whole else f"{found}, read in part"


def _detail(fact: Fact) -> str:
    states: Mapping[str, str] = {"active": "", "present": "there", "absent": "not there", "unknown": "not known"}
    evidence = "; ".join(f"{one.object} {one.field} {one.value}".strip() for one in fact.evidence[:1])
    return "; ".join(part for part in (states[fact.state], fact.detail, evidence) if part)
