"""A router between namespaces, rules and sets loaded into it, and packets whose fate is seen by who gets them."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from migrate.model.addresses import Address
from migrate.model.ip_sets import IpSets
from migrate.model.node_state import Ruleset
from migrate.nodes.netfilter.own_addresses import OwnAddresses
from migrate.nodes.netfilter.passing import Packet, Way
from migrate.sources.node.ipset_save import read_ipset_save
from migrate.sources.node.iptables_save import read_iptables_save
from tests.kernel import packets as made
from tests.kernel.lab import inside, run

LEFT, RIGHT, OTHER = "left0", "right0", "other0"
"""The router's devices: where packets come from, where most of them go to, and where those to OTHER_NETS go to; the
addresses in LEFT_NETS are behind the first."""
LEFT_NETS = ("10.0.0.0/12", "fd00::/16")
OTHER_NETS = ("10.40.0.0/16", "fd40::/16")
OWN = (ip_address("10.250.0.1"), ip_address("fdfa::1"))
"""The router's own addresses."""
LAST_ONE = "198.51.100.9"
"""Where the packet goes that is sent behind all others: when it is there, all others are, or never will be."""

_NEXT_HOP = {4: "10.251.{}.2", 6: "fdfb:{}::2"}
_ETHERNET = {4: made.IPV4, 6: made.IPV6}
_TOKEN = 8
_PATIENCE_SECONDS = 30.0
_ALL_FRAMES = 0x0003
_BUFFER = 1 << 23
_IPV6_HDRINCL = 36
_DELIVERED = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_SCTP, 50)
_CHECKSUM_AT = {made.TCP: 16, made.UDP: 6, made.ICMP: 2, made.ICMPV6: 2}


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet, with the packet that it answers or complains about, where that is so. `by` is the device that it
    enters by; a packet that leaves the router's own processes has none."""

    packet: Packet
    about: Packet | None = None


@dataclass(slots=True)
class Router:
    """A namespace that forwards between three others."""

    name: str = field(default_factory=lambda: f"mig{secrets.token_hex(4)}")
    stack: ExitStack = field(default_factory=ExitStack)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1 << 40)))
    sniffers: list[socket.socket] = field(default_factory=list)
    senders: dict[str, socket.socket] = field(default_factory=dict)

    @property
    def host(self) -> OwnAddresses:
        """What is known of the router's addresses."""
        ends = (ip_address(_NEXT_HOP[v].format(n)[:-1] + "1") for n in range(1, 4) for v in (4, 6))
        return OwnAddresses.of((*OWN, *ends))

    def build(self) -> None:
        """Make the namespaces and devices."""
        self._namespace(self.name)
        for name in ("all", "default"):
            self.setting(f"ipv4/conf/{name}/forwarding", "1")
            self.setting(f"ipv6/conf/{name}/forwarding", "1")
            self.setting(f"ipv4/conf/{name}/rp_filter", "0")
            self.setting(f"ipv6/conf/{name}/accept_dad", "0")
        for number, device in enumerate((LEFT, RIGHT, OTHER), 1):
            self._attach(device, number)
        for version, own in zip((4, 6), OWN, strict=True):
            self.ip(f"-{version}", "address", "add", f"{own}/{own.max_prefixlen}", "dev", "lo")
            self.ip(f"-{version}", "route", "add", "default", "via", _NEXT_HOP[version].format(2))
            self.ip(f"-{version}", "route", "add", OTHER_NETS[version == 6], "via", _NEXT_HOP[version].format(3))
            self.ip(f"-{version}", "route", "add", LEFT_NETS[version == 6], "via", _NEXT_HOP[version].format(1))
        for protocol in _DELIVERED:
            self._listen(socket.AF_INET, protocol)
            self._listen(socket.AF_INET6, made.ICMPV6 if protocol == socket.IPPROTO_ICMP else protocol)
        self._sender("4", socket.AF_INET, socket.IPPROTO_IP, socket.IP_HDRINCL)
        self._sender("6", socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_HDRINCL)

    def _namespace(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self.stack.callback(_delete, name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def _attach(self, device: str, number: int) -> None:
        far = f"{self.name}-{number}"
        self._namespace(far)
        mac, own_mac = f"02:00:00:00:0{number}:02", f"02:00:00:00:0{number}:01"
        self.ip("link", "add", device, "address", own_mac, "type", "veth", "peer", "name", "eth0", "netns", far)
        run("ip", "-n", far, "link", "set", "eth0", "address", mac, "up")
        self.ip("link", "set", device, "up")
        for version, mask in ((4, 24), (6, 64)):
            hop = _NEXT_HOP[version].format(number)
            self.ip(f"-{version}", "address", "add", f"{hop[:-1]}1/{mask}", "dev", device, *_NO_DAD[version])
            self.ip(f"-{version}", "neigh", "replace", hop, "lladdr", mac, "dev", device, "nud", "permanent")
        with inside(far):
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
        sniffer.bind(("eth0", _ALL_FRAMES))
        self._keep(sniffer)
        self.senders[device] = sniffer

    def _listen(self, family: int, protocol: int) -> None:
        with inside(self.name):
            self._keep(socket.socket(family, socket.SOCK_RAW, protocol))

    def _keep(self, one: socket.socket) -> None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        one.setblocking(False)
        self.stack.callback(one.close)
        self.sniffers.append(one)

    def _sender(self, name: str, family: int, level: int, option: int) -> None:
        with inside(self.name):
            made_here = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        made_here.setsockopt(level, option, 1)
        self.stack.callback(made_here.close)
        self.senders[name] = made_here

    def ip(self, *words: str) -> None:
        """Run ip in the router."""
        run("ip", "-n", self.name, *words)

    def do(self, *command: str, text: str | None = None) -> bytes:
        """What a command prints in the router. Raises CalledProcessError."""
        body = None if text is None else text.encode()
        whole = ("ip", "netns", "exec", self.name, *command)
        done = subprocess.run(whole, check=False, capture_output=True, input=body)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}\n{text}"
        return done.stdout

    def setting(self, setting: str, value: str) -> None:
        """Set a network setting of the router."""
        with inside(self.name):
            Path("/proc/sys/net", setting).write_text(value)

    def rules(self) -> list[Ruleset]:
        """All rules that the kernel has, as the save programs print them."""
        found = []
        for family, program in ((4, "iptables"), (6, "ip6tables")):
            for backend in ("nft", "legacy"):
                name = f"{program}-{backend}-save"
                found.append(read_iptables_save(self.do(name), name, family))
        assert not [rule for ruleset in found for rule in ruleset.unread()]
        return found

    def sets(self) -> IpSets:
        """All sets that the kernel has."""
        return read_ipset_save(self.do("ipset", "save"), "ipset-save")

    def set_kinds(self, kinds: Mapping[str, str]) -> list[str]:
        """The types of sets that the kernel has, of those that are given with what must be said to make one."""
        return [kind for kind, options in kinds.items() if self._has_sets_of(kind, options)]

    def _has_sets_of(self, kind: str, options: str) -> bool:
        whole = ("ip", "netns", "exec", self.name, "ipset")
        made_one = subprocess.run((*whole, "create", "asked", kind, *options.split()), check=False, capture_output=True)
        if made_one.returncode == 0:
            self.do("ipset", "destroy", "asked")
        return made_one.returncode == 0

    def arrived(self, sent: Iterable[Sent]) -> list[bool]:
        """For each packet whether it got through, or was delivered to the router's processes.

        They are sent one after another on one processor, whose queue keeps their order; the last one always arrives.
        """
        tokens: list[bytes] = []
        with _on_one_processor():
            self._drained()
            for one in sent:
                tokens.append(self._send(one))
            last = self._send(Sent(Packet(ip_address("10.0.0.1"), ip_address(LAST_ONE), made.UDP, destination_port=9)))
            seen = self._seen(last)
        return [token in seen for token in tokens]

    def _seen(self, last: bytes) -> set[bytes]:
        seen: set[bytes] = set()
        end = time.monotonic() + _PATIENCE_SECONDS
        while last not in seen:
            assert time.monotonic() < end, "the packet that every ruleset lets through did not arrive"
            seen |= self._drained()
        return seen | self._drained()

    def _drained(self) -> set[bytes]:
        """The tokens of all packets that wait, but for those that a namespace sends itself."""
        found: set[bytes] = set()
        for sniffer in self.sniffers:
            with suppress(BlockingIOError):
                while True:
                    data, sender = sniffer.recvfrom(1 << 16)
                    own = sniffer.family == socket.AF_PACKET and sender[2] == socket.PACKET_OUTGOING
                    if not own and not _refuses(data, sniffer):
                        found.add(data[-_TOKEN:])
        return found

    def _send(self, sent: Sent) -> bytes:
        packet = sent.packet
        token = struct.pack(">4sI", b"sent", next(self.numbers))
        body = written(packet, token, sent.about)
        if packet.way is Way.OUT:
            place = (str(packet.destination), 0) if packet.source.version == 4 else (str(packet.destination), 0, 0, 0)
            with suppress(PermissionError):  # the sender is told of a packet that is dropped
                self.senders[str(packet.source.version)].sendto(body, place)
        else:
            number = (LEFT, RIGHT, OTHER).index(packet.came_by or LEFT) + 1
            head = bytes([2, 0, 0, 0, number, 1, 2, 0, 0, 0, number, 2])
            frame = head + struct.pack(">H", _ETHERNET[packet.source.version]) + body
            self.senders[packet.came_by or LEFT].send(frame)
        return token


_NO_DAD: dict[int, tuple[str, ...]] = {4: (), 6: ("nodad",)}


def _refuses(data: bytes, sniffer: socket.socket) -> bool:
    """Whether it is the router's answer that it does not take a packet: it repeats that packet's last bytes."""
    if sniffer.family == socket.AF_PACKET:
        protocol, kind = (data[23], data[34:35]) if data[12:14] == b"\x08\0" else (data[20], data[54:55])
    elif sniffer.family == socket.AF_INET:
        protocol, kind = data[9], data[20:21]
    else:
        protocol, kind = sniffer.proto, data[:1]
    return (protocol, kind) in {(made.ICMP, b"\3"), (made.ICMPV6, b"\1")}


def _delete(name: str) -> None:
    with suppress(subprocess.CalledProcessError):
        run("ip", "netns", "delete", name)


@contextmanager
def _on_one_processor() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def router() -> Iterator[Router]:
    """A router that ends with the block."""
    found = Router()
    with found.stack:
        found.build()
        yield found


def written(packet: Packet, token: bytes, about: Packet | None = None) -> bytes:
    """A packet as bytes, from its network header on; `token` are its last ones."""
    body = _body(packet, token, about)
    source, destination = str(packet.source), str(packet.destination)
    if packet.source.version == 6:
        body = _checked(body, packet, packet.source, packet.destination)
        return made.ipv6(source, destination, packet.protocol, body)
    body = _checked(body, packet, packet.source, packet.destination)
    whole = made.ipv4(source, destination, packet.protocol, body)
    return whole[:10] + struct.pack(">H", checksum(whole[:20])) + whole[12:]


def _body(packet: Packet, token: bytes, about: Packet | None) -> bytes:
    source, destination = packet.source_port or 0, packet.destination_port or 0
    if packet.protocol == made.TCP:
        bits = {"SYN": made.SYN, "ACK": made.ACK, "FIN": made.FIN, "RST": made.RST}
        return made.tcp(source, destination, sum(bits[name] for name in packet.tcp_flags or ()), token)
    if packet.protocol == made.UDP:
        return made.udp(source, destination, token)
    if packet.protocol == made.SCTP:
        whole = made.sctp(source, destination, 1)[:-_TOKEN] + token
        return whole[:8] + struct.pack("<I", _crc32c(whole)) + whole[12:]
    if packet.icmp is None:
        return b"\0\0\0\1\0\0\0\1" + token
    if about is not None:
        return made.icmp(*packet.icmp) + written(about, token)
    return made.icmp(*packet.icmp, struct.pack(">HH", source, 1)) + token


def _checked(body: bytes, packet: Packet, source: Address, destination: Address) -> bytes:
    """A body with its checksum, which covers the addresses too except for ICMP over IPv4."""
    at = _CHECKSUM_AT.get(packet.protocol)
    if at is None:
        return body
    ends = source.packed + destination.packed + struct.pack(">HH", packet.protocol, len(body))
    total = checksum(body if packet.protocol == made.ICMP else ends + body)
    return body[:at] + struct.pack(">H", total) + body[at + 2 :]


def _crc32c(data: bytes) -> int:
    """SCTP's checksum."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    data += b"\0" * (len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f">{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
