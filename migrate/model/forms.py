"""What a user may choose about the form of a translation; docs/translate.md says what each choice means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["per-source", "per-workload"]
OnGap: TypeAlias = Literal["refuse", "narrow", "widen"]
Ordered: TypeAlias = Literal["cilium", "cluster-network-policy"]


@dataclass(frozen=True, slots=True)
class Forms:
    """`accept` are texts such as "POL-SCTP@NetworkPolicy shop/web"; `plain` asks for networkpolicy/, `hosts` for
    policies of the host firewall.
    """

    split: Split = "per-source"
    on_gap: OnGap = "narrow"
    accept: tuple[str, ...] = ()
    kustomize: bool = False
    plain: bool = False
    hosts: bool = False
    ordered: Ordered = "cilium"
