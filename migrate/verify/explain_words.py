"""The sentences of an explanation."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.documents import AskedPolicy
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NAMES, Direction, End, EndKind, Flow
from migrate.model.intervals import IntervalSet
from migrate.model.ruleset import Action, Decision, Place, Provenance, Rule, Traffic, at, carries, holds

_MOST_PORTS = 4
UNSEEN = "no policy looks at what a node passes on for a Service"


def not_a_pod(own: End) -> str:
    """Why nothing is asked at an end that is no pod."""
    if own.kind is EndKind.OUTSIDE:
        return f"{own.address} is outside the cluster, where none of these policies acts"
    return f"{own} is no pod, and these policies select pods only"


def free_node(own: End, peer: End) -> str:
    """Why nothing polices a node, or the outside, where the engine may police nodes."""
    if own.kind is EndKind.OUTSIDE:
        return not_a_pod(own)
    if own.node_name == peer.node_name:
        return f"host endpoints do not police what goes between {own} and its own pods"
    return f"no host endpoint protects {own}, so it is free"


def depends(reason: str, verdict: str) -> str:
    """Why one side of a connection through a Service has no answer, though the whole may have one."""
    also = "" if verdict == "unknown" else " (either way the verdict is the same)"
    return f"it depends on the node that the connection comes in at and on whom policies see then{also}: {reason}"


def from_entry(decision: Decision) -> str:
    """What was said of a connection under the address of the node that it came in at."""
    if decision.rule is not None:
        return f"{by_rule(decision.rule, decision.action)}, which sees the node that it comes in at"
    done = "denies" if decision.action is Action.ALLOW else "allows"
    end = "" if decision.action is Action.ALLOW else ": default deny"
    return f"no rule {done} it under the address of the node that it comes in at{end}"


def exempt(who: str, own: End, peer: End) -> str:
    """Why an engine does not look at traffic between a pod and this peer."""
    if at(Place.ITSELF, peer, own):
        return f"{who} never checks what a pod sends to itself"
    if at(Place.OWN_NODE, peer, own):
        return f"{who} never checks this way between a pod and its own node"
    if peer.address.version == 6:
        return f"{who} checks IPv4 only, and this is IPv6"
    return f"{who} never checks this peer"


def free(own: End, direction: Direction) -> str:
    """Why nothing polices a pod in a direction."""
    return f"no policy selects {own} for {direction.value}, so it is free"


def not_known(places: Sequence[Provenance]) -> str:
    """Why a side has no answer."""
    first, *more = sorted({str(place).strip() for place in places})
    also = f" and {len(more)} more" if more else ""
    return f"{first}{also} may decide it, and cannot be read or is not modelled"


def by_rule(rule: Rule, action: Action) -> str:
    """What the deciding rule did."""
    word = "allowed" if action is Action.ALLOW else "denied"
    if rule.provenance is None:
        return f"{word} whatever policies say: {rule.note}"
    note = f" ({rule.note})" if rule.note else ""
    return f"{word} by {rule.provenance.ref}, {rule.provenance.field}{note}"


def on_node(decision: Decision, flow: Flow) -> str:
    """What the policies that protect a node, not a pod, did."""
    if decision.rule is not None:
        return f"{by_rule(decision.rule, decision.action)}, which protects the node"
    if decision.action is Action.ALLOW:
        return f"nothing that protects the node denies {flow.packet}"
    return f"the node is protected ({decision.stage or 'host endpoint'}) and nothing allows {flow.packet}: default deny"


def by_default(decision: Decision, names: Sequence[str], flow: Flow, direction: Direction) -> str:
    """What happened where no rule matched; `names` are the policies that were asked."""
    inward = direction is Direction.INGRESS
    own, peer = (flow.destination, flow.source) if inward else (flow.source, flow.destination)
    what = f"{flow.packet} {'from' if inward else 'to'} {peer}"
    if decision.action is Action.ALLOW:
        return f"no policy that selects {own} for {direction.value} denies {what}, and none asks for default deny"
    if len(names) == 1:
        return f"{names[0]} selects {own} for {direction.value} and does not allow {what}: default deny"
    if not names:
        return f"nothing allows {what}: default deny"
    return f"{len(names)} policies select {own} for {direction.value}; none allows {what}: default deny"


def passed_on(stage: str, rule: Rule | None) -> str:
    """How a tier that did not decide let a flow go on to the next."""
    if rule is None or rule.provenance is None:
        return f"{stage}: no rule matches; passed on to the next tier"
    return f"{stage}: passed on to the next tier by {rule.provenance.ref}, {rule.provenance.field}"


def near_miss(place: Provenance, rules: Sequence[Rule], flow: Flow, direction: Direction) -> AskedPolicy:
    """Why none of a policy's rules allows a flow: what comes nearest."""
    outcome, rule = _nearest([rule for rule in rules if rule.action is Action.ALLOW], flow, direction)
    line = rule.provenance.at if rule is not None and rule.provenance is not None else place.at
    return AskedPolicy(object=str(place.ref), outcome=outcome, at=None if line is None else str(line))


def _nearest(allows: Sequence[Rule], flow: Flow, direction: Direction) -> tuple[str, Rule | None]:
    """The first rule that has the peer, else the first that has the port."""
    inward = direction is Direction.INGRESS
    own, peer = (flow.destination, flow.source) if inward else (flow.source, flow.destination)
    side = "source" if inward else "destination"
    for rule in allows:
        if holds(rule.peer, peer, own) and holds(rule.own, own, own):
            ports = _ports(rule.traffic)
            return f"{_field(rule)} has this {side}, but {f'only {ports}' if ports else f'not {flow.packet}'}", rule
    for rule in allows:
        if any(carries(traffic, flow.packet, flow.source, flow.destination) for traffic in rule.traffic):
            return f"{_field(rule)} has {_packet(rule, flow)}, but not for this {side}", rule
    if not allows:
        return f"it allows nothing for {direction.value}", None
    if len(allows) == 1:
        return f"its rule {_field(allows[0])} is for another {side} and other ports", allows[0]
    return f"its {len(allows)} rules are for another {side} and other ports", None


def _packet(rule: Rule, flow: Flow) -> str:
    return "every port" if all(traffic == Traffic() for traffic in rule.traffic) else str(flow.packet)


def _field(rule: Rule) -> str:
    return rule.provenance.field if rule.provenance else "a rule"


def _ports(traffic: Sequence[Traffic]) -> str:
    """The packets of a rule in short; empty when they take more than a few words."""
    texts = [text for one in traffic for text in _one(one)]
    if "" in texts or len(texts) > _MOST_PORTS:
        return ""
    return ", ".join(dict.fromkeys(texts))


def _one(traffic: Traffic) -> list[str]:
    if traffic.protocols is None or traffic.not_ports or traffic.source_ports or traffic.not_source_ports:
        return [""]
    names = [PROTOCOL_NAMES.get(low, "") if low == high else "" for low, high in traffic.protocols]
    if traffic.ports is None:
        if traffic.icmp is None or not set(names) <= {PROTOCOL_NAMES[ICMP], PROTOCOL_NAMES[ICMPV6]}:
            return names
        return [f"{name} type {kind}" for name in names for kind, _ in traffic.icmp]
    ports = [*_numbers(traffic.ports.numbers), *traffic.ports.names]
    return [f"{name}/{port}" if name else "" for name in names for port in ports]


def _numbers(numbers: IntervalSet) -> list[str]:
    return [str(low) if low == high else f"{low}-{high}" for low, high in numbers]
