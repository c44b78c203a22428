"""Counters of NPM and of Retina as Prometheus has them. They are of no single flow, and stand beside the flows.

Names: Azure/azure-container-networking npm/metrics, microsoft/retina docs/03-Metrics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Final

from migrate.evidence.numbered import numbered
from migrate.evidence.seen import Counted, Unread
from migrate.evidence.values import brief

ORIGIN: Final = "npm-metrics"

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*,?\s*')
_TELLING = re.compile(
    r"npm_num_(?:policies|iptables_rules|ipsets)|npm_\w*failure\w*|networkobservability_\w*drop_count"
)
_FAILED = ("had_error", "true")


def read(lines: Iterable[bytes], name: str) -> Iterator[Counted | Unread]:
    """What tells of rules: how many there are, how often one could not be written, and what was dropped."""
    for line in numbered(lines, name):
        if isinstance(line, Unread):
            yield line
            continue
        text = line.text.decode(errors="replace")
        if text.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(text)
        value = None if found is None else _value(found["value"])
        if found is None or value is None:
            yield Unread(line.at_line, "unreadable", "not a metric", brief(text))
            continue
        labels = tuple(sorted(_LABEL.findall(found["labels"] or "")))
        is_failure = _FAILED in labels and found["name"].endswith("_count")
        if value and (is_failure or _TELLING.fullmatch(found["name"])):
            yield Counted(ORIGIN, line.at_line, found["name"], labels, value)
        else:
            yield Unread(line.at_line, "no_flow", "a metric that tells nothing of flows")


def _value(text: str) -> int | None:
    """None where it is no number or none that a counter reaches; 0 for what a metric without a value has."""
    try:
        number = float(text)
    except ValueError:
        return None
    if not isfinite(number):
        return 0
    return int(number) if abs(number) < 1 << 63 else None
