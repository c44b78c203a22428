"""Reading nodes by pods that live for a moment: made, followed, and taken away whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass

from migrate.collect.bundle import BundleReader
from migrate.collect.cluster_nodes import ClusterNode
from migrate.collect.manifest import CONTAINER, Images, PodWish, pod_json
from migrate.collect.pod_connection import PodConnection
from migrate.collect.pod_status import Standing, standing
from migrate.collect.pod_watch import PodWatch
from migrate.collect.refusals import refused
from migrate.collect.workers import Workers
from migrate.errors import ClusterError
from migrate.scan.connection import RequestError

_AGAIN_SECONDS = 1.0
_TURN_SECONDS = 0.2
_REMOVE_SECONDS = 60.0
_GRACE_SECONDS = 10.0
"""After so long a pod that does not go is taken out of the API without its kubelet's consent."""
_LAST_WORDS = 3
_TRIES = 3
"""Readings of the log of a pod that ended."""
_DELETED = "somebody else deleted the pod before the node was read, or the node is gone"


@dataclass(frozen=True, slots=True)
class PodSettings:
    """How nodes are read by pods: where, with which images, how long one may take, how many at a time."""

    namespace: str
    images: Images
    seconds: int = 120
    parallel: int = 8


@dataclass(frozen=True, slots=True)
class NodeReading:
    """The files of a node's dump, or (no files) why there are none."""

    node: ClusterNode
    files: dict[str, bytes] | None
    reason: str = ""


class NotReadError(ClusterError):
    """A node that was not read, for the reason in the message."""


def wishes_of(nodes: tuple[ClusterNode, ...], settings: PodSettings, run: str) -> tuple[PodWish, ...]:
    """The pods of a run: one for each node that a pod can read, and that there is an image for."""
    return tuple(
        PodWish(
            f"cilium-migrate-{run}-{number}", settings.namespace, node.name, node.system, image, run, settings.seconds
        )
        for number, node in enumerate(nodes)
        if not node.cannot and (image := settings.images.of(node.system)) is not None
    )


class PodRun:
    """One run over the nodes of a cluster. Whoever iterates over `readings` has to close it, so that the pods go."""

    def __init__(
        self, connection: PodConnection, wishes: tuple[PodWish, ...], settings: PodSettings, stop: threading.Event
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._stop = stop
        self._workers = Workers(wishes, self._reading, settings.parallel, stop)
        self._watch = PodWatch(connection, settings.namespace, wishes[0].run if wishes else "")
        self._made: set[str] = set()
        self._left: set[str] = set()
        self._asking: set[str] = set()

    @property
    def left(self) -> tuple[str, ...]:
        """Pods that could not be taken away, after the end of `readings`."""
        return tuple(sorted(self._left))

    def readings(self) -> Generator[NodeReading, None, None]:
        """What each node gave, as it comes. Ends early when asked to stop; the pods are gone at the end."""
        self._watch.start()
        try:
            yield from self._workers.results()
        finally:
            self._workers.give_up()
            self._remove_all()
            self._watch.close()
        yield from self._workers.rest()

    def _reading(self, wish: PodWish) -> NodeReading:
        node = ClusterNode(wish.node, wish.system)
        deadline = time.monotonic() + wish.seconds
        try:
            self._asking.add(wish.name)
            try:
                self._create(wish, deadline)
            finally:
                self._asking.discard(wish.name)
            self._wait_for_start(wish, deadline)
            return NodeReading(node, self._dump(wish, deadline))
        except ClusterError as error:
            return NodeReading(node, None, str(error))
        finally:
            self._ask_to_go(wish.name, at_once=False)

    def _create(self, wish: PodWish, deadline: float) -> None:
        """Make the pod. A first answer that was lost shows as a conflict with the pod itself.

        A quota that others change at the same time is a conflict too: then there is no pod, and it is asked again.
        """
        body = pod_json(wish)
        self._made.add(wish.name)
        while True:
            self._check_stop()
            try:
                return self._connection.create(f"/api/v1/namespaces/{wish.namespace}/pods", body)
            except RequestError as error:
                if error.status == 409 and "already exists" in error.reason:
                    return None
                if not (error.temporary or error.status == 409) or time.monotonic() >= deadline:
                    raise NotReadError(refused(error, "create pods", wish.namespace)) from error
                self._stop.wait(min(error.retry_after or _AGAIN_SECONDS, max(0.0, deadline - time.monotonic())))

    def _wait_for_start(self, wish: PodWish, deadline: float) -> None:
        self._watch.wait(lambda: self._is_decided(wish.name), deadline, self._stop)
        self._check_stop()
        if self._watch.is_gone(wish.name):
            raise NotReadError(_DELETED)
        now = self._standing(wish.name)
        if now.started:
            return
        if now.ended:
            raise NotReadError(now.failure or "the pod ended without having begun")
        raise NotReadError(f"the pod did not begin within {wish.seconds} s: {self._waits_for(now)}")

    def _is_decided(self, name: str) -> bool:
        now = self._standing(name)
        return now.started or now.ended or self._watch.is_gone(name)

    def _standing(self, name: str) -> Standing:
        pod = self._watch.pod(name)
        return Standing(started=False, ended=False) if pod is None else standing(pod)

    def _waits_for(self, now: Standing) -> str:
        trouble = self._watch.trouble
        if trouble is not None:
            return refused(trouble, "watch pods", self._settings.namespace)
        return f"it waits for {now.waits_for or 'the node'}; kubectl describe pod tells more while it is there"

    def _dump(self, wish: PodWish, deadline: float) -> dict[str, bytes]:
        """The dump that the pod prints. The log is read from its beginning until it is whole or will never be.

        An API server that loses the kubelet in the middle ends its answer as if that were all, so what is missing in
        the log of a pod that ended is believed only after some readings.
        """
        tries = 0
        while True:
            tries += self._standing(wish.name).ended
            reader = BundleReader()
            failure = self._follow(wish, reader, deadline)
            if reader.whole or (tries >= _TRIES and failure is None and not self._standing(wish.name).failure):
                return reader.files()
            self._check_stop()
            self._check_going(wish, reader, tries)
            if time.monotonic() >= deadline:
                raise NotReadError(self._too_late(wish, failure))
            self._pause(wish.name, deadline)

    def _check_going(self, wish: PodWish, reader: BundleReader, tries: int) -> None:
        """Raise NotReadError when the log will never be whole."""
        if self._watch.is_gone(wish.name):
            raise NotReadError(_DELETED)
        failed = self._standing(wish.name).failure
        if failed and tries >= _TRIES:
            raise NotReadError(_with_last_words(failed, reader))

    def _pause(self, name: str, deadline: float) -> None:
        """Wait for the pod's end, or a while."""
        ended = self._standing(name).ended
        soon = min(deadline, time.monotonic() + _AGAIN_SECONDS)
        self._watch.wait(lambda: self._standing(name).ended is not ended, soon, self._stop)

    def _follow(self, wish: PodWish, reader: BundleReader, deadline: float) -> RequestError | None:
        """Read the log until it or the patience ends; why it broke off, if it did."""
        path = f"/api/v1/namespaces/{wish.namespace}/pods/{wish.name}"
        try:
            for line in self._connection.log(path, CONTAINER, max(1.0, deadline - time.monotonic())):
                reader.add(line)
                if reader.whole or self._stop.is_set() or time.monotonic() >= deadline:
                    break
        except RequestError as error:
            if error.status in (401, 403):
                raise NotReadError(refused(error, "get pods/log", wish.namespace)) from error
            return error
        return None

    def _too_late(self, wish: PodWish, failure: RequestError | None) -> str:
        why = f"its log cannot be read: {failure}" if failure else "the collector has not printed the whole dump"
        return f"it was not read within {wish.seconds} s: {why}; give it longer with --node-timeout"

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise NotReadError("reading was interrupted")

    def _ask_to_go(self, name: str, *, at_once: bool) -> None:
        try:
            self._connection.delete(f"/api/v1/namespaces/{self._settings.namespace}/pods/{name}", at_once=at_once)
        except RequestError:
            return  # asked again at the end, where it is told if it stays

    def _remove_all(self) -> None:
        """Take away every pod that may have been made, and see that it is gone. What stays is kept in `left`."""
        began, known = time.monotonic(), set[str]()
        while time.monotonic() - began < _REMOVE_SECONDS:
            working, asking = self._workers.working, set(self._asking)
            self._left |= self._made - known
            known |= self._made
            for name in sorted(self._left):
                if time.monotonic() - began >= _REMOVE_SECONDS:
                    self._left |= asking
                    return
                if self._is_away(name):
                    self._left.discard(name)
                else:
                    self._ask_to_go(name, at_once=time.monotonic() - began > _GRACE_SECONDS)
            self._left |= asking  # a request for a pod may still be under way
            if not working and not self._left:
                return
            time.sleep(_TURN_SECONDS)

    def _is_away(self, name: str) -> bool:
        try:
            self._connection.get(f"/api/v1/namespaces/{self._settings.namespace}/pods/{name}")
        except RequestError as error:
            return error.status == 404
        return False


def _with_last_words(failure: str, reader: BundleReader) -> str:
    words = "; ".join(list(reader.said)[-_LAST_WORDS:])
    return f"{failure}; it said: {words}" if words else failure
