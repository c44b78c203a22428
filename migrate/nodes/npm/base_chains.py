"""NPM's own chains, which are the same on every node, and the way into them.

Facts: npm/pkg/dataplane/policies/chain-management_linux.go of Azure/azure-container-networking, and dumps of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.node_state import Chain, Comment, ConnectionIn, Ending, Jump, Rule
from migrate.nodes.dump import NodeDump
from migrate.nodes.npm.found import ACCEPT_CHAIN, ALLOW_MARK_CHAIN, DIRECTION_CHAIN, FORWARD, NpmTable
from migrate.nodes.npm.names import BASE, read_policy_chain
from migrate.nodes.npm.rules import NpmRule, mark_text, read_rule

JUMP, EMPTY, RULE = "NODE-NPM-JUMP", "NODE-NPM-EMPTY", "NODE-NPM-DRIFT-RULE"
_ALLOWED, DROPPED = 0x200, {Direction.INGRESS: 0x400, Direction.EGRESS: 0x800}
_KUBE_SERVICES = "KUBE-SERVICES"
_ACTIVE = tuple(NpmRule(chain) for chain in (*DIRECTION_CHAIN.values(), ACCEPT_CHAIN))
_SLEEPING = (NpmRule("RETURN"), *_ACTIVE)
"""How earlier releases leave AZURE-NPM while there is no policy."""
_CLEARED = NpmRule("MARK 0x0/0xffffffff")


def _on_mark(mark: int, target: str) -> NpmRule:
    return NpmRule(target, other=frozenset({mark_text(mark)}))


_FIXED = {
    ALLOW_MARK_CHAIN: (NpmRule(f"MARK {_ALLOWED:#x}/{_ALLOWED:#x}"), NpmRule(DIRECTION_CHAIN[Direction.EGRESS])),
    ACCEPT_CHAIN: (NpmRule("ACCEPT"),),
    DIRECTION_CHAIN[Direction.INGRESS]: (_on_mark(DROPPED[Direction.INGRESS], "DROP"),),
    DIRECTION_CHAIN[Direction.EGRESS]: (
        _on_mark(DROPPED[Direction.EGRESS], "DROP"),
        _on_mark(_ALLOWED, ACCEPT_CHAIN),
    ),
}


def base_findings(dump: NodeDump, npm: NpmTable, *, active: bool) -> Iterator[Finding]:
    """Where NPM's own chains differ. `active`: there are policies, so that AZURE-NPM leads on to the other chains."""
    main = npm.chains.get(BASE)
    rules = () if main is None else tuple(read_rule(rule, str, {}) for rule in main.rules)
    if active and (rules == _SLEEPING or not set(rules) & set(_ACTIVE)):
        said = "is not there" if main is None else "returns at once" if rules else "is empty"
        detail = f"node {dump.manifest.name}: chain {BASE} {said} although there are policies: nothing is enforced"
        at = npm.at(main or npm.table)
        yield Finding(id=EMPTY, detail=detail, effect=Effect.NARROWS, subject=dump.node, at=at)
    elif main is not None and (active or rules != _SLEEPING):
        yield from _compared(dump, npm, main, rules, _ACTIVE if active else ())
    for name, fixed in _FIXED.items():
        chain = npm.chains.get(name)
        if chain is None:
            yield _differs(dump, f"chain {name} is not there", None, npm)
            continue
        found = tuple(read_rule(rule, str, {}) for rule in chain.rules if not _belongs(rule, name))
        if name == ACCEPT_CHAIN:
            found = tuple(rule for rule in found if rule != _CLEARED)  # written by earlier releases
        yield from _compared(dump, npm, chain, found, fixed)
        yield from _late_jumps(dump, npm, chain)


def forward_findings(dump: NodeDump, npm: NpmTable, *, first: bool) -> Iterator[Finding]:
    """Whether FORWARD leads into NPM's chains where it should. `first`: NPM is set to stand before all other rules."""
    forward = npm.forward
    jumps = npm.forward_jumps()
    if forward is None or not jumps:
        detail = f"{FORWARD} has no jump to {BASE} ({npm.backend}): no policy is enforced on this node"
        yield _jump(dump, npm, detail, forward)
        return
    number, rule = next(((n, rule) for n, rule in jumps if _is_own_jump(rule)), jumps[0])
    if not _is_own_jump(rule):
        words = read_rule(rule, str, {})
        yield _jump(dump, npm, f"the jump to {BASE} is `{words}`; expected `ctstate NEW -> {BASE}`", rule)
    expected, place = _place(forward, first=first)
    if number != expected:
        found = f"rule {number} of {len(forward.rules)}{_position(number, forward)}"
        yield _jump(dump, npm, f"the jump to {BASE} stands as {found} in {FORWARD}; expected {place}", rule)
    for past in forward.rules:
        if _target(past).startswith(f"{BASE}-"):
            yield _jump(dump, npm, f"{FORWARD} leads to {_target(past)} past {BASE}; expected no such jump", past)
    for before in forward.rules[: number - 1]:
        if _takes_everything(before):
            detail = f"a rule of {FORWARD} before the jump to {BASE} ends with {before.target} for every packet"
            yield _jump(dump, npm, detail.replace("Ending.", ""), before)
    for other, extra in jumps:
        if extra is not rule:
            yield _jump(dump, npm, f"{FORWARD} leads to {BASE} once more, as rule {other}; expected one jump", extra)


def _place(forward: Chain, *, first: bool) -> tuple[int, str]:
    services = [n for n, rule in enumerate(forward.rules, 1) if _target(rule) == _KUBE_SERVICES]
    if first:
        return 1, "the first place (PlaceAzureChainFirst)"
    if not services:
        return 1, f"the first place, since there is no jump to {_KUBE_SERVICES}"
    return services[0] + 1, f"right after {_KUBE_SERVICES}"


def _position(number: int, forward: Chain) -> str:
    words = [" (first)"] if number == 1 else []
    return "".join(words or ([" (last)"] if number == len(forward.rules) else []))


def _compared(
    dump: NodeDump, npm: NpmTable, chain: Chain, found: tuple[NpmRule, ...], expected: tuple[NpmRule, ...]
) -> Iterator[Finding]:
    if found != expected:
        detail = f"chain {chain.name}: expected {_listed(expected)}, found {_listed(found)}"
        yield _differs(dump, detail, chain, npm)


def _late_jumps(dump: NodeDump, npm: NpmTable, chain: Chain) -> Iterator[Finding]:
    """Jumps to policies behind the rules that act on their marks come too late."""
    seen = False
    for rule in chain.rules:
        if not _is_policy_jump(rule):
            seen = True
        elif seen:
            detail = (
                f"chain {chain.name}: the jump to {_target(rule)} stands behind the rules on marks; expected before"
            )
            yield _differs(dump, detail, rule, npm)


def _listed(rules: tuple[NpmRule, ...]) -> str:
    return "[" + "; ".join(str(rule).replace("everything -> ", "-> ") for rule in rules) + "]"


def _differs(dump: NodeDump, detail: str, part: Chain | Rule | None, npm: NpmTable) -> Finding:
    said = f"node {dump.manifest.name}: {detail}"
    return Finding(id=RULE, detail=said, effect=Effect.UNKNOWN, subject=dump.node, at=npm.at(part or npm.table))


def _jump(dump: NodeDump, npm: NpmTable, detail: str, part: Chain | Rule | None) -> Finding:
    said = f"node {dump.manifest.name}: {detail}"
    return Finding(id=JUMP, detail=said, effect=Effect.NARROWS, subject=dump.node, at=npm.at(part or npm.table))


def _is_policy_jump(rule: Rule) -> bool:
    return read_policy_chain(_target(rule)) is not None


def _belongs(rule: Rule, chain: str) -> bool:
    """Whether a rule leads to the chain of a policy for the direction that a chain is for."""
    read = read_policy_chain(_target(rule))
    return read is not None and DIRECTION_CHAIN[read[0]] == chain


def _is_own_jump(rule: Rule) -> bool:
    conditions = [condition for condition in rule.conditions if not isinstance(condition, Comment)]
    return not rule.unread and conditions == [ConnectionIn(("NEW",))] and rule.target == Jump(BASE)


def _takes_everything(rule: Rule) -> bool:
    plain = not rule.unread and all(isinstance(condition, Comment) for condition in rule.conditions)
    return plain and isinstance(rule.target, Ending)


def _target(rule: Rule) -> str:
    return rule.target.chain if isinstance(rule.target, Jump) else ""
