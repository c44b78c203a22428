"""What Cilium's rules say of packets: toPorts with their L7 rules, and icmps.

Facts: pkg/policy/api of cilium/cilium v1.18.8 and v1.20.2 (port strings with base prefixes, ICMP type names).
"""

from __future__ import annotations

from dataclasses import dataclass

from migrate.sources.fields import Fields
from migrate.sources.kubernetes import is_port_name

PROTOCOLS = ("TCP", "UDP", "SCTP", "ANY")
EXTENDED_PROTOCOLS = {"VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51}
"""Protocols without ports, since 1.20 (VRRP and IGMP 1.19), by number."""
_IPV4_TYPES = {
    "EchoReply": 0,
    "DestinationUnreachable": 3,
    "Redirect": 5,
    "Echo": 8,
    "EchoRequest": 8,
    "RouterAdvertisement": 9,
    "RouterSelection": 10,
    "TimeExceeded": 11,
    "ParameterProblem": 12,
    "Timestamp": 13,
    "TimestampReply": 14,
    "Photuris": 40,
    "ExtendedEchoRequest": 42,
    "ExtendedEchoReply": 43,
}
_IPV6_TYPES = {
    "DestinationUnreachable": 1,
    "PacketTooBig": 2,
    "TimeExceeded": 3,
    "ParameterProblem": 4,
    "EchoRequest": 128,
    "EchoReply": 129,
    "MulticastListenerQuery": 130,
    "MulticastListenerReport": 131,
    "MulticastListenerDone": 132,
    "RouterSolicitation": 133,
    "RouterAdvertisement": 134,
    "NeighborSolicitation": 135,
    "NeighborAdvertisement": 136,
    "RedirectMessage": 137,
    "RouterRenumbering": 138,
    "ICMPNodeInformationQuery": 139,
    "ICMPNodeInformationResponse": 140,
    "InverseNeighborDiscoverySolicitation": 141,
    "InverseNeighborDiscoveryAdvertisement": 142,
    "HomeAgentAddressDiscoveryRequest": 144,
    "HomeAgentAddressDiscoveryReply": 145,
    "MobilePrefixSolicitation": 146,
    "MobilePrefixAdvertisement": 147,
    "DuplicateAddressRequestCodeSuffix": 157,
    "DuplicateAddressConfirmationCodeSuffix": 158,
    "ExtendedEchoRequest": 160,
    "ExtendedEchoReply": 161,
}

_PROXY_FIELDS = ("terminatingTLS", "originatingTLS", "listener")
L7_KINDS = ("http", "dns", "kafka", "l7")


@dataclass(frozen=True, slots=True)
class PortRule:
    """A port: number (0 and None all) with an optional end, or a name. `protocol` ANY is TCP, UDP and SCTP."""

    port: int | str | None
    protocol: str
    end: int | None = None


@dataclass(frozen=True, slots=True)
class PortItem:
    """One item of toPorts.

    `l7` are the kinds of L7 rules in it (http, dns, kafka, l7); `via` the other fields by which a proxy takes part.
    """

    ports: tuple[PortRule, ...]
    l7: tuple[str, ...] = ()
    via: tuple[str, ...] = ()

    @property
    def is_proxied(self) -> bool:
        """Whether a proxy judges what the ports let through."""
        return bool(self.l7 or self.via)


@dataclass(frozen=True, slots=True)
class IcmpRule:
    """An ICMP type of a family (4 or 6)."""

    family: int
    type: int


def read_ports(fields: Fields) -> tuple[PortItem, ...] | None:
    """The items of toPorts; None when ports are not limited."""
    items = fields.children("toPorts")
    return tuple(map(_read_item, items)) if items else None


def _read_item(item: Fields) -> PortItem:
    ports = [_read_port(entry) for entry in item.children("ports") or ()]
    rules, names = item.child("rules"), item.texts("serverNames")
    via = [key for key in _PROXY_FIELDS if item.has(key)] + (["serverNames"] if names else [])
    item.ignore(*_PROXY_FIELDS)
    if any(not name for name in names):
        item.invalid("a server name is empty", "serverNames")
    item.close()
    return PortItem(
        ports=tuple(port for port in ports if port is not None),
        l7=_read_l7(rules) if rules is not None else (),
        via=tuple(via),
    )


def _read_l7(rules: Fields) -> tuple[str, ...]:
    """The kinds of rules that are there; what they say is the proxy's own business."""
    found = [kind for kind in L7_KINDS[:3] if rules.items(kind)]
    if rules.text("l7proto") or rules.items("l7"):
        found.append("l7")
    rules.ignore("l7")
    rules.close()
    return tuple(found)


def _read_port(fields: Fields) -> PortRule | None:
    text = str(fields.scalar("port") or "")
    protocol, end = fields.text("protocol", "ANY"), fields.integer("endPort")
    fields.close()
    if protocol not in PROTOCOLS and protocol not in EXTENDED_PROTOCOLS:
        fields.invalid(f'protocol "{protocol}" is not known', "protocol")
        return None
    if not text:
        return PortRule(None, protocol)
    if is_port_name(text.lower()):
        return PortRule(text.lower(), protocol, end)
    number = _port_number(text)
    if number is None or not 0 <= number <= 65535:
        fields.invalid(f"{text} is not a port", "port")
        return None
    return PortRule(number, protocol, end)


def _port_number(text: str) -> int | None:
    """Go's ParseUint with base 0: a leading 0 means octal; None for what is no number."""
    octal = len(text) > 1 and text[0] == "0" and text.isascii() and text.isdecimal()
    try:
        return int(text, 8) if octal else int(text, 0)
    except ValueError:
        return None


def read_icmp(fields: Fields) -> tuple[IcmpRule, ...] | None:
    """The entries of icmps; None when there are none."""
    items = fields.children("icmps")
    if items is None:
        return None
    found: list[IcmpRule] = []
    for item in items:
        for entry in item.children("fields") or ():
            family, kind = entry.text("family", "IPv4"), entry.scalar("type")
            entry.close()
            names = _IPV6_TYPES if family == "IPv6" else _IPV4_TYPES
            number = names.get(kind) if isinstance(kind, str) and not kind.isdecimal() else int(kind or 0)
            if number is None:
                entry.invalid(f'"{kind}" is not an ICMP type of {family}', "type")
                continue
            found.append(IcmpRule(6 if family == "IPv6" else 4, number))
        item.close()
    return tuple(found) if items else None
