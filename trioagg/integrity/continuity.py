"""Gaps in numbers that an exchange counts up by one: trades of Binance and others.

What is stored of one market is a set of ids; what lies between its lowest and its highest and is not in it, is missing.
Ids that come late, twice or out of order are no gaps once they are there; ids before the lowest widen the range.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby

from attrs import evolve
from msgspec import Struct

from trioagg.model import Gap, GapStatus, Nanos, Part, Road, Trade

OPEN: tuple[GapStatus, ...] = ("open",)
LACKING: tuple[GapStatus, ...] = ("open", "unfillable")

Run = tuple[int, int]
"""Consecutive ids: the first and the last of them."""

PARTS = 200
"""Parts of one gap: ids that come in no order make one of each."""


def runs(ids: Iterable[int]) -> list[Run]:
    """Ids in any order, with repetitions, as runs in ascending order."""
    found: list[Run] = []
    for number in sorted(set(ids)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


class Continuity(Struct):
    """The ids of one market and channel.

    Attributes:
        exchange, symbol, channel: whose.
        lowest, highest: the range of ids that were seen; None before the first.
        open: gaps that lack ids, given up or not, by their first id; copies share the list until one of them differs.
    """

    exchange: str
    symbol: str
    channel: str
    lowest: int | None = None
    highest: int | None = None
    open: list[Gap] = []

    def follow(self, trades: Sequence[Trade]) -> bool:
        """Take trades that are stored now, if their ids are the next ones, in their order; whether they are."""
        if self.highest is None:
            return False
        due = self.highest + 1
        for trade in trades:
            if trade.trade_id != due:
                return False
            due += 1
        self.highest = due - 1
        return True

    def see(
        self, ids: Sequence[int], at: Nanos, cause: str, *, road: Road = "stream", asked: Collection[int] = ()
    ) -> list[Gap]:
        """Take ids that are stored now.

        Args:
            ids: in any order, repetitions allowed.
            at: when, nanoseconds UTC.
            cause: why ids are missing, if some turn out to be.
            road: how they came.
            asked: those of them that REST told instead.

        Returns:
            The gaps that are new or changed, whole: each replaces what was known of it.
        """
        self.open = self.open.copy()
        changed: dict[int, Gap] = {}
        for run in runs(ids):
            for part in _roads(run, at, road, asked) if self._touched(run) else ():
                changed |= {gap.first: self._mark(gap, part) for gap in self._touched((part.first, part.last))}
            changed |= {gap.first: gap for gap in self._widen(run, at, cause)}
        told = [half for gap in changed.values() for half in self._halved(gap)]
        self.open = [gap for gap in self.open if gap.lacking]
        return told

    def forgo(self, run: Run, at: Nanos) -> list[Gap]:
        """Give up ids that nobody tells any more; those that come all the same are filled then.

        Returns:
            The gaps that are changed, whole.
        """
        self.open = self.open.copy()
        touched = [gap for gap in self.open if any(_overlaps(part, run, OPEN) for part in gap.parts)]
        return [self._mark(gap, Part(*run, "unfillable", at)) for gap in touched]

    def _widen(self, run: Run, at: Nanos, cause: str) -> list[Gap]:
        """Take a run into the range; what that leaves between them is missing."""
        first, last = run
        if self.lowest is None or self.highest is None:
            self.lowest, self.highest = run
            return []
        begun = []
        if first > self.highest + 1:
            begun.append(self._begin(self.highest + 1, first - 1, at, cause))
        if last < self.lowest - 1:
            begun.append(self._begin(last + 1, self.lowest - 1, at, cause))
        self.lowest, self.highest = min(self.lowest, first), max(self.highest, last)
        return begun

    def _halved(self, gap: Gap) -> list[Gap]:
        """A gap as two where it has too many parts: whatever changes one of them is told with all of them."""
        if len(gap.parts) <= PARTS:
            return [gap]
        one, other = gap.parts[: PARTS // 2], gap.parts[PARTS // 2 :]
        halves = [evolve(gap, last=one[-1].last, parts=one), evolve(gap, first=other[0].first, parts=other)]
        place = self.open.index(gap)
        self.open[place : place + 1] = halves
        return [halves[0], *self._halved(halves[1])]

    def copy(self) -> Continuity:
        """The same, to be changed apart from this."""
        return Continuity(self.exchange, self.symbol, self.channel, self.lowest, self.highest, self.open)

    def _touched(self, run: Run) -> list[Gap]:
        near = (gap for gap in self.open if gap.first <= run[1] and run[0] <= gap.last)
        return [gap for gap in near if any(_overlaps(part, run, LACKING) for part in gap.parts)]

    def _begin(self, first: int, last: int, at: Nanos, cause: str) -> Gap:
        part = Part(first, last, "open", None)
        gap = Gap(self.exchange, self.symbol, self.channel, first, last, cause, at, (part,))
        self.open.insert(bisect_left([other.first for other in self.open], first), gap)
        return gap

    def _mark(self, gap: Gap, fate: Part) -> Gap:
        fate = evolve(fate, closed=max(fate.closed or 0, gap.detected))
        pieces = [piece for part in gap.parts for piece in _cut(part, fate)]
        marked = evolve(gap, parts=tuple(_joined(pieces)))
        self.open[self.open.index(gap)] = marked
        return marked


def _overlaps(part: Part, run: Run, statuses: Collection[GapStatus]) -> bool:
    """Whether the run holds ids of a part of such a status."""
    return part.status in statuses and part.first <= run[1] and run[0] <= part.last


def _roads(run: Run, at: Nanos, road: Road, asked: Collection[int]) -> Iterator[Part]:
    """A run as the parts that it fills, each by what."""
    for told, ids in groupby(range(run[0], run[1] + 1), asked.__contains__):
        (first, last), *_ = runs(ids)
        yield Part(first, last, "filled", at, "rest" if told else road)


def _cut(part: Part, fate: Part) -> list[Part]:
    """A part as what is left of it and what its fate marks: what came fills, what is given up was open."""
    if not _overlaps(part, (fate.first, fate.last), LACKING if fate.status == "filled" else OPEN):
        return [part]
    first, last = max(part.first, fate.first), min(part.last, fate.last)
    pieces = [evolve(fate, first=first, last=last)]
    if part.first < first:
        pieces.insert(0, evolve(part, last=first - 1))
    if last < part.last:
        pieces.append(evolve(part, first=last + 1))
    return pieces


def _joined(parts: list[Part]) -> list[Part]:
    """Closed parts of one fate that touch are one, closed when the later of them was."""
    joined = parts[:1]
    for part in parts[1:]:
        before = joined[-1]
        if part.status != "open" and (part.status, part.filled_by) == (before.status, before.filled_by):
            joined[-1] = evolve(before, last=part.last, closed=max(part.closed or 0, before.closed or 0))
        else:
            joined.append(part)
    return joined
