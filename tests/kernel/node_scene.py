"""A network namespace that stands for a node, and the dump that its commands print."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from migrate.model.documents import Fact
from migrate.model.finding import Finding
from migrate.model.node_documents import RuleHits
from migrate.model.raw import Json
from migrate.nodes import files
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import read_dump
from migrate.nodes.files import Printed
from migrate.nodes.linux import examine_linux
from migrate.scan import snapshot
from tests.kernel.lab import Namespace
from tests.readiness.folders import scanned

_SETTINGS = """for path in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables; do
[ ! -e /proc/sys/$path ] || echo "$path = $(cat /proc/sys/$path)"
done"""
_PRINTED = {
    files.IPTABLES_NFT: ("iptables-nft-save", "-c"),
    files.IPTABLES_LEGACY: ("iptables-legacy-save", "-c"),
    files.IP6TABLES_NFT: ("ip6tables-nft-save", "-c"),
    files.IPSET: ("ipset", "save"),
    files.NFT: ("nft", "-j", "list", "ruleset"),
    files.LINKS: ("ip", "-j", "-d", "link", "show"),
    files.ADDRESSES: ("ip", "-j", "address", "show"),
    files.ROUTES: ("ip", "-j", "-4", "route", "show", "table", "all"),
    files.ROUTES6: ("ip", "-j", "-6", "route", "show", "table", "all"),
    files.SOCKETS: ("cat", "/proc/net/udp", "/proc/net/udp6"),
    files.SYSCTL: ("sh", "-c", _SETTINGS),
    files.KERNEL: ("uname", "-srvm"),
    files.MODULES: ("cat", "/proc/modules"),
    files.MOUNTS: ("cat", "/proc/mounts"),
}


class NodeScene(Namespace):
    """A node named n1 with its own packet filter, links and routes."""

    def ip(self, *lines: str) -> None:
        """Commands of ip."""
        self.do("ip", "-batch", "-", text="\n".join(lines))

    def dumped(self, folder: Path, **also: str) -> Path:
        """The folder of the node's dump; `also` are files by the names that files.py gives them."""
        place = folder / "n1"
        place.mkdir(parents=True, exist_ok=True)
        for printed, command in _PRINTED.items():
            place.joinpath(printed.name).write_bytes(self._printed(command))
        for name, text in also.items():
            printed = getattr(files, name)
            assert isinstance(printed, Printed)
            place.joinpath(printed.name).write_text(text, encoding="utf-8")
        return place

    def _printed(self, command: Sequence[str]) -> bytes:
        inside = ("ip", "netns", "exec", self.namespace, *command)
        return subprocess.run(inside, check=False, capture_output=True).stdout


@contextmanager
def node_scene() -> Iterator[NodeScene]:
    """A node that ends with the block."""
    made = NodeScene()
    try:
        yield made
    finally:
        made.remove()


class Seen:
    """What was said of a node."""

    def __init__(self, observations: Sequence[Finding | Fact | RuleHits]) -> None:
        self.findings = [each for each in observations if isinstance(each, Finding)]
        self.facts = [each for each in observations if isinstance(each, Fact)]
        self.hits = [each for each in observations if isinstance(each, RuleHits)]

    def ids(self) -> list[str]:
        """The ids of the findings, each once."""
        return sorted({finding.id for finding in self.findings})

    def details(self, identity: str) -> list[str]:
        """What the findings of an id say."""
        return [finding.detail for finding in self.findings if finding.id == identity]

    def values(self, topic: str) -> list[str]:
        """The values of a topic's facts."""
        return [fact.value for fact in self.facts if fact.topic == topic]

    def states(self, topic: str) -> dict[str, str]:
        """The states of a topic's facts by their values."""
        return {fact.value: fact.state for fact in self.facts if fact.topic == topic}


def seen(place: Path, view: ClusterView | None = None) -> Seen:
    """What is said of a dump."""
    return Seen([*examine_linux(read_dump(place), view)])


def cluster_view(folder: Path, *objects: Mapping[str, Json]) -> ClusterView:
    """A snapshot of some objects, as `migrate scan` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "objects.json"
    place.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]}), encoding="utf-8")
    documents = scanned(folder, place)
    taken = snapshot.read(documents.folder / "snapshot.jsonl.gz")
    return ClusterView(taken.header, tuple(taken.objects))
