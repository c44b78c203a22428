"""Helm values and the objects beside them as YAML, each value under a comment with what it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrate import yaml_out
from migrate.model.words import one_line
from migrate.readiness.helm.said import Manifest, Stage, Value
from migrate.readiness.helm.values import HelmValues, tree

_TITLES = {
    Stage.MIGRATION: "Values for Cilium's Helm chart while nodes move to it one by one",
    Stage.FINAL: "Values for Cilium's Helm chart when all nodes have moved",
}


def values_text(values: HelmValues, stage: Stage) -> str:
    """The values of a stage as a file for `helm --values`."""
    chosen = values.of(stage)
    checked = f"# Checked against the charts {', '.join(values.versions)}."
    lines = [f"# {_TITLES[stage]}.", checked]
    lines += [f"# {finding.id}: {_plain(finding.detail)}" for finding in values.findings]
    for top in sorted({value.key.partition(".")[0] for value in chosen}):
        below = [value for value in chosen if value.key.partition(".")[0] == top]
        lines += ["", *_comments(below), yaml_out.dump(tree(below)).rstrip("\n")]
    return "\n".join(lines) + "\n"


def objects_text(objects: Sequence[Manifest]) -> str:
    """Objects beside the chart, as `kubectl apply` takes them; a comment when there are none."""
    return "---\n".join(yaml_out.dump(manifest) for manifest in objects) or "# Nothing is needed here.\n"


def _comments(values: Sequence[Value]) -> Iterator[str]:
    for value in values:
        seen = "; ".join(f"{one.object} {one.field} = {one.value or 'not set'}" for one in value.evidence[:3])
        yield f"# {value.key}: {_plain(value.because)}" + (f" ({_plain(seen)})" if seen else "")


def _plain(text: str) -> str:
    """Text of a cluster on one line, so that it stays within its comment."""
    return one_line(text, " ")
