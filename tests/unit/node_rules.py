"""Rules and set members as text again, in the form of iptables-save and ipset save."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network

from migrate.model.addresses import Address
from migrate.model.ip_sets import (
    AddressSpan,
    DeviceName,
    IpSet,
    MacAddress,
    MarkBits,
    Member,
    Part,
    ProtocolIcmp,
    ProtocolPort,
    SetName,
)
from migrate.model.node_state import (
    AddressBetween,
    AddressIs,
    AddressTypeIs,
    BridgeState,
    Comment,
    Condition,
    ConnectionDirection,
    ConnectionIn,
    ConnectionMarkChange,
    ConnectionMarkCopy,
    ConnectionStatusIn,
    Counters,
    DeviceIs,
    End,
    Ending,
    EveryNth,
    IcmpIs,
    InSet,
    IsLaterFragment,
    Jump,
    Log,
    MarkChange,
    MarkIs,
    Match,
    Option,
    OtherTarget,
    OwnerIs,
    PortIn,
    ProtocolIs,
    RandomShare,
    Reject,
    Rule,
    Ruleset,
    TcpFlagsAre,
    TrackedAddressIs,
    TrackedPortIs,
    Translate,
    Translation,
    Unread,
    Untracked,
)

_PROTOCOLS = {1: "icmp", 4: "ipencap", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "ipv6-icmp", 132: "sctp"}
_PROTOCOLS |= {136: "udplite"}
_PLAIN = re.compile(r"[-_A-Za-z0-9]+")
_TEXTS = {"path", "bytecode", "u32", "string", "log-prefix", "nflog-prefix", "hashlimit-name"}


def lines(ruleset: Ruleset, counters: bool) -> list[str]:
    """The rules of all tables as their save program writes them, without headers, in the order of their lines."""
    found: list[str] = []
    for table in ruleset.tables:
        found.append(f"*{table.name}")
        for chain in table.chains:
            found.append(f":{chain.name} {chain.policy.value if chain.policy else '-'} {_counted(chain.counters)}")
        rules = [(rule.line, chain.name, rule) for chain in table.chains for rule in chain.rules]
        for _, name, rule in sorted(rules, key=lambda entry: entry[0]):
            found.append((f"{_counted(rule.counters)} " if counters else "") + rule_line(name, rule))
        found.append("COMMIT")
    return found


def rule_line(chain: str, rule: Rule) -> str:
    """One rule."""
    words = ["-A", chain, *(_match(match) for match in rule.matches)]
    if rule.target is not None:
        words.append(_target(rule.target))
    return " ".join(words)


def text(value: str) -> str:
    """A text with the quotes that iptables-save gives it."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + re.sub(r"([\"'\\])", r"\\\1", value) + '"'


def _counted(counters: Counters | None) -> str:
    return f"[{counters.packets}:{counters.bytes}]" if counters else ""


def _match(match: Match) -> str:
    words = [f"-m {match.module}"] if match.module else []
    words += [_condition(match.module, condition) for condition in match.conditions]
    types = [condition for condition in match.conditions if isinstance(condition, AddressTypeIs)]
    if types and types[0].limit:
        words.append(f"--limit-iface-{types[0].limit}")
    return " ".join(words)


def _condition(module: str, condition: Condition) -> str:
    negated = getattr(condition, "negated", False)
    return ("! " if negated else "") + _positive(module, condition)


def _positive(module: str, condition: Condition) -> str:
    match condition:
        case AddressIs(end, network):
            return f"-{end.value[0]} {network}"
        case AddressBetween(end, low, high):
            return f"--{end.value}-range {low}-{high}"
        case DeviceIs(end, name, _, bridged):
            way = "in" if end is End.SOURCE else "out"
            return f"--physdev-{way} {name}" if bridged else f"-{way[0]} {name}"
        case ProtocolIs(number):
            return f"-p {_PROTOCOLS.get(number, number)}"
        case IsLaterFragment():
            return "-f"
        case InSet(name, ends, _, exceptions_only, updates):
            more = (" --return-nomatch" if exceptions_only else "") + ("" if updates else " ! --update-counters")
            return f"--match-set {name} {','.join(end.value for end in ends)}{more}"
        case Comment(words):
            return f"--comment {text(words)}"
        case MarkIs(value, mask):
            return f"--mark {value:#x}" + ("" if mask == 0xFFFFFFFF else f"/{mask:#x}")
        case ConnectionIn(states):
            return f"--{'state' if module == 'state' else 'ctstate'} {','.join(states)}"
        case ConnectionStatusIn(statuses):
            return f"--ctstatus {','.join(statuses)}"
        case ConnectionDirection(original):
            return f"--ctdir {'ORIGINAL' if original else 'REPLY'}"
        case TrackedAddressIs(original, end, network):
            width = "" if network.prefixlen == network.max_prefixlen else f"/{network.prefixlen}"
            return f"--ct{'orig' if original else 'repl'}{end.value} {network.network_address}{width}"
        case TrackedPortIs(original, end, low, high):
            return f"--ct{'orig' if original else 'repl'}{end.value}port {_range(low, high)}"
        case PortIn(end, ranges):
            name = "port" if end is End.EITHER else f"{end.value[0]}port"
            return f"--{name}{'s' if module == 'multiport' else ''} {','.join(_range(*r) for r in ranges)}"
        case IcmpIs(kind, code):
            name = "icmpv6-type" if module == "icmp6" else "icmp-type"
            return f"--{name} " + ("any" if kind is None else str(kind) if code is None else f"{kind}/{code}")
        case _:
            return _rarer(condition)


def _rarer(condition: Condition) -> str:
    match condition:
        case TcpFlagsAre(looked_at, present):
            return f"--tcp-flags {','.join(looked_at)} {','.join(present)}"
        case AddressTypeIs(end, types):
            return f"--{end.value}-type {','.join(types)}"
        case BridgeState(state):
            return f"--physdev-is-{state}"
        case OwnerIs(kind, low, high):
            return f"--{kind}-owner {_range(low, high, '-')}"
        case RandomShare(probability):
            return f"--mode random --probability {probability:.11f}"
        case EveryNth(every, packet):
            return f"--mode nth --every {every} --packet {packet}"
        case Option():
            return _option(condition)
        case Unread(words):
            return words
    raise AssertionError(condition)


def _option(option: Option) -> str:
    values = [text(value) if option.name in _TEXTS else value for value in option.values]
    return " ".join([f"--{option.name}", *values])


def _range(low: int, high: int, mark: str = ":") -> str:
    return str(low) if low == high else f"{low}{mark}{high}"


def _target(target: object) -> str:
    match target:
        case Ending():
            return f"-j {target.value}"
        case Jump(chain, final):
            return f"{'-g' if final else '-j'} {chain}"
        case Reject(answer):
            return f"-j REJECT --reject-with {answer}" if answer else "-j REJECT"
        case MarkChange(value, mask):
            return f"-j MARK --set-xmark {value:#x}/{mask:#x}"
        case ConnectionMarkChange(value, mask):
            return f"-j CONNMARK --set-xmark {value:#x}/{mask:#x}"
        case ConnectionMarkCopy(way, packet, connection):
            return f"-j CONNMARK --{way.value}-mark --nfmask {packet:#x} --ctmask {connection:#x}"
        case Translate():
            return _translation(target)
        case Untracked():
            return "-j CT --notrack"
        case Log(prefix, group, options):
            name = "log" if group is None else "nflog"
            words = [f"-j {name.upper()}", *([f"--{name}-prefix {text(prefix)}"] if prefix else [])]
            words += [] if group is None else [f"--nflog-group {group}"]
            return " ".join([*words, *(_option(option) for option in options)])
        case OtherTarget(name, options):
            words = [option.text if isinstance(option, Unread) else _option(option) for option in options]
            return " ".join([f"-j {name}", *words])
    raise AssertionError(target)


def _translation(target: Translate) -> str:
    words = [f"-j {target.kind.value}"]
    ports = _range(*target.ports, "-") if target.ports else ""
    if target.kind in {Translation.MASQUERADE, Translation.REDIRECT}:
        words += [f"--to-ports {ports}"] if ports else []
    else:
        name = "to-destination" if target.kind is Translation.DNAT else "to-source"
        words.append(f"--{name} {_place(target.addresses, ports)}")
    return " ".join([*words, *(f"--{flag}" for flag in target.flags)])


def _place(addresses: tuple[Address, Address] | None, ports: str) -> str:
    if addresses is None:
        return f":{ports}"
    low, high = addresses
    written = str(low) if low == high else f"{low}-{high}"
    if not ports:
        return written
    return f"[{written}]:{ports}" if low.version == 6 else f"{written}:{ports}"


def set_lines(found: IpSet) -> list[str]:
    """A set and its members as ipset save writes them."""
    words = [word for name, value in found.options for word in ((name,) if value is None else (name, value))]
    return [" ".join(["create", found.name, found.kind, *words]), *(_member(found, m) for m in found.members)]


def _member(of: IpSet, member: Member) -> str:
    words = ["add", of.name, ",".join(_part(part) for part in member.parts)]
    words += [] if member.timeout is None else [f"timeout {member.timeout}"]
    words += ["nomatch"] if member.nomatch else []
    words += [f"packets {member.counters.packets} bytes {member.counters.bytes}"] if member.counters else []
    words += [] if member.comment is None else [f'comment "{member.comment}"']
    return " ".join([*words, *member.options])


def _part(part: Part) -> str:
    match part:
        case IPv4Network() | IPv6Network():
            return str(part.network_address if part.prefixlen == part.max_prefixlen else part)
        case AddressSpan(low, high):
            return f"{low}-{high}"
        case ProtocolPort(protocol, ports):
            return f"{_PROTOCOLS.get(protocol, protocol)}:{_range(*ports, '-') if ports else 0}"
        case ProtocolIcmp(protocol, name):
            return f"{_PROTOCOLS[protocol]}:{name}"
        case SetName(name):
            return name
        case DeviceName(name, bridged):
            return f"physdev:{name}" if bridged else name
        case MacAddress(written):
            return written.upper()
        case MarkBits(value):
            return f"{value:#010x}"
        case (low, high):
            return _range(low, high, "-")
    raise AssertionError(part)
