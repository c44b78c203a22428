"""Who wrote a rule of a node: by its chain, the one it leads to, its comment, link or address."""

from __future__ import annotations

from migrate.model.node_state import AddressIs, Chain, DeviceIs, Jump, Rule, Translate
from migrate.nodes.software import Software, known

_BUILT_IN = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))


def chain_owner(name: str) -> Software | None:
    """The program of a chain; None where nobody is known for it."""
    return next(iter(known().owners("chains", name)), None)


def owner(chain: Chain, rule: Rule) -> Software | None:
    """The program of a rule; None where nothing tells."""
    found = None if chain.name in _BUILT_IN else chain_owner(chain.name)
    if found is None and isinstance(rule.target, Jump):
        found = chain_owner(rule.target.chain)
    return found or _by_comment(rule) or _by_device(rule) or _by_address(rule)


def _by_comment(rule: Rule) -> Software | None:
    """Programs that write into the kernel's own chains leave a comment there."""
    for comment in rule.comments:
        for what in known().owners("comments", comment):
            return what
    return None


def _by_device(rule: Rule) -> Software | None:
    """By a link that only one program makes: bridges of Docker and of pods."""
    for condition in rule.conditions:
        if isinstance(condition, DeviceIs) and len(found := known().owners("links", condition.name)) == 1:
            return found[0]
    return None


def _by_address(rule: Rule) -> Software | None:
    """By a destination that only one program guards. Whoever translates it is somebody else."""
    if isinstance(rule.target, Translate):
        return None
    for condition in rule.conditions:
        if isinstance(condition, AddressIs) and not condition.negated and condition.network in known().by_address:
            return known().by_address[condition.network]
    return None
