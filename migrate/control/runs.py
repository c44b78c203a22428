"""The run of agents in a cluster: its settings are wholly there, so that whoever comes can go on with it."""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec

from migrate.errors import ClusterError, InputError
from migrate.model.agent_documents import DAEMON_SET, PROTOCOL, RUN_NAME, SETTINGS_FILE, AgentSettings
from migrate.scan.connection import Connection, RequestError
from migrate.scan.reader import Patience, Reader

SETTINGS_KEY = PurePosixPath(SETTINGS_FILE).name
_RIGHTS = "ask for the roles of docs/rbac-audit.yaml"


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    protocol: int
    tool_version: str = "?"


def running(connection: Connection, namespace: str) -> AgentSettings | None:
    """The settings of the run that is in the cluster now, None where there is none.

    Raises ClusterError when it cannot be known, InputError for a run of another version of this program.
    """
    reader = Reader(connection, Patience(tries=3, first_wait=0.5, longest_wait=2.0))
    path = f"/api/v1/namespaces/{namespace}/configmaps/{DAEMON_SET}"
    try:
        found = reader.fetch(path, lambda body: msgspec.json.decode(body, type=_ConfigMap))
    except RequestError as error:
        if error.status == 404:
            return None
        raise ClusterError(_refused(error, namespace)) from error
    where = f"ConfigMap {namespace}/{DAEMON_SET}"
    settings = read_settings((found.data or {}).get(SETTINGS_KEY, ""), where)
    if settings.namespace != namespace:
        raise InputError(f"{where}: its {SETTINGS_KEY} is of namespace {settings.namespace!r}; remove that run")
    return settings


def required(connection: Connection, namespace: str) -> AgentSettings:
    """As `running`. Raises InputError too when no run is in the cluster."""
    settings = running(connection, namespace)
    if settings is not None:
        return settings
    raise InputError(
        f"{connection.name}: no audit runs there in namespace {namespace}; begin one with migrate audit deploy, or "
        "name the namespace of its agents with --namespace"
    )


def read_settings(text: str, where: str) -> AgentSettings:
    """The settings of a run. Raises InputError for those of another version of this program."""
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.protocol == PROTOCOL:
            return _checked(msgspec.json.decode(text, type=AgentSettings), where)
    except msgspec.DecodeError as error:
        raise InputError(f"{where}: its {SETTINGS_KEY} has no settings of agents ({error}); remove that run") from error
    version = head.tool_version
    raise InputError(
        f"{where}: the run is of version {version} (protocol {head.protocol}), and this program knows {PROTOCOL}; "
        f"use version {version}"
    )


def _checked(settings: AgentSettings, where: str) -> AgentSettings:
    if not RUN_NAME.fullmatch(settings.run):
        raise InputError(
            f"{where}: its {SETTINGS_KEY} has {settings.run!r}, which is no name of a run; remove that run"
        )
    return settings


def _refused(error: RequestError, namespace: str) -> str:
    if error.status == 403:
        return f"you may not get configmaps in namespace {namespace} ({error.reason}); {_RIGHTS}"
    return str(error)
