"""Lines of iptables-save and ipset save cut into words, as their own readers cut them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

from migrate.errors import InputError
from migrate.model.addresses import Network
from migrate.model.refs import Location

_WORD = re.compile(r'[ \t]*(?:("(?:[^"\\]|\\.)*")(?![^ \t])|([^ \t"]+)(?![^ \t]))', re.DOTALL)
_WHOLE_PLAIN = re.compile(r'(?:[^"\n]+|"[^"]*")*+(?=\n)')
_QUOTES = "a quotation mark is missing or stands inside a word"
_NUMBER = re.compile(r"0x[0-9A-Fa-f]{1,16}|[0-9]{1,20}")
_IPV4 = re.compile(r"([0-9.]{7,15})(?:/([0-9]{1,2}))?")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WHOLE = re.compile(r'(?:[^"\n]+|"(?:[^"\\]|\\.)*")*+(?=\n)', re.DOTALL)
_ASKS_FOR_QUOTES = re.compile(r"[\s\"'\\]")
_LONGEST = 4096
"""Characters of a rule that stands on several lines because a comment holds line breaks; a comment has at most 255."""

Complain = Callable[[int, str], None]


@dataclass(slots=True)
class Complaints:
    """What is wrong with a dump, in the order of its lines."""

    source: str
    found: list[InputError] = field(default_factory=list)

    def add(self, line: int, message: str) -> None:
        """Note what cannot be used and why."""
        self.found.append(InputError(f"{Location(self.source, line)}: {message}"))

    def raise_first(self) -> None:
        """Raise the first complaint if there is one."""
        if self.found:
            raise self.found[0]


def decoded(body: bytes) -> str:
    """The text of a dump. Bytes that are not UTF-8 (a comment cut in the middle of a letter) read as \\xNN."""
    return body.decode("utf-8-sig", errors="backslashreplace")


def numbered_lines(text: str, escapes: bool) -> Iterator[tuple[int, str]]:
    """Each line with its number. One that ends inside quotes goes on: comments may hold line breaks.

    `escapes`: a backslash inside quotes takes the next character as it is (iptables does so, ipset does not).
    """
    form = _WHOLE if escapes else _WHOLE_PLAIN
    position, number = 0, 1
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        if line.count('"') % 2 or (escapes and "\\" in line):
            whole = form.match(text, position, min(len(text), position + _LONGEST))
            end = max(end, whole.end()) if whole else end
            line = text[position:end]
        yield number, line.rstrip("\r")
        number += 1 + line.count("\n")
        position = end + 1


def split_words(line: str, escapes: bool) -> list[str]:
    """The words of a line; quoted ones keep their quotes (see `unquoted`). Raises ValueError when quotes do not fit."""
    if '"' not in line and (not escapes or "\t" not in line):
        return [word for word in line.split(" ") if word]
    if escapes and ("\\" in line or "\t" in line):
        return _split_escaped(line)
    words: list[str] = []
    parts = line.split('"')
    if len(parts) % 2 == 0:
        raise ValueError(_QUOTES)
    for index, part in enumerate(parts):
        if index % 2:
            words.append(f'"{part}"')
            continue
        if (index and part[:1] not in {"", " "}) or (index + 1 < len(parts) and part[-1:] not in {"", " "}):
            raise ValueError(_QUOTES)
        words += [word for word in part.split(" ") if word]
    return words


def _split_escaped(line: str) -> list[str]:
    words: list[str] = []
    end, line = 0, line.rstrip(" \t")
    while end < len(line):
        found = _WORD.match(line, end)
        if found is None:
            raise ValueError(_QUOTES)
        words.append(found[1] or found[2])
        end = found.end()
    return words


def unquoted(word: str) -> str:
    """The text that a word stands for."""
    if word[0] != '"':
        return word
    inner = word[1:-1]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def quoted(text: str) -> str:
    """A word for a text, with quotes where blanks, quotation marks or nothing at all ask for them."""
    if text and not _ASKS_FOR_QUOTES.search(text):
        return text
    return '"' + re.sub(r"([\"'\\])", r"\\\1", text) + '"'


def whole_number(text: str, largest: int = 2**32 - 1) -> int:
    """A number in decimal or, after 0x, hexadecimal digits. Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no number")
    value = int(text, 16 if text.startswith("0x") else 10)
    if value > largest:
        raise ValueError(f"{text} is above {largest}")
    return value


def number_range(text: str, largest: int = 0xFFFF, mark: str = ":") -> tuple[int, int]:
    """A number, or two with `mark` between them, either of which may be left out. Raises ValueError."""
    low, middle, high = text.partition(mark)
    if not middle:
        return whole_number(low, largest), whole_number(low, largest)
    ends = whole_number(low or "0", largest), whole_number(high or str(largest), largest)
    if ends[0] > ends[1]:
        raise ValueError(f"{text} ends before it begins")
    return ends


@lru_cache(maxsize=2**16)
def network(text: str) -> Network:
    """An address or a prefix; the mask may be written as an address. Raises ValueError, also for masks with gaps."""
    plain = _IPV4.fullmatch(text)
    if plain is not None:
        return _ipv4(plain[1], plain[2])
    return ipaddress.ip_network(text, strict=False)


def _ipv4(address: str, width: str | None) -> Network:
    """What ip_network gives, in a third of its time: dumps hold tens of thousands of addresses."""
    try:
        packed = socket.inet_pton(socket.AF_INET, address)
    except OSError as error:
        raise ValueError(f"{address} is no IPv4 address") from error
    return ipaddress.IPv4Network((packed, int(width) if width else 32), strict=False)


@cache
def protocol_numbers() -> dict[str, int]:
    """Protocol numbers by the names that the save programs print."""
    return {
        "ip": 0,
        "all": 0,
        "icmp": 1,
        "igmp": 2,
        "ggp": 3,
        "ipencap": 4,
        "ipip": 4,
        "ipv4": 4,
        "st": 5,
        "tcp": 6,
        "egp": 8,
        "igp": 9,
        "udp": 17,
        "dccp": 33,
        "ipv6": 41,
        "ipv6-route": 43,
        "ipv6-frag": 44,
        "rsvp": 46,
        "gre": 47,
        "esp": 50,
        "ah": 51,
        "ipv6-icmp": 58,
        "icmpv6": 58,
        "ipv6-nonxt": 59,
        "ipv6-opts": 60,
        "eigrp": 88,
        "ospf": 89,
        "ipcomp": 108,
        "pim": 103,
        "vrrp": 112,
        "l2tp": 115,
        "sctp": 132,
        "mobility-header": 135,
        "ipv6-mh": 135,
        "mh": 135,
        "udplite": 136,
    }


def protocol_number(text: str) -> int:
    """The number of a protocol given by name or number. Raises ValueError."""
    number = protocol_numbers().get(text)
    return whole_number(text, 255) if number is None else number
