"""Calico's iptables rules and IP sets as its nftables mode writes them: felix/nftables of projectcalico/calico."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.calico_nodes import Rendered

_BASE = {
    "INPUT": "type filter hook input priority 0",
    "FORWARD": "type filter hook forward priority 0",
    "OUTPUT": "type filter hook output priority 0",
}
_DISPATCH = ("cali-from-wl-dispatch", "cali-to-wl-dispatch")


def as_nft(rendered: Rendered) -> str:
    """Text for `nft -f`: the filter table and the sets of both families."""
    found = [line for family, key in ((4, "iptables"), (6, "ip6tables")) for line in _family(rendered, family, key)]
    return "\n".join(found) + "\n"


def _family(rendered: Rendered, family: int, key: str) -> Iterator[str]:
    word = "ip" if family == 4 else "ip6"
    text = rendered["iptables"] if key == "iptables" else rendered["ip6tables"]
    lines = text.partition("*filter\n")[2].splitlines()
    rules = [line for line in lines if line.startswith("-A ") and "KUBE-" not in line]
    chains = [line[1:].split()[0] for line in lines if line.startswith(":cali-")]
    yield f"table {word} calico {{"
    yield from _sets(rendered["ipset"], family)
    for chain in chains:
        if chain in _DISPATCH:
            yield f"map filter-{chain} {{ type ifname : verdict"
            entries = [_entry(rule) for rule in rules if rule.split()[1].startswith(chain) and "--goto cali-" in rule]
            yield f"elements = {{ {', '.join(e for e in entries if e)} }}" if any(entries) else ""
            yield "}"
    for chain in (*_BASE, *(c for c in chains if not c.startswith(tuple(f"{name}-" for name in _DISPATCH)))):
        yield f"chain filter-{chain} {{"
        yield f"{_BASE[chain]}; policy accept;" if chain in _BASE else ""
        if chain in _DISPATCH:
            end = "iifname" if "from" in chain else "oifname"
            yield f'{end} vmap @filter-{chain} counter comment "cali:0123456789abcdef;"'
        own = [rule for rule in rules if rule.split()[1] == chain]
        yield from (_rule(rule, word) for rule in own if not (chain in _DISPATCH and "--goto" in rule))
        yield "}"
    yield "}"


def _entry(rule: str) -> str:
    """An interface and its chain; nothing for a branch of the tree of interfaces."""
    words = shlex.split(rule)
    target = words[-1]
    if target.startswith(_DISPATCH):
        return ""
    device = words[next(index for index, word in enumerate(words) if word.endswith("-interface")) + 1]
    return f'"{device}" : goto filter-{target}'


def _sets(text: str, family: int) -> Iterator[str]:
    members: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if words[0] == "create" and f"cali{family}0" in words[1]:
            kinds[words[1]], members[words[1]] = words[2], []
        elif words[0] == "add" and words[1] in members:
            members[words[1]].append(words[2])
    address = "ipv4_addr" if family == 4 else "ipv6_addr"
    for name, kind in kinds.items():
        yield f"set {name.replace(':', '-')} {{"
        if kind == "hash:net":
            yield f"type {address}; flags interval; auto-merge;"
        else:
            yield f"type {address} . inet_proto . inet_service;"
        if members[name]:
            yield f"elements = {{ {', '.join(_member(member) for member in members[name])} }}"
        yield "}"


def _member(text: str) -> str:
    address, comma, port = text.partition(",")
    return f"{address} . {port.replace(':', ' . ')}" if comma else address


def _rule(line: str, family: str) -> str:
    words = shlex.split(line)[2:]
    parts: list[str] = []
    comments: list[str] = []
    target = ""
    protocol = "th"
    negated = ""
    while words:
        word = words.pop(0)
        if word == "!":
            negated = "!= "
            continue
        if word == "-m":
            words.pop(0)
            continue
        if word == "--comment":
            comments.append(words.pop(0))
            continue
        if word in ("--jump", "-j", "--goto"):
            target = _target("goto" if word == "--goto" else "jump", words)
            break
        value = words.pop(0)
        if word == "-p":
            protocol = {"17": "udp"}.get(value, value)
            parts.append(f"meta l4proto {negated}{value}")
        else:
            parts.append(_part(word, value, negated, family, protocol, words))
        negated = ""
    first, *rest = comments or [""]
    comment = f' comment "{" ".join((first + ";", *rest))[:128]}"' if comments else ""
    return " ".join((*parts, "counter", target)) + comment if parts or target else f"continue{comment}"


def _part(word: str, value: str, negated: str, family: str, protocol: str, words: list[str]) -> str:
    if word in ("--source", "--destination"):
        return f"{family} {'saddr' if word == '--source' else 'daddr'} {negated}{value}"
    if word in ("--source-ports", "--destination-ports"):
        ports = value.replace(":", "-")
        what = "sport" if word == "--source-ports" else "dport"
        return f"{protocol} {what} {negated}{{ {ports} }}"
    if word == "--match-set":
        ends = words.pop(0).split(",")
        side = "s" if ends[0] == "src" else "d"
        looked = f"{family} {side}addr" + (f" . meta l4proto . th {side}port" if len(ends) > 1 else "")
        return f"{looked} {negated}@{value.replace(':', '-')}"
    if word == "--mark":
        mark, mask = value.split("/")
        return f"meta mark & {mask} {negated or '== '}{mark}"
    if word == "--ctstate":
        return f"ct {'status' if value == 'DNAT' else 'state'} {negated}{value.lower()}"
    if word in ("--in-interface", "--out-interface"):
        return f'{"iifname" if word == "--in-interface" else "oifname"} {negated}"{value.replace("+", "*")}"'
    if word in ("--icmp-type", "--icmpv6-type"):
        kind, slash, code = value.partition("/")
        owner = word[2:-5]
        return f"{owner} type {negated}{kind}" + (f" {owner} code {negated}{code}" if slash else "")
    raise ValueError(f"{word} {value}")


def _target(kind: str, words: list[str]) -> str:
    name = words.pop(0)
    if name == "MARK":
        value, mask = (int(part, 0) for part in words[1].split("/"))
        if value == mask:
            return f"meta mark set mark or {value:#x}"
        kept = mask ^ 0xFFFFFFFF
        return f"meta mark set mark & {kept:#x}" + (f" ^ {value:#x}" if value else "")
    if name == "LOG":
        return f'log prefix "{words[1]}" level info'
    if re.fullmatch("ACCEPT|DROP|RETURN|REJECT", name):
        return name.lower()
    return f"{kind} filter-{name}"
