"""Outside addresses that pods called, as the beginning of a hint file: by the CIDRs of the rules that let them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from migrate.audit.exported import ExportedFlow
from migrate.model.addresses import Network
from migrate.model.words import counted

_MOST = 20
_HEAD = """\
# Outside addresses that pods called while an audit ran, by the CIDRs that egress rules have.
# An audit sees no DNS names: put them in, or take the entry out. Not seen does not mean not needed.
apiVersion: cilium-migrate/v1alpha1
kind: Hints
fqdn:"""


@dataclass(slots=True)
class _Calls:
    """Connections of one workload to one address and port."""

    events: int = 0
    first: str = ""
    last: str = ""

    def add(self, flow: ExportedFlow) -> None:
        self.events += flow.events
        self.first = min(self.first or flow.first, flow.first)
        self.last = max(self.last, flow.last)


@dataclass(slots=True)
class _Entry:
    """What was called within one CIDR, and from which namespaces."""

    calls: dict[tuple[str, str, str], _Calls] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=set)

    def add(self, flow: ExportedFlow) -> None:
        port = f"{flow.protocol}/{flow.port}" if flow.port else flow.protocol
        source = f"{flow.source.namespace} {flow.source.workload or flow.source.name}"
        self.calls.setdefault((flow.destination.address, port, source), _Calls()).add(flow)
        self.namespaces.add(flow.source.namespace)


def hint_text(flows: Iterable[ExportedFlow], networks: Mapping[str, frozenset[Network]]) -> str:
    """A hint file without its names. `networks` are those of each namespace's policies, "" for cluster-wide ones."""
    entries: dict[Network, _Entry] = {}
    others = _Entry()
    for flow in flows:
        if flow.direction != "egress" or flow.kind != "new" or flow.destination.kind != "outside" or flow.coarse:
            continue
        address = ip_address(flow.destination.address)
        known = networks.get(flow.source.namespace, frozenset()) | networks.get("", frozenset())
        within = [network for network in known if address.version == network.version and address in network]
        for network in within:
            entries.setdefault(network, _Entry()).add(flow)
        if not within:
            others.add(flow)
    everywhere = networks.get("", frozenset())
    lines = [_HEAD if entries else f"{_HEAD} []"]
    for network in sorted(entries, key=lambda network: (network.version, network)):
        lines += _entry(network, entries[network], is_everywhere=network in everywhere)
    if others.calls:
        lines += ["# Called, and in no CIDR of an egress rule:", *(f"# {line}" for line in _seen(others))]
    return "\n".join(lines) + "\n"


def _entry(network: Network, entry: _Entry, *, is_everywhere: bool) -> Iterator[str]:
    yield from (f"  # {line}" for line in _seen(entry))
    yield f"  - cidr: {json.dumps(str(network))}"
    yield "    names: []"
    if not is_everywhere:
        yield f"    namespaces: {json.dumps(sorted(entry.namespaces))}"


def _seen(entry: _Entry) -> Iterator[str]:
    """Those with most connections first."""
    calls = sorted(entry.calls.items(), key=lambda item: (-item[1].events, item[0]))
    for (address, port, source), one in calls[:_MOST]:
        count = counted(one.events, "connection")
        yield f"{address} {port}: {count} of {source}, {one.first[:19]}Z to {one.last[:19]}Z"
    if len(calls) > _MOST:
        yield f"and {len(calls) - _MOST} more"
