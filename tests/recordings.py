"""Recordings written straight with SQL on migrate/audit/schema.sql, as an agent leaves them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TypeAlias

from migrate.audit.layout import bytes_of
from migrate.audit.recording import APPLICATION_ID, SCHEMA
from migrate.model.addresses import parse_address
from migrate.model.flow import PROTOCOL_NUMBERS

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 494_000 * HOUR
"""2026-05-10T08:00:00Z, when every recording begins."""
SCHEMA_FILE = Path(__file__).parents[1] / "migrate/audit/schema.sql"
Cell: TypeAlias = int | str | bytes | None


class Recording:
    """A recording of node n1 that is being made; it ran for an hour and watched every interface all the time."""

    def __init__(self, path: Path, node: str = "n1") -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(SCHEMA_FILE.read_text())
        self.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.execute(f"PRAGMA user_version = {SCHEMA}")
        for key, value in (("schema", str(SCHEMA)), ("node", node), ("wanted_seconds", "3600")):
            self.insert("meta", key, value)
        self._veths = 0
        self.is_open = True
        self.new = 0
        self.segment()

    def execute(self, statement: str, *values: Cell) -> None:
        """Any statement."""
        self._connection.execute(statement, values)

    def insert(self, table: str, *values: Cell) -> None:
        """One row: values of the first columns; the others have their defaults."""
        names = [str(row[1]) for row in self._connection.execute(f"PRAGMA table_info({table})")][: len(values)]
        self.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(values))})", *values)

    def segment(self, number: int = 1, boot: str = "boot-1", started: int = START) -> None:
        """A run of an agent."""
        self.insert("segment", number, boot, "", "6.18", "libbpf", "tcx", started, started + HOUR, "[]")

    def veth(self, pod: str | None, since: int = START, until: int | None = START + HOUR, segment: int = 1) -> int:
        """A watched interface of a pod (namespace/name)."""
        self._veths += 1
        names = pod.split("/") if pod else (None, None)
        values = (self._veths, segment, 10 + self._veths, f"veth{self._veths}", *names, pod, "route")
        self.insert("veth", *values, START, since, until)
        return self._veths

    def flow(
        self,
        veth: int,
        way: str,
        source: str,
        destination: str,
        port: str,
        *,
        events: int = 1,
        answered: int | None = None,
        refused: int = 0,
        kind: int = 0,
        coarse: int = 0,
        hour: int = 0,
        at: int = 60,
        lasts: int = 60,
        source_port: int = 40_000,
    ) -> None:
        """A record: `way` is from or to the pod, `port` such as TCP/443 or ICMP/8; `at` and `lasts` in seconds.

        Everything is answered if nothing else is said.
        """
        protocol, number = protocol_and_port(port)
        first = START + hour * HOUR + at * SECOND
        key = (veth, START // HOUR + hour, int(way == "to"), kind, coarse, packed(source), packed(destination))
        times = (first, first + lasts * SECOND, events, 100 * events)
        answers = events if answered is None else answered
        self.insert("flow", *key, protocol, number, *times, answers, refused, 0, source_port)
        self.new += events

    def translated(
        self, veth: int, seen: tuple[str, str, str], original: tuple[str, str, int], backend: str | None = None
    ) -> None:
        """What connection tracking said: source, destination and port as recorded, and as the client sent it."""
        protocol, number = protocol_and_port(seen[2])
        ends = (veth, packed(seen[0]), packed(seen[1]), protocol, number)
        behind = (packed(backend), number) if backend else (None, None)
        self.insert("translated", *ends, packed(original[0]), packed(original[1]), original[2], *behind, 1)

    def dropped(self, veth: int, source: str, destination: str, port: str, events: int = 1) -> None:
        """Packets that the old engine dropped."""
        protocol, number = protocol_and_port(port)
        first = START + 60 * SECOND
        ends = (packed(source), packed(destination), protocol, number)
        self.insert("dropped", veth, START // HOUR, *ends, first, first + SECOND, events)

    def owner(self, address: str, pod: str, since: int = 0, until: int | None = None, kind: str = "pod") -> None:
        """Who had an address; times are seconds from the start of the recording, 0 for before it."""
        namespace, _, name = pod.rpartition("/")
        begin, end = (None if time is None else START + time * SECOND for time in (since, until))
        self.insert("owner", packed(address), kind, namespace, name, pod, begin if since else 0, end)

    def connection(
        self,
        moment: str,
        client: tuple[str, int],
        server: tuple[str, int],
        seen_from: str | None = None,
        segment: int = 1,
    ) -> None:
        """A TCP connection that stood at the start or end."""
        target = (packed(server[0]), server[1])
        source = (packed(client[0]), client[1])
        self.insert("connection", segment, moment, 6, *source, *target, *target, packed(seen_from or client[0]))

    def close(self, lost: int = 0, coarse: int = 0, new: int | None = None) -> Path:
        """The file, with counters that add up unless something else is said."""
        rows = self.new - coarse
        self.insert("epoch", 1, 1, START + HOUR, 1, rows, coarse)
        self.insert("counter", 1, "NEW", self.new + lost if new is None else new, 0)
        self.insert("counter", 1, "LOST", lost, 0)
        self._connection.close()
        self.is_open = False
        return self.path


def packed(address: str) -> bytes:
    """The 16 bytes of an address."""
    return bytes_of(parse_address(address))


def protocol_and_port(text: str) -> tuple[int, int]:
    """Numbers from TCP/443 or 47/0; ICMP/8 is a type, with code 0."""
    name, _, port = text.partition("/")
    number = int(port or 0)
    protocol = int(name) if name.isdigit() else PROTOCOL_NUMBERS[name]
    return protocol, number << 8 if name.startswith("ICMP") else number
