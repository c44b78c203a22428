"""Calico's nftables mode in the form of its iptables mode, so that both are compared alike.

There is one table "calico" a family; its chains are named filter-cali-FORWARD and so on, its sets as IP sets with -
in place of the colon, and pods are found by verdict maps. Facts: projectcalico/calico felix/nftables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from migrate.model.addresses import Network
from migrate.model.ip_sets import AddressSpan, IpSet, IpSets, Member, Part, ProtocolPort
from migrate.model.node_state import (
    AddressIs,
    Chain,
    Comment,
    Condition,
    ConnectionIn,
    DeviceIs,
    End,
    Ending,
    IcmpIs,
    InSet,
    Jump,
    Log,
    MarkChange,
    MarkIs,
    Match,
    OtherTarget,
    PortIn,
    ProtocolIs,
    Rule,
    Ruleset,
    Table,
    Target,
    Unread,
)
from migrate.sources.node.icmp_names import icmp_type
from migrate.sources.node.nft_json import (
    NftAtom,
    NftElement,
    NftLog,
    NftMangle,
    NftMatch,
    NftOther,
    NftRule,
    NftRuleset,
    NftSet,
    NftStatement,
    NftTable,
    NftVerdict,
    NftVmap,
)

TABLE = "calico"
_LINE = 1
"""nft prints its JSON on one line."""
_FAMILIES = {4: "ip", 6: "ip6"}
_TABLES = ("filter", "nat", "mangle", "raw")
_SET = re.compile(r"(cali[46]0(?:svcnoport|svc|s|n))-")
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "ipv6-icmp": 58, "icmpv6": 58, "udplite": 136}
_ENDS = {"saddr": End.SOURCE, "daddr": End.DESTINATION, "sport": End.SOURCE, "dport": End.DESTINATION}
_ENDINGS = {"accept": Ending.ACCEPT, "drop": Ending.DROP, "return": Ending.RETURN, "queue": Ending.QUEUE}
_MARK = re.compile(r"meta mark & (0x[0-9a-f]+|\d+)")
_CHANGE = re.compile(r"meta mark(?: & (?P<kept>0x[0-9a-f]+|\d+))?(?: [|^] (?P<set>0x[0-9a-f]+|\d+))?")
_SKIPPED = frozenset({"counter", "notrack", "xt"})


def as_ruleset(nft: NftRuleset, family: int) -> Ruleset | None:
    """The tables of Calico's nftables mode for an IP version; None when there is none."""
    table = nft.table(_FAMILIES[family], TABLE)
    if table is None:
        return None
    made = (_table(table, name, family) for name in _TABLES)
    return Ruleset(nft.source, tuple(found for found in made if found.chains or found.name == "filter"))


def as_ip_sets(nft: NftRuleset, family: int) -> IpSets | None:
    """The sets of Calico's nftables mode under the names of IP sets; None when there is no table."""
    table = nft.table(_FAMILIES[family], TABLE)
    if table is None:
        return None
    return IpSets(nft.source, tuple(_ip_set(found, family) for found in table.sets if not found.is_map))


def _table(table: NftTable, name: str, family: int) -> Table:
    prefix = f"{name}-"
    chains = (chain for chain in table.chains if chain.name.startswith(prefix))
    made = (
        Chain(
            chain.name.removeprefix(prefix),
            _LINE,
            Ending.DROP if chain.policy == "drop" else Ending.ACCEPT if chain.hook else None,
            rules=tuple(rule for nft_rule in chain.rules for rule in _rules(nft_rule, table, prefix)),
        )
        for chain in chains
    )
    return Table(name, _LINE, family, chains=tuple(made))


def _rules(rule: NftRule, table: NftTable, prefix: str) -> Iterator[Rule]:
    """The rule, or one for each thing that it does."""
    conditions: list[Condition] = [Comment(text.strip()) for text in (rule.comment or "").split(";") if text.strip()]
    unread: list[str] = []
    targets: list[tuple[tuple[Condition, ...], Target | None]] = []
    for statement in _joined(rule.statements):
        if isinstance(statement, NftMatch):
            conditions += _conditions(statement)
        elif isinstance(statement, NftVmap):
            targets += _mapped(statement, table, prefix)
        else:
            target = _target(statement, prefix)
            if target is not None:
                targets.append(((), target))
    unread += [condition.text for condition in conditions if isinstance(condition, Unread)]
    for more, target in targets or [((), None)]:
        matches = (Match("", (*conditions, *more)),)
        yield Rule(_LINE, matches, target, rule.counters, tuple(unread))


def _joined(statements: Iterable[NftStatement]) -> Iterator[NftStatement]:
    """An ICMP type and its code stand in two statements."""
    waiting: NftMatch | None = None
    for statement in statements:
        is_code = isinstance(statement, NftMatch) and statement.left in ("icmp code", "icmpv6 code")
        if waiting is not None and is_code and isinstance(statement, NftMatch):
            yield NftMatch(waiting.left, waiting.negated, (*waiting.values, *statement.values))
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = None
        if isinstance(statement, NftMatch) and statement.left in ("icmp type", "icmpv6 type"):
            waiting = statement
        else:
            yield statement
    if waiting is not None:
        yield waiting


def _conditions(match: NftMatch) -> list[Condition]:
    owner, _, what = match.left.partition(" ")
    if match.set is not None:
        return [_in_set(match)]
    if owner in ("ip", "ip6") and what in ("saddr", "daddr"):
        return [_address(match, _ENDS[what])]
    if what in ("sport", "dport") and owner in ("th", *_PROTOCOLS):
        ports = PortIn(_ENDS[what], tuple(_port_range(value) for value in match.values), match.negated)
        return [ports] if owner == "th" else [ProtocolIs(_PROTOCOLS[owner]), ports]
    if match.left in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
        return [_protocol(match)]
    if what == "type" and owner in ("icmp", "icmpv6"):
        return _icmp(match, _PROTOCOLS[owner])
    return [_other(match, what)]


def _other(match: NftMatch, what: str) -> Condition:
    texts = tuple(value for value in match.values if isinstance(value, str))
    mark = _MARK.fullmatch(match.left)
    first = match.values[0] if match.values else None
    if mark is not None and isinstance(first, int):
        return MarkIs(first, int(mark[1], 0), match.negated)
    if match.left in ("meta iifname", "meta oifname") and len(texts) == 1:
        end = End.SOURCE if what == "iifname" else End.DESTINATION
        return DeviceIs(end, re.sub(r"\*$", "+", texts[0]), match.negated)
    if match.left == "ct state" and texts:
        return ConnectionIn(tuple(text.upper() for text in texts), match.negated)
    return Unread(f"{match.left} {match.values}")


def _in_set(match: NftMatch) -> Condition:
    parts = match.left.split(" . ")
    word = parts[0].rpartition(" ")[2]
    if word not in _ENDS or match.set is None:
        return Unread(f"{match.left} @{match.set}")
    ends = (_ENDS[word],) * (2 if len(parts) > 1 else 1)
    return InSet(_SET.sub(r"\1:", match.set), ends, match.negated)


def _address(match: NftMatch, end: End) -> Condition:
    nets = [net for value in match.values if (net := _network(value)) is not None]
    if len(match.values) != 1 or len(nets) != 1:
        return Unread(f"{match.left} {match.values}")
    return AddressIs(end, nets[0], match.negated)


def _protocol(match: NftMatch) -> Condition:
    value = match.values[0] if len(match.values) == 1 else None
    number = _PROTOCOLS.get(value) if isinstance(value, str) else value
    if not isinstance(number, int):
        return Unread(f"{match.left} {match.values}")
    return ProtocolIs(number, match.negated)


def _icmp(match: NftMatch, protocol: int) -> list[Condition]:
    if not match.values:
        return [Unread(match.left)]
    kind, code = match.values[0], match.values[1] if len(match.values) > 1 else None
    number = icmp_type(protocol, kind)[0] if isinstance(kind, str) else kind
    if not isinstance(number, int) or (code is not None and not isinstance(code, int)):
        return [Unread(f"{match.left} {match.values}")]
    return [ProtocolIs(protocol), IcmpIs(number, code, match.negated)]


def _port_range(value: NftAtom) -> tuple[int, int]:
    if isinstance(value, tuple) and isinstance(value[0], int) and isinstance(value[1], int):
        return value[0], value[1]
    return (value, value) if isinstance(value, int) else (0, 65535)


def _network(value: NftAtom) -> Network | None:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    return ip_network(value) if isinstance(value, IPv4Address | IPv6Address) else None


def _target(statement: NftStatement, prefix: str) -> Target | None:
    if isinstance(statement, NftVerdict):
        return _verdict(statement, prefix)
    if isinstance(statement, NftLog):
        return Log(statement.prefix, statement.group)
    if isinstance(statement, NftMangle) and statement.left == "meta mark":
        change = _CHANGE.fullmatch(statement.value)
        if change is None:
            return OtherTarget("mark", goes_on=True)
        kept = int(change["kept"], 0) if change["kept"] else 0xFFFFFFFF
        value = int(change["set"], 0) if change["set"] else 0
        return MarkChange(value, (~kept & 0xFFFFFFFF) | value)
    if isinstance(statement, NftOther) and statement.name in _SKIPPED:
        return None
    return OtherTarget(statement.name if isinstance(statement, NftOther) else "mangle")


def _verdict(verdict: NftVerdict, prefix: str) -> Target | None:
    if verdict.chain is not None:
        return Jump(verdict.chain.removeprefix(prefix), final=verdict.kind == "goto")
    return _ENDINGS.get(verdict.kind)


def _mapped(vmap: NftVmap, table: NftTable, prefix: str) -> list[tuple[tuple[Condition, ...], Target | None]]:
    """What each entry of a map of interfaces leads to."""
    named = table.set_named(vmap.map) if vmap.map is not None else None
    entries: tuple[NftElement, ...] = named.elements if named is not None else vmap.entries
    end = End.SOURCE if "iif" in vmap.left else End.DESTINATION
    found: list[tuple[tuple[Condition, ...], Target | None]] = []
    for entry in entries:
        device = entry.key[0] if entry.key else ""
        if isinstance(device, str) and entry.verdict is not None:
            name = re.sub(r"\*$", "+", device)
            found.append(((DeviceIs(end, name),), _verdict(entry.verdict, prefix)))
    return found


def _ip_set(found: NftSet, family: int) -> IpSet:
    kind = "hash:ip,port" if len(found.types) > 1 else "hash:net"
    members = (Member(_LINE, parts) for element in found.elements if (parts := _parts(element)))
    return IpSet(_SET.sub(r"\1:", found.name), kind, _LINE, family, members=tuple(members))


def _parts(element: NftElement) -> tuple[Part, ...]:
    if not element.key:
        return ()
    first = element.key[0]
    if isinstance(first, tuple) and isinstance(first[0], IPv4Address | IPv6Address):
        high = first[1]
        return (AddressSpan(first[0], high),) if isinstance(high, IPv4Address | IPv6Address) else ()
    net = _network(first)
    if net is None:
        return ()
    if len(element.key) < 3:
        return (net,)
    protocol = element.key[1]
    number = _PROTOCOLS.get(protocol) if isinstance(protocol, str) else protocol
    return (net, ProtocolPort(number, _port_range(element.key[2]))) if isinstance(number, int) else ()
