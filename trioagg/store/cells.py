"""Events as the tuples that the tables take; nothing here touches a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from trioagg.model import (
    Book,
    Candle,
    Delta,
    Funding,
    Gap,
    Instrument,
    Level,
    Liquidation,
    Loss,
    OpenInterest,
    Ordinal,
    Part,
    Quarantined,
    Quote,
    Session,
    Ticker,
    Trade,
)

if TYPE_CHECKING:
    from trioagg.integrity.ledger import Entries

Market = tuple[str, str]
"""(exchange, symbol)."""

Ids = Mapping[Market, object]
"""What stands for a market in its rows."""

K = TypeVar("K")
V = TypeVar("V")

Cells = tuple[object, ...]
Instant = Cells
"""(instrument, received)."""

Moments = dict[Instant, int]
"""How many events of one kind came at an instant."""

SIDES = attrgetter("bid", "bid_size", "ask", "ask_size")
"""What a quote tells."""

PRICES = attrgetter("bid", "bid_size", "ask", "ask_size", "last", "volume")
"""What a ticker tells."""

CLOCK = attrgetter("exchange", "offset", "uncertainty", "lag", "received")
"""What a check of a clock tells."""

UNCOUNTED = (None, None, None, None)
"""The ends of a gap that is no stretch."""

WORD = 2**63
"""Integers from minus this to just below it fit SQLite's."""


@frozen
class Beside:
    """What stands beside the rows of events.

    Attributes:
        quarantined: rows of the table ``quarantined``.
        forgotten: instrument, channel and origin of the rows of ``gap`` that go.
        gaps: rows of ``gap`` that come instead.
        begun: exchanges of which a connection was opened.
        sessions: rows of ``session``.
        clocks: rows of ``clock``.
    """

    quarantined: Sequence[Cells]
    forgotten: Sequence[Cells]
    gaps: Sequence[Cells]
    begun: Sequence[str]
    sessions: Sequence[Cells]
    clocks: Sequence[Cells]


def beside(bad: Sequence[Quarantined], entries: Entries, ids: Ids) -> Beside:
    """Frames that nobody understood, and what the ledger is told, as rows."""
    losses = [loss_row(loss, ids) for loss in entries.losses]
    return Beside(
        [quarantine_row(frame) for frame in bad],
        [*(gap_key(gap, ids) for gap in entries.gaps), *(row[:3] for row in losses)],
        [*(row for gap in entries.gaps for row in part_rows(gap, ids)), *losses],
        sorted({session.exchange for session in entries.sessions if session.closed is None}),
        [session_row(session) for session in entries.sessions],
        [CLOCK(check) for check in entries.clocks],
    )


def gap_key(gap: Gap, ids: Ids) -> Cells:
    """What the rows of a gap have in common."""
    return ids[gap.exchange, gap.symbol], gap.channel, gap.first


def part_rows(gap: Gap, ids: Ids) -> list[Cells]:
    """A gap for the table ``gap``: a row for each part."""
    return [
        (
            *gap_key(gap, ids),
            *((None, None, None) if gap.between else (part.first, part.last, part.last - part.first + 1)),
            *(gap.cause, part.status, gap.detected, part.closed),
            *((part.first, part.last, *gap.between) if gap.between else UNCOUNTED),
            part.filled_by,
        )
        for part in gap.parts
    ]


def loss_row(loss: Loss, ids: Ids) -> Cells:
    """A loss for the table ``gap``; one without numbers is told from others by when it was noticed."""
    origin = loss.received if loss.first is None else loss.first
    missing = None if loss.first is None or loss.last is None else loss.last - loss.first + 1
    at = loss.received
    return (
        *(ids[loss.exchange, loss.symbol], loss.channel, origin),
        *(loss.first, loss.last, missing),
        *(loss.cause, "unfillable", at, at),
        *UNCOUNTED,
        None,
    )


def session_row(session: Session) -> Cells:
    """A connection's life for the table ``session``."""
    return (
        *(session.exchange, session.connection, session.subscriptions),
        *(session.opened, session.closed, session.reason, session.missed),
    )


def gaps_of(exchange: str, symbol: str, rows: Iterable[Sequence[Any]]) -> list[Gap]:
    """Rows of the table ``gap``, ordered by (channel, origin, first_missing), as gaps again."""
    gaps = []
    for (channel, origin), together in groupby(rows, key=itemgetter(0, 1)):
        group = list(together)
        cause, detected, before, after = group[0][4], group[0][6], *group[0][9:]
        parts = tuple(Part(row[2], row[3], row[5], *row[7:9]) for row in group)
        between = None if before is None else (before, after)
        gaps.append(Gap(exchange, symbol, channel, origin, parts[-1].last, cause, detected, parts, between))
    return gaps


def trade_rows(trades: Sequence[Trade], ids: Ids) -> list[Cells]:
    """Trades for the table ``trade``."""
    return [
        (
            ids[trade.exchange, trade.symbol],
            key if type(key := trade.trade_id) is int and -WORD <= key < WORD else str(key),
            # str is twice as fast where it tells the same
            price if "E" not in (price := str(trade.price)) and price[0] != "-" else _text(trade.price),
            amount if "E" not in (amount := str(trade.amount)) and amount[0] != "-" else _text(trade.amount),
            trade.side,
            trade.timestamp,
            trade.received,
        )
        for trade in trades
    ]


def ticker_cells(ticker: Ticker) -> Cells:
    """A ticker for the table ``ticker``, without market and arrival."""
    return *map(_text, PRICES(ticker)), ticker.timestamp


def book_cells(book: Book) -> Cells:
    """A book for the table ``book``, without market and arrival."""
    return _levels(book.bids), _levels(book.asks), book.timestamp


def quote_cells(quote: Quote) -> Cells:
    """A best bid and ask for the table ``quote``, without market and arrival."""
    return *map(_text, SIDES(quote)), quote.timestamp


def delta_cells(delta: Delta) -> Cells:
    """A change of a book for the table ``delta``, without market and arrival."""
    return _levels(delta.bids), _levels(delta.asks), delta.whole, delta.timestamp


def funding_cells(funding: Funding) -> Cells:
    """A funding rate for the table ``funding_rate``, without market and arrival."""
    rate, mark, index = map(_text, (funding.rate, funding.mark, funding.index))
    return rate, mark, index, funding.due, funding.timestamp


def open_interest_cells(held: OpenInterest) -> Cells:
    """An open interest for the table ``interest``, without market and arrival."""
    return _text(held.amount), held.timestamp


def liquidation_cells(closed: Liquidation) -> Cells:
    """A liquidation for the table ``liquidation``, without market and arrival."""
    return closed.side, _text(closed.price), _text(closed.amount), closed.timestamp


def numbered(
    rows: Sequence[Cells],
    given: Sequence[Ordinal],
    known: Moments,
    arrived: Callable[[Instant, int], list[Cells]],
) -> tuple[list[Cells], Moments]:
    """The rows, each with its ordinal behind it, and how many came at each of their instants until now.

    Events of one market that one read brought share their instant; they are numbered in their order, on from those of
    an earlier batch. Exactly those of the earlier batch again are taken for that batch, offered again.

    Args:
        rows: they begin with their instant.
        given: the ordinals of those that have one already, and keep it.
        known: how many came at an instant before.
        arrived: the first so many rows of an instant, as they were stored.
    """
    met: dict[Instant, list[Cells]] = {}
    counted: list[Cells] = []
    for row, ordinal in zip(rows, given, strict=True):
        if ordinal is None:
            met.setdefault(row[:2], []).append(row)
        else:
            counted.append((*row, ordinal))
    moments: Moments = {}
    for instant, told in met.items():
        before = known.get(instant, 0)
        start = 0 if before == len(told) and told == arrived(instant, before) else before
        counted += [(*row, n) for n, row in enumerate(told, start)]
        moments[instant] = start + len(told)
    return counted, moments


def newest(known: dict[K, V], most: int) -> dict[K, V]:
    """What is remembered; once that is more than ``most``, the newest half of so many."""
    return known if len(known) <= most else dict(islice(known.items(), len(known) - most // 2, None))


def candle_rows(candles: Sequence[Candle], ids: Ids) -> list[Cells]:
    """Candles for the table ``candle``."""
    return [
        (
            ids[candle.exchange, candle.symbol],
            candle.interval,
            candle.open_time,
            *map(_text, (candle.open, candle.high, candle.low, candle.close, candle.volume)),
            candle.closed,
            candle.received,
        )
        for candle in candles
    ]


def quarantine_row(frame: Quarantined) -> Cells:
    """A frame for the table ``quarantined``; its digest tells it from others of its instant."""
    digest = hashlib.blake2b(frame.payload, digest_size=16).digest()
    return frame.exchange, frame.received, digest, frame.reason, legible(frame.payload)


def legible(payload: bytes) -> str | bytes:
    """Text where it is text; a NUL would end it early in many a program."""
    try:
        return payload if b"\0" in payload else payload.decode()
    except UnicodeDecodeError:
        return payload


def instrument_row(listed: Instrument) -> Cells:
    """An instrument for the table ``instrument``."""
    return (
        *(listed.exchange, listed.symbol, listed.native, listed.base, listed.quote),
        *map(_text, (listed.tick_size, listed.amount_step, listed.contract_size)),
        *(listed.amount_unit, listed.status),
    )


def _levels(levels: Sequence[Level]) -> str:
    """Levels as JSON, each number as the text of its digits."""
    return "[" + ",".join([f'["{price:f}","{amount:f}"]' for price, amount in levels]) + "]"


def _text(number: Decimal | None) -> str | None:
    """Every digit, and never an exponent; a zero has no sign, since not every store could tell it."""
    return None if number is None else f"{number:zf}"
