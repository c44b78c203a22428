"""Flow logs of Calico: Enterprise's and Cloud's, Goldmane's, and what Whisker answers. One JSON object a line.

Each entry is many connections of some seconds or minutes, with the verdict of one side (`reporter`). Fields: Tigera's
"Flow log data types", goldmane/proto/api.proto and whisker-backend/pkg/apis/v1/flows.go of projectcalico/calico. Pods
may be told by the beginning of their name alone ("web-5d8f7-*"), and addresses may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec

from migrate.evidence.numbered import numbered
from migrate.evidence.seen import SeenFlow, SeenPod, Unread, Verdict
from migrate.evidence.values import address, brief, octet, port, rfc3339, since_1970, whole
from migrate.model.flow import ICMP, ICMPV6, SCTP, TCP, UDP

ORIGIN: Final = "calico-flow-logs"

_VERDICTS: dict[str, Verdict] = {"allow": "forwarded", "deny": "dropped"}
_ACTION_NUMBERS = {0: "", 1: "allow", 2: "deny", 3: "pass"}
_DIRECTIONS: dict[str, Literal["egress", "ingress"]] = {
    "src": "egress",
    "1": "egress",
    "dst": "ingress",
    "2": "ingress",
}
_PROTOCOLS = {
    "tcp": TCP,
    "udp": UDP,
    "sctp": SCTP,
    "icmp": ICMP,
    "icmp4": ICMP,
    "icmp6": ICMPV6,
    "icmpv6": ICMPV6,
    "udplite": 136,
    "ipip": 4,
}
_MILLISECONDS_FROM = 10**11
_NO_POD_TYPES = frozenset(("net", "ns", "hep", "2", "3", "4", "hostendpoint", "networkset", "network"))
_ANY_NAMES = frozenset(("", "-", "pub", "pvt"))
_EVENT = b"data:"

_Number: TypeAlias = int | str | None
_Labels: TypeAlias = "str | list[str] | _LabelList | None"


class _LabelList(msgspec.Struct):
    labels: list[str] | str | None = None


class _Hit(msgspec.Struct):
    kind: str | int | None = None
    namespace: str | None = None
    name: str | None = None


class _Policies(msgspec.Struct):
    all_policies: list[str] | None = None
    enforced_policies: list[str | _Hit] | None = None
    enforced: list[_Hit] | None = None


class _Key(msgspec.Struct):
    """Who talked to whom; Goldmane has this apart."""

    source_name: str | None = None
    source_name_aggr: str | None = None
    source_namespace: str | None = None
    source_type: str | int | None = None
    dest_name: str | None = None
    dest_name_aggr: str | None = None
    dest_namespace: str | None = None
    dest_type: str | int | None = None
    dest_port: _Number = None
    proto: str | int | None = None
    protocol: str | None = None
    reporter: str | int | None = None
    action: str | int | None = None
    policies: _Policies | list[str] | None = None


class _Entry(_Key):
    start_time: _Number = None
    end_time: _Number = None
    source_ip: str | None = None
    source_port: _Number = None
    source_labels: _Labels = None
    dest_ip: str | None = None
    dest_labels: _Labels = None
    num_flows: _Number = None
    num_flows_started: _Number = None
    num_connections_started: _Number = None
    host: str | None = None
    Key: _Key | None = None


class _Line(_Entry):
    """An entry alone, or what one of the other fields has."""

    flow: _Entry | None = None
    source: _Entry | None = msgspec.field(name="_source", default=None)
    items: list[_Entry] | None = None


_DECODE = msgspec.json.Decoder(_Line).decode


def read(lines: Iterable[bytes], name: str) -> Iterator[SeenFlow | Unread]:
    """The entries of a file, in its order."""
    for line in numbered(lines, name):
        if isinstance(line, Unread):
            yield line
            continue
        text = line.text.removeprefix(_EVENT)
        try:
            found = _DECODE(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Unread(line.at_line, "unreadable", "not a flow log of Calico", brief(str(error)))
            continue
        except RecursionError:
            yield Unread(line.at_line, "unreadable", "not a flow log of Calico", "nested too deep")
            continue
        for entry in [found.flow or found.source or found] if found.items is None else found.items:
            yield _seen(line.at_line, entry)


def _seen(at_line: str, entry: _Entry) -> SeenFlow | Unread:
    key = entry.Key or entry
    if key.reporter is None and key.action is None:
        return Unread(at_line, "unreadable", "not a flow log of Calico", "an object without reporter and action")
    try:
        return _flow(at_line, entry, key)
    except ValueError as error:
        return Unread(at_line, "unreadable", "a flow with a value that cannot be", str(error))


def _flow(at_line: str, entry: _Entry, key: _Key) -> SeenFlow | Unread:
    ends = address(_given(entry.source_ip)), address(_given(entry.dest_ip))
    pods = (
        _pod(key.source_type, key.source_namespace, key.source_name, key.source_name_aggr, entry.source_labels),
        _pod(key.dest_type, key.dest_namespace, key.dest_name, key.dest_name_aggr, entry.dest_labels),
    )
    for end, pod in zip(ends, pods, strict=True):
        if end is None and pod is None:
            return Unread(at_line, "no_flow", "neither an address nor a pod is told of one end")
    action = _action(key.action)
    return SeenFlow(
        origin=ORIGIN,
        at_line=at_line,
        at=_time(entry.start_time),
        verdict=_VERDICTS.get(action, "unknown"),
        node=_given(entry.host),
        source=ends[0],
        destination=ends[1],
        protocol=_protocol(key.proto if key.proto is not None else key.protocol),
        port=port(whole(key.dest_port or 0)),
        source_port=port(whole(entry.source_port or 0)),
        direction=_DIRECTIONS.get(str(key.reporter or "").lower(), ""),
        is_reply=False,
        source_pod=pods[0],
        destination_pod=pods[1],
        dropped_by="policy" if action == "deny" else "",
        policies=tuple(_policies(key.policies)),
        times=_times(entry),
    )


def _given(text: str | None) -> str:
    return "" if text is None or text == "-" else text


def _action(told: str | int | None) -> str:
    if isinstance(told, int):
        if told not in _ACTION_NUMBERS:
            raise ValueError(f"no action of Calico: {told}")
        return _ACTION_NUMBERS[told]
    action = (told or "").lower()
    if action not in ("", "allow", "deny", "pass", "actionunspecified"):
        raise ValueError(f"no action of Calico: {brief(told or '')}")
    return action


def _protocol(told: str | int | None) -> int:
    text = str(told if told is not None else "").lower()
    if text in _PROTOCOLS:
        return _PROTOCOLS[text]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"no protocol: {brief(text)}")
    return octet(whole(text))


def _time(told: _Number) -> int:
    """Seconds or milliseconds since 1970, or RFC 3339."""
    if told is None:
        return 0
    if isinstance(told, str) and not told.isdigit():
        return rfc3339(told)
    number = whole(told)
    return since_1970(number // 1000, number % 1000 * 1_000_000) if number >= _MILLISECONDS_FROM else since_1970(number)


def _pod(
    kind: str | int | None, namespace: str | None, name: str | None, beginning: str | None, labels: _Labels
) -> SeenPod | None:
    """None of what is no pod. A name with a star at its end is that of many."""
    space, told = _given(namespace), _given(name) or _given(beginning)
    if str(kind or "").lower() in _NO_POD_TYPES or not space or told in _ANY_NAMES:
        return None
    if told.endswith("*"):
        return SeenPod(space, "", _labels_of(labels), told)
    return SeenPod(space, told, _labels_of(labels))


def _labels_of(told: _Labels) -> tuple[tuple[str, str], ...]:
    if isinstance(told, _LabelList):
        told = told.labels
    texts = told.split(" | ") if isinstance(told, str) else told or ()
    return _pairs(tuple(texts))


@lru_cache(1 << 12)
def _pairs(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = (text.strip().partition("=") for text in texts if "=" in text)
    return tuple(sorted((key, value) for key, _, value in pairs))


def _policies(told: _Policies | list[str] | None) -> Iterator[str]:
    """Enterprise: "0|tier|namespace/tier.name|allow|0"."""
    if told is None:
        return
    listed = told if isinstance(told, list) else [*(told.all_policies or ()), *(told.enforced_policies or ())]
    hits = [] if isinstance(told, list) else list(told.enforced or ())
    for one in listed:
        if isinstance(one, _Hit):
            hits.append(one)
            continue
        parts = one.split("|")
        namespace, slash, name = (parts[2] if len(parts) > 2 else one).rpartition("/")
        yield f"/{namespace if slash else ''}/{name}"
    for hit in hits:
        yield f"{hit.kind or ''}/{hit.namespace or ''}/{hit.name or ''}"


def _times(entry: _Entry) -> int:
    """Connections that began; of an entry that has only older ones, those."""
    for told in (entry.num_flows_started, entry.num_connections_started, entry.num_flows):
        if told is not None and whole(told):
            return whole(told)
    return 1
