"""What a pod's status says of the collector in it: not begun yet, running or over, or that it will come to nothing."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

_NEVER_STARTS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons of a waiting container that waiting does not mend. Source: kubernetes/kubernetes, pkg/kubelet/images/types.go
and pkg/kubelet/kuberuntime/kuberuntime_container.go."""


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a pod's metadata."""

    name: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a pod's spec."""

    node_name: str = ""
    active_deadline_seconds: int | None = None


class _Reason(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""
    exit_code: int = 0


class _State(msgspec.Struct, frozen=True):
    waiting: _Reason | None = None
    running: _Reason | None = None
    terminated: _Reason | None = None


class _Container(msgspec.Struct, frozen=True):
    state: _State = _State()


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a pod's status."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    container_statuses: tuple[_Container, ...] = ()


class Pod(msgspec.Struct, frozen=True):
    """A pod of ours as the API server tells of it."""

    metadata: Meta = Meta()
    spec: Spec = Spec()
    status: Status = Status()

    @property
    def over(self) -> bool:
        """Whether nothing runs in it any more."""
        return self.status.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a pod is: whether its log can be read, whether it ended, and why it failed (empty: it has not)."""

    started: bool
    ended: bool
    failure: str = ""
    waits_for: str = ""


def standing(pod: Pod) -> Standing:
    """How far a pod is."""
    state = pod.status.container_statuses[0].state if pod.status.container_statuses else _State()
    if state.terminated is not None:
        return Standing(started=True, ended=True, failure=_how_it_ended(pod, state.terminated))
    if pod.over:
        return Standing(started=False, ended=True, failure=_of_pod(pod))
    if state.waiting is not None and state.waiting.reason in _NEVER_STARTS:
        return Standing(started=False, ended=True, failure=_told(state.waiting.reason, state.waiting.message))
    waits_for = state.waiting.reason if state.waiting is not None else f"phase {pod.status.phase}"
    return Standing(started=state.running is not None, ended=False, waits_for=waits_for)


def _how_it_ended(pod: Pod, ended: _Reason) -> str:
    """Why the collector failed, empty when it did not. A pod that was evicted or ran out of time says so itself."""
    if pod.status.phase == "Failed" and pod.status.reason:
        return _of_pod(pod)
    if ended.exit_code == 0:
        return ""
    return _told(f"the collector ended with status {ended.exit_code} ({ended.reason or 'Error'})", ended.message)


def _of_pod(pod: Pod) -> str:
    if pod.status.phase == "Succeeded":
        return ""
    return _told(pod.status.reason or "the pod failed and says no reason", pod.status.message)


def _told(reason: str, message: str) -> str:
    return ": ".join(filter(None, (reason, " ".join(message.split()))))
