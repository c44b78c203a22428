"""The proof of a translation against the real engines: it finds nothing where they find nothing, and what they find."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import msgspec
import pytest
import yaml

from migrate.model.forms import Forms
from migrate.model.raw import Json, RawObject
from migrate.proved.causes import UndeclaredError
from migrate.proved.proof import proved
from migrate.translate.engine import Outcome, OutputFile, translate
from migrate.translate.handover import handed_over
from migrate.translate.profiles import Profile, load_profile
from tests.differential.generate import DIALECTS, EVERY_DIALECT, Dialect, generate
from tests.differential.harness import Engines, Object, Translated, compare
from tests.differential.run import TARGETS, as_json
from tests.differential.translation import cluster_objects, translate_case
from tests.reference.cases import Answer, Case
from tests.seeds import drawn_seed

pytestmark = pytest.mark.engine

CLUSTERS = int(os.environ.get("MIGRATE_DIFFERENTIAL_CLUSTERS", "60"))
FRESH_SEED = drawn_seed()
_RULES = ("ingress", "ingressDeny", "egress", "egressDeny")


def _profile(target: str) -> Profile:
    """The target with agents that have SCTP support, as the engines have."""
    return msgspec.structs.replace(load_profile(target), sctp=True)


def _objects(case: Case) -> list[RawObject]:
    return [RawObject(cast("dict[str, Json]", item)) for item in (*cluster_objects(case), *case.policies)]


def _outcome(case: Case, target: str) -> Outcome:
    engines = () if case.engine == "kubernetes" else ("calico",)
    objects = _objects(case)
    return handed_over(translate(objects, profile=_profile(target), engines=engines), objects, Forms())


def _undeclared(case: Case, target: str, outcome: Outcome) -> str:
    """What the proof says is a bug; empty when it says nothing."""
    try:
        proved(outcome, _objects(case), _profile(target))
    except UndeclaredError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_where_the_engines_agree_the_proof_finds_nothing(engines: Engines, dialect: Dialect, target: str) -> None:
    judged = 0
    for number in range(max(1, CLUSTERS // 4)):
        case = generate(dialect, f"{FRESH_SEED}-{number}")
        if compare(case, target, translate_case, engines).holds:
            judged += 1
            found = _undeclared(case, target, _outcome(case, target))
            assert not found, f"{found}\n{as_json(case)}"
    assert judged


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_rule_that_is_lost_is_found_where_the_engines_find_it(
    engines: Engines, dialect: Dialect, target: str
) -> None:
    found = 0
    for number in range(max(1, CLUSTERS // 6)):
        case = generate(dialect, f"{FRESH_SEED}-{number}")
        for wrong in _planted(_outcome(case, target)):
            if _differs(case, target, wrong, engines):
                found += 1
                assert _undeclared(case, target, wrong), f"{[file.text for file in wrong.files]}\n{as_json(case)}"
    assert found


def _differs(case: Case, target: str, outcome: Outcome, engines: Engines) -> bool:
    """Whether by a real engine a flow passes that was stopped, or the other way, and nobody declares it."""

    def wrong(case: Case, target: str) -> Translated:
        objects = tuple(
            cast("Object", yaml.safe_load(file.text)) for file in outcome.files if file.path.startswith("cilium/")
        )
        return Translated(objects, translate_case(case, target).claims)

    found = compare(case, target, wrong, engines).differences
    return any(_passes(difference.before) is not _passes(difference.after) for difference in found)


def _passes(answer: Answer) -> bool:
    """Both sides decide: what one side stops, the other one cannot change."""
    return "deny" not in (answer.egress, answer.ingress)


def _planted(outcome: Outcome) -> Iterator[Outcome]:
    """The outcome without the last rule of each list of rules, one at a time."""
    for index, file in enumerate(outcome.files):
        for text in _texts_with_less(file):
            yield replace(
                outcome, files=(*outcome.files[:index], replace(file, text=text), *outcome.files[index + 1 :])
            )


def _texts_with_less(file: OutputFile) -> Iterator[str]:
    for key in _RULES:
        data = yaml.safe_load(file.text)
        specs = [spec for spec in (data.get("spec"), *(data.get("specs") or ())) if spec]
        chosen = next((spec for spec in specs if spec.get(key) not in (None, [{}])), None)
        if chosen is None:
            continue
        chosen[key] = chosen[key][:-1]
        if not chosen[key]:
            del chosen[key]
        yield f"{json.dumps(data)}\n"
