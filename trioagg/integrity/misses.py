"""What one connection lacks of trades that are counted up by one, whoever else brings them. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

from attrs import define, field

from trioagg.integrity.agreement import size
from trioagg.integrity.continuity import Run, runs
from trioagg.model import Event, Trade

HOLES = 10_000
"""Runs of missing ids per market that may still come late; what comes later than that stays missed."""


@define
class Course:
    """The ids of one market, as one connection brought them.

    Attributes:
        missed: how many lie between the first and the highest and did not come.
    """

    missed: int = 0
    _highest: int | None = None
    _holes: list[Run] = field(factory=list)

    def see(self, ids: Sequence[int]) -> None:
        """Take what came, in any order, repetitions allowed; ids below the first ones say nothing."""
        if self._highest is not None and list(ids) == list(range(self._highest + 1, self._highest + 1 + len(ids))):
            self._highest += len(ids)
            return
        for run in runs(ids):
            self._take(run)

    def _take(self, run: Run) -> None:
        first, last = run
        if self._highest is None:
            self._highest = last
            return
        if first <= self._highest:
            self._fill(run)
        elif first > self._highest + 1:
            self._holes.append((self._highest + 1, first - 1))
            self.missed += first - 1 - self._highest
            del self._holes[:-HOLES]
        self._highest = max(self._highest, last)

    def _fill(self, run: Run) -> None:
        """Late ids are missed no more."""
        first, last = run
        begin = bisect_left(self._holes, first, key=itemgetter(1))
        end = bisect_right(self._holes, last, key=itemgetter(0))
        touched = self._holes[begin:end]
        left = [part for hole in touched for part in ((hole[0], first - 1), (last + 1, hole[1])) if part[0] <= part[1]]
        self._holes[begin:end] = left
        self.missed -= size(touched) - size(left)


@define
class Misses:
    """What one connection lacks of all its markets."""

    _courses: dict[str, Course] = field(factory=dict)

    @property
    def count(self) -> int:
        """Trades that lie between the first and the last that it brought of a market, and that it did not bring."""
        return sum(course.missed for course in self._courses.values())

    def hear(self, events: Sequence[Event]) -> None:
        """Take what one read brought."""
        markets: dict[str, list[int]] = {}
        for event in events:
            if type(event) is Trade and isinstance(event.trade_id, int):
                markets.setdefault(event.symbol, []).append(event.trade_id)
        for symbol, ids in markets.items():
            self._courses.setdefault(symbol, Course()).see(ids)
