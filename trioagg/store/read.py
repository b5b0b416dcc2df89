"""Rows of a store, exact: decimals as the text that the exchange sent, ids as text, times as integers.

Every query goes by key to one part of a table (one market), so that it costs the same however much is stored. No
transaction outlives a call: a reader never holds the writer up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal
from itertools import chain
from pathlib import Path

from attrs import frozen

from trioagg.model import Nanos
from trioagg.store.opening import Database, readable
from trioagg.store.order import Found, Lane, Part, Row
from trioagg.store.readable import Readable
from trioagg.store.seek import (
    START,
    Mark,
    demand,
    marked,
    markets,
    merged,
    newest,
    parts,
    since,
)

QUIET = 30 * 10**9
"""Nanoseconds after which a ticker's last price is believed rather than the last trade's: its stream may be over."""


LATE = 10
"""Seconds that a rate is taken over."""

SAMPLE = 500
"""Rows that a rate is taken from, at most: a busy market's is taken over a shorter time."""

EXACT = Context(prec=200)
"""Subtracts without rounding anything that a market could quote."""


@frozen
class Look:
    """What one market looks like now; None where it is not known.

    Attributes:
        spread: ask less bid.
        volume: of the last 24 hours, base currency.
        rate: tickers and trades a second, of late.
        received: when the newest of it arrived, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    last: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    spread: Decimal | None
    volume: Decimal | None
    rate: float
    received: Nanos


def connect(path: Path | str) -> Database:
    """Open a file that exists, for reading only; whoever asks closes it.

    Raises:
        StoreError: there is none, or it cannot be used; the reason in one line.
    """
    return readable(Path(path))


@contextmanager
def database(path: Path | str) -> Iterator[Database]:
    """``connect``, closed at the end.

    Raises:
        StoreError: there is none, or it cannot be used; the reason in one line.
    """
    db = connect(path)
    try:
        yield db
    finally:
        db.close()


def rows(
    db: Readable, kind: str, *, exchanges: Sequence[str] = (), symbols: Sequence[str] = (), limit: int = 20
) -> list[Row]:
    """The newest rows of a kind (a key of ``COLUMNS``), oldest first.

    Args:
        db: an open store.
        kind: a channel, or ``gaps``, ``quarantine`` or ``instruments``.
        exchanges: only these; empty for all.
        symbols: only these; empty for all.
        limit: so many rows at most, over all markets together.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    demand(db, kind, exchanges, symbols)
    chosen = parts(db, kind, exchanges, symbols)
    return merged(chain.from_iterable(newest(db, lane, part, limit) for lane, part in chosen), limit)


def latest(db: Readable, kind: str, exchanges: Sequence[str] = (), symbols: Sequence[str] = ()) -> list[Row]:
    """The newest row of a kind that is keyed by its arrival, of every market that has one, by exchange and symbol.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    demand(db, kind, exchanges, symbols)
    return [one.row for lane, part in parts(db, kind, exchanges, symbols) for one in newest(db, lane, part, 1)]


def gaps(db: Readable, exchanges: Sequence[str] = (), symbols: Sequence[str] = ()) -> list[Row]:
    """The whole completeness ledger, in the order in which gaps were detected.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    return rows(db, "gaps", exchanges=exchanges, symbols=symbols, limit=sys.maxsize)


def open_gaps(db: Readable) -> int:
    """How many gaps are open.

    Raises:
        StoreError: the database cannot be read.
    """
    count: int = db.ask("SELECT count(*) FROM gap WHERE status = 'open'")[0][0]
    return count


def open_gaps_of(db: Readable) -> dict[str, int]:
    """How many gaps are open, by exchange; those without any are left out.

    Raises:
        StoreError: the database cannot be read.
    """
    asked = "SELECT exchange, count(*) FROM gap JOIN instrument ON instrument.id = instrument WHERE gap.status = 'open'"
    return dict(db.ask(f"{asked} GROUP BY exchange"))


def follow(
    db: Readable, kind: str, *, exchanges: Sequence[str] = (), symbols: Sequence[str] = (), limit: int = 20
) -> Iterator[list[Row]]:
    """The newest rows first, then at each step those that came since the step before: none, when none did.

    A market that appears later is followed too. A numbered trade below the highest seen (a repaired one) is not shown.

    Args:
        db: an open store.
        kind: see ``rows``.
        exchanges: only these; empty for all.
        symbols: only these; empty for all.
        limit: so many rows in the first step, at most.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    demand(db, kind, exchanges, symbols)
    marks: dict[tuple[Lane, Part], Mark] = {}
    found: list[Found] = []
    for lane, part in parts(db, kind, exchanges, symbols):
        fresh = newest(db, lane, part, max(limit, 1))
        marks[lane, part] = marked(START, fresh)
        found += fresh
    yield merged(found, limit)
    while True:
        found = []
        for lane, part in parts(db, kind, exchanges, symbols):
            mark = marks.get((lane, part), START)
            fresh = since(db, lane, part, mark)
            marks[lane, part] = marked(mark, fresh)
            found += [one for one in fresh if one.position not in mark.seen]
        yield merged(found)


def summary(
    db: Readable, exchanges: Sequence[str] = (), symbols: Sequence[str] = (), now: Nanos | None = None
) -> list[Look]:
    """Every market that has a ticker or a trade, as it looks now, by exchange and symbol; nothing yet is no error.

    Args:
        db: an open store.
        exchanges: only these; empty for all.
        symbols: only these; empty for all.
        now: our time, nanoseconds UTC, up to which rates are taken; None for the clock's.

    Raises:
        StoreError: the database cannot be read.
    """
    at = time.time_ns() if now is None else now
    looks = (_looked(db, market, at) for market in markets(db, exchanges, symbols))
    return [quote for quote in looks if quote is not None]


def _looked(db: Readable, market: Part, now: Nanos) -> Look | None:
    ticker, trade = _last(db, "ticker", market), _last(db, "trades", market)
    told = [row for row in (ticker, trade) if row is not None]
    if not told:
        return None
    bid, ask, volume = (_number(ticker, name) for name in ("bid", "ask", "volume"))
    return Look(
        exchange=market.exchange,
        symbol=market.symbol,
        last=_last_price(ticker, trade),
        bid=bid,
        ask=ask,
        spread=None if bid is None or ask is None else EXACT.subtract(ask, bid),
        volume=volume,
        rate=sum(_rate(db, lane, market, now) for kind in ("ticker", "trades") for lane in db.lanes[kind]),
        received=max(row["received"] for row in told),
    )


def _rate(db: Readable, lane: Lane, market: Part, now: Nanos) -> float:
    count, first = db.ask(lane.arrivals, *market.key, SAMPLE, now - LATE * 10**9)[0]
    seconds: float = LATE if count < SAMPLE else max(now - first, 1) / 1e9
    return float(count / seconds)


def _last_price(ticker: Row | None, trade: Row | None) -> Decimal | None:
    """The last trade's, unless the ticker is so much newer that trades are not collected any more."""
    quoted, traded = _number(ticker, "last"), _number(trade, "price")
    if ticker is None or trade is None or quoted is None:
        return quoted if traded is None else traded
    return quoted if ticker["received"] - trade["received"] > QUIET else traded


def _last(db: Readable, kind: str, market: Part) -> Row | None:
    found = [one for lane in db.lanes[kind] for one in newest(db, lane, market, 1)]
    return max(found, key=lambda one: one.moment).row if found else None


def _number(row: Row | None, name: str) -> Decimal | None:
    return None if row is None or row[name] is None else Decimal(row[name])
