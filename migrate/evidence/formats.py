"""Which program wrote a file, told by its content, and the reader for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from migrate.errors import InputError
from migrate.evidence import calico_flow_logs, calico_log, cilium_monitor, hubble, npm_metrics
from migrate.evidence.seen import Counted, SeenFlow, Unread

Seen: TypeAlias = SeenFlow | Counted | Unread
_Reader: TypeAlias = Callable[[Iterable[bytes], str], Iterator[Seen]]

_LOOKED_AT = 1_000_000
"""Lines. A node's log may have many before the first packet."""
_BEGINNING = 4096
"""Bytes of a line in which a mark has to be."""


@dataclass(frozen=True, slots=True)
class Format:
    """Logs of one program. `mark` takes a few passes over any line. `cannot_tell` is what is missing in all of them."""

    name: str
    what: str
    mark: re.Pattern[bytes]
    read: _Reader
    cannot_tell: tuple[str, ...]


FORMATS = (
    Format(
        hubble.ORIGIN,
        "flows of Hubble, Retina or ACNS as JSON",
        re.compile(
            rb'^[^{]*\{.*"(?:verdict|lost_events|lostEvents|node_status|nodeStatus|l4|drop_reason_desc)"\s*:|\{"flow"\s*:\s*\{"time"',
        ),
        hubble.read,
        (
            "one line is a packet or an aggregate, not a connection",
            "what Hubble's filters, its ring buffer and monitor aggregation left out is not there",
        ),
    ),
    Format(
        calico_flow_logs.ORIGIN,
        "flow logs of Calico as JSON",
        re.compile(rb'^[^{]*\{.*"(?:reporter|dest_name|dest_namespace|destName|source_name_aggr)"\s*:'),
        calico_flow_logs.read,
        (
            "an entry is many connections of some minutes",
            "of pods that are told by the beginning of their name, one stands for all",
            "ICMP has no type in it and is not used",
        ),
    ),
    Format(
        cilium_monitor.ORIGIN,
        "lines of cilium monitor",
        re.compile(
            rb'Policy verdict log: |xx drop \(|^\s*(?:->|<-) .* flow |^[^{]*\{.*"type"\s*:\s*"(?:drop|trace|policy)'
        ),
        cilium_monitor.read,
        ("it has no times: everything is put at the time of the file", "it has no pods, only addresses"),
    ),
    Format(
        calico_log.ORIGIN,
        "packets that Log rules of Calico wrote to the kernel's log",
        re.compile(rb"IN=\S{0,64} OUT=\S{0,64} .{0,256}?SRC=\S{1,64} DST=|-[EI]: policy (?:ALLOWED|DENIED)"),
        calico_log.read,
        (
            "only what a Log rule matched is there, as the first packets of connections",
            "the kernel's log has no verdict: it is not known whether the traffic works today",
        ),
    ),
    Format(
        npm_metrics.ORIGIN,
        "metrics of NPM or Retina",
        re.compile(rb"^(?:# (?:HELP|TYPE) )?(?:npm_|networkobservability_)\w+"),
        npm_metrics.read,
        ("counters, of no single flow: they stand beside the flows and are not judged",),
    ),
)
NAMES = tuple(form.name for form in FORMATS)


def format_of(lines: Iterable[bytes], path: Path, wanted: str | None = None) -> Format:
    """The format of a file. Raises InputError where none fits, or `wanted` is none."""
    if wanted is not None:
        for form in FORMATS:
            if form.name == wanted:
                return form
        raise InputError(f"--format {wanted}: there is no such format; take one of {', '.join(NAMES)}")
    first = b""
    for line in islice(lines, _LOOKED_AT):
        first = first or line.strip()
        for form in FORMATS:
            if form.mark.search(line[:_BEGINNING]):
                return form
    raise InputError(f"{path}: {_why_none(first)}; the formats are {', '.join(NAMES)}")


def _why_none(first: bytes) -> str:
    if not first:
        return "nothing is in this file"
    if first in (b"{", b"[", b"[{"):
        return "JSON over several lines; put each object on one line first: jq -c '.[]?' or jq -c ."
    return "no log of a program that is known; name its format with --format"


def reader_of(form: Format, prefixes: Sequence[str], before: int) -> _Reader:
    """What reads files of a format. Logs of the kernel need prefixes, and in nanoseconds a time when they had ended."""
    if form.name != calico_log.ORIGIN:
        return form.read
    return lambda lines, name: calico_log.read(lines, name, prefixes or calico_log.PREFIXES, before)
