"""Rules that use bits of packet marks that are Cilium's, and rules that nobody of the cluster is known for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeAlias, TypeVar

import msgspec

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.model.node_state import (
    Chain,
    ConnectionMarkCopy,
    Ending,
    Jump,
    Log,
    MarkChange,
    MarkCopy,
    MarkIs,
    OtherTarget,
    Reject,
    Rule,
    Ruleset,
    Table,
    Translate,
)
from migrate.model.raw import Json
from migrate.model.refs import Location
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.host import Host
from migrate.nodes.rule_owners import owner
from migrate.nodes.runs import runs
from migrate.nodes.software import CiliumOnNode, Software, cilium_on_node, known
from migrate.nodes.wording import clean, first_few

Way: TypeAlias = Literal["sets", "asks for"]
_BUILT_IN = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))
_OF_PODS = frozenset(("FORWARD", "PREROUTING", "POSTROUTING"))
_LISTED = 3
_GROUPS = 10
"""Owners of rules that are told one by one."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Use:
    """A rule that sets or asks for bits of a packet's mark."""

    who: str
    program: Software | None
    way: Way
    bits: int
    at: Location


def examine_marks(host: Host, view: ClusterView | None) -> Iterator[Finding | Fact]:
    """One finding per program whose marks overlap with Cilium's, and one per program that nobody expects.

    The marks of the policy engine that runs are a fact: they go with it.
    """
    uses: dict[str, list[_Use]] = {}
    for use in (*_of_iptables(host), *_of_nftables(host)):
        uses.setdefault(use.who, []).append(use)
    going = [who for who, several in uses.items() if _goes(several[0].program, view)]
    for who in sorted(going):
        several = uses.pop(who)
        yield Fact(topic="marks", value=who, detail=_said(several), evidence=(_evidence(several),))
    for who, several in _few_groups(uses):
        yield _overlap(host, who, several)
    yield from _other_rules(host)


def _goes(program: Software | None, view: ClusterView | None) -> bool:
    """Whether it is a policy engine that Cilium replaces, as far as anybody knows."""
    return program is not None and program.role == "engine" and (view is None or runs(view, program) is not False)


def _evidence(several: Sequence[_Use]) -> Evidence:
    return Evidence(object=str(min(use.at for use in several)), field="marks", value=hex(several[0].bits))


def _few_groups(groups: Mapping[str, list[_Item]]) -> Iterator[tuple[str, list[_Item]]]:
    """The largest groups by name, and the rest as one: a node may have thousands of chains that nobody knows."""
    by_size = sorted(groups, key=lambda who: (-len(groups[who]), who))
    for who in sorted(by_size[:_GROUPS]):
        yield who, groups[who]
    rest = [item for who in sorted(by_size[_GROUPS:]) for item in groups[who]]
    if rest:
        yield f"{len(groups) - _GROUPS} others ({first_few(sorted(by_size[_GROUPS:]))})", rest


def _of_iptables(host: Host) -> Iterator[_Use]:
    mask = cilium_on_node().mark_mask
    for ruleset in host.dump.rulesets:
        for table in ruleset.tables:
            for chain in table.chains:
                for rule in chain.rules:
                    for way, bits in _bits(rule):
                        program = owner(chain, rule) if bits & mask else None
                        if bits & mask and (program is None or program.id != "cilium"):
                            yield _Use(_who(program, chain), program, way, bits & mask, ruleset.at(rule))


def _bits(rule: Rule) -> Iterator[tuple[Way, int]]:
    """The bits of the packet's mark that a rule writes, and those that it asks for."""
    target = rule.target
    if isinstance(target, MarkChange):
        yield "sets", target.value | target.mask
    if isinstance(target, ConnectionMarkCopy) and target.way is MarkCopy.RESTORE:
        yield "sets", target.packet_mask
    for condition in rule.conditions:
        if isinstance(condition, MarkIs) and not condition.connection:
            yield "asks for", condition.mask


def _who(program: Software | None, chain: Chain) -> str:
    if program is not None:
        return program.title
    return (
        f"somebody who writes to {chain.name}" if chain.name in _BUILT_IN else f"the owner of chain {clean(chain.name)}"
    )


def _of_nftables(host: Host) -> Iterator[_Use]:
    """Statements `meta mark set`; of `mark | 5` only the bits of 5 are written."""
    mask = cilium_on_node().mark_mask
    for rule in host.nft.rules if host.nft is not None else ():
        bits = reduce(int.__or__, (_written(part) for part in rule.parts if b"mark" in bytes(part)), 0)
        programs = known().owners("tables", rule.table)
        if bits & mask and not any(program.id == "cilium" for program in programs) and host.nft is not None:
            who = programs[0].title if programs else f"the owner of nftables table {clean(rule.table)}"
            yield _Use(who, programs[0] if programs else None, "sets", bits & mask, host.nft.at)


def _written(part: msgspec.Raw) -> int:
    try:
        statement: Json = msgspec.json.decode(part)
    except (msgspec.DecodeError, RecursionError):
        return 0
    mangle = statement.get("mangle") if isinstance(statement, dict) else None
    if not isinstance(mangle, dict) or mangle.get("key") != {"meta": {"key": "mark"}}:
        return 0
    return _changed(mangle.get("value"))


def _changed(value: Json) -> int:
    """The bits that an expression may change: of `mark | 5` those of 5, of a plain number all."""
    if isinstance(value, dict) and len(value) == 1:
        operator, operands = next(iter(value.items()))
        if operator in {"|", "^", "&"} and isinstance(operands, list) and len(operands) == 2:
            number = next((one for one in operands if isinstance(one, int)), None)
            rest = next((one for one in operands if not isinstance(one, int)), None)
            if number is not None:
                own = ~number & 0xFFFFFFFF if operator == "&" else number
                return own | (0 if rest == {"meta": {"key": "mark"}} else _changed(rest))
    return 0xFFFFFFFF


def _said(several: Sequence[_Use]) -> str:
    cilium, parts = cilium_on_node(), []
    for way in ("sets", "asks for"):
        bits = reduce(int.__or__, (use.bits for use in several if use.way == way), 0)
        if bits:
            count = sum(use.way == way for use in several)
            parts.append(f"{way} {bits:#x} in {count} {'rule' if count == 1 else 'rules'}")
    return f"{' and '.join(parts)}, within Cilium's {cilium.mark_mask:#x}{_meanings(cilium, several)}"


def _overlap(host: Host, who: str, several: Sequence[_Use]) -> Finding:
    return Finding(
        id="NODE-MARK-OVERLAP",
        detail=f"node {host.dump.manifest.name}: {who} {_said(several)}",
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=min(use.at for use in several),
    )


def _meanings(cilium: CiliumOnNode, several: Sequence[_Use]) -> str:
    said = [f"{mark:#x} is {what}" for mark, what in cilium.marks.items() if any(use.bits == mark for use in several)]
    return f" ({', '.join(said)})" if said else ""


@dataclass(frozen=True, slots=True)
class _Other:
    """A rule of the kernel's own chains that no program of the cluster is known for."""

    chain: str
    table: str
    at: Location
    text: str


def _other_rules(host: Host) -> Iterator[Finding | Fact]:
    found: dict[str, list[_Other]] = {}
    for ruleset in host.dump.rulesets:
        for table in ruleset.tables:
            for chain in table.chains:
                for rule in chain.rules if chain.name in _BUILT_IN else ():
                    program = owner(chain, rule)
                    if program is None or program.role == "host":
                        who = program.title if program is not None else _stranger(rule)
                        found.setdefault(who, []).append(_other(ruleset, table, chain, rule))
    for who, several in _few_groups(found):
        yield _of_others(host, who, several)
    yield from _tables(host)
    if found:
        count = sum(len(several) for several in found.values())
        yield Finding(
            id="WRK-IPTABLES-USERS",
            detail=f"node {host.dump.manifest.name}: {count} rules in iptables of {first_few(sorted(found))}",
            effect=Effect.UNKNOWN,
            subject=host.dump.node,
            at=min(each.at for several in found.values() for each in several),
        )


def _stranger(rule: Rule) -> str:
    """Whose a rule of nobody known is: the chain that it leads to, its comment, or nobody."""
    if isinstance(rule.target, Jump):
        return f"the owner of chain {clean(rule.target.chain)}"
    return f'whoever comments "{clean(rule.comments[0])}"' if rule.comments else "somebody unknown"


def _other(ruleset: Ruleset, table: Table, chain: Chain, rule: Rule) -> _Other:
    target = rule.target
    word = target.value if isinstance(target, Ending) else _word(target)
    return _Other(chain.name, table.name, ruleset.at(rule), f"{table.name} {chain.name} → {word}")


def _word(target: object) -> str:
    if isinstance(target, Translate):
        return target.kind.value
    if isinstance(target, Jump):
        return clean(target.chain)
    if isinstance(target, OtherTarget):
        return clean(target.name)
    return {Reject: "REJECT", Log: "LOG", MarkChange: "MARK"}.get(type(target), "no verdict")


def _of_others(host: Host, who: str, several: Sequence[_Other]) -> Finding:
    """What becomes of them: routed traffic may go past the host's rules, the node's own traffic does not."""
    of_pods = [each for each in several if each.chain in _OF_PODS]
    own = [each for each in several if each.chain not in _OF_PODS]
    places = list(dict.fromkeys(each.text for each in several))
    parts = [f"node {host.dump.manifest.name}: rules of {who} ({first_few(places, _LISTED)})"]
    if of_pods:
        parts.append(
            f"{len(of_pods)} of them are on the way of pods' traffic, past which Cilium goes with eBPF host routing"
        )
    if own:
        parts.append(
            f"{len(own)} of them are about the node's own traffic, where they stay in force while the node stays"
        )
    return Finding(
        id="NODE-OTHER-RULES",
        detail="; ".join(parts),
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=several[0].at,
    )


def _tables(host: Host) -> Iterator[Finding | Fact]:
    """Tables of nftables of nobody known, with a hook of their own; those of other known programs are facts."""
    if host.nft is None:
        return
    found: dict[tuple[str, str], list[str]] = {(table.family, table.name): [] for table in host.nft.tables}
    for chain in host.nft.chains:
        if chain.hook and (chain.family, chain.table) in found:
            found[chain.family, chain.table].append(chain.hook)
    for (family, name), where in sorted(found.items()):
        programs = known().owners("tables", name)
        unexpected = not programs or programs[0].role == "host"
        if where and unexpected:
            shown = Evidence(str(host.nft.at), f"{family} {clean(name)}", ", ".join(sorted(set(where))))
            yield Fact(topic="nftables-table", value=f"{family} {clean(name)}", evidence=(shown,))
            yield _foreign_table(host, f"{family} {clean(name)}", programs, sorted(set(where)), host.nft.at)


def _foreign_table(host: Host, name: str, programs: Sequence[Software], hooks: Sequence[str], at: Location) -> Finding:
    who = programs[0].title if programs else "somebody unknown"
    return Finding(
        id="NODE-OTHER-RULES",
        detail=(
            f"node {host.dump.manifest.name}: the nftables table {name} of {who} has rules at {', '.join(hooks)}; at "
            "forward, prerouting and postrouting Cilium goes past them with eBPF host routing"
        ),
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=at,
    )
