"""Random rulesets, sets and packets: every match and target that the evaluator knows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from migrate.model.addresses import Address
from migrate.nodes.netfilter.passing import Packet, Way
from tests.kernel.filter_lab import LAST_ONE, LEFT, OTHER, OWN, RIGHT, Sent
from tests.kernel.packets import ICMP, ICMPV6, SCTP, TCP, UDP

ESP = 50
PORTS = (22, 53, 80, 443, 8080, 8081, 9090)
_FIRST_FREE_PORT = 20_000
_NAMES = {TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPV6: "ipv6-icmp", ESP: "esp"}
_MARKS = (0x1, 0x2, 0x200, 0x400, 0x4000)
SET_KINDS = {
    "bitmap:ip": "range 10.0.0.0/17",
    "bitmap:port": "range 1-65535",
    **{f"hash:{kind}": "" for kind in ("ip", "net", "ip,port", "net,port", "net,net", "ip,port,ip", "ip,port,net")},
    **{f"hash:{kind}": "" for kind in ("net,port,net", "net,iface", "ip,mark")},
}
"""Types of sets with what must be said when one is made; not every kernel has all of them."""
_ICMP = {4: ((8, 0), (8, 0), (0, 0), (11, 0), (13, 0)), 6: ((128, 0), (128, 0), (129, 0), (3, 0))}
MARKED = {8080: 0x200, 8081: 0x4000}
"""Marks of connections that stand, by the port of their destination."""
_STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "DNAT")
_USER_CHAINS = 5
_HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "OUTPUT"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
_SHARES = {"raw": 0.3, "mangle": 0.5, "nat": 0.4, "filter": 1.0}
"""How often a ruleset has each table."""
_RULES_OF = {"raw": 2, "mangle": 3, "nat": 3, "filter": 9}


class Draw:
    """Draws of one ruleset, for one family of addresses."""

    def __init__(self, chance: random.Random, version: int) -> None:
        self.chance = chance
        self.version = version

    def one(self, of: Sequence[str]) -> str:
        """One of several words."""
        return self.chance.choice(of)

    def no(self) -> str:
        """A negation, now and then."""
        return "! " if self.chance.random() < 0.3 else ""

    def address(self, *, source: bool) -> Address:
        """An address that packets have."""
        high, low = self.chance.randrange(4), self.chance.randrange(8)
        if self.version == 4:
            first = high if source else self.chance.choice((16, 17, 40))
            return ip_address(f"10.{first}.{high}.{low}")
        first = 0 if source else self.chance.choice((0x10, 0x11, 0x40))
        return ip_address(f"fd{first:02x}:{high:x}::{low:x}")

    def network(self, *, source: bool) -> str:
        """A prefix with such addresses in it."""
        widths = (8, 12, 15, 16, 20, 24, 28, 30, 31, 32) if self.version == 4 else (8, 14, 16, 30, 32, 64, 126, 128)
        return f"{self.address(source=source)}/{self.chance.choice(widths)}"

    def any_network(self) -> str:
        """A prefix of either side."""
        return self.network(source=self.chance.random() < 0.5)

    def any_address(self) -> Address:
        """An address of either side."""
        return self.address(source=self.chance.random() < 0.5)

    def port(self) -> int:
        """A port that packets have as their destination."""
        return self.chance.choice(PORTS)

    def ports(self) -> str:
        """A port or a range."""
        low = self.port()
        return self.one((f"{low}", f"{low}", f"{low}:{low + self.chance.randrange(500)}", f":{low}", f"{low}:"))

    def mark(self) -> str:
        """Some bits and a mask."""
        return f"{self.chance.choice(_MARKS):#x}/{self.chance.choice((*_MARKS, 0xF00, 0xFFFFFFFF)):#x}"


class Sets:
    """Random IP sets of a family, and the directions in which a rule may ask each."""

    def __init__(self, draw: Draw, kinds: Sequence[str]) -> None:
        self.draw = draw
        self.prefix = f"s{draw.version}-"
        self.kinds = [kind for kind in kinds if draw.version == 4 or kind != "bitmap:ip"]
        self.ends: dict[str, int] = {}
        self.lines = list(self._lines())

    def _lines(self) -> Iterator[str]:
        family = "inet" if self.draw.version == 4 else "inet6"
        for number, kind in enumerate(self.kinds):
            name = f"{self.prefix}{number}"
            self.ends[name] = kind.count(",") + 1
            options = SET_KINDS[kind] or f"family {family}"
            if kind == "hash:ip" and self.draw.chance.random() < 0.4:
                options += " netmask 24" if self.draw.version == 4 else " netmask 64"
            yield f"create {name} {kind} {options}"
            for member in dict.fromkeys(self._member(kind) for _ in range(self.draw.chance.randrange(1, 25))):
                hole = " nomatch" if "net" in kind and self.draw.chance.random() < 0.3 else ""
                yield f"add -exist {name} {member}{hole}"
        yield from self._lists(len(self.kinds))

    def _lists(self, first: int) -> Iterator[str]:
        """Lists of sets: each with members of other types too."""
        plain = list(self.ends)
        for number in (first, first + 1):
            name = f"{self.prefix}{number}"
            yield f"create {name} list:set"
            for member in self.draw.chance.sample(plain, self.draw.chance.randrange(4)):
                yield f"add {name} {member}"
            self.ends[name] = 2

    def _member(self, kind: str) -> str:
        draw = self.draw
        words: dict[str, Callable[[], str]] = {
            "ip": lambda: str(draw.any_address()),
            "net": draw.any_network,
            "port": self._port,
            "iface": lambda: draw.one((LEFT, RIGHT, OTHER)),
            "mark": lambda: f"{draw.chance.choice(_MARKS):#x}",
        }
        if kind == "bitmap:port":
            return str(draw.port())
        if kind == "bitmap:ip":
            return f"10.0.{draw.chance.randrange(4)}.{draw.chance.randrange(8)}"
        return ",".join(words[part]() for part in kind.partition(":")[2].split(","))

    def _port(self) -> str:
        draw = self.draw
        icmp = "icmp:8/0" if draw.version == 4 else "icmpv6:128/0"
        return draw.one((f"tcp:{draw.port()}", f"udp:{draw.port()}", f"sctp:{draw.port()}", icmp, "esp:0"))


class Rules:
    """A random ruleset for one backend and family, as its restore program reads it."""

    def __init__(self, draw: Draw, sets: Sets) -> None:
        self.draw = draw
        self.sets = sets
        tables = [table for table, share in _SHARES.items() if draw.chance.random() < share]
        self.text = "".join(self._table(table) for table in tables)

    def _table(self, table: str) -> str:
        draw = self.draw
        users = [f"U{number}" for number in range(_USER_CHAINS)]
        drops = table == "filter" and draw.chance.random() < 0.3
        head = [f":{hook} {'DROP' if drops else 'ACCEPT'}" for hook in _HOOKS[table]]
        lines = [f"*{table}", *head, *(f":{name} -" for name in users)]
        for hook in _HOOKS[table]:
            if self.draw.version == 4:
                lines.append(f"-A {hook} -d {LAST_ONE} -j ACCEPT")
            lines += [self._rule(table, hook, users) for _ in range(draw.chance.randrange(_RULES_OF[table] + 1))]
        for number, name in enumerate(users):
            count = draw.chance.randrange(_RULES_OF[table])
            lines += [self._rule(table, name, users[number + 1 :]) for _ in range(count)]
        return "\n".join([*lines, "COMMIT", ""])

    def _rule(self, table: str, chain: str, users: Sequence[str]) -> str:
        target, protocol = self._target(table, chain, users)
        matches = [
            protocol,
            *(self._match(table, chain, protocol) for _ in range(self.draw.chance.choice((0, 1, 1, 2)))),
        ]
        unique = {_name(match): match for match in matches}
        return " ".join(["-A", chain, *unique.values(), target])

    def _target(self, table: str, chain: str, users: Sequence[str]) -> tuple[str, str]:
        """A target, and the protocol that it or a match asks for."""
        draw = self.draw
        targets = [f"-j MARK --set-xmark {draw.mark()}", "-j RETURN", "", *(f"-j {name}" for name in users)]
        targets += [f"-g {name}" for name in users[:1]]
        names = [_NAMES[number] for number in (TCP, TCP, UDP, UDP, SCTP, ICMP if draw.version == 4 else ICMPV6, ESP)]
        protocol = draw.one(("", "", f"-p {draw.one(names)}", f"-p {draw.one(names)}", f"! -p {draw.one(names)}"))
        if table in {"raw", "mangle"}:
            targets += ["-j ACCEPT"] + (["-j DROP"] if draw.chance.random() < 0.2 else [])
        if table == "raw":
            targets += ["-j CT --notrack"]
        if table == "mangle":
            targets += [f"-j CONNMARK --set-xmark {draw.mark()}"]
            targets += ["-j CONNMARK --save-mark --nfmask 0xf0f --ctmask 0xff", "-j CONNMARK --restore-mark"]
            targets += [f"-j SET --add-set {name} src" for name, ends in self.sets.ends.items() if ends == 9]
        if table == "filter":
            targets += ["-j ACCEPT", "-j ACCEPT", "-j DROP", "-j DROP", "-j REJECT", "-j NFLOG --nflog-group 9"]
            targets += [f'-m comment --comment "why {chain}" -j DROP']
        if table == "nat":
            return self._nat_target(protocol, targets)
        return draw.one(targets), protocol

    def _nat_target(self, protocol: str, targets: list[str]) -> tuple[str, str]:
        draw = self.draw
        place = str(draw.address(source=False))
        own = str(OWN[draw.version == 6])
        targets += [f"-j DNAT --to-destination {place}", "-j ACCEPT"]
        if protocol in {"-p tcp", "-p udp"}:
            at = f"{place}:{draw.port()}" if draw.version == 4 else f"[{place}]:{draw.port()}"
            targets += [f"-j DNAT --to-destination {at}", f"-j DNAT --to-destination :{draw.port()}"]
            targets += [f"-j DNAT --to-destination {own}", f"-j REDIRECT --to-ports {draw.port()}"]
        return draw.one(targets), protocol

    def _match(self, table: str, chain: str, protocol: str) -> str:
        draw = self.draw
        found: list[Callable[[], str]] = [
            lambda: f"{draw.no()}-s {draw.network(source=True)}",
            lambda: f"{draw.no()}-d {draw.network(source=False)}",
            self._set,
            self._set,
            self._set,
            lambda: f"-m mark {draw.no()}--mark {draw.mark()}",
            self._state,
            self._between,
            lambda: f"-m statistic --mode nth {draw.no()}--every 1 --packet 0",
            lambda: f"-m addrtype {draw.no()}--{draw.one(('src', 'dst'))}-type {draw.one(('LOCAL', 'UNICAST'))}",
        ]
        if table != "raw":
            found += [lambda: f"-m connmark {draw.no()}--mark {draw.mark()}", self._tracked]
        if chain in {"FORWARD", "PREROUTING", "INPUT"}:
            found += [lambda: f"{draw.no()}-i {draw.one((LEFT, RIGHT, 'le+', 'o+'))}"]
        if chain in {"FORWARD", "POSTROUTING", "OUTPUT"}:
            found += [lambda: f"{draw.no()}-o {draw.one((RIGHT, OTHER, 'ri+', 'o+'))}"]
        if protocol in {"-p tcp", "-p udp", "-p sctp"}:
            found += [lambda: self._port_match(protocol[3:])] * 5
        if protocol == "-p tcp":
            found += [lambda: f"-m tcp {draw.no()}--tcp-flags {draw.one(('SYN,ACK SYN', 'ALL SYN', 'SYN,RST NONE'))}"]
        if protocol == "-p icmp":
            found += [
                lambda: f"-m icmp {draw.no()}--icmp-type {draw.one(('8', '8/0', '11', '11/0', 'any', '13', '0'))}"
            ] * 5
        if protocol == "-p ipv6-icmp":
            found += [lambda: f"-m icmp6 {draw.no()}--icmpv6-type {draw.one(('128', '128/0', '3', '3/0', '129'))}"] * 5
        return draw.chance.choice(found)()

    def _set(self) -> str:
        draw = self.draw
        name = draw.one(list(self.sets.ends))
        ends = ",".join(draw.one(("src", "dst")) for _ in range(self.sets.ends[name]))
        return f"-m set {draw.no()}--match-set {name} {ends}" + draw.one(("", "", "", " --return-nomatch"))

    def _state(self) -> str:
        states = ",".join(self.draw.chance.sample(_STATES, self.draw.chance.randrange(1, 3)))
        return f"-m conntrack {self.draw.no()}--ctstate {states}"

    def _tracked(self) -> str:
        draw = self.draw
        return draw.one(
            (
                f"-m conntrack {draw.no()}--ctorigsrc {draw.network(source=True)}",
                f"-m conntrack {draw.no()}--ctorigdst {draw.network(source=False)}",
                f"-m conntrack {draw.no()}--ctreplsrc {draw.network(source=False)}",
                f"-m conntrack --ctdir {draw.one(('ORIGINAL', 'REPLY'))}",
                f"-m conntrack {draw.no()}--ctstatus {draw.one(('SEEN_REPLY', 'EXPECTED', 'CONFIRMED'))} --ctstate NEW",
            )
        )

    def _between(self) -> str:
        draw = self.draw
        source = draw.chance.random() < 0.5
        low, high = sorted((int(draw.address(source=source)), int(draw.address(source=source))))
        make = type(draw.address(source=source))
        return f"-m iprange {draw.no()}--{'src' if source else 'dst'}-range {make(low)}-{make(high)}"

    def _port_match(self, protocol: str) -> str:
        draw = self.draw
        several = ",".join(dict.fromkeys(str(draw.port()) for _ in range(3)))
        wide = f"{_FIRST_FREE_PORT}:{draw.chance.randrange(_FIRST_FREE_PORT, 65535)}"
        return draw.one(
            (
                f"-m {protocol} {draw.no()}--dport {draw.ports()}",
                f"-m {protocol} {draw.no()}--sport {wide}",
                f"-m multiport {draw.no()}--dports {several}",
                f"-m multiport {draw.no()}--sports {wide}",
                f"-m multiport {draw.no()}--ports {several}",
            )
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """A connection that stands: its packets as they opened it, and its mark."""

    there: Packet
    back: Packet
    mark: int

    def packets(self) -> list[Sent]:
        """One packet in each direction, and a complaint about the first."""
        complaint = (11, 0) if self.there.source.version == 4 else (3, 0)
        protocol = ICMP if self.there.source.version == 4 else ICMPV6
        there = replace(self.there, state="ESTABLISHED", connection_mark=self.mark)
        back = replace(self.back, state="ESTABLISHED", connection_mark=self.mark, reply=True)
        related = replace(back, state="RELATED", protocol=protocol, icmp=complaint)
        related = replace(related, source_port=None, destination_port=None)
        return [Sent(there), Sent(back), Sent(related, self.there)]


class Packets:
    """Random packets. The numbers of those that open connections are never used twice."""

    def __init__(self, chance: random.Random, numbers: Iterator[int]) -> None:
        self.chance = chance
        self._free = (_FIRST_FREE_PORT + number % (65535 - _FIRST_FREE_PORT) for number in numbers)
        self._without_ports: set[Address] = set()

    def draw(self, version: int) -> Packet:
        """The first packet of a connection, or one that belongs to none."""
        draw = Draw(self.chance, version)
        way = self.chance.choice((Way.THROUGH, Way.THROUGH, Way.THROUGH, Way.IN, Way.OUT))
        own = OWN[version == 6]
        source = own if way is Way.OUT else draw.address(source=True)
        destination = own if way is Way.IN else draw.address(source=False)
        protocol = self.chance.choice((TCP, TCP, UDP, UDP, SCTP, ICMP if version == 4 else ICMPV6, ESP))
        if protocol == ESP and source in self._without_ports:
            protocol = UDP
        self._without_ports |= {source} if protocol == ESP else set()
        ported = protocol in (TCP, UDP, SCTP)
        return Packet(
            source,
            destination,
            protocol,
            way,
            next(self._free) if protocol != ESP else None,
            draw.port() if ported else None,
            self._icmp(version) if protocol in (ICMP, ICMPV6) else None,
            None if way is Way.OUT else LEFT,
            None if way is Way.IN else leaves_by(destination),
        )

    def standing(self, version: int) -> Standing:
        """A connection that has seen packets both ways before there were rules."""
        draw = Draw(self.chance, version)
        source, destination = draw.address(source=True), draw.address(source=False)
        mark = self.chance.choice((0, *MARKED.values()))
        port = next((port for port, found in MARKED.items() if found == mark), draw.port())
        port = port if mark else self.chance.choice([port for port in PORTS if port not in MARKED])
        own = next(self._free)
        there = Packet(source, destination, UDP, Way.THROUGH, own, port, None, LEFT, leaves_by(destination))
        back = Packet(destination, source, UDP, Way.THROUGH, port, own, None, leaves_by(destination), LEFT)
        return Standing(there, back, mark)

    def _icmp(self, version: int) -> tuple[int, int]:
        return self.chance.choice(_ICMP[version])


def _name(match: str) -> str:
    """What may stand in a rule only once."""
    words = match.replace("! ", "").split(" ")
    return match if words[1:2] == ["set"] else " ".join(words[: 2 if words[0] == "-m" else 1])


def leaves_by(destination: Address) -> str:
    """The router's device towards an address."""
    return OTHER if str(destination).startswith(("10.40.", "fd40:")) else RIGHT
