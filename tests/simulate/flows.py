"""Flows with everything that packets are told apart by: ICMP types and codes, source ports, numbers beside ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tests.differential.chance import Chance
from tests.differential.clusters import Families
from tests.differential.flows import draw_flows
from tests.reference.cases import Case, Directory, End, Flow, Party

_VARIATIONS = 2
_PLAIN = {"TCP": 6, "UDP": 17, "SCTP": 132}
_ICMP_TYPES = (0, 1, 3, 8, 13, 40, 128, 129, 135, 254, 255)
_SOURCE_PORTS = (0, 1023, 1024, 40000, 65535)
_NUMBERS = {"0120": 80, "0100": 64, "0x50": 80}
"""Ports of which the number is not what the text says at first sight."""


def draw(chance: Chance, case: Case, families: Families, *, calico: bool = False) -> tuple[Flow, ...]:
    """Flows between all pairs of ends; `calico`: with ICMP codes, source ports and UDPLite too."""
    directory = Directory(case)
    numbers = sorted(set(_near(case)))
    icmp = _Icmp(_asked(case, "type") or _ICMP_TYPES, _asked(case, "code") or (0,))
    drawn = draw_flows(chance, case, families)
    varied = (_vary(chance, flow, directory, numbers, icmp, calico) for flow in drawn for _ in range(_VARIATIONS))
    return tuple(dict.fromkeys(varied))


@dataclass(frozen=True, slots=True)
class _Icmp:
    """The types and codes that policies name."""

    types: tuple[int, ...]
    codes: tuple[int, ...]


def _asked(case: Case, key: str) -> tuple[int, ...]:
    return tuple(sorted({value for value in _values(case.policies, (key,)) if isinstance(value, int)}))


def _vary(chance: Chance, flow: Flow, directory: Directory, numbers: list[int], icmp: _Icmp, calico: bool) -> Flow:
    source, destination = directory.parties(flow)
    kind = chance.pick(("as it is", "as it is", "port", "port", "ICMP"))
    if kind == "ICMP" and flow.src.ip + flow.dst.ip != "":
        protocol = "ICMP" if source.address.version == 4 else "ICMPv6"
        types = icmp.types if chance.happens(0.6) else _ICMP_TYPES
        flow = msgspec.structs.replace(flow, protocol=protocol, port=chance.pick(types))
    elif kind == "port" and flow.protocol in _PLAIN:
        protocols = (*_PLAIN, "UDPLite") if calico else tuple(_PLAIN)
        port = chance.pick(_targets(destination, source) or numbers) if chance.happens(0.3) else chance.pick(numbers)
        flow = msgspec.structs.replace(flow, protocol=chance.pick(protocols), port=port)
    if not calico:
        return flow
    if flow.protocol in ("ICMP", "ICMPv6"):
        return msgspec.structs.replace(flow, icmp_code=chance.pick((*icmp.codes, 0, 1, 255)))
    return msgspec.structs.replace(flow, src_port=chance.pick(_SOURCE_PORTS))


def _targets(destination: Party, source: Party) -> list[int]:
    """Numbers of the named ports at both ends."""
    return [port.port for party in (destination, source) if party.pod for port in party.pod.named_ports]


def _near(case: Case) -> Iterator[int]:
    """Numbers on both sides of every port that policies name, and of every named port."""
    for text in _values(case.policies, ("port", "endPort", "ports", "notPorts")):
        for part in str(text).split(":"):
            number = _NUMBERS.get(part, int(part) if part.isdigit() else None)
            if number is not None:
                yield from (near for near in (number - 1, number, number + 1) if 0 <= near <= 65535)
    yield from (port.port for pod in case.pods for port in pod.named_ports)
    yield from (0, 80, 65535)


def _values(value: object, keys: tuple[str, ...], key: str = "") -> Iterator[object]:
    """Every plain value that stands in one of these fields."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, keys, name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item, keys, key)
    elif key in keys:
        yield value


def by_address(case: Case) -> Case:
    """The same flows with the address that each node uses, so that no reader has to choose one."""
    directory = Directory(case)
    flows: list[Flow] = []
    for flow in case.flows:
        source, destination = directory.parties(flow)
        flows.append(msgspec.structs.replace(flow, src=_plain(flow.src, source), dst=_plain(flow.dst, destination)))
    return msgspec.structs.replace(case, flows=tuple(dict.fromkeys(flows)))


def _plain(end: End, party: Party) -> End:
    return end if party.pod is not None else End(ip=str(party.address))
