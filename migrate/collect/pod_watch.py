"""Following the pods of one run by list and watch, for all the threads that wait for one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from migrate.collect.manifest import RUN_LABEL
from migrate.collect.pod_connection import PodConnection
from migrate.collect.pod_status import Pod
from migrate.scan.connection import RequestError

_WATCH_SECONDS = 10
"""One watch; the server ends it, so a thread that is to stop does not hold it open for long."""
_AGAIN_SECONDS = 1.0
_TURN_SECONDS = 0.2
"""How long a waiting thread sleeps before it looks whether to stop."""


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _List(msgspec.Struct, frozen=True):
    items: tuple[Pod, ...] = ()
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Versioned(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()


def list_pods(connection: PodConnection, namespace: str, selector: str) -> tuple[tuple[Pod, ...], str]:
    """The pods with a label, and the version from where to watch. Raises RequestError."""
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}"
    try:
        listed = msgspec.json.decode(connection.get(path), type=_List)
    except msgspec.DecodeError as error:
        raise RequestError(f"{path}: an answer that is no list of pods ({error}); try again", temporary=True) from error
    return listed.items, listed.metadata.resource_version


class PodWatch:
    """The newest state of each pod of a run. `trouble` is why the API server does not tell of them, if it does not."""

    def __init__(self, connection: PodConnection, namespace: str, run: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._selector = f"{RUN_LABEL}={run}"
        self._news = threading.Condition()
        self._pods: dict[str, Pod] = {}
        self._gone: set[str] = set()
        self._ended = threading.Event()
        self.trouble: RequestError | None = None

    def start(self) -> None:
        """Begin to watch, in a thread."""
        threading.Thread(target=self._run, name="pods of nodes", daemon=True).start()

    def close(self) -> None:
        """Stop; the thread ends with its last answer."""
        self._ended.set()

    def pod(self, name: str) -> Pod | None:
        """The newest state of a pod, None before it was seen and when it is gone."""
        with self._news:
            return self._pods.get(name)

    def is_gone(self, name: str) -> bool:
        """Whether a pod was there and is not any more."""
        with self._news:
            return name in self._gone

    def wait(self, reached: Callable[[], bool], deadline: float, stop: threading.Event) -> bool:
        """Wait until something is reached, or else the deadline (of time.monotonic) or the wish to stop."""
        with self._news:
            while not reached():
                if stop.is_set() or time.monotonic() >= deadline:
                    return False
                self._news.wait(_TURN_SECONDS)
        return True

    def _run(self) -> None:
        version = ""
        while not self._ended.is_set():
            try:
                version = self._watch(version) if version else self._list()
            except RequestError as error:
                self.trouble = error
                version = ""
            except msgspec.DecodeError as error:
                self.trouble = RequestError(f"the API server tells of pods in a way that is not understood: {error}")
                version = ""
            if not version:
                self._ended.wait(_AGAIN_SECONDS)

    def _list(self) -> str:
        pods, version = list_pods(self._connection, self._namespace, self._selector)
        named = {pod.metadata.name: pod for pod in pods}
        with self._news:
            self._gone |= self._pods.keys() - named.keys()
            self._pods = named
            self._news.notify_all()
        return version

    def _watch(self, version: str) -> str:
        """Changes until the server ends the answer; an empty version asks for a new list."""
        query = f"labelSelector={self._selector}&watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_SECONDS}"
        path = f"/api/v1/namespaces/{self._namespace}/pods?{query}&resourceVersion={version}"
        for line in self._connection.lines(path):
            self.trouble = None
            if self._ended.is_set():
                return version
            event = msgspec.json.decode(line, type=_Event)
            if event.type == "ERROR":
                return ""
            version = msgspec.json.decode(event.object, type=_Versioned).metadata.resource_version or version
            if event.type != "BOOKMARK":
                self._take(event)
        return version

    def _take(self, event: _Event) -> None:
        pod = msgspec.json.decode(event.object, type=Pod)
        with self._news:
            if event.type == "DELETED":
                self._pods.pop(pod.metadata.name, None)
                self._gone.add(pod.metadata.name)
            else:
                self._pods[pod.metadata.name] = pod
            self._news.notify_all()
