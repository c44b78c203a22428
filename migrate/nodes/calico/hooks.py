"""Where the kernel's own chains lead to Calico's, and what other software puts before and behind.

Facts: projectcalico/calico felix/dataplane/linux/int_dataplane.go (setUpIptablesNormal), felix/iptables/table.go
(rules are put first again whenever something else comes before them, or last with chainInsertMode Append).
"""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.finding import Finding
from migrate.model.node_state import Chain, Ending, Jump, Reject, Rule, Table
from migrate.nodes.calico.names import PREFIX
from migrate.nodes.calico.node import HOOK, OTHER_RULES, Compared
from migrate.nodes.calico.tables import is_felix
from migrate.nodes.wording import first_few

_HOOKS = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "POSTROUTING", "OUTPUT"),
    "mangle": ("PREROUTING",),
    "raw": ("PREROUTING", "OUTPUT"),
}
_ACCEPTED = "Policy explicitly accepted packet."
_OF_KUBERNETES = "KUBE-"


def hook_drift(node: Compared, *, appends: bool) -> Iterator[Finding]:
    """Jumps to Calico that are missing or not first. `appends`: Felix is told to come behind the other rules."""
    for name, chains in _HOOKS.items():
        table = node.chains.tables.get(name)
        if table is None:
            continue
        for chain in chains:
            yield from _hook(node, table, chain, appends=appends)


def _hook(node: Compared, table: Table, name: str, *, appends: bool) -> Iterator[Finding]:
    by_name = table.by_name()
    target, kernel = PREFIX + name, by_name.get(name)
    where = f"{name} of table {table.name}"
    at = node.chains.at(table if kernel is None else kernel)
    position = None if kernel is None else _position(kernel, target)
    if position is None:
        if table.complete:
            yield node.finding(HOOK, f"{where} has no jump to {target}", None, at)
        return
    rules = kernel.rules if kernel is not None else ()
    before = [rule for rule in rules[:position] if not is_felix(rule) and not _may_come_first(rule, name)]
    if table.name == "filter" and before and not appends:
        detail = f"{where} leads to {target} only in line {rules[position].line}, behind {_said(before)}"
        yield node.finding(HOOK, detail, None, node.chains.at(rules[position]))


def _may_come_first(rule: Rule, chain: str) -> bool:
    """kubelet and kube-proxy put rules first in INPUT and OUTPUT that let nothing in which Calico would not."""
    to_kubernetes = isinstance(rule.target, Jump) and rule.target.chain.startswith(_OF_KUBERNETES)
    return chain != "FORWARD" and to_kubernetes


def _position(chain: Chain, target: str) -> int | None:
    places = (i for i, rule in enumerate(chain.rules) if isinstance(rule.target, Jump) and rule.target.chain == target)
    return next(places, None)


def other_rules(node: Compared, *, appends: bool) -> Iterator[Finding]:
    """Rules of other software that decide beside Calico's.

    Behind cali-FORWARD they see what Calico accepts: Felix accepts it with the last rule of FORWARD, or not at all
    where iptablesFilterAllowAction is Return. kube-proxy's own chains are not told.
    """
    for name in _HOOKS["filter"]:
        chain = node.chains.by_name.get(name)
        position = None if chain is None else _position(chain, PREFIX + name)
        if chain is None or position is None:
            continue
        before = [rule for rule in chain.rules[:position] if appends and _decides(rule)]
        behind = [rule for rule in _seen_behind(chain, position) if _decides(rule)]
        if name != "FORWARD":
            behind = []
        for rules, word in ((before, "before"), (behind, "behind")):
            if rules:
                detail = f"rules {word} {PREFIX}{name} in {name} decide too: {_said(rules)}"
                yield node.finding(OTHER_RULES, detail, None, node.chains.at(rules[0]))


def _seen_behind(chain: Chain, position: int) -> Iterator[Rule]:
    """The rules that a packet sees which Calico let pass."""
    for rule in chain.rules[position + 1 :]:
        if _ACCEPTED in rule.comments and rule.target is Ending.ACCEPT:
            return
        yield rule


def _decides(rule: Rule) -> bool:
    """Whether a rule of others may accept or drop; kube-proxy is known, and its rules go with it."""
    target = rule.target
    if is_felix(rule) or target is None or target is Ending.RETURN:
        return False
    if isinstance(target, Jump):
        return not target.chain.startswith((_OF_KUBERNETES, PREFIX))
    return isinstance(target, Ending | Reject)


def _said(rules: list[Rule]) -> str:
    return first_few(f"line {rule.line} ({_target(rule)})" for rule in rules)


def _target(rule: Rule) -> str:
    target = rule.target
    if isinstance(target, Jump):
        return target.chain
    return target.value if isinstance(target, Ending) else type(target).__name__
