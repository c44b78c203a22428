"""Statements on the recording: what cannot be written now waits in memory, in its order."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from migrate.audit.recording import failure, is_full, is_locked
from migrate.audit.revisions import RAISE, follow_changes

Value: TypeAlias = int | str | bytes | None
Statement: TypeAlias = tuple[str, tuple[Value, ...]]

_MOST_WAITING = 100_000
_TRY_AGAIN_SECONDS = 10.0


class NotWrittenError(Exception):
    """There is no room for a write, or (`is_locked`) another program keeps the file locked; it can be tried again."""

    def __init__(self, text: str, is_locked: bool) -> None:
        super().__init__(text)
        self.is_locked = is_locked


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of the machine, in nanoseconds: since 1970, and since boot."""

    realtime: Callable[[], int] = time.time_ns
    monotonic: Callable[[], int] = time.monotonic_ns

    def offset(self) -> int:
        """What to add to a time since boot for one since 1970."""
        before, now, after = self.monotonic(), self.realtime(), self.monotonic()
        return now - (before + after) // 2


SYSTEM_CLOCK = Clock()


class Writing:
    """A connection to a recording. Raises InputError where it is damaged or cannot be written any more."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._waiting: list[Statement] = []
        self._given_up = 0
        self._try_again = 0.0
        follow_changes(connection)

    @property
    def waiting(self) -> int:
        """How many statements wait in memory for room on the disk."""
        return len(self._waiting)

    @property
    def given_up(self) -> int:
        """How many statements were dropped, as too many waited."""
        return self._given_up

    def flush(self) -> bool:
        """Write what waits; whether nothing waits any more."""
        if self._waiting:
            try:
                self.transaction(lambda: None)
            except NotWrittenError:
                self._try_again = time.monotonic() + _TRY_AGAIN_SECONDS
                return False
            self._try_again = 0.0
        return True

    def transaction(self, write: Callable[[], None]) -> None:
        """What waits and what `write` executes, all or nothing. Raises NotWrittenError."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(RAISE)
            for statement in self._waiting:
                self._connection.execute(*statement)
            already = len(self._waiting)
            write()
            for statement in self._waiting[already:]:
                self._connection.execute(*statement)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if is_full(self.path, error) or is_locked(error):
                raise NotWrittenError(str(error), is_locked(error)) from error
            raise failure(self.path, error) from error
        except BaseException:
            self._roll_back()
            raise
        self._waiting.clear()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _write(self, query: str, *values: Value) -> None:
        self._write_all([(query, values)])

    def _write_all(self, statements: Iterable[Statement]) -> None:
        self._waiting += statements
        if self._connection.in_transaction:
            return
        if time.monotonic() >= self._try_again:
            self.flush()
        if len(self._waiting) > _MOST_WAITING:
            self._given_up += len(self._waiting) - _MOST_WAITING
            del self._waiting[_MOST_WAITING:]

    def _rows(self, query: str, *values: Value) -> list[tuple[Value, ...]]:
        """The answer to a query. What waits is not in it."""
        try:
            return list(self._connection.execute(query, values))
        except sqlite3.Error as error:
            raise failure(self.path, error) from error

    def _numbers(self, query: str, *values: Value) -> list[int]:
        """The first column of the answer to a query, where it is a number."""
        return [value for value, *_ in self._rows(query, *values) if isinstance(value, int)]
