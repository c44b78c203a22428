"""Compiles and loads the programs with BCC, and hands their descriptors and those of the maps to its parent.

It runs under the system's Python, which sees Debian's python3-bpfcc, and imports nothing of this package. Its argument
is a socket; standard input is a JSON object with `text`, `maps` and `programs`. BCC's complaints go to standard error.
"""

from __future__ import annotations

import json
import socket
import sys

NO_BCC = 3
"""Exit status: this Python has no BCC."""


def main() -> int:
    """Load what standard input says."""
    try:
        from bcc import BPF
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return NO_BCC
    wanted = json.load(sys.stdin)
    loaded = BPF(text=wanted["text"])
    programs = [loaded.load_func(name, BPF.SCHED_CLS).fd for name in wanted["programs"]]
    maps = [loaded.get_table(name).map_fd for name in wanted["maps"]]
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        socket.send_fds(parent, [b"loaded"], [*programs, *maps])
    return 0


if __name__ == "__main__":
    sys.exit(main())
