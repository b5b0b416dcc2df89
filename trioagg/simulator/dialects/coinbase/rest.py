"""Coinbase Exchange's REST: products, tickers, trades by id, candles, books, the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import Pair, Print, Span
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Handler,
    Query,
    Refusal,
    iso,
    last,
    number,
    plain,
    short,
    ticks,
    whole,
)
from trioagg.simulator.dialects.coinbase.figures import (
    Figures,
    currencies,
    currency,
    fixed,
    listing,
    maker,
    order_id,
)

GRANULARITIES = (60, 300, 900, 3600, 21600, 86400)
PAGE = 1000
ROWS = 300  # candles in one answer
KEPT = 10_000  # candles that are remembered
DEPTH = 5000
NOT_FOUND = {"message": "NotFound"}
TOO_MANY = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
MORE = {
    "margin_enabled": False, "trading_disabled": False, "max_slippage_percentage": "0.02000000", "auction_mode": False,
    "high_bid_limit_percentage": "",
}  # fmt: skip
"""What REST tells of a product beside what the status channel tells."""


def paths(figures: Figures, symbols: Mapping[str, str], now: Callable[[], Nanos]) -> Mapping[str, Handler]:
    """The table of requests."""
    desk = Desk(figures, symbols, now)
    return {
        "/time": lambda query: {"iso": iso(now(), 3), "epoch": number(f"{now() // MILLI / 1000:.3f}")},
        "/currencies": lambda query: [currency(code, "message") for code in currencies(figures.source)],
        "/currencies/([^/]+)": desk.currency,
        "/products": lambda query: [listing(pair) | MORE for pair in figures.source.pairs.values()],
        "/products/stats": desk.all_stats,
        "/products/([^/]+)": lambda query, name: listing(desk.pair(name)) | MORE,
        "/products/([^/]+)/ticker": desk.ticker,
        "/products/([^/]+)/stats": desk.stats,
        "/products/([^/]+)/trades": desk.trades,
        "/products/([^/]+)/candles": desk.candles,
        "/products/([^/]+)/book": desk.book,
        "/.*": desk.nothing,
    }


class Desk:
    """Answers requests about one product."""

    def __init__(self, figures: Figures, symbols: Mapping[str, str], now: Callable[[], Nanos]) -> None:
        self._figures, self._source, self._symbols, self._now = figures, figures.source, symbols, now
        self._past = lru_cache(maxsize=KEPT)(figures.source.span)

    def pair(self, name: str) -> Pair:
        """The market of a product."""
        if name not in self._symbols:
            raise Refusal(NOT_FOUND, 404)
        return self._source.pairs[self._symbols[name]]

    def nothing(self, query: Query) -> object:
        """What is not there, or needs a key."""
        raise Refusal(NOT_FOUND, 404)

    def currency(self, query: Query, code: str) -> dict[str, Any]:
        """One currency."""
        if code not in currencies(self._source):
            raise Refusal(NOT_FOUND, 404)
        return currency(code, "message")

    def ticker(self, query: Query, name: str) -> dict[str, Any]:
        """The last trade, and the best prices."""
        symbol, now = self.pair(name).symbol, self._now()
        ident, at, price, amount, _ = last(self._source, symbol, now)
        _, _, bid, _, ask, _ = self._source.quote(symbol, now)
        day, _ = self._figures.days(symbol, now)
        return {
            "ask": short(ask), "bid": short(bid), "volume": short(day.volume), "trade_id": ident,
            "price": short(price), "size": short(amount), "time": iso(at, 9), "rfq_volume": "0",
        }  # fmt: skip

    def stats(self, query: Query, name: str) -> dict[str, Any]:
        """The day and the month."""
        day, month = self._figures.days(self.pair(name).symbol, self._now())
        return {
            **_day(day), "volume_30day": short(month.volume), "rfq_volume_24hour": "0", "rfq_volume_30day": "0",
        }  # fmt: skip

    def all_stats(self, query: Query) -> dict[str, Any]:
        """The day and the month of every product."""
        days = {name: self._figures.days(symbol, self._now()) for name, symbol in self._symbols.items()}
        return {
            name: {"stats_30day": {"volume": short(month.volume)}, "stats_24hour": _day(day)}
            for name, (day, month) in days.items()
        }

    def trades(self, query: Query, name: str) -> list[dict[str, Any]]:
        """Newest first: those with ids below ``after``, or the newest above ``before``."""
        symbol = self.pair(name).symbol
        limit, end = min(_count(query, "limit", PAGE), PAGE), self._source.before(symbol, self._now())
        end = min(end, _count(query, "after", end))
        first = max(end - limit, _count(query, "before", -1) + 1, 0)
        return [_row(trade) for trade in reversed(list(self._source.prints(symbol, first, end)))]

    def candles(self, query: Query, name: str) -> list[list[Any]]:
        """Newest first; ``start`` and ``end`` count only together; without trades there is none."""
        symbol, length = self.pair(name).symbol, _count(query, "granularity", 60) * SECOND
        if length // SECOND not in GRANULARITIES:
            raise Refusal({"message": "Unsupported granularity"}, 400)
        now = self._now()
        first, last = now - (ROWS - 1) * length, now
        if query.get("start") and query.get("end"):
            first, last = _moment(query["start"]), min(_moment(query["end"]), now)
        if (last - first) // length > ROWS:
            raise Refusal({"message": TOO_MANY}, 400)
        opens = ticks(first // length * length, last + 1, length)
        spans = [self._span(symbol, at, at + length) for at in reversed(opens)]
        return [_bar(span) for span in spans if span.count]

    def _span(self, symbol: str, start: Nanos, end: Nanos) -> Span:
        """A candle; what is over is reckoned once."""
        return self._past(symbol, start, end) if end <= self._now() else self._source.span(symbol, start, self._now())

    def book(self, query: Query, name: str) -> dict[str, Any]:
        """Level 1: the best, 2: all levels with their number of orders, 3: all orders, one a level here."""
        pair, now, level = self.pair(name), self._now(), _count(query, "level", 1)
        if level not in (1, 2, 3):
            raise Refusal({"message": "Invalid level"}, 400)

        def row(price: int, amount: int) -> list[Any]:
            orders = order_id(price) if level == 3 else amount // pair.step % 7 + 1
            return [fixed(price, pair.tick), short(amount), orders]

        sides = whole(self._source, pair.symbol, now, 1 if level == 1 else DEPTH)
        bids, asks = ([row(price, amount) for price, amount in side] for side in sides)
        told = {"bids": bids, "asks": asks, "sequence": self._figures.sequence(pair.symbol, now)}
        return {**told, "auction_mode": False, "auction": None, "time": iso(now, 9)}


def _count(query: Query, name: str, default: int) -> int:
    word = query.get(name) or str(default)
    if not word.lstrip("-").isdecimal():
        raise Refusal({"message": f"Invalid {name}"}, 400)
    return int(word)


def _moment(word: str) -> Nanos:
    """A time in seconds, or in ISO 8601; without a zone it is in UTC."""
    if word.isdecimal():
        return int(word) * SECOND
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise Refusal({"message": "Invalid start or end"}, 400) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND


def _row(trade: Print) -> dict[str, Any]:
    ident, at, price, amount, _ = trade
    return {"trade_id": ident, "side": maker(trade), "size": plain(amount), "price": plain(price), "time": iso(at)}


def _bar(span: Span) -> list[Any]:
    figures = (span.low, span.high, span.open, span.close, span.volume)
    return [span.start // SECOND, *(number(short(figure)) for figure in figures)]


def _day(day: Span) -> dict[str, str]:
    figures = {"open": day.open, "high": day.high, "low": day.low, "last": day.close, "volume": day.volume}
    return {name: short(figure) for name, figure in figures.items()}
