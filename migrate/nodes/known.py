"""Whether a dump is of a node of the cluster with which it is compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import msgspec

from migrate.model.addresses import Address, parse_address
from migrate.model.cluster import Node
from migrate.model.finding import Effect, Finding
from migrate.nodes import files
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump

NOT_IN_SNAPSHOT = "NODE-NOT-IN-SNAPSHOT"


class _Held(msgspec.Struct, frozen=True):
    """An address of a link."""

    local: str = ""


class _Link(msgspec.Struct, frozen=True):
    """A link, as `ip -j address show` prints it."""

    addr_info: tuple[_Held, ...] = ()


def known_node(dump: NodeDump, view: ClusterView | None) -> Iterator[Finding]:
    """A dump of a machine that the snapshot does not have, by its name or by its addresses."""
    nodes = () if view is None else view.cluster.nodes
    if not nodes:
        return
    held = _addresses(dump)
    named = next((node for node in nodes if node.name == dump.manifest.name), None)
    if named is None:
        yield _finding(dump, f"the snapshot has no node {dump.manifest.name}{_hint(dump, nodes, held)}")
    elif held and named.addresses and not held & set(named.addresses):
        wanted = ", ".join(map(str, named.addresses))
        yield _finding(
            dump,
            f"the dump of node {named.name} has none of the addresses that the snapshot's node has ({wanted}): "
            f"it is of another cluster, or of another machine{_by_address(nodes, held)}",
        )


def _addresses(dump: NodeDump) -> set[Address]:
    """The addresses of the machine; empty where the dump does not tell."""
    found: set[Address] = set()
    for _, body in dump.bodies(files.ADDRESSES):
        try:
            links = msgspec.json.decode(body, type=list[_Link])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        for entry in (entry for link in links for entry in link.addr_info):
            try:
                found.add(parse_address(entry.local))
            except ValueError:
                continue
    return found


def _hint(dump: NodeDump, nodes: tuple[Node, ...], held: set[Address]) -> str:
    by_address = _by_address(nodes, held)
    near = difflib.get_close_matches(dump.manifest.name, [node.name for node in nodes], n=1)
    if not by_address and near:
        by_address = f"; there is {near[0]}"
    return f"{by_address}: it is of another cluster, of a node that is gone, or has another name there"


def _by_address(nodes: tuple[Node, ...], held: set[Address]) -> str:
    found = next((node.name for node in nodes if held & set(node.addresses)), None)
    return f"; by its addresses it is {found}" if found is not None else ""


def _finding(dump: NodeDump, detail: str) -> Finding:
    return Finding(id=NOT_IN_SNAPSHOT, detail=detail, effect=Effect.UNKNOWN, subject=dump.node)
