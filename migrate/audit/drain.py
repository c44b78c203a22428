"""Empties the kernel's tables into the recording, epoch by epoch, so that nothing is lost or counted twice.

The programs write one flow table while the other is emptied. The number of the running epoch is in the kernel, those of
the written ones are in the recording; a process that is killed anywhere leaves what the next one needs to go on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping

from migrate.audit.flow_rows import Record
from migrate.audit.kernel import Probe, Table
from migrate.audit.layout import Control, Counter, FlowValue
from migrate.audit.store import Balance, Committed, Store

_IFINDEX = slice(32, 36)


class Drain:
    """Moves the records of a probe to a store. `begin` comes first.

    `before_writing` is called with the number and the table of an epoch while its records are still in the kernel.
    """

    def __init__(
        self, probe: Probe, store: Store, before_writing: Callable[[int, Table], None] = lambda number, table: None
    ) -> None:
        self.cost = 0.0
        """Seconds of a CPU that the last epoch took."""
        self._probe = probe
        self._store = store
        self._before_writing = before_writing
        self._is_settled = True
        self._created = 0
        self._gone: frozenset[int] = frozenset()

    def begin(self, goes_on: bool) -> None:
        """Take the tables over: with their records where a run goes on, else emptied and counted from here.

        Nothing is recorded from then on until the DEADLINE is set again, unless the run goes on.
        """
        if goes_on:
            self._probe.set_control(Control.ACTIVE, self._sequence() & 1)
            self._gone = self._store.ended_interfaces()
            self._probe.barrier()
            self._is_settled = False
            return
        self._stop_recording()
        counted = (*self._probe.flows, self._probe.coarse)
        left = sum(_events(value) for table in counted for _, value in _Records(table))
        for table in (*counted, *self._beside()):
            _clear(table)
        if left:
            text = "new flows of an earlier recording that were still in the kernel; they are in no recording"
            self._store.loss(self._store.clock.realtime(), "earlier-recording", left, text)
        counters = self._probe.counters()
        self._created = counters[Counter.CREATED]
        self._store.set_base(counters)

    def epoch(self) -> Committed:
        """End the running epoch and write it, after the one before it if that could not be written yet.

        Raises NotWrittenError where there is no room; all records are still in the kernel then.
        """
        began = time.process_time()
        if not self._is_settled:
            self._settle()
        self._flip()
        committed = self._settle()
        self.cost = time.process_time() - began
        return committed

    def finish(self) -> Balance:
        """Stop recording and write all that is in the tables. Raises NotWrittenError as `epoch` does."""
        self._stop_recording()
        self.epoch()
        return self.balance()

    def balance(self) -> Balance:
        """rows + coarse + lost = new, for all that was written; `missing` is in the tables now."""
        return self._store.balance()

    def remaining(self) -> int:
        """New flows that are in the tables and not yet written; their replies are not counted."""
        events = sum(_events(value) for table in self._probe.flows for _, value in _Records(table))
        return events + sum(_events(value) for _, value in self._store.unseen(_Records(self._probe.coarse)))

    def created(self, counters: Mapping[Counter, int]) -> int:
        """How many rows the table of the running epoch has, by the kernel's counters of now."""
        return counters[Counter.CREATED] - self._created

    def _sequence(self) -> int:
        return self._probe.control(Control.SEQUENCE)

    def _stop_recording(self) -> None:
        self._probe.set_control(Control.DEADLINE, 0)
        self._probe.barrier()

    def _flip(self) -> None:
        """The other table is written from here on, and after the barrier nobody writes the one before."""
        following = self._sequence() + 1
        self._gone = self._store.ended_interfaces()
        self._probe.set_control(Control.SEQUENCE, following)
        self._probe.set_control(Control.ACTIVE, following & 1)
        self._is_settled = False
        self._probe.barrier()
        self._created = self._probe.counters()[Counter.CREATED]

    def _settle(self) -> Committed:
        """Write the epoch before the running one unless that was done, then empty its table."""
        sequence = self._sequence() - 1
        committed = Committed()
        if sequence >= 0 and not self._store.is_committed(sequence):
            self._before_writing(sequence, self._probe.flows[sequence & 1])
            committed = self._store.commit_epoch(
                sequence,
                _Records(self._probe.flows[sequence & 1]),
                self._probe.counters(),
                coarse=_Records(self._probe.coarse),
                translations=_Records(self._probe.translations),
                drops=_Records(self._probe.drops),
            )
        _clear(self._probe.flows[sequence & 1])
        self._forget_gone()
        self._is_settled = True
        return committed

    def _beside(self) -> tuple[Table, ...]:
        return tuple(table for table in (self._probe.translations, self._probe.drops) if table is not None)

    def _forget_gone(self) -> None:
        """Rows of interfaces that went before the barrier grow no more, and were written whole."""
        indices = {ifindex.to_bytes(4, sys.byteorder) for ifindex in self._gone}
        for table in (self._probe.coarse, *self._beside()) if indices else ():
            gone = [key for key, _ in _Records(table) if key[_IFINDEX] in indices]
            if gone:
                table.delete(gone)


class _Records:
    """The records of a table, read anew each time."""

    def __init__(self, table: Table | None) -> None:
        self._table = table

    def __iter__(self) -> Iterator[Record]:
        for batch in self._table.batches() if self._table is not None else ():
            yield from batch


def _clear(table: Table) -> None:
    for batch in table.batches():
        table.delete([key for key, _ in batch])


def _events(value: bytes) -> int:
    return FlowValue.unpack(value).events
