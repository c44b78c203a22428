"""What kube-proxy has programmed on a node in each of its modes, in one form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from migrate.model.addresses import Address, AddressSet
from migrate.model.node_state import (
    AddressIs,
    Backend,
    Chain,
    End,
    Ending,
    InSet,
    Jump,
    MarkChange,
    PortIn,
    Rule,
    Ruleset,
    Table,
)
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.host import Host
from migrate.nodes.kube_proxy.nft_firewall import let_in
from migrate.nodes.kube_proxy.services import ServicePortName

_PER_SERVICE = re.compile(r"KUBE-(SVC|SVL|EXT|XLB|FW)-([A-Z2-7]{16})")
_NAMED = re.compile(r"(?P<name>[a-z0-9.-]+/[a-z0-9.-]+(?::[a-z0-9.-]+)?)(?: |$)")
_FAMILIES = {"ip": 4, "ip6": 6}
_BARE = ("has no endpoints", "has no local endpoints")


class Mode(Enum):
    """How kube-proxy makes a node serve Services."""

    IPTABLES = "iptables"
    IPVS = "ipvs"
    NFTABLES = "nftables"


@dataclass(slots=True)
class Programmed:
    """One set of rules of kube-proxy: a mode, and with iptables a backend and a family.

    `chains` are the suffixes of chains by service port (mode iptables) or chain bases (mode nftables), with where they
    stand; `names` are those of service ports that comments tell, by suffix. `without_endpoints` are names of service
    ports that are refused. `hooked`: the kernel's own chains lead there.
    """

    mode: Mode
    at: Location
    family: int = 4
    backend: Backend | None = None
    complete: bool = True
    hooked: bool = True
    chains: dict[str, Location] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    without_endpoints: set[str] = field(default_factory=set)
    firewalls: dict[str, AddressSet] = field(default_factory=dict)
    """Addresses of clients that are let in to the load balancer's address, by suffix."""
    drops: set[str | tuple[Address, int]] = field(default_factory=set)
    """Where others are dropped: by suffix, or by the balancer's address and port."""

    def keys(self, name: ServicePortName) -> tuple[str, ...]:
        """Under which keys a service port may stand here."""
        return (name.chain_base,) if self.mode is Mode.NFTABLES else name.suffixes

    @property
    def shown(self) -> str:
        """The mode for people."""
        return f"{self.mode.value} ({self.backend.value})" if self.backend else self.mode.value


def programmed(host: Host) -> Iterator[Programmed]:
    """All sets of rules of kube-proxy on the node."""
    for family in (4, 6):
        for ruleset, nat in host.dump.tables("nat", family):
            yield from _of_iptables(host, ruleset, nat, family)
    yield from _of_ipvs(host)
    yield from _of_nftables(host)


def _of_iptables(host: Host, ruleset: Ruleset, nat: Table, family: int) -> Iterator[Programmed]:
    chains = nat.by_name()
    found = Programmed(Mode.IPTABLES, ruleset.at(nat), family, nat.backend, nat.complete)
    for name, chain in chains.items():
        match = _PER_SERVICE.fullmatch(name)
        if match is None:
            continue
        if match[1] == "FW":
            found.firewalls[match[2]] = _let_in(chain, family)
            if _reaches(chain, "KUBE-MARK-DROP"):
                found.drops.add(match[2])
        found.chains.setdefault(match[2], ruleset.at(chain))
        if match[2] not in found.names and (named := _named(chain)):
            found.names[match[2]] = named
    services = chains.get("KUBE-SERVICES")
    if services is None or not (found.chains or _reaches(services, "KUBE-")):
        return
    _name_by_jumps(found, services)
    hooks = [chains[hook] for hook in ("PREROUTING", "OUTPUT") if hook in chains]
    found.hooked = not nat.complete or any(_reaches(hook, "KUBE-SERVICES") for hook in hooks)
    for table in (table for _, table in host.dump.tables("filter", family) if table.backend is nat.backend):
        found.complete = found.complete and table.complete
        found.without_endpoints |= set(_refused(table))
        found.drops |= set(_dropped(table))
    if found.chains or not _of_sets(services):
        yield found


def _named(chain: Chain) -> str:
    """The service port that the first comment of a chain names; "" where there is none."""
    for rule in chain.rules:
        for comment in rule.comments:
            match = _NAMED.match(comment.removeprefix("masquerade traffic for "))
            if match is not None:
                return match["name"]
    return ""


def _name_by_jumps(found: Programmed, services: Chain) -> None:
    """Large clusters have comments in KUBE-SERVICES only."""
    for rule in services.rules:
        match = _PER_SERVICE.fullmatch(rule.target.chain) if isinstance(rule.target, Jump) else None
        if match is not None and match[2] not in found.names:
            named = next((m["name"] for text in rule.comments if (m := _NAMED.match(text))), "")
            if named:
                found.names[match[2]] = named


def _let_in(firewall: Chain, family: int) -> AddressSet:
    """The sources with which packets leave a KUBE-FW- chain for the Service's own chain."""
    everything = AddressSet.everything()
    allowed = AddressSet()
    for rule in firewall.rules:
        if isinstance(rule.target, Jump) and rule.target.chain.startswith(
            ("KUBE-EXT-", "KUBE-SVC-", "KUBE-XLB-", "KUBE-SVL-")
        ):
            sources = everything
            for condition in rule.conditions:
                if isinstance(condition, AddressIs) and condition.end is End.SOURCE:
                    one = AddressSet.of([condition.network])
                    sources = sources - one if condition.negated else sources & one
            allowed |= sources
    return AddressSet(allowed.v4) if family == 4 else AddressSet(v6=allowed.v6)


def _refused(table: Table) -> Iterator[str]:
    """Service ports that nobody is behind, by the comments of the rules that refuse them."""
    for name in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"):
        chain = table.by_name().get(name)
        for rule in chain.rules if chain else ():
            for text in rule.comments:
                if text.endswith(_BARE):
                    yield text.split(" ")[0].rstrip(":")


def _dropped(table: Table) -> Iterator[tuple[Address, int]]:
    """The addresses and ports for which KUBE-PROXY-FIREWALL drops what no KUBE-FW- chain let in."""
    chain = table.by_name().get("KUBE-PROXY-FIREWALL")
    for rule in chain.rules if chain is not None else ():
        addresses = [c.network for c in rule.conditions if isinstance(c, AddressIs) and c.end is End.DESTINATION]
        ports = [c.ranges for c in rule.conditions if isinstance(c, PortIn) and c.end is End.DESTINATION]
        if rule.target is Ending.DROP and len(addresses) == 1 and len(ports) == 1:
            yield addresses[0].network_address, ports[0][0][0]


def _reaches(chain: Chain, prefix: str) -> bool:
    return any(isinstance(rule.target, Jump) and rule.target.chain.startswith(prefix) for rule in chain.rules)


def _of_sets(services: Chain) -> bool:
    """Whether a chain KUBE-SERVICES is that of mode ipvs, which asks sets where iptables has a jump per Service."""
    names = {condition.name for rule in services.rules for condition in rule.conditions if isinstance(condition, InSet)}
    return "KUBE-CLUSTER-IP" in names or "KUBE-6-CLUSTER-IP" in names


def _of_ipvs(host: Host) -> Iterator[Programmed]:
    """Mode ipvs shows in virtual servers, in the sets that its rules ask, or else in the link with their addresses."""
    sets = host.dump.sets.by_name() if host.dump.sets is not None else {}
    found = False
    for family, name in ((4, "KUBE-CLUSTER-IP"), (6, "KUBE-6-CLUSTER-IP")):
        servers = [server for server in host.servers or () if server.address.version == family]
        if servers or (name in sets and host.dump.sets is not None):
            at = servers[0].at if servers or host.dump.sets is None else host.dump.sets.at(sets[name])
            yield Programmed(Mode.IPVS, at, family, hooked=bool(servers) or _asked(host, family))
            found = True
    if not found and host.link("kube-ipvs0") is not None:
        yield Programmed(Mode.IPVS, host.place(files.LINKS), hooked=False)


def _of_nftables(host: Host) -> Iterator[Programmed]:
    """One set of rules per family, in tables named kube-proxy."""
    if host.nft is None:
        return
    for table in host.nft.tables:
        if table.name != "kube-proxy" or table.family not in _FAMILIES:
            continue
        found = Programmed(Mode.NFTABLES, host.nft.at, _FAMILIES[table.family])
        own = [chain for chain in host.nft.chains if (chain.family, chain.table) == (table.family, table.name)]
        for chain in own:
            kind, slash, base = chain.name.partition("-")
            if slash and "/" in base and kind in {"service", "local", "external", "firewall"}:
                found.chains.setdefault(base, host.nft.at)
                found.names.setdefault(base, _nft_name(base))
        for rule in host.nft.rules:
            if (rule.family, rule.table) == (table.family, table.name) and rule.chain.startswith("firewall-"):
                base = rule.chain.removeprefix("firewall-")
                if "/" in base:
                    found.firewalls[base] = let_in(rule, found.family)
        found.hooked = any(chain.hook for chain in own)
        yield found


def _nft_name(base: str) -> str:
    """ "ns/name:port" of HASH-ns/name/protocol/port."""
    parts = base.partition("-")[2].split("/")
    return f"{parts[0]}/{parts[1]}" + (f":{parts[3]}" if len(parts) > 3 and parts[3] else "")


def _asked(host: Host, family: int) -> bool:
    return any(
        chain.name == "KUBE-SERVICES" and _of_sets(chain)
        for _, table in host.dump.tables("nat", family)
        for chain in table.chains
    )


def masquerade_marks(host: Host) -> Iterator[tuple[Ruleset, Rule, MarkChange]]:
    """The rules of KUBE-MARK-MASQ: what kube-proxy marks is to leave with the node's address."""
    for ruleset, table in host.dump.tables("nat"):
        chain = table.by_name().get("KUBE-MARK-MASQ")
        for rule in chain.rules if chain is not None else ():
            if isinstance(rule.target, MarkChange):
                yield ruleset, rule, rule.target
