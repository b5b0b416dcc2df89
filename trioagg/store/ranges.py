"""All rows of a range of times, in their order, however many: memory does not grow with the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain, groupby
from operator import attrgetter

from trioagg.errors import SettingsError
from trioagg.store.order import ALWAYS, Found, Lane, Part, Row, Span
from trioagg.store.readable import Readable
from trioagg.store.seek import demand, parts, steps


def scan(
    db: Readable, kind: str, *, exchanges: Sequence[str] = (), symbols: Sequence[str] = (), span: Span = ALWAYS
) -> Iterator[Row]:
    """Every row of a kind, market after market, those of each in the order of time.

    The time is ``timestamp``, or ``received`` where the exchange sent none; a candle's is its ``open_time``. Rows that
    are stored meanwhile may come or not.

    Args:
        db: an open store.
        kind: see ``rows``.
        exchanges: only these; empty for all.
        symbols: only these; empty for all.
        span: only the rows of these times.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol, or the kind has no times to choose by.
        StoreError: it cannot be read.
    """
    demand(db, kind, exchanges, symbols)
    if span != ALWAYS and not db.lanes[kind][0].time:
        raise SettingsError(f"{kind} have no times to choose by")
    places = sorted(parts(db, kind, exchanges, symbols), key=lambda place: place[1][1:])
    markets = (list(places) for _, places in groupby(places, key=lambda place: place[1][1:]))
    return chain.from_iterable(_market(db, places, span) for places in markets)


def _market(db: Readable, places: Sequence[tuple[Lane, Part]], span: Span) -> Iterator[Row]:
    found = merge(*(_part(db, lane, part, span) for lane, part in places), key=attrgetter("moment"))
    return map(attrgetter("row"), found)


def _part(db: Readable, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
    orderly = lane.timely or not lane.time
    return steps(db, lane, part, span) if orderly else db.in_time(lane, part, span)
