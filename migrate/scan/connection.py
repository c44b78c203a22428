"""One authenticated connection to an API server that can only read, and ask what would be taken.

Logging in (certificates, tokens, credential plugins, proxies) is the Kubernetes client's; the answers are taken as raw
bytes, since its typed models cost many times the CPU and refuse a whole page for one odd object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from migrate.errors import ClusterError, InputError
from migrate.scan.kubeconfig import Login, log_in

if TYPE_CHECKING:
    import urllib3
    from kubernetes.client import Configuration

CONNECT_SECONDS = 10
READ_SECONDS = 90
_CHUNK = 1 << 16
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
_SUCCESSES = {"GET": (200,), "POST": (201,), "PUT": (200,), "DELETE": (200, 202)}


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Which cluster to read and as whom; `as_user` and `as_groups` are impersonated."""

    context: str | None = None
    kubeconfig: str | None = None
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()


class RequestError(ClusterError):
    """One request without a usable answer.

    `status` is the HTTP status, None when there was no whole answer; `reached` is False when there was no connection
    at all. `temporary` says whether to ask again, not sooner than after `retry_after` seconds. `continue_token`
    resumes a list that took too long (status 410). `reason` is the server's own message.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reached: bool = True,
        temporary: bool = False,
        retry_after: float | None = None,
        continue_token: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.reached = reached
        self.temporary = temporary
        self.retry_after = retry_after
        self.continue_token = continue_token


class _ErrorMeta(msgspec.Struct, frozen=True):
    continue_token: str = msgspec.field(default="", name="continue")


class _ErrorBody(msgspec.Struct, frozen=True):
    """What is read of the Status object that comes with an error."""

    message: str = ""
    metadata: _ErrorMeta = _ErrorMeta()


class Connection:
    """Reads paths of one API server with GET, and asks with dry runs; nothing is ever changed there."""

    def __init__(self, login: Login, pool: urllib3.PoolManager, impersonation: tuple[tuple[str, str], ...]) -> None:
        self.name = login.name
        self._configuration: Configuration = login.configuration
        self._pool = pool
        self._impersonation = impersonation
        self.host = urlsplit(self._configuration.host).netloc

    def get(self, path: str, accept: str = "application/json") -> bytes:
        """The body of a 200 answer, unpacked. One attempt; raises RequestError for everything else."""
        return self._ask("GET", path, self._headers(accept), None)

    def lines(
        self, path: str, silence: float = READ_SECONDS, begun: Callable[[Callable[[], None]], None] = lambda _: None
    ) -> Iterator[bytes]:
        """The lines of a 200 answer as they come (a watch).

        `begun` is given what breaks the answer off, for another thread. Raises RequestError, also where the answer
        breaks off or nothing comes for `silence` seconds.
        """
        import urllib3

        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=silence)
        url, headers = self._configuration.host + path, self._headers("application/json")
        try:
            answer = self._pool.request(
                "GET", url, headers=headers, retries=False, redirect=False, timeout=timeout, preload_content=False
            )
            with closing(answer):
                if answer.status != 200:
                    raise self._refusal(answer)
                begun(answer.shutdown)
                yield from _lines(answer.stream(_CHUNK, decode_content=True))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._transport_failure(error) from error

    def dry_run(self, path: str, body: bytes) -> None:
        """Ask for an object to be created without storing it. Raises RequestError when the server would not."""
        headers = self._headers("application/json")
        headers["Content-Type"] = "application/json"
        self._ask("POST", f"{path}?dryRun=All&fieldValidation=Strict", headers, body)

    def _ask(
        self,
        method: str,
        path: str,
        headers: urllib3.HTTPHeaderDict,
        body: bytes | None,
        seconds: float = READ_SECONDS,
    ) -> bytes:
        import urllib3

        try:
            answer = self._pool.request(
                method,
                self._configuration.host + path,
                headers=headers,
                body=body,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._transport_failure(error) from error
        if answer.status not in _SUCCESSES[method]:
            raise self._refusal(answer)
        return answer.data

    def _headers(self, accept: str) -> urllib3.HTTPHeaderDict:
        import urllib3

        headers = urllib3.HTTPHeaderDict({"Accept": accept, "Accept-Encoding": "gzip", "User-Agent": "cilium-migrate"})
        authorization = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if authorization is not None:
            headers["Authorization"] = authorization.strip()  # a token file may end with a line break
        for key, value in self._impersonation:
            headers.add(key, value)
        return headers

    def _transport_failure(self, error: Exception) -> RequestError:
        from urllib3 import exceptions

        reason = " ".join(str(error).split())
        if isinstance(error, exceptions.NameResolutionError):
            what = "the name does not resolve; check the server in the kubeconfig, DNS and VPN"
            return RequestError(f"{self.host}: {what}", reached=False)
        if isinstance(error, exceptions.SSLError):
            what = f"no trusted connection: {reason}; check certificate-authority and client-certificate"
            return RequestError(f"{self.host}: {what} in the kubeconfig", reached=False)
        if isinstance(error, exceptions.ProxyError):
            what = f"the proxy failed: {reason}; check proxy-url in the kubeconfig and HTTPS_PROXY"
            return RequestError(f"{self.host}: {what}", reached=False)
        if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
            what = f"no connection: {_last_cause(error)}; check that the cluster runs, VPN and firewall"
            return RequestError(f"{self.host}: {what}, or choose another --context", reached=False, temporary=True)
        return RequestError(f"{self.host}: the answer broke off: {reason}; try again", temporary=True)

    def _refusal(self, answer: urllib3.BaseHTTPResponse) -> RequestError:
        return self._refused(answer.status, answer.data, answer.reason, answer.headers.get("Retry-After"))

    def _refused(self, status: int, content: bytes, reason: str | None, retry_after: str | None) -> RequestError:
        try:
            body = msgspec.json.decode(content, type=_ErrorBody)
        except msgspec.DecodeError:
            body = _ErrorBody()
        message = body.message or reason or "no reason given"
        if status == 401:
            message = (
                "the credentials are wrong or expired; log in again (on AKS: az login, kubelogin) or renew the token"
            )
        return RequestError(
            f"{self.host}: {status}: {message}",
            status=status,
            temporary=status in _TRY_AGAIN,
            retry_after=_seconds(retry_after),
            continue_token=body.metadata.continue_token,
            reason=message,
        )


_Made = TypeVar("_Made", bound=Connection)


def connect(options: ConnectionOptions) -> Connection:
    """A connection to the cluster that the options name; nothing is asked of it yet. Raises as `connect_as` does."""
    return connect_as(Connection, options)


def connect_as(made: type[_Made], options: ConnectionOptions) -> _Made:
    """A connection of a kind to the cluster that the options name; nothing is asked of it yet.

    Raises InputError for a kubeconfig or option that cannot be used, ClusterError when credentials cannot be had.
    """
    impersonation = _impersonation(options)
    login = log_in(options.kubeconfig, options.context)
    return made(login, _pool(login), impersonation)


def _pool(login: Login) -> urllib3.PoolManager:
    from kubernetes.client.rest import RESTClientObject
    from urllib3.exceptions import HTTPError

    server, proxy = login.configuration.host, login.configuration.proxy
    if not re.match(r"https?://[^/\s]+", server):
        raise InputError(f'context "{login.name}": its server "{server}" is no URL; it begins with https://')
    try:
        return RESTClientObject(login.configuration).pool_manager
    except (HTTPError, ImportError, ValueError) as error:
        raise InputError(f'context "{login.name}": proxy {proxy} cannot be used: {error}') from error


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines; what comes after the last line break broke off."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _impersonation(options: ConnectionOptions) -> tuple[tuple[str, str], ...]:
    if options.as_groups and options.as_user is None:
        raise InputError("--as-group needs --as: a group is impersonated together with a user")
    named = [] if options.as_user is None else [("Impersonate-User", options.as_user)]
    headers = (*named, *(("Impersonate-Group", group) for group in options.as_groups))
    for _, value in headers:
        if not value or not value.isascii() or not value.isprintable():
            raise InputError(f"--as {value!r}: not a name that can be impersonated; use printable ASCII")
    return headers


def _last_cause(error: Exception) -> str:
    """The innermost reason ("Connection refused"), without the names of Python objects around it."""
    cause = error.__cause__ or error.__context__
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else "it timed out"


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
