"""What a snapshot says about the cluster: facts with their evidence, and what is wrong with the picture they give."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.documents import Fact
from migrate.scan.inventory.assess import assess
from migrate.scan.inventory.enforcement import enforcement_facts, engine_facts, engine_sightings
from migrate.scan.inventory.gather import AZURE_KIND, Inventory
from migrate.scan.inventory.machines import machine_facts
from migrate.scan.inventory.mesh import acns_facts, cilium_fact, mesh_facts
from migrate.scan.inventory.network import cni_facts, network_facts
from migrate.scan.inventory.sightings import sightings

__all__ = ["AZURE_KIND", "Inventory", "assess", "detect", "engines"]


def detect(inventory: Inventory) -> tuple[Fact, ...]:
    """Everything that a snapshot says about the cluster, by topic and value; "not there" and "not seen" stay apart."""
    seen = sightings(inventory)
    running = engine_sightings(inventory, seen)
    cni = cni_facts(inventory, seen)
    engine = engine_facts(inventory, running, cni)
    facts = [
        *engine,
        *enforcement_facts(inventory, running, engine),
        *network_facts(inventory, seen, cni),
        *machine_facts(inventory),
        *mesh_facts(inventory, seen),
        cilium_fact(inventory, running),
        *acns_facts(inventory),
    ]
    return tuple(sorted(facts, key=lambda fact: (fact.topic, fact.value)))


def engines(facts: Sequence[Fact]) -> tuple[str, ...]:
    """The engines that run and enforce policies of any API, by id."""
    enforced = [fact for fact in facts if fact.topic == "policy-enforcement" and fact.state == "active"]
    return tuple(sorted({engine for fact in enforced for engine in fact.value.split(", ")}))
