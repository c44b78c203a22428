"""What the agents of Cilium say of themselves: `cilium-dbg` with `-o json`, as it is printed in a cilium pod.

Field names: api/v1/models of cilium/cilium (endpoint, endpoint_policy, policy, status_response), and the policyMap of
cilium-dbg/cmd/bpf_policy_get.go, which has no names of its own for JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from migrate.errors import InputError
from migrate.files import read_bytes
from migrate.model.addresses import Address, parse_address

Question: TypeAlias = Literal["endpoints", "maps", "policy", "status"]
COMMANDS: Mapping[Question, tuple[str, ...]] = {
    "endpoints": ("cilium-dbg", "endpoint", "list", "-o", "json"),
    "maps": ("cilium-dbg", "bpf", "policy", "get", "--all", "-o", "json"),
    "policy": ("cilium-dbg", "policy", "get", "-o", "json"),
    "status": ("cilium-dbg", "status", "-o", "json"),
}
"""What an agent is asked."""
_NAME, _NAMESPACE, _KIND = (
    "io.cilium.k8s.policy.name",
    "io.cilium.k8s.policy.namespace",
    "io.cilium.k8s.policy.derived-from",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod as its agent has it. `enforced` is none, ingress, egress or both, with "audit-" before it in audit mode.

    `revision` is of the policies that are in force. `entries` of its policy map is None where it was not told.
    """

    number: int
    namespace: str
    pod: str
    state: str
    enforced: str
    revision: int | None
    addresses: tuple[Address, ...]
    is_reserved: bool
    entries: int | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """A policy that an agent has: the kind of object that it was made from, namespace and name."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class AgentState:
    """What one agent says. None is what it was not asked, or did not answer; `failures` say why."""

    node: str
    endpoints: tuple[Endpoint, ...] | None = None
    policies: frozenset[Imported] | None = None
    revision: int | None = None
    hubble: str = ""
    failures: tuple[str, ...] = ()


class _Pod(msgspec.Struct, rename="kebab"):
    k8s_namespace: str = ""
    k8s_pod_name: str = ""
    pod_name: str = ""


class _Identity(msgspec.Struct):
    labels: list[str] | None = None


class _Addresses(msgspec.Struct):
    ipv4: str = ""
    ipv6: str = ""


class _Networking(msgspec.Struct):
    addressing: list[_Addresses] | None = None


class _Realized(msgspec.Struct, rename="kebab"):
    policy_enabled: str = ""
    policy_revision: int | None = None


class _Policy(msgspec.Struct):
    realized: _Realized | None = None


class _EndpointStatus(msgspec.Struct, rename="kebab"):
    external_identifiers: _Pod | None = None
    identity: _Identity | None = None
    networking: _Networking | None = None
    policy: _Policy | None = None
    state: str = ""


class _Endpoint(msgspec.Struct):
    id: int
    status: _EndpointStatus | None = None


class _Map(msgspec.Struct, rename={"endpoint": "EndpointID", "content": "Content"}):
    endpoint: str
    content: list[msgspec.Raw] | None = None


class _Label(msgspec.Struct):
    key: str = ""
    value: str = ""


class _Rule(msgspec.Struct):
    labels: list[_Label] | None = None


class _Rules(msgspec.Struct):
    policy: str = ""
    revision: int | None = None


class _State(msgspec.Struct):
    state: str = ""


class _Status(msgspec.Struct):
    hubble: _State | None = None


def agent_state(node: str, answers: Mapping[Question, bytes], failures: Sequence[str] = ()) -> AgentState:
    """What an agent printed, read; what cannot be is among the failures."""
    problems = list(failures)
    entries = _entries(answers, problems)
    endpoints = _endpoints(answers, entries, problems)
    policies, revision = _policies(answers, problems)
    return AgentState(node, endpoints, policies, revision, _hubble(answers, problems), tuple(problems))


def read_states(folder: Path) -> tuple[AgentState, ...]:
    """A folder for each node, with endpoints.json, maps.json, policy.json and status.json as far as they are there.

    Raises InputError when there is none.
    """
    nodes = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not nodes:
        raise InputError(f"{folder}: no folder with what an agent said is in it; make one for each node")
    states = []
    for place in nodes:
        answers = {ask: read_bytes(place / f"{ask}.json") for ask in COMMANDS if (place / f"{ask}.json").is_file()}
        missing = [f"{ask}.json is not there" for ask in COMMANDS if ask not in answers]
        states.append(agent_state(place.name, answers, missing))
    return tuple(states)


def _endpoints(
    answers: Mapping[Question, bytes], entries: Mapping[str, int] | None, problems: list[str]
) -> tuple[Endpoint, ...] | None:
    if "endpoints" not in answers:
        return None
    try:
        found = msgspec.json.decode(answers["endpoints"], type=list[_Endpoint])
        return tuple(_endpoint(one, entries) for one in found)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        problems.append(f"its list of endpoints cannot be read: {error}")
        return None


def _endpoint(one: _Endpoint, entries: Mapping[str, int] | None) -> Endpoint:
    status = one.status or _EndpointStatus()
    pod = status.external_identifiers or _Pod()
    namespace, _, name = pod.pod_name.partition("/")
    realized = (status.policy and status.policy.realized) or _Realized()
    addressing = (status.networking and status.networking.addressing) or []
    labels = (status.identity and status.identity.labels) or []
    return Endpoint(
        one.id,
        pod.k8s_namespace or namespace,
        pod.k8s_pod_name or name,
        status.state,
        realized.policy_enabled,
        realized.policy_revision,
        tuple(parse_address(text) for each in addressing for text in (each.ipv4, each.ipv6) if text),
        any(label.startswith("reserved:") for label in labels),
        None if entries is None else entries.get(str(one.id)),
    )


def _entries(answers: Mapping[Question, bytes], problems: list[str]) -> Mapping[str, int] | None:
    """Entries of policy maps by the number of their endpoint; None where they are not known."""
    text = answers.get("maps")
    if text is None:
        return None
    if text.strip() == b"no maps found":
        return {}
    try:
        return {one.endpoint: len(one.content or ()) for one in msgspec.json.decode(text, type=list[_Map])}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(f"its policy maps cannot be read: {error}")
        return None


def _policies(answers: Mapping[Question, bytes], problems: list[str]) -> tuple[frozenset[Imported] | None, int | None]:
    if "policy" not in answers:
        return None, None
    try:
        told = msgspec.json.decode(answers["policy"], type=_Rules)
        rules = msgspec.json.decode(told.policy or "[]", type=list[_Rule] | None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(f"its policies cannot be read: {error}")
        return None, None
    labels = ({label.key: label.value for label in rule.labels or ()} for rule in rules or ())
    found = frozenset(
        Imported(one.get(_KIND, ""), one.get(_NAMESPACE, ""), one[_NAME]) for one in labels if _NAME in one
    )
    return found, told.revision


def _hubble(answers: Mapping[Question, bytes], problems: list[str]) -> str:
    if "status" not in answers:
        return ""
    try:
        told = msgspec.json.decode(answers["status"], type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(f"its status cannot be read: {error}")
        return ""
    return told.hubble.state if told.hubble is not None else ""
