"""FelixConfiguration: the settings of Calico's agent that change verdicts.

Defaults after felix/config/config_params.go; the host action is that of Calico's manifests and operator, which set
Accept where Felix itself would take Drop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from migrate.model.addresses import Network, parse_network
from migrate.model.flow import PROTOCOL_NUMBERS, SCTP, TCP, UDP
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.sources.calico import GROUPS
from migrate.sources.fields import Fields, Problem, Reading

_HOST_ACTIONS = ("Accept", "Drop", "Return")
_KIND = "FelixConfiguration"
_OF_ONE_NODE = (
    *("defaultEndpointToHostAction", "failsafeInboundHostPorts", "failsafeOutboundHostPorts"),
    *("allowVXLANPacketsFromWorkloads", "vxlanPort", "chainInsertMode", "iptablesFilterAllowAction"),
)


@dataclass(frozen=True, slots=True)
class FailsafePort:
    """A port that HostEndpoints leave open; `net` None is everyone at the other end."""

    protocol: int
    port: int
    net: Network | None = None


_SHARED = tuple(FailsafePort(TCP, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667))
_INBOUND = (FailsafePort(TCP, 22), FailsafePort(UDP, 68), *_SHARED)
_OUTBOUND = (FailsafePort(UDP, 53), FailsafePort(UDP, 67), *_SHARED)


@dataclass(frozen=True, slots=True)
class FelixSettings:
    """`endpoint_to_host` is Accept, Drop or Return; `ref` is None when no object was given.

    `problems` are settings that cannot be read, or that let something else than Calico decide.
    """

    ref: ObjectRef | None = None
    endpoint_to_host: str = "Accept"
    drops_vxlan: bool = True
    vxlan_port: int = 4789
    inbound: tuple[FailsafePort, ...] = _INBOUND
    outbound: tuple[FailsafePort, ...] = _OUTBOUND
    bpf: bool = False
    problems: tuple[tuple[ObjectRef, Problem], ...] = ()


def read_felix(objects: Iterable[RawObject]) -> FelixSettings:
    """The settings of FelixConfiguration "default"; the defaults when it is not among the objects."""
    found = FelixSettings()
    others: list[tuple[ObjectRef, Problem]] = []
    for raw in objects:
        if raw.ref.kind != _KIND or raw.ref.group not in GROUPS:
            continue
        if raw.ref.name == "default":
            found = _read(raw)
        elif raw.ref.name.startswith("node."):
            others += _of_one_node(raw)
    return replace(found, problems=(*found.problems, *others))


def _read(raw: RawObject) -> FelixSettings:
    reading = Reading(raw)
    spec = reading.root().child("spec") or Fields(reading, {}, ("spec",))
    settings = FelixSettings(
        ref=raw.ref,
        endpoint_to_host=_host_action(spec),
        drops_vxlan=not spec.flag("allowVXLANPacketsFromWorkloads"),
        vxlan_port=_port(spec, "vxlanPort") or FelixSettings().vxlan_port,
        inbound=_failsafe(spec, "failsafeInboundHostPorts", _INBOUND),
        outbound=_failsafe(spec, "failsafeOutboundHostPorts", _OUTBOUND),
        bpf=spec.flag("bpfEnabled"),
    )
    if spec.text("chainInsertMode").lower() == "append":
        spec.invalid("the node's own rules go before Calico's, and are not known", "chainInsertMode")
    if spec.text("iptablesFilterAllowAction").lower() == "return":
        spec.invalid("the node's own rules go on where Calico allows, and are not known", "iptablesFilterAllowAction")
    return replace(settings, problems=tuple((raw.ref, problem) for problem in reading.problems))


def _of_one_node(raw: RawObject) -> list[tuple[ObjectRef, Problem]]:
    reading = Reading(raw)
    spec = reading.root().child("spec") or Fields(reading, {}, ("spec",))
    for key in _OF_ONE_NODE:
        if spec.has(key):
            spec.invalid("settings of a single node are not modelled", key)
    return [(raw.ref, problem) for problem in reading.problems]


def _host_action(spec: Fields) -> str:
    action = spec.text("defaultEndpointToHostAction", "Accept").capitalize()
    if action not in _HOST_ACTIONS:
        spec.invalid(f'"{action}" is not one of {", ".join(_HOST_ACTIONS)}', "defaultEndpointToHostAction")
    return action


def _failsafe(spec: Fields, key: str, default: tuple[FailsafePort, ...]) -> tuple[FailsafePort, ...]:
    children = spec.children(key)
    if children is None:
        return default
    return tuple(port for fields in children if (port := _failsafe_port(fields)) is not None)


def _failsafe_port(fields: Fields) -> FailsafePort | None:
    name, number, text = fields.text("protocol", "tcp"), _port(fields, "port"), fields.text("net")
    protocol = {name.lower(): number for name, number in PROTOCOL_NUMBERS.items()}.get(name.lower())
    fields.close()
    if protocol not in (TCP, UDP, SCTP):
        fields.invalid(f'"{name}" is not tcp, udp or sctp', "protocol")
        return None
    if number is None:
        fields.invalid("it must be given", "port")
        return None
    try:
        return FailsafePort(protocol, number, parse_network(text) if text else None)
    except ValueError:
        fields.invalid(f'"{text}" is not a CIDR such as 10.0.0.0/8', "net")
        return None


def _port(fields: Fields, key: str) -> int | None:
    number = fields.integer(key)
    if number is not None and not 0 <= number <= 65535:
        fields.invalid(f"{number} is not a port", key)
        return None
    return number
