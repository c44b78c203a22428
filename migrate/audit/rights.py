"""The capabilities of this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

NEEDED = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}
_SYS_ADMIN = 21
_INCLUDED = ("CAP_BPF", "CAP_PERFMON")
"""What CAP_SYS_ADMIN includes."""


def missing_capabilities(needed: Mapping[str, int] = NEEDED) -> list[str]:
    """Those of `needed` (names and bits) that this process does not have."""
    effective = _effective()
    included = _INCLUDED if effective >> _SYS_ADMIN & 1 else ()
    return [name for name, bit in needed.items() if not effective >> bit & 1 and name not in included]


def is_administrator() -> bool:
    """Whether it has CAP_SYS_ADMIN, without which the kernel shows nobody the types of its modules."""
    return bool(_effective() >> _SYS_ADMIN & 1)


def _effective() -> int:
    status = Path("/proc/self/status").read_text()
    (effective,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return effective
