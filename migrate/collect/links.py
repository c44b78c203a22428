"""Links and addresses in the shape of `ip -j -d link show` and `ip -j address show`.

Source of names and of what is left out: iproute2, ip/ipaddress.c and the ip/iplink_*.c of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migrate.collect.kernel_messages import FAMILIES, Message, Shown

_RUNNING, _UP = 1 << 6, 1
_FLAGS = (
    (1 << 3, "LOOPBACK"),
    (1 << 1, "BROADCAST"),
    (1 << 4, "POINTOPOINT"),
    (1 << 12, "MULTICAST"),
    (1 << 7, "NOARP"),
    (1 << 9, "ALLMULTI"),
    (1 << 8, "PROMISC"),
    (1 << 10, "MASTER"),
    (1 << 11, "SLAVE"),
    (1 << 2, "DEBUG"),
    (1 << 15, "DYNAMIC"),
    (1 << 14, "AUTOMEDIA"),
    (1 << 13, "PORTSEL"),
    (1 << 5, "NOTRAILERS"),
    (_UP, "UP"),
    (1 << 16, "LOWER_UP"),
    (1 << 17, "DORMANT"),
    (1 << 18, "ECHO"),
)
_TYPES = {
    1: "ether",
    512: "ppp",
    768: "ipip",
    769: "tunnel6",
    772: "loopback",
    776: "sit",
    778: "gre",
    823: "gre6",
    65534: "none",
}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_PERMANENT, _TENTATIVE, _SECONDARY = 0x80, 0x40, 0x01
_ADDRESS_FLAGS = (
    (0x10, "home"),
    (0x20, "deprecated"),
    (_TENTATIVE, "tentative"),
    (0x08, "dadfailed"),
    (0x04, "optimistic"),
    (0x02, "nodad"),
    (0x100, "mngtmpaddr"),
    (0x200, "noprefixroute"),
    (0x400, "autojoin"),
)
_TUNNEL = {"remote": "REMOTE", "local": "LOCAL", "ttl": "TTL"}
_VALUES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "vxlan": ("IFLA_VXLAN_", {"id": "ID", "port": "PORT", "ttl": "TTL", "ageing": "AGEING"}),
    "geneve": ("IFLA_GENEVE_", {"id": "ID", "remote": "REMOTE", "port": "PORT"}),
    "ipip": ("IFLA_IPIP_", _TUNNEL),
    "sit": ("IFLA_IPIP_", _TUNNEL),
    "gre": ("IFLA_GRE_", _TUNNEL),
    "vlan": ("IFLA_VLAN_", {"id": "ID"}),
    "bridge": (
        "IFLA_BR_",
        {
            "stp_state": "STP_STATE",
            "vlan_filtering": "VLAN_FILTERING",
            "nf_call_iptables": "NF_CALL_IPTABLES",
            "nf_call_ip6tables": "NF_CALL_IP6TABLES",
        },
    ),
}
"""By kind: the prefix of pyroute2's names, and names of `ip` with the rest of pyroute2's. Other kinds say no more."""


def shown_links(links: Sequence[Message]) -> list[Shown]:
    """All links with what belongs to their kind."""
    names = _names(links)
    return [_link(link, names) | _details(link) for link in links]


def shown_addresses(links: Sequence[Message], addresses: Sequence[Message]) -> list[Shown]:
    """All links with their addresses."""
    names = _names(links)
    of: dict[int | None, list[Shown]] = {}
    for address in addresses:
        of.setdefault(address.number("index"), []).append(_address(address))
    return [_link(link, names) | {"addr_info": of.get(link.number("index"), [])} for link in links]


def _names(links: Sequence[Message]) -> dict[int | None, str]:
    return {link.number("index"): link.text("IFLA_IFNAME") or "" for link in links}


def _link(link: Message, names: Mapping[int | None, str]) -> Shown:
    kind = link.number("ifi_type")
    shown: Shown = {"ifindex": link.number("index")} | _below(link, names)
    shown |= {
        "ifname": link.text("IFLA_IFNAME"),
        "flags": _flags(link.number("flags") or 0),
        "mtu": link.number("IFLA_MTU"),
        "qdisc": link.text("IFLA_QDISC"),
    }
    master = link.number("IFLA_MASTER")
    if master is not None:
        shown["master"] = names.get(master, f"if{master}")
    group = link.number("IFLA_GROUP") or 0
    shown |= {"operstate": link.text("IFLA_OPERSTATE"), "group": "default" if group == 0 else str(group)}
    length = link.number("IFLA_TXQLEN")
    shown |= {"txqlen": length} if length else {}
    shown["link_type"] = _TYPES.get(kind or 0, f"[{kind}]")
    for name, attribute in (("address", "IFLA_ADDRESS"), ("broadcast", "IFLA_BROADCAST")):
        shown |= _given(name, link.text(attribute))
    return shown | _given("link_netnsid", link.number("IFLA_LINK_NETNSID"))


def _below(link: Message, names: Mapping[int | None, str]) -> Shown:
    """The link that it stands on, or the other end of a pair; a number where that is in another namespace."""
    index = link.number("IFLA_LINK")
    if index is None:
        return {}
    if index and link.number("IFLA_LINK_NETNSID") is not None:
        return {"link_index": index}
    return {"link": names.get(index, f"if{index}") if index else None}


def _flags(flags: int) -> list[str]:
    carrier = ["NO-CARRIER"] if flags & _UP and not flags & _RUNNING else []
    return carrier + [name for bit, name in _FLAGS if flags & bit]


def _details(link: Message) -> Shown:
    about = link.inner("IFLA_LINKINFO")
    kind, ports = about.text("IFLA_INFO_KIND"), about.text("IFLA_INFO_SLAVE_KIND")
    values = _values(kind or "", about.inner("IFLA_INFO_DATA"))
    info = _given("info_kind", kind) | ({"info_data": values} if values else {}) | _given("info_slave_kind", ports)
    shown = _given("ifalias", link.text("IFLA_IFALIAS"))
    return shown | ({"linkinfo": info} if info else {})


def _values(kind: str, data: Message) -> Shown:
    """What matters of a kind: tunnels and their ports, and whether a bridge sends packets through rules."""
    prefix, known = _VALUES.get(kind, ("", {}))
    shown: Shown = {}
    for name, rest in known.items():
        number, text = data.number(prefix + rest), data.text(prefix + rest)
        shown |= _given(name, number if text is None else text)
    if kind == "vxlan":
        shown |= _vxlan(data)
    return shown


def _vxlan(data: Message) -> Shown:
    shown: Shown = {}
    if data.number("IFLA_VXLAN_COLLECT_METADATA"):
        shown["external"] = True
    for name, family in (("local", ""), ("local6", "6")):
        shown |= _given(name, data.text(f"IFLA_VXLAN_LOCAL{family}"))
        group = data.text(f"IFLA_VXLAN_GROUP{family}")
        shown |= _given(("group" if _is_multicast(group) else "remote") + family, group)
    learning = data.number("IFLA_VXLAN_LEARNING")
    return shown | ({} if learning is None else {"learning": bool(learning)})


def _is_multicast(address: str | None) -> bool:
    from ipaddress import ip_address

    return address is not None and ip_address(address).is_multicast


def _address(address: Message) -> Shown:
    family = address.number("family") or 0
    local, other = address.text("IFA_LOCAL"), address.text("IFA_ADDRESS")
    shown: Shown = {"family": FAMILIES.get(family, str(family)), "local": local or other}
    if local is not None and other != local:
        shown["address"] = other
    shown["prefixlen"] = address.number("prefixlen")
    shown |= _given("broadcast", address.text("IFA_BROADCAST"))
    scope = address.number("scope") or 0
    shown["scope"] = _SCOPES.get(scope, str(scope))
    shown |= _address_flags(address, family)
    shown |= _given("label", address.text("IFA_LABEL"))
    times = address.inner("IFA_CACHEINFO")
    shown |= _given("valid_life_time", times.number("ifa_valid"))
    return shown | _given(
        "preferred_life_time",
        times.number(
            "ifa_preferred",
        )
        if times.parts
        else None,
    )


def _address_flags(address: Message, family: int) -> Shown:
    flags = address.number("IFA_FLAGS")
    flags = (address.number("flags") or 0) if flags is None else flags
    shown: Shown = {}
    if flags & _SECONDARY:
        shown["temporary" if FAMILIES.get(family) == "inet6" else "secondary"] = True
    shown |= {name: True for bit, name in _ADDRESS_FLAGS if flags & bit}
    return shown | ({} if flags & _PERMANENT else {"dynamic": True})


def _given(name: str, value: object) -> Shown:
    return {} if value is None else {name: value}
