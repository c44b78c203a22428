"""Which of the known programs a snapshot shows, and whether each runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

import msgspec

from migrate.model.documents import Evidence, Fact
from migrate.model.raw import RawObject
from migrate.scan.inventory.gather import Inventory
from migrate.scan.inventory.look import counted, dig, evidence, first_few, number, text
from migrate.scan.inventory.programs import Program, Role, container_names, programs

State = Literal["active", "present", "absent", "unknown"]

_CONTAINERS = ("spec", "template", "spec", "containers")
_Running: TypeAlias = "Mapping[str, Sequence[Evidence]]"
_STRONGEST_FIRST: tuple[State, ...] = ("active", "unknown", "present", "absent")


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot shows of one program. `enforcing` is None when it cannot be told."""

    program: Program
    state: State
    version: str = ""
    enforcing: bool | None = None
    details: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def id(self) -> str:
        """The program's id."""
        return self.program.id

    def fact(self, topic: str) -> Fact:
        """The statement that the program is there."""
        said = ([self.version] if self.version else []) + list(self.details)
        return Fact(topic=topic, value=self.id, state=self.state, detail=", ".join(said), evidence=self.evidence)


def sightings(inventory: Inventory) -> tuple[Sighting, ...]:
    """The programs that left any trace in the snapshot, by id."""
    running = {} if inventory.was_read("DaemonSet") else inventory.pods.of_daemons
    return tuple(seen for program in programs() if (seen := _sighting(inventory, program, running)) is not None)


def with_role(seen: Iterable[Sighting], role: Role) -> tuple[Sighting, ...]:
    """Those of the sightings that play a role."""
    return tuple(sighting for sighting in seen if role in sighting.program.roles)


def image_version(image: str) -> str:
    """The tag of an image; empty when it has none or is pinned by digest alone."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def at_least(version: str, floor: str) -> bool | None:
    """Whether a version is not older than another, by their leading numbers; None when it has none."""
    numbers = [re.match(r"v?(\d+(?:\.\d+)*)", each) for each in (version, floor)]
    if numbers[0] is None or numbers[1] is None:
        return None
    mine, theirs = (tuple(int(part) for part in match[1].split(".")) for match in numbers if match is not None)
    return mine >= theirs


def _sighting(inventory: Inventory, program: Program, running: _Running) -> Sighting | None:
    """The strongest trace: workloads, then running pods, then what shows without either."""
    found = {raw.ref: raw for w in program.workloads for raw in inventory.all(w.kind) if w.matches(raw)}
    if found:
        return _of_workloads(program, tuple(found.values()))
    return _of_pods(running, program) or _of_kubelet(inventory, program) or _of_groups(inventory, program)


def _of_workloads(program: Program, found: tuple[RawObject, ...]) -> Sighting:
    states = {raw.ref: _workload_state(raw) for raw in found}
    state = min((each[0] for each in states.values()), key=_STRONGEST_FIRST.index)
    leading = next(raw for raw in found if states[raw.ref][0] == state)
    index = _version_container(leading, program)
    version = image_version(text(leading, *_CONTAINERS, index, "image"))
    shown = [evidence(leading, *_CONTAINERS, index, "image")] if version else []
    shown += [evidence(raw, "status", _ready_field(raw)) for raw in found]
    return Sighting(
        program=program,
        state=state,
        version=version,
        enforcing=_enforcing(program, leading, version),
        details=tuple(f"{raw.ref.name}: {states[raw.ref][1]}" for raw in found),
        evidence=tuple(shown),
    )


def _workload_state(raw: RawObject) -> tuple[State, str]:
    """Whether a workload runs, and in words how many of its pods do."""
    path = ("status", "desiredNumberScheduled") if raw.ref.kind == "DaemonSet" else ("spec", "replicas")
    wanted = number(raw, *path)
    ready = number(raw, "status", _ready_field(raw)) or 0
    if wanted is None or dig(raw.data, "status") in (None, {}):
        return "unknown", f"the {raw.ref.kind} carries no status; `kubectl get` of it from the cluster would tell"
    if wanted == 0:
        return "present", "no pod of it is wanted"
    return "active", f"{ready} of {counted(wanted, 'pod')} ready"


def _ready_field(raw: RawObject) -> str:
    return "numberReady" if raw.ref.kind == "DaemonSet" else "readyReplicas"


def _version_container(raw: RawObject, program: Program) -> int:
    names = container_names(raw)
    return names.index(program.container) if program.container in names else 0


def _enforcing(program: Program, raw: RawObject | None, version: str) -> bool | None:
    match program.enforcement:
        case "always":
            return True
        case "never":
            return False
        case "container":
            return None if raw is None else program.switch in container_names(raw)
        case "version":
            return at_least(version, program.switch)
        case "setting":
            return None


def _of_pods(running: _Running, program: Program) -> Sighting | None:
    names = [w.name for w in program.workloads if w.kind == "DaemonSet" and not w.container and not w.windows]
    pods = [shown for daemon, several in running.items() if _any_match(daemon, names) for shown in several]
    if not pods:
        return None
    return Sighting(
        program=program,
        state="active",
        enforcing=_enforcing(program, None, ""),
        details=(f"{counted(len(pods), 'pod')} running; the DaemonSet itself was not read",),
        evidence=first_few(pods),
    )


def _any_match(name: str, globs: list[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _of_kubelet(inventory: Inventory, program: Program) -> Sighting | None:
    """A distribution that runs the program inside its own agent."""
    path = ("status", "nodeInfo", "kubeletVersion")
    nodes = [raw for raw in inventory.all("Node") if program.embedded and program.embedded in text(raw, *path)]
    if not nodes:
        return None
    shown = first_few(evidence(raw, *path) for raw in nodes)
    return Sighting(program=program, state="unknown", details=(program.tell,), evidence=shown)


def _of_groups(inventory: Inventory, program: Program) -> Sighting | None:
    """Kinds of the program that the API knows, though nothing of it runs: leftovers."""
    groups = inventory.groups()
    left = [count for group in program.groups for count in groups.get(group, ())]
    if not left:
        return None
    objects = sum(count.count for count in left)
    said = f"{counted(len(left), 'kind')} of it in the API with {counted(objects, 'object')}"
    state: State = "present" if inventory.shows_workloads else "unknown"
    doubt = "nothing of it runs" if state == "present" else "whether it runs cannot be told: no DaemonSets were read"
    shown = tuple(Evidence(object=f"{c.api_version} {c.kind}", field="count", value=str(c.count)) for c in left)
    return Sighting(program=program, state=state, details=(f"{said}; {doubt}",), evidence=shown)
