"""Before and around the change: backup, plain policies, freeze, and the translated policies the moment they can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrate.model.documents import EmittedObject, Translation
from migrate.model.plan_documents import Gate, PlanStep, Rollback
from migrate.readiness.documents import Documents
from migrate.readiness.planning.shell import AZ_TARGET, run
from migrate.readiness.route import Route

APPLY = "apply.sh"
BACKUP = "backup"
RESTORE = f"{BACKUP}/restore.sh"
PLAIN = "networkpolicy"
_CRDS: Mapping[str, str] = {
    "CiliumNetworkPolicy": "ciliumnetworkpolicies.cilium.io",
    "CiliumClusterwideNetworkPolicy": "ciliumclusterwidenetworkpolicies.cilium.io",
    "CiliumCIDRGroup": "ciliumcidrgroups.cilium.io",
    "ClusterNetworkPolicy": "clusternetworkpolicies.policy.networking.k8s.io",
}
_FOLDERS = ("cilium", "compat")
_NO_CHANGE = Rollback(possible=True, how="nothing to take back: nothing was changed")


def emitted(translation: Translation) -> Iterator[EmittedObject]:
    """What was written to be applied: of single policies and of the cluster as a whole."""
    for result in translation.results:
        yield from result.objects
    yield from translation.objects


def applied_folders(translation: Translation) -> dict[str, bool]:
    """The folders that hold objects to apply, in the order of applying; True where a kustomization lists them."""
    used = {item.file.partition("/")[0] for item in emitted(translation)}
    return {name: f"{name}/kustomization.yaml" in translation.files for name in _FOLDERS if name in used}


def needed_kinds(translation: Translation) -> tuple[str, ...]:
    """The kinds (as CRDs are named) that the cluster has to know before the objects can be applied."""
    return tuple(dict.fromkeys(_CRDS[kind] for kind in _CRDS for e in emitted(translation) if e.kind == kind))


def prepare_steps(documents: Documents, route: Route) -> tuple[PlanStep, ...]:
    """What is done before the change, and changes nothing of what is enforced."""
    found = [_record(route)]
    if documents.translation is not None and any(result.plain for result in documents.translation.results):
        found.append(_plain())
    found.append(_freeze(documents))
    return tuple(found)


def _record(route: Route) -> PlanStep:
    azure = [
        run(f"az aks show {AZ_TARGET} --output json > az-before.json"),
        run("test -s az-before.json && echo kept", "kept"),
    ]
    return PlanStep(
        id="backup",
        phase="prepare",
        title="Keep what is there",
        why=(
            f"{BACKUP}/ has every policy object of the snapshot, without what the API server adds. The export has them "
            "with all annotations, as they are now."
        ),
        commands=(
            *(azure if route.path == "aks" else ()),
            run(
                "kubectl get networkpolicies.networking.k8s.io --all-namespaces --output yaml "
                "> before-networkpolicies.yaml"
            ),
            run(
                "for kind in $(kubectl api-resources --verbs=list --output name | "
                "grep -E '(projectcalico|policy\\.networking\\.k8s|cilium)\\.(org|io)$'); do\n"
                '  kubectl get "$kind" --all-namespaces --output yaml > "before-$kind.yaml" || true\n'
                "done",
                "a file for each kind of policy that the cluster has",
            ),
            run(f"bash {RESTORE}", "the API server would take every object (a dry run; --apply would apply them)"),
        ),
        rollback=_NO_CHANGE,
    )


def _plain() -> PlanStep:
    return PlanStep(
        id="plain-policies",
        phase="prepare",
        title="Apply the plain policies that both engines enforce",
        why="What stands in them is enforced by the old engine, and by Cilium from its first moment on.",
        commands=(
            run(f"kubectl apply --server-side --dry-run=server --recursive -f {PLAIN}", "no error"),
            run(f"kubectl apply --server-side --recursive -f {PLAIN}"),
        ),
        notes=("Between the engines they do not help: then nothing enforces anything.",),
        rollback=Rollback(possible=True, how="delete them", commands=(run(f"kubectl delete --recursive -f {PLAIN}"),)),
    )


def _freeze(documents: Documents) -> PlanStep:
    owners = sorted(
        {r.owner.name for r in documents.translation.results if r.owner is not None and r.owner.returns == "at_once"}
        if documents.translation is not None
        else ()
    )
    shown = ", ".join(owners[:10]) + (f" and {len(owners) - 10} more" if len(owners) > 10 else "")
    notes = [f"These put policies back at once when somebody changes them: {shown}. Pause them."] if owners else []
    return PlanStep(
        id="freeze",
        phase="prepare",
        title="Stop deployments and policy changes",
        why="What changes from here on was neither proved nor audited.",
        commands=(run("migrate plan --check --dir .", "exit status 0"),),
        notes=(
            *notes,
            "Autoscalers, automatic upgrades and maintenance windows must not begin in the change: pause them too.",
        ),
        rollback=Rollback(possible=True, how="allow deployments again"),
    )


def apply_step(documents: Documents, route: Route) -> PlanStep:
    """The translated policies, the moment Cilium's kinds are Established."""
    translation = documents.translation
    folders = applied_folders(translation) if translation is not None else {}
    before = "Update the data plane to Cilium" if route.path == "aks" else "Let Cilium enforce"
    undo = [
        run(f"kubectl delete --ignore-not-found {'-k' if kustomized else '--recursive -f'} {name}")
        for name, kustomized in reversed(folders.items())
    ]
    why = (
        "Cilium's kinds appear while the nodes are made anew, and Cilium enforces when the last one is: policies that "
        "are there by then are enforced from the first moment."
        if route.path == "aks"
        else "Cilium's kinds are there once it is installed, and it enforces nothing before “Let Cilium enforce”."
    )
    return PlanStep(
        id="apply",
        phase="apply",
        title="Apply the translated policies",
        why=why,
        commands=(
            run(f"bash {APPLY}", "“applied” for each folder: " + ", ".join(folders or ("nothing was translated",))),
            run(
                "kubectl get ciliumnetworkpolicies,ciliumclusterwidenetworkpolicies --all-namespaces",
                _expected(translation),
            ),
        ),
        notes=(
            f"{APPLY} waits for the kinds, asks the API server about every object first (dry run), and applies cilium/ "
            "before compat/. It can be run again.",
            f"It has to be done before the end of “{before}”.",
            "Old NetworkPolicies that mean the same in Cilium stay until the clean-up.",
        ),
        rollback=Rollback(
            possible=True,
            how="delete what was applied; then only old NetworkPolicies are enforced",
            commands=tuple(undo),
        ),
        rules=("CUT-ENFORCEMENT-GAP", "POL-ADMISSION-VAP"),
    )


def _expected(translation: Translation | None) -> str:
    if translation is None:
        return "there is no translation: run migrate translate first"
    wanted = [e for e in emitted(translation) if e.kind in ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")]
    objects = {(e.kind, e.namespace, e.name) for e in wanted}
    return f"{len(objects)} objects of this plan, each valid"


def gates(steps: Sequence[PlanStep]) -> tuple[Gate, ...]:
    """Where to stop and decide: before the first change, before each point of no return, before the clean-up."""
    change = [step for step in steps if step.phase == "change"]
    late = [step for step in steps if step.phase == "clean-up"]
    found = [
        Gate(
            before=change[0].id,
            title="Go or no-go before the first change",
            questions=(
                "Is every precondition met, and was each command run today?",
                "Did migrate plan --check end with 0 within the last hour?",
                "Do the owners of the exposed workloads accept the time without enforcement, or guard them otherwise?",
                "Are the owners of workloads with long-lived connections there?",
                "Was the same plan rehearsed on a copy of this cluster?",
            ),
            no="Stop here: nothing was changed.",
        )
    ]
    for step in change[1:]:
        if step.no_return:
            found.append(
                Gate(
                    before=step.id,
                    title=f"Go or no-go before “{step.title}”: no way back after it",
                    questions=(
                        "Did the step before end with Succeeded, and is every node Ready?",
                        "Do the services that customers see answer?",
                        "Is there enough time left for this step and its worst case?",
                    ),
                    no="Roll back the steps before, as they say, or wait: time without enforcement goes on.",
                )
            )
    return (*found, *([_before_clean_up(late[0].id)] if late else []))


def _before_clean_up(step: str) -> Gate:
    return Gate(
        before=step,
        title="Go or no-go before the clean-up",
        questions=(
            "Are all checks after the change green, for a day at least?",
            "Does nobody need the old policies as a pattern any more (backup/ keeps them)?",
            "Were the objects changed where their owners keep them?",
        ),
        no="Leave the old objects: those that are left mean the same as the new ones.",
    )
