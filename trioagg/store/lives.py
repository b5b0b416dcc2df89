"""When the connections to an exchange lived, those that nobody could say the end of included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from trioagg.integrity.candles import Life
from trioagg.model import Nanos
from trioagg.store.kinds import KINDS
from trioagg.store.opening import Database
from trioagg.store.order import ABOVE, BELOW
from trioagg.store.seek import Part, markets, preceding, query
from trioagg.store.times import BY_ID, BY_TIME, place

SESSIONS = "SELECT connection, opened, closed, reason FROM session WHERE exchange = ? ORDER BY opened"
STOPPED = "stopped"
"""The reason of a connection that ended because the run did."""

ARRIVING = tuple(lane for kind in KINDS.values() if kind.arriving for lane in kind.lanes)


def lives(db: Database, exchange: str, since: float) -> list[Life]:
    """Every connection to an exchange.

    One that has no end, since it lives or its run was killed, is taken to end with the last row that came from the
    exchange before anything was opened anew.

    Args:
        since: what was replaced before this time is not looked at closely.
    """
    told = query(db, SESSIONS, exchange)
    return [_life(db, exchange, one, (since, later[1])) for one, later in pairwise([*told, ("", ABOVE, None, "")])]


def _life(db: Database, exchange: str, told: Sequence[Any], within: tuple[float, float]) -> Life:
    connection, opened, closed, reason = told
    if closed is not None:
        return Life(connection, opened, closed, reason != STOPPED)
    since, again = within
    heard = _heard(db, exchange, again) if again > since else iter(())
    return Life(connection, opened, max((opened, *heard)), lost=False)


def _heard(db: Database, exchange: str, until: float) -> Iterator[Nanos]:
    """When rows came that are the last ones before a time, by market and kind."""
    for market in markets(db, [exchange], ()):
        yield from (at for at in _last(db, market, until) if at < until)


def _last(db: Database, market: Part, until: float) -> Iterator[Nanos]:
    found = [preceding(db, lane, market, (until, BELOW)) for lane in (*ARRIVING, BY_TIME)]
    found.append(preceding(db, BY_ID, market, BY_ID.end if until == ABOVE else (place(db, market, until),)))
    return (one.row["received"] for one in found if one)
