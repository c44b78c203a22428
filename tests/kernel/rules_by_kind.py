"""One small chain for each kind of match and target, each for packets from a network of its own.

In each chain a rule drops some of the packets; which they are rests on that kind alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from migrate.nodes.netfilter.passing import Packet, Way
from tests.kernel.filter_lab import LAST_ONE, LEFT, OTHER, OWN, RIGHT, Sent
from tests.kernel.packets import ICMP, ICMPV6, SCTP, TCP, UDP
from tests.kernel.random_rules import SET_KINDS

_PROTOCOLS = (TCP, UDP, ICMP, TCP, SCTP, UDP)
_PORTS = (80, 443, 8080, 9090)
_LOW, _HIGH = 30_000, 50_000
_PACKETS = 24
_TABLES = {
    "raw": ("PREROUTING",),
    "mangle": ("PREROUTING", "FORWARD"),
    "nat": ("PREROUTING",),
    "filter": ("INPUT", "FORWARD"),
}

_MATCHES = (
    "{no}-s {s}4/{narrow}",
    "{no}-d {d}4/{narrow}",
    "-m iprange {no}--src-range {s}2-{s}5",
    "-m iprange {no}--dst-range {d}2-{d}5",
    "{no}-i left0",
    "{no}-i le+",
    "{no}-o right0",
    "{no}-o ri+",
    "{no}-p tcp",
    "-p tcp -m tcp {no}--dport 80",
    "-p udp -m udp {no}--dport 400:9000",
    "-p udp -m udp {no}--sport 30000:40000",
    "-p sctp -m sctp {no}--dport 80",
    "-p tcp -m multiport {no}--dports 80,8080",
    "-p tcp -m multiport {no}--sports 1,30000:40000",
    "-p udp -m multiport {no}--ports 443,80",
    "-p tcp -m tcp {no}--tcp-flags SYN,ACK SYN",
    "-p {icmp} -m {icmp_match} {no}--{icmp_type} {echo}/0",
    "-p {icmp} -m {icmp_match} {no}--{icmp_type} {echo}",
    "-m conntrack {no}--ctstate INVALID",
    "-m conntrack {no}--ctstate NEW,RELATED",
    "-m conntrack {no}--ctorigsrc {s}4/{narrow}",
    "-m conntrack {no}--ctorigdst {d}4/{narrow}",
    "-m conntrack {no}--ctreplsrc {d}4/{narrow}",
    "-m conntrack --ctreplsrc {d}0/{narrow} --ctdir ORIGINAL",
    "-p tcp -m conntrack {no}--ctorigdstport 80:500",
    "-d {d}0/{narrow} -m conntrack --ctstate NEW ! --ctstatus SEEN_REPLY,ASSURED",
    "-m addrtype --dst-type UNICAST -i left0",
    "-s {s}4/{narrow} -m statistic --mode nth --every 1 --packet 0",
)
"""Each is asked as it stands, and negated where it says so."""

_MEMBERS = {
    "hash:ip": ("{s}2", "{s}3", "{s}5"),
    "hash:net": ("{s}0/{wide}", "{s}4/{narrow} nomatch", "{s}6/{one}"),
    "hash:ip,port": ("{s}1,tcp:80", "{s}2,udp:443", "{s}3,{icmp}:{echo}/0", "{s}5,sctp:80", "{s}4,tcp:9090"),
    "hash:net,port": ("{s}0/{wide},tcp:80", "{s}0/{wide},udp:443", "{s}0/{narrow},udp:443 nomatch"),
    "hash:ip,port,ip": ("{s}1,tcp:80,{d}1", "{s}2,udp:443,{d}2", "{s}4,tcp:9090,{d}3"),
    "hash:ip,port,net": ("{s}1,tcp:80,{d}0/{wide}", "{s}2,udp:443,{d}0/{wide}", "{s}2,udp:443,{d}2/{one} nomatch"),
    "hash:net,net": ("{s}0/{wide},{d}0/{wide}", "{s}0/{narrow},{d}0/{narrow} nomatch"),
    "hash:net,port,net": ("{s}0/{wide},tcp:80,{d}0/{wide}", "{s}0/{wide},udp:443,{d}0/{wide}"),
    "hash:net,iface": ("{s}0/{wide},left0", "{s}4/{narrow},right0"),
    "hash:ip,mark": ("{s}2,0x0", "{s}3,0x0", "{s}5,0x1"),
    "bitmap:port": ("80", "8080"),
    "bitmap:ip": ("{s}2", "{s}3"),
}
_ENDS = {
    "hash:net,net": "src,dst",
    "hash:ip,port": "src,dst",
    "hash:net,port": "src,dst",
    "hash:ip,port,ip": "src,dst,dst",
    "hash:ip,port,net": "src,dst,dst",
    "hash:net,port,net": "src,dst,dst",
    "hash:net,iface": "src,src",
    "hash:ip,mark": "src,src",
    "bitmap:port": "dst",
}
_TARGETS: dict[str, tuple[str, ...]] = {
    "RETURN": ("filter {k} -s {s}4/{narrow} -j RETURN", "filter {k} -j DROP"),
    "jump and back": ("filter {k} -j {k}b", "filter {k}b -s {s}4/{narrow} -j RETURN", "filter {k}b -d {d}2 -j DROP"),
    "goto": ("filter {k} -s {s}4/{narrow} -g {k}b", "filter {k} -j DROP", "filter {k}b -d {d}2 -j DROP"),
    "ACCEPT": ("filter {k} -s {s}4/{narrow} -j ACCEPT", "filter {k} -j DROP"),
    "REJECT": ("filter {k} -s {s}4/{narrow} -j REJECT",),
    "mark": (
        "mangle PREROUTING -s {s}4/{narrow} -j MARK --set-xmark 0x12/0xff",
        "filter {k} -m mark --mark 0x2/0x2 -j DROP",
    ),
    "no mark": (
        "mangle PREROUTING -s {s}4/{narrow} -j MARK --set-xmark 0x1/0x0",
        "filter {k} -m mark ! --mark 0x1 -j DROP",
    ),
    "connection mark": (
        "mangle PREROUTING -s {s}4/{narrow} -j CONNMARK --set-xmark 0x12/0xff",
        "filter {k} -m connmark --mark 0x2/0x2 -j DROP",
    ),
    "mark saved and restored": (
        "mangle PREROUTING -s {s}4/{narrow} -j MARK --set-xmark 0x35/0xff",
        "mangle PREROUTING -s {s}0/{wide} -j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff",
        "mangle PREROUTING -s {s}0/{wide} -j MARK --set-xmark 0xf0/0xffffffff",
        "mangle FORWARD -s {s}0/{wide} -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xff",
        "filter {k} -m mark --mark 0xf5 -j DROP",
    ),
    "not tracked": (
        "raw PREROUTING -s {s}4/{narrow} -j CT --notrack",
        "filter {k} -m conntrack --ctstate UNTRACKED -j DROP",
    ),
    "DNAT": (
        "nat PREROUTING -s {s}4/{narrow} -p tcp -j DNAT --to-destination {d}7",
        "filter {k} -d {d}7 -m conntrack --ctstate DNAT -j DROP",
    ),
    "DNAT of the port": (
        "nat PREROUTING -s {s}4/{narrow} -p tcp -j DNAT --to-destination :8081",
        "filter {k} -p tcp -m tcp --dport 8081 -m conntrack ! --ctorigdstport 8081 -j DROP",
    ),
    "DNAT to the node": (
        "nat PREROUTING -s {s}4/{narrow} -p tcp -j DNAT --to-destination {own}",
        "filter INPUT -s {s}0/{wide} -m conntrack --ctstate DNAT -j DROP",
    ),
    "REDIRECT": (
        "nat PREROUTING -s {s}4/{narrow} -p udp -j REDIRECT --to-ports 99",
        "filter INPUT -s {s}0/{wide} -p udp -m udp --dport 99 -j DROP",
    ),
    "own addresses": ("mangle PREROUTING -s {s}0/{wide} -m addrtype --dst-type LOCAL -j DROP",),
    "other addresses": ("mangle PREROUTING -s {s}0/{wide} -m addrtype ! --dst-type LOCAL -j DROP",),
    "no way into the node": ("filter INPUT -s {s}0/{wide} -j DROP",),
    "DROP before filter": ("raw PREROUTING -s {s}4/{narrow} -j DROP",),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What is tried: rules as table, chain and the rest, and the sets that they ask."""

    name: str
    rules: tuple[str, ...]
    sets: tuple[str, ...] = ()


def kinds(set_kinds: Sequence[str]) -> tuple[Kind, ...]:
    """All of them, with the types of sets that the kernel has."""
    return (*_matches(), *(Kind(name, rules) for name, rules in _TARGETS.items()), *_sets(set_kinds))


def _matches() -> Iterator[Kind]:
    for match in _MATCHES:
        for written in dict.fromkeys(match.replace("{no}", no) for no in ("", "! ")):
            yield Kind(written, (f"filter {{k}} {written} -j DROP",))


def _sets(set_kinds: Sequence[str]) -> Iterator[Kind]:
    for kind in (*set_kinds, "list:set"):
        for no, more in (("", ""), ("! ", ""), *((("", " --return-nomatch"),) if kind == "hash:net" else ())):
            ends = _ENDS.get(kind, "src")
            rule = f"filter {{k}} -m set {no}--match-set {{k}} {ends}{more} -j DROP"
            yield Kind(f"{no}{kind}{more}", (rule,), tuple(_created(kind)))


def _created(kind: str) -> Iterator[str]:
    if kind == "list:set":
        yield from (line.replace("{k}", "{k}x") for line in _created("hash:net"))
        yield from (line.replace("{k}", "{k}y") for line in _created("hash:ip"))
        yield from ("create {k} list:set", "add {k} {k}x", "add {k} {k}y")
        return
    options = SET_KINDS[kind].replace("10.0.0.0/17", "{s}0/24") or "family {family}"
    yield f"create {{k}} {kind} {options}"
    yield from (f"add {{k}} {member}" for member in _MEMBERS[kind])


class Trial:
    """All kinds for one family of addresses, each with a network of its own."""

    def __init__(self, version: int, set_kinds: Sequence[str]) -> None:
        self.version = version
        self.kinds = [kind for kind in kinds(set_kinds) if version == 4 or "bitmap:ip" not in kind.name]

    @property
    def sets(self) -> str:
        """The sets as ipset restore reads them."""
        lines = (line.format(**self._words(n)) for n, kind in enumerate(self.kinds) for line in kind.sets)
        return "".join(f"{line}\n" for line in lines)

    @property
    def rules(self) -> str:
        """The rules as iptables-restore reads them."""
        tables: dict[str, list[str]] = {table: [] for table in _TABLES}
        chains: dict[str, dict[str, None]] = {table: dict.fromkeys(hooks) for table, hooks in _TABLES.items()}
        if self.version == 4:
            tables["filter"].append(f"-A FORWARD -d {LAST_ONE} -j ACCEPT")
        for number, kind in enumerate(self.kinds):
            words = self._words(number)
            tables["filter"].append("-A FORWARD -s {s}0/{wide} -j {k}".format(**words))
            chains["filter"].setdefault(str(words["k"]))
            for rule in kind.rules:
                table, chain, rest = rule.format(**words).split(" ", 2)
                chains[table].setdefault(chain)
                tables[table].append(f"-A {chain} {rest}")
        return "".join(_table(table, chains[table], lines) for table, lines in tables.items())

    def packets(self, number: int) -> list[Sent]:
        """Packets from the network of one kind: of all protocols, to several places, by two interfaces."""
        words = self._words(number)
        return [Sent(self._packet(words, turn)) for turn in range(_PACKETS)]

    def _packet(self, words: dict[str, str], turn: int) -> Packet:
        inward = turn % 12 == 11
        source, place = ip_address(f"{words['s']}{1 + turn % 8}"), 1 + turn % 6
        away = words["other"] if turn % 5 == 4 else words["d"]
        destination = OWN[self.version == 6] if inward else ip_address(f"{away}{place}")
        protocol = _PROTOCOLS[turn % len(_PROTOCOLS)]
        protocol = ICMPV6 if protocol == ICMP and self.version == 6 else protocol
        echo = protocol in (ICMP, ICMPV6)
        return Packet(
            source,
            destination,
            protocol,
            Way.IN if inward else Way.THROUGH,
            (_LOW if turn % 4 < 2 else _HIGH) + turn,
            None if echo else _PORTS[turn % len(_PORTS)],
            (int(words["echo"]) if turn % 4 == 2 else int(words["reply"]), 0) if echo else None,
            RIGHT if turn % 7 == 6 else LEFT,
            None if inward else OTHER if away == words["other"] else RIGHT,
            flags=frozenset({"ACK"}) if protocol == TCP and turn % 9 == 3 else None,
        )

    def _words(self, number: int) -> dict[str, str]:
        six = self.version == 6
        return {
            "k": f"k{number}v{self.version}",
            "s": f"fd00:{number:x}::" if six else f"10.2.{number}.",
            "d": f"fd10:{number:x}::" if six else f"10.16.{number}.",
            "other": f"fd40:{number:x}::" if six else f"10.40.{number}.",
            "own": str(OWN[six]),
            "wide": "32" if six else "24",
            "narrow": "126" if six else "30",
            "one": "128" if six else "32",
            "family": "inet6" if six else "inet",
            "icmp": "ipv6-icmp" if six else "icmp",
            "icmp_match": "icmp6" if six else "icmp",
            "icmp_type": "icmpv6-type" if six else "icmp-type",
            "echo": "128" if six else "8",
            "reply": "129" if six else "0",
        }


def _table(name: str, chains: Iterable[str], lines: Iterable[str]) -> str:
    declared = "".join(f":{chain} {'ACCEPT' if chain in _TABLES[name] else '-'}\n" for chain in chains)
    return f"*{name}\n{declared}" + "".join(f"{line}\n" for line in lines) + "COMMIT\n"
