"""How often each field of the source languages was generated, and how often it decided a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tests.reference.cases import Case
from tests.simulate.coverage import Coverage
from tests.simulate.dialects import model

_LANGUAGES = {"kubernetes": "kubernetes", "calico": "calico"}
"""The language whose fields count, by the engine of a case. What Calico says of NetworkPolicies is part of its own."""


@dataclass(slots=True)
class FieldCounts:
    """Counts by language. What decides is said by the program's model, which tests.simulate holds to the engines."""

    coverage: dict[str, Coverage] = field(default_factory=dict)

    def add(self, cases: Iterable[Case]) -> None:
        """Count the fields of some cases."""
        for case in cases:
            language = _LANGUAGES[case.engine]
            counted = self.coverage.setdefault(language, Coverage())
            counted.add(case, model(language)(_without_families(case)).decisions)

    def missing(self) -> list[str]:
        """Fields that were never generated, or never decided."""
        return [text for language, counted in self.coverage.items() for text in counted.missing(language)]

    def table(self) -> str:
        """One line a field, language by language."""
        return "\n".join(text for name, counted in self.coverage.items() for text in (name, counted.table(name)))


def _without_families(case: Case) -> Case:
    """The case without the IP versions of its cluster, which only Cilium's engine is told."""
    options = {key: value for key, value in case.options.items() if key not in ("ipv4", "ipv6")}
    return msgspec.structs.replace(case, options=options)
