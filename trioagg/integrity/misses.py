"""What one connection lacks of trades that are counted up by one, whoever else brings them. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
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
        due: the id that follows the highest; None before the first.
    """

    missed: int = 0
    due: int | None = None
    _holes: list[Run] = field(factory=list)

    def see(self, ids: Sequence[int]) -> None:
        """Take what came, in any order, repetitions allowed; ids below the first ones say nothing."""
        for run in runs(ids):
            self._take(run)

    def _take(self, run: Run) -> None:
        first, last = run
        if self.due is None:
            self.due = last + 1
            return
        if first < self.due:
            self._fill(run)
        elif first > self.due:
            self._holes.append((self.due, first - 1))
            self.missed += first - self.due
            del self._holes[:-HOLES]
        self.due = max(self.due, last + 1)

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

    _courses: defaultdict[str, Course] = field(factory=lambda: defaultdict(Course))

    @property
    def count(self) -> int:
        """Trades that lie between the first and the last that it brought of a market, and that it did not bring."""
        return sum(course.missed for course in self._courses.values())

    def hear(self, events: Sequence[Event]) -> None:
        """Take what one read brought: nearly all of it is due."""
        others: defaultdict[str, list[int]] = defaultdict(list)
        for event in events:
            if type(event) is Trade and isinstance(number := event.trade_id, int):
                course = self._courses[event.symbol]
                if number == course.due:
                    course.due = number + 1
                else:
                    others[event.symbol].append(number)
        for symbol, ids in others.items():
            self._courses[symbol].see(ids)
