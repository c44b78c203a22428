"""What the agent needs of a loaded probe; libbpf and BCC stand behind it alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from migrate.audit.layout import Control, Counter


class ProbeError(Exception):
    """The probe could not be loaded, attached or read; the text says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries of the maps. The defaults take about 36 MiB of locked memory."""

    flows: int = 65_536
    coarse: int = 8_192
    connections: int = 131_072


class Table(Protocol):
    """A hash table of the kernel with keys and values as bytes."""

    def batches(self, size: int = 4096) -> Iterator[list[tuple[bytes, bytes]]]:
        """All entries, in batches that are read by one call each."""

    def delete(self, keys: list[bytes]) -> None:
        """Remove these entries; those that are gone already are fine."""


class Probe(Protocol):
    """The loaded programs and their maps. `flows` are the two tables used in turn, `coarse` takes what they cannot.

    `coarse` serves all epochs, and its rows only grow. So do those of `translations` (`layout.Translation`) and `drops`
    (flow records of what netfilter drops today); None where the loader or the kernel has no such thing.
    `attached_by` is tcx or clsact. `resumed`: the tables of a killed process go on. `notes` say what is not available.
    """

    loader: str
    attached_by: str
    resumed: bool
    notes: tuple[str, ...]
    flows: tuple[Table, Table]
    coarse: Table
    translations: Table | None
    drops: Table | None

    def control(self, entry: Control) -> int:
        """A value of the control array."""

    def set_control(self, entry: Control, value: int) -> None:
        """Set a value of the control array."""

    def barrier(self) -> None:
        """Return when no program runs any more that began before the call."""

    def counters(self) -> Mapping[Counter, int]:
        """The kernel's counters, summed over all CPUs."""

    def attach(self, ifindex: int, name: str) -> None:
        """Both directions of an interface; nothing happens where it is attached already. Raises ProbeError."""

    def detach(self, ifindex: int) -> None:
        """Take both directions away, if they are there."""

    def misplaced(self, ifindex: int) -> str:
        """Why the programs of an interface do not see every packet: hooks gone, another one in front; else empty."""

    def close(self) -> None:
        """Let go of the descriptors; pinned programs and maps stay and go on."""

    def remove(self) -> None:
        """Take everything out of the kernel: links, filters, pins."""
