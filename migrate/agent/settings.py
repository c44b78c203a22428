"""What an agent is told when it starts: the settings of its run, and where its files are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from migrate.audit.loader import LOADERS
from migrate.audit.store import SMALLEST_MAX_SIZE
from migrate.errors import InputError
from migrate.model.addresses import parse_address
from migrate.model.agent_documents import DAEMON_SET, NODE_VARIABLE, PROTOCOL, RUN_NAME, AgentSettings


@dataclass(frozen=True, slots=True)
class Places:
    """Where an agent finds what it needs: the file run.json, the folder of all runs, and the node's bpf filesystem."""

    settings: Path
    store: Path
    bpffs: Path


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    """What is read first, whatever else is there."""

    protocol: int
    tool_version: str = "unknown"


def read_settings(path: Path) -> AgentSettings:
    """The settings of the run. Raises InputError for a file that is missing or that is not to be understood fully."""
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"the settings of the run cannot be read: {error.strerror}"
        raise InputError(f"{path}: {what}; the ConfigMap {DAEMON_SET} has to be mounted there") from error
    try:
        version = msgspec.json.decode(data, type=_Version)
        if version.protocol != PROTOCOL:
            raise InputError(
                f"{path}: written by version {version.tool_version} (protocol {version.protocol}, this agent's is "
                f"{PROTOCOL}); deploy an image of that version"
            )
        settings = msgspec.json.decode(data, type=AgentSettings)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not the settings of a run: {error}; deploy again") from error
    for problem in _problems(settings):
        raise InputError(f"{path}: {problem}; deploy again")
    return settings


def node_name(variables: Mapping[str, str] = os.environ) -> str:
    """The name of this node. Raises InputError where nobody says it."""
    name = variables.get(NODE_VARIABLE, "")
    if not name:
        raise InputError(f"the variable {NODE_VARIABLE} does not say which node this is; the DaemonSet has to set it")
    return name


def _problems(settings: AgentSettings) -> list[str]:
    found = []
    if not RUN_NAME.fullmatch(settings.run):
        found.append(f"run {settings.run!r} is no name of a folder")
    if settings.seconds <= 0:
        found.append(f"seconds has to be more than 0, not {settings.seconds}")
    if settings.max_size < SMALLEST_MAX_SIZE:
        found.append(f"maxSize has to be {SMALLEST_MAX_SIZE} bytes or more, not {settings.max_size}")
    if not settings.shortest_epoch > 0:
        found.append(f"shortestEpoch has to be more than 0, not {settings.shortest_epoch}")
    if settings.loader not in LOADERS:
        found.append(f"no loader {settings.loader}")
    found += [f"services: {address!r} is no address" for address in settings.services if not _is_address(address)]
    return found


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True
