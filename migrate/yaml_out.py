"""YAML that Go's Kubernetes decoder reads back as the same strings.

PyYAML follows YAML 1.1 and leaves 1e3, 08, 0o17, y and n without quotes. Kubernetes reads those as
numbers and booleans, so a selector on version=1e3 would become version=1000.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

import yaml

_READ_AS_OTHER_TYPE = re.compile(r"[-+.0-9].*|[yn]", re.IGNORECASE | re.DOTALL)

_PLAIN = re.compile(r"[A-Za-z](?:[\w./-]|:(?=[\w./-])|[ ](?=[\w./-]))*", re.ASCII)
"""What the emitter leaves without quotes, except for the words that mean something else."""
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_WIDTH = 4096
_LONGEST_CACHED = 100
"""Longer texts may be written otherwise by where they stand: as a key, or folded."""


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors, keys in the order they were given."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _READ_AS_OTHER_TYPE.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def dump(value: Mapping[str, object]) -> str:
    """One object as canonical YAML: block style, keys in the given order, no line folding."""
    try:
        return "".join(f"{line}\n" for line in _lines(value)) if value else _emitted(value)
    except _NotOnOneLineError:
        return _emitted(value)


def _emitted(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


class _NotOnOneLineError(Exception):
    """A scalar that the emitter folds or breaks, by where it stands."""


def _lines(value: object) -> Iterator[str]:
    """What the emitter writes for a mapping or list that is not empty, many times as fast."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if item and isinstance(item, Mapping | list | tuple):
                yield f"{_key(key)}:"
                yield from (f"  {line}" for line in _lines(item))
            else:
                yield f"{_key(key)}: {_scalar(item)}"
    elif isinstance(value, list | tuple):
        for item in value:
            inside = _lines(item) if item and isinstance(item, Mapping | list | tuple) else iter([_scalar(item)])
            yield f"- {next(inside)}"
            yield from (f"  {line}" for line in inside)


def _key(key: str) -> str:
    return _text(key)[0]


def _scalar(value: object) -> str:
    """A string, number, boolean, null, or an empty mapping or list."""
    if isinstance(value, str):
        return _text(value)[1]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _emitted({"k": value})[len("k: ") : -1]


@lru_cache(maxsize=1 << 14)
def _text(text: str) -> tuple[str, str]:
    """A string as a key and as a value. Raises _NotOnOneLineError when either takes more than one line, or may."""
    if len(text) <= _LONGEST_CACHED and _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text, text
    key, value = _emitted({text: 0}), _emitted({"k": text})
    if len(text) > _LONGEST_CACHED or key.count("\n") != 1 or value.count("\n") != 1:
        raise _NotOnOneLineError
    return key[: -len(": 0\n")], value[len("k: ") : -1]
