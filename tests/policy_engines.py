"""Asks the real policy engines of tests/engines: a described cluster, policies and flows in, verdicts out."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NotRequired, Required, TypeAlias, TypedDict


class PolicyAnswer(TypedDict, total=False):
    """Whether the engine accepts a policy object."""

    kind: Required[str]
    name: Required[str]
    namespace: str
    ok: Required[bool]
    error: str
    warnings: list[str]


class FlowAnswer(TypedDict, total=False):
    """What the engine does with one flow.

    `egress` and `ingress` are "allow", "deny" or "unenforced", `verdict` is "allow", "deny" or "error".
    """

    egress: Required[str]
    ingress: Required[str]
    verdict: Required[str]
    error: str
    rule: str
    l7: bool


class EngineStats(TypedDict):
    """What Cilium's engines count: `mapEntries` are those of the policy maps that the flows needed."""

    mapEntries: int


class EngineAnswer(TypedDict):
    """One answer a policy object and one a flow, in the order they were given; `stats` are of Cilium's engines."""

    engine: str
    policies: list[PolicyAnswer]
    flows: list[FlowAnswer]
    stats: NotRequired[EngineStats]


PolicyEngine: TypeAlias = Callable[[Mapping[str, object]], EngineAnswer]


def policy_engine(program: Path) -> PolicyEngine:
    """The engine as a function; what it takes is in the README.md of its folder under tests/engines."""

    def ask(case: Mapping[str, object]) -> EngineAnswer:
        document = json.dumps({"version": 1, **case})
        answered = subprocess.run([program], input=document, capture_output=True, text=True, check=False)
        if answered.returncode != 0:
            raise RuntimeError(f"{program.name} ended with {answered.returncode}: {answered.stderr.strip()}")
        answer: EngineAnswer = json.loads(answered.stdout)
        return answer

    return ask
