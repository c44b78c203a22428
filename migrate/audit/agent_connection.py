"""What an agent asks of the API server beside reading: its Lease, and events on its own pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate.scan.connection import Connection, RequestError

if TYPE_CHECKING:
    import urllib3

_WRITE_SECONDS = 10.0
"""Shorter than a Lease lasts, so that whoever waits for an answer still knows in time that it leads no more."""


class AgentConnection(Connection):
    """A connection that may also make and replace small objects. Every method raises RequestError."""

    def create(self, path: str, body: bytes) -> bytes:
        """The object as the server has made it."""
        return self._send("POST", path, body)

    def replace(self, path: str, body: bytes) -> bytes:
        """The object as the server has it now; it refuses (409) where `body` has an older resourceVersion."""
        return self._send("PUT", path, body)

    def read(self, path: str) -> bytes:
        """One small object, soon."""
        return self._ask("GET", path, self._headers("application/json"), None, _WRITE_SECONDS)

    def _send(self, method: str, path: str, body: bytes) -> bytes:
        headers = self._headers("application/json")
        headers["Content-Type"] = "application/json"
        return self._ask(method, path, headers, body, _WRITE_SECONDS)

    def _headers(self, accept: str) -> urllib3.HTTPHeaderDict:
        """A pod's token is a file that is replaced while the pod runs."""
        from kubernetes.config import ConfigException

        try:
            return super()._headers(accept)
        except (ConfigException, OSError) as error:
            what = f"the pod's token cannot be read: {error}; mount the service account's token"
            raise RequestError(f"{self.host}: {what}", reached=False, temporary=True) from error
