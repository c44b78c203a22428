"""What changed between two reports on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from migrate.errors import InputError
from migrate.model.finding import Finding
from migrate.readiness.traffic import ends_text
from migrate.report.document import ChangedFinding, ChangedPolicy, FindingGroup, Report, Since, Standing
from migrate.translate.accepted import object_of


def read_report(path: Path) -> Report:
    """A report that `migrate report -o json` wrote. Raises InputError for anything else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: is no report of this version: {error}; make it again with `migrate report -o json`"
        ) from error


def since(old: Report, new: Report) -> Since:
    """What the new report says otherwise than the old one. Findings that somebody accepted count as gone."""
    before, after = dict(_findings(old)), dict(_findings(new))
    drops_before, drops_after = _drops(old), _drops(new)
    return Since(
        generated=old.generated,
        state=old.answer.state,
        word=old.answer.word,
        new_findings=_ordered(after[key] for key in after.keys() - before.keys()),
        gone_findings=_ordered(before[key] for key in before.keys() - after.keys()),
        policies=tuple(sorted(_policies(old, new), key=lambda policy: policy.object)),
        new_drops=tuple(sorted(drops_after - drops_before)),
        gone_drops=tuple(sorted(drops_before - drops_after)),
    )


def _findings(report: Report) -> Iterator[tuple[tuple[str, ...], ChangedFinding]]:
    """The findings that count, by what makes each the same one when words in its detail change."""
    for group in report.findings:
        if group.accepted:
            continue
        for finding in group.findings:
            key = (group.severity, finding.id, object_of(finding), finding.field or "", _telling(finding))
            yield key, _changed(group, finding)


def _telling(finding: Finding) -> str:
    """What tells two findings about the cluster as a whole apart."""
    return finding.detail.split(":", 1)[0] if finding.subject is None else ""


def _changed(group: FindingGroup, finding: Finding) -> ChangedFinding:
    return ChangedFinding(
        severity=group.severity,
        id=finding.id,
        object=object_of(finding),
        field=finding.field or "",
        detail=finding.detail,
    )


def _ordered(found: Iterator[ChangedFinding]) -> tuple[ChangedFinding, ...]:
    order = ("blocker", "warning", "info")
    return tuple(sorted(found, key=lambda one: (order.index(one.severity), one)))


def _policies(old: Report, new: Report) -> Iterator[ChangedPolicy]:
    before: dict[str, Standing] = {str(row.source): row.standing for row in old.policies}
    after: dict[str, Standing] = {str(row.source): row.standing for row in new.policies}
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            yield ChangedPolicy(object=name, before=before.get(name), after=after.get(name))


def _drops(report: Report) -> set[str]:
    return {ends_text(group) for group in report.audit.would_drop} if report.audit else set()
