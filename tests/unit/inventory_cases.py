"""Snapshots that are kept as files: clusters under cases/inventory, what Azure says under cases/azure."""

import json
from collections import Counter
from pathlib import Path

import yaml

from migrate.model.documents import API_VERSION, Fact, KindCount
from migrate.model.finding import Finding
from migrate.model.raw import Json, RawObject
from migrate.scan.encoded import EncodedObjects
from migrate.scan.inventory import AZURE_KIND, Inventory, assess, detect

CASES = Path(__file__).parent.parent / "cases"
ASKED_BY_A_SCAN = (("apps/v1", "DaemonSet"), ("apps/v1", "Deployment"), ("networking.k8s.io/v1", "NetworkPolicy"))


def cluster(name: str) -> tuple[list[RawObject], list[KindCount]]:
    """A case as a scan of a cluster gives it: kinds without objects were read too."""
    objects = given(name)
    return objects, counts(objects, ASKED_BY_A_SCAN)


def given(name: str) -> list[RawObject]:
    text = (CASES / "inventory" / f"{name}.yaml").read_text(encoding="utf-8")
    return [RawObject(document) for document in yaml.safe_load_all(text)]


def counts(objects: list[RawObject], asked: tuple[tuple[str, str], ...] = ()) -> list[KindCount]:
    numbers = Counter((raw.ref.api_version, raw.ref.kind) for raw in objects)
    kinds = sorted({*numbers, *asked})
    return [KindCount(version, kind, "read", numbers[(version, kind)]) for version, kind in kinds]


def azure(name: str, **instead: Json) -> list[RawObject]:
    """What Azure says about a cluster, with other parts at the top `instead`."""
    profile = json.loads((CASES / "azure" / f"{name}.json").read_text(encoding="utf-8")) | instead
    metadata: dict[str, Json] = {"name": profile["name"]}
    return [RawObject({"apiVersion": API_VERSION, "kind": AZURE_KIND, "metadata": metadata, "spec": profile})]


def facts_of(objects: list[RawObject], kinds: list[KindCount], *, every_namespace: bool = True) -> tuple[Fact, ...]:
    return detect(inventory_of(objects, kinds, every_namespace=every_namespace))


def findings_of(
    objects: list[RawObject], kinds: list[KindCount], *, every_namespace: bool = True
) -> tuple[Finding, ...]:
    inventory = inventory_of(objects, kinds, every_namespace=every_namespace)
    return assess(detect(inventory), inventory)


def inventory_of(objects: list[RawObject], kinds: list[KindCount], *, every_namespace: bool) -> Inventory:
    return Inventory.of(EncodedObjects.of(objects), kinds, every_namespace)


def values(facts: tuple[Fact, ...], topic: str) -> list[tuple[str, str]]:
    return [(fact.value, fact.state) for fact in facts if fact.topic == topic]


def only(facts: tuple[Fact, ...], topic: str) -> Fact:
    (fact,) = [fact for fact in facts if fact.topic == topic]
    return fact
