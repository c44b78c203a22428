"""Coverage of a cluster: by node, namespace and hour. Watched without traffic is quiet, and not known to be fine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from migrate.audit import words
from migrate.audit.flow_rows import HOUR
from migrate.audit.lives import Life
from migrate.audit.reading import IMPORTED, NodeState, Reading, Segment, Sums
from migrate.audit.world import World
from migrate.model.audit_documents import HourCoverage, NamespaceCoverage, NodeCoverage, PodCoverage, Watching

_SECOND = 1_000_000_000
_NO_RECORDING = "it is in the snapshot, and there is no recording of it"
_SHOWN = 5
_MOST_HOURS = 10_000
"""More than a year."""


def node_coverage(
    reading: Reading, world: World, pods: Sequence[PodCoverage], traffic: Mapping[int, Mapping[int, int]]
) -> tuple[NodeCoverage, ...]:
    """Every node that was watched, that was to be watched, or that the snapshot has, by name."""
    segments: dict[str, list[Segment]] = defaultdict(list)
    for segment in (one for one in reading.segments() if one.attach != IMPORTED):
        segments[segment.node].append(segment)
    told = {row.name: row for row in reading.node_rows()}
    names = segments.keys() | told.keys() | {node.name for node in world.snapshot.nodes}
    of_pods: dict[str, list[PodCoverage]] = defaultdict(list)
    for pod in pods:
        of_pods[pod.node].append(pod)
    hours: dict[str, dict[int, int]] = defaultdict(dict)
    for veth in reading.veths():
        for hour, events in traffic.get(veth.id, {}).items():
            hours[veth.node][hour] = hours[veth.node].get(hour, 0) + events
    sums, interval = reading.sums(), reading.interval() or (0, 0)
    version = reading.meta.get("tool_version", "")
    return tuple(
        _node(name, told.get(name), segments[name], of_pods[name], hours[name], sums, interval, version)
        if segments.get(name)
        else _unwatched(name, told.get(name))
        for name in sorted(names)
    )


def _unwatched(name: str, told: NodeState | None) -> NodeCoverage:
    reason, version = (told.reason, told.tool_version) if told is not None else ("", "")
    return NodeCoverage(name=name, state="not_watched", reason=reason or _NO_RECORDING, tool_version=version)


def _node(
    name: str,
    told: NodeState | None,
    segments: Sequence[Segment],
    pods: Sequence[PodCoverage],
    hours: Mapping[int, int],
    sums: Mapping[int, Sums],
    interval: tuple[int, int],
    version: str,
) -> NodeCoverage:
    ends = [(one.started, max(one.started, one.ended or interval[1])) for one in segments]
    recorded = {hour for start, end in ends for hour in _touched(start, end)}
    whole = _hours(interval)
    own = [sums[one.id] for one in segments if one.id in sums]
    names = _by_pod(pods)
    return NodeCoverage(
        name=name,
        state="traffic" if any(hours.values()) else "quiet",
        reason=told.reason if told is not None else "",
        tool_version=told.tool_version if told is not None else version,
        skew_seconds=round(told.skew / _SECOND, 3) if told is not None else 0.0,
        since=words.moment(min(start for start, _ in ends)),
        until=words.moment(max(end for _, end in ends)),
        recorded_seconds=round(sum(end - start for start, end in ends) / _SECOND, 3),
        alive_seconds=round(sum(pod.alive_seconds for pod in pods), 3),
        watched_seconds=round(sum(pod.watched_seconds for pod in pods), 3),
        pods=len(names),
        quiet_pods=sum(_state(lives) == "quiet" for lives in names.values()),
        connections=sum(hours.values()),
        new_flows=sum(one.new for one in own),
        lost=sum(one.lost for one in own),
        quiet_hours=tuple(words.hour(hour) for hour in whole if hour in recorded and not hours.get(hour)),
        unwatched_hours=tuple(words.hour(hour) for hour in whole if hour not in recorded),
    )


def _by_pod(pods: Iterable[PodCoverage]) -> dict[tuple[str, str], list[PodCoverage]]:
    """The lives of each pod; an interface without one stands for itself."""
    found: dict[tuple[str, str], list[PodCoverage]] = defaultdict(list)
    for pod in pods:
        found[pod.namespace or "", pod.pod or f"{pod.node} {pod.interface}"].append(pod)
    return found


def _state(lives: Iterable[PodCoverage]) -> Watching:
    states = {pod.state for pod in lives}
    return "traffic" if "traffic" in states else "quiet" if "quiet" in states else "not_watched"


def namespace_coverage(pods: Sequence[PodCoverage], world: World) -> tuple[NamespaceCoverage, ...]:
    """Every namespace with pods that were watched, or that could have been, by name."""
    lives: dict[str, dict[tuple[str, str], list[PodCoverage]]] = defaultdict(dict)
    for key, found in _by_pod(pods).items():
        lives[key[0]][key] = found
    missing: dict[str, int] = defaultdict(int)
    for pod in world.snapshot.pods:
        there = lives.get(pod.namespace, {})
        if not pod.host_network and pod.addresses and (pod.namespace, pod.name) not in there:
            missing[pod.namespace] += 1
    return tuple(_namespace(name, lives.get(name, {}), missing[name]) for name in sorted(lives.keys() | missing.keys()))


def _namespace(name: str, lives: Mapping[tuple[str, str], Sequence[PodCoverage]], missing: int) -> NamespaceCoverage:
    states = [_state(found) for found in lives.values()]
    pods = [pod for found in lives.values() for pod in found]
    return NamespaceCoverage(
        namespace=name,
        state="traffic" if "traffic" in states else "quiet" if "quiet" in states else "not_watched",
        pods=len(states),
        quiet_pods=states.count("quiet"),
        not_watched_pods=missing + states.count("not_watched"),
        alive_seconds=round(sum(pod.alive_seconds for pod in pods), 3),
        watched_seconds=round(sum(pod.watched_seconds for pod in pods), 3),
        connections=sum(pod.connections for pod in pods),
    )


def hour_coverage(
    lives: Iterable[Life], traffic: Mapping[int, Mapping[int, int]], interval: tuple[int, int] | None
) -> tuple[HourCoverage, ...]:
    """Every hour of the recording."""
    if interval is None:
        return ()
    alive: dict[int, int] = defaultdict(int)
    watched: dict[int, int] = defaultdict(int)
    for life in lives:
        _spread(alive, life.appeared, life.until)
        for start, stop in life.watched:
            _spread(watched, start, stop)
    events: dict[int, int] = defaultdict(int)
    for hours in traffic.values():
        for hour, count in hours.items():
            events[hour] += count
    return tuple(
        HourCoverage(
            hour=words.hour(hour),
            state="traffic" if events[hour] else "quiet" if watched[hour] else "not_watched",
            alive_seconds=round(alive[hour] / _SECOND, 3),
            watched_seconds=round(watched[hour] / _SECOND, 3),
            connections=events[hour],
        )
        for hour in _hours(interval)
    )


def _hours(interval: tuple[int, int]) -> range:
    """The last ones where a clock was so wrong at first that they were too many."""
    found = _touched(*interval)
    return found[-_MOST_HOURS:]


def _touched(start: int, stop: int) -> range:
    """The hours that a time lies in; one that ends with an hour is not in the next."""
    return range(start // HOUR, max(start, stop - 1) // HOUR + 1)


def _spread(hours: dict[int, int], start: int, stop: int) -> None:
    """Add a time to the hours that it lies in."""
    for hour in _touched(start, stop):
        hours[hour] += max(0, min(stop, (hour + 1) * HOUR) - max(start, hour * HOUR))


def unwatched_nodes(nodes: Iterable[NodeCoverage]) -> Iterator[str]:
    """The nodes that were not watched, by reason; and why some were not watched all of the time."""
    whole: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if node.state == "not_watched":
            whole[node.reason].append(node.name)
        elif node.reason:
            yield f"node {node.name}: {node.reason}"
    for reason, names in sorted(whole.items()):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        count = "1 node was" if len(names) == 1 else f"{len(names)} nodes were"
        yield f"{count} not watched ({reason}): {', '.join(names[:_SHOWN])}{more}"
