"""What rules with the action Log of Calico write, in the kernel's log and in the trace pipe of its eBPF data plane.

A line of the kernel's log has no verdict in it: the rule after the Log decides. Its form is that of netfilter's LOG
target (nf_log_syslog.c), after the prefix that Felix sets ("calico-packet: ", FelixConfiguration's logPrefix). Lines of
the trace pipe do have one (projectcalico/calico#9452). Times without a year or a zone are the node's; they are read as
UTC, in the last year that does not lie ahead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

from migrate.evidence.numbered import Numbered, numbered
from migrate.evidence.seen import SeenFlow, Unread
from migrate.evidence.values import address, brief, octet, port, rfc3339, since_1970, whole
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP

ORIGIN: Final = "calico-log"
PREFIXES: Final = ("calico-packet",)

_DAY = 86_400
_LONGEST_TEXT = 2048
"""Characters. A packet in the kernel's log has some hundred."""
_PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP, "ICMPv6": ICMPV6, "UDPLITE": 136, "AH": 51, "ESP": 50}
_PORTS = (TCP, UDP, SCTP, 136)
_WORKLOAD = ("cali", "azv", "eni", "gke", "lxc", "veth")
"""How the interfaces of pods begin: Calico's own, and those of other network plugins under it."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ISO = re.compile(r"(?:<\d{1,3}>)?(?:1 )?(?P<time>\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?)\s+(?P<rest>.*)")
_BSD = re.compile(
    r"(?:<\d{1,3}>)?(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})? "
    r"(?P<rest>.*)"
)
_UNIX = re.compile(r"(?P<seconds>\d{9,10})\.(?P<fraction>\d{1,9}) (?P<rest>.*)")
_DMESG = re.compile(
    r"(?:<\d{1,3}>)?\[\w{3} (?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>[\d:]{8}) (?P<year>\d{4})\]"
)
_HOST = re.compile(r"(?P<host>\S+) kernel(?:\[\d+\])?(?::| -)")
_FIELD = re.compile(r"(?:^| )([A-Z]{2,9})=(\S*)")
_TRACED = re.compile(
    r"(?<![^\s:])(?P<interface>[^\s:]+)-(?P<side>[EI]): policy (?P<verdict>ALLOWED|DENIED)\b"
    r"(?:\s+proto (?P<protocol>\d{1,3}) src (?P<source>\S+):(?P<source_port>\d+) "
    r"dest (?P<destination>\S+):(?P<port>\d+))?"
)


class _Journal(msgspec.Struct):
    """An entry of journalctl -o json; a message that is no text is a list of its bytes."""

    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    realtime: str | None = msgspec.field(name="__REALTIME_TIMESTAMP", default=None)
    host: str | None = msgspec.field(name="_HOSTNAME", default=None)


class _Head(NamedTuple):
    """What stands before a message: nanoseconds since 1970 (0: not told) and the name of the node."""

    at: int
    node: str


_DECODE = msgspec.json.Decoder(_Journal).decode


def read(
    lines: Iterable[bytes], name: str, prefixes: Sequence[str] = PREFIXES, before: int = 0
) -> Iterator[SeenFlow | Unread]:
    """The packets of a log, in its order. A line counts where one of the prefixes stands before the packet.

    `before`, in nanoseconds since 1970: when the log ended, to tell the year; 0: it is not known.
    """
    for line in numbered(lines, name):
        if isinstance(line, Unread):
            yield line
            continue
        try:
            yield _read_line(line, prefixes, before)
        except (msgspec.DecodeError, RecursionError) as error:
            yield Unread(line.at_line, "unreadable", "not an entry of the journal", brief(str(error)))
        except ValueError as error:
            yield Unread(line.at_line, "unreadable", "a packet with a value that cannot be", str(error))


def _read_line(line: Numbered, prefixes: Sequence[str], before: int) -> SeenFlow | Unread:
    text, entry = line.text.decode(errors="replace"), None
    if text.startswith("{"):
        entry = _DECODE(line.text)
        text = _message(entry)
    if len(text) > _LONGEST_TEXT:
        return _too_long(line.at_line, text)
    traced = _TRACED.search(text)
    if traced is not None:
        return _traced(line, traced)
    head, found, packet = text.partition("IN=")
    if not found or " SRC=" not in packet:
        return Unread(line.at_line, "no_flow", "a line without a packet")
    if not any(prefix in head for prefix in prefixes):
        return Unread(line.at_line, "no_flow", "a packet that another rule logged", brief(head[-40:].strip()))
    if not line.is_ended and entry is None:
        packet = packet.rpartition(" ")[0]
    told = _of_journal(entry) if entry is not None else _head(head, before)
    return _logged(line.at_line, told, "IN=" + packet.partition("[")[0])


def _too_long(at_line: str, text: str) -> Unread:
    """Logs of a node have long lines of other programs too."""
    if " SRC=" in text or ": policy " in text:
        return Unread(at_line, "unreadable", "a line that is too long for a packet", brief(text))
    return Unread(at_line, "no_flow", "a line without a packet")


def _message(entry: _Journal) -> str:
    if isinstance(entry.message, list):
        return bytes(octet(number) for number in entry.message).decode(errors="replace")
    return entry.message or ""


def _of_journal(entry: _Journal) -> _Head:
    microseconds = whole(entry.realtime or "0")
    return _Head(since_1970(microseconds // 1_000_000, microseconds % 1_000_000 * 1000), entry.host or "")


def _head(text: str, before: int) -> _Head:
    """Of syslog (RFC 3164 and 5424), of journalctl -o short and its kin, and of dmesg."""
    if found := _ISO.match(text):
        return _Head(rfc3339(found["time"]), _host(found["rest"]))
    if found := _BSD.match(text):
        seconds = _year_guessed(found["month"], int(found["day"]), found["clock"], before // 10**9)
        fraction = int((found["fraction"] or ".0")[1:].ljust(9, "0"))
        return _Head(seconds * 10**9 + fraction if seconds else 0, _host(found["rest"]))
    if found := _UNIX.match(text):
        return _Head(since_1970(int(found["seconds"]), int(found["fraction"].ljust(9, "0"))), _host(found["rest"]))
    if found := _DMESG.match(text):
        return _Head(_seconds(int(found["year"]), found["month"], int(found["day"]), found["clock"]) * 10**9, "")
    return _Head(0, "")


def _host(rest: str) -> str:
    found = _HOST.match(rest)
    return found["host"] if found else ""


@lru_cache(1 << 12)
def _year_guessed(month: str, day: int, clock: str, before: int) -> int:
    """Seconds since 1970 in the last year that is not after `before`; a day more is let pass, for a clock's zone."""
    if not before:
        return 0
    year = datetime.fromtimestamp(before + _DAY, UTC).year
    for guess in range(year, year - 8, -1):
        try:
            seconds = _seconds(guess, month, day, clock)
        except ValueError:
            continue  # the 29th of February of another year
        if seconds <= before + _DAY:
            return seconds
    raise ValueError(f"no date: {month} {day} {brief(clock)}")


def _seconds(year: int, month: str, day: int, clock: str) -> int:
    if month not in _MONTHS:
        raise ValueError(f"no month: {brief(month)}")
    hour, minute, second = (int(part) for part in clock.split(":"))
    return int(datetime(year, _MONTHS.index(month) + 1, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp())


def _logged(at_line: str, head: _Head, packet: str) -> SeenFlow | Unread:
    fields: dict[str, str] = {}
    for key, value in _FIELD.findall(packet):
        fields.setdefault(key, value)
    source, destination = address(fields.get("SRC", "")), address(fields.get("DST", ""))
    name = fields.get("PROTO", "")
    if source is None or destination is None or not name:
        return Unread(at_line, "unreadable", "a packet without its ends or protocol", "the line may be cut off")
    protocol = _PROTOCOLS[name] if name in _PROTOCOLS else octet(_number(name))
    icmp = None
    if protocol in (ICMP, ICMPV6):
        if not ("TYPE" in fields and "CODE" in fields):
            return Unread(at_line, "unreadable", "a packet of ICMP without its type", "the line may be cut off")
        icmp = octet(_number(fields["TYPE"])), octet(_number(fields["CODE"]))
    elif protocol in _PORTS and not ("SPT" in fields and "DPT" in fields):
        if "FRAG:" in packet:
            return Unread(at_line, "no_flow", "a later fragment, which has no ports")
        return Unread(at_line, "unreadable", "a packet without its ports", "the line may be cut off")
    words = packet.split()
    is_reply = _is_reply("SYN" in words, "ACK" in words) if protocol == TCP else False
    incoming, outgoing = fields.get("IN", ""), fields.get("OUT", "")
    ports = port(_number(fields.get("SPT", "0"))), port(_number(fields.get("DPT", "0")))
    source_port, destination_port = (ports[1], ports[0]) if is_reply else ports
    return SeenFlow(
        origin=ORIGIN,
        at_line=at_line,
        at=head.at,
        verdict="unknown",
        node=head.node,
        source=source,
        destination=destination,
        protocol=protocol,
        port=destination_port,
        source_port=source_port,
        icmp=icmp,
        direction=_direction(*((outgoing, incoming) if is_reply else (incoming, outgoing))),
        is_reply=is_reply,
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"no number: {brief(text)}")
    return int(text)


def _is_reply(has_syn: bool, has_ack: bool) -> bool | None:
    """A segment that neither opens nor answers an opening may be any of a connection."""
    return has_ack if has_syn else None


def _direction(incoming: str, outgoing: str) -> Literal["egress", "ingress", ""]:
    """Of two pods on one node it is not told whose policy logged the packet."""
    leaves, arrives = incoming.startswith(_WORKLOAD), outgoing.startswith(_WORKLOAD)
    if leaves == arrives:
        return ""
    return "egress" if leaves else "ingress"


def _traced(line: Numbered, found: re.Match[str]) -> SeenFlow | Unread:
    """E and I are the pod's egress and ingress, as policies have them."""
    if found["protocol"] is None:
        return Unread(line.at_line, "unreadable", "a verdict without its packet", "the kernel is older than 5.16")
    if not line.is_ended and found.end() == len(line.text):
        return Unread(line.at_line, "unreadable", "a packet without its ports", "the line may be cut off")
    protocol = octet(int(found["protocol"]))
    ports = port(_number(found["source_port"])), port(_number(found["port"]))
    if protocol in (ICMP, ICMPV6):
        ports = (0, 0)  # what is printed there is not the type and code in an order that is documented
    return SeenFlow(
        origin=ORIGIN,
        at_line=line.at_line,
        at=0,
        verdict="forwarded" if found["verdict"] == "ALLOWED" else "dropped",
        node="",
        source=address(found["source"].strip("[]")),
        destination=address(found["destination"].strip("[]")),
        protocol=protocol,
        port=ports[1],
        source_port=ports[0],
        direction="egress" if found["side"] == "E" else "ingress",
        is_reply=False,
        dropped_by="policy" if found["verdict"] == "DENIED" else "",
    )
