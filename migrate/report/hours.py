"""When traffic was seen, as one letter for each hour, and the picture of it. A gap in the watch is drawn as a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from migrate.model.audit_documents import Audit, AuditEnd, CoverageGap, ObservedGroup, PodCoverage

GAP = "x"
_MOST_BINS = 48
_TOP = 9
_WIDTH, _HEIGHT = 4, 18
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """Equal bins of whole hours, from the first hour of an audit to its last."""

    start: datetime
    bins: int
    step: int

    def bin_of(self, moment: datetime) -> int:
        """The bin in which a moment lies, kept inside."""
        hours = (moment - self.start) // _HOUR
        return min(max(hours // self.step, 0), self.bins - 1)

    def begins(self, number: int) -> datetime:
        """When a bin begins."""
        return self.start + number * self.step * _HOUR


def clock_of(audit: Audit) -> Clock | None:
    """The bins for an audit; None when it recorded nothing."""
    if audit.since is None or audit.until is None:
        return None
    start = _moment(audit.since).replace(minute=0, second=0, microsecond=0)
    hours = max(-(-(_moment(audit.until) - start) // _HOUR), 1)
    step = -(-hours // _MOST_BINS)
    return Clock(start, -(-hours // step), step)


@dataclass(frozen=True, slots=True)
class Watch:
    """The bins in which a workload's pods were not watched all the time."""

    clock: Clock
    gaps: Mapping[tuple[str, str], frozenset[int]]

    def letters(self, group: ObservedGroup) -> str:
        """One letter for each bin: 0 to 9 for what was seen, x where nothing was and nobody watched all the time."""
        counts = [0] * self.clock.bins
        for hour, events in group.hours.items():
            counts[self.clock.bin_of(_moment(f"{hour}:00:00Z"))] += events
        top = max(counts, default=0) or 1
        missing = self._missing(group.source) | self._missing(group.destination)
        return "".join(
            GAP if not count and number in missing else str(-(-count * _TOP // top))
            for number, count in enumerate(counts)
        )

    def _missing(self, end: AuditEnd) -> frozenset[int]:
        return self.gaps.get((end.namespace, end.name), frozenset()) if end.kind == "pod" else frozenset()


def watch_of(audit: Audit) -> Watch | None:
    """What was watched, bin by bin."""
    clock = clock_of(audit)
    if clock is None:
        return None
    found: dict[tuple[str, str], set[int]] = {}
    for pod in audit.coverage:
        bins = found.setdefault((pod.namespace or "", pod.workload or pod.pod or ""), set())
        for gap in pod.gaps:
            bins.update(_touched(clock, gap))
    return Watch(clock, {key: frozenset(bins) for key, bins in found.items()})


def _touched(clock: Clock, gap: CoverageGap) -> Iterable[int]:
    """The bins that a gap reaches into."""
    first = clock.bin_of(_moment(gap.since))
    if gap.until is None:
        return range(first, clock.bins)
    return range(first, clock.bin_of(_moment(gap.until) - timedelta(seconds=1)) + 1)


def pod_letters(clock: Clock, pod: PodCoverage) -> str:
    """One letter for each bin of a pod: 9 for watched, x where a gap reaches in."""
    missing = {number for gap in pod.gaps for number in _touched(clock, gap)}
    return "".join(GAP if number in missing else str(_TOP) for number in range(clock.bins))


def hours_words(letters: str, step: int) -> str:
    """The picture in words."""
    unit = "hours" if step == 1 else f"spans of {step} hours"
    seen = sum(letter not in f"0{GAP}" for letter in letters)
    gaps = letters.count(GAP)
    missing = f", {gaps} not watched all the time" if gaps else ""
    return f"seen in {seen} of {len(letters)} {unit}{missing}"


def hours_picture(letters: str, words: str, kind: str = "seen") -> Markup:
    """Bars for what was seen, a hollow box where nobody watched. report.js draws the same."""
    bars = "".join(
        f"M{number * _WIDTH} {_HEIGHT}v-{int(letter) * 2}h3v{int(letter) * 2}z"
        for number, letter in enumerate(letters)
        if letter not in f"0{GAP}"
    )
    boxes = ((start * _WIDTH, width * _WIDTH - 1) for start, width in _runs(letters))
    gaps = "".join(f"M{left} 1h{width}v16h-{width}z" for left, width in boxes)
    picture = Markup(
        '<svg class="hours" viewBox="0 0 {0} 18" width="{0}" height="18" role="img" aria-label="{1}">'
        '<path class="gap" d="{2}" fill="none" stroke="#8b95a3"/><path class="{3}" d="{4}" fill="#b3261e"/></svg>'
    )
    return picture.format(len(letters) * _WIDTH, words, gaps, kind, bars)


def _runs(letters: Sequence[str]) -> list[tuple[int, int]]:
    """Where gaps begin, and over how many bins they go."""
    found: list[tuple[int, int]] = []
    for number, letter in enumerate(letters):
        if letter != GAP:
            continue
        if found and sum(found[-1]) == number:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
