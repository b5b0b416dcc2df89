"""Filling a hole by what REST tells, page by page: what an answer proves, and what to ask for next. Pure.

Missing ids are known one by one. A stretch between two connections, where nothing is counted, is bridged by pages that
overlap: the first with a trade that was stored before it, each with the next, the last with one stored after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from trioagg.integrity.agreement import without
from trioagg.integrity.continuity import Run, runs
from trioagg.model import Gap, Nanos, Trade

SLACK: Nanos = 1_000_000_000
"""What is asked for beyond both ends of a stretch: trades may come late, share an instant, or be told by the second."""


@frozen
class Want:
    """Trades that are missing, and the exchange's times of those on both sides, nanoseconds UTC."""

    first: int
    last: int
    since: Nanos
    until: Nanos

    @property
    def whole(self) -> Run:
        """All of it."""
        return self.first, self.last


@frozen
class Stretch:
    """What is not bridged yet of a time in which trades may be missing.

    Attributes:
        whole: the ends of the gap that it is left of, see ``Gap``.
        since, until: the times to ask for, nanoseconds UTC; what comes from outside them overlaps.
        before, after: ids of trades that are known to adjoin it, as text; they overlap too.
    """

    whole: Run
    since: Nanos
    until: Nanos
    before: frozenset[str]
    after: frozenset[str]


@frozen
class Progress:
    """What one answer meant.

    Attributes:
        gone: ids that the exchange itself does not have: it told the trades on both sides of them; or the ends of a
            stretch that it does not tell as far back any more.
        left: what is still to be asked for; None when nothing is.
        moved: whether there is less of it than before.
    """

    gone: Sequence[Run]
    left: Want | Stretch | None
    moved: bool


def progress(want: Want, answer: Sequence[Trade]) -> Progress:
    """Take an answer off what is wanted.

    Args:
        answer: the trades of the market in one answer, in any order: all that there are between its first and last.
    """
    times = {trade.trade_id: trade.timestamp or 0 for trade in answer if isinstance(trade.trade_id, int)}
    if not times:
        return Progress((), want, moved=False)
    told = (min(times), max(times))
    here = without([(want.first, want.last)], without([(want.first, want.last)], [told]))
    gone = without(here, runs(times))
    left = without([(want.first, want.last)], [told])
    if not left:
        return Progress(gone, None, moved=True)
    first, last = left[-1]
    since = max((at for number, at in times.items() if number < first), default=want.since)
    until = min((at for number, at in times.items() if number > last), default=want.until)
    rest = Want(first, last, max(since, want.since), min(until, want.until))
    return Progress(gone, rest, moved=rest != want)


def stretch(gap: Gap) -> Stretch:
    """What is to be asked for first of a gap between two stored trades.

    Args:
        gap: one with ``between``.
    """
    before, after = (frozenset({number}) for number in gap.between or ())
    return Stretch((gap.first, gap.last), gap.first - SLACK, gap.last + SLACK, before, after)


def bridged(want: Stretch, answer: Sequence[Trade]) -> Progress:
    """Take an answer off a stretch; it is all bridged when nothing is left and nothing gone.

    Args:
        answer: the trades of the market in one answer, in any order: all that there are between its first and last.
    """
    times = {str(trade.trade_id): trade.received if trade.timestamp is None else trade.timestamp for trade in answer}
    if not times:
        return Progress((), want, moved=False)
    oldest, newest = min(times.values()), max(times.values())
    reaches_back = oldest < want.since <= newest or not want.before.isdisjoint(times)
    reaches_on = newest > want.until >= oldest or not want.after.isdisjoint(times)
    if reaches_back and reaches_on:
        return Progress((), None, moved=True)
    if reaches_back and any(at >= want.since and number not in want.before for number, at in times.items()):
        return Progress((), evolve(want, since=newest, before=frozenset(times)), moved=True)
    if reaches_on and any(at <= want.until and number not in want.after for number, at in times.items()):
        return Progress((), evolve(want, until=oldest, after=frozenset(times)), moved=True)
    if not reaches_back and (reaches_on or oldest > want.until):
        return Progress([want.whole], None, moved=False)
    return Progress((), want, moved=False)
