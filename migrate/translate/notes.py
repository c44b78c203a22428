"""What is noted while one source object is translated: findings, assumptions and how good the result still is."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrate.model.documents import Result
from migrate.model.finding import Effect, Finding
from migrate.model.refs import Location, ObjectRef

_ORDER = (Result.KEPT, Result.EXACT, Result.EXACT_HERE, Result.CHANGED, Result.UNSUPPORTED)


@dataclass(slots=True)
class Notes:
    """Collects for one source object; the result only ever gets worse."""

    subject: ObjectRef
    at: Location | None
    result: Result = Result.EXACT
    findings: list[Finding] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)

    def find(
        self,
        finding_id: str,
        detail: str,
        *,
        place: str | None = None,
        at: Location | None = None,
        effect: Effect = Effect.NONE,
        on_intent: Effect = Effect.NONE,
        result: Result | None = None,
    ) -> None:
        """Add a finding about this object; `result` says how good the translation can be at best from now on."""
        finding = Finding(
            id=finding_id,
            detail=detail,
            effect=effect,
            effect_on_intent=on_intent,
            subject=self.subject,
            field=place,
            at=at or self.at,
        )
        if finding not in self.findings:
            self.findings.append(finding)
        if result is not None:
            self.worsen(result)

    def assume(self, text: str) -> None:
        """The result holds under this assumption only."""
        if text not in self.assumptions:
            self.assumptions.append(text)
        self.worsen(Result.EXACT_HERE)

    def add(self, other: Notes) -> None:
        """Take over what was noted elsewhere about the same object."""
        self.findings += [finding for finding in other.findings if finding not in self.findings]
        self.assumptions += [text for text in other.assumptions if text not in self.assumptions]
        self.worsen(other.result)

    def worsen(self, result: Result) -> None:
        """Lower the result to this one, if it is better now."""
        self.result = max(self.result, result, key=_ORDER.index)
