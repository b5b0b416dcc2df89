"""Filling a hole by what REST tells, page by page: what an answer proves, and what to ask for next. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from trioagg.integrity.agreement import without
from trioagg.integrity.continuity import Run, runs
from trioagg.model import Nanos, Trade


@frozen
class Want:
    """Trades that are missing, and the exchange's times of those on both sides, nanoseconds UTC."""

    first: int
    last: int
    since: Nanos
    until: Nanos


@frozen
class Progress:
    """What one answer meant.

    Attributes:
        gone: ids that the exchange itself does not have: it told the trades on both sides of them.
        left: what is still to be asked for; None when nothing is.
        moved: whether there is less of it than before.
    """

    gone: Sequence[Run]
    left: Want | None
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
