"""Endpoints and networks as Get-HnsEndpoint, Get-HnsNetwork and HCN print them → typed values."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from migrate.errors import InputError
from migrate.model.addresses import Address
from migrate.model.hns import Acl, Endpoint, HnsNetwork, HnsState, Place, Schema, SetId, SetPolicy
from migrate.model.intervals import IntervalSet
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.sources.fields import Fields, Reading
from migrate.sources.node.words import network, number_range, whole_number

_ANY_PROTOCOL = 256
_REMOTE = 1
"""The bit of an endpoint's flags that says that it is of another node (EndpointFlags of microsoft/hcsshim)."""
_DEEPER = "the file was written with too small a -Depth; take it again with ConvertTo-Json -Depth 9"
_ACL_FIELDS = frozenset(
    {"Type", "Id", "Action", "Direction", "Priority", "Protocol", "Protocols", "RuleType", "Scope"}
    | {f"{end}{what}" for end in ("Local", "Remote") for what in ("Address", "Addresses", "Port", "Ports")}
)
_CUT_OFF = ("@{", "System.Object[]", "System.Collections.", "System.Management.Automation.")


def read_objects(objects: tuple[RawObject, ...], source: str) -> tuple[HnsState, tuple[InputError, ...]]:
    """What the objects of one dump say, and what of them cannot be used. Unknown fields carry no meaning here."""
    endpoints: list[Endpoint] = []
    networks: list[HnsNetwork] = []
    found: list[InputError] = []
    schemas: set[Schema] = set()
    left_out = False
    for raw in objects:
        cut = next(_cut_off(raw.data, ()), None)
        if cut is not None:
            found.append(InputError(f"{raw.at(*cut) or source}: {_DEEPER}"))
            left_out = True
            continue
        fields = Reading(raw).root()
        if not _is_endpoint(raw.data) and not _is_network(raw.data):
            found.append(InputError(f"{raw.at() or source}: neither an endpoint nor a network of HNS"))
            left_out = True
            continue
        if _is_endpoint(raw.data):
            endpoints.append(_endpoint(fields))
        else:
            networks.append(_network(fields))
        schemas.add(_schema(raw.data))
        found += [InputError(f"{p.at or source}: {p.field} {p.message}") for p in fields.reading.problems]
    if len(schemas) > 1:
        found.append(InputError(f"{source}: HNS v1 and HCN v2 objects in one file; write each into a file of its own"))
    schema = min(schemas, key=lambda s: s.value, default=None)
    return HnsState(source, schema, tuple(endpoints), tuple(networks), not left_out), tuple(found)


def _cut_off(value: Json, path: FieldPath) -> Iterator[FieldPath]:
    """Places where PowerShell put an object's text instead of the object."""
    if isinstance(value, str) and value.startswith(_CUT_OFF):
        yield path
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _cut_off(entry, (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _cut_off(entry, (*path, index))


def _is_endpoint(data: dict[str, Json]) -> bool:
    return any(key in data for key in ("IpConfigurations", "HostComputeNetwork", "VirtualNetwork", "IPAddress"))


def _is_network(data: dict[str, Json]) -> bool:
    return "Policies" in data and "Name" in data and ("Type" in data or "Ipams" in data)


def _schema(data: dict[str, Json]) -> Schema:
    old = ("VirtualNetwork", "IPAddress", "ActivityId", "Subnets", "ManagementIP")
    return Schema.V1 if any(key in data for key in old) else Schema.V2


def _line(fields: Fields) -> int | None:
    at = fields.reading.raw.at(*fields.path)
    return at.line if at else None


def _endpoint(fields: Fields) -> Endpoint:
    acls: list[Acl] = []
    others: list[str] = []
    before = len(fields.reading.problems)
    for kind, policy, line in _policies(fields):
        if kind == "ACL":
            acl = _acl(policy, line)
            if acl is not None:
                acls.append(acl)
        else:
            others.append(kind)
    addresses = tuple(_endpoint_addresses(fields))
    return Endpoint(
        line=_line(fields),
        id=fields.text("ID"),
        name=fields.text("Name"),
        network=fields.text("HostComputeNetwork") or fields.text("VirtualNetwork"),
        addresses=addresses,
        acls=tuple(acls),
        state=fields.integer("State"),
        other_policies=tuple(others),
        unread=_problems_since(fields, before),
        network_name=fields.text("VirtualNetworkName"),
        remote=fields.raw("IsRemoteEndpoint") is True or bool((fields.integer("Flags") or 0) & _REMOTE),
    )


def _problems_since(fields: Fields, before: int) -> tuple[str, ...]:
    return tuple(problem.field for problem in fields.reading.problems[before:])


def _endpoint_addresses(fields: Fields) -> Iterator[Address]:
    given = [(fields, name) for name in ("IPAddress", "IPv6Address")]
    given += [(one, "IpAddress") for one in fields.children("IpConfigurations") or ()]
    for one, name in given:
        text = one.text(name)
        if not text:
            continue
        try:
            yield ipaddress.ip_address(text)
        except ValueError:
            one.invalid("is no IP address", name)


def _network(fields: Fields) -> HnsNetwork:
    sets: list[SetPolicy] = []
    others: list[str] = []
    before = len(fields.reading.problems)
    for kind, policy, line in _policies(fields):
        if kind == "SetPolicy":
            sets.append(_set_policy(policy, line))
        else:
            others.append(kind)
    return HnsNetwork(
        line=_line(fields),
        id=fields.text("ID"),
        name=fields.text("Name"),
        kind=fields.text("Type"),
        sets=tuple(sets),
        other_policies=tuple(others),
        unread=_problems_since(fields, before),
    )


def _policies(fields: Fields) -> Iterator[tuple[str, Fields, int | None]]:
    """Type, settings and line of each policy. Of one policy PowerShell may print the object instead of a list."""
    only = fields.child("Policies") if isinstance(fields.raw("Policies"), dict) else None
    policies = (only,) if only else fields.children("Policies") or ()
    for policy in policies:
        kind = policy.text("Type")
        settings = policy.child("Settings") if policy.has("Settings") else policy
        if not kind:
            policy.invalid("has no Type")
        elif settings is not None:
            yield kind, settings, _line(policy)


def _acl(fields: Fields, line: int | None) -> Acl | None:
    """The rule; None, with a problem noted, when it does not say which way it goes or what it does."""
    direction, action = fields.text("Direction"), fields.text("Action")
    if direction not in {"In", "Out"} or action not in {"Allow", "Block"}:
        fields.invalid("is an ACL without Direction In or Out and Action Allow or Block")
        return None
    unread = [key for key in fields.keys() if key not in _ACL_FIELDS and fields.raw(key)]  # noqa: SIM118
    before = len(fields.reading.problems)
    kind = fields.text("RuleType", "Switch")
    if kind not in {"Switch", "Host"}:
        unread.append(f"RuleType {kind}")
    acl = Acl(
        line=line,
        id=fields.text("Id"),
        inbound=direction == "In",
        allows=action == "Allow",
        priority=fields.integer("Priority") or 0,
        host=kind == "Host",
        protocols=_protocols(fields, unread),
        local_addresses=_places(fields, "LocalAddresses", "LocalAddress"),
        remote_addresses=_places(fields, "RemoteAddresses", "RemoteAddress"),
        local_ports=_ports(fields, "LocalPorts", "LocalPort", unread),
        remote_ports=_ports(fields, "RemotePorts", "RemotePort", unread),
    )
    return replace(acl, unread=(*unread, *_problems_since(fields, before)))


def _protocols(fields: Fields, unread: list[str]) -> frozenset[int] | None:
    """The numbers in Protocols; empty and 256 are any."""
    given = [str(value) for value in (fields.scalar("Protocols"), fields.scalar("Protocol")) if value is not None]
    numbers: set[int] = set()
    strange: list[str] = []
    for word in ",".join(given).split(","):
        try:
            if word.strip():
                numbers.add(whole_number(word.strip(), _ANY_PROTOCOL))
        except ValueError:
            strange.append(f"protocol {word.strip()}")
    unread += strange
    if not strange and (not numbers or _ANY_PROTOCOL in numbers):
        return None
    return frozenset(numbers)


def _places(fields: Fields, *names: str) -> tuple[Place, ...] | None:
    words = ",".join(fields.text(name) for name in names).split(",")
    return tuple(_place(word.strip()) for word in words if word.strip()) or None


def _place(word: str) -> Place:
    """A network, or else the id of a set: ids have no fixed form."""
    try:
        return network(word)
    except ValueError:
        return SetId(word)


def _ports(fields: Fields, many: str, one: str, unread: list[str]) -> IntervalSet | None:
    """Ports and ranges (80-90); the older single field holds a number, 0 for any."""
    given = [str(value) for value in (fields.scalar(many), fields.scalar(one)) if value not in {None, 0, ""}]
    ports, strange = _port_list(",".join(given))
    unread += [f"{many} {word}" for word in strange]
    return ports


@lru_cache(maxsize=2**8)
def _port_list(text: str) -> tuple[IntervalSet | None, tuple[str, ...]]:
    """The ports of a list, None for no list, and words that are none. Endpoints repeat lists of thousands of ports."""
    ranges: list[tuple[int, int]] = []
    strange: list[str] = []
    for word in filter(None, map(str.strip, text.split(","))):
        try:
            ranges.append(number_range(word, mark="-"))
        except ValueError:
            strange.append(word)
    return (IntervalSet.of(ranges) if ranges or strange else None), tuple(strange)


def _set_policy(fields: Fields, line: int | None) -> SetPolicy:
    before = len(fields.reading.problems)
    kind = fields.text("PolicyType") or fields.text("SetType")
    unread = () if kind in {"IPSET", "NESTEDIPSET"} else (f"PolicyType {kind}",)
    members = tuple(_place(word.strip()) for word in fields.text("Values").split(",") if word.strip())
    found = SetPolicy(line, fields.text("Id"), fields.text("Name"), kind == "NESTEDIPSET", members)
    return replace(found, unread=(*unread, *_problems_since(fields, before)))
