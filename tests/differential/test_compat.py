"""compat/ over random clusters under Azure NPM: beside cilium/ it gives every flow the verdict that it has today.

What NPM does is the word of tests/reference/npm.py, what Cilium will do that of its real engines.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec
import pytest

from migrate.model.documents import Result, Translation
from migrate.model.finding import Effect
from migrate.translate.compat import FINDING
from tests.differential.chance import Chance
from tests.differential.harness import Engines, Object, after, answers, is_policy, key_of
from tests.differential.run import TARGETS, as_json
from tests.differential.translation import cluster_objects, translate_objects
from tests.reference import npm
from tests.reference.cases import Answer, Case, Directory, Flow
from tests.seeds import drawn_seed
from tests.simulate.languages import npm_case

pytestmark = pytest.mark.engine

CLUSTERS = max(1, int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60")) // 6)
"""For each target and seed."""
FRESH_SEED = drawn_seed()
_FINDINGS = ("POL-EGRESS-OWN-NODE", "POL-NOT-ENFORCED-BY-NPM", "POL-NS-NEGATIVE-ONLY", "POL-NS-NOTIN-MULTI")
Opening: TypeAlias = Literal["one", "several", "refused"]
_OPENINGS: tuple[Opening, ...] = ("one", "several", "refused")
_SAID = (Result.EXACT, Result.EXACT_HERE)


@dataclass(slots=True)
class Outcome:
    """What the objects of compat/ did: flows that they keep by finding, and flows that are wrong."""

    kept: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    equal: int = 0


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("target", TARGETS)
def test_compat_keeps_what_is_enforced_and_opens_nothing(engines: Engines, target: str, seed: str) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    total = Outcome()
    for number in range(CLUSTERS):
        case = _said(_with_opening(npm_case(f"{prefix}-{number}"), _OPENINGS[number % 3]), target)
        found = _judged(case, target, engines)
        assert found.wrong == [], "\n".join([case.name, *found.wrong[:9], as_json(case)])
        total.kept += found.kept
        total.equal += found.equal
    print(f"seed {prefix}: {total.equal} flows equal; kept by compat/: {dict(total.kept)}")
    if seed == "fixed" and CLUSTERS >= 10:
        missing = [finding_id for finding_id in _FINDINGS if not total.kept[finding_id]]
        assert missing == []


def _with_opening(case: Case, opening: Opening) -> Case:
    """The case with one more policy, which NPM reads in this way."""
    chance = Chance(f"opening/{case.name}")
    pod, other = chance.pick(case.pods), chance.pick(case.namespaces)
    key = chance.pick(sorted(other.labels))
    values = [other.labels[key], *(["another"] if opening == "several" else [])]
    peer: Object = {"namespaceSelector": {"matchExpressions": [{"key": key, "operator": "NotIn", "values": values}]}}
    if chance.happens(0.3):
        peer["podSelector"] = {"matchLabels": pod.labels}
    if opening == "refused":
        peer = {"ipBlock": {"cidr": "2001:db8::/32"}}
    ports = {"ports": [{"port": 80}, {"port": "http"}]} if chance.happens(0.3) else {}
    spec: Object = {
        "podSelector": {"matchLabels": pod.labels} if opening == "refused" else {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [peer], **ports}],
        "egress": [{"to": [peer], **ports}],
    }
    metadata = {"name": "opening", "namespace": pod.namespace}
    policy: Object = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    alone = opening == "refused" and chance.happens(0.7)
    others = [item for item in case.policies if not (alone and key_of(item)[2] == pod.namespace)]
    return msgspec.structs.replace(case, policies=(*others, policy))


def _said(case: Case, target: str) -> Case:
    """The case without the policies of which Cilium cannot say the text."""
    _, translation = _translated(case, target)
    said = {(r.source.namespace or "", r.source.name) for r in translation.results if r.result in _SAID}
    kept = (item for item in case.policies if not is_policy(item) or key_of(item)[2:] in said)
    return msgspec.structs.replace(case, policies=tuple(kept))


def _translated(case: Case, target: str) -> tuple[list[Object], Translation]:
    return translate_objects([*cluster_objects(case), *case.policies], target, ("npm-linux",))


def _judged(case: Case, target: str, engines: Engines) -> Outcome:
    objects, translation = _translated(case, target)
    compat = [item for item in objects if _finding(item)]
    text = [item for item in objects if not _finding(item)]
    found = Outcome(wrong=[str(item) for item in compat if not _asks_for_nothing(item)])
    alone, together = _said_of(case, text, target, engines), _said_of(case, objects, target, engines)
    ids = sorted({_finding(item) for item in compat})
    without = {ids[0]: alone} if len(ids) == 1 else {}
    for finding_id in ids if len(ids) > 1 else ():
        rest = [item for item in objects if _finding(item) != finding_id]
        without[finding_id] = _said_of(case, rest, target, engines)
    declared, directory, today = _declared(translation), Directory(case), npm.evaluate(case)
    for index, flow in enumerate(case.flows):
        if not _seen_by_npm(directory, flow):
            continue
        spaces = _namespaces(directory, flow)
        lost = [f"{flow}: {side} is newly denied with compat/" for side in _narrowed(today[index], together[index])]
        for effect, sides in (
            ("widens", _narrowed(together[index], today[index])),
            ("narrows", _narrowed(today[index], alone[index])),
        ):
            lost += [f"{flow}: {s} {effect}, unsaid" for s in sides if (effect, s, spaces[s]) not in declared]
        found.wrong += lost
        found.equal += not lost
        found.kept.update(i for i, answers in without.items() if any(_narrowed(together[index], answers[index])))
    return found


def _said_of(case: Case, objects: list[Object], target: str, engines: Engines) -> list[Answer]:
    document = engines.cilium[target](after(case, objects))
    assert [policy for policy in document["policies"] or () if not policy["ok"]] == []
    return answers(document)


def _seen_by_npm(directory: Directory, flow: Flow) -> bool:
    """NPM knows one IPv4 address of each pod; of other addresses POL-IPV6 speaks."""
    parties = directory.parties(flow)
    return all(party.address.version == 4 for party in parties) and all(
        party.pod is None or str(party.address) == party.pod.ips[0] for party in parties
    )


def _narrowed(before: Answer, now: Answer) -> Iterator[str]:
    if before.egress != "deny" and now.egress == "deny":
        yield "egress"
    if before.ingress != "deny" and now.ingress == "deny":
        yield "ingress"


def _namespaces(directory: Directory, flow: Flow) -> dict[str, str]:
    """The namespace of the pod that decides a side of a flow."""
    source, destination = directory.parties(flow)
    sides = {"egress": source.pod, "ingress": destination.pod}
    return {side: "" if pod is None else pod.namespace for side, pod in sides.items()}


def _declared(translation: Translation) -> set[tuple[str, str, str]]:
    """The effects that findings name, with the side of a flow that their field is about, and the namespace."""
    found: set[tuple[str, str, str]] = set()
    for finding in (*translation.findings, *(f for result in translation.results for f in result.findings)):
        if finding.subject is None or finding.effect not in (Effect.NARROWS, Effect.WIDENS):
            continue
        place = finding.field or "spec"
        sides = [side for side in ("egress", "ingress") if place == "spec" or place.startswith(f"spec.{side}")]
        found |= {(finding.effect.value, side, finding.subject.namespace or "") for side in sides}
    return found


def _finding(item: Object) -> str:
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata.get("labels", {}).get(FINDING, ""))


def _asks_for_nothing(item: Object) -> bool:
    """Whether no part of the object isolates anybody."""
    specs = item.get("specs", [item.get("spec")])
    assert isinstance(specs, list)
    return all(spec["enableDefaultDeny"] == {"ingress": False, "egress": False} for spec in specs)
