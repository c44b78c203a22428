"""What can be asked of agents, checked before anything is asked of a cluster."""

from __future__ import annotations

import re

import msgspec

from migrate.collect.manifest import IMAGE_REFERENCE, checked_image
from migrate.errors import InputError
from migrate.model.agent_documents import AgentSettings

MOST_SETTINGS = 1 << 20
"""Bytes in a ConfigMap (kubernetes/kubernetes, pkg/apis/core/types.go: MaxSecretSize, which counts for both)."""
_MOST_PRIORITY = 1_000_000_000
"""Of classes that users make (kubernetes/kubernetes, pkg/apis/scheduling/types.go: HighestUserDefinablePriority)."""
_LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_PREFIX = 253


def settings_text(settings: AgentSettings) -> str:
    """The settings as agents read them. Raises InputError where they do not fit into a ConfigMap."""
    text = msgspec.json.encode(settings)
    if len(text) > MOST_SETTINGS:
        raise InputError(
            f"with {len(settings.services)} addresses of Services the settings of the agents take {len(text)} bytes, "
            f"and a ConfigMap holds {MOST_SETTINGS}; leave them out with --no-services: on kernels that do not tell of "
            "translations it is then not known which backend served a connection to a Service, and all are judged"
        )
    return text.decode()


def checked_agent_image(image: str, *, allow_tag: bool) -> str:
    """An image that is the same on all nodes for as long as the audit runs. Raises InputError for another one."""
    found = IMAGE_REFERENCE.fullmatch(image)
    if found is None or (found["digest"] is None and "@" in image):
        raise InputError(
            f"--image {image}: is no image with a digest; write REGISTRY/NAME@sha256: and 64 digits of 0-9 and a-f"
        )
    if found["digest"] is None and not allow_tag:
        raise InputError(
            f"--image {image}: has no digest, so nodes may run different programs, and other ones tomorrow; write "
            f"{found['name']}@sha256:DIGEST (docker buildx imagetools inspect {image} prints it), or add --allow-tag"
        )
    return checked_image(image, "--image")


def checked_selector(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Labels of the nodes to watch, by key. Raises InputError for what cannot be labels, or one with two values."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _is_key(key) or not (value == "" or _LABEL_NAME.fullmatch(value)):
            raise InputError(f"--node-selector {text}: no label of a node; write KEY=VALUE, such as agentpool=users")
        if found.setdefault(key, value) != value:
            raise InputError(f"--node-selector {text}: no node has {key} with two values; give it once")
    if found.get("kubernetes.io/os", "linux") != "linux":
        raise InputError("--node-selector kubernetes.io/os: agents run on Linux nodes only; leave it out")
    return tuple(sorted(found.items()))


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _LONGEST_PREFIX or not _PREFIX.fullmatch(prefix)):
        return False
    return _LABEL_NAME.fullmatch(name) is not None


def checked_capabilities(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Capabilities beside the needed ones. Raises InputError for one that no agent can use."""
    plain = tuple(sorted({name.upper().removeprefix("CAP_") for name in names}))
    for name in plain:
        if name not in known:
            raise InputError(f"--capability {name}: no agent has a use for it; there are {', '.join(known)}")
    return plain


def checked_priority(priority: int | None) -> int | None:
    """The value of a PriorityClass. Raises InputError for one that the API server keeps to itself."""
    if priority is not None and not 0 <= priority <= _MOST_PRIORITY:
        text = f"a priority is between 0 and {_MOST_PRIORITY}; --system-node-critical asks for the highest one"
        raise InputError(f"--priority {priority}: {text}")
    return priority


def checked_name(name: str, option: str) -> str:
    """The name of an object. Raises InputError for what can be none."""
    if len(name) > _LONGEST_PREFIX or not _PREFIX.fullmatch(name):
        raise InputError(f"{option} {name}: no name of an object; write small letters, digits, - and .")
    return name
