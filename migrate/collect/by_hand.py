"""The script that makes a node's dump without this program (rules/node/dump.sh)."""

from __future__ import annotations

import migrate
from migrate.collect.cni import NO_JSON, PATTERNS, SECRET_WORDS
from migrate.collect.machine import traces
from migrate.resources import data

_STRING = r'"([^"\\]|\\.)*"'
_VALUE = rf'({_STRING}|\[[^]]*\]|\{{[^}}]*\}}|[^],}}" ]+)'


def script() -> str:
    """The script with what this version knows."""
    text = data("rules").joinpath("node", "dump.sh").read_text(encoding="utf-8")
    for mark, value in {
        "@VERSION@": migrate.__version__,
        "@PATHS@": " ".join(traces()),
        "@CNI@": " ".join(PATTERNS),
        "@NO_JSON@": NO_JSON,
        "@SECRETS@": _secret_name() + _VALUE,
        "@NESTED@": _secret_name() + r"[{[]|\\/",
    }.items():
        text = text.replace(mark, value)
    return text


def _secret_name() -> str:
    """The name of a field that has one of the words in it, in either case, up to its value.

    Before a bracket the value has parts, whose end no such expression finds.
    """
    words = ["".join(map(_either, word)) for word in SECRET_WORDS]
    return rf'("[^"]*({"|".join(words)})[^"]*" *: *)'


def _either(letter: str) -> str:
    return f"[{letter}{letter.upper()}]" if letter.isalpha() else letter
