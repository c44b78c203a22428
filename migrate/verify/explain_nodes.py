"""An explanation, with what the rules on the nodes really do with its flows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from migrate.model.documents import ExplainedFlow, ExplainedNode, Explanation
from migrate.model.flow import Flow
from migrate.nodes.netfilter.node_rules import NodeRules, together
from migrate.verify.examples import example

_DOES = {"allow": "lets it through", "deny": "drops it"}
_SHOULD = {"allow": "allowed", "deny": "denied"}
_MOST_NAMED = 3


def with_nodes(done: Explanation, flows: Sequence[Flow], rules: NodeRules) -> Explanation:
    """The explanation of these flows, each with its nodes. Raises InputError when a dump is damaged beyond use."""
    by_name = {str(flow): flow for flow in flows}
    by_example = {msgspec.json.encode(example(flow)): flow for flow in flows}
    explained = tuple(_told(one, by_example[msgspec.json.encode(one.flow)], by_name, rules) for one in done.flows)
    return msgspec.structs.replace(done, flows=explained)


def _told(explained: ExplainedFlow, flow: Flow, by_name: dict[str, Flow], rules: NodeRules) -> ExplainedFlow:
    nodes = rules.explained(flow)
    others = ((by_name[name], rules.explained(by_name[name])) for name in explained.same if name in by_name)
    says = tuple(_differences(explained, [(flow, nodes), *others]))
    return msgspec.structs.replace(explained, nodes=nodes, because=(*explained.because, *says))


def _differences(explained: ExplainedFlow, members: Sequence[tuple[Flow, tuple[ExplainedNode, ...]]]) -> Iterator[str]:
    """Where nodes do something else than what the engine of today makes of the policies."""
    enforced = explained.truths[1].verdict
    if enforced == "unknown":
        return
    wrong = [(flow, nodes) for flow, nodes in members if together(nodes, flow) not in (enforced, "unknown")]
    if not wrong:
        return
    _, nodes = wrong[0]
    does = "allow" if enforced == "deny" else "deny"
    names = " and ".join(node.node for node in nodes if node.verdict == does)
    decided = next((step for node in nodes if node.verdict == does for step in node.steps[-1:]), None)
    place = f" at {decided.at}" if decided else ""
    which = "" if len(wrong) == len(members) else f" ({len(wrong)} of {len(members)} flows: {_named(wrong)})"
    yield (
        f"the node does something else than the policies: {names} {_DOES[does]}{place}, by the policies "
        f"it is {_SHOULD[enforced]} today{which}"
    )


def _named(wrong: Sequence[tuple[Flow, tuple[ExplainedNode, ...]]]) -> str:
    names = [str(flow) for flow, _ in wrong[:_MOST_NAMED]]
    return "; ".join(names) + (" and more" if len(wrong) > _MOST_NAMED else "")
