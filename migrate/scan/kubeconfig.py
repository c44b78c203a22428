"""Finding out which cluster to talk to and with which credentials: a kubeconfig, or the pod's own service account."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import yaml

from migrate.errors import ClusterError, InputError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

Entries: TypeAlias = "dict[str, dict[str, object]]"
"""Contexts, clusters or users of a kubeconfig by their names."""


@dataclass(frozen=True, slots=True)
class Login:
    """A cluster and how to log in there; `name` is the context, or "in-cluster"."""

    name: str
    configuration: Configuration


def log_in(kubeconfig: str | None, context: str | None) -> Login:
    """The login of a context. Raises InputError when there is none to use, ClusterError when credentials fail."""
    files = _files(kubeconfig)
    if not files:
        return _in_cluster(context)
    contexts, users = _merged(files, "contexts", "context"), _merged(files, "users", "user")
    name = context or _current_context(files)
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        asked = f'there is no context "{name}"' if name else "no context is current"
        raise InputError(f"{_places(files)}: {asked}; choose one with --context (there are: {known})")
    user = str(contexts[name].get("user", ""))
    return Login(name, _load(files, name, users.get(user, {}), user))


def _files(kubeconfig: str | None) -> list[Path]:
    """The kubeconfig files there are; empty when the program runs in a pod and has none."""
    if kubeconfig is not None:
        path = Path(kubeconfig).expanduser()
        if not path.is_file():
            raise InputError(f"{kubeconfig}: no such kubeconfig; give the path of an existing file with --kubeconfig")
        return [path]
    listed = os.environ.get("KUBECONFIG") or "~/.kube/config"
    found = [path for text in listed.split(os.pathsep) if text and (path := Path(text).expanduser()).is_file()]
    if not found and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise InputError(f"{listed}: no such kubeconfig, and this is not a pod of a cluster; give --kubeconfig FILE")
    return found


def _read(path: Path) -> dict[str, object]:
    try:
        content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check its owner and mode") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not a kubeconfig: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a kubeconfig: it is empty or holds no mapping; give another with --kubeconfig")
    return content


def _merged(files: list[Path], section: str, inner: str) -> Entries:
    """The named entries of a section over all files; of two with one name the first counts, as for kubectl."""
    merged: Entries = {}
    for path in files:
        entries = _read(path).get(section) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise InputError(f"{path}: not a kubeconfig: an entry of {section} has no name; repair the file")
            body = entry.get(inner)
            merged.setdefault(entry["name"], body if isinstance(body, dict) else {})
    return merged


def _current_context(files: list[Path]) -> str:
    named = [str(current) for path in files if (current := _read(path).get("current-context"))]
    return named[-1] if named else ""


def _load(files: list[Path], context: str, user: dict[str, object], user_name: str) -> Configuration:
    from kubernetes import config
    from kubernetes.client import Configuration

    configuration = Configuration()
    with _captured_log() as messages:
        try:
            config.load_kube_config(_places(files), context, configuration)  # type: ignore[no-untyped-call]
        except (config.ConfigException, ValueError, TypeError, AttributeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f'{_places(files)}: context "{context}" cannot be used: {reason}') from error
    plugin = user.get("exec")
    if isinstance(plugin, dict) and not configuration.api_key and not configuration.cert_file:
        raise ClusterError(_plugin_failure(str(plugin.get("command")), user_name, messages))
    return configuration


def _plugin_failure(command: str, user: str, messages: list[str]) -> str:
    """The client only logs why a credential plugin gave nothing; the user has to know."""
    if shutil.which(command) is None:
        return f'credential plugin "{command}" of user "{user}" is not installed; install it or put it on PATH'
    reason = "; ".join(messages) or "it gave no token and no certificate"
    return f'credential plugin "{command}" of user "{user}" failed: {reason}; log in again (on AKS: az login)'


def _in_cluster(context: str | None) -> Login:
    if context is not None:
        raise InputError(f'there is no kubeconfig with a context "{context}"; give --kubeconfig FILE')
    from kubernetes import config
    from kubernetes.client import Configuration

    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise InputError(
            f"the pod's service account cannot be used: {error}; mount its token or give --kubeconfig"
        ) from error
    return Login("in-cluster", configuration)


@contextmanager
def _captured_log() -> Iterator[list[str]]:
    """What the client writes to the root logger in the block; it does not reach stderr."""
    messages: list[str] = []

    class Capture(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Capture()
    logging.getLogger().addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(handler)


def _places(files: list[Path]) -> str:
    return os.pathsep.join(map(str, files))
