"""Ends that have the same form in both states: what changes for one of them changes for all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

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


View: TypeAlias = tuple[tuple[int, Form], ...]
"""What a side lets through in some state: ends with the form that they share."""


@dataclass(frozen=True, slots=True)
class Groups:
    """All ends of one family at one side of flows: those that change, and what all let through by state."""

    changed: tuple[Group, ...]
    before: View
    after: View
    both: View

    @classmethod
    def of(cls, everyone: Sequence[Group], changed: tuple[Group, ...]) -> Groups:
        """Groups that together are all ends, and those among them (or parts of them) that change."""
        return cls(
            changed,
            _view((group.before, group.ends) for group in everyone),
            _view((group.after, group.ends) for group in everyone),
            _view((group.kept, group.ends) for group in everyone),
        )


def _view(pairs: Iterable[tuple[Form, int]]) -> View:
    found: dict[Form, int] = {}
    for form, ends in pairs:
        found[form] = found.get(form, 0) | ends
    return tuple((ends, form) for form, ends in found.items())


def boxes(ends: int, pieces: Form, view: View) -> Iterator[tuple[int, int, int]]:
    """What pieces of some ends and the other side both let through: peers, own ends and packets."""
    touched = union(peers for _, peers in pieces)
    for peers, form in view:
        if peers & touched:
            for atoms, wanted in pieces:
                chosen = wanted & peers
                if chosen:
                    for other_atoms, others in form:
                        packets, own = atoms & other_atoms, others & ends
                        if packets and own:
                            yield chosen, own, packets


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
