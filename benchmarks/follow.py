"""How soon a new pod is watched, and what connection tracking costs. Needs root.

    python -m benchmarks follow [PODS]

The clock starts before the command that makes the veth and stops when both directions have their programs.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from migrate.audit import conntrack
from migrate.audit.attach import has_tcx
from migrate.audit.conntrack import Ends
from migrate.audit.kernel import Sizes
from migrate.audit.layout import Control
from migrate.audit.libbpf_probe import LibbpfProbe, open_libbpf_probe
from migrate.audit.loader import objects
from tests.kernel.following import Following, following
from tests.kernel.kube_lab import NODE, Lab
from tests.kernel.lab import inside

_NEVER = 2**63
_SMALL = Sizes(flows=4096, coarse=512, connections=4096)
_PAUSE_SECONDS = 0.05
_FLOWS = 10_000
_ASKED = 500


def print_all(pods: str = "40") -> None:
    """Print a table for each way to attach, then the costs of connection tracking."""
    print(f"{'new veths, ms until watched':30}{'median':>9}{'9 of 10':>9}{'most':>9}{'CPU ms each':>13}")
    for hooks in ("tcx", "clsact") if has_tcx() else ("clsact",):
        with Lab() as lab, tempfile.TemporaryDirectory(prefix="migrate-") as folder:
            with inside(lab.node):
                probe = open_libbpf_probe(objects(), _SMALL, bpffs=None, hooks=hooks)
            try:
                probe.set_control(Control.DEADLINE, _NEVER)
                _print_latencies(lab, probe, Path(folder), int(pods))
            finally:
                probe.remove()
    with Lab() as lab:
        _print_connections(lab)


def _print_latencies(lab: Lab, probe: LibbpfProbe, folder: Path, pods: int) -> None:
    with following(lab, probe, folder / "audit.db") as running:
        running.wait_until(lambda: running.follower.watched == len(lab.pods))
        spent = time.thread_time()
        made = _make(running, pods)
        spent = (time.thread_time() - spent) * 1e3 / pods
        since = {str(name): int(str(moment)) for name, moment in running.told("SELECT name, since FROM veth")}
    waits = sorted((since[name] - begun) / 1e6 for name, begun in made.items())
    print(f"{probe.attached_by:30}{_row(waits)}{spent:>13.1f}", flush=True)


def _make(running: Following, pods: int) -> dict[str, int]:
    """Veths to one pod's namespace, one after the other; when each was begun."""
    begun: dict[str, int] = {}
    peer = running.lab.pods["a"].namespace

    def make() -> None:
        for number in range(pods):
            name = f"new{number}"
            begun[name] = time.time_ns()
            running.lab.run_ip(NODE, f"link add {name} type veth peer name p{name} netns {peer}")
            time.sleep(_PAUSE_SECONDS)

    worker = threading.Thread(target=make)
    worker.start()
    running.wait_until(lambda: not worker.is_alive() and running.follower.watched == len(running.lab.pods) + pods)
    return begun


def _print_connections(lab: Lab) -> None:
    with inside(lab.pods["a"].namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(sender):
        for port in range(1024, 1024 + _FLOWS):
            sender.sendto(b"x", (lab.pods["b"].address, port))
    with inside(lab.node):
        first = next(conntrack.dump())
        seen = Ends(first.protocol, first.client, first.client_port, first.backend, first.backend_port)
        print(f"\n{'connection tracking, CPU':30}{'us':>9}")
        print(f"{'an entry of a dump':30}{_cost(lambda: sum(1 for _ in conntrack.dump())) / _FLOWS:>9.1f}")
        print(f"{'the original of one':30}{_cost(lambda: _ask(seen)) / _ASKED:>9.1f}")
        idle = ip_address(lab.pods["c"].address)
        print(f"{f'a pod among {_FLOWS}':30}{_cost(lambda: sum(1 for _ in conntrack.of_pod(idle))):>9.1f}")


def _ask(seen: Ends) -> None:
    for _ in range(_ASKED):
        conntrack.original_of(seen)


def _cost(work: Callable[[], object]) -> float:
    """Microseconds of CPU, the kernel's part included; the least of three."""
    costs = []
    for _ in range(3):
        started = time.process_time()
        work()
        costs.append((time.process_time() - started) * 1e6)
    return min(costs)


def _row(waits: Sequence[float]) -> str:
    return "".join(f"{wait:>9.1f}" for wait in (waits[len(waits) // 2], waits[len(waits) * 9 // 10], waits[-1]))
