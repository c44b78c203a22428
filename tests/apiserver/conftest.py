"""API servers that the tests of one file share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import api_server as api_servers
from tests.api_server import ApiServer
from tests.apiserver.fill import Size, write_preload
from tests.engine_binaries import EngineUnavailableError, engine_binary
from tests.prerequisites import require

FILLED = Size(namespaces=10, pods=1000, policies=500)


@pytest.fixture(scope="module")
def own_server() -> Iterator[ApiServer]:
    """An empty API server for the tests of one file."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as state:
        server = _start(Path(state), None)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def filled_server() -> Iterator[ApiServer]:
    """An API server with the cluster FILLED, for the tests of one file."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as state:
        lines = Path(state) / "preload.jsonl"
        write_preload(FILLED, lines)
        server = _start(Path(state), lines)
        yield server
        server.stop()


def _start(state: Path, preload: Path | None) -> ApiServer:
    try:
        program = engine_binary("apiserver")
    except EngineUnavailableError as error:
        require(False, str(error))
        raise
    return api_servers.start(program, state, (), preload)
