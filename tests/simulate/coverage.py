"""How often each field of a dialect was generated, and how often a rule that has it decided a verdict."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.model.ruleset import Decision, Provenance
from tests.reference.cases import Case, Directory
from tests.simulate.fields import KUBERNETES, NEVER_DECIDES, Field, fields_of, reason

Object: TypeAlias = dict[str, object]
Decisions: TypeAlias = Iterable[tuple[Decision | None, Decision | None]]

_MAPS = ("matchLabels", "annotations", "l7[]")
_RULE_LISTS = ("ingress", "egress", "ingressDeny", "egressDeny")
_NETS = {
    "NetworkSet": "nets",
    "GlobalNetworkSet": "nets",
    "HostEndpoint": "expectedIPs",
    "CiliumCIDRGroup": "externalCIDRs",
}
_SET_FIELDS = ("elector", "serviceAccounts", "cidrGroup")
"""Parts of the names of fields by which a rule may mean a set of addresses."""


@dataclass(slots=True)
class Coverage:
    """Counts by field."""

    generated: Counter[Field] = field(default_factory=Counter)
    decided: Counter[Field] = field(default_factory=Counter)

    def add(self, case: Case, decisions: Decisions) -> None:
        """Count the fields of a case's objects, and those of what decided its flows at either end."""
        objects = {_name(item): item for item in case.policies}
        for item in objects.values():
            self.generated.update(_fields_of_object(item))
        directory = Directory(case)
        for flow, pair in zip(case.flows, decisions, strict=True):
            for decision, peer in zip(pair, reversed(directory.parties(flow)), strict=True):
                if decision is None:
                    continue
                self.decided.update(_deciding(decision, objects))
                if decision.rule is not None and peer.pod is None:
                    self.decided.update(_sets(decision.rule.provenance, objects, str(peer.address)))

    def missing(self, dialect: str) -> list[str]:
        """Fields of the dialect that were never generated, or never decided."""
        found: list[str] = []
        for place in fields_of(dialect):
            if not self.generated[place]:
                found.append(f"{' '.join(place)} was never generated")
            elif not self.decided[place] and not reason(NEVER_DECIDES, dialect, place):
                found.append(f"{' '.join(place)} never decided")
        return found

    def table(self, dialect: str) -> str:
        """One line a field: how often generated, how often decided, kind, path."""
        rows = [
            f"{self.generated[place]:>9} {self.decided[place]:>8}  {' '.join(place)}"
            + (f" ({why})" if (why := reason(NEVER_DECIDES, dialect, place)) else "")
            for place in fields_of(dialect)
        ]
        return "\n".join([f"{'generated':>9} {'decided':>8}  field", *rows])


def _kind(api_version: str, kind: str) -> str:
    return KUBERNETES if api_version.startswith("networking.k8s.io/") else kind


def _name(item: Object) -> str:
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    kind = _kind(str(item["apiVersion"]), str(item["kind"]))
    return f"{kind} {metadata.get('namespace', '')}/{metadata['name']}"


def _specs(item: Object) -> list[Object]:
    specs = item.get("specs")
    return [spec for spec in (item.get("spec"), *(specs if isinstance(specs, list) else ())) if isinstance(spec, dict)]


def _fields_of_object(item: Object) -> Iterator[Field]:
    kind = _kind(str(item["apiVersion"]), str(item["kind"]))
    for spec in _specs(item):
        yield from ((kind, path) for path in _leaves(spec, "spec"))


def _deciding(decision: Decision, objects: Mapping[str, Object]) -> Iterator[Field]:
    """The fields of the rule that decided and of its spec's other parts; or those of the tier that ended."""
    if decision.rule is None:
        tier = objects.get(f"Tier /{decision.stage.removeprefix('tier ')}")
        if tier is not None:
            yield from _fields_of_object(tier)
        return
    place = decision.rule.provenance
    if place is None:
        return
    kind = _kind(place.ref.api_version, place.ref.kind)
    item = objects[f"{kind} {place.ref.namespace or ''}/{place.ref.name}"]
    spec, direction, rule = _rule(item, place.field)
    yield from ((kind, path) for path in _leaves([rule], f"spec.{direction}"))
    rest = {key: value for key, value in spec.items() if key not in _RULE_LISTS}
    yield from ((kind, path) for path in _leaves(rest, "spec"))


def _sets(place: Provenance | None, objects: Mapping[str, Object], address: str) -> Iterator[Field]:
    """The fields of the sets that hold an address, when the rule that decided may have meant it by a set."""
    if place is None:
        return
    kind = _kind(place.ref.api_version, place.ref.kind)
    _, _, rule = _rule(objects[f"{kind} {place.ref.namespace or ''}/{place.ref.name}"], place.field)
    if not any(part in path for path in _leaves(rule, "") for part in _SET_FIELDS):
        return
    for item in objects.values():
        for spec in _specs(item):
            nets = spec.get(_NETS.get(str(item["kind"]), ""))
            if isinstance(nets, list) and any(_within(address, net) for net in nets):
                yield from _fields_of_object(item)


def _rule(item: Object, path: str) -> tuple[Object, str, object]:
    """The spec, the list and the rule at a path such as specs[0].ingress[2]."""
    *outer, direction, index = path.replace("[", ".").replace("]", "").split(".")
    spec: object = item
    for step in outer:
        spec = spec[int(step)] if isinstance(spec, list) else spec[step] if isinstance(spec, dict) else None
    assert isinstance(spec, dict)
    return spec, direction, spec[direction][int(index)]


def _leaves(value: object, path: str) -> Iterator[str]:
    """Paths of everything that is there, lists as []; a map of labels is one leaf."""
    if isinstance(value, dict) and path.rpartition(".")[2] not in _MAPS:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, f"{path}[]")
    elif value is not None:
        yield path


def _within(address: str, net: object) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(str(net), strict=False)
