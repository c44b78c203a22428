"""One observation of a flow by another program."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from migrate.model.addresses import Address

Verdict: TypeAlias = Literal["forwarded", "dropped", "audit", "error", "unknown"]
"""What the program did with it. unknown: it does not say (a Log line of Calico). audit: Cilium would drop it."""


class SeenPod(NamedTuple):
    """A pod as a program names it; empty where it does not. Labels are the pod's own.

    `workload` reads "Deployment/web"; where a pod has no name, it is any one of these.
    """

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    workload: str = ""


class Unread(NamedTuple):
    """What of a file is no flow, `times` of it. `reason` is the same for all that are alike, `detail` of this one.

    unreadable: broken, so that flows may be missing. lost: flows that the program says it could not tell of.
    no_flow: something else by nature. All that is not no_flow makes an import incomplete.
    """

    at_line: str
    kind: Literal["unreadable", "lost", "no_flow"]
    reason: str
    detail: str = ""
    times: int = 1


class Counted(NamedTuple):
    """A counter that another program keeps, which is of no single flow. `labels` say of what."""

    origin: str
    at_line: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: int


class SeenFlow(NamedTuple):
    """A packet or an aggregate of `times` of them, at `at` nanoseconds since 1970 (0: no time was given).

    Ends are as seen there, so behind or before a Service; None where the program names pods only. `source` sent the
    packet, also where it is a reply. `port` is the responder's, `source_port` the initiator's (of what is not known to
    be a reply: the packet's destination and source), `icmp` type and code. `direction` is of the policy point: egress
    at the source. `dropped_by` is the program's reason, `policies` are those that it names ("Kind/namespace/name").
    `at_line` is FILE:LINE.
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
