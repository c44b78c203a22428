"""The options of iptables' targets → what the target does."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from types import MappingProxyType

from migrate.model.addresses import Address
from migrate.model.node_state import (
    ConnectionMarkChange,
    ConnectionMarkCopy,
    Ending,
    Log,
    MarkChange,
    MarkCopy,
    Option,
    OtherTarget,
    Reject,
    Target,
    Translate,
    Translation,
    Unread,
    Untracked,
)
from migrate.sources.node.options import GO_ON, LAST, TARGETS
from migrate.sources.node.words import number_range, whole_number

Given = Mapping[str, Option]
_ALL_BITS = 0xFFFFFFFF


def target(name: str, options: tuple[Option | Unread, ...]) -> Target:
    """What `-j name` does. With options that are not understood it stays text, to be flagged."""
    known = tuple(option for option in options if isinstance(option, Option))
    goes_on = True if name in GO_ON else False if name in LAST else None
    given = {option.name: option for option in known}
    if len(given) < len(options) or name not in TARGETS:
        return OtherTarget(name, options)
    builder = _BUILDERS.get(name)
    if builder is None:
        return OtherTarget(name, options, goes_on)
    try:
        return builder(given) or OtherTarget(name, options, goes_on)
    except ValueError:
        return OtherTarget(name, options)


def _ending(ending: Ending) -> Callable[[Given], Target | None]:
    return lambda _given: ending


def _reject(given: Given) -> Target:
    return Reject(given["reject-with"].values[0] if given else None)


def _bits(text: str) -> tuple[int, int]:
    value, slash, mask = text.partition("/")
    return whole_number(value), whole_number(mask) if slash else _ALL_BITS


def _mark_bits(given: Given) -> tuple[int, int]:
    """Value and mask of the change, in the form "without the bits of the mask, xor the value". Raises ValueError."""
    operations = [name for name in ("set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark") if name in given]
    if len(operations) != 1:
        raise ValueError("not one operation")
    name, text = operations[0], given[operations[0]].values[0]
    value, mask = _bits(text)
    if name in {"and-mark", "or-mark", "xor-mark"} and "/" in text:
        raise ValueError("a mask where none can be")
    forms = {
        "set-xmark": (value, mask),
        "set-mark": (value, mask | value),
        "and-mark": (0, ~value & _ALL_BITS),
        "or-mark": (value, value),
        "xor-mark": (value, 0),
    }
    return forms[name]


def _mark(given: Given) -> Target:
    return MarkChange(*_mark_bits(given))


def _connection_mark(given: Given) -> Target:
    ways = [way for way in MarkCopy if f"{way.value}-mark" in given]
    if not ways:
        return ConnectionMarkChange(*_mark_bits(given))
    if len(ways) > 1:
        raise ValueError("both ways")
    packet, connection = (
        whole_number(given[name].values[0]) if name in given else _ALL_BITS for name in ("nfmask", "ctmask")
    )
    if "mask" in given:
        packet = connection = whole_number(given["mask"].values[0])
    return ConnectionMarkCopy(ways[0], packet, connection)


def _translate(kind: Translation, where: str) -> Callable[[Given], Target | None]:
    def build(given: Given) -> Target:
        flags = tuple(name for name in given if name != where)
        if where not in given:
            if where in {"to-destination", "to-source"}:
                raise ValueError("no address")
            return Translate(kind, flags=flags)
        text = given[where].values[0]
        if where == "to-ports":
            return Translate(kind, None, number_range(text, mark="-"), flags)
        return Translate(kind, *_place(text), flags)

    return build


def _place(text: str) -> tuple[tuple[Address, Address] | None, tuple[int, int] | None]:
    """Addresses and ports as in 10.0.0.1-10.0.0.9:80-90, [fd00::1]:80 or :80. Raises ValueError."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise ValueError("text behind the bracket")
        port = rest[1:]
    elif text.count(":") > 1:
        address, port = text, ""
    else:
        address, _, port = text.partition(":")
    low, _, high = address.partition("-")
    addresses = (ipaddress.ip_address(low), ipaddress.ip_address(high or low)) if address else None
    return addresses, number_range(port, mark="-") if port else None


def _connection_tracking(given: Given) -> Target | None:
    return Untracked() if set(given) == {"notrack"} else None


def _log(prefix: str, group: str) -> Callable[[Given], Target | None]:
    def build(given: Given) -> Target:
        text = given[prefix].values[0] if prefix in given else ""
        number = whole_number(given[group].values[0], 0xFFFF) if group in given else None
        rest = tuple(option for name, option in given.items() if name not in {prefix, group})
        if prefix == "nflog-prefix" and number is None:
            number = 0
        return Log(text, number, rest)

    return build


_BUILDERS: Mapping[str, Callable[[Given], Target | None]] = MappingProxyType(
    {
        **{ending.value: _ending(ending) for ending in Ending},
        "REJECT": _reject,
        "MARK": _mark,
        "CONNMARK": _connection_mark,
        "DNAT": _translate(Translation.DNAT, "to-destination"),
        "SNAT": _translate(Translation.SNAT, "to-source"),
        "MASQUERADE": _translate(Translation.MASQUERADE, "to-ports"),
        "REDIRECT": _translate(Translation.REDIRECT, "to-ports"),
        "CT": _connection_tracking,
        "NOTRACK": lambda _given: Untracked(),
        "LOG": _log("log-prefix", "log-group"),
        "NFLOG": _log("nflog-prefix", "nflog-group"),
    }
)
