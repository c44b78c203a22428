"""What is known of Windows nodes without any policy (rules/node/windows.yaml)."""

from __future__ import annotations

import ipaddress
from datetime import date
from functools import cache
from typing import Literal

import msgspec

from migrate.model.intervals import IntervalSet
from migrate.nodes.windows.rules import Rule
from migrate.resources import data, read_yaml


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a statement comes from, and what it says there."""

    says: str
    repo: str = ""
    path: str = ""
    thread: str = ""


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release of Windows by its first build. `denies_by_default`: an endpoint with ACLs denies what none allows."""

    build: int
    name: str
    denies_by_default: bool = False


class BaseAcl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An ACL that endpoints of pods have without any policy.

    Its priority lies from `first` to `last`; without a remote address it is for all traffic of the switch, or of the
    host.
    """

    title: str
    direction: Literal["In", "Out"]
    action: Literal["Allow", "Block"]
    first: int
    last: int
    remote: str = ""
    protocol: int = 0
    port: int = 0
    host: bool = False

    def fits(self, rule: Rule) -> bool:
        """Whether an ACL does what this one is there for."""
        if (rule.inbound, rule.allows, rule.host) != (self.direction == "In", self.action == "Allow", self.host):
            return False
        if rule.unread or not self.first <= rule.priority <= self.last or rule.local or rule.local_ports:
            return False
        if not self.remote:
            return (rule.protocols, rule.remote, rule.remote_ports) == (None, None, None)
        return (
            _has_network(rule.remote, self.remote)
            and (rule.protocols is None or self.protocol in rule.protocols)
            and (rule.remote_ports is None or IntervalSet(((self.port, self.port),)) <= rule.remote_ports)
        )


class Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Releases from the oldest on; the base ACLs and their ids where NPM itself writes them.

    `addresses` are those of the platform, to which a CNI's configuration may have further ACLs.
    """

    releases: tuple[Release, ...]
    base: tuple[BaseAcl, ...]
    base_ids: tuple[str, ...]
    addresses: tuple[str, ...]
    as_of: date
    sources: tuple[Source, ...]

    def release(self, build: int) -> Release | None:
        """The release of a build; one after the last known is taken for the last."""
        return next((release for release in reversed(self.releases) if build >= release.build), None)

    def of_platform(self, rule: Rule) -> bool:
        """Whether an ACL is about addresses of the platform only."""
        return rule.remote is not None and rule.remote <= set(self.addresses)


@cache
def platform() -> Platform:
    """All that is known."""
    return read_yaml(data("rules") / "node" / "windows.yaml", Platform)


def _has_network(places: frozenset[str] | None, wanted: str) -> bool:
    """Whether the places, of which any is any, hold a network."""
    if places is None:
        return True
    network = ipaddress.IPv4Network(wanted)
    return any(network.subnet_of(given) for given in map(_network, places) if given is not None)


def _network(place: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(place)
    except ValueError:
        return None
