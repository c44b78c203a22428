"""The cutover plan of a cluster: what people do in which order, what is open meanwhile, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

import migrate
from migrate.model.plan_documents import (
    Duration,
    Exposure,
    Plan,
    PlanRoute,
    PlanStep,
    Precondition,
    Statement,
    Variable,
)
from migrate.readiness.documents import SNAPSHOT, Documents
from migrate.readiness.helm.values import helm_values
from migrate.readiness.planning.after import after_checks, clean_up_steps, removals, remove_first_step, restarts
from migrate.readiness.planning.apply import apply_step, gates, prepare_steps
from migrate.readiness.planning.azure_commands import minimum_cli
from migrate.readiness.planning.azure_steps import change_steps, late_steps
from migrate.readiness.planning.beside_steps import (
    GUIDE,
    beside_preconditions,
    beside_steps,
    beside_variables,
    remove_old,
)
from migrate.readiness.planning.data import durations, terraform_source
from migrate.readiness.planning.exposure import exposure_of
from migrate.readiness.planning.files import plan_files
from migrate.readiness.planning.pools import Pool, pools_of, reimage_duration
from migrate.readiness.planning.preconditions import azure_preconditions, common_preconditions, pod_network
from migrate.readiness.planning.windows import windows_of
from migrate.readiness.route import Route, Wishes, route_of
from migrate.scan.inventory.look import text


def plan(documents: Documents, now: datetime, wishes: Wishes | None = None) -> Plan:
    """The plan on whatever documents there are; `now` stands in it as the time of its making."""
    route = route_of(documents, wishes or documents.wishes)
    exposure = exposure_of(documents) if route.path in ("aks", "dual-overlay") else None
    made = _base(documents, now, route, exposure)
    if route.path in ("aks", "dual-overlay"):
        made = _planned(made, documents, route, now)
    return msgspec.structs.replace(made, files=tuple(file.path for file in plan_files(documents, made)))


def _base(documents: Documents, now: datetime, route: Route, exposure: Exposure | None) -> Plan:
    header = documents.header
    incomplete = tuple(_incomplete(documents, route, exposure))
    return Plan(
        tool_version=migrate.__version__,
        made=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cluster=_cluster_name(documents) or (header.name if header is not None else ""),
        snapshot_taken=None if header is None else header.taken,
        snapshot_sha256=next((each.sha256 for each in documents.inputs if each.file == SNAPSHOT), None),
        target=None if documents.translation is None else documents.translation.target,
        route=PlanRoute(
            path=route.path,
            title=route.title,
            steps=route.steps,
            engine=route.engine,
            cni=route.cni,
            doubts=route.doubts,
            missing=route.missing,
            choices=route.choices,
        ),
        complete=not incomplete,
        redacted=any(part is not None and part.redacted for part in (header, documents.translation)),
        incomplete=incomplete,
        exposure=exposure,
    )


def _planned(made: Plan, documents: Documents, route: Route, now: datetime) -> Plan:
    pools = pools_of(documents) if route.path == "aks" else ()
    steps = _steps(documents, route, reimage_duration(pools))
    least = minimum_cli(command.text for step in steps for command in (*step.commands, *step.rollback.commands))
    waits, unknown = restarts(documents)
    conditions = _conditions(documents, route, pools, least, now)
    lasting = [step.duration for step in steps if step.duration is not None]
    return msgspec.structs.replace(
        made,
        minimum_cli=least,
        nodes=sum(pool.nodes for pool in pools) or len(documents.by_kind.get("Node", ())) or None,
        expected_minutes=sum(each.expected_minutes for each in lasting) if lasting else None,
        worst_minutes=sum(each.worst_minutes for each in lasting) if lasting else None,
        variables=tuple(_variables(documents, route)),
        preconditions=conditions,
        gates=gates(steps),
        steps=steps,
        windows=windows_of(route, steps),
        restarts=waits,
        restarts_unknown=unknown,
        after_checks=after_checks(documents, route),
        removals=removals(documents),
        sources=tuple(_sources(route, lasting)),
    )


def _steps(documents: Documents, route: Route, duration: Duration | None) -> tuple[PlanStep, ...]:
    """All steps in their order; the translated policies are applied while, or before, Cilium takes over."""
    prepare, apply = prepare_steps(documents, route), apply_step(documents, route)
    gone = removals(documents)
    clean_up, first = clean_up_steps(documents, route, gone), remove_first_step(gone)
    remove = () if first is None else (first,)
    if route.path == "aks":
        return (*prepare, *change_steps(documents, route, duration), apply, *remove, *clean_up, *late_steps(documents))
    beside, nodes, enforce = beside_steps(helm_values(documents))
    kinds = [step for step in clean_up if step.id == "remove-calico-kinds"]
    others = [step for step in clean_up if step not in kinds]
    return (*prepare, beside, apply, nodes, *remove, enforce, *others, remove_old(route), *kinds)


def _conditions(
    documents: Documents, route: Route, pools: Sequence[Pool], least: str | None, now: datetime
) -> tuple[Precondition, ...]:
    special = (
        azure_preconditions(documents, route, pools, least) if route.path == "aks" else beside_preconditions(route)
    )
    return (*special, *common_preconditions(documents, now.date()))


def _variables(documents: Documents, route: Route) -> Iterator[Variable]:
    azure = documents.azure
    if route.path == "aks":
        group = "" if azure is None else text(azure, "spec", "resourceGroup")
        place = "" if azure is None else text(azure, "spec", "location")
        yield _variable("CLUSTER", _cluster_name(documents), "name of the cluster in Azure")
        yield _variable("RESOURCE_GROUP", group, "resource group of the cluster")
        yield _variable("LOCATION", place, "region of the cluster")
        if route.takes("overlay"):
            given = pod_network(documents) if route.cni == "kubenet" else None
            meaning = "pod network of the overlay" + (": the one of today" if given else ", unused anywhere else")
            yield _variable("POD_CIDR", given or "", meaning)
    else:
        yield from beside_variables(helm_values(documents), _target(documents))


def _variable(name: str, value: str, meaning: str) -> Variable:
    return Variable(name=name, value=value or None, meaning=meaning)


def _target(documents: Documents) -> str:
    return "no target yet" if documents.translation is None else documents.translation.target


def _cluster_name(documents: Documents) -> str:
    azure = documents.azure
    return "" if azure is None else text(azure, "spec", "name")


def _incomplete(documents: Documents, route: Route, exposure: Exposure | None) -> Iterator[str]:
    """What the plan rests on and is not known, each with how to get it."""
    if documents.header is not None and not documents.header.complete:
        yield "the snapshot is not complete: its findings say what could not be read"
    yield from route.missing
    if route.path not in ("aks", "dual-overlay"):
        return
    if documents.translation is None:
        yield "there is no translation: `migrate translate`"
    elif not documents.translation.complete:
        yield "the translation is not complete"
    if documents.audit is None:
        yield "live traffic was not audited, so long-lived connections are not known: `migrate audit`"
    if route.path == "aks" and documents.azure is None:
        yield "Azure's own settings are not known: `az aks show -o json`, given to `migrate scan --az-json`"
    if exposure is not None and not exposure.known:
        yield f"who could reach what without enforcement: {'; '.join(exposure.unknown)}"


def _sources(route: Route, lasting: Iterable[Duration]) -> Iterator[Statement]:
    if route.path == "dual-overlay":
        yield GUIDE
        return
    yield durations().together.statement
    yield terraform_source()
    yield from {source.source: source for duration in lasting for source in duration.sources}.values()
