"""When the connections to an exchange lived, those included of which nobody could say when they ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from trioagg.integrity.candles import Life
from trioagg.model import Nanos
from trioagg.store.order import ABOVE, Part
from trioagg.store.readable import Readable
from trioagg.store.seek import markets, preceding
from trioagg.store.times import place

SESSIONS = "SELECT connection, opened, closed, reason FROM session WHERE exchange = ? ORDER BY opened"
STOPPED = "stopped"
"""The reason of a connection that ended because the run did."""

STREAMED = ("book", "quotes", "deltas", "liquidations")
"""What comes by connections alone, beside trades: REST, which is asked for the rest, answers before one is open."""


def lives(db: Readable, exchange: str, since: float) -> list[Life]:
    """Every connection to an exchange.

    One that the run did not stop itself is taken to end with the last row that came from the exchange before it broke,
    which may be long before that was noticed; before the next one was opened, where no end is told: it lives, or its
    run was killed.

    Args:
        since: what ended before this time is not looked at closely.
    """
    told = db.ask(SESSIONS, exchange)
    return [_life(db, exchange, one, (since, later[1])) for one, later in pairwise([*told, ("", ABOVE, None, "")])]


def _life(db: Readable, exchange: str, told: Sequence[Any], within: tuple[float, float]) -> Life:
    connection, opened, closed, reason = told
    if reason == STOPPED:
        return Life(connection, opened, closed, lost=False)
    since, end = within[0], within[1] if closed is None else closed
    heard = _heard(db, exchange, end) if end > since else iter(())
    return Life(connection, opened, max((opened, *heard)), lost=closed is not None)


def _heard(db: Readable, exchange: str, until: float) -> Iterator[Nanos]:
    """When rows came that are the last ones before a time, by market and kind."""
    for market in markets(db, [exchange], ()):
        yield from (at for at in _last(db, market, until) if at < until)


def _last(db: Readable, market: Part, until: float) -> Iterator[Nanos]:
    by_id, by_time = db.lanes["trades"]
    lanes = [*(lane for kind in STREAMED for lane in db.lanes[kind]), by_time]
    found = [preceding(db, lane, market, lane.start(until)) for lane in lanes]
    found.append(preceding(db, by_id, market, by_id.end if until == ABOVE else (place(db, market, until),)))
    return (one.row["received"] for one in found if one)
