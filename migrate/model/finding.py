"""Findings: what a user has to know or decide, each with an id whose explanation is a file in rules/findings/."""

from enum import Enum

import msgspec

from migrate.model.refs import Location, ObjectRef


class Severity(Enum):
    """How much a finding stands in the way of the cutover. Comes from the finding's rule file."""

    BLOCKER = "blocker"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the most severe."""
        return list(Severity).index(self)


class Effect(Enum):
    """What the future state admits, compared with the state a finding names."""

    WIDENS = "widens"
    NARROWS = "narrows"
    NONE = "none"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One observation.

    `effect` compares the future with what is enforced today, `effect_on_intent` with the policies' text.
    `detail` is one sentence about this very object; what it means and what to do stands in rules/findings/<id>.yaml.
    `field` is a path into the object such as "spec.ingress[0].from[1].ipBlock"; `subject` is None when the
    finding is about the whole cluster or about an input.
    """

    id: str
    detail: str
    effect: Effect = Effect.NONE
    effect_on_intent: Effect = Effect.NONE
    subject: ObjectRef | None = None
    field: str | None = None
    at: Location | None = None

    def sort_key(self) -> tuple[str, str, str, str]:
        """Order of findings in every document: id, object, field, detail."""
        return (self.id, "" if self.subject is None else str(self.subject), self.field or "", self.detail)
