"""Random clusters, every flow a record: a would-be drop exactly where Cilium's own engine denies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from migrate.audit.judge import Revision
from migrate.audit.layout import bytes_of
from migrate.audit.reading import FlowRow, open_recording
from migrate.audit.replay import Line, Replay, Scene
from migrate.futures import engine_over
from migrate.model.flow import EndKind, Flow
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.translate.profiles import load_profile
from migrate.verify.ways import ways_of
from tests.differential.generate import EVERY_DIALECT, Dialect, generate
from tests.differential.harness import Engines, after, answers
from tests.differential.run import TARGETS
from tests.differential.translation import translate_case
from tests.recordings import START, Recording
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = max(1, int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60")) // 12)
FRESH_SEED = drawn_seed()


@pytest.mark.parametrize("seed", ["fixed", "fresh"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_would_drop_is_what_cilium_denies(
    engines: Engines, dialect: Dialect, target: str, seed: str, tmp_path: Path
) -> None:
    prefix = seed if seed == "fixed" else FRESH_SEED
    verdicts: set[str] = set()
    for number in range(CLUSTERS):
        case = generate(dialect, f"{prefix}-{number}")
        objects = translate_case(case, target).objects
        document = after(case, objects)
        words = [answer.verdict for answer in answers(engines.cilium[target](document))]
        read = read_case(RawObject(cast("dict[str, Json]", document)))
        policies = [RawObject(cast("dict[str, Json]", item)) for item in objects]
        profile = msgspec.structs.replace(load_profile(target), sctp=True)
        built = engine_over("cilium", policies, read.cluster, profile)
        revision = Revision("translated", built, ways_of("cilium", {}, policies))
        path = recorded(tmp_path / f"{number}.db", read.flows)
        with open_recording(path) as reading:
            replay = Replay(reading, revision, Scene(read.cluster))
            found = {key_of(row): line for row, line in replay.rows()}
        for flow, word in zip(read.flows, words, strict=True):
            for line in lines_of(flow, found):
                wanted = "would_drop" if word == "deny" else "would_allow"
                assert line.verdict == wanted, f"{case.name}: {flow}: {line.outcome}, the engine says {word}"
                verdicts.add(line.verdict)
    assert "would_allow" in verdicts


def recorded(path: Path, flows: tuple[Flow, ...]) -> Path:
    """Each flow as it is seen at the pods at its ends."""
    recording = Recording(path, node="node-0")
    veths: dict[str, int] = {}
    recording.execute("BEGIN")
    seen: set[tuple[object, ...]] = set()
    for flow in flows:
        for way, end in (("from", flow.source), ("to", flow.destination)):
            if end.kind is not EndKind.POD:
                continue
            if str(end.pod) not in veths:
                veths[str(end.pod)] = recording.veth(str(end.pod))
            key = (veths[str(end.pod)], way, *ends_of(flow))
            if key not in seen:
                seen.add(key)
                add(recording, veths[str(end.pod)], way, flow)
    recording.execute("COMMIT")
    return recording.close()


def add(recording: Recording, veth: int, way: str, flow: Flow) -> None:
    """One record."""
    head = (veth, START // 3600 // 10**9, int(way == "to"), 0, 0, *ends_of(flow))
    recording.insert("flow", *head, START, START, 1, 100, 1, 0, 0, flow.packet.source_port)


def ends_of(flow: Flow) -> tuple[bytes, bytes, int, int]:
    """Source, destination, protocol and port as they are recorded."""
    packet = flow.packet
    port = packet.port << 8 | packet.code if packet.protocol in (1, 58) else packet.port
    return bytes_of(flow.source.address), bytes_of(flow.destination.address), packet.protocol, port


def key_of(row: FlowRow) -> tuple[int, tuple[bytes, bytes, int, int]]:
    """Direction and ends."""
    return row[2], row[5:9]


def lines_of(flow: Flow, found: dict[tuple[int, tuple[bytes, bytes, int, int]], Line]) -> Iterator[Line]:
    """The lines of a flow at its pods."""
    for direction, end in ((0, flow.source), (1, flow.destination)):
        if end.kind is EndKind.POD:
            yield found[direction, ends_of(flow)]
