"""Asking an API server patiently: retries, pages, and what to do when a list takes longer than the server remembers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from migrate.scan.connection import Connection, RequestError
from migrate.scan.prune import Cutter, EncodedObject, Page

PAGE_SIZE = 500
_EXPIRED = 410
_MOST_EXPIRIES = 5

Seen = Callable[[int, int | None], None]
"""Told after each page how many objects were read and how many there are, None when the server does not say."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, and how long to wait in between; times are in seconds."""

    tries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def pause(self, attempt: int, asked_for: float | None) -> None:
        """Wait after failed attempt number `attempt` (from 1), as long as the server asked for if it did."""
        wait = self.first_wait * 2 ** (attempt - 1) if asked_for is None else asked_for
        self.sleep(min(wait, self.longest_wait))


@dataclass(slots=True)
class Listing:
    """What listing one path gave. With a `failure` the objects are those that came before it."""

    objects: list[EncodedObject] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    inconsistent: bool = False
    failure: RequestError | None = None


class Reader:
    """A connection with patience. A server that cannot be reached, at first or any more, is tried only once."""

    def __init__(self, connection: Connection, patience: Patience) -> None:
        self.connection = connection
        self._patience = patience
        self._tries = 1

    def fetch(self, path: str, decode: Callable[[bytes], T], accept: str = "application/json") -> T:
        """The decoded answer. Raises RequestError when asking again does not help, or not any more.

        `decode` raises msgspec.DecodeError for a body that is cut off, which counts as a broken answer.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = decode(self.connection.get(path, accept))
            except msgspec.DecodeError as error:
                failure = RequestError(
                    f"{self.connection.host}: the answer to {path} is cut off or no JSON of an API server: {error}",
                    temporary=True,
                )
            except RequestError as error:
                failure = error
            else:
                self._tries = self._patience.tries
                return answer
            if not self._worth_another_try(failure, attempt):
                raise failure
            self._patience.pause(attempt, failure.retry_after)

    def _worth_another_try(self, failure: RequestError, attempt: int) -> bool:
        if failure.reached:
            self._tries = self._patience.tries
        if failure.temporary and attempt < self._tries:
            return True
        if not failure.reached:
            self._tries = 1
        return False

    def list_all(self, path: str, cutter: Cutter, seen: Seen) -> Listing:
        """All objects of a list, page by page."""
        listing = Listing()
        token, expiries = "", 0
        while True:
            try:
                page = self.fetch(_page_path(path, token), cutter.page)
            except RequestError as failure:
                expiries += 1
                if failure.status != _EXPIRED or expiries > _MOST_EXPIRIES:
                    listing.failure = failure
                    return listing
                token = failure.continue_token
                listing = _after_expiry(listing, token)
                continue
            _add(listing, page)
            seen(len(listing.objects), None if page.remaining is None else len(listing.objects) + page.remaining)
            if not page.continue_token:
                return listing
            if page.continue_token == token:
                listing.failure = RequestError(f"{self.connection.host}: the list at {path} does not come to an end")
                return listing
            token = page.continue_token


def _page_path(path: str, token: str) -> str:
    query = {"limit": str(PAGE_SIZE)} | ({"continue": token} if token else {})
    return f"{path}?{urlencode(query)}"


def _add(listing: Listing, page: Page) -> None:
    listing.objects.extend(page.objects)
    listing.odd.extend(page.odd)


def _after_expiry(listing: Listing, token: str) -> Listing:
    """The list goes on from the same place in the cluster's newer state, or starts over without a place to go on."""
    if not token:
        return Listing()
    listing.inconsistent = True
    return listing
