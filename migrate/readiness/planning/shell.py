"""Shell text for the people who run a plan: names quoted, unknown values visible."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from migrate.model.plan_documents import Command, Variable

AZ_TARGET = '--name "$CLUSTER" --resource-group "$RESOURCE_GROUP"'
"""Which cluster `az aks` is about."""
AZ_POOLS = '--cluster-name "$CLUSTER" --resource-group "$RESOURCE_GROUP"'
"""Which cluster `az aks nodepool` is about."""


def quoted(text: str) -> str:
    """A text as one word of a shell command. Control characters but line ends are taken out: nothing is named so."""
    return shlex.quote("".join(c for c in text if c.isprintable() or c == "\n"))


def run(text: str, expect: str = "") -> Command:
    """A command, and what it has to show."""
    return Command(text=text, expect=expect)


def assignments(variables: Iterable[Variable]) -> str:
    """The variables as shell text; one that is not known holds its name in angle brackets."""
    return "".join(f"{_assignment(variable)}\n" for variable in variables)


def _assignment(variable: Variable) -> str:
    meaning = " ".join(variable.meaning.split())
    if variable.value is None:
        return f"export {variable.name}='<{variable.name}>'  # fill in: {meaning}"
    return f"export {variable.name}={quoted(variable.value)}  # {meaning}"


def unfilled(variables: Sequence[Variable]) -> Command | None:
    """A command that stops while a variable still has to be filled in; None when all are known."""
    names = [variable.name for variable in variables if variable.value is None]
    if not names:
        return None
    words = " ".join(names)
    text = (
        f"for name in {words}; do\n"
        '  case "${!name}" in "<"*) echo "fill in $name first" >&2 ;; *) echo "$name is set" ;; esac\n'
        "done"
    )
    return Command(text=text, expect="every name with “is set”")
