"""Links, addresses, routes and rules of the kernel as pyroute2 reads them, each as one flat value."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pyroute2 import IPRoute

Shown: TypeAlias = dict[str, object]
"""An object as `ip -j` prints it."""
_TRIES = 5
FAMILIES = {int(socket.AF_INET): "inet", int(socket.AF_INET6): "inet6"}


@dataclass(frozen=True, slots=True)
class Message:
    """What the kernel said: the fields of its header (`dst_len`) and its attributes (`RTA_DST`)."""

    parts: Mapping[str, object]

    def number(self, name: str) -> int | None:
        """A number; None where it was not said."""
        value = self.parts.get(name)
        return int(value) if isinstance(value, int) else None

    def text(self, name: str) -> str | None:
        """A text; None where it was not said."""
        value = self.parts.get(name)
        return value if isinstance(value, str) else None

    def inner(self, name: str) -> Message:
        """What stands inside of an attribute; empty where it was not said."""
        return _message(self.parts.get(name))

    def each(self, name: str) -> Iterator[Message]:
        """The parts of an attribute that is a list."""
        value = self.parts.get(name)
        yield from (_message(one) for one in (value if isinstance(value, list) else ()))


def _message(value: object) -> Message:
    """pyroute2's mapping with the attributes, a list of pairs in it, put beside the fields."""
    if not isinstance(value, Mapping):
        return Message({})
    attributes = value.get("attrs") or ()
    return Message({**value, **{pair[0]: pair[1] for pair in attributes}})


class Kernel:
    """A conversation with this network namespace. Raises OSError where the kernel refuses."""

    def __init__(self) -> None:
        from pyroute2 import IPRoute

        self._route: IPRoute = IPRoute()

    def close(self) -> None:
        """End it."""
        self._route.close()

    @cached_property
    def links(self) -> list[Message]:
        """All interfaces by index."""
        return sorted(_read(self._route.get_links), key=lambda link: link.number("index") or 0)

    @property
    def names(self) -> dict[int | None, str]:
        """The names of the interfaces by index."""
        return {link.number("index"): link.text("IFLA_IFNAME") or "" for link in self.links}

    def addresses(self) -> list[Message]:
        """The addresses of all interfaces."""
        return _read(self._route.get_addr)

    def routes(self, family: int) -> list[Message]:
        """The routes of all tables."""
        return _read(partial(self._route.get_routes, family=family))

    def rules(self) -> list[Message]:
        """The rules that choose a table for IPv4."""
        return _read(partial(self._route.get_rules, family=int(socket.AF_INET)))


def _read(ask: Callable[[], Iterable[object]]) -> list[Message]:
    """All answers. The kernel says when a list changed while it was read; it is then asked again."""
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

    for _ in range(_TRIES):
        try:
            return [_message(answer) for answer in ask()]
        except NetlinkDumpInterrupted:
            continue
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error
    raise OSError(errno.EAGAIN, f"the list changed each of {_TRIES} times while it was read")
