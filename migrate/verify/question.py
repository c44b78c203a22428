"""What people type to ask about a flow: names of ends and of ports, before they are looked up in a cluster.

An end is NAMESPACE/NAME, KIND/NAMESPACE/NAME, svc/NAMESPACE/NAME, node/NAME or an address; a port is TCP/443, 443,
UDP/dns, http, ICMP, ICMP/3/4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from migrate.errors import InputError
from migrate.model.addresses import Address, parse_address
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, TCP
from migrate.sources.kubernetes import is_port_name

SERVICE, NODE, POD = "svc", "node", "pod"
_KINDS = {
    POD: ("po", "pod", "pods"),
    SERVICE: ("svc", "service", "services"),
    NODE: ("no", "node", "nodes"),
    "Deployment": ("deploy", "deployment", "deployments"),
    "StatefulSet": ("sts", "statefulset", "statefulsets"),
    "DaemonSet": ("ds", "daemonset", "daemonsets"),
    "ReplicaSet": ("rs", "replicaset", "replicasets"),
    "Job": ("job", "jobs"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
SHORT = {kind: words[0] for kind, words in _KINDS.items()} | {POD: POD, NODE: NODE}
"""How a kind is written in front of a name."""

_NAMES = "NAMESPACE/NAME, deploy/NAMESPACE/NAME, svc/NAMESPACE/NAME or node/NAME"
_ENDS = f"give {_NAMES.replace(' or ', ', ')} or an address"
_PORTS = "give TCP/443, 443, UDP/53, a port's name, ICMP/8 or ICMP"
_PROTOCOL_OF = {name.lower(): number for name, number in PROTOCOL_NUMBERS.items()}
_ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")


def is_kind(word: str) -> bool:
    """Whether a word stands in front of a name to say its kind."""
    return word.lower() in _KIND_OF


@dataclass(frozen=True, slots=True)
class Name:
    """What one end of a question was called. `kind` is empty for a bare NAMESPACE/NAME, `namespace` for nodes."""

    text: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Port:
    """What was asked about: a number (for ICMP the type) or a port's name; `protocol` None is not said."""

    text: str
    protocol: int | None
    number: int | None = None
    name: str = ""
    code: int = 0

    @property
    def is_icmp(self) -> bool:
        """Whether there are no ports in it."""
        return self.protocol in _ECHO_REQUEST


def parse_end(text: str) -> Name | Address:
    """The name of an end, or an address. Raises InputError when it is neither."""
    address = _address(text)
    if address is not None:
        return address
    first, *rest = text.split("/")
    kind = _KIND_OF.get(first.lower(), "")
    if first.isdecimal() or not all(_NAME.fullmatch(part) for part in (first, *rest)):
        raise InputError(f"{text!r}: no end of a flow; {_ENDS}")
    if kind == NODE and len(rest) == 1:
        return Name(text, NODE, "", rest[0])
    if len(rest) == 1:
        return Name(text, "", first, rest[0])
    if len(rest) == 2 and kind and kind != NODE:
        return Name(text, kind, *rest)
    if not rest and "." in text.strip("."):
        raise InputError(f"{text}: policies see addresses, not host names; give one of its addresses, or {_NAMES}")
    if not rest:
        raise InputError(f"{text}: a name without its namespace; write NAMESPACE/{text}, or node/{text} for a node")
    if len(rest) == 2 and not kind:
        raise InputError(f"{text}: {first} is no kind that has flows; write one of {', '.join(sorted(SHORT.values()))}")
    raise InputError(f"{text}: no end of a flow; {_ENDS}")


def _address(text: str) -> Address | None:
    try:
        return parse_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    head, slash, length = text.rpartition("/")
    if slash and length.isdecimal() and _address(head) is not None:
        raise InputError(f"{text}: a block is many addresses; give one of them, such as {head}")
    return None


def parse_port(text: str) -> Port:
    """The port of a question. Raises InputError when it is none."""
    first, *rest = text.split("/")
    if len(rest) == 1 and rest[0].lower() in _PROTOCOL_OF and first.lower() not in _PROTOCOL_OF:
        first, rest = rest[0], [first]
    protocol = _PROTOCOL_OF.get(first.lower())
    if protocol in _ECHO_REQUEST:
        return _icmp(text, protocol, rest)
    if protocol is not None and len(rest) == 1:
        return _port(text, protocol, rest[0])
    if protocol is not None and not rest:
        raise InputError(f"{text}: a protocol without its port; write {text}/443 or so")
    if protocol is None and not rest and first:
        return _port(text, TCP if first.isdecimal() else None, first)
    raise InputError(f"{text!r}: no port; {_PORTS}")


_DIGITS = 5
"""The most digits of a number here."""
_SHOWN = 40
"""So much of a wrong port is shown."""


def _port(text: str, protocol: int | None, port: str) -> Port:
    if port.lstrip("-").isdecimal():
        number = int(port) if len(port) <= _DIGITS else 0
        if not 1 <= number <= 65535:
            raise InputError(f"{text[:_SHOWN]}: a port is a number from 1 to 65535")
        return Port(text, protocol, number)
    if not is_port_name(port):
        raise InputError(f"{text!r}: no port; {_PORTS}")
    return Port(text, protocol, name=port)


def _icmp(text: str, protocol: int, rest: list[str]) -> Port:
    """Without a type the echo request, which is what ping sends."""
    numbers = [int(part) for part in rest if part.isdecimal() and len(part) <= _DIGITS and int(part) <= 255]
    if len(numbers) < len(rest) or len(rest) > 2:
        raise InputError(f"{text}: ICMP has a type and a code from 0 to 255; write {text.split('/')[0]}/8 or so")
    kind, code = [*numbers, 0, 0][:2]
    return Port(text, protocol, kind if rest else _ECHO_REQUEST[protocol], code=code)
