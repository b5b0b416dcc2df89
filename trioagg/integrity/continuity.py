"""Gaps in numbers that an exchange counts up by one: trades of Binance and others.

What is stored of one market is a set of ids; what lies between its lowest and its highest and is not in it, is missing.
Ids that come late, twice or out of order are no gaps once they are there; ids before the lowest widen the range.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from attrs import define, evolve, field

from trioagg.model import Gap, GapStatus, Nanos, Part

OPEN: tuple[GapStatus, ...] = ("open",)
LACKING: tuple[GapStatus, ...] = ("open", "unfillable")

Run = tuple[int, int]
"""Consecutive ids: the first and the last of them."""


def runs(ids: Iterable[int]) -> list[Run]:
    """Ids in any order, with repetitions, as runs in ascending order."""
    found: list[Run] = []
    for number in sorted(set(ids)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


@define
class Continuity:
    """The ids of one market and channel.

    Attributes:
        exchange, symbol, channel: whose.
        lowest, highest: the range of ids that were seen; None before the first.
        open: gaps that lack ids, given up or not, by their first id.
    """

    exchange: str
    symbol: str
    channel: str
    lowest: int | None = None
    highest: int | None = None
    open: list[Gap] = field(factory=list)

    def see(self, ids: Sequence[int], at: Nanos, cause: str) -> list[Gap]:
        """Take ids that are stored now.

        Args:
            ids: in any order, repetitions allowed.
            at: when, nanoseconds UTC.
            cause: why ids are missing, if some turn out to be.

        Returns:
            The gaps that are new or changed, whole: each replaces what was known of it.
        """
        if self.highest is not None and list(ids) == list(range(self.highest + 1, self.highest + 1 + len(ids))):
            self.highest += len(ids)
            return []
        changed: dict[int, Gap] = {}
        for run in runs(ids):
            for gap in self._take(run, at, cause):
                changed[gap.first] = gap
        self.open = [gap for gap in self.open if gap.lacking]
        return list(changed.values())

    def forgo(self, run: Run, at: Nanos) -> list[Gap]:
        """Give up ids that nobody tells any more; those that come all the same are filled then.

        Returns:
            The gaps that are changed, whole.
        """
        touched = [gap for gap in self.open if any(_overlaps(part, run, OPEN) for part in gap.parts)]
        return [self._mark(gap, run, at, "unfillable") for gap in touched]

    def _take(self, run: Run, at: Nanos, cause: str) -> list[Gap]:
        first, last = run
        if self.lowest is None or self.highest is None:
            self.lowest, self.highest = run
            return []
        changed = [self._mark(gap, run, at, "filled") for gap in self._touched(run)]
        if first > self.highest + 1:
            changed.append(self._begin(self.highest + 1, first - 1, at, cause))
        if last < self.lowest - 1:
            changed.append(self._begin(last + 1, self.lowest - 1, at, cause))
        self.lowest, self.highest = min(self.lowest, first), max(self.highest, last)
        return changed

    def copy(self) -> Continuity:
        """The same, to be changed apart from this."""
        return Continuity(self.exchange, self.symbol, self.channel, self.lowest, self.highest, self.open.copy())

    def _touched(self, run: Run) -> list[Gap]:
        near = (gap for gap in self.open if gap.first <= run[1] and run[0] <= gap.last)
        return [gap for gap in near if any(_overlaps(part, run, LACKING) for part in gap.parts)]

    def _begin(self, first: int, last: int, at: Nanos, cause: str) -> Gap:
        part = Part(first, last, "open", None)
        gap = Gap(self.exchange, self.symbol, self.channel, first, last, cause, at, (part,))
        self.open.insert(bisect_left([other.first for other in self.open], first), gap)
        return gap

    def _mark(self, gap: Gap, run: Run, at: Nanos, status: GapStatus) -> Gap:
        pieces = [piece for part in gap.parts for piece in _cut(part, run, max(at, gap.detected), status)]
        marked = evolve(gap, parts=tuple(_joined(pieces)))
        self.open[self.open.index(gap)] = marked
        return marked


def _overlaps(part: Part, run: Run, statuses: Collection[GapStatus]) -> bool:
    """Whether the run holds ids of a part of such a status."""
    return part.status in statuses and part.first <= run[1] and run[0] <= part.last


def _cut(part: Part, run: Run, at: Nanos, status: GapStatus) -> list[Part]:
    """A part as what is left of it and what the run marks: what came fills, what is given up was open."""
    if not _overlaps(part, run, LACKING if status == "filled" else OPEN):
        return [part]
    first, last = max(part.first, run[0]), min(part.last, run[1])
    pieces = [Part(first, last, status, at)]
    if part.first < first:
        pieces.insert(0, evolve(part, last=first - 1))
    if last < part.last:
        pieces.append(evolve(part, first=last + 1))
    return pieces


def _joined(parts: list[Part]) -> list[Part]:
    """Closed parts of one status that touch are one, closed when the later of them was."""
    joined = parts[:1]
    for part in parts[1:]:
        if part.status == joined[-1].status != "open":
            closed = max(part.closed or 0, joined[-1].closed or 0)
            joined[-1] = Part(joined[-1].first, part.last, part.status, closed)
        else:
            joined.append(part)
    return joined
