"""Fixtures that every test may use."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import Phase, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import api_server as api_servers
from tests.api_server import ApiServer
from tests.engine_binaries import EngineUnavailableError, engine_binary, go_command
from tests.policy_engines import PolicyEngine, policy_engine
from tests.prerequisites import require

# No test depends on how fast the machine is; every run draws the same examples.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("mutation", settings.get_profile("project"), phases=(Phase.explicit, Phase.generate))
settings.load_profile("project")

# A job in the background of a script ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LONGEST_FIRST = (
    "kernel",
    "cluster_lab",
    "kernel_matrix",
    "differential",
    "simulate",
    "apiserver",
    "reference",
    "property",
    "report",
)
_TESTS = "tests/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, for runs in several processes."""
    items.sort(key=lambda item: _rank(item.nodeid.removeprefix(_TESTS).partition("/")[0]))


def _rank(folder: str) -> int:
    return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)


class _Together(LoadScopeScheduling):  # type: ignore[misc]
    """Shares tests out to processes: those of one file stay together, and so do all that look at the whole node."""

    def _split_scope(self, nodeid: str) -> str:
        whole_node = nodeid.startswith((f"{_TESTS}kernel/", f"{_TESTS}cluster_lab/"))
        return "kernel" if whole_node else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Together:
    """How `pytest -n` shares out tests."""
    return _Together(config, log)


class StartApiServer(Protocol):
    """Starts an API server that ends with the test; see tests/api_server.py for the arguments."""

    def __call__(self, *flags: str, preload: Path | None = None) -> ApiServer: ...


def required_engine(name: str) -> Path:
    """The program of an engine; without Go the test is skipped, or fails with CI=true."""
    try:
        return engine_binary(name)
    except EngineUnavailableError as error:
        require(False, str(error))
        raise


@pytest.fixture(scope="session")
def go() -> str:
    """The go program; without it the test is skipped, or fails with CI=true."""
    try:
        return go_command()
    except EngineUnavailableError as error:
        require(False, str(error))
        raise


@pytest.fixture(scope="session")
def cilium_engine_118() -> PolicyEngine:
    """Cilium 1.18's own policy engine."""
    return policy_engine(required_engine("cilium-1.18"))


@pytest.fixture(scope="session")
def cilium_engine_120() -> PolicyEngine:
    """Cilium 1.20's own policy engine."""
    return policy_engine(required_engine("cilium-1.20"))


@pytest.fixture(scope="session")
def calico_engine() -> PolicyEngine:
    """Calico's own policy engine."""
    return policy_engine(required_engine("calico"))


@pytest.fixture(scope="session")
def calico_renderer() -> Path:
    """The program that writes a node's rules as Calico's agent does: `calico render`."""
    return required_engine("calico")


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """One API server for the whole session: use names of your own, since objects of other tests are in it too."""
    with ExitStack() as stack:
        yield _starter(stack)()


@pytest.fixture
def start_api_server() -> Iterator[StartApiServer]:
    """For tests that need a server with other flags, with preloaded objects, or one that they may stop."""
    with ExitStack() as stack:
        yield _starter(stack)


def _starter(stack: ExitStack) -> StartApiServer:
    program = required_engine("apiserver")

    def start(*flags: str, preload: Path | None = None) -> ApiServer:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migrate-")))
        server = api_servers.start(program, state, flags, preload)
        stack.callback(server.stop)
        return server

    return start
