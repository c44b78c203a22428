"""Why Cilium drops packets (rules/cutover/drops.yaml): by a policy, or by something that no policy is to blame for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Literal

import msgspec

from migrate.resources import data, read_yaml


class DropReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason by its names in Hubble, in the kernel and in `cilium-dbg monitor`; `says` what it means."""

    name: str
    number: int
    by: Literal["policy", "needs_auth", "no_policy"]
    texts: tuple[str, ...]
    says: str


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    repo: str
    path: str
    says: str


class _Drops(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: tuple[_Source, ...]
    as_of: date
    reasons: tuple[DropReason, ...]


@cache
def reasons() -> tuple[DropReason, ...]:
    """All that are known."""
    return read_yaml(data("rules") / "cutover" / "drops.yaml", _Drops).reasons


@cache
def _by_name() -> Mapping[str, DropReason]:
    names = {reason.name.lower(): reason for reason in reasons()}
    names |= {text: reason for reason in reasons() for text in reason.texts}
    return names | {str(reason.number): reason for reason in reasons()}


def find_reason(told: str) -> DropReason | None:
    """The reason that a program told by name, number or text; None for one that is not known here."""
    return _by_name().get(told.strip().lower())


def is_by_policy(told: str) -> bool:
    """Whether a policy dropped it. A drop without any reason counts as one, so that it is never passed over."""
    known = find_reason(told)
    return not told or (known is not None and known.by == "policy")
