"""What Calico left on a node on which it does not run any more, with the commands that take it away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote

from migrate.model.finding import Effect, Finding
from migrate.model.node_state import Backend, Ruleset, Table
from migrate.model.refs import Location
from migrate.model.words import one_line
from migrate.nodes import files
from migrate.nodes.calico.names import PREFIX
from migrate.nodes.calico.programs import Programs
from migrate.nodes.calico.tables import Chains
from migrate.nodes.dump import NodeDump
from migrate.nodes.wording import first_few
from migrate.sources.node.ip_json import salvage_links
from migrate.sources.node.nft_json import NftRuleset

LEFT = "NODE-CALICO-LEFT"
_DEVICE = re.compile(r"cali[0-9a-f]{11}|vxlan(-v6)?\.calico|wireguard\.cali|wg-v6\.cali|bpf(in|out)\.cali")
_SET = re.compile(r"cali[46][0t]")
_CNI = "/etc/cni/net.d/"


def leftovers(dump: NodeDump, programs: Programs, nft: NftRuleset | None) -> Iterator[Finding]:
    """Everything of Calico on a node where it does not run."""
    yield from _tables(dump)
    yield from _nft(dump, nft)
    yield from _sets(dump)
    yield from _devices(dump)
    yield from _programs(dump, programs)
    yield from _files(dump)


def other_backend(dump: NodeDump, chains: Chains) -> Iterator[Finding]:
    """Chains in the backend that Calico does not write to now."""
    if chains.others:
        yield _of_tables(dump, chains.others, "which Calico does not use on this node")


def _finding(dump: NodeDump, what: str, command: str, at: Location | None) -> Finding:
    detail = one_line(f"node {dump.manifest.name}: {what}; to take away: {command}")
    return Finding(id=LEFT, detail=detail, effect=Effect.UNKNOWN, subject=dump.node, at=at)


def _tables(dump: NodeDump) -> Iterator[Finding]:
    for ruleset in dump.rulesets:
        tables = tuple((ruleset, table) for table in ruleset.tables if _chains(table))
        if tables:
            yield _of_tables(dump, tables, "although Calico does not run")


def _chains(table: Table) -> list[str]:
    return [chain.name for chain in table.chains if chain.name.startswith(PREFIX)]


def _of_tables(dump: NodeDump, tables: tuple[tuple[Ruleset, Table], ...], why: str) -> Finding:
    ruleset, first = tables[0]
    program = "ip6tables" if first.family == 6 else "iptables"
    program += "-legacy" if first.backend is Backend.LEGACY else "-nft"
    names = ", ".join(table.name for _, table in tables)
    count = sum(len(_chains(table)) for _, table in tables)
    chain = next(chain for chain in first.chains if chain.name.startswith(PREFIX))
    command = f"{program}-save -c | grep -v 'cali[-:]' | {program}-restore -c"
    what = f"{count} chains of Calico stand in {names} of {program}, {why}"
    return _finding(dump, what, f"`{command}`", ruleset.at(chain))


def _nft(dump: NodeDump, nft: NftRuleset | None) -> Iterator[Finding]:
    for table in nft.tables if nft is not None else ():
        if table.name == "calico":
            what = f"the nftables table {table.family} calico is there, although Calico does not run"
            assert nft is not None
            yield _finding(dump, what, f"`nft delete table {table.family} calico`", Location(nft.source, None))


def _sets(dump: NodeDump) -> Iterator[Finding]:
    sets = dump.sets
    found = [] if sets is None else [one for one in sets.sets if _SET.match(one.name)]
    if found and sets is not None:
        what = f"{len(found)} IP sets of Calico are there: {first_few(one.name for one in found)}"
        command = "after the rules, `ipset list -n | grep '^cali[46][0t]' | xargs -rn1 ipset destroy`"
        yield _finding(dump, what, command, sets.at(found[0]))


def _devices(dump: NodeDump) -> Iterator[Finding]:
    for at, body in dump.bodies(files.LINKS):
        links, _ = salvage_links(body, str(at))
        names = [link.name for link in links if _DEVICE.fullmatch(link.name)]
        if names:
            what = f"interfaces of Calico are there: {first_few(names)}"
            command = ", ".join(f"`ip link delete {name}`" for name in names)
            yield _finding(dump, what, command, at)


def _programs(dump: NodeDump, programs: Programs) -> Iterator[Finding]:
    if not programs and not programs.pinned:
        return
    commands = [
        f"`tc filter delete dev {quote(p.device)} {quote(p.hook.removeprefix('clsact/'))} pref N` with the pref of "
        f"`tc filter show dev {quote(p.device)} {quote(p.hook.removeprefix('clsact/'))}`"
        for p in programs.devices
        if p.hook.startswith("clsact/")
    ]
    commands += [
        f"`bpftool net detach {quote(p.hook.replace('/', '_'))} dev {quote(p.device)}`"
        for p in programs.devices
        if p.hook.startswith("tcx/")
    ]
    commands += [f"`ip link set dev {quote(p.device)} xdp off`" for p in programs.devices if "xdp" in p.hook]
    commands += [f"`bpftool cgroup detach {quote(p.cgroup)} {quote(p.hook)} id {p.id}`" for p in programs.cgroups]
    places = sorted({path.rpartition("/")[0] for path in programs.pinned})
    commands += [f"`rm -r {quote(place)}/cali*`" for place in places]
    what = f"Calico's eBPF data plane is there: {programs.said()}"
    yield _finding(dump, what, ", ".join(commands), programs.at)


def _files(dump: NodeDump) -> Iterator[Finding]:
    for printed in (files.PATHS, files.CNI):
        paths = [path for path in _paths(dump.text(printed) or "") if "calico" in path]
        places = [at for at, _ in dump.bodies(printed)]
        if paths:
            what = f"files of Calico are there: {first_few(paths)}"
            first = "the file of another plugin must be there first; " if any(p.startswith(_CNI) for p in paths) else ""
            yield _finding(dump, what, first + ", ".join(f"`rm -r {path}`" for path in paths), places[0])


def _paths(text: str) -> list[str]:
    """Absolute paths that a file names, one to a line or as `==> path <==` above what a file holds."""
    found = (re.fullmatch(r"(?:==> |# )?(/[\w./+@-]+)(?: <==|:)?", line.strip()) for line in text.splitlines())
    return list(dict.fromkeys(match[1] for match in found if match is not None))
