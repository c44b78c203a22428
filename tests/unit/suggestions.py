"""Translations with proposals, for the tests of --suggest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from migrate.model.forms import Forms, Split
from migrate.model.raw import Json, RawObject
from migrate.sources.hints import read_hints
from migrate.translate.engine import Outcome, translate
from migrate.translate.handover import handed_over
from migrate.translate.profiles import load_profile
from migrate.translate.suggest import Wanted, with_suggestions
from tests.unit.policies import network_policy

BOTH = frozenset({"fqdn", "l7"})
WEB: Json = {"matchLabels": {"app": "web"}}
NAMES: Json = {"cidr": "203.0.113.0/24", "names": ["shop.example.com", "*.blob.example.net"]}
REQUESTS: Json = {
    "namespace": "shop",
    "podLabels": {"app": "web"},
    "port": 8080,
    "allow": [{"methods": ["GET", "HEAD"], "paths": ["/api/.*"]}, {"paths": ["/health"]}],
}


def hint_file(*, fqdn: Sequence[Json] = (), http: Sequence[Json] = (), **more: Json) -> dict[str, Json]:
    """A hint file as it is read."""
    found: dict[str, Json] = {"apiVersion": "cilium-migrate/v1alpha1", "kind": "Hints", **more}
    return found | ({"fqdn": [*fqdn]} if fqdn else {}) | ({"http": [*http]} if http else {})


def egress(*blocks: Json, name: str = "web", ports: Sequence[Json] = ({"port": 443},)) -> dict[str, Json]:
    """A NetworkPolicy whose egress goes to these blocks."""
    to: list[Json] = [{"ipBlock": block} for block in blocks]
    rule: dict[str, Json] = {"to": to, **({"ports": [*ports]} if ports else {})}
    return network_policy({"podSelector": WEB, "policyTypes": ["Egress"], "egress": [rule]}, name)


def ingress(*ports: Json, subject: Json = WEB, name: str = "web", namespace: str = "shop") -> dict[str, Json]:
    """A NetworkPolicy that lets pods of its namespace in on these ports."""
    rule: dict[str, Json] = {"from": [{"podSelector": {}}], **({"ports": [*ports]} if ports else {})}
    return network_policy({"podSelector": subject, "policyTypes": ["Ingress"], "ingress": [rule]}, name, namespace)


def proposed(
    items: Sequence[Mapping[str, Json]],
    hints: Mapping[str, Json],
    *,
    target: str = "cilium-1.20",
    split: Split = "per-source",
    mode: str = "rewrite",
    engines: tuple[str, ...] = (),
) -> Outcome:
    """The translation of the objects with proposals by the hints."""
    objects = [RawObject(dict(item)) for item in items]
    done = translate(objects, profile=load_profile(target), networkpolicy=mode, engines=engines)
    wanted = Wanted(BOTH, read_hints(RawObject(dict(hints))))
    return with_suggestions(handed_over(done, objects, Forms(split=split)), objects, wanted)


def proposals(outcome: Outcome) -> dict[str, dict[str, Json]]:
    """The proposed objects by file."""
    return {file.path: yaml.safe_load(file.text) for file in outcome.files if file.path.startswith("suggested/")}


def said(outcome: Outcome, finding_id: str) -> list[str]:
    """The findings of an id, each as its object, field and text."""
    translation = outcome.translation
    findings = [*translation.findings, *(f for result in translation.results for f in result.findings)]
    chosen = [finding for finding in findings if finding.id == finding_id]
    return [f"{finding.subject} {finding.field}: {finding.detail}" for finding in chosen]
