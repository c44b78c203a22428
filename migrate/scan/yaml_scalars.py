"""What plain YAML words mean to Kubernetes, whose decoder is go-yaml 2 behind sigs.k8s.io/yaml.

It is YAML 1.1 with differences that matter for labels and ports: 1e3, 0o17 and 08 are numbers, y and n are booleans,
dates and 1:30 are text. PyYAML decides otherwise in each of these cases.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct

from migrate.model.raw import Json

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_MAY_BE_NUMBER = frozenset("+-.0123456789")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|(0|[1-9][0-9]*))")
_BASES = (16, 8, 2, 10)
_MOST_DIGITS = 4_000
"""Python reads no decimal number of some more digits; with so many none has 64 bits."""
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?")
_TAG = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "null": (type(None),),
}


def plain(text: str) -> bool | int | float | str | None:
    """The value of a word without quotes. Infinities and NaN come back as such, though JSON has none."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _MAY_BE_NUMBER:
        return text
    if text[0] == ".":
        return _as_float(text.replace("_", ""), text) if _DOT_FLOAT.fullmatch(text) else text
    digits = text.replace("_", "")
    integer = _as_integer(digits)
    if integer is not None:
        return integer
    return _as_float(digits, text) if _FLOAT.fullmatch(digits) else text


def tagged(tag: str, text: str) -> bool | int | float | str | None:
    """The value of a word with an explicit tag. Raises ValueError when the tag does not fit the word."""
    name = tag.removeprefix(_TAG)
    if name == "binary":
        try:
            return base64.b64decode(text, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{text!r} is not !!binary text") from error
    types = _TYPES.get(name) if tag.startswith(_TAG) else None
    if types is None:
        return text
    value = plain(text)
    if not isinstance(value, types) or (isinstance(value, bool) and name != "bool"):
        raise ValueError(f"{text!r} is no !!{name}")
    return value


def as_json(value: bool | int | float | str | None) -> Json:
    """The value as JSON holds it: whole numbers lose their fraction. Raises ValueError for infinities and NaN."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number; put quotes around it if it is text")
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def as_key(value: bool | int | float | str | None) -> str:
    """A key as the text that Kubernetes makes of it. Raises ValueError for null."""
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError("null stands where a key should be; put quotes around it if it is text")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _shortest_float(value)


def _as_integer(digits: str) -> int | None:
    """A whole number of 64 bits, or None."""
    match = _INTEGER.fullmatch(digits) if len(digits) <= _MOST_DIGITS else None
    if match is None:
        return None
    sign, *groups = match.groups()
    value = next(int(group, base) for group, base in zip(groups, _BASES, strict=True) if group is not None)
    value = -value if sign == "-" else value
    return value if -(2**63) <= value < 2**64 else None


def _as_float(digits: str, text: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else text


def _shortest_float(value: float) -> str:
    """The fewest digits that tell 32-bit numbers apart; with an exponent from 1e6 on and below 1e-4."""
    if not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    precision = next((p for p in range(9) if _in_32_bits(float(f"{value:.{p}e}")) == _in_32_bits(value)), 8)
    with_exponent = f"{value:.{precision}e}"
    exponent = int(with_exponent.partition("e")[2])
    if -4 <= exponent < 6:
        return f"{value:.{max(precision - exponent, 0)}f}"
    return with_exponent


def _in_32_bits(value: float) -> bytes:
    try:
        return struct.pack("f", value)
    except OverflowError:
        return b""
