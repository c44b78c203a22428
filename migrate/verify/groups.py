"""Ends that have the same form in both states: what changes for one of them changes for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrate.verify.bits import union
from migrate.verify.compile import Form


@dataclass(frozen=True, slots=True)
class Group:
    """Ends of one IP family, and what their policies let them exchange with which peers.

    All parts have pieces as a form has them: what is allowed before, after, in one state only, in both.
    """

    ends: int
    before: Form
    after: Form
    lost: Form
    gained: Form
    kept: Form

    @classmethod
    def of(cls, ends: int, before: Form, after: Form) -> Group:
        """The group of these ends, with what changes worked out."""
        if before == after:
            return cls(ends, before, after, (), (), before)
        lost, gained = tuple(_without(before, after)), tuple(_without(after, before))
        return cls(ends, before, after, lost, gained, tuple(_common(before, after)))


@dataclass(frozen=True, slots=True)
class Groups:
    """All ends of one family: `merged` by form alone, and those that change by their policies too."""

    merged: tuple[Group, ...]
    changed: tuple[Group, ...]

    def concerned(self, other: Group) -> list[Group]:
        """The merged groups with ends about which something changes for a group of the other side."""
        touched = union(ends for _, ends in (*other.lost, *other.gained))
        return [group for group in self.merged if group.ends & touched]


def within(form: Form, packets: int, ends: int) -> Form:
    """The part of a form that is about some packets and some ends."""
    cut = ((atoms & packets, peers & ends) for atoms, peers in form)
    return tuple((atoms, peers) for atoms, peers in cut if atoms and peers)


def _without(form: Form, other: Form) -> Iterator[tuple[int, int]]:
    for atoms, ends in form:
        rest = atoms
        for other_atoms, other_ends in other:
            common = atoms & other_atoms
            rest &= ~other_atoms
            if common and ends & ~other_ends:
                yield common, ends & ~other_ends
        if rest:
            yield rest, ends


def _common(form: Form, other: Form) -> Iterator[tuple[int, int]]:
    for atoms, ends in form:
        for other_atoms, other_ends in other:
            if atoms & other_atoms and ends & other_ends:
                yield atoms & other_atoms, ends & other_ends
