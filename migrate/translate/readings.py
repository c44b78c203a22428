"""Policies as their readers understand them, each read once: planning and writing both look at them."""

from __future__ import annotations

from migrate.model.raw import RawObject
from migrate.sources import calico, kubernetes
from migrate.sources.calico import CalicoPolicy
from migrate.sources.kubernetes import NetworkPolicy


class Readings:
    """What was read, by the object as it is held in memory."""

    def __init__(self) -> None:
        self._calico: dict[int, CalicoPolicy] = {}
        self._kubernetes: dict[int, NetworkPolicy] = {}

    @property
    def calico_policies(self) -> tuple[CalicoPolicy, ...]:
        """All of Calico's that were read so far."""
        return tuple(self._calico.values())

    def calico(self, raw: RawObject) -> CalicoPolicy:
        """A policy of Calico's API."""
        if id(raw) not in self._calico:
            self._calico[id(raw)] = calico.read_policy(raw)
        return self._calico[id(raw)]

    def kubernetes(self, raw: RawObject) -> NetworkPolicy:
        """A NetworkPolicy of Kubernetes."""
        if id(raw) not in self._kubernetes:
            self._kubernetes[id(raw)] = kubernetes.read_policy(raw)
        return self._kubernetes[id(raw)]

    def policy(self, raw: RawObject) -> CalicoPolicy | NetworkPolicy:
        """A policy of either."""
        return self.calico(raw) if raw.ref.group in calico.GROUPS else self.kubernetes(raw)
