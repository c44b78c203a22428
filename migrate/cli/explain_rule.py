"""`migrate explain-rule ID`: what a finding means, what to do, and where that is known from."""

import textwrap
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from migrate.readiness.rules import Rule

_WIDTH = 100


class RuleFormat(Enum):
    """The forms of an explanation."""

    TEXT = "text"
    JSON = "json"


RuleId = Annotated[str, typer.Argument(metavar="ID", help="The id of a finding, such as POL-NAMED-PORT.")]
Format = Annotated[RuleFormat, typer.Option("--output", "-o", help="text or json.")]


def explain_rule(rule_id: RuleId, output: Format = RuleFormat.TEXT) -> None:
    """Explain a finding: why it matters, what to do, and the sources."""
    import msgspec

    from migrate.cli.emit import emit
    from migrate.readiness.rules import find_rule

    rule = find_rule(rule_id)
    if output is RuleFormat.JSON:
        emit(msgspec.json.format(msgspec.json.encode(rule), indent=2).decode() + "\n")
    else:
        emit("\n".join(_lines(rule)) + "\n")


def _lines(rule: "Rule") -> list[str]:
    """The explanation as lines of text."""
    return [
        f"{rule.id}: {rule.title}",
        f"{rule.severity.value}; usual effect: {rule.effect.value}; known by: {rule.evidence}, {rule.as_of}",
        f"from {', '.join(rule.applies_to.source)} to {', '.join(rule.applies_to.target)}",
        "",
        "Why",
        *_wrapped(rule.why),
        "",
        "What to do",
        *_wrapped(rule.do),
        "",
        "Read from",
        *(f"  {one}" for one in rule.inputs),
        "",
        "Sources",
        *(line for source in rule.sources for line in _wrapped(str(source))),
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
