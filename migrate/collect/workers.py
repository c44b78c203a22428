"""Doing one thing for many nodes, some at a time, so that a wish to stop is heard at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

_TURN_SECONDS = 0.2

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Generic[Item, Result]):
    """Threads that do `work` for each item, `count` at a time. They never hold up the end of the program."""

    def __init__(
        self, items: Iterable[Item], work: Callable[[Item], Result], count: int, stop: threading.Event
    ) -> None:
        self._work = work
        self._stop = stop
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()
        for item in items:
            self._items.put(item)
        number = min(count, self._items.qsize())
        self._threads = [threading.Thread(target=self._run, name="nodes", daemon=True) for _ in range(number)]

    def results(self) -> Iterator[Result]:
        """Results as they come, until all are there or it is time to stop."""
        for thread in self._threads:
            thread.start()
        while self.working and not self._stop.is_set():
            try:
                yield self._results.get(timeout=_TURN_SECONDS)
            except Empty:
                continue
        yield from self.rest()

    def rest(self) -> Iterator[Result]:
        """Results that are there and that nobody took yet."""
        while not self._results.empty():
            yield self._results.get()

    def give_up(self) -> None:
        """Begin with no further item."""
        while not self._items.empty():
            try:
                self._items.get_nowait()
            except Empty:
                return

    @property
    def working(self) -> bool:
        """Whether a thread still does something."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                item = self._items.get_nowait()
            except Empty:
                return
            self._results.put(self._work(item))
