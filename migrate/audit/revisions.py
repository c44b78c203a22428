"""The count of a recording's changes, by which a copy of it is kept up to date.

Each transaction of the writer has the next revision. Rows of the tables with many records have it in a column of their
own; for those of the tables with facts it is in the table `written`, by triggers, so that no writer can forget it.
"""

from __future__ import annotations

import sqlite3
from types import MappingProxyType

RAISE = "INSERT INTO meta VALUES ('revision', '1') ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + 1"
"""The next revision; the first statement of a transaction."""
REVISION = "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'revision')"
"""The revision of the running transaction, in a statement."""
REVISED = ("flow", "translated", "dropped")
"""Tables with a column `revision`."""
ROW_OF = MappingProxyType(
    {
        **dict.fromkeys(("veth", "gap", "loss", "owner", "backend", "connection"), "rowid"),
        "epoch": "(segment << 32 | sequence)",
    }
)
"""The tables that `written` tells of, and the number of a row there."""


def follow_changes(connection: sqlite3.Connection) -> None:
    """Keep the table `written`, as long as this connection is the only one that writes.

    The triggers are this connection's own: in copies and merged recordings there are none.
    """
    connection.execute("PRAGMA temp_store = MEMORY")
    for table, row in ROW_OF.items():
        for event in ("INSERT", "UPDATE"):
            connection.execute(_trigger(table, row, event))


def _trigger(table: str, row: str, event: str) -> str:
    """No conflict may arise in it, as the statement that fires it decides what becomes of conflicts."""
    new = row.replace("segment", "NEW.segment").replace("sequence", "NEW.sequence").replace("rowid", "NEW.rowid")
    return (
        f"CREATE TEMP TRIGGER {table}_{event.lower()} AFTER {event} ON main.{table} BEGIN "
        f"DELETE FROM written WHERE part = '{table}' AND row = {new}; "
        f"INSERT INTO written VALUES ('{table}', {new}, {REVISION}); END"
    )
