"""How much of a candle made from trades is sure: the seconds covered, and what proves it. Pure.

Two things tell that nothing is missing. Numbers that follow each other prove the time between their trades, whoever
brought them and whenever. A connection that was open says only that somebody listened, by our clock at that.
Times are spans here: runs of nanoseconds, first and last inclusive, ascending, neither overlapping nor touching.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Literal

from attrs import define, field, frozen

from trioagg.integrity.agreement import size, union, without
from trioagg.integrity.continuity import Run
from trioagg.model import Nanos

Status = Literal["complete", "backfilled", "partial", "unproven"]
"""``complete``: proven, and all of it came live; ``backfilled``: proven, and some came later; ``unproven``: listened to
throughout, and nothing proves more; ``partial``: the rest."""


@frozen
class Life:
    """One connection to an exchange.

    Attributes:
        connection: which, ``ws-1``.
        opened, closed: when, nanoseconds UTC.
        lost: whether it broke, so that nobody heard what it carried until it was opened again.
    """

    connection: str
    opened: Nanos
    closed: Nanos
    lost: bool


def connected(lives: Sequence[Life]) -> list[Run]:
    """When an exchange was listened to: something was open, and nothing broken waited to be opened again.

    Which connection carried which market is not known, so that each of them counts for all.
    """
    down: list[Run] = []
    again: dict[str, Nanos] = {}
    for life in sorted(lives, key=attrgetter("opened"), reverse=True):
        if life.lost and life.closed < again.get(life.connection, life.closed):
            down.append((life.closed, again[life.connection] - 1))
        again[life.connection] = life.opened
    return without(union((life.opened, life.closed - 1) for life in lives if life.opened < life.closed), union(down))


@define
class Trail:
    """The trades of a market that is counted up by one, taken in the order of their numbers.

    Attributes:
        runs: the earliest and the latest time of each run of numbers that follow each other.
        broken: the times on both sides of each hole.
    """

    runs: list[Run] = field(factory=list)
    broken: list[Run] = field(factory=list)
    _number: int = field(default=0, init=False)
    _at: Nanos = field(default=0, init=False)

    def see(self, number: int, at: Nanos) -> None:
        """Take the next trade."""
        if self.runs and number == self._number + 1:
            earliest, latest = self.runs[-1]
            self.runs[-1] = (min(earliest, at), max(latest, at))
        else:
            if self.runs:
                self.broken.append((min(self._at, at), max(self._at, at)))
            self.runs.append((at, at))
        self._number, self._at = number, at


@frozen
class Evidence:
    """What is known of a market's time.

    Attributes:
        proven: from each trade to the one that is known to follow it, without that one's own instant.
        broken: from a trade to the next that is there, both inclusive: what is missing lies somewhere in it.
        covered: proven, or listened to and not broken.
    """

    proven: Sequence[Run]
    broken: Sequence[Run]
    covered: Sequence[Run]

    @classmethod
    def of(cls, trail: Trail, listened: Sequence[Run]) -> Evidence:
        """Add up what numbers and connections tell.

        Args:
            trail: of a market that nobody counts it is empty.
            listened: see ``connected``.
        """
        proven, broken = union(_open_ended(trail.runs)), union(trail.broken)
        covered = without(union([*proven, *listened]), union(_open_ended(trail.broken)))
        return cls(proven, broken, covered)

    def judge(self, start: Nanos, end: Nanos, *, late: bool) -> tuple[Nanos, Status]:
        """How many nanoseconds of an interval are covered, and what its candle is worth.

        Args:
            start, end: its first instant, and the first one behind it.
            late: whether some of its trades did not come live.
        """
        covered = size(_within(self.covered, (start, end - 1)))
        if covered < end - start or any(_within(self.broken, (start, end - 1))):
            return covered, "partial"
        # A trade at the very start may have an unknown one of the same instant before it: one from earlier proves none.
        if size(_within(self.proven, (start - 1, end - 1))) <= end - start:
            return covered, "unproven"
        return covered, "backfilled" if late else "complete"


def _open_ended(spans: Sequence[Run]) -> Iterator[Run]:
    """Without their last instant."""
    return ((first, last - 1) for first, last in spans if first < last)


def _within(spans: Sequence[Run], run: Run) -> Iterator[Run]:
    """What of spans lies in a run."""
    for place in range(bisect_left(spans, run[0], key=itemgetter(1)), len(spans)):
        first, last = spans[place]
        if first > run[1]:
            return
        yield max(first, run[0]), min(last, run[1])
