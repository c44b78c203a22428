"""How much of a folder of manifests can be said in Cilium: `python -m benchmarks corpus FOLDER [TARGET]`.

Each file is a cluster of its own. Covered are kept, exact and, where the file has pods, exact_here. Objects that an API
server would refuse and policies for hosts only are counted apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from migrate.errors import InputError
from migrate.model.documents import Result, TranslationResult
from migrate.model.finding import Effect
from migrate.model.forms import Forms
from migrate.model.raw import RawObject
from migrate.proved.proof import proved
from migrate.scan.files import read_files
from migrate.sources.calico import GROUPS
from migrate.translate.engine import translate
from migrate.translate.handover import handed_over
from migrate.translate.profiles import Profile, load_profile

_BY_LABEL = "host endpoints by label, no pods in the file"
_SUFFIXES = (".yaml", ".yml", ".json")
_TARGET = "cilium-1.20"
_INVALID = frozenset({"POL-INVALID", "POL-UNKNOWN-FIELD"})
_WITH_PODS = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"})


@dataclass(slots=True)
class _Figures:
    """Counts by kind; `reasons` are finding ids of results that are not covered, `silent` those without any."""

    results: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    covered: Counter[str] = field(default_factory=Counter)
    apart: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)


def print_all(folder: str, target: str = _TARGET) -> None:
    """Translate every file and print the figures."""
    figures, profile, unread = _Figures(), load_profile(target), 0
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix not in _SUFFIXES or not path.is_file():
            continue
        try:
            reading = read_files([str(path)], None)
        except InputError:
            unread += 1
            continue
        _take(figures, path, reading.objects, profile, complete=reading.complete)
    print("\n".join(_lines(figures)))
    print(f"files that could not be read: {unread}")


def _take(figures: _Figures, path: Path, objects: Sequence[RawObject], profile: Profile, *, complete: bool) -> None:
    engines = ("calico",) if any(raw.ref.group in GROUPS for raw in objects) else ()
    pods = any(raw.ref.kind in _WITH_PODS for raw in objects)
    done = handed_over(translate(objects, profile=profile, engines=engines, complete=complete), objects, Forms())
    done = proved(done, objects, profile)
    everybody = {raw.ref for raw in objects if _selects_everybody(raw)}
    for result in done.translation.results:
        _count(figures, path, result, pods=pods, hosts=not pods and result.source not in everybody)


def _selects_everybody(raw: RawObject) -> bool:
    spec = raw.data.get("spec")
    return not isinstance(spec, dict) or spec.get("selector") in (None, "", "all()")


def _count(figures: _Figures, path: Path, result: TranslationResult, *, pods: bool, hosts: bool) -> None:
    kind = f"{result.source.kind}.{result.source.group}"
    apart = _apart(result, hosts=hosts)
    if apart is not None:
        figures.apart[kind][apart] += 1
        return
    figures.results[kind][result.result.value] += 1
    if result.objects:
        figures.objects.append(len(result.objects))
    if result.result in (Result.KEPT, Result.EXACT) or (result.result is Result.EXACT_HERE and pods):
        figures.covered[kind] += 1
        return
    ids = _reasons(result)
    figures.reasons.update((kind, one) for one in ids)
    if not ids:
        figures.silent.append(f"{path}: {result.source}")


def _apart(result: TranslationResult, *, hosts: bool) -> str | None:
    """Why an object is no policy for pods that an API server would take.

    `hosts`: what matches a host endpoint by label is for hosts, since its file shows no pod with that label.
    """
    ids = {finding.id for finding in result.findings}
    if ids & _INVALID:
        return "invalid"
    if result.result is Result.UNSUPPORTED and "POL-HOST-POLICY" in ids:
        return "hosts only"
    return _BY_LABEL if hosts and _reasons(result) == {"POL-HOSTENDPOINT"} else None


def _reasons(result: TranslationResult) -> set[str]:
    """The findings by which a result is worse than exact; all of them when none says so by its effect."""
    differing = {
        finding.id
        for finding in result.findings
        if finding.effect is not Effect.NONE or finding.effect_on_intent is not Effect.NONE
    }
    if result.result is Result.EXACT_HERE:
        return differing | {"exact_here without pods"}
    return differing or {finding.id for finding in result.findings}


def _lines(figures: _Figures) -> Iterator[str]:
    words = [word.value for word in Result]
    yield f"{'kind':52}{'objects':>9}{'covered':>9}" + "".join(f"{word:>13}" for word in words)
    for kind, counts in sorted(figures.results.items()):
        share = f"{100 * figures.covered[kind] / counts.total():.1f} %"
        yield f"{kind:52}{counts.total():>9}{share:>9}" + "".join(f"{counts[word]:>13}" for word in words)
    for kind, counts in sorted(figures.apart.items()):
        yield f"apart: {kind}: " + ", ".join(f"{count} {why}" for why, count in sorted(counts.items()))
        if counts[_BY_LABEL] and kind in figures.results:
            everything = figures.results[kind].total() + counts[_BY_LABEL]
            with_them = 100 * figures.covered[kind] / everything
            yield f"apart: {kind}: {with_them:.1f} % covered when those of host endpoints by label count"
    if figures.objects:
        yield f"objects written for a source: median {median(figures.objects)}, mean {mean(figures.objects):.3f}"
    for (kind, reason), count in sorted(figures.reasons.items(), key=lambda item: (-item[1], item[0])):
        yield f"not covered: {count} {kind} {reason}"
    yield from (f"not covered and no finding: {text}" for text in figures.silent)
