"""What is known about durations and about Terraform's words for the steps (rules/azure)."""

from __future__ import annotations

from datetime import date
from functools import cache

import msgspec

from migrate.model.plan_documents import Attribute, Statement
from migrate.resources import data, read_yaml


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure, or a statement without one, with where it comes from."""

    source: str
    as_of: date
    says: str
    minutes: int = 0
    percent: int = 0

    @property
    def statement(self) -> Statement:
        """As it stands in a plan."""
        return Statement(source=self.source, as_of=self.as_of.isoformat(), says=self.says)


class Durations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long nodes take, and with how many at a time; see rules/azure/durations.yaml."""

    per_wave: Figure
    drain_limit: Figure
    surge: Figure
    advised_surge: Figure
    together: Figure


class _Attribute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    value: str | None
    note: str


class _Terraform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    as_of: date
    block: str
    steps: dict[str, tuple[_Attribute, ...]]


@cache
def durations() -> Durations:
    """What documents say about the time that nodes take."""
    return read_yaml(data("rules") / "azure" / "durations.yaml", Durations)


def attributes(step: str) -> tuple[Attribute, ...]:
    """A step's attributes of azurerm_kubernetes_cluster."""
    known = _terraform()
    return tuple(
        Attribute(block=known.block, name=each.name, value=each.value, note=each.note)
        for each in known.steps.get(step, ())
    )


def terraform_source() -> Statement:
    """Where the attributes come from."""
    known = _terraform()
    says = "attributes of azurerm_kubernetes_cluster"
    return Statement(source=known.source, as_of=known.as_of.isoformat(), says=says)


@cache
def _terraform() -> _Terraform:
    return read_yaml(data("rules") / "azure" / "terraform.yaml", _Terraform)
