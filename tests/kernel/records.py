"""What a probe has recorded, and packets that go through its programs by the kernel's own test run."""

from __future__ import annotations

from migrate.audit import libbpf
from migrate.audit.kernel import Table
from migrate.audit.layout import Counter, Direction, FlowKey, FlowValue
from migrate.audit.libbpf_probe import LibbpfProbe

FROM, TO = Direction.FROM_POD, Direction.TO_POD


def send(probe: LibbpfProbe, direction: Direction, *packets: bytes) -> None:
    """Let a program see packets; none may be changed or decided on."""
    for packet in packets:
        result, after, _ = libbpf.run_program(probe.program(direction), packet)
        assert result == -1
        assert after == packet


def rows(table: Table) -> dict[FlowKey, FlowValue]:
    """The records of a table."""
    return {FlowKey.unpack(key): FlowValue.unpack(value) for batch in table.batches() for key, value in batch}


def told(probe: LibbpfProbe) -> list[str]:
    """The records of both flow tables in short."""
    return sorted(_line(key, value) for table in probe.flows for key, value in rows(table).items())


def _line(key: FlowKey, value: FlowValue) -> str:
    counted = {
        "events": value.events,
        "answered": value.answered,
        "refused": value.refused,
        "again": value.retransmitted,
    }
    seen = " ".join(f"{name} {number}" for name, number in counted.items() if number)
    way = "from" if key.direction is FROM else "to"
    kind = f" {key.kind.name}" if key.kind else ""
    return f"{way}{kind} {key.source} > {key.destination} {key.protocol}/{key.port}: {seen}"


def check_sum(probe: LibbpfProbe) -> None:
    """Every new event is in a row, in a coarse row, or counted as lost; looked at while none came in between."""
    while True:
        counters = probe.counters()
        exact = sum(value.events for table in probe.flows for value in rows(table).values())
        coarse = sum(value.events for value in rows(probe.coarse).values())
        if probe.counters()[Counter.NEW] == counters[Counter.NEW]:
            break
    assert exact + coarse + counters[Counter.LOST] == counters[Counter.NEW]
    assert coarse == counters[Counter.COARSE]
