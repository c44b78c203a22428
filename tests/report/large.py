"""A working folder with a recording of many kinds of traffic, all of which would be dropped."""

from __future__ import annotations

from itertools import islice, permutations
from pathlib import Path

import msgspec
from msgspec import structs

from migrate.audited import Place, run_judged
from migrate.scan.taking import ScanInputs
from migrate.workflow import TranslateRequest, run_scan, run_translate, write_translation
from tests.recordings import HOUR, START, Recording

_NODE = "node-1"
_PODS_OF_A_NAMESPACE = 8
_PORTS = (80, 443, 5432, 6379, 8080, 9090)
_HOURS = 24


def large_folder(folder: Path, flows: int) -> Path:
    """A folder whose audit has `flows` kinds of would-be drops between workloads, over a day."""
    pods = [(f"team-{number // _PODS_OF_A_NAMESPACE:02}", f"app-{number:03}") for number in range(_pods_for(flows))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster.yaml").write_text(_cluster(pods))
    inputs = ScanInputs(paths=(str(folder / "cluster.yaml"),))
    run_scan(inputs, folder, "2026-05-10T07:00:00Z", progress=_silent)
    request = TranslateRequest(snapshot=folder / "snapshot.jsonl.gz", inputs=inputs, target="aks-1.34")
    write_translation(folder, run_translate(request, "2026-05-10T07:00:00Z", progress=_silent))
    _record(folder, pods, flows)
    audit = run_judged(Place(folder, policies=folder / "revision.yaml"))
    assert len(audit.would_drop) == flows
    (folder / "audit.json").write_bytes(msgspec.json.encode(structs.replace(audit, policies="revision.yaml")))
    return folder


def _pods_for(flows: int) -> int:
    """The least number of pods with so many ordered pairs."""
    pods = 2
    while pods * (pods - 1) < flows:
        pods += 1
    return pods


def _address(number: int) -> str:
    return f"10.1.{number // 250}.{number % 250 + 2}"


def _cluster(pods: list[tuple[str, str]]) -> str:
    spaces = sorted({namespace for namespace, _ in pods})
    objects = [f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n" for name in spaces]
    objects.append(
        f"apiVersion: v1\nkind: Node\nmetadata: {{name: {_NODE}}}\n"
        "status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}\n"
    )
    objects += [
        f"apiVersion: v1\nkind: Pod\nmetadata: {{namespace: {namespace}, name: {name}, labels: {{app: {name}}}}}\n"
        f"spec: {{nodeName: {_NODE}, containers: [{{name: main}}]}}\n"
        f"status: {{phase: Running, podIP: {_address(number)}}}\n"
        for number, (namespace, name) in enumerate(pods)
    ]
    objects += [
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: {name}, name: own}}\n"
        "spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}\n"
        for name in spaces
    ]
    return "---\n".join(objects)


def _record(folder: Path, pods: list[tuple[str, str]], flows: int) -> None:
    (folder / "revision.yaml").write_text(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: nothing}\n"
        "spec: {endpointSelector: {}, ingress: [{}]}\n"
    )
    place = folder / "audit.db"
    place.unlink(missing_ok=True)
    recording = Recording(place, _NODE)
    recording.execute("UPDATE segment SET ended = ?", START + _HOURS * HOUR)
    recording.execute("BEGIN")
    veths = [recording.veth(f"{namespace}/{name}", until=START + _HOURS * HOUR) for namespace, name in pods]
    for veth in veths:
        recording.insert("gap", veth, START + 13 * HOUR, START + 16 * HOUR, "the agent was restarted")
    for number, (source, target) in enumerate(islice(permutations(range(len(pods)), 2), flows)):
        port = f"TCP/{_PORTS[number % len(_PORTS)]}"
        for hour in {number % _HOURS, number * 7 % _HOURS, number * 11 % _HOURS}:
            ends = (_address(source), _address(target))
            recording.flow(veths[source], "from", *ends, port, events=number % 900 + 1, hour=hour)
    recording.execute("COMMIT")
    recording.close()


def _silent(kind: str, read: int, total: int | None) -> None:
    """The cluster is read in no time."""
