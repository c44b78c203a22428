"""Which options the matches and targets of iptables have, and how many values each takes.

What stands here is read without a flag. It is what NPM, Calico, kube-proxy, Cilium and the images of AKS write, and
what is common on hosts; source: iptables 1.8.9, extensions/ (the functions that save rules).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Arity = Mapping[str, int]


def _options(one: str = "", none: str = "", two: str = "") -> Arity:
    """Options with one value, with none and with two, as words."""
    counts = {**dict.fromkeys(none.split(), 0), **dict.fromkeys(two.split(), 2)}
    return MappingProxyType({**dict.fromkeys(one.split(), 1), **counts})


OWN: Arity = _options(one="s d i o p", none="f")
"""The rule's own options, with one dash."""

_LONG_NAMES = {
    "source": "s",
    "src": "s",
    "destination": "d",
    "dst": "d",
    "in-interface": "i",
    "out-interface": "o",
    "protocol": "p",
    "proto": "p",
    "fragment": "f",
}

MATCHES: Mapping[str, Arity] = MappingProxyType(
    {
        "tcp": _options("sport dport tcp-option", two="tcp-flags"),
        "udp": _options("sport dport"),
        "udplite": _options("sport dport"),
        "dccp": _options("sport dport dccp-types dccp-option"),
        "sctp": _options("sport dport", two="chunk-types"),
        "multiport": _options("sports dports ports"),
        "icmp": _options("icmp-type"),
        "icmp6": _options("icmpv6-type"),
        "comment": _options("comment"),
        "mark": _options("mark"),
        "connmark": _options("mark"),
        "conntrack": _options(
            "ctstate ctproto ctorigsrc ctorigdst ctreplsrc ctrepldst ctorigsrcport ctorigdstport ctreplsrcport "
            "ctrepldstport ctstatus ctexpire ctdir"
        ),
        "state": _options("state"),
        "set": _options(
            "packets-eq packets-lt packets-gt bytes-eq bytes-lt bytes-gt",
            "return-nomatch update-counters update-subcounters",
            "match-set",
        ),
        "addrtype": _options("src-type dst-type", "limit-iface-in limit-iface-out"),
        "physdev": _options("physdev-in physdev-out", "physdev-is-in physdev-is-out physdev-is-bridged"),
        "owner": _options("uid-owner gid-owner", "socket-exists suppl-groups"),
        "statistic": _options("mode probability every packet"),
        "limit": _options("limit limit-burst"),
        "hashlimit": _options(
            "hashlimit-upto hashlimit-above hashlimit hashlimit-burst hashlimit-mode hashlimit-srcmask "
            "hashlimit-dstmask hashlimit-name hashlimit-htable-size hashlimit-htable-max hashlimit-htable-expire "
            "hashlimit-htable-gcinterval hashlimit-rate-interval",
            "hashlimit-rate-match",
        ),
        "connlimit": _options("connlimit-upto connlimit-above connlimit-mask", "connlimit-saddr connlimit-daddr"),
        "connbytes": _options("connbytes connbytes-mode connbytes-dir"),
        "recent": _options("name seconds hitcount mask", "set rcheck update remove reap rttl rsource rdest"),
        "rpfilter": _options(none="loose validmark accept-local invert"),
        "socket": _options(none="transparent nowildcard restore-skmark"),
        "policy": _options("dir pol reqid spi proto mode tunnel-src tunnel-dst", "strict next"),
        "ipvs": _options("vproto vaddr vport vdir vmethod vportctl", "ipvs"),
        "u32": _options("u32"),
        "bpf": _options("bytecode object-pinned"),
        "cgroup": _options("cgroup path"),
        "mac": _options("mac-source"),
        "pkttype": _options("pkt-type"),
        "iprange": _options("src-range dst-range"),
        "length": _options("length"),
        "ttl": _options("ttl-eq ttl-gt ttl-lt"),
        "hl": _options("hl-eq hl-gt hl-lt"),
        "dscp": _options("dscp"),
        "ecn": _options("ecn-ip-ect", "ecn-tcp-cwr ecn-tcp-ece"),
        "tcpmss": _options("mss"),
        "helper": _options("helper"),
        "realm": _options("realm"),
        "esp": _options("espspi"),
        "cpu": _options("cpu"),
        "devgroup": _options("src-group dst-group"),
        "string": _options("string hex-string algo from to", "icase"),
    }
)

ALONE = frozenset({"tcp", "udp", "udplite", "dccp", "sctp", "icmp", "icmp6", "esp", "socket", "rpfilter", "comment"})
"""Matches that may stand without an option."""

_RANDOM = "random random-fully persistent"
TARGETS: Mapping[str, Arity] = MappingProxyType(
    {
        "ACCEPT": _options(),
        "DROP": _options(),
        "RETURN": _options(),
        "QUEUE": _options(),
        "REJECT": _options("reject-with"),
        "MARK": _options("set-xmark set-mark and-mark or-mark xor-mark"),
        "CONNMARK": _options(
            "set-xmark set-mark and-mark or-mark xor-mark nfmask ctmask mask", "save-mark restore-mark"
        ),
        "DNAT": _options("to-destination", _RANDOM),
        "SNAT": _options("to-source", _RANDOM),
        "MASQUERADE": _options("to-ports", _RANDOM),
        "REDIRECT": _options("to-ports", _RANDOM),
        "NETMAP": _options("to"),
        "CT": _options("zone zone-orig zone-reply helper ctevents expevents timeout", "notrack"),
        "NOTRACK": _options(),
        "LOG": _options(
            "log-prefix log-level",
            "log-tcp-sequence log-tcp-options log-ip-options log-uid log-macdecode",
        ),
        "NFLOG": _options("nflog-prefix nflog-group nflog-range nflog-size nflog-threshold"),
        "NFQUEUE": _options("queue-num queue-balance", "queue-bypass queue-cpu-fanout"),
        "TPROXY": _options("on-port on-ip tproxy-mark"),
        "TRACE": _options(),
        "AUDIT": _options("type"),
        "TCPMSS": _options("set-mss", "clamp-mss-to-pmtu"),
        "DSCP": _options("set-dscp set-dscp-class"),
        "TOS": _options("set-tos and-tos or-tos xor-tos"),
        "TTL": _options("ttl-set ttl-dec ttl-inc"),
        "HL": _options("hl-set hl-dec hl-inc"),
        "CHECKSUM": _options(none="checksum-fill"),
        "CLASSIFY": _options("set-class"),
        "SET": _options("timeout map-mark map-prio map-queue", "exist", "add-set del-set map-set"),
        "TEE": _options("gateway oif"),
        "SECMARK": _options("selctx"),
        "CONNSECMARK": _options(none="save restore"),
        "SYNPROXY": _options("wscale mss", "sack-perm timestamp ecn"),
    }
)

GO_ON = frozenset(
    [
        "TRACE",
        "AUDIT",
        "TCPMSS",
        "DSCP",
        "TOS",
        "TTL",
        "HL",
        "CHECKSUM",
        "CLASSIFY",
        "SET",
        "TEE",
        "SECMARK",
        "CONNSECMARK",
        "CT",
    ]
)
"""Targets without a class of their own after which the packet goes on to the next rule."""

LAST = frozenset(["NFQUEUE", "TPROXY", "NETMAP", "SYNPROXY"])
"""Targets without a class of their own that end the packet's way through the table."""


def own_name(word: str) -> str | None:
    """The one letter of a rule's own option, however it is written."""
    name = word.lstrip("-")
    if word.startswith("--"):
        return _LONG_NAMES.get(name)
    return name if name in OWN else None
