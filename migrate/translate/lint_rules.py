"""What Cilium's agent refuses or reads in another way than it is written, and no CRD schema says.

Facts: pkg/policy/api/rule_validation.go of Cilium v1.18.8 and v1.20.2, and what their policy engines did when asked.
A policy that the agent refuses enforces nothing, although the API server took it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from migrate.model.addresses import Network, parse_network
from migrate.model.raw import FieldPath, Json
from migrate.translate.lint_complaint import FEATURE_OFF, MISREAD, Complaint
from migrate.translate.lint_ports import port_problems, protocol_of
from migrate.translate.profiles import Profile

_Map: TypeAlias = Mapping[str, Json]
_Found: TypeAlias = Iterator[Complaint]

_SECTIONS = ("ingress", "ingressDeny", "egress", "egressDeny")
_PEERS = {
    "from": ("Endpoints", "CIDR", "CIDRSet", "Entities", "Nodes", "Groups"),
    "to": ("Endpoints", "CIDR", "CIDRSet", "Entities", "Nodes", "Groups", "Services", "FQDNs"),
}
_NODES = ("fromNodes", "toNodes")
_NAME_END = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_KEY = re.compile(rf"(?:[A-Za-z0-9]+:)?(?:{_PREFIX}/)?{_NAME_END}")
_LABEL_VALUE = re.compile(f"(?:{_NAME_END})?")
_L7_FIELDS = ("serverNames", "terminatingTLS", "originatingTLS", "listener")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One item of a rule list, with what decides how it is read."""

    path: FieldPath
    section: str
    fields: _Map
    host: bool
    clusterwide: bool
    profile: Profile

    @property
    def side(self) -> str:
        return "from" if self.section.startswith("ingress") else "to"

    @property
    def deny(self) -> bool:
        return self.section.endswith("Deny")


def problems(data: _Map, profile: Profile) -> tuple[str, ...]:
    """What is wrong with a CNP or CCNP for Cilium, each as "field: what is wrong"; () for other kinds."""
    return tuple(dict.fromkeys(map(str, complaints(data, profile))))


def complaints(data: _Map, profile: Profile) -> tuple[Complaint, ...]:
    """The same with the finding that each one makes."""
    if data.get("kind") not in ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"):
        return ()
    clusterwide = data["kind"] == "CiliumClusterwideNetworkPolicy"
    found: list[Complaint] = []
    if clusterwide and not profile.clusterwide:
        found.append(Complaint(("kind",), f"{profile.title} does not take cluster-wide policies", FEATURE_OFF))
    for path, spec in _specs(data):
        found += _spec_problems(path, spec, clusterwide, profile)
    return tuple(dict.fromkeys(found))


def _specs(data: _Map) -> Iterator[tuple[FieldPath, _Map]]:
    if isinstance(spec := data.get("spec"), dict):
        yield ("spec",), spec
    yield from _maps((), data, "specs")


def _spec_problems(path: FieldPath, spec: _Map, clusterwide: bool, profile: Profile) -> _Found:
    host = "nodeSelector" in spec
    if host and not clusterwide:
        yield Complaint((*path, "nodeSelector"), "only cluster-wide policies select nodes")
    elif host and not profile.host_firewall:
        yield Complaint(
            (*path, "nodeSelector"), f"has no effect in {profile.title}, whose host firewall is off", FEATURE_OFF
        )
    if not any(spec.get(section) for section in _SECTIONS):
        yield Complaint(path, "has no rule, and Cilium refuses such a policy")
    for subject in ("endpointSelector", "nodeSelector"):
        yield from _selector_problems((*path, subject), spec.get(subject))
    for section in _SECTIONS:
        for place, fields in _maps(path, spec, section):
            rule = _Rule(place, section, fields, host, clusterwide, profile)
            for check in _CHECKS:
                yield from check(rule)


def _one_kind_of_peer(rule: _Rule) -> _Found:
    names = [f"{rule.side}{kind}" for kind in _PEERS[rule.side]]
    there = [name for name in names if rule.fields.get(name)]
    if len(there) > 1:
        yield Complaint(rule.path, f"{' and '.join(there)} are in one rule, and Cilium takes one kind of peer a rule")
    for name in names:
        if rule.fields.get(name) == []:
            yield Complaint(
                (*rule.path, name), "is an empty list, which is nobody and not everybody", "LINT-EMPTY-LIST"
            )


def _selectors(rule: _Rule) -> _Found:
    for name in (f"{rule.side}Endpoints", f"{rule.side}Nodes"):
        for place, selector in _maps(rule.path, rule.fields, name):
            yield from _selector_problems(place, dict(selector))


def _selector_problems(path: FieldPath, selector: Json) -> _Found:
    if not isinstance(selector, dict):
        return
    labels = selector.get("matchLabels")
    for key, value in labels.items() if isinstance(labels, dict) else ():
        yield from _label_problems((*path, "matchLabels", key), key, [value])
    for place, expression in _maps(path, selector, "matchExpressions"):
        values = expression.get("values") or []
        listed = values if isinstance(values, list) else []
        yield from _label_problems(place, str(expression.get("key", "")), listed)
        if expression.get("operator") in ("In", "NotIn") and not listed:
            yield Complaint((*place, "values"), f"{expression['operator']} needs values")
        if expression.get("operator") in ("Exists", "DoesNotExist") and listed:
            yield Complaint((*place, "values"), f"{expression['operator']} takes no values")


def _label_problems(path: FieldPath, key: str, values: list[Json]) -> _Found:
    if not _LABEL_KEY.fullmatch(key):
        yield Complaint(path, f'"{key}" is not a label key')
    for value in values:
        if not (isinstance(value, str) and _LABEL_VALUE.fullmatch(value)):
            yield Complaint(path, f'"{value}" is not a label value')


def _nodes(rule: _Rule) -> _Found:
    for name in _NODES:
        if rule.fields.get(name) and not rule.profile.node_selector_labels:
            yield Complaint(
                (*rule.path, name),
                f"needs enable-node-selector-labels, which {rule.profile.title} has off",
                FEATURE_OFF,
            )


def _address_blocks(rule: _Rule) -> _Found:
    for place, block in _maps(rule.path, rule.fields, f"{rule.side}CIDRSet"):
        holes = block.get("except")
        for index, text in enumerate(holes if isinstance(holes, list) else ()):
            where = (*place, "except", index)
            if "cidr" not in block:
                yield Complaint(where, "stands beside a CIDR group, where it is not meant to be", "LINT-GROUP-EXCEPT")
            elif not _inside(text, block["cidr"]):
                yield Complaint(where, f"{text} is not inside {block['cidr']}")


def _inside(hole: Json, block: Json) -> bool:
    inner, outer = _network(hole), _network(block)
    if inner is None or outer is None:
        return False
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and int(outer.network_address) <= int(inner.network_address) <= int(outer.broadcast_address)
    )


def _network(text: Json) -> Network | None:
    try:
        return parse_network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _services(rule: _Rule) -> _Found:
    if not rule.fields.get("toServices"):
        return
    where = (*rule.path, "toServices")
    if rule.deny:
        yield Complaint(
            where,
            "is never looked up in a deny rule: alone it denies nothing, with ports it denies them to everyone",
            MISREAD,
        )
    elif rule.fields.get("toPorts") and not rule.profile.to_services_with_ports:
        yield Complaint(where, f"cannot stand beside toPorts in {rule.profile.title}")
    elif rule.fields.get("toPorts"):
        yield Complaint(
            where,
            "beside toPorts opens these ports to every destination while the Service is missing",
            "LINT-SERVICE-PORTS",
        )


def _names(rule: _Rule) -> _Found:
    if rule.fields.get("toFQDNs") and not rule.profile.fqdn:
        yield Complaint((*rule.path, "toFQDNs"), f"{rule.profile.title} has no FQDN policies", FEATURE_OFF)
    for place, name in _maps(rule.path, rule.fields, "toFQDNs"):
        yield from _any_depth(rule, place, name)


def _any_depth(rule: _Rule, place: FieldPath, name: _Map) -> _Found:
    pattern = name.get("matchPattern")
    if isinstance(pattern, str) and pattern.startswith("**.") and not rule.profile.dns_any_depth_pattern:
        yield Complaint(
            (*place, "matchPattern"), f"{rule.profile.title} reads ** as *: one level of names only", MISREAD
        )


def _icmps(rule: _Rule) -> _Found:
    if not rule.fields.get("icmps"):
        return
    if not rule.profile.icmp_rules:
        yield Complaint(
            (*rule.path, "icmps"), f"needs enable-icmp-rules, which {rule.profile.title} has off", FEATURE_OFF
        )
    if rule.fields.get("toPorts"):
        yield Complaint(rule.path, "icmps and toPorts are in one rule; Cilium takes one of them")
    for place, item in _maps(rule.path, rule.fields, "icmps"):
        fields = list(_maps(place, item, "fields"))
        if len(fields) > rule.profile.icmp_fields:
            yield Complaint(
                (*place, "fields"), f"has {len(fields)} items; at most {rule.profile.icmp_fields} are allowed"
            )


def _ports(rule: _Rule) -> _Found:
    for place, item in _maps(rule.path, rule.fields, "toPorts"):
        ports = list(_maps(place, item, "ports"))
        if len(ports) > rule.profile.ports_per_rule:
            yield Complaint(
                (*place, "ports"), f"has {len(ports)} items; at most {rule.profile.ports_per_rule} are allowed"
            )
        for where, port in ports:
            yield from port_problems(where, port, rule.profile)
        yield from _layer7(rule, place, item, [port for _, port in ports])


def _layer7(rule: _Rule, place: FieldPath, item: _Map, ports: list[_Map]) -> _Found:
    for name in _L7_FIELDS:
        if item.get(name) and not rule.profile.l7:
            yield Complaint((*place, name), f"{rule.profile.title} has no L7 policies", FEATURE_OFF)
    rules = item.get("rules")
    if item.get("listener") and (rule.side == "from" or rules):
        yield Complaint((*place, "listener"), "listeners are for egress only, and not beside L7 rules")
    if not isinstance(rules, dict):
        return
    where = (*place, "rules")
    if item.get("serverNames") and not item.get("terminatingTLS"):
        yield Complaint(where, "stand beside serverNames only with terminatingTLS")
    dns = bool(rules.get("dns"))
    if rule.deny:
        yield Complaint(where, "deny rules cannot look at L7")
    if any(str(port.get("port")) == "0" for port in ports):
        yield Complaint(where, "L7 rules cannot stand at port 0")
    if not dns and any(protocol_of(port) != "TCP" for port in ports):
        yield Complaint(where, "L7 rules are for TCP only, but those on DNS")
    yield from _dns(rule, where, rules, ports) if dns else _proxy(rule, where)


def _dns(rule: _Rule, where: FieldPath, rules: _Map, ports: list[_Map]) -> _Found:
    if rule.side == "from":
        yield Complaint(where, "DNS rules are for egress only")
    if not rule.profile.fqdn:
        yield Complaint(where, f"{rule.profile.title} has no FQDN policies", FEATURE_OFF)
    if not ports:
        yield Complaint(where, "DNS rules need the port of the DNS server")
    for place, name in _maps(where, rules, "dns"):
        yield from _any_depth(rule, place, name)
        if name.get("matchPattern") in rule.profile.refused_dns_patterns:
            yield Complaint(
                (*place, "matchPattern"),
                f'"{name["matchPattern"]}" is refused by an admission policy of the target',
                FEATURE_OFF,
            )


def _proxy(rule: _Rule, where: FieldPath) -> _Found:
    if rule.host:
        yield Complaint(where, "policies of nodes take no L7 rules but those on DNS")
    if not rule.profile.l7:
        yield Complaint(where, f"{rule.profile.title} has no L7 policies", FEATURE_OFF)
    elif rule.clusterwide and not rule.profile.l7_in_clusterwide:
        yield Complaint(where, f"{rule.profile.title} takes no L7 rules in cluster-wide policies", FEATURE_OFF)


_CHECKS: tuple[Callable[[_Rule], _Found], ...] = (
    _one_kind_of_peer,
    _selectors,
    _nodes,
    _address_blocks,
    _services,
    _names,
    _icmps,
    _ports,
)


def _maps(path: FieldPath, fields: _Map, name: str) -> Iterator[tuple[FieldPath, _Map]]:
    """The mappings in a list field, with their places; the schema complains about what is no list or mapping."""
    values = fields.get(name)
    for index, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, dict):
            yield (*path, name, index), value
