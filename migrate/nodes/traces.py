"""What programs have left on a node, by the names that they are known by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrate.model.node_state import Backend, Jump, Table
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.attached import attached
from migrate.nodes.host import Host
from migrate.nodes.software import Software, What, known

_BUILT_IN = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing with a name that is known. `detail` tells things of a name apart: table, backend and family."""

    what: What
    name: str
    at: Location
    owners: tuple[Software, ...]
    detail: str = ""
    backend: Backend | None = None


def traces(host: Host) -> Iterator[Trace]:
    """Everything on the node that is known by its name, in the order of the dump."""
    for what, name, at, detail, backend in _names(host):
        owners = known().owners(what, name)
        if owners:
            yield Trace(what, name, at, owners, detail, backend)


def _names(host: Host) -> Iterator[tuple[What, str, Location, str, Backend | None]]:
    yield from _chains(host)
    for found in host.dump.sets.sets if host.dump.sets is not None else ():
        if host.dump.sets is not None:
            yield "sets", found.name, host.dump.sets.at(found), found.kind, None
    for link in host.links or ():
        yield "links", link.name, host.place(files.LINKS), link.kind, None
    for table in host.nft.tables if host.nft is not None else ():
        yield "tables", table.name, host.place(files.NFT), table.family, None
    for file in host.cni or ():
        yield "cni", file.name, file.at, "", None
    for path in host.paths or ():
        yield "paths", path, host.place(files.PATHS), "", None
    for path in host.pinned or ():
        yield "pinned", path, host.place(files.PINNED), "", None
    for at, program in attached(host):
        yield "bpf", program.name, at, f"{program.hook} of {program.device}", None


def _chains(host: Host) -> Iterator[tuple[What, str, Location, str, Backend | None]]:
    for ruleset in host.dump.rulesets:
        for table in ruleset.tables:
            for chain in table.chains:
                if chain.name not in _BUILT_IN:
                    yield "chains", chain.name, ruleset.at(chain), _words(table), table.backend


def _words(table: Table) -> str:
    backend = table.backend.value if table.backend else "?"
    return f"{table.name}, {backend}, IPv{table.family or 4}"


def is_hooked(table: Table, chain: str) -> bool:
    """Whether the kernel's own chains lead to a chain."""
    chains = table.by_name()
    seen: set[str] = set()
    left = [name for name in _BUILT_IN if name in chains]
    while left:
        name = left.pop()
        if name == chain:
            return True
        if name not in seen and name in chains:
            seen.add(name)
            left += [rule.target.chain for rule in chains[name].rules if isinstance(rule.target, Jump)]
    return False
