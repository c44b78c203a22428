"""Where an agent knows pods from."""

from __future__ import annotations

import os
import time
from typing import Protocol

from migrate.audit.agent_connection import AgentConnection
from migrate.audit.cluster_watch import ClusterWatch
from migrate.audit.known_pods import KnownPods
from migrate.audit.layout import Address
from migrate.audit.telling import OpenOwners, Owners
from migrate.audit.veths import PodName
from migrate.errors import MigrateError
from migrate.model.agent_documents import POD_VARIABLE, AgentSettings
from migrate.scan.connection import ConnectionOptions, connect_as


class AgentPods(KnownPods, Protocol):
    """Pods that are watched; `leads`: those of the whole cluster, for all agents."""

    @property
    def leads(self) -> bool: ...
    def start(self) -> None: ...
    def close(self) -> None: ...


def pods_of(settings: AgentSettings, node: str) -> AgentPods:
    """The pods of the cluster that this agent runs in; nobody is asked before `start`."""
    try:
        connection = connect_as(AgentConnection, ConnectionOptions())
    except MigrateError as error:
        return _NoPods(str(error))
    return ClusterWatch(connection, settings, node, os.environ.get(POD_VARIABLE) or node)


class _NoPods:
    """Pods without names, as there is no way to ask for them. The recording says why."""

    leads = False

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._is_told = False

    def start(self) -> None: ...
    def close(self) -> None: ...
    def resume(self, store: OpenOwners, heard: int) -> None: ...

    def pod_at(self, address: Address) -> PodName | None:
        return None

    def tell(self, store: Owners) -> None:
        if not self._is_told:
            store.loss(time.time_ns(), "pods-not-told", 1, self._reason)
            self._is_told = True
