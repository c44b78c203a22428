"""Causes and counts of `migrate verify` across engines, with the real engines' word for every flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import pytest

from tests.differential.harness import Engines, answers
from tests.differential.translation import translate_case
from tests.policy_engines import PolicyEngine
from tests.property.changed_pairs import Policies, Truth, check
from tests.reference import kubernetes, npm
from tests.reference.cases import Answer, Case
from tests.simulate.languages import calico_case, kubernetes_case

pytestmark = pytest.mark.engine

_TEXT = partial(kubernetes.evaluate, block_covers_cluster=True)
_SEEDS = range(2)
_PLAIN: dict[str, Truth] = {"kubernetes": _TEXT, "npm": npm.evaluate}


def _real(engine: PolicyEngine) -> Truth:
    def say(case: Case) -> Sequence[Answer]:
        return answers(engine(case.document()))

    return say


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("release", ["cilium-1.18", "cilium-1.20"])
@pytest.mark.parametrize("engine", _PLAIN)
def test_networkpolicies_under_another_engine(engine: str, release: str, seed: int, engines: Engines) -> None:
    case = kubernetes_case(f"across-{seed}")
    after = Policies(release, case.policies, _real(engines.cilium[release]))
    check(case, Policies(engine, case.policies, _PLAIN[engine]), after)


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("change", ["removed", "translated"])
def test_calico_s_policies(change: str, seed: int, engines: Engines) -> None:
    case = calico_case(f"across-{seed}")
    pods_only = tuple(item for item in case.policies if item["kind"] != "HostEndpoint")
    case = msgspec.structs.replace(case, policies=pods_only)
    become: Callable[[], tuple[dict[str, object], ...]] = {
        "removed": lambda: tuple(item for item in case.policies if item["apiVersion"] == "networking.k8s.io/v1"),
        "translated": lambda: tuple(translate_case(case, "cilium-1.20").objects),
    }[change]
    before = Policies("calico", case.policies, _real(engines.calico))
    check(case, before, Policies("cilium-1.20", become(), _real(engines.cilium["cilium-1.20"])))
