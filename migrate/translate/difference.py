"""What changed between two translations, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import yaml

from migrate.model.documents import Translation
from migrate.model.finding import Finding
from migrate.sources.fields import dotted

_NOTHING = "nothing"


def differences(
    before: Translation, after: Translation, before_files: Mapping[str, str], after_files: Mapping[str, str]
) -> tuple[str, ...]:
    """One line a difference: + new, - gone, ~ changed. First settings, then results, findings and written objects.

    The files are texts by their path in the output folder.
    """
    return (
        *_settings(before, after),
        *_results(before, after),
        *_findings("", before.findings, after.findings),
        *_files(before_files, after_files),
    )


def differs_otherwise(before: Translation, after: Translation) -> bool:
    """Whether two documents differ in anything but the version of the program that wrote them."""
    return msgspec.structs.replace(before, tool_version=after.tool_version) != after


def _settings(before: Translation, after: Translation) -> Iterator[str]:
    for name in ("target", "networkpolicy", "split", "on_gap", "ordered", "engines", "complete", "accepted"):
        old, new = _shown(getattr(before, name)), _shown(getattr(after, name))
        if old != new:
            yield f"~ {name}: {old} -> {new}"


def _results(before: Translation, after: Translation) -> Iterator[str]:
    old = {result.source: result for result in before.results}
    new = {result.source: result for result in after.results}
    for source in sorted(old.keys() | new.keys(), key=lambda source: (str(source), source.api_version)):
        if source not in new:
            yield f"- {source}: was {old[source].result.value}"
        elif source not in old:
            yield f"+ {source}: {new[source].result.value}"
        else:
            if old[source].result is not new[source].result:
                yield f"~ {source}: {old[source].result.value} -> {new[source].result.value}"
            yield from _findings(f"{source}: ", old[source].findings, new[source].findings)


def _findings(subject: str, before: Sequence[Finding], after: Sequence[Finding]) -> Iterator[str]:
    old = {(finding.id, finding.detail) for finding in before}
    new = {(finding.id, finding.detail) for finding in after}
    for finding in sorted(old ^ new):
        yield f"{'+' if finding in new else '-'} {subject}{finding[0]}: {finding[1]}"


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            yield f"- {path}"
        elif path not in before:
            yield f"+ {path}"
        elif before[path] != after[path]:
            yield from (f"~ {path}: {line}" for line in _fields(before[path], after[path]))


def _fields(before: str, after: str) -> Iterator[str]:
    """The fields in which two objects differ."""
    from deepdiff import DeepDiff

    try:
        old, new = (yaml.load(text, Loader=yaml.CSafeLoader) for text in (before, after))
    except yaml.YAMLError:
        yield "cannot be compared, since the earlier file is no YAML any more"
        return
    found = DeepDiff(old, new, view="tree")
    changes = [change for kind in sorted(found) for change in found[kind]]
    if not changes:
        yield "only its comments"
    for change in sorted(changes, key=lambda change: str(change.path())):
        path = dotted(tuple(change.path(output_format="list")))
        yield f"{path}: {_side(change.t1)} -> {_side(change.t2)}"


def _side(value: object) -> str:
    """One side of a change; deepdiff has a value of its own for what is not there."""
    return _NOTHING if type(value).__name__ == "NotPresent" else _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or _NOTHING
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
