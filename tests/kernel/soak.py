"""A whole `migrate audit` beside the traffic of a busy node, and what its recording says in the end."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from migrate.audit.attach import foreign_tcx
from migrate.audit.layout import Direction
from migrate.audit.reading import Loss, Sums, open_recording
from migrate.model.raw import Json
from tests.kernel.audited_lab import OTHER_POLICIES, auditing, policy, working_folder
from tests.kernel.kube_lab import Lab
from tests.kernel.lab import inside, run
from tests.kernel.traffic import Key, Mix

PODS = 5
_MAPPED = b"\0" * 10 + b"\xff\xff"
_LONG = "24h"
_B_FROM_PODS: dict[str, Json] = {"ingress": [{"fromEntities": ["cluster"]}]}
Sampler = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Soaked:
    """How an audit ended, and its recording: of the keys that were sent, those that are exact, coarse or nowhere.

    `attached` is what still runs at the pods' interfaces.
    """

    status: int
    stderr: str
    attached: list[str]
    open_gaps: int
    sums: Sums
    losses: tuple[Loss, ...]
    counters: dict[str, int]
    epochs: int
    recording_bytes: int
    exact: int
    coarse: int
    nowhere: int


def soak(folder: Path, bpffs: Path, wanted: int, seconds: int, sample: Sampler = lambda _: None) -> Soaked:
    """Audit while `wanted` distinct flows come within so long, and end it then by a signal.

    `sample` gets the agent's process id each second.
    """
    with Lab() as lab, Mix(lab, wanted) as mix:
        working_folder(folder, lab, [policy("b", "b", _B_FROM_PODS)])
        with auditing(lab, folder, bpffs, _LONG, *OTHER_POLICIES, "--quiet") as audit:
            audit.wait_until_watching(PODS)
            mix.run(seconds, lambda: sample(audit.process.pid))
            audit.signal(signal.SIGTERM)
            status, _, stderr = audit.end()
        ending = _Ending(status, stderr, _attached(lab))
        return _soaked(audit.recording, mix.keys, ending)


class _Ending(NamedTuple):
    status: int
    stderr: str
    attached: list[str]


def _attached(lab: Lab) -> list[str]:
    """Programs of TCX and filters of clsact, at both directions of all pods."""
    found: list[str] = []
    with inside(lab.node):
        for pod in lab.pods.values():
            found += [name for direction in Direction if (name := foreign_tcx(pod.ifindex, direction))]
    for pod, way in product(lab.pods.values(), ("ingress", "egress")):
        found += run("tc", "-n", lab.node, "filter", "show", "dev", pod.veth, way).splitlines()
    return found


def _soaked(recording: Path, keys: frozenset[Key], ending: _Ending) -> Soaked:
    with open_recording(recording) as reading:
        (sums,) = reading.sums().values()
        losses = reading.losses()
        open_gaps = sum(gap.until is None for gap in reading.gaps())
    with closing(sqlite3.connect(f"file:{recording}?mode=ro", uri=True)) as connection:
        counters = dict(connection.execute("SELECT name, value FROM counter").fetchall())
        ((epochs,),) = connection.execute("SELECT count(*) FROM epoch").fetchall()
        rows = {
            (bool(coarse), Key(not direction, *ends))
            for coarse, direction, *ends in connection.execute(
                "SELECT coarse, direction, source, destination, protocol, port FROM flow WHERE kind = 0 AND events > 0"
            )
        }
    exact = sum((False, key) in rows for key in keys)
    coarse = sum((False, key) not in rows and (True, _cut(key)) in rows for key in keys)
    nowhere = len(keys) - exact - coarse
    size = recording.stat().st_size
    return Soaked(*ending, open_gaps, sums, losses, counters, epochs, size, exact, coarse, nowhere)


def _cut(key: Key) -> Key:
    """The coarse row's key, where the table was full: the far end without its last half, and no port."""
    far = key.destination if key.outgoing else key.source
    far = far[:14] + b"\0\0" if far.startswith(_MAPPED) else far[:4] + b"\0" * 12
    ends = (key.source, far) if key.outgoing else (far, key.destination)
    return Key(key.outgoing, *ends, key.protocol, 0)
