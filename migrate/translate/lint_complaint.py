"""One field that Cilium or the target does not take as it is written."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.raw import FieldPath
from migrate.sources.fields import dotted

REFUSED = "LINT-REFUSED"
MISREAD = "LINT-MISREAD"
FEATURE_OFF = "LINT-FEATURE-OFF"


@dataclass(frozen=True, slots=True)
class Complaint:
    """A field, what is wrong with it, and the id of the finding that it makes."""

    path: FieldPath
    text: str
    id: str = REFUSED

    @property
    def field(self) -> str:
        """The field as people write it; "object" for the whole of it."""
        return dotted(self.path) or "object"

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"
