"""The names that NPM gives chains and sets in the kernel: digests, of which two kinds are in the field.

Facts: npm/util/util.go of Azure/azure-container-networking before and after commit b1f7cacae (2026-07-30), and dumps of
both programs. The commit was taken over into older branches, so that a release's number does not tell which it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256

from migrate.model.flow import Direction

SET_PREFIX = "azure-npm-"
BASE = "AZURE-NPM"
_SET_DIGITS, _CHAIN_DIGITS = 20, 10
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_POLICY_CHAIN = re.compile(r"AZURE-NPM-(IN|E)GRESS-([0-9a-z]{1,10})")
_OLD_SET, _NEW_SET = re.compile(r"azure-npm-[0-9]{1,10}"), re.compile(r"azure-npm-[0-9a-z]{20}")
_FNV_START, _FNV_PRIME = 0x811C9DC5, 0x01000193


class Scheme(Enum):
    """How names become digests: 32 bits in decimal digits, or a part of SHA-256 in base 36."""

    FNV32 = "fnv32"
    SHA256 = "sha256"


def set_name(prefixed: str, scheme: Scheme) -> str:
    """The kernel's name of a set that NPM calls `prefixed` (ns-demo, podlabel-app:web)."""
    if scheme is Scheme.FNV32:
        return f"{SET_PREFIX}{_fnv32a(prefixed)}"
    return SET_PREFIX + _base36(_number(prefixed)).rjust(_SET_DIGITS, "0")[:_SET_DIGITS]


def chain_suffix(policy_key: str, scheme: Scheme) -> str:
    """What stands behind AZURE-NPM-INGRESS- in the name of the chain of the policy "namespace/name"."""
    if scheme is Scheme.FNV32:
        return str(_fnv32a(policy_key))
    return _base36(_number(policy_key) % 36**_CHAIN_DIGITS).rjust(_CHAIN_DIGITS, "0")


def policy_chain(direction: Direction, suffix: str) -> str:
    """The name of a policy's chain."""
    return f"{BASE}-{direction.name}-{suffix}"


def read_policy_chain(chain: str) -> tuple[Direction, str] | None:
    """The direction and suffix of a policy's chain; None for every other chain."""
    found = _POLICY_CHAIN.fullmatch(chain)
    if found is None:
        return None
    return (Direction.INGRESS if found[1] == "IN" else Direction.EGRESS), found[2]


def scheme_of(sets: Iterable[str], chains: Iterable[str]) -> Scheme | None:
    """By which scheme most of these names were made; None when there are no names of NPM.

    A chain's suffix of ten digits can come from both, and counts only where nothing else does.
    """
    sure: Counter[Scheme] = Counter()
    unsure = False
    for name in sets:
        if _OLD_SET.fullmatch(name):
            sure[Scheme.FNV32] += 1
        elif _NEW_SET.fullmatch(name):
            sure[Scheme.SHA256] += 1
    for name in chains:
        suffix = (read_policy_chain(name) or (None, ""))[1]
        if suffix.isdigit() and len(suffix) == _CHAIN_DIGITS:
            unsure = True
        elif suffix:
            sure[Scheme.FNV32 if suffix.isdigit() else Scheme.SHA256] += 1
    if sure:
        return max(sure, key=lambda scheme: (sure[scheme], scheme is Scheme.SHA256))
    return Scheme.FNV32 if unsure else None


@dataclass(frozen=True, slots=True)
class Shared:
    """Names of which each should have a chain or a set of its own, and that have one together."""

    kernel: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """The way back from the kernel's names of sets to NPM's.

    Everywhere else a set is called by its newest name. Of names that share a set the first one stands for all.
    """

    scheme: Scheme
    kernel: Mapping[str, str]
    shared: tuple[Shared, ...]
    given: Mapping[str, str] = field(default_factory=dict)
    _stands_for: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spellings: Mapping[str, tuple[str, ...]], scheme: Scheme) -> Names:
        """The names of sets that exist, each with all its spellings, from the newest to the oldest one.

        Releases that make short digests spell names the oldest way, others the newest; other spellings are tried too.
        """
        proper = -1 if scheme is Scheme.FNV32 else 0
        owners: dict[str, set[str]] = {}
        for name, each in spellings.items():
            owners.setdefault(set_name(each[proper], scheme), set()).add(name)
        known = {kernel: min(names) for kernel, names in owners.items()}
        for name, each in spellings.items():
            for spelling in each if len(each) > 1 else ():
                known.setdefault(set_name(spelling, scheme), name)
        shared = tuple(
            Shared(kernel, tuple(sorted(names))) for kernel, names in sorted(owners.items()) if len(names) > 1
        )
        return cls(
            scheme,
            known,
            shared,
            _stands_for={name: each.names[0] for each in shared for name in each.names},
        )

    def with_given(self, given: Mapping[str, str], spellings: Mapping[str, tuple[str, ...]]) -> Names:
        """With names that NPM itself tells; one that the digest proves goes before."""
        newest = {spelling: name for name, several in spellings.items() for spelling in several} if given else {}
        told = {kernel: newest.get(name, name) for kernel, name in given.items() if kernel not in self.kernel}
        return Names(self.scheme, self.kernel, self.shared, told, self._stands_for)

    def name(self, kernel: str) -> str:
        """The name of a set; the kernel's where nothing tells it."""
        return self.kernel.get(kernel) or self.given.get(kernel) or kernel

    def knows(self, kernel: str) -> bool:
        """Whether something tells the name."""
        return kernel in self.kernel or kernel in self.given

    def stands_for(self, name: str) -> str:
        """The name that stands for this one where several share a set."""
        return self._stands_for.get(name, name)


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest(), "big")


def _fnv32a(text: str) -> int:
    found = _FNV_START
    for byte in text.encode():
        found = (found ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return found


def _base36(number: int) -> str:
    digits: list[str] = []
    while number:
        number, part = divmod(number, 36**8)
        for _ in range(8):
            part, digit = divmod(part, 36)
            digits.append(_DIGITS[digit])
    return "".join(reversed(digits)).lstrip("0") or "0"
