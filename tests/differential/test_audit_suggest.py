"""Random clusters, every flow recorded: with the suggested policies Cilium's own engine lets through what it denied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest

from migrate.audit.judge import Revision
from migrate.audit.reading import open_recording
from migrate.audit.replay import Line, Replay, Scene
from migrate.audit.suggest import Needed, Suggestions, suggest
from migrate.audit.suggested import Round, objects_of, suggested
from migrate.futures import engine_over
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import Case, read_case
from migrate.translate.profiles import Profile, load_profile
from migrate.verify.ways import ways_of
from tests.differential.generate import EVERY_DIALECT, Dialect, generate
from tests.differential.harness import Engines, after, answers
from tests.differential.run import TARGETS
from tests.differential.test_audit import CLUSTERS, recorded
from tests.differential.translation import translate_case

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_suggestions_let_through_what_was_dropped_and_close_nothing(
    engines: Engines, dialect: Dialect, target: str, tmp_path: Path
) -> None:
    helped = 0
    for number in range(CLUSTERS):
        case = generate(dialect, f"suggest-{number}")
        objects = translate_case(case, target).objects
        document = after(case, objects)
        profile = msgspec.structs.replace(load_profile(target), sctp=True)
        read = read_case(RawObject(cast("dict[str, Json]", document)))
        path = recorded(tmp_path / f"{number}.db", read.flows)
        done = _suggested(path, read, [RawObject(cast("dict[str, Json]", item)) for item in objects], profile)
        added = [cast("dict[str, object]", raw.data) for raw in objects_of(done.suggestions)]
        before = [answer.verdict for answer in answers(engines.cilium[target](document))]
        now = [answer.verdict for answer in answers(engines.cilium[target](after(case, [*objects, *added])))]
        still = sum(word == "deny" for word in now)
        assert not [
            flow for flow, was, word in zip(read.flows, before, now, strict=True) if (was, word) == ("allow", "deny")
        ]
        assert (done.after == 0) == (still == 0), f"{case.name}: {done.after} by the replay, {still} by the engine"
        assert done.after == 0 or done.suggestions.not_made, f"{case.name}: no reason why some are still dropped"
        helped += before.count("deny") - still
    assert helped > 0


def _suggested(path: Path, read: Case, policies: Sequence[RawObject], profile: Profile) -> Round:
    with open_recording(path) as reading:

        def judge(added: Sequence[RawObject]) -> Iterable[Line]:
            objects = [*policies, *added]
            built = engine_over("cilium", objects, read.cluster, profile)
            return Replay(reading, Revision("", built, ways_of("cilium", {}, objects)), Scene(read.cluster)).run()

        def make(needed: Iterable[Needed]) -> Suggestions:
            return suggest(needed, read.cluster, profile, [raw.ref for raw in policies])

        return suggested(judge, make, lambda needed: True)
