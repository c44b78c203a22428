"""Routes and the rules between their tables in the shape of `ip -j route show` and `ip -j rule show`.

Source of names and of what is left out: iproute2, ip/iproute.c, ip/iprule.c, lib/rt_names.c, etc/iproute2/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migrate.collect.kernel_messages import FAMILIES, Message, Shown

_MAIN, _BOOT, _UNICAST, _KERNEL = 254, 3, 1, 2
_GLOBAL = 0
_TYPES = {
    0: "none",
    _UNICAST: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
    10: "nat",
    11: "xresolve",
}
_TABLES = {0: "unspec", 253: "default", _MAIN: "main", 255: "local"}
_SCOPES = {_GLOBAL: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    _KERNEL: "kernel",
    _BOOT: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    18: "keepalived",
    42: "babel",
    84: "ovn",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
_FLAGS = ((1, "dead"), (4, "onlink"), (2, "pervasive"), (8, "offload"), (16, "linkdown"), (32, "unresolved"))
_PREFERENCES = {0: "medium", 1: "high", 3: "low"}
_GOTO, _NOP, _LOOKUP = 2, 3, 1
_INVERTED = 2
_IP_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
_UNSET = 0xFFFFFFFF


def shown_routes(routes: Sequence[Message], names: Mapping[int | None, str]) -> list[Shown]:
    """The routes of all tables; `names` are those of links by index."""
    return [_route(route, names) for route in routes if not (route.number("flags") or 0) & 0x200]


def _route(route: Message, names: Mapping[int | None, str]) -> Shown:
    kind, table = route.number("type") or 0, route.number("RTA_TABLE") or route.number("table") or 0
    shown: Shown = {} if kind == _UNICAST else {"type": _TYPES.get(kind, str(kind))}
    shown["dst"] = _prefix(route, "RTA_DST", "dst_len")
    if route.text("RTA_SRC") is not None:
        shown["from"] = _prefix(route, "RTA_SRC", "src_len")
    shown |= _hop(route, names)
    if table != _MAIN:
        shown["table"] = _TABLES.get(table, str(table))
    shown |= _ways(route)
    several = [_next(hop, names) for hop in route.each("RTA_MULTIPATH")]
    shown["flags"] = _route_flags(route)
    metrics = _metrics(route)
    shown |= {"metrics": [metrics]} if metrics else {}
    preference = route.number("RTA_PREF")
    shown |= {} if preference is None else {"pref": _PREFERENCES.get(preference, str(preference))}
    return shown | ({"nexthops": several} if several else {})


def _prefix(route: Message, address: str, length: str) -> str:
    text, bits = route.text(address), route.number(length) or 0
    if text is None:
        return "default" if bits == 0 else f"0/{bits}"
    whole = 128 if FAMILIES.get(route.number("family") or 0) == "inet6" else 32
    return text if bits == whole else f"{text}/{bits}"


def _hop(hop: Message, names: Mapping[int | None, str]) -> Shown:
    """Where it leads: by a gateway of either family, and by a link."""
    shown: Shown = {}
    via = hop.inner("RTA_VIA")
    if hop.text("RTA_GATEWAY") is not None:
        shown["gateway"] = hop.text("RTA_GATEWAY")
    elif via.parts:
        family = via.number("family") or 0
        shown["via"] = {"family": FAMILIES.get(family, str(family)), "host": via.text("addr")}
    link = hop.number("RTA_OIF")
    return shown if link is None else shown | {"dev": names.get(link, f"if{link}")}


def _next(hop: Message, names: Mapping[int | None, str]) -> Shown:
    link = hop.number("oif")
    shown = _hop(hop, names) | ({"dev": names.get(link, f"if{link}")} if link else {})
    return shown | {"weight": (hop.number("hops") or 0) + 1, "flags": _route_flags(hop)}


def _route_flags(route: Message) -> list[str]:
    flags = route.number("flags") or 0
    return [name for bit, name in _FLAGS if flags & bit]


def _ways(route: Message) -> Shown:
    """Who made it, how far it reaches, the address that it is used with, and its metric."""
    shown: Shown = {}
    protocol, scope = route.number("proto") or 0, route.number("scope") or 0
    if protocol != _BOOT:
        shown["protocol"] = _PROTOCOLS.get(protocol, str(protocol))
    if scope != _GLOBAL:
        shown["scope"] = _SCOPES.get(scope, str(scope))
    if route.text("RTA_PREFSRC") is not None:
        shown["prefsrc"] = route.text("RTA_PREFSRC")
    metric = route.number("RTA_PRIORITY")
    return shown if metric is None else shown | {"metric": metric}


def _metrics(route: Message) -> Shown:
    said = route.inner("RTA_METRICS")
    values = {"mtu": said.number("RTAX_MTU"), "advmss": said.number("RTAX_ADVMSS")}
    return {name: value for name, value in values.items() if value is not None}


def shown_rules(rules: Sequence[Message]) -> list[Shown]:
    """The rules in the order in which they are asked."""
    return [_rule(rule) for rule in rules]


def _rule(rule: Message) -> Shown:
    shown: Shown = {"priority": rule.number("FRA_PRIORITY") or 0}
    if (rule.number("flags") or 0) & _INVERTED:
        shown["not"] = None
    shown |= _end(rule, "src") | _end(rule, "dst")
    shown |= _mark(rule)
    for name, attribute in (("iif", "FRA_IIFNAME"), ("oif", "FRA_OIFNAME")):
        text = rule.text(attribute)
        shown |= {} if text is None else {name: text}
    shown |= _range(rule, "FRA_UID_RANGE", "uid_start", "uid_end", None)
    protocol = rule.number("FRA_IP_PROTO")
    shown |= {} if protocol is None else {"ipproto": _IP_PROTOCOLS.get(protocol, str(protocol))}
    shown |= _range(rule, "FRA_SPORT_RANGE", "sport_start", "sport_end", "sport")
    shown |= _range(rule, "FRA_DPORT_RANGE", "dport_start", "dport_end", "dport")
    shown |= _table(rule) | _action(rule)
    owner = rule.number("FRA_PROTOCOL")
    if owner not in (None, 0, _KERNEL):
        shown["protocol"] = _PROTOCOLS.get(owner or 0, str(owner))
    return shown


def _end(rule: Message, side: str) -> Shown:
    """A side's network; the source is always said."""
    text, bits = rule.text(f"FRA_{side.upper()}"), rule.number(f"{side}_len") or 0
    if text is None:
        return {"src": "all"} if side == "src" else {}
    whole = 128 if ":" in text else 32
    return {side: text} | ({} if bits == whole else {f"{side}len": bits})


def _mark(rule: Message) -> Shown:
    mark, mask = rule.number("FRA_FWMARK"), rule.number("FRA_FWMASK")
    if mark is None and mask is None:
        return {}
    shown: Shown = {"fwmark": hex(mark or 0)}
    return shown if mask in (None, _UNSET) else shown | {"fwmask": hex(mask or 0)}


def _range(rule: Message, attribute: str, first: str, last: str, single: str | None) -> Shown:
    text = rule.text(attribute)
    if text is None:
        return {}
    low, _, high = text.partition(":")
    if single is not None and low == high:
        return {single: int(low)}
    return {first: int(low), last: int(high)}


def _table(rule: Message) -> Shown:
    table = rule.number("FRA_TABLE") or rule.number("table") or 0
    shown: Shown = {"table": _TABLES.get(table, str(table))} if table else {}
    suppressed = rule.number("FRA_SUPPRESS_PREFIXLEN")
    return shown if not shown or suppressed in (None, _UNSET) else shown | {"suppress_prefixlen": suppressed}


def _action(rule: Message) -> Shown:
    action = rule.number("action") or 0
    if action == _GOTO:
        return {"goto": rule.number("FRA_GOTO")}
    if action == _NOP:
        return {"nop": None}
    return {} if action == _LOOKUP else {"action": _TYPES.get(action, str(action))}
