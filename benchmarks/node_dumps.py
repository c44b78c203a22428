"""What reading a large node dump costs.

    python -m benchmarks.node_dumps [SERVICES]

By default 15,000 services: 105,000 lines of iptables-save in kube-proxy's form, and as many members of IP sets.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import measure

_PARSERS = {
    "iptables-save": "migrate.sources.node.iptables_save read_iptables_save",
    "ipset save": "migrate.sources.node.ipset_save read_ipset_save",
}
_READ = """
import sys
from importlib import import_module
module, function, path = sys.argv[1:]
getattr(import_module(module), function)(open(path, "rb").read(), path)
"""


def rules(services: int) -> Iterator[str]:
    """The nat table of a node with so many services of one pod each."""
    yield "*nat"
    yield ":KUBE-SERVICES - [0:0]"
    for number in range(services):
        yield f":KUBE-SVC-{number:016X} - [0:0]"
        yield f":KUBE-SEP-{number:016X} - [0:0]"
    for number in range(services):
        service, pod, address = f"KUBE-SVC-{number:016X}", f"KUBE-SEP-{number:016X}", _address(number)
        name = f"namespace{number % 50}/service{number}:http"
        of_service = f'-d {address}/32 -p tcp -m comment --comment "{name} cluster IP" -m tcp --dport 80'
        yield f"-A KUBE-SERVICES {of_service} -j {service}"
        yield f"-A {service} ! -s 10.244.0.0/16 {of_service} -j MARK --set-xmark 0x4000/0x4000"
        yield f'-A {service} -m comment --comment "{name} -> {address}:8080" -j {pod}'
        yield f'-A {pod} -s {address}/32 -m comment --comment "{name}" -j MARK --set-xmark 0x4000/0x4000'
        yield f'-A {pod} -p tcp -m comment --comment "{name}" -m tcp -j DNAT --to-destination {address}:8080'
    yield "COMMIT"


def members(count: int) -> Iterator[str]:
    """Sets of a thousand members each."""
    for number in range(count):
        name = f"azure-npm-{number // 1000}"
        if number % 1000 == 0:
            yield f"create {name} hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x0"
        yield f"add {name} {_address(number)}"


def _address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def main(services: int) -> None:
    """Print one line for each dump: lines, CPU seconds, MiB, both with the start of Python."""
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        for name, lines in (("iptables-save", rules(services)), ("ipset save", members(7 * services))):
            path = Path(folder, "dump.txt")
            written = [f"{line}\n" for line in lines]
            path.write_text("".join(written))
            cost = measure(name, [sys.executable, "-c", _READ, *_PARSERS[name].split(), str(path)])
            print(f"{name:16}{len(written):>9}{cost.cpu_seconds:>9.2f}{cost.memory_mib:>9.0f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15_000)
