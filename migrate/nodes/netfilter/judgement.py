"""What becomes of a packet, and which rules it met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from migrate.model.node_state import (
    Backend,
    ConnectionMarkChange,
    ConnectionMarkCopy,
    Ending,
    Jump,
    Log,
    MarkChange,
    MarkCopy,
    OtherTarget,
    Reject,
    Target,
    Translate,
    Untracked,
)
from migrate.model.refs import Location
from migrate.nodes.netfilter.passing import Passing

Verdict: TypeAlias = Literal["allow", "deny", "unknown"]


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that holds for the packet, or the policy at the end of a chain. `action` is what it does, for a reader.

    `unsure` says what nothing tells: then the rule may also not hold.
    """

    table: str
    chain: str
    backend: Backend | None
    action: str
    at: Location
    comments: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a packet gets through. `steps` are the rules that it met, in their order, up to the one that decided.

    When the verdict is unknown they are those of one of the ways that it may take, one that ends in a deny where there
    is such, and `doubts` say why. `passed` is the packet behind the last rule, of that way.
    """

    verdict: Verdict
    steps: tuple[Step, ...]
    doubts: tuple[str, ...]
    passed: Passing


def in_words(target: Target | None) -> str:
    """What a target does."""
    if isinstance(target, Ending):
        return target.value
    if isinstance(target, Jump):
        return f"go to {target.chain}" if target.final else f"on to {target.chain}"
    if isinstance(target, Reject):
        return "REJECT"
    if isinstance(target, MarkChange):
        return f"mark {target.value:#x}/{target.mask:#x}"
    if isinstance(target, ConnectionMarkChange):
        return f"mark the connection {target.value:#x}/{target.mask:#x}"
    if isinstance(target, ConnectionMarkCopy):
        return "keep the mark with the connection" if target.way is MarkCopy.SAVE else "take the connection's mark"
    if isinstance(target, Translate):
        return f"{target.kind.value}{_place(target)}"
    if isinstance(target, Untracked):
        return "do not track"
    if isinstance(target, Log):
        return f"log {target.prefix!r}"
    return target.name if isinstance(target, OtherTarget) else "count"


def _place(target: Translate) -> str:
    if target.addresses is None and target.ports is None:
        return ""
    low, high = target.addresses or ("", "")
    address = f"{low}" if low == high else f"{low}-{high}"
    if target.ports is None:
        return f" to {address}"
    first, last = target.ports
    return f" to {address}:{first}" if first == last else f" to {address}:{first}-{last}"
