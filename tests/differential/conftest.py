"""The real engines that judge."""

import pytest

from tests.differential.harness import Engines
from tests.policy_engines import PolicyEngine


@pytest.fixture(scope="session")
def engines(calico_engine: PolicyEngine, cilium_engine_118: PolicyEngine, cilium_engine_120: PolicyEngine) -> Engines:
    """Calico's engine, and Cilium's for each target profile that has one."""
    return Engines(calico_engine, {"cilium-1.18": cilium_engine_118, "cilium-1.20": cilium_engine_120})
