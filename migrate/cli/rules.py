"""`migrate rules`: every finding that this version can give, one line each."""

from enum import Enum
from typing import Annotated

import typer


class RulesFormat(Enum):
    """The forms of the list."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[RulesFormat, typer.Option("--output", "-o", help="table or json.")]


def rules(output: Format = RulesFormat.TABLE) -> None:
    """List what migrate can find; `migrate explain-rule ID` says more about one of them."""
    import msgspec

    from migrate.cli.emit import emit
    from migrate.readiness.rules import load_rules

    found = load_rules().values()
    if output is RulesFormat.JSON:
        emit(msgspec.json.format(msgspec.json.encode(list(found)), indent=2).decode() + "\n")
        return
    width = max(len(rule.id) for rule in found)
    emit("".join(f"{rule.id:<{width}}  {rule.severity.value:<7}  {rule.title}\n" for rule in found))
