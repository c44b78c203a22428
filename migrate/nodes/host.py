"""What a dump says of a Linux node beside its packet filter, read once for everything that asks about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from migrate.errors import InputError
from migrate.model.addresses import AddressSet
from migrate.model.finding import Effect, Finding
from migrate.model.node_machine import CniFile, Link, LinkAddress, Route, Socket, VirtualServer
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.dump import UNREAD, NodeDump
from migrate.nodes.files import Printed
from migrate.sources.node.cni_files import salvage_cni
from migrate.sources.node.ip_json import salvage_addresses, salvage_links, salvage_routes
from migrate.sources.node.nft_names import NftNames, salvage_nft
from migrate.sources.node.proc_files import (
    read_kernel,
    read_modules,
    read_mounts,
    read_paths,
    read_settings,
    read_sockets,
    read_virtual_servers,
)

_MOST = 5
"""Complaints of one file that are told one by one."""
_Value = TypeVar("_Value")
_Salvage = Callable[[bytes, str], tuple[tuple[_Value, ...], tuple[InputError, ...]]]


@dataclass(slots=True)
class Host:
    """Parts that are None were not in the dump, or not to be read: nothing follows from what they would hold."""

    dump: NodeDump
    links: tuple[Link, ...] | None = None
    addresses: tuple[LinkAddress, ...] | None = None
    routes: tuple[Route, ...] | None = None
    cni: tuple[CniFile, ...] | None = None
    nft: NftNames | None = None
    servers: tuple[VirtualServer, ...] | None = None
    sockets: tuple[Socket, ...] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[str] | None = None
    mounts: tuple[tuple[str, str], ...] | None = None
    paths: tuple[str, ...] | None = None
    pinned: tuple[str, ...] | None = None
    kernel: str | None = None
    problems: list[Finding] = field(default_factory=list)

    def link(self, name: str) -> Link | None:
        """The interface of that name."""
        return next((link for link in self.links or () if link.name == name), None)

    def place(self, printed: Printed) -> Location:
        """The file of a sort, whether it is there or not, for findings that are about all of it."""
        path = next(iter(self.dump.paths.get(printed, ())), None)
        return Location(f"{self.dump.folder.name}/{path.name if path else printed.name}", None)

    def complain(self, source: str, error: InputError) -> None:
        """Note that a part of the dump cannot be used, once."""
        found = next(iter(_told(self.dump, source, (error,))))
        if found not in self.problems:
            self.problems.append(found)

    @property
    def own_addresses(self) -> AddressSet:
        """Addresses of the node itself, with those of bridges and tunnels."""
        return AddressSet.of_addresses(entry.address.ip for entry in self.addresses or ())


def host_of(dump: NodeDump) -> Host:
    """The node's other files. Raises InputError when one of them cannot be read from the disk."""
    host = Host(dump)
    host.links = _salvaged(host, files.LINKS, salvage_links)
    host.addresses = _salvaged(host, files.ADDRESSES, salvage_addresses)
    routes = (
        _salvaged(host, files.ROUTES, partial(salvage_routes, family=4)),
        _salvaged(host, files.ROUTES6, partial(salvage_routes, family=6)),
    )
    host.routes = None if routes[0] is None else (*routes[0], *(routes[1] or ()))
    host.cni = _salvaged(host, files.CNI, lambda body, source: salvage_cni(body.decode(errors="replace"), source))
    host.nft = _nft(host)
    host.servers = _salvaged(host, files.IPVS, lambda body, source: (read_virtual_servers(_text(body), source), ()))
    _read_texts(host)
    return host


def _read_texts(host: Host) -> None:
    dump = host.dump
    sockets, settings = dump.text(files.SOCKETS), dump.text(files.SYSCTL)
    modules, mounts = dump.text(files.MODULES), dump.text(files.MOUNTS)
    paths, pinned, kernel = dump.text(files.PATHS), dump.text(files.PINNED), dump.text(files.KERNEL)
    host.sockets = None if sockets is None else read_sockets(sockets)
    host.settings = read_settings(settings or "")
    host.modules = None if modules is None else read_modules(modules)
    host.mounts = None if mounts is None else read_mounts(mounts)
    host.paths = None if paths is None else read_paths(paths)
    host.pinned = None if pinned is None else read_paths(pinned)
    host.kernel = read_kernel(kernel or "")


def _nft(host: Host) -> NftNames | None:
    for at, body in host.dump.bodies(files.NFT):
        found, complaints = salvage_nft(body, at.file)
        host.problems += _told(host.dump, at.file, complaints)
        return None if complaints and not found.tables else found
    return None


def _salvaged(host: Host, printed: Printed, salvage: _Salvage[_Value]) -> tuple[_Value, ...] | None:
    found: tuple[_Value, ...] | None = None
    for at, body in host.dump.bodies(printed):
        values, complaints = salvage(body, at.file)
        host.problems += _told(host.dump, at.file, complaints)
        if values or not complaints:
            found = (*(found or ()), *values)
    return found


def _told(dump: NodeDump, source: str, complaints: tuple[InputError, ...]) -> Iterator[Finding]:
    texts = [str(complaint) for complaint in complaints[:_MOST]]
    if len(complaints) > _MOST:
        texts.append(f"{source}: {len(complaints) - _MOST} more entries")
    for text in texts:
        yield Finding(id=UNREAD, detail=text, effect=Effect.UNKNOWN, subject=dump.node, at=Location(source, None))


def _text(body: bytes) -> str:
    return body.decode(errors="replace")
