"""What pods sent and got, by their own count, and what a recording has of it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from migrate.audit.layout import address_of
from tests.cluster_lab.pods import LabPod

_NUMBERS = {"TCP": 6, "UDP": 17}
_FLOWS = """
    SELECT veth.pod, direction, source, destination, protocol, port, sum(events)
    FROM flow JOIN veth ON veth.id = flow.veth
    WHERE kind = 0 AND coarse = 0 AND protocol IN (6, 17)
    GROUP BY 1, 2, 3, 4, 5, 6
"""


class Way(NamedTuple):
    """A flow as one pod's interface sees it. `outgoing` from the pod; of those that come, `far` is the source."""

    pod: str
    outgoing: bool
    far: str
    port: str


def counted(pods: Iterable[LabPod]) -> Counter[Way]:
    """What pods asked and served."""
    found: Counter[Way] = Counter()
    for pod in pods:
        for asked, times in pod.sent.items():
            found[Way(pod.name, True, *asked.split(" "))] += times
        for came, times in pod.served().items():
            found[Way(pod.name, False, *came.split(" "))] += times
    return found


def recorded(recording: Path) -> Counter[Way]:
    """What a recording, also a merged one, has of TCP and UDP."""
    found: Counter[Way] = Counter()
    names = {number: name for name, number in _NUMBERS.items()}
    with closing(sqlite3.connect(f"file:{recording}?mode=ro", uri=True)) as connection:
        for pod, direction, source, destination, protocol, port, events in connection.execute(_FLOWS):
            far = address_of(destination if direction == 0 else source)
            found[Way(str(pod), direction == 0, str(ip_address(str(far))), f"{names[protocol]}/{port}")] += events
    return +found
