"""Bitfinex's rows: arrays of JSON numbers, the same in REST and in the stream."""

from __future__ import annotations

import zlib
from itertools import zip_longest
from typing import Any

from msgspec import Raw

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Print, Quote, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    daily,
    funding,
    interest,
    next_funding,
    number,
    short,
    ticks,
)

CODES = {"USDT": "UST", "USDC": "UDC", "DASH": "DSH", "ALGO": "ALG", "ATOM": "ATO", "OP": "OPX"}
FRAMES = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR, "3h": 3 * HOUR}
FRAMES |= {"6h": 6 * HOUR, "12h": 12 * HOUR, "1D": DAY, "1W": 7 * DAY, "14D": 14 * DAY, "1M": 30 * DAY}
LENGTHS = (1, 25, 100, 250)
IDS = 200  # between the ids of two trades of a market, since all markets share them


def native(symbol: str) -> str:
    """``tBTCUST``; with a colon where a code is not of three letters: ``tBTCF0:USTF0``."""
    pair, _, settled = symbol.partition(":")
    codes = [CODES.get(asset, asset) + ("F0" if settled else "") for asset in pair.split("/")]
    return "t" + ("" if {len(code) for code in codes} == {3} else ":").join(codes)


def js(figure: int) -> Raw:
    """A figure as JavaScript writes it: with an exponent below a millionth."""
    if not figure or abs(figure) >= SCALE // 10**6:
        return number(short(figure))
    digits, power = str(abs(figure)).rstrip("0"), len(str(abs(figure))) - 9
    return number(f"{'-' if figure < 0 else ''}{'.'.join(filter(None, (digits[0], digits[1:])))}e{power}")


class Teller:
    """What both REST and the stream tell of one market.

    Args:
        place: among the markets.
    """

    def __init__(self, source: Source, symbol: str, place: int) -> None:
        self.source, self.symbol, self.native, self._place = source, symbol, native(symbol), place

    def trade(self, trade: Print) -> list[Any]:
        """Id, time, amount, price; an amount below zero is a sale."""
        ident, at, price, amount, buy = trade
        return [ident * IDS + self._place, at // MILLI, js(amount if buy else -amount), js(price)]

    def ticker(self, quote: Quote) -> list[Any]:
        """Best prices, with what the best 25 levels hold; then the day's figures."""
        update, at, bid, _, ask, _ = quote
        day = daily(self.source, self.symbol, at)
        bids, asks = (sum(amount for _, amount in side[:25]) for side in self.source.book(self.symbol, update))
        change = day.close - day.open
        figures = (bid, bids, ask, asks, change, change * SCALE // day.open, day.close, day.volume, day.high, day.low)
        return [js(figure) for figure in figures]

    def newest(self, now: Nanos, many: int) -> list[list[Any]]:
        """The newest trades, newest first."""
        last = self.source.before(self.symbol, now)
        return [self.trade(trade) for trade in self.source.prints(self.symbol, last - many, last)][::-1]

    def candles(self, length: Nanos, start: Nanos, end: Nanos, *, now: Nanos) -> list[list[Any]]:
        """Candles that begin from ``start`` to before ``end``, oldest first; none without trades."""
        spans = [self.source.span(self.symbol, at, min(at + length, now)) for at in ticks(start, end, length)]
        return [candle(span) for span in spans if span.count]

    def status(self, at: Nanos) -> list[Any]:
        """A perpetual's state, without its key."""
        quote = self.source.quote(self.symbol, at)
        price, rate = (quote[2] + quote[4]) // 2, funding(self.symbol, at)
        return [
            *(at // MILLI, None, js(price), js(price), None, js(47 * SCALE), None, next_funding(at) // MILLI),
            *(js(rate // 2), at // MINUTE % 480, None, js(rate), None, None, js(price), None, None),
            *(js(interest(self.source, self.symbol, at)), None, None, None, js(-250_000), js(250_000)),
        ]

    def forced(self, trade: Print) -> list[list[Any]]:
        """A liquidation: its beginning, and what the market took of it."""
        ident, at, price, amount, buy = trade
        size, opened = js(-amount if buy else amount), js(price + price // 100 * (-1 if buy else 1))
        row = ["pos", ident, at // MILLI, None, self.native, size, opened, None]
        return [[*row, step, 1, None, js(price)] for step in (0, 1)]


def candle(span: Span) -> list[Any]:
    """Time, open, close, high, low, volume."""
    return [span.start // MILLI, *map(js, (span.open, span.close, span.high, span.low, span.volume))]


def rows(bids: Levels, asks: Levels) -> list[list[Any]]:
    """Price, orders, amount; those of asks are below zero, and a level that went has no orders."""
    signed = [(price, amount, 1) for price, amount in bids] + [(price, amount, -1) for price, amount in asks]
    return [[js(p), 1, js(amount * sign)] if amount else [js(p), 0, sign] for p, amount, sign in signed]


def checksum(book: tuple[Levels, Levels]) -> int:
    """CRC32, signed, over the best 25 bids and asks by turns."""
    bids, asks = book[0][:25], [(price, -amount) for price, amount in book[1][:25]]
    figures = [js(figure) for turn in zip_longest(bids, asks, fillvalue=()) for level in turn for figure in level]
    found = zlib.crc32(b":".join(map(bytes, figures)))
    return found if found < 1 << 31 else found - (1 << 32)
