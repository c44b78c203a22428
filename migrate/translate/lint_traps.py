"""Rules that Cilium takes and follows, and that seldom mean what their writer had in mind.

Facts measured on the policy engines of cilium/cilium v1.18.8 and v1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrate.model.addresses import Network
from migrate.model.flow import Direction
from migrate.model.raw import Json
from migrate.model.selectors import EVERYTHING
from migrate.sources.cilium import CiliumPolicy, CiliumRule, CiliumSpec
from migrate.sources.kubernetes import NetworkPolicy, Rule
from migrate.translate.lint_scene import Note, Scene, only_negations
from migrate.translate.zero_prefix import outside_blocks, outside_prefixes

_HEALTH = {"health", "cluster", "all"}


def notes(data: Mapping[str, Json], policy: CiliumPolicy, scene: Scene) -> Iterator[Note]:
    """What to say of a CNP or CCNP, spec by spec."""
    for field, spec in zip(spec_fields(data), policy.specs, strict=True):
        yield from _empty_rules(spec)
        yield from _deny_only(field, spec)
        yield from _health(field, spec, policy)
        for rule in spec.rules:
            yield from _ports(rule, scene)
            yield from _icmp(rule)
            yield from _entities(rule)
            yield from _groups(rule, scene)
            yield from _zero_prefixes(rule, scene)
            yield from _names(rule, policy, scene)
            for name in rule.unmodelled:
                yield Note("LINT-NOT-READ", f"{rule.field}.{name}", "is not modelled here, so nothing is said about it")


def spec_fields(data: Mapping[str, Json]) -> list[str]:
    """Where the rule sets of a policy stand, in the order in which they are read."""
    listed = data.get("specs")
    several = enumerate(listed if isinstance(listed, list) else [])
    found = [f"specs[{index}]" for index, spec in several if isinstance(spec, dict)]
    return ["spec", *found] if isinstance(data.get("spec"), dict) else found


def raw_specs(data: Mapping[str, Json]) -> list[dict[str, Json]]:
    """The rule sets as they are written, in the same order."""
    listed = data.get("specs")
    return [
        spec for spec in (data.get("spec"), *(listed if isinstance(listed, list) else [])) if isinstance(spec, dict)
    ]


def closes(spec: CiliumSpec, direction: Direction) -> bool:
    """Whether the rule set asks for default deny."""
    return direction in spec.present and spec.default_deny.get(direction, True)


def is_empty(rule: CiliumRule) -> bool:
    """Whether a rule says nothing at all: then it admits nobody."""
    return not rule.peers.lists and not rule.peers.nobody and rule.items is None and rule.icmp is None


def _empty_rules(spec: CiliumSpec) -> Iterator[Note]:
    for rule in filter(is_empty, spec.rules):
        beside = [r for r in spec.rules if r.direction is rule.direction and not r.deny and r is not rule]
        if rule.deny:
            yield Note("LINT-EMPTY-RULE-BESIDE", rule.field, "an empty deny rule denies nothing by itself")
        elif beside:
            text = "an empty rule admits nobody, also not beside others; in a NetworkPolicy it would admit everybody"
            yield Note("LINT-EMPTY-RULE-BESIDE", rule.field, text)
        else:
            text = f"an empty rule admits nobody: all {rule.direction.value} that no other policy allows is dropped"
            yield Note("LINT-EMPTY-RULE", rule.field, text)


def _deny_only(field: str, spec: CiliumSpec) -> Iterator[Note]:
    """A deny alone isolates, unless the policy says what it does about that."""
    for direction in Direction:
        rules = [rule for rule in spec.rules if rule.direction is direction]
        if rules and all(rule.deny for rule in rules) and direction not in spec.default_deny:
            text = f"there are only deny rules, and they isolate: all other {direction.value} is dropped too"
            yield Note("LINT-DENY-ISOLATES", f"{field}.{direction.value}Deny", text)


def _health(field: str, spec: CiliumSpec, policy: CiliumPolicy) -> Iterator[Note]:
    """A cluster-wide default deny for everyone also isolates Cilium's own health endpoints."""
    if policy.namespace is not None or spec.endpoint_selector != EVERYTHING:
        return
    for direction in Direction:
        allows = [rule for rule in spec.rules if rule.direction is direction and not rule.deny]
        admitted = any(_HEALTH & set(rule.peers.entities) or _is_about_everyone(rule) for rule in allows)
        if closes(spec, direction) and not admitted:
            text = f"selects Cilium's health and ingress endpoints too and closes their {direction.value}"
            yield Note("LINT-HEALTH-CUT", f"{field}.endpointSelector", text)


def _is_about_everyone(rule: CiliumRule) -> bool:
    return not rule.peers.lists and not rule.peers.nobody and not is_empty(rule)


def _ports(rule: CiliumRule, scene: Scene) -> Iterator[Note]:
    side = f"{rule.field}.toPorts"
    ports = rule.ports
    if not scene.settings.sctp and any(port.protocol == "SCTP" for port in ports):
        yield Note("LINT-SCTP", side, f"{scene.profile.title} drops SCTP whatever policies say")
    open_ports = [port for port in ports if port.protocol == "ANY" and port.port]
    if open_ports and not rule.deny:
        shown = ", ".join(dict.fromkeys(str(port.port) for port in open_ports))
        yield Note("LINT-PROTOCOL-ANY", side, f"port {shown} without a protocol is TCP, UDP and SCTP")
    names = [str(port.port) for port in ports if isinstance(port.port, str)]
    if names and rule.direction is Direction.EGRESS and not scene.settings.named_ports_per_identity:
        yield Note("LINT-NAMED-EGRESS-PORT", side, _named_egress(names, deny=rule.deny))
    yield from _unknown_names(names, side, scene)


def _named_egress(names: list[str], *, deny: bool) -> str:
    """What a named egress port means before 1.20."""
    what = "denies" if deny else "opens"
    return (
        f"port {', '.join(dict.fromkeys(names))} is one number for the whole cluster here: it {what} that number on "
        "every target, and nothing at all when pods use several"
    )


def _unknown_names(names: Sequence[str], place: str, scene: Scene) -> Iterator[Note]:
    if scene.cluster is None or not scene.cluster.complete:
        return
    missing = sorted(set(names) - scene.port_names)
    if missing:
        text = f"no pod of the snapshot has a port named {', '.join(missing)}, so it has no effect"
        yield Note("LINT-PORT-NAME-UNKNOWN", place, text)


def _icmp(rule: CiliumRule) -> Iterator[Note]:
    """Type 0 of both families together is the known way to say all ICMP; alone it is mostly meant as echo replies."""
    zeros = {entry.family for entry in rule.icmp or () if entry.type == 0}
    if len(zeros) == 1:
        what = "denies" if rule.deny else "opens"
        yield Note("LINT-ICMP-ZERO", f"{rule.field}.icmps", f"type 0 {what} every type of its family, not echo replies")


def _entities(rule: CiliumRule) -> Iterator[Note]:
    side = "from" if rule.direction is Direction.INGRESS else "to"
    if "all" in rule.peers.entities and not rule.deny:
        text = "all is the outside, every node and the pods of every namespace; world is the outside alone"
        yield Note("LINT-ENTITY-ALL", f"{rule.field}.{side}Entities", text)


def _groups(rule: CiliumRule, scene: Scene) -> Iterator[Note]:
    side = "from" if rule.direction is Direction.INGRESS else "to"
    known = None if scene.groups is None else {group.name for group in scene.groups}
    for index, entry in enumerate(rule.peers.cidrs):
        place = f"{rule.field}.{side}CIDRSet[{index}]"
        if entry.group is not None and known is not None and entry.group not in known:
            yield Note("LINT-GROUP-MISSING", place, f"there is no CiliumCIDRGroup {entry.group}: it means nobody")
        if entry.groups is not None and not scene.settings.group_labels_add_up and only_negations(entry.groups):
            yield Note("LINT-NEGATIVE-ONLY", place, "a selector of negations alone also means pods outside all groups")


def _zero_prefixes(rule: CiliumRule, scene: Scene) -> Iterator[Note]:
    side = "from" if rule.direction is Direction.INGRESS else "to"
    sets = [entry for entry in rule.peers.cidrs if not entry.plain]
    blocks = [(entry.cidr, entry.excepts) for entry in sets if entry.cidr is not None]
    for cidr in outside_prefixes(blocks, scene.profile, _families(scene)):
        yield _zero_prefix(cidr, f"{rule.field}.{side}CIDRSet", scene)


def _zero_prefix(cidr: Network, place: str, scene: Scene) -> Note:
    where = "also means every address outside of the other IP version, which alone runs here"
    if not _families(scene):
        where = "also means every address outside of the other IP version unless both run"
    return Note("LINT-CIDR-ZERO", place, f"{cidr} {where}")


def _families(scene: Scene) -> frozenset[int]:
    return frozenset() if scene.cluster is None else scene.cluster.pod_families


def _names(rule: CiliumRule, policy: CiliumPolicy, scene: Scene) -> Iterator[Note]:
    """toFQDNs learn addresses from the DNS answers that a DNS rule lets the proxy see."""
    if not rule.peers.domains or not scene.profile.fqdn:
        return
    near = [
        other
        for other in scene.policies
        if isinstance(other, CiliumPolicy) and other.namespace in (None, policy.namespace)
    ]
    if not any("dns" in item.l7 for p in near for spec in p.specs for r in spec.rules for item in r.items or ()):
        text = "no egress rule of these policies has rules.dns, so Cilium never learns the names' addresses"
        yield Note("LINT-FQDN-WITHOUT-DNS", f"{rule.field}.toFQDNs", text)


def network_policy_notes(policy: NetworkPolicy, scene: Scene) -> Iterator[Note]:
    """What to say of the rules of a NetworkPolicy that Cilium reads."""
    for direction in policy.excluded:
        text = f"policyTypes leaves {direction.value} out; Cilium counts these rules and isolates there too"
        yield Note("LINT-TYPES-EXCLUDED", f"spec.{direction.value}", text)
    for direction, rules in ((Direction.INGRESS, policy.ingress), (Direction.EGRESS, policy.egress)):
        for rule in rules:
            yield from _kubernetes_ports(rule, direction, scene)
    for block in outside_blocks(policy, scene.profile, _families(scene)):
        yield _zero_prefix(block.cidr, block.field, scene)


def _kubernetes_ports(rule: Rule, direction: Direction, scene: Scene) -> Iterator[Note]:
    place = f"{rule.field}.ports"
    ports = rule.ports or ()
    if not scene.settings.sctp and any(port.protocol == "SCTP" for port in ports):
        yield Note("LINT-SCTP", place, f"{scene.profile.title} drops SCTP whatever policies say")
    names = [port.port for port in ports if isinstance(port.port, str)]
    if names and direction is Direction.EGRESS and not scene.settings.named_ports_per_identity:
        yield Note("LINT-NAMED-EGRESS-PORT", place, _named_egress(names, deny=False))
    yield from _unknown_names(names, place, scene)
