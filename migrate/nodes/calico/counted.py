"""What Calico's chains say by themselves: settings in force, what is logged, and what rules have counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from migrate.model.documents import Fact
from migrate.model.flow import Direction
from migrate.model.node_documents import RuleHits
from migrate.model.node_state import Chain, Ending, Log, PortIn, ProtocolIs, Reject, Rule
from migrate.model.refs import Location
from migrate.nodes.calico.names import POD, POLICY, PREFIX, chain_name, interface_of
from migrate.nodes.calico.objects import CalicoObjects
from migrate.nodes.calico.shapes import found_in
from migrate.nodes.calico.tables import Chains, says, stops
from migrate.nodes.wording import clean

_Did: TypeAlias = Literal["allowed", "denied", "logged", "went-on"]
_DID: Mapping[str, _Did] = {"Allow": "allowed", "Deny": "denied", "Log": "logged", "Pass": "went-on"}
_NO_POLICY = "if no policies passed packet"
_ACCEPTED = "Policy explicitly accepted packet."
_TO_HOST = "Configured DefaultEndpointToHostAction"
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}


def chain_facts(chains: Chains) -> Iterator[Fact]:
    """Settings of Felix that show in its chains."""
    family = f"IPv{chains.family}"
    for name, word in (("cali-failsafe-in", "in"), ("cali-failsafe-out", "out")):
        chain = chains.by_name.get(name)
        if chain is not None:
            ports = ", ".join(port for rule in chain.rules for port in _ports(rule))
            yield Fact(topic="calico-failsafe", value=f"{word} {family}", detail=ports or "no port")
    for prefix, count in sorted(_log_prefixes(chains).items()):
        detail = f"{family}: {count} rules of policies write lines with this prefix into the kernel's log"
        yield Fact(topic="calico-log", value=clean(prefix), detail=detail)
    yield from _actions(chains, family)


def _ports(rule: Rule) -> Iterator[str]:
    protocol = next((c.number for c in rule.conditions if isinstance(c, ProtocolIs)), 0)
    for condition in rule.conditions:
        if isinstance(condition, PortIn):
            for low, high in condition.ranges:
                yield f"{_PROTOCOLS.get(protocol, protocol)} {low if low == high else f'{low}-{high}'}"


def _log_prefixes(chains: Chains) -> dict[str, int]:
    found: dict[str, int] = {}
    for chain in chains.own():
        for rule in chain.rules:
            if isinstance(rule.target, Log) and rule.target.group is None:
                found[rule.target.prefix] = found.get(rule.target.prefix, 0) + 1
    return found


def _actions(chains: Chains, family: str) -> Iterator[Fact]:
    """What becomes of packets that policies accept, and of those from pods to the node."""
    for name, text, topic in (
        ("FORWARD", _ACCEPTED, "calico-allow-action"),
        ("cali-wl-to-host", _TO_HOST, "calico-endpoint-to-host"),
    ):
        chain = chains.by_name.get(name)
        for rule in () if chain is None else chain.rules:
            if text in rule.comments:
                yield Fact(topic=topic, value=_word(rule), detail=family)


def _word(rule: Rule) -> str:
    if isinstance(rule.target, Ending):
        return rule.target.value.lower()
    return "reject" if isinstance(rule.target, Reject) else "return"


def chain_hits(chains: Chains, objects: CalicoObjects | None, node: str) -> Iterator[RuleHits]:
    """What the rules of policies counted, and those that drop what no policy passed. Without counters nothing."""
    pods = {} if objects is None else _pods(objects, node)
    for direction in (Direction.INGRESS, Direction.EGRESS):
        policies = {} if objects is None else objects.by_name
        by_chain = {chain_name(POLICY[direction], name): policy.ref for name, policy in policies.items()}
        for chain in chains.own():
            if chain.name.startswith(POLICY[direction]):
                said = _said(chain)
                for number, rule in enumerate(found_in(chain, chains.marks) or (), start=1):
                    if rule.counters is not None:
                        yield RuleHits(
                            of=f"{said} rule {number} (IPv{chains.family})",
                            verdict=_DID[rule.shape.action],
                            packets=rule.counters.packets,
                            bytes=rule.counters.bytes,
                            subject=by_chain.get(chain.name),
                            at=Location(chains.ruleset.source, rule.line),
                        )
            elif chain.name.startswith(POD[direction]):
                interface = chain.name.removeprefix(POD[direction])
                of = f"{pods.get(interface, interface)} {direction.value}: no policy passed it (IPv{chains.family})"
                yield from _drops(chains, chain, of)


def _drops(chains: Chains, chain: Chain, of: str) -> Iterator[RuleHits]:
    for rule in chain.rules:
        if stops(rule) and says(rule, _NO_POLICY) and rule.counters is not None:
            packets, size = rule.counters.packets, rule.counters.bytes
            yield RuleHits(of=of, verdict="denied", packets=packets, bytes=size, at=chains.at(rule))


def _pods(objects: CalicoObjects, node: str) -> dict[str, str]:
    return {
        interface_of(pod.namespace, pod.name, prefix): f"pod {pod}"
        for pod, _ in objects.local(node)
        for prefix in objects.prefixes
    }


def _said(chain: Chain) -> str:
    """What a chain's comment says of its policy, else its name."""
    for rule in chain.rules[:1]:
        for text in rule.comments:
            if text.endswith((" ingress", " egress")):
                return clean(text)
    return clean(chain.name.removeprefix(PREFIX))
