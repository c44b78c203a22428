"""How Cilium reads a port of toPorts, where that differs from what its text suggests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from migrate.model.raw import FieldPath, Json
from migrate.translate.lint_complaint import FEATURE_OFF, MISREAD, REFUSED, Complaint
from migrate.translate.profiles import Profile

_LONGEST_NAME = 15
_LONGEST_NUMBER = 5
_NAME = re.compile(r"(?:[a-zA-Z0-9]-?)*[a-zA-Z](?:-?[a-zA-Z0-9])*")
_TRANSPORT = ("ANY", "TCP", "UDP", "SCTP")


def protocol_of(port: Mapping[str, Json]) -> str:
    """The protocol in capitals; a missing one is ANY."""
    return str(port.get("protocol") or "ANY").upper()


def port_problems(path: FieldPath, port: Mapping[str, Json], profile: Profile) -> Iterator[Complaint]:
    """What is wrong with one port."""
    protocol, text = protocol_of(port), port.get("port", "")
    if not isinstance(text, str):
        return
    if protocol not in _TRANSPORT:
        if not profile.extended_protocols:
            off = f"{protocol} needs enable-extended-ip-protocols, which {profile.title} has off"
            yield Complaint((*path, "protocol"), off, FEATURE_OFF)
        if text not in ("", "0"):
            yield Complaint((*path, "port"), f"{protocol} has no ports")
        return
    reason = _unreadable(text)
    if reason:
        yield Complaint((*path, "port"), reason, MISREAD if "octal" in reason else REFUSED)
    elif isinstance(end := port.get("endPort"), int) and end:
        yield from _range_problems(path, text, end)


def _unreadable(text: str) -> str:
    """Why a port is not the number or name that it looks like; empty when it is."""
    if not text:
        return "is missing"
    if len(text) <= _LONGEST_NAME and _NAME.fullmatch(text):
        return ""
    if not (text.isascii() and text.isdecimal()):
        return f'"{text}" is neither a number nor a port name of at most {_LONGEST_NAME} characters'
    if len(text) > 1 and text.startswith("0"):
        return f'"{text}" is read as an octal number'
    return f"{text[:20]} is above 65535" if len(text) > _LONGEST_NUMBER or int(text) > 65535 else ""


def _range_problems(path: FieldPath, text: str, end: int) -> Iterator[Complaint]:
    where = (*path, "endPort")
    if not text.isdecimal():
        yield Complaint(where, f'port "{text}" is a name, and names have no ranges', MISREAD)
    elif text == "0":
        yield Complaint(where, "a range from 0 is every port in some releases; begin with 1", MISREAD)
    elif len(text) <= _LONGEST_NUMBER and end < int(text):
        yield Complaint(where, f"{end} is below port {text}, so Cilium ignores it", MISREAD)
