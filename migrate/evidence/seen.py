"""One observation of a flow by another program."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from migrate.model.addresses import Address

Verdict: TypeAlias = Literal["forwarded", "dropped", "audit", "error", "unknown"]
"""What the program did with it. unknown: it does not say (a Log line of Calico). audit: Cilium would drop it."""


class SeenPod(NamedTuple):
    """A pod as a program names it; empty where it does not."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()


class SeenFlow(NamedTuple):
    """A packet or an aggregate of `times` of them, at `at` nanoseconds since 1970 (0: no time was given).

    Ends are as seen there, so behind or before a Service; None where the program names pods only. `port` is the
    responder's, `icmp` type and code. `direction` is of the policy point: egress at the source. `dropped_by` is the
    program's reason, `policies` are those that it names ("Kind/namespace/name"). `at_line` is FILE:LINE.
    """

    origin: str
    at_line: str
    at: int
    verdict: Verdict
    node: str
    source: Address | None
    destination: Address | None
    protocol: int
    port: int
    source_port: int = 0
    icmp: tuple[int, int] | None = None
    direction: Literal["egress", "ingress", ""] = ""
    is_reply: bool | None = None
    source_pod: SeenPod | None = None
    destination_pod: SeenPod | None = None
    dropped_by: str = ""
    policies: tuple[str, ...] = ()
    times: int = 1
