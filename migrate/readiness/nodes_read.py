"""How much of the nodes was read, in words: what was not read is not known, and said so."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.node_documents import NodeState, NodeStates
from migrate.nodes.examine import NOT_READ
from migrate.nodes.files import holds_rules
from migrate.readiness.documents import Documents

RULES = "iptables, ipsets, nftables and HNS"


def unread(states: NodeStates) -> int:
    """The number of the cluster's nodes that were not read."""
    return sum(finding.id == NOT_READ for finding in states.findings)


def basis(states: NodeStates | None) -> str:
    """Which nodes were inspected, as a part of a sentence."""
    if states is None:
        return "no rules of a node were inspected"
    inspected = sum(has_rules(node) for node in states.nodes)
    return f"the rules of {inspected} of {len(states.nodes) + unread(states)} nodes were inspected"


def has_rules(state: NodeState) -> bool:
    """Whether the rules of the node are in its dump."""
    return holds_rules(state.system == "windows", (file.name for file in state.files))


def not_known(documents: Documents) -> Iterator[str]:
    """What is not known of the nodes, in sentences."""
    states = documents.nodes
    if states is None:
        yield f"Node state: {RULES} were not read; what is enforced may differ from the policies."
        return
    if documents.nodes_outdated:
        yield "Node state: the nodes were compared with another snapshot, or with none; run `migrate scan` again."
    missing = [str(finding.subject.name) for finding in states.findings if finding.id == NOT_READ and finding.subject]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield f"Node state: {', '.join(missing[:3])}{more} {'was' if len(missing) == 1 else 'were'} not read."
    partly = [node.name for node in states.nodes if not node.complete]
    if partly:
        more = f" and {len(partly) - 3} more" if len(partly) > 3 else ""
        yield f"Node state: {', '.join(partly[:3])}{more} could only be read in part."
