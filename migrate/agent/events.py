"""Events on the agent's own pod when something goes wrong, so that `kubectl describe pod` and monitoring show it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeAlias
from urllib.parse import quote

import msgspec

from migrate.audit.agent_connection import AgentConnection
from migrate.model.agent_documents import AgentSettings, AgentStatus
from migrate.scan.connection import RequestError

_AGAIN_SECONDS = 600.0
"""The same reason is told again at most this often, with all that came meanwhile."""
_MOST_IN_AN_HOUR = 20
_HOUR = 3600.0
_LONGEST_NOTE = 1000
"""Characters; the API takes 1,024 bytes, so that ASCII is sure to fit."""
_NAMES_NOT_HEARD = "-not-told"
_ROOM = ("disk-full", "disk-coarse", "store-full", "store-coarse", "store-locked", "facts-lost")
_Clock: TypeAlias = Callable[[], float]


CONTROLLER = "cilium-migrate.io/audit-agent"


class _Meta(msgspec.Struct, frozen=True):
    uid: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Pods(msgspec.Struct, frozen=True):
    items: tuple[_Pod, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something to tell: `reason` is one word for machines, `note` a sentence for people."""

    reason: str
    note: str


class EventWriter:
    """Tells of troubles as they begin or grow. What cannot be told is left: an agent never fails for it."""

    def __init__(
        self, connection: AgentConnection, settings: AgentSettings, pod: str, clock: _Clock = time.monotonic
    ) -> None:
        self._connection, self._settings, self._pod, self._clock = connection, settings, pod, clock
        self._told_at: dict[str, float] = {}
        self._waiting: dict[str, Trouble] = {}
        self._sent: deque[float] = deque()
        self._uid: str | None = None

    def report(self, before: AgentStatus | None, now: AgentStatus) -> int:
        """Tell what has gone wrong since the status before. Returns how many events were written.

        What has to wait, because the same was told just before or too much was, is told by a later call.
        """
        for trouble in troubles(before, now):
            self._waiting[trouble.reason] = trouble
        due = [trouble for trouble in self._waiting.values() if self._is_due(trouble.reason)]
        written = 0
        for trouble in due:
            if not self._may_send():
                break
            del self._waiting[trouble.reason]
            self._told_at[trouble.reason] = self._clock()
            self._sent.append(self._clock())
            written += self._write(trouble, now.node)
        return written

    def _is_due(self, reason: str) -> bool:
        told = self._told_at.get(reason)
        return told is None or self._clock() - told >= _AGAIN_SECONDS

    def _may_send(self) -> bool:
        while self._sent and self._clock() - self._sent[0] >= _HOUR:
            self._sent.popleft()
        return len(self._sent) < _MOST_IN_AN_HOUR

    def _write(self, trouble: Trouble, node: str) -> int:
        path = f"/api/v1/namespaces/{quote(self._settings.namespace, safe='')}/events"
        try:
            self._connection.create(path, msgspec.json.encode(self._event(trouble, node, self._pod_uid())))
        except RequestError:
            return 0
        return 1

    def _pod_uid(self) -> str:
        """Without it `kubectl describe pod` would not show an event. Agents may list pods."""
        if self._uid is None:
            selector = quote(f"metadata.name={self._pod}", safe="")
            path = f"/api/v1/namespaces/{quote(self._settings.namespace, safe='')}/pods?fieldSelector={selector}"
            try:
                found = msgspec.json.decode(self._connection.read(path), type=_Pods)
            except msgspec.DecodeError:
                return ""
            self._uid = next((pod.metadata.uid for pod in found.items), "")
        return self._uid

    def _event(self, trouble: Trouble, node: str, uid: str) -> dict[str, object]:
        """The core API's Event, which agents may create."""
        now = time.time_ns()
        moment = datetime.fromtimestamp(now / 1e9, UTC)
        seconds = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"{self._pod}.{sha256(f'{trouble.reason} {now}'.encode()).hexdigest()[:16]}"
        namespace = self._settings.namespace
        pod = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": self._pod, "uid": uid}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": pod,
            "reason": trouble.reason,
            "message": _short(f"node {node}: {trouble.note}"),
            "type": "Warning",
            "source": {"component": CONTROLLER, "host": node},
            "firstTimestamp": seconds,
            "lastTimestamp": seconds,
            "count": 1,
            "eventTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingComponent": CONTROLLER,
            "reportingInstance": self._pod[:128],
            "action": "Record",
        }


def troubles(before: AgentStatus | None, now: AgentStatus) -> Iterator[Trouble]:
    """What is wrong now and was not before, or is worse than before. Without a status before, all that is wrong."""
    known = {} if before is None else before.losses
    if now.state == "failed" and (before is None or (before.state, before.failure) != (now.state, now.failure)):
        yield Trouble("CannotRecord", now.failure or "the agent does not record; look at its status")
    lost = now.lost - (before.lost if before is not None else 0)
    if lost > 0:
        yield Trouble("RecordsLost", f"{lost} new flows were lost, {now.lost} in all: the kernel's tables were full")
    gaps = now.open_gaps - (before.open_gaps if before is not None else 0)
    if gaps > 0:
        yield Trouble("PodsNotSeen", f"{now.open_gaps} pods' interfaces are not seen: another program is in front")
    grown = [kind for kind in sorted(now.losses) if now.losses[kind] > known.get(kind, 0) or kind not in known]
    for reason, kinds in _by_reason(grown).items():
        counts = ", ".join(f"{kind}: {now.losses[kind]}" for kind in kinds)
        yield Trouble(reason, f"{_WORDS[reason]} ({counts})")


_WORDS = {
    "NoRoom": "the recording has no room and keeps less; free disk space, or allow more with --max-size",
    "NamesNotHeard": "the API server could not be heard for some time, so that names are uncertain then",
    "Losses": "not everything was kept; migrate audit status tells more",
}


def _by_reason(kinds: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in kinds:
        reason = "NoRoom" if kind in _ROOM else "NamesNotHeard" if kind.endswith(_NAMES_NOT_HEARD) else "Losses"
        found.setdefault(reason, []).append(kind)
    return found


def _short(text: str) -> str:
    plain = text.encode("ascii", "replace").decode()
    return plain if len(plain) <= _LONGEST_NOTE else f"{plain[: _LONGEST_NOTE - 3]}..."
