"""Which agent of a run keeps the timeline of the whole cluster: the one that holds a Lease.

The rules are those of Kubernetes' own clients (leader election with coordination.k8s.io/v1): who holds the Lease renews
it; who does not takes it once it has seen it unchanged for as long as it lasts, by its own clock, so that no two clocks
are ever compared; and the server lets only one of two writers change the same resourceVersion. A holder that cannot
renew stops to lead before anybody else may begin.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

from migrate.audit.agent_connection import AgentConnection
from migrate.model.agent_documents import DAEMON_SET, RUN_LABEL, AgentSettings
from migrate.scan.connection import RequestError

_CONFLICT, _NOT_FOUND = 409, 404
_SECOND = 1_000_000_000
_LONGEST_WAIT = 300.0
Role: TypeAlias = Literal["unknown", "leads", "follows"]


@dataclass(frozen=True, slots=True)
class Terms:
    """In seconds: how long a Lease lasts, when its holder gives up, how often it renews, and how often others look.

    A thousand agents look; so they do it seldom, and not together.
    """

    lease: float = 60.0
    deadline: float = 40.0
    renew: float = 10.0
    look: float = 25.0


TERMS = Terms()


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"
    metadata: msgspec.Raw
    """Goes back as it came: its resourceVersion is what the server compares."""
    spec: _Spec | None = None


class Election:
    """Takes part in an election, in a thread.

    `elected` is called with the time since which it is not sure that anybody led (0: nobody ever did), and whether this
    one was the last to do so; `replaced` when another one was seen to lead, `failed` with what went wrong. All are
    called in the thread of the election.
    """

    def __init__(
        self,
        connection: AgentConnection,
        settings: AgentSettings,
        holder: str,
        elected: Callable[[int, bool], None],
        replaced: Callable[[], None],
        failed: Callable[[str], None],
        clock: Callable[[], int] = time.time_ns,
        terms: Terms = TERMS,
    ) -> None:
        self._connection, self._settings, self._holder = connection, settings, holder
        self._elected, self._replaced, self._failed = elected, replaced, failed
        self._clock, self._terms = clock, terms
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases"
        self._seen: _Lease | None = None
        self._seen_at = 0.0
        self._led_until = 0
        self._renewed = float("-inf")
        self._role: Role = "unknown"
        self._failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="election", daemon=True)

    @property
    def leads(self) -> bool:
        """Whether nobody else can hold the Lease now."""
        return self._role == "leads" and time.monotonic() < self._renewed + self._terms.deadline

    def start(self) -> None:
        """Take part from now on."""
        self._thread.start()

    def close(self) -> None:
        """Take part no more, and let go of the Lease where it is held, so that another one need not wait."""
        self._ended.set()
        self._thread.join(self._terms.renew)
        if self.leads and self._seen is not None:
            spec = msgspec.structs.replace(self._new_spec(self._seen), holder_identity="", lease_duration_seconds=1)
            self._role = "unknown"
            with suppress(RequestError):  # it runs out by itself
                self._replace(self._seen, spec)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                wait = self._turn()
                self._failing = False
            except RequestError as error:
                wait = self._after(error)
            self._ended.wait(random.uniform(0.8, 1.0) * wait)

    def _after(self, error: RequestError) -> float:
        """How long to wait after a request that failed. That another one was faster is no failure."""
        if error.status == _CONFLICT or (error.status == _NOT_FOUND and self._seen is not None):
            looks_now = self._role == "leads" and self._seen is not None
            self._seen = None
            return 0.0 if looks_now else self._terms.look
        if not self._failing:
            self._failed(str(error))
        self._failing = True
        wait = self._terms.renew / 4 if self.leads else self._terms.look
        return max(wait, min(error.retry_after or 0.0, _LONGEST_WAIT))

    def _turn(self) -> float:
        """Renew, take or look at the Lease. Returns how long to wait."""
        if self.leads and self._seen is not None:
            self._renew(self._seen)
            return self._terms.renew
        lease = self._read()
        if lease is None:
            self._seen = None
            self._take(None)
        else:
            self._observe(lease)
            if self._is_free(lease):
                self._take(lease)
            else:
                self._follow()
        return self._terms.renew if self._role == "leads" else self._terms.look

    def _read(self) -> _Lease | None:
        try:
            return _decoded(self._connection.read(f"{self._path}/{DAEMON_SET}"))
        except RequestError as error:
            if error.status != _NOT_FOUND:
                raise
            return None

    def _observe(self, lease: _Lease) -> None:
        """Remember when it was first seen as it is now."""
        if self._seen is None or self._seen.spec != lease.spec:
            began = self._clock()
            told = _nanoseconds((lease.spec or _Spec()).renew_time) if self._seen is None else None
            self._led_until = min(began, began if told is None else told) - int(self._terms.lease * _SECOND)
            self._seen_at = time.monotonic()
        self._seen = lease

    def _is_free(self, lease: _Lease) -> bool:
        holder = (lease.spec or _Spec()).holder_identity or ""
        return holder in ("", self._holder) or time.monotonic() >= self._seen_at + self._terms.lease

    def _follow(self) -> None:
        if self._role != "follows":
            self._role = "follows"
            self._replaced()

    def _take(self, lease: _Lease | None) -> None:
        was_mine = lease is not None and lease.spec is not None and lease.spec.holder_identity == self._holder
        goes_on = was_mine and self._role == "leads"
        began = time.monotonic()
        if lease is None:
            self._seen = self._create()
        else:
            self._seen = self._replace(lease, self._new_spec(lease))
        self._renewed, self._role = began, "leads"
        if not goes_on:
            self._elected(max(self._led_until, 0), was_mine)

    def _renew(self, lease: _Lease) -> None:
        began = time.monotonic()
        self._seen = self._replace(lease, self._new_spec(lease))
        self._renewed = began

    def _new_spec(self, lease: _Lease | None) -> _Spec:
        now = _time(self._clock())
        before = (lease.spec if lease is not None else None) or _Spec()
        mine = before.holder_identity == self._holder
        moved = (before.lease_transitions or 0) + (0 if mine or lease is None else 1)
        return _Spec(
            holder_identity=self._holder,
            lease_duration_seconds=max(1, round(self._terms.lease)),
            acquire_time=before.acquire_time if mine and before.acquire_time else now,
            renew_time=now,
            lease_transitions=moved,
        )

    def _create(self) -> _Lease:
        settings = self._settings
        meta = {"name": DAEMON_SET, "namespace": settings.namespace, "labels": {RUN_LABEL: settings.run}}
        made = _Lease(metadata=msgspec.Raw(msgspec.json.encode(meta)), spec=self._new_spec(None))
        return _decoded(self._connection.create(self._path, msgspec.json.encode(made)))

    def _replace(self, lease: _Lease, spec: _Spec) -> _Lease:
        body = msgspec.structs.replace(lease, spec=spec)
        return _decoded(self._connection.replace(f"{self._path}/{DAEMON_SET}", msgspec.json.encode(body)))


def _decoded(data: bytes) -> _Lease:
    try:
        return msgspec.json.decode(data, type=_Lease)
    except msgspec.DecodeError as error:
        raise RequestError(f"the Lease {DAEMON_SET} is none ({error}); delete it", temporary=True) from error


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _nanoseconds(text: str | None) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * _SECOND) if text else None
    except ValueError:
        return None
