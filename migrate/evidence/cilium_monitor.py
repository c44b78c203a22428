"""Lines of `cilium monitor` and `cilium-dbg monitor`: policy verdicts, drops and traces, as text and as JSON (-o json).

Forms: pkg/monitor/datapath_policy.go, datapath_drop.go, datapath_trace.go and dissect.go of cilium/cilium (1.9 to
1.18). They have no time, no node and no pods, only addresses. The verbose form (-v) has no ends on its lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from migrate.evidence import icmp_names
from migrate.evidence.numbered import numbered
from migrate.evidence.seen import SeenFlow, Unread, Verdict
from migrate.evidence.values import address, brief, octet, port, rfc3339
from migrate.model.addresses import Address
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP

ORIGIN: Final = "cilium-monitor"

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
_VERDICTS: dict[str, Verdict] = {
    "allow": "forwarded",
    "redirect": "forwarded",
    "deny": "dropped",
    "audit": "audit",
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)) ")
_POLICY = re.compile(
    r"Policy verdict log: flow \S+ local EP ID \d+, remote ID [^,]*, (?:proto (?P<protocol>\d+), )?"
    r"(?P<way>ingress|egress)(?: (?P<is_ingress>true|false))?, action (?P<action>\w+),(?: auth: [^,]*,)? "
    r"match [^,]*, (?P<packet>.*)"
)
_DROP = re.compile(r"xx drop \((?P<reason>.{0,128}?)\) flow \S+ to endpoint \d+,(?P<rest>.*)")
_TRACE = re.compile(r"(?>.*?(?P<way>->|<-) )(?>[^:]*? flow )\S++ ?,? .*?\bstate (?P<state>\w++)(?P<rest>.*)")
"""Atomic, so that no line takes more than a few passes over it."""
_LONGEST_TEXT = 2048
"""Characters. Lines of cilium monitor have some hundred."""
_LOST = re.compile(r"\bLost (\d{1,12}) events?\b", re.IGNORECASE)
_VERBOSE = re.compile(r"CPU \d+: MARK \S+ FROM \d+ (?:DROP|to-|from-)")
_ENDS = re.compile(
    r"(?:\[(?P<s6>[0-9a-fA-F:.]+)\]|(?P<s4>\d+\.\d+\.\d+\.\d+)):(?P<sport>\d+) -> "
    r"(?:\[(?P<d6>[0-9a-fA-F:.]+)\]|(?P<d4>\d+\.\d+\.\d+\.\d+)):(?P<dport>\d+) (?P<name>\w+)(?: (?P<flags>[A-Z, ]*))?"
)
_BARE = re.compile(
    r"(?P<source>[0-9a-fA-F:.]+) -> (?P<destination>[0-9a-fA-F:.]+)(?: (?P<type>\w+)(?:\((?P<code>\w+)\))?)?"
)
_TYPE_CODE = re.compile(r"TypeCode=(?P<type>\w+)(?:\((?P<code>\w+)\))?")
_LEADING = re.compile(r"\d{1,9}")


class _Ends(msgspec.Struct):
    src: str | None = None
    dst: str | None = None


class _Summary(msgspec.Struct):
    tcp: str | None = None
    udp: str | None = None
    sctp: str | None = None
    icmpv4: str | None = None
    icmpv6: str | None = None
    l3: _Ends | None = None
    l4: _Ends | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    reason: str | None = None
    state: str | None = None
    observation: str | None = msgspec.field(name="observationPoint", default=None)
    action: str | None = None
    direction: str | None = None
    summary: _Summary | None = None


class _Packet(NamedTuple):
    """Ports are those of the packet."""

    source: Address | None
    destination: Address | None
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp: tuple[int, int] | None = None
    is_reply: bool | None = None


_DECODE = msgspec.json.Decoder(_Event).decode
_Way = Literal["egress", "ingress", ""]


def read(lines: Iterable[bytes], name: str) -> Iterator[SeenFlow | Unread]:
    """The packets of a file, in its order."""
    for line in numbered(lines, name):
        if isinstance(line, Unread):
            yield line
            continue
        try:
            if line.text.startswith(b"{"):
                yield _of_json(line.at_line, _DECODE(line.text))
            else:
                yield _of_text(line.at_line, line.text.decode(errors="replace"))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Unread(line.at_line, "unreadable", "not an event of cilium monitor", brief(str(error)))
        except RecursionError:
            yield Unread(line.at_line, "unreadable", "not an event of cilium monitor", "nested too deep")
        except ValueError as error:
            yield Unread(line.at_line, "unreadable", "a packet with a value that cannot be", str(error))


def _of_text(at_line: str, text: str) -> SeenFlow | Unread:
    if len(text) > _LONGEST_TEXT:
        return Unread(at_line, "unreadable", "a line that is too long for one of cilium monitor", brief(text))
    at = 0
    if stamped := _TIME.match(text):
        at, text = rfc3339(stamped[1]), text[stamped.end() :]
    if found := _POLICY.search(text):
        way = "ingress" if found["is_ingress"] == "true" else "egress" if found["is_ingress"] else found["way"]
        packet = _packet(found["packet"], int(found["protocol"]) if found["protocol"] else None)
        if packet is not None and packet.protocol != TCP:
            packet = packet._replace(is_reply=False)  # a policy is asked for what is new
        return _seen(at_line, at, packet, _verdict(found["action"]), "ingress" if way == "ingress" else "egress")
    if found := _DROP.search(text):
        return _seen(at_line, at, _packet(found["rest"].rpartition(": ")[2]), "dropped", reason=found["reason"])
    if found := _TRACE.match(text):
        verdict: Verdict = "forwarded" if found["way"] == "->" else "unknown"
        return _seen(at_line, at, _in_state(_packet(found["rest"].rpartition(": ")[2]), found["state"]), verdict)
    if found := _LOST.search(text):
        return Unread(at_line, "lost", "events that cilium monitor lost", "", max(1, int(found[1])))
    if _VERBOSE.search(text):
        return Unread(at_line, "unreadable", "the verbose form, which has no ends", "run cilium monitor without -v")
    if text.startswith(("Policy verdict log:", "xx drop ")):
        return Unread(at_line, "unreadable", "not an event of cilium monitor", brief(text))
    return Unread(at_line, "no_flow", "a line that tells of no packet")


def _of_json(at_line: str, event: _Event) -> SeenFlow | Unread:
    kind = (event.type or "").lower()
    if not kind:
        return Unread(at_line, "unreadable", "not an event of cilium monitor", "an object without a type")
    if kind not in ("drop", "trace") and not kind.startswith("policy"):
        return Unread(at_line, "no_flow", "an event that is no packet", brief(kind))
    packet = _summarized(event.summary)
    if kind == "drop":
        return _seen(at_line, 0, packet, "dropped", reason=event.reason or "")
    if kind == "trace":
        is_sent = (event.observation or "").lower().startswith("to-")
        return _seen(at_line, 0, _in_state(packet, event.state or ""), "forwarded" if is_sent else "unknown")
    way: _Way = "ingress" if event.direction == "ingress" else "egress" if event.direction == "egress" else ""
    return _seen(at_line, 0, packet, _verdict(event.action or ""), way)


def _verdict(action: str) -> Verdict:
    return _VERDICTS.get(action.lower(), "unknown")


def _in_state(packet: _Packet | None, state: str) -> _Packet | None:
    """By connection tracking."""
    known = {"new": False, "reply": True, "established": False}
    if packet is None or state.lower() not in known:
        return packet
    return packet._replace(is_reply=known[state.lower()])


def _seen(
    at_line: str, at: int, packet: _Packet | None, verdict: Verdict, way: _Way = "", reason: str = ""
) -> SeenFlow | Unread:
    if packet is None:
        return Unread(at_line, "no_flow", "a packet whose ends or protocol are not told")
    ports = packet.source_port, packet.destination_port
    source_port, destination_port = (ports[1], ports[0]) if packet.is_reply else ports
    return SeenFlow(
        origin=ORIGIN,
        at_line=at_line,
        at=at,
        verdict=verdict,
        node="",
        source=packet.source,
        destination=packet.destination,
        protocol=packet.protocol,
        port=destination_port,
        source_port=source_port,
        icmp=packet.icmp,
        direction=way,
        is_reply=packet.is_reply,
        dropped_by=reason or ("policy" if verdict == "dropped" else ""),
    )


def _packet(text: str, protocol: int | None = None) -> _Packet | None:
    """A connection as it is summed up: "10.0.0.1:41510 -> 10.0.0.2:80 tcp SYN", "10.0.0.1 -> 10.0.0.2 EchoRequest"."""
    if found := _ENDS.match(text):
        if found["name"] not in _PROTOCOLS:
            return None
        flags = (found["flags"] or "").replace(",", " ").split()
        ends = address(found["s6"] or found["s4"]), address(found["d6"] or found["d4"])
        ports = port(int(found["sport"])), port(int(found["dport"]))
        return _Packet(*ends, _PROTOCOLS[found["name"]], *ports, None, _is_reply("SYN" in flags, "ACK" in flags))
    bare = _BARE.match(text)
    if bare is None:
        return None
    source, destination = address(bare["source"]), address(bare["destination"])
    if bare["type"]:
        return _icmp(source, destination, bare["type"], bare["code"] or "")
    if protocol is None or protocol in (ICMP, ICMPV6, *_PROTOCOLS.values()):
        return None
    return _Packet(source, destination, octet(protocol))


def _is_reply(has_syn: bool, has_ack: bool) -> bool | None:
    return has_ack if has_syn else None


def _icmp(source: Address | None, destination: Address | None, name: str, code: str) -> _Packet | None:
    """Names of codes are not resolved: no policy of Cilium looks at a code."""
    is_v6 = source is not None and source.version == 6
    number = (icmp_names.V6 if is_v6 else icmp_names.V4).get(name)
    if number is None:
        return None
    told = int(code) if code.isdigit() else 0
    return _Packet(source, destination, ICMPV6 if is_v6 else ICMP, icmp=(number, octet(told)))


def _summarized(summary: _Summary | None) -> _Packet | None:
    if summary is None or summary.l3 is None:
        return None
    ends = address(summary.l3.src or ""), address(summary.l3.dst or "")
    layers = (summary.icmpv4, summary.icmpv6)
    for layer in (layer for layer in layers if layer is not None):
        found = _TYPE_CODE.search(layer)
        return _icmp(*ends, found["type"], found["code"] or "") if found else None
    for protocol, text in ((TCP, summary.tcp), (UDP, summary.udp), (SCTP, summary.sctp)):
        if text is not None and summary.l4 is not None:
            ports = _leading(summary.l4.src), _leading(summary.l4.dst)
            is_reply = _is_reply("SYN=true" in text, "ACK=true" in text) if protocol == TCP else None
            return _Packet(*ends, protocol, *ports, None, is_reply)
    return None


def _leading(text: str | None) -> int:
    found = _LEADING.match(text or "")
    if found is None:
        raise ValueError(f"no port: {brief(text or '')}")
    return port(int(found[0]))
