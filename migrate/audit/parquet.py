"""Flows as a Parquet file, written by DuckDB, which is not installed by default."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from migrate.audit.exported import ExportedFlow, json_lines
from migrate.errors import InputError
from migrate.files import atomic_file

_END = (
    "STRUCT(address VARCHAR, kind VARCHAR, namespace VARCHAR, name VARCHAR, workload VARCHAR, labels VARCHAR[],"
    " node VARCHAR)"
)
_TYPES = {
    "first": "TIMESTAMP_NS",
    "last": "TIMESTAMP_NS",
    "source": _END,
    "destination": _END,
    **dict.fromkeys(("port", "source_port"), "USMALLINT"),
    **dict.fromkeys(("coarse", "protocol_number", "icmp_type", "icmp_code"), "UTINYINT"),
    **dict.fromkeys(("interface", "events", "octets", "answered", "refused", "retransmitted"), "UBIGINT"),
}
"""DuckDB's types of the columns that are no text."""


def write_parquet(flows: Iterable[ExportedFlow], path: Path) -> None:
    """Write the flows, whole or not at all. Raises InputError without DuckDB, and when the place cannot be written."""
    try:
        import duckdb
    except ImportError as error:
        text = "--format parquet needs DuckDB, which is not installed; install it beside this program"
        raise InputError(f"{text} (its extra is called parquet), or take --format json, which DuckDB reads") from error
    with TemporaryDirectory(prefix="cilium-migrate-") as folder:
        lines, packed = Path(folder, "flows.jsonl"), Path(folder, "flows.parquet")
        with lines.open("wb") as stream:
            stream.writelines(json_lines(flows))
        columns = {name: _TYPES.get(name, "VARCHAR") for name in ExportedFlow.__struct_fields__}
        with duckdb.connect(":memory:") as connection:
            read = connection.read_json(str(lines), columns=columns, format="newline_delimited")
            read.write_parquet(str(packed), compression="zstd")
        with atomic_file(path) as file, packed.open("rb") as made:
            while block := made.read(1 << 20):
                file.write(block)
