"""CNI configuration without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from migrate.collect.host import Host
from migrate.model.raw import Json

PATTERNS = ("/etc/cni/net.d/*.conf*", "/etc/cni/net.d/*.json*")
"""What runtimes read, and what installers renamed."""
SECRET_WORDS = (
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "authorization",
    "private",
    "key-data",
    "certificate-data",
    "apikey",
    "api_key",
)
"""In the name of a field: its value is not kept."""
REDACTED = "REDACTED"
NO_KUBECONFIG = "kubeconfig"
_USER = re.compile(r"//[^@\s\",]+@")
NO_JSON = "left out: this is no JSON, so its secrets cannot be told from the rest"
_MOST_BYTES = 1 << 20


def configurations(host: Host) -> Iterator[str]:
    """Each file under a heading with its path. Raises OSError when one cannot be read."""
    paths = sorted({path for pattern in PATTERNS for path in host.matching(pattern)})
    for path in paths:
        place = host.place(path)
        if not place.is_file() or NO_KUBECONFIG in path.rpartition("/")[2].lower():
            continue
        with place.open("rb") as stream:
            body = _without_secrets(stream.read(_MOST_BYTES))
        if body is not None:
            yield f"==> {path} <==\n{body}\n\n"


def _without_secrets(body: bytes) -> str | None:
    """The configuration; None for a kubeconfig under another name."""
    try:
        read: Json = json.loads(body)
    except (ValueError, RecursionError):
        return None if b"clusters:" in body else NO_JSON
    if isinstance(read, dict) and read.get("kind") == "Config":
        return None
    return json.dumps(_redacted(read), indent=2, ensure_ascii=False)


def _redacted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: REDACTED if _is_secret(key) else _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return _USER.sub(f"//{REDACTED}@", value) if isinstance(value, str) else value


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in SECRET_WORDS)
