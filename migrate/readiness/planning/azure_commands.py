"""What a runbook may say to the Azure CLI, and from which version on (rules/azure/commands.yaml)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache

import msgspec

from migrate.resources import data, read_yaml

_FIRST = "2.0.61"
_ENDS = frozenset({";", "&&", "||", "|", "&", ")", ">", ">>", "<", "\n"})


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where it says so, of which day."""

    source: str
    as_of: date
    says: str


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An option; `values` are the ones that are used, () for any. A `flag` takes none."""

    values: tuple[str, ...] = ()
    flag: bool = False
    since: str = _FIRST


class KnownCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command with the options that runbooks use."""

    command: str
    since: str
    options: dict[str, Option]
    sources: tuple[Source, ...]


class _Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    everywhere: dict[str, Option]
    commands: tuple[KnownCommand, ...]


@cache
def known_commands() -> dict[tuple[str, ...], KnownCommand]:
    """The commands by their words, each with the options that all have."""
    known = read_yaml(data("rules") / "azure" / "commands.yaml", _Known)
    return {
        tuple(each.command.split()): msgspec.structs.replace(each, options={**known.everywhere, **each.options})
        for each in known.commands
    }


def minimum_cli(texts: Iterable[str]) -> str | None:
    """The lowest version of the Azure CLI that knows all commands and options of some shell text.

    None when the text does not use it. Raises ValueError for a command, an option or a value that is not known.
    """
    versions = [version for text in texts for words in _calls(text) for version in _versions(words)]
    return max(versions, key=_numbers, default=None)


def _calls(text: str) -> Iterator[list[str]]:
    """Each call of az in shell text, as its words."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=";&|()<>\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    found: list[str] | None = None
    for token in lexer:
        if _ends(token):
            if found is not None:
                yield found
            found = None
        elif found is not None:
            found.append(token)
        elif token == "az":
            found = [token]
    if found is not None:
        yield found


def _ends(token: str) -> bool:
    return token in _ENDS or set(token) <= set(";&|()<>\n")


def _versions(words: list[str]) -> Iterator[str]:
    known = next((known_commands()[tuple(words[:n])] for n in range(len(words), 0, -1) if _is_known(words[:n])), None)
    if known is None:
        raise ValueError(f"{' '.join(words)}: no command of rules/azure/commands.yaml")
    yield known.since
    rest = iter(words[len(known.command.split()) :])
    for word in rest:
        name, _, attached = word.partition("=")
        option = known.options.get(name)
        if option is None:
            raise ValueError(f"{known.command}: option {word} is not in rules/azure/commands.yaml")
        value = "" if option.flag else attached or next(rest, "")
        if not option.flag and not value:
            raise ValueError(f"{known.command}: option {name} has no value")
        if option.values and value not in option.values:
            raise ValueError(f"{known.command}: {value} is no value of {name} in rules/azure/commands.yaml")
        yield option.since


def _is_known(words: list[str]) -> bool:
    return tuple(words) in known_commands()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
