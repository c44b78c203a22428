"""Whatever is written and however often a pull is cut: the copy becomes the recording."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.audit import pulling
from migrate.audit.conntrack import Connection
from migrate.audit.facts import FlowEnds
from migrate.audit.layout import Direction
from migrate.audit.pulling import PullError, pulled_revision, receive
from migrate.audit.store import Store
from migrate.audit.telling import Standing
from tests.unit.audit_records import BOOT, RESTART, START, UPTIME, a_store, counters, record
from tests.unit.pulled import content, in_chunks, pull, sent

NOW = BOOT + UPTIME
HOUR = 3_600_000_000_000
ADDRESSES = st.integers(0, 5).map(lambda last: f"10.0.0.{last}")
FLOWS = st.lists(
    st.builds(
        record,
        ADDRESSES,
        ADDRESSES,
        st.integers(80, 83),
        events=st.integers(1, 3),
        last=st.integers(0, 2).map(lambda hour: UPTIME + hour * HOUR),
        direction=st.sampled_from(Direction),
    ),
    max_size=8,
)
FACTS = (
    *("veth", "name", "end", "gap", "seen", "loss", "own", "disown"),
    *("connections", "translated", "service", "dropped", "note", "stand", "fall"),
)
STEPS = st.one_of(
    st.tuples(st.just("epoch"), FLOWS),
    st.tuples(st.sampled_from(("veth", "name", "end", "gap", "seen", "loss", "own", "disown")), st.integers(0, 3)),
    st.tuples(
        st.sampled_from(("connections", "translated", "service", "dropped", "note", "restart")), st.integers(0, 3)
    ),
)
PULLS = st.tuples(st.just("pull"), st.floats(0, 1), st.booleans(), st.integers(1, 5000))
"""How much of the line comes, whether a bit of it is changed, and the size of its chunks."""


class Writing:
    """An agent's recording; `step` does what an agent may do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._epochs = 0
        self._restarts = 0

    def steps(self, steps: list[tuple[str, object]]) -> None:
        with a_store(self.path, RESTART if self._restarts % 2 else START) as store:
            self._restarts += 1
            for name, argument in steps:
                self._step(store, name, argument)

    def _step(self, store: Store, name: str, argument: object) -> None:
        if name == "epoch":
            assert isinstance(argument, list)
            store.commit_epoch(self._epochs, argument, counters(self._epochs))
            self._epochs += 1
            return
        assert isinstance(argument, int)
        _tell(store, name, argument)


def _tell(store: Store, name: str, number: int) -> None:
    address, moment = ip_address(f"10.0.0.{number}"), NOW + number
    ends = FlowEnds(address, address, 6, 80)
    match name:
        case "veth":
            store.veth(10 + number, f"veth{number}", moment, moment)
        case "name":
            store.name_veth(number, "shop", f"web-{number}", "uid", "route")
        case "end":
            store.end_veth(number, moment)
        case "gap":
            store.gap(number, moment, "its link is gone")
        case "seen":
            store.end_gap(number, moment)
        case "loss":
            store.loss(NOW, "drops-lost", number, "for a test")
        case "own":
            store.own(address, "pod", "shop", f"web-{number}", f"uid-{number}", moment)
        case "disown":
            store.disown(address, f"uid-{number}", moment)
        case "translated":
            store.translated(1, ends, ends)
        case "service":
            store.translated(1, ends, ends, (address, 8080))
        case "dropped":
            store.dropped(1, ends, moment, moment, number)
        case "connections":
            store.connections("attach", [Connection(6, *(address, 1) * 4, 0, 0, 0)] * 2)
        case "stand":
            store.stand_behind(Standing("shop", "web", address, 6, 80, address, 8080), moment)
        case "fall":
            store.stand_no_more(Standing("shop", "web", address, 6, 80, address, 8080), moment + 1)
        case "note":
            store.note(f"key-{number}", str(moment))


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small recordings have many frames and marks."""
    monkeypatch.setattr(pulling, "_ROWS", 2)
    monkeypatch.setattr(pulling, "_FIRST_RANGE", 3)
    monkeypatch.setattr(pulling, "_LONGEST_RANGE", 12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.lists(STEPS, max_size=6), PULLS, st.none()), min_size=1, max_size=8))
def test_after_any_cuts_the_copy_is_the_recording(doings: list[object]) -> None:
    with TemporaryDirectory() as folder:
        recording, copy = Path(folder, "audit.db"), Path(folder, "copy.db")
        writing = Writing(recording)
        writing.steps([])
        for doing in doings:
            if isinstance(doing, list):
                writing.steps(doing)
                continue
            if doing is None:
                pull(recording, copy)
                assert content(copy) == content(recording)
                continue
            assert isinstance(doing, tuple)
            _broken_pull(recording, copy, *doing[1:])
        done = pull(recording, copy)
        assert content(copy) == content(recording)
        assert pull(recording, copy).revision == done.revision == pulled_revision(copy)


def _broken_pull(recording: Path, copy: Path, share: float, is_changed: bool, size: int) -> None:
    before = pulled_revision(copy)
    line = bytearray(sent(recording, before))
    length = int(share * (len(line) - 1))
    if is_changed:
        line[length] ^= 1
    else:
        del line[length:]
    with pytest.raises(PullError):
        receive(in_chunks(bytes(line), size), copy)
    assert pulled_revision(copy) >= before


def test_what_is_told_again_after_a_pull_is_changed_in_the_copy(tmp_path: Path) -> None:
    recording, copy = tmp_path / "audit.db", tmp_path / "copy.db"
    writing = Writing(recording)
    first: list[tuple[str, object]] = [("veth", 2), ("own", 3), ("stand", 3), ("gap", 1), ("translated", 0)]
    again: list[tuple[str, object]] = [("name", 2), ("seen", 1), ("disown", 3), ("fall", 3), ("end", 2), ("loss", 1)]
    flows: list[tuple[str, object]] = [("epoch", [record()]), ("translated", 0), ("service", 1), ("dropped", 1)]
    for steps in (first + flows, again + flows, again + flows):
        writing.steps(steps)
        pull(recording, copy)
        assert content(copy) == content(recording)
