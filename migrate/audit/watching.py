"""Objects of one kind as the API tells of them: a list, then a watch, whatever happens to the connection.

Where nothing could be heard for some time, it is said from when until when, and everything is asked for again: what has
changed meanwhile did so at an unknown time within it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

import msgspec

from migrate.scan.connection import Connection, RequestError

_PAGE = 500
_WATCH_SECONDS = 60
"""Shorter than what a connection may be silent for."""
_GONE = 410
_LONGEST_WAIT = 300.0
"""However long the server asks to wait."""


class Keeper(Protocol):
    """Takes in what a watch hears, in the watch's thread. An object is its JSON, which may be odd."""

    def listing(self, since: int) -> None:
        """A list begins. It may break off, and begin again. What is new in it came at some time since `since`."""

    def found(self, data: bytes, since: int) -> None:
        """An object of a list."""

    def listed(self) -> None:
        """The list is whole: what was not found is gone."""

    def changed(self, data: bytes, *, gone: bool) -> None:
        """An object is new, other than before, or gone."""

    def lost(self, at: int, count: int, detail: str) -> None:
        """Nothing was heard from `at` on; with `count` 0 it is said till when."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to wait after a failure, and at most after many."""

    first: float = 1.0
    longest: float = 30.0


PACE = Pace()


@dataclass(frozen=True, slots=True)
class Watched:
    """What to list and watch. `few`: so little that one answer has it all, and the server need not ask its store.

    `since`: what the first list finds has come after it, in nanoseconds since 1970 (0: before the audit).
    """

    path: str
    selector: str = ""
    few: bool = False
    since: int = 0


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str | None = None
    continue_token: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct, frozen=True):
    items: tuple[msgspec.Raw, ...] | None = None
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Status(msgspec.Struct, frozen=True):
    code: int | None = None
    message: str | None = None


class Watch:
    """Lists and watches in a thread until it is closed."""

    def __init__(
        self,
        connection: Connection,
        watched: Watched,
        keeper: Keeper,
        clock: Callable[[], int] = time.time_ns,
        pace: Pace = PACE,
    ) -> None:
        self._connection = connection
        self._watched = watched
        self._keeper = keeper
        self._clock = clock
        self._pace = pace
        self._heard = watched.since
        self._last_version = ""
        self._gap: int | None = None
        self._lock = threading.RLock()
        self._break_off: Callable[[], None] = lambda: None
        self._ended = threading.Event()
        self._tried = threading.Event()

    def start(self, version: str = "") -> None:
        """Watch from a version on; without one everything is listed first."""
        name = self._watched.path.rpartition("/")[2]
        threading.Thread(target=self._run, args=(version,), name=name, daemon=True).start()

    def close(self) -> None:
        """Stop; what is still to be heard is not kept."""
        self._ended.set()
        with self._lock, suppress(OSError, ValueError, RuntimeError):  # it ends by itself just now
            self._break_off()

    def _begun(self, break_off: Callable[[], None]) -> None:
        with self._lock:
            self._break_off = break_off
        if self._ended.is_set():
            self.close()

    def wait(self, seconds: float) -> None:
        """Until the first list is there or has failed."""
        self._tried.wait(seconds)

    def list(self) -> str:
        """List everything. Returns from where to watch. Raises RequestError, also where the list is not whole."""
        keeper, since, began = self._keeper, self._heard, self._clock()
        keeper.listing(since)
        version = ""
        for page in self._pages():
            for item in page.items or ():
                keeper.found(bytes(item), since)
            version = page.metadata.resource_version or version
        if not version:
            raise RequestError(f"{self._watched.path}: a list without a resourceVersion; try again", temporary=True)
        keeper.listed()
        self._heard, self._last_version = began, version
        self._tell_gap(began)
        return version

    def _run(self, version: str) -> None:
        wait = self._pace.first
        while not self._ended.is_set():
            try:
                version = version or self.list()
                self._tried.set()
                began = time.monotonic()
                version = self._watch(version)
                wait = self._pace.first
                if time.monotonic() - began < wait:  # a server that ends every answer at once is not asked all the time
                    self._ended.wait(wait)
            except RequestError as error:
                self._note_gap(error)
                self._tried.set()
                at_once = error.status == _GONE and wait == self._pace.first
                version = ""
                self._ended.wait(0.0 if at_once else self._pause(wait, error))
                wait = min(2 * wait, self._pace.longest)

    def _pause(self, wait: float, error: RequestError) -> float:
        """Not all agents of a cluster ask again at the same moment."""
        return random.uniform(0.5, 1.0) * wait + min(error.retry_after or 0.0, _LONGEST_WAIT)

    def _note_gap(self, error: RequestError) -> None:
        if self._ended.is_set():
            return
        if error.status in (_GONE, 504):
            self._last_version = ""
        if self._gap is None:
            self._gap = self._heard or self._clock()
            self._keeper.lost(self._gap, 1, f"not heard of for some time: {error}")

    def _tell_gap(self, until: int) -> None:
        if self._gap is not None:
            self._keeper.lost(self._gap, 0, f"not heard of from {moment(self._gap)} to {moment(until)}")
            self._gap = None

    def _pages(self) -> Iterator[_List]:
        token = ""
        while not self._ended.is_set():
            page = self._page(token)
            yield page
            token = page.metadata.continue_token or ""
            if not token:
                return
        raise RequestError(f"{self._watched.path}: not needed any more")

    def _page(self, token: str) -> _List:
        """Few objects come out of the server's cache, which is never older than what was heard before."""
        query = self._watched.selector
        if self._watched.few:
            query += f"&resourceVersion={self._last_version or 0}&resourceVersionMatch=NotOlderThan"
        else:
            query += f"&limit={_PAGE}" + (f"&continue={quote(token, safe='')}" if token else "")
        data = self._connection.get(f"{self._watched.path}?{query.lstrip('&')}")
        try:
            return msgspec.json.decode(data, type=_List)
        except msgspec.DecodeError as error:
            what = f"an answer that is no list ({error})"
            raise RequestError(f"{self._watched.path}: {what}; try again", temporary=True) from error

    def _watch(self, version: str) -> str:
        """Changes until the server ends the answer. Returns from where to go on."""
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_SECONDS}&resourceVersion={version}"
        query += f"&{self._watched.selector}" if self._watched.selector else ""
        for line in self._connection.lines(f"{self._watched.path}?{query}", begun=self._begun):
            if self._ended.is_set():
                break
            version = self._take(line) or version
            self._heard, self._last_version = self._clock(), version
        self._heard = self._clock()
        return version

    def _take(self, line: bytes) -> str:
        """One line of a watch. Returns its version, as far as it says one."""
        try:
            event = msgspec.json.decode(line, type=_Event)
        except msgspec.DecodeError as error:
            raise RequestError(f"{self._watched.path}: an odd change ({error}); all is listed again") from error
        if event.type == "ERROR":
            raise _refusal(self._watched.path, event.object)
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            self._keeper.changed(bytes(event.object), gone=event.type == "DELETED")
        try:
            return msgspec.json.decode(event.object, type=_Object).metadata.resource_version or ""
        except msgspec.DecodeError:
            return ""


def _refusal(path: str, data: bytes) -> RequestError:
    try:
        status = msgspec.json.decode(data, type=_Status)
    except msgspec.DecodeError:
        status = _Status()
    message = f"{path}: {status.code or 'no code'}: {status.message or 'no reason given'}"
    return RequestError(message, status=status.code, temporary=True)


def moment(at: int) -> str:
    """A time in nanoseconds since 1970, to seconds in UTC."""
    return datetime.fromtimestamp(at // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
