"""Policies that NPM's translator refuses whole: they enforce nothing, and only a line in its log says so.

Facts: npm/pkg/controlplane/translation of Azure/azure-container-networking. A direction with a rule that allows
everything is programmed as such, and its other rules are not even looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from migrate.model.flow import Direction
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.model.ruleset import Provenance
from migrate.model.selectors import EVERYTHING, NEGATIVE, Selector, requirements
from migrate.sources.fields import dotted
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer, Rule

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def translated_rules(policy: NetworkPolicy) -> Iterator[tuple[Direction, Rule]]:
    """The rules that NPM looks at one by one."""
    for direction in Direction:
        rules = policy.rules(direction)
        if not any(rule.peers is None and rule.ports is None for rule in rules):
            yield from ((direction, rule) for rule in rules)


def linux_refusal(policy: NetworkPolicy, *, lite: bool) -> str:
    """Why NPM refuses a policy on every system; empty when it does not."""
    for _, rule in translated_rules(policy):
        if any(isinstance(peer, BlockPeer) and peer.cidr.version == 6 for peer in rule.peers or ()):
            return "it has an IPv6 block, which NPM cannot translate"
        if lite and any(isinstance(peer, PodPeer) for peer in rule.peers or ()):
            return "it has a selector as a peer, and with EnableNPMLite only blocks are taken"
        if lite and any(isinstance(match.port, str) for match in rule.ports or ()):
            return "it has a named port, which EnableNPMLite does not take"
    return ""


def windows_refusal(policy: NetworkPolicy, *, lite: bool) -> str:
    """Why NPM refuses a policy on Windows alone; empty when it does not."""
    if _negative(policy.subject):
        return "its podSelector has NotIn or DoesNotExist"
    reasons = (_windows_rule(rule, direction, lite=lite) for direction, rule in translated_rules(policy))
    return next(filter(None, reasons), "")


def _windows_rule(rule: Rule, direction: Direction, *, lite: bool) -> str:
    for match in rule.ports or ():
        if isinstance(match.port, str):
            return f'it has the named port "{match.port}"'
        if match.protocol == "SCTP":
            return "it has SCTP"
    for peer in rule.peers or ():
        if isinstance(peer, BlockPeer):
            if peer.excepts and not lite:
                return "it has an ipBlock with except"
        elif _negative(peer.pods):
            return "a podSelector of a peer has NotIn or DoesNotExist"
        elif direction is Direction.INGRESS and _negative(peer.namespaces or EVERYTHING):
            return "an ingress namespaceSelector has NotIn or DoesNotExist, on which programming fails for ever"
    return ""


def ignored_holes(policy: NetworkPolicy) -> Iterator[Provenance]:
    """Blocks with `except` where Windows has EnableNPMLite, which some releases take without the exceptions."""
    for _, rule in translated_rules(policy):
        for peer in rule.peers or ():
            if isinstance(peer, BlockPeer) and peer.excepts:
                yield Provenance(policy.ref, f"{peer.field}.ipBlock.except", rule.at)


def _negative(selector: Selector) -> bool:
    return any(requirement.operator in NEGATIVE for requirement in requirements(selector))


def odd_values(policies: Iterable[RawObject]) -> dict[ObjectRef, str]:
    """NetworkPolicies with a value in matchExpressions that is no label value to NPM, and where it stands.

    The API server took such values for long. Those of matchLabels NPM does not look at.
    """
    found: dict[ObjectRef, str] = {}
    for raw in policies:
        spec = raw.data.get("spec")
        if raw.ref.kind == "NetworkPolicy" and raw.ref.group == "networking.k8s.io" and isinstance(spec, dict):
            place = next(_odd(_looked_at(spec), ("spec",)), None)
            if place is not None:
                found[raw.ref] = f"{place} is no label value to NPM"
    return found


def _looked_at(spec: dict[str, Json]) -> dict[str, Json]:
    """The spec without the rules of directions that allow everything or that the policy does not isolate."""
    given = spec.get("policyTypes")
    types = given if isinstance(given, list) and given else ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    left_out = {"ingress", "egress"} - {str(name).lower() for name in types}
    for key, peers in (("ingress", "from"), ("egress", "to")):
        rules = spec.get(key)
        listed = rules if isinstance(rules, list) else []
        if any(isinstance(rule, dict) and not rule.get(peers) and not rule.get("ports") for rule in listed):
            left_out.add(key)
    return {key: value for key, value in spec.items() if key not in left_out}


def _odd(value: Json, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _odd(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _odd(item, (*path, key))
    elif isinstance(value, str) and path[-2:-1] == ("values",) and _LABEL_VALUE.fullmatch(value) is None:
        yield dotted(path)
