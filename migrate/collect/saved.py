"""Rules and sets as the node's own programs save them, asked for only where the kernel has them already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from migrate.collect.host import Host
from migrate.collect.kernel import ip_sets, legacy_tables, need_module, nft_tables
from migrate.collect.outcome import AbsentError, UnreadError
from migrate.collect.programs import Program, find_program, run_program
from migrate.nodes import files
from migrate.nodes.files import Printed

_IPTABLES = ("filter", "mangle", "nat", "raw", "security")


@dataclass(frozen=True, slots=True)
class Saved:
    """A dump by a program. `there` are the names of what the kernel has of it.

    `other` is a program that may be the same, which its version says by a word.
    """

    printed: Printed
    there: Callable[[Host], tuple[str, ...]]
    other: tuple[str, str] | None = None


def _legacy(family: int) -> Callable[[Host], tuple[str, ...]]:
    def tables(host: Host) -> tuple[str, ...]:
        found = legacy_tables(family)
        if not found:
            raise AbsentError("the kernel has no tables of the older iptables; asking for them could load some")
        return found

    return tables


def _nft(family: str | None) -> Callable[[Host], tuple[str, ...]]:
    """The tables of nftables; of a family only those that iptables names so."""

    def tables(host: Host) -> tuple[str, ...]:
        need_module(host, "nf_tables")
        found = nft_tables()
        return found if family is None else tuple(name for name in found if name in _names(family))

    return tables


def _names(family: str) -> set[str]:
    return {f"{family} {table}" for table in _IPTABLES}


def _sets(host: Host) -> tuple[str, ...]:
    need_module(host, "ip_set")
    return ip_sets()


SAVED = (
    Saved(files.IPTABLES_LEGACY, _legacy(4), ("iptables-save", "legacy")),
    Saved(files.IP6TABLES_LEGACY, _legacy(6), ("ip6tables-save", "legacy")),
    Saved(files.IP6TABLES_NFT, _nft("ip6"), ("ip6tables-save", "nf_tables")),
    Saved(files.IPTABLES_NFT, _nft("ip"), ("iptables-save", "nf_tables")),
    Saved(files.IPSET, _sets),
    Saved(files.NFT, _nft(None)),
)


def save(host: Host, saved: Saved, done: Mapping[str, bytes]) -> tuple[str, bytes]:
    """The command that was run, and what it printed; `done` are the files that were read before, by name.

    Raises AbsentError, UnreadError and OSError.
    """
    there = saved.there(host)
    name, *arguments = saved.printed.command.split()
    program = find_program(host, name) or _same(host, saved.other)
    if program is None and there:
        several = ", ".join(there[:5]) + (", …" if len(there) > 5 else "")
        raise UnreadError(f"the kernel has {len(there)} of it ({several}), and there is no program {name}; install it")
    if program is None:
        raise AbsentError(f"there is no program {name}, and the kernel has nothing of it")
    if saved.printed is files.NFT:
        return _save_nft(program, arguments, there, done)
    return program.shown(" ".join((program.name, *arguments))), run_program(program, arguments)


def _save_nft(
    program: Program, arguments: list[str], there: tuple[str, ...], done: Mapping[str, bytes]
) -> tuple[str, bytes]:
    """Everything of nftables but the tables that iptables has printed: nft takes 1 GiB for 100,000 of its rules."""
    printed = {table for table in there if _is_printed(table, done)}
    if not printed:
        return program.shown(" ".join((program.name, *arguments))), run_program(program, arguments)
    listed: list[object] = []
    commands = [["-j", "list", "table", *table.split(" ", 1)] for table in there if table not in printed]
    try:
        for command in commands:
            listed += msgspec.json.decode(run_program(program, command), type=_Listed).nftables
    except (UnreadError, msgspec.DecodeError):  # a name that this nft does not take, or a table that is gone
        return program.shown(" ".join((program.name, *arguments))), run_program(program, arguments)
    shown = "; ".join(program.shown(" ".join((program.name, *command))) for command in commands)
    return shown or "no table beside those of iptables", msgspec.json.encode({"nftables": listed}) + b"\n"


class _Listed(msgspec.Struct):
    """What nft prints."""

    nftables: list[object]


def _is_printed(table: str, done: Mapping[str, bytes]) -> bool:
    """Whether iptables-nft-save has the whole of a table. It says so when there is something that it cannot print."""
    family, _, name = table.partition(" ")
    printed = {"ip": files.IPTABLES_NFT, "ip6": files.IP6TABLES_NFT}.get(family)
    body = done.get(printed.name, b"") if printed is not None else b""
    return name in _IPTABLES and b"incompatible" not in body and f"\n*{name}\n".encode() in body


def _same(host: Host, other: tuple[str, str] | None) -> Program | None:
    """A program of a more general name that is of the wanted sort: iptables-save v1.8.7 (nf_tables)."""
    program = find_program(host, other[0]) if other is not None else None
    if program is None or other is None:
        return None
    version = run_program(program, ["--version"]).decode(errors="replace")
    return program if other[1] in version or (other[1] == "legacy" and "(" not in version) else None
