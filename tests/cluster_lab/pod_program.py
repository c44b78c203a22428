"""What runs in a pod of the lab: servers that count who came, and a client that does as it is told.

Started with ports as arguments, TCP/8080 or UDP/53. Each line of its input is an order, each line of its output the
answer; it ends with its input. It needs nothing but Python, since many of it run at the same time.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import threading
from collections import Counter

_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
_served: Counter[str] = Counter()
_kept: list[socket.socket] = []


def main() -> None:
    servers = [(port.partition("/")[0], _listen(*port.split("/"))) for port in sys.argv[1:]]
    threading.Thread(target=_serve, args=(servers,), daemon=True).start()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_done(order)), flush=True)


def _done(order: dict[str, str]) -> dict[str, int]:
    if order["do"] == "served":
        return dict(_served)
    answers: Counter[str] = Counter()
    for _ in range(int(order["times"])):
        answers[_asked(order["protocol"], order["host"], int(order["port"]), float(order["patience"]))] += 1
    return dict(answers)


def _asked(protocol: str, host: str, port: int, patience: float) -> str:
    """One connection or one datagram, and what came of it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, _KINDS[protocol]) as client:
        client.settimeout(patience)
        try:
            client.connect((host, port))
            if protocol == "UDP":
                client.send(b"question")
            client.recv(16)
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "unreachable"
    return "answered"


def _listen(protocol: str, port: str) -> socket.socket:
    server = socket.socket(socket.AF_INET6, _KINDS[protocol])
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", int(port)))
    if protocol == "TCP":
        server.listen(128)
    return server


def _serve(servers: list[tuple[str, socket.socket]]) -> None:
    selector = selectors.DefaultSelector()
    for protocol, server in servers:
        selector.register(server, selectors.EVENT_READ, protocol)
    while True:
        for key, _ in selector.select():
            found = key.fileobj
            assert isinstance(found, socket.socket)
            port = found.getsockname()[1]
            if key.data == "UDP":
                data, sender = found.recvfrom(2048)
                found.sendto(data, sender)
            else:
                client, sender = found.accept()
                with client:
                    client.send(b"welcome")
            source = sender[0].removeprefix("::ffff:")
            _served[f"{source} {key.data}/{port}"] += 1


if __name__ == "__main__":
    main()
