"""What an import of other programs' logs came to."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

NotUsedKind: TypeAlias = Literal["unreadable", "lost", "unusable", "no_flow"]
"""unreadable: broken. lost: flows that the program says it could not tell of. unusable: a flow of which something is
missing. All these make the evidence incomplete. no_flow: something else, or a flow that is no pod's."""


class NotUsed(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a file that gave no record, with the place of the first one."""

    kind: NotUsedKind
    reason: str
    count: int
    first: str
    detail: str = ""


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """A counter that the program keeps beside flows; `labels` read "reason=IPTABLE_RULE_DROP"."""

    name: str
    labels: tuple[str, ...]
    value: int
    at: str


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One file. `recording` is where its records are; empty: it has none. Without a format it could not be used at all.

    `flows` counts what the program saw of pods (aggregates in full), `by_verdict` splits it; `without_time` of them
    were put at the time of the file. `broken` says why it was not read to its end. `again`: the same was imported
    before, and nothing was done.
    """

    file: str
    format: str
    digest: str
    recording: str = ""
    again: bool = False
    lines: int = 0
    flows: int = 0
    by_verdict: dict[str, int] = {}
    without_time: int = 0
    since: str | None = None
    until: str | None = None
    nodes: tuple[str, ...] = ()
    pods: int = 0
    broken: str = ""
    not_used: tuple[NotUsed, ...] = ()
    counters: tuple[Counter, ...] = ()
    cannot_tell: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing that may matter is missing."""
        return not self.broken and all(one.kind == "no_flow" for one in self.not_used)


class AuditImport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All files of one import, as they were named."""

    api_version: Literal["cilium-migrate/v1alpha1"] = "cilium-migrate/v1alpha1"
    kind: Literal["AuditImport"] = "AuditImport"
    tool_version: str
    complete: bool
    files: tuple[ImportedFile, ...]
