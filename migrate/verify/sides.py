"""What one end of a flow says."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.flow import Word
from migrate.model.ruleset import Action, Decision


@dataclass(frozen=True, slots=True)
class Side:
    """What one end says; `decision` is None where nothing polices it."""

    word: Word
    decision: Decision | None


FREE = Side(Word.UNENFORCED, None)


def said(decision: Decision) -> Side:
    """The word for a decision."""
    if not decision.enforced:
        return FREE
    return Side(Word.ALLOW if decision.action is Action.ALLOW else Word.DENY, decision)
