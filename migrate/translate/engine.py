"""One pass over the source objects of a snapshot: each gets a result, and what is written gets a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

import migrate
from migrate.model.cluster import Cluster
from migrate.model.documents import EmittedObject, Result, Translation, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.sources import calico
from migrate.sources.calico_release import Release, read_release
from migrate.sources.calico_tiers import read_tier
from migrate.sources.cluster import read_cluster
from migrate.sources.endpoints import Backend, read_backends
from migrate.sources.felix import FelixSettings, read_felix
from migrate.sources.kubernetes import NetworkPolicy
from migrate.translate import compat, enforced, guard, hosts, kept, staged
from migrate.translate.admin_policies import admin_guard, check_target, needs_switch, render_admin
from migrate.translate.calico import policy_subjects, translate_calico
from migrate.translate.calico_order import Planned, plan, written
from migrate.translate.calico_ties import note_tie
from migrate.translate.context import Context
from migrate.translate.kinds import CALICO_POLICIES, CILIUM_GROUP, NETWORK_SETS, is_policy, note_other_kind
from migrate.translate.kubernetes import translate_policy
from migrate.translate.limits import forecast
from migrate.translate.lint_rules import problems
from migrate.translate.names import COMPAT_FOLDER, STAGED_FOLDER, TEXT_FOLDER, Names, file_of, is_legal
from migrate.translate.notes import Notes
from migrate.translate.objects import ADMIN_POLICY, CCNP, CIDR_GROUP, CidrGroup, CiliumPolicy
from migrate.translate.profiles import Profile
from migrate.translate.readings import Readings
from migrate.translate.render import JsonMap, render_group, render_policy
from migrate.translate.results import emitted_object, finish, ill_named, is_about_pods, is_unusable
from migrate.translate.schema import violations
from migrate.translate.text import to_text
from migrate.translate.zero_prefix import in_halves


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of the result; `path` is relative to the output folder."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The translation document and the files it names, in order of their paths."""

    translation: Translation
    files: tuple[OutputFile, ...]

    @property
    def to_apply(self) -> tuple[OutputFile, ...]:
        """The files with objects that are meant for a cluster."""
        apart = (item.file for result in self.translation.results for item in (*result.staged, *result.suggested))
        beside = {*self.translation.files, *apart}
        return tuple(file for file in self.files if file.path not in beside)


def translate(
    objects: Sequence[RawObject],
    *,
    profile: Profile,
    engines: tuple[str, ...] = (),
    networkpolicy: str = "rewrite",
    complete: bool = True,
    widen: bool = False,
    host_policies: bool = False,
    ordered: str = "cilium",
) -> Outcome:
    """Translate all policies among the objects for one target.

    `engines` are those that enforce today (see migrate.scan.inventory), () when nobody knows; `complete` says whether
    everything of the cluster could be read; `widen` whether peers may allow more where Cilium cannot allow the same;
    `host_policies` whether policies of Cilium's host firewall are written for HostEndpoints; `ordered` what Calico's
    order becomes. Raises InputError for a target that lacks it.
    """
    admin = ordered == "cluster-network-policy"
    if admin:
        check_target(profile)
    cluster = read_cluster(objects, complete=complete)
    sources = [raw for raw in objects if is_policy(raw.ref)]
    context = Context(cluster, profile, engines, read_sets(sources, cluster), _backends(objects), widen, admin)
    names = Names.beside(raw.ref for raw in sources)
    run = _Run(context, networkpolicy, names, read_felix(objects), read_release(objects))
    if host_policies and (not engines or "calico" in engines):
        run.say_hosts(sources)
    return run.over(sources, complete)


def _backends(objects: Sequence[RawObject]) -> tuple[Backend, ...] | None:
    given = any(raw.ref.kind == "EndpointSlice" for raw in objects)
    return read_backends(objects) if given else None


def read_sets(sources: Sequence[RawObject], cluster: Cluster) -> tuple[calico.NetworkSet, ...]:
    """The network sets among the objects, and host endpoints, which are sets as far as rules are concerned."""
    labels = {namespace.name: namespace.labels for namespace in cluster.namespaces}
    found = [
        calico.read_network_set(raw, labels)
        for raw in sources
        if raw.ref.group in calico.GROUPS and raw.ref.kind in (*NETWORK_SETS, calico.HOST_ENDPOINT)
    ]
    return tuple(sorted(found, key=lambda network_set: network_set.ref.sort_key()))


class _Run:
    """The state of one pass: names given, objects rendered, policies seen."""

    def __init__(
        self,
        context: Context,
        mode: str,
        names: Names,
        felix: FelixSettings,
        release: Release | None,
        folder: str = TEXT_FOLDER,
    ) -> None:
        self.felix = felix
        self.release = release
        self.folder = folder
        self.labels = staged.LABELS if folder == STAGED_FOLDER else ()
        self.sources: Sequence[RawObject] = ()
        self.hosts: dict[ObjectRef, Notes] = {}
        self.host_objects: dict[ObjectRef, tuple[EmittedObject, ...]] = {}
        self.beside: staged.Beside | None = None
        self.context = context
        self.mode = mode
        self.names = names
        self.files: dict[str, OutputFile] = {}
        self.objects: list[EmittedObject] = []
        self.written: list[RawObject] = []
        self.places: dict[ObjectRef, str] = {}
        self.group_names: dict[ObjectRef, str] = {}
        self.used_sets: set[ObjectRef] = set()
        self.policies: list[NetworkPolicy] = []
        self.refused: set[ObjectRef] = set()
        self.planned: dict[ObjectRef, Planned] = {}
        self.readings = Readings()

    def say_hosts(self, sources: Sequence[RawObject]) -> None:
        """Write the policies of the host firewall, before anything says that hosts have none."""
        named = sorted((raw for raw in sources if is_legal(raw.ref)), key=lambda raw: raw.ref.sort_key())
        given = hosts.host_sources(named, self.context, self.felix, self.readings.calico)
        profile = msgspec.structs.replace(self.context.profile, host_firewall=True)
        said = hosts.said_hosts(
            given, self.context, self._group_name, lambda name: self.names.give(CCNP, None, name, "migrated")
        )
        for data, refs, description in said.written:
            refused = [*violations(data, profile), *problems(data, profile)]
            hosts.note_refused(refused, refs, said, profile.name)
            if not refused:
                path = file_of(CCNP, None, RawObject(data).ref.name)
                self.files[path] = OutputFile(path, to_text(data, said.notes[refs[0]], profile.name, description))
                self.host_objects |= dict.fromkeys(refs, (emitted_object(data, None, path),))
        self.hosts = said.notes
        self.used_sets |= said.used
        self.context = replace(self.context, hosts_said=frozenset(said.said))

    def over(self, sources: Sequence[RawObject], complete: bool) -> Outcome:
        ordered = self.sources = sorted(sources, key=lambda raw: raw.ref.sort_key())
        sets = [raw for raw in ordered if raw.ref.kind in NETWORK_SETS]
        self.planned = self._plan(ordered)
        results = [self._result(raw) for raw in ordered if raw.ref.kind not in NETWORK_SETS]
        results += [self._set_result(raw) for raw in sets]
        findings = enforced.cluster_findings(self.policies, self.refused, self.context, self.readings.calico_policies)
        findings += [*self._guard(), *self._compat(), *self._needs()]
        enforced_then = [*self.written, *self._staying(ordered, results)]
        findings += forecast(enforced_then, self.context.cluster, self.context.profile)
        translation = Translation(
            tool_version=migrate.__version__,
            target=self.context.profile.name,
            ordered="cluster-network-policy" if self.context.admin else "cilium",
            networkpolicy="rewrite" if self.mode == "rewrite" else "keep" if self.mode == "keep" else "supplement",
            engines=self.context.engines,
            complete=complete,
            results=tuple(sorted(results, key=lambda result: result.source.sort_key())),
            objects=tuple(self.objects),
            findings=tuple(sorted(findings, key=Finding.sort_key)),
        )
        return Outcome(translation, tuple(self.files[path] for path in sorted(self.files)))

    def _compat(self) -> list[Finding]:
        """Objects apart that keep what today's engine lets through beyond the policies' text."""
        found = compat.compat(self.policies, self.refused, self.context, self.names)
        findings = list(found.findings)
        for item in found.kept:
            data = render_policy(item.policy)
            refused = self._refused_by_target(data)
            findings += [compat.refused_finding(item, self.context.profile.name, text) for text in refused]
            if refused:
                continue
            path = file_of(item.policy.kind, item.policy.namespace, item.policy.name, COMPAT_FOLDER)
            self.files[path] = OutputFile(path, compat.to_text(data, item))
            self.objects.append(emitted_object(data, item.policy.namespace, path))
            self.written.append(RawObject(data))
        return findings

    def _staying(self, sources: Sequence[RawObject], results: Sequence[TranslationResult]) -> list[RawObject]:
        """Policies of today that Cilium will enforce beside what is written."""
        rewritten = {result.source for result in results if result.objects}
        native = [raw for raw in sources if raw.ref.group == CILIUM_GROUP]
        if self.mode == "rewrite":
            return native
        return native + [raw for raw in sources if raw.ref.group == "networking.k8s.io" and raw.ref not in rewritten]

    def _plan(self, sources: Sequence[RawObject]) -> dict[ObjectRef, Planned]:
        """What the order of Calico's policies makes of them, and of NetworkPolicies among them."""
        named = [raw for raw in sources if is_legal(raw.ref)]
        own = [raw for raw in named if raw.ref.group in calico.GROUPS]
        policies = [self.readings.calico(raw) for raw in own if raw.ref.kind in CALICO_POLICIES]
        if not policies or (self.context.engines and "calico" not in self.context.engines):
            return {}
        tiers = [read_tier(raw) for raw in own if raw.ref.kind == "Tier"]
        others = [self.readings.kubernetes(raw) for raw in named if raw.ref.group == "networking.k8s.io"]
        usable: list[calico.CalicoPolicy | NetworkPolicy] = [policy for policy in policies if not policy.problems]
        usable += [policy for policy in others if not policy.problems]
        return plan(usable, tiers, self.context.exact, self.release)

    def _result(self, raw: RawObject) -> TranslationResult:
        notes = self.hosts.get(raw.ref, Notes(raw.ref, raw.at()))
        if not is_legal(raw.ref):
            return ill_named(notes)
        if raw.ref in self.hosts:
            return finish(notes, self.host_objects.get(raw.ref, ()))
        self._note_namespace(raw, notes)
        if raw.ref.kind == "NetworkPolicy" and raw.ref.group == "networking.k8s.io":
            emitted = self._network_policy(raw, notes)
        elif raw.ref.group in calico.GROUPS and raw.ref.kind in CALICO_POLICIES:
            emitted = self._calico_policy(raw, notes)
        elif raw.ref.group in calico.GROUPS and raw.ref.kind.startswith("Staged"):
            return self._staged(raw, notes)
        else:
            note_other_kind(raw, self.context, notes)
            emitted = self._already_cilium(raw, notes)
        return finish(notes, emitted)

    def _staged(self, raw: RawObject, notes: Notes) -> TranslationResult:
        """What a staged policy would mean by itself, as a run of its own into another folder."""
        tiers = [item for item in self.sources if item.ref.group in calico.GROUPS and item.ref.kind == "Tier"]
        if self.beside is None:
            self.beside = staged.beside(self.sources, self.readings.policy, [read_tier(item) for item in tiers])
        others = self.beside
        if not staged.is_to_be_written(raw, others, self.context, notes):
            return finish(notes, ())
        names = staged.StagedNames(self.names.taken)
        run = _Run(self.context, "rewrite", names, self.felix, self.release, STAGED_FOLDER)
        plain = staged.enforced_form(raw)
        run.planned = run._plan([plain, *tiers])
        alone = run._result(plain)
        for item in self.sources:
            if item.ref in run.used_sets:
                run._set_result(item)
        self.files |= {path: replace(file, text=staged.commented(file.text, raw)) for path, file in run.files.items()}
        staged.note_meaning(raw, alone, others, self.context, notes)
        emitted = tuple(emitted_object(item.data, item.ref.namespace, run.places[item.ref]) for item in run.written)
        return msgspec.structs.replace(finish(notes, ()), staged=emitted)

    def _note_namespace(self, raw: RawObject, notes: Notes) -> None:
        known = self.context.namespaces
        if self.context.cluster.complete and known and raw.ref.namespace and raw.ref.namespace not in known:
            notes.find("POL-NAMESPACE-MISSING", f"namespace {raw.ref.namespace} is not in the snapshot")

    def _network_policy(self, raw: RawObject, notes: Notes) -> tuple[EmittedObject, ...]:
        policy = self.readings.kubernetes(raw)
        if is_unusable(policy.problems, self.context, notes):
            return ()
        self.policies.append(policy)
        refused = enforced.refusal(policy, raw, self.context)
        if refused:
            self.refused.add(policy.ref)
        enforced.note_policy(policy, refused, self.context, notes)
        if self.mode == "keep":
            kept.keep(policy, self.context, notes)
            return ()
        differs = kept.differences(policy, self.context)
        if self.mode == "supplement" and not differs:
            return self._supplement(policy, notes)
        name = self.names.give("CiliumNetworkPolicy", raw.ref.namespace or "default", raw.ref.name, "migrated")
        planned = self.planned.get(raw.ref)
        note_tie(planned.tied if planned else None, notes)
        if planned is not None and not planned.as_written:
            return self._compiled(policy, planned, name, notes)
        said = translate_policy(policy, name, self.context, notes)
        if said is None:
            return ()
        for _, text in differs:
            notes.find("POL-SOURCE-STAYS", f"{text}: delete the original once the translated policy is in force")
        return self._write_policy(said, notes)

    def _supplement(self, policy: NetworkPolicy, notes: Notes) -> tuple[EmittedObject, ...]:
        namespace = policy.ref.namespace or "default"
        added = kept.supplement(policy, policy.ref.name, self.context, notes)
        kept.note_sctp(policy, self.context, notes)
        if added is None:
            if notes.result in (Result.EXACT, Result.EXACT_HERE):
                notes.result = Result.KEPT
            return ()
        name = self.names.give("CiliumNetworkPolicy", namespace, f"{policy.ref.name}-supplement", "migrated")
        return self._write_policy(replace(added, name=name), notes)

    def _calico_policy(self, raw: RawObject, notes: Notes) -> tuple[EmittedObject, ...]:
        policy = self.readings.calico(raw)
        if self.context.engines and "calico" not in self.context.engines:
            text = "Calico does not run, so nothing enforces it today, and nothing will: no object was written for it"
            notes.find("POL-NOT-ENFORCED", text, on_intent=Effect.UNKNOWN, result=Result.UNSUPPORTED)
            return ()
        if is_unusable(policy.problems, self.context, notes) or not is_about_pods(policy, notes):
            return ()
        kind = "CiliumNetworkPolicy" if policy.namespace else "CiliumClusterwideNetworkPolicy"
        name = self.names.give(kind, policy.namespace, policy.name, "calico")
        planned = self.planned.get(raw.ref)
        note_tie(planned.tied if planned else None, notes)
        if planned is not None and not planned.as_written:
            if policy_subjects(policy, self.context, notes) is None:
                return ()
            return (*self._compiled(policy, planned, name, notes), *self._admin(policy, planned, notes))
        found = translate_calico(policy, name, self.context, notes, self._group_name)
        if found is None:
            return ()
        self.used_sets |= {network_set.ref for network_set in found.groups}
        return self._write_policy(found.policy, notes)

    def _compiled(
        self, policy: calico.CalicoPolicy | NetworkPolicy, planned: Planned, name: str, notes: Notes
    ) -> tuple[EmittedObject, ...]:
        """A policy whose translation depends on others, or needs more than one rule for one."""
        notes.add(planned.notes)
        if planned.emissions is None:
            notes.find(
                "POL-ORDER-TOO-LARGE",
                "working the order of the policies into it takes more pieces than the cap; simplify selectors or "
                "ports of overlapping policies",
                effect=Effect.UNKNOWN,
                on_intent=Effect.UNKNOWN,
                result=Result.UNSUPPORTED,
            )
            return ()
        if notes.result is Result.UNSUPPORTED:
            return ()
        if not planned.reaches:
            notes.find("POL-ORDER-UNREACHED", "no flow comes to it: policies before it decide them all")
        elif planned.is_cut:
            text = "earlier rules decide some of the flows that it allows; these were taken out"
            notes.find("POL-ORDER-WORKED-IN", text)
        found = written(policy, planned, name, self.context, notes)
        return () if found is None else self._write_policy(found, notes)

    def _admin(self, policy: calico.CalicoPolicy, planned: Planned, notes: Notes) -> tuple[EmittedObject, ...]:
        """What of the policy stands in the Admin tier."""
        wanted = f"{policy.namespace}.{policy.name}" if policy.namespace else policy.name
        found: list[EmittedObject] = []
        for item in planned.admin if notes.result is not Result.UNSUPPORTED else ():
            number = len(found)
            name = self.names.give(ADMIN_POLICY, None, f"{wanted}-{number + 1}" if number else wanted, "calico")
            found += self._write(render_admin(item, name, policy.ref), None, notes, "the same order, in the Admin tier")
        return tuple(found)

    def _group_name(self, network_set: calico.NetworkSet) -> str:
        if network_set.ref not in self.group_names:
            wanted = f"{network_set.namespace}.{network_set.name}" if network_set.namespace else network_set.name
            self.group_names[network_set.ref] = self.names.give(CIDR_GROUP, None, wanted, "migrated")
        return self.group_names[network_set.ref]

    def _set_result(self, raw: RawObject) -> TranslationResult:
        notes = Notes(raw.ref, raw.at())
        if not is_legal(raw.ref):
            return ill_named(notes)
        found = next(network_set for network_set in self.context.sets if network_set.ref == raw.ref)
        if is_unusable(found.problems, self.context, notes):
            return finish(notes, ())
        if raw.ref not in self.used_sets:
            notes.find("POL-NETWORKSET-UNUSED", "no translated policy refers to it, so nothing was written")
            return finish(notes, ())
        group = CidrGroup(
            name=self._group_name(found),
            api_version=f"cilium.io/{self.context.profile.cidr_group_api_version}",
            networks=found.nets,
            labels=self.labels,
            source=found.ref,
            at=found.at,
        )
        return finish(notes, self._write(render_group(group), None, notes, "the same addresses"))

    def _already_cilium(self, raw: RawObject, notes: Notes) -> tuple[EmittedObject, ...]:
        if raw.ref.group == "cilium.io":
            for text in violations(raw.data, self.context.profile):
                detail = f"{self.context.profile.name} would refuse it: {text}"
                notes.find("POL-PROFILE-REFUSES", detail, effect=Effect.UNKNOWN, on_intent=Effect.UNKNOWN)
        return ()

    def _write_policy(self, policy: CiliumPolicy, notes: Notes) -> tuple[EmittedObject, ...]:
        marked = replace(in_halves(policy, self.context, notes), labels=(*policy.labels, *self.labels))
        return self._write(render_policy(marked), policy.namespace, notes, policy.description)

    def _write(self, data: JsonMap, namespace: str | None, notes: Notes, description: str) -> tuple[EmittedObject, ...]:
        """One object with its file; when the target would refuse it, a finding and nothing written."""
        refused = self._refused_by_target(data)
        for text in refused:
            notes.find(
                "POL-PROFILE-REFUSES",
                f"{self.context.profile.name} would refuse the translated object: {text}",
                effect=Effect.UNKNOWN,
                on_intent=Effect.UNKNOWN,
                result=Result.UNSUPPORTED,
            )
        if refused:
            return ()
        raw = RawObject(data)
        ref = raw.ref
        self.written.append(raw)
        path = self.places[ref] = file_of(ref.kind, namespace, ref.name, self.folder)
        self.files[path] = OutputFile(path, to_text(data, notes, self.context.profile.name, description))
        return (emitted_object(data, namespace, path),)

    def _refused_by_target(self, data: JsonMap) -> list[str]:
        return [*violations(data, self.context.profile), *problems(data, self.context.profile)]

    def _guard(self) -> list[Finding]:
        """What Calico does to all pods beside policy, by its settings."""
        if "calico" not in self.context.engines:
            return []
        found = guard.host_action_findings(self.felix)
        if self.felix.drops_vxlan:
            name = self.names.give(CCNP, None, guard.NAME, "migrated")
            path = self._write_guard(guard.vxlan_guard(name, self.felix.vxlan_port))
            found.append(guard.finding(path, self.felix.vxlan_port))
            if self._writes_admin():
                name = self.names.give(ADMIN_POLICY, None, guard.NAME, "migrated")
                self._write_guard(admin_guard(name, self.felix.vxlan_port, guard.ORIGIN))
        return found

    def _write_guard(self, data: JsonMap) -> str:
        """The file of an object that belongs to no policy."""
        raw = RawObject(data)
        path = file_of(raw.ref.kind, None, raw.ref.name)
        self.files[path] = OutputFile(path, guard.text(data))
        self.objects.append(emitted_object(data, None, path))
        self.written.append(raw)
        return path

    def _writes_admin(self) -> bool:
        return any(raw.ref.kind == ADMIN_POLICY for raw in self.written)

    def _needs(self) -> list[Finding]:
        """What the target has to be told before what was written is in force."""
        return [needs_switch(self.context.profile.name)] if self._writes_admin() else []
