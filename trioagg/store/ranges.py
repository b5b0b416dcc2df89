"""All rows of a range of times, in their order, however many: taken in steps, each a short transaction of its own.

Most rows lie under keys that are not quite in the order of time: trades under the exchange's ids (some are hashes),
arrivals under our clock. Their times and keys are sorted first, in a temporary file of SQLite's, so that memory does
not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain, count, groupby
from operator import attrgetter
from typing import Any, NamedTuple

from trioagg.errors import SettingsError
from trioagg.store.kinds import LANES
from trioagg.store.opening import Database
from trioagg.store.order import ABOVE, BELOW, Lane
from trioagg.store.seek import Found, Part, Row, after, demand, parts, query, stepped

NUMBERS = count()
"""Of the temporary indexes: two scans on one connection have one each."""


class Span(NamedTuple):
    """A range of times, nanoseconds UTC: the first inclusive, the end exclusive."""

    first: float = BELOW
    end: float = ABOVE


ALWAYS = Span()


def scan(
    db: Database, kind: str, *, exchanges: Sequence[str] = (), symbols: Sequence[str] = (), span: Span = ALWAYS
) -> Iterator[Row]:
    """Every row of a kind, market after market, those of each in the order of time.

    The time is ``timestamp``, or ``received`` where the exchange sent none; a candle's is its ``open_time``. Rows that
    are stored meanwhile may come or not.

    Args:
        db: from ``connect`` or ``database``.
        kind: see ``rows``.
        exchanges: only these; empty for all.
        symbols: only these; empty for all.
        span: only the rows of these times.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol, or the kind has no times to choose by.
        StoreError: it cannot be read.
    """
    demand(db, kind, exchanges, symbols)
    if span != ALWAYS and not LANES[kind][0].time:
        raise SettingsError(f"{kind} have no times to choose by")
    places = sorted(parts(db, kind, exchanges, symbols), key=lambda place: place[1][1:])
    markets = (list(places) for _, places in groupby(places, key=lambda place: place[1][1:]))
    return chain.from_iterable(_market(db, places, span) for places in markets)


def _market(db: Database, places: Sequence[tuple[Lane, Part]], span: Span) -> Iterator[Row]:
    found = merge(*(_part(db, lane, part, span) for lane, part in places), key=attrgetter("moment"))
    return map(attrgetter("row"), found)


def _part(db: Database, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
    if lane.timely or not lane.time:
        yield from steps(db, lane, part, span)
        return
    index = f"by_time_{next(NUMBERS)}"
    query(db, lane.indexing(index))
    _fill(db, lane, part, (index, span))
    yield from steps(db, lane.timed(index), part, span)
    query(db, f"DROP TABLE {index}")  # one that is left half-way goes with the connection


def _fill(db: Database, lane: Lane, part: Part, into: tuple[str, Span]) -> None:
    index, span = into
    position: Sequence[object] = lane.start()
    while position != lane.end:
        last = stepped(db, lane, part, position)
        query(db, lane.indexed(index), *part.key, *lane.told(position), *lane.told(last), *span)
        position = last


def steps(db: Database, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
    """The rows of a part in its order, up to the end of the span."""
    position: tuple[Any, ...] = lane.start(span.first)
    while found := after(db, lane, part, position):
        position = found[-1].position
        yield from found if position[0] < span.end else (one for one in found if one.position[0] < span.end)
        if position[0] >= span.end:
            return
