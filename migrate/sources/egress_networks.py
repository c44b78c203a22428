"""The CIDRs that egress rules of Cilium's policies name, as they stand there."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.addresses import Network, parse_network
from migrate.model.raw import RawObject
from migrate.sources.fields import Fields, Reading

_KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")


def egress_networks(raw: RawObject) -> frozenset[Network]:
    """Those that a policy allows by itself; none of other kinds. What is no CIDR is left out."""
    if raw.ref.kind not in _KINDS:
        return frozenset()
    root = Reading(raw).root()
    only = root.child("spec")
    specs = ((only,) if only is not None else ()) + (root.children("specs") or ())
    return frozenset(_parsed(text for spec in specs for rule in spec.children("egress") or () for text in _cidrs(rule)))


def _cidrs(rule: Fields) -> Iterator[str]:
    yield from rule.texts("toCIDR")
    for entry in rule.children("toCIDRSet") or ():
        yield entry.text("cidr")


def _parsed(texts: Iterator[str]) -> Iterator[Network]:
    for text in texts:
        try:
            yield parse_network(text)
        except ValueError:
            continue
