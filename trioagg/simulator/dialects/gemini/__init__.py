"""Gemini, spot and linear perpetuals, as its public market data speaks: REST; in ``streams`` the newer WebSocket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import evolve

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Pair, Print, Request, Source
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    DeskDialect,
    Handler,
    Query,
    Refusal,
    daily,
    interest,
    iso,
    number,
    plain,
    short,
    text,
    ticks,
    whole,
)
from trioagg.simulator.dialects.gemini.streams import DEPTH, SPACING, GeminiSession, ident, native, payment

PAGE, SHORT = 500, 50  # trades in an answer: at the most, and where no limit is asked for
TOLD = 7 * DAY  # of trades
FRAMES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1hr": 60, "6hr": 360, "1day": 1440}
ROWS = 120  # candles in an answer
KEPT = 10_000  # candles that are remembered
_TRADE = re.compile(rb'\{"E":\d+,"s":"([^"]+)","t":(\d+)')


class Dialect(DeskDialect):
    """Gemini's REST and WebSocket market data, without keys."""

    name = "gemini"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._past = lru_cache(maxsize=KEPT)(source.span)

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot, and perpetuals in USDC and GUSD."""
        return bool(re.fullmatch(r"[A-Z0-9]+/([A-Z0-9]+|USDC:USDC|GUSD:GUSD)", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """Without a separator."""
        return native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Those that need no key."""
        return {
            "/v1/symbols": lambda query: list(self.symbols),
            "/v1/symbols/details/all": lambda query: [_listing(pair) for pair in self.source.pairs.values()],
            "/v1/symbols/details/([^/]+)": lambda query, name: _listing(self._pair(name)),
            "/v1/pricefeed": lambda query: [self._price(symbol) for symbol in self.symbols.values()],
            "/v1/pubticker/([^/]+)": self._ticker,
            "/v2/ticker/([^/]+)": self._day,
            "/v1/book/([^/]+)": self._book,
            "/v1/trades/([^/]+)": self._trades,
            "/v2/candles/([^/]+)/([^/]+)": self._candles,
            "/v2/derivatives/candles/([^/]+)/(1m)": self._candles,
            "/v1/riskstats/([^/]+)": self._risk,
            "/v1/fundingamount/([^/]+)": self._funding,
        }

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer; without a body where there is nothing to say."""
        answer = super().answer(request, now)
        return evolve(answer, body=b"") if answer.body == b"null" else answer

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """An error with its reason."""
        reason = {429: "Too Many Requests", 503: "Maintenance"}.get(status, "System")
        return evolve(super().refusal(status, retry_after, now), body=text(_error(reason, reason)))

    def session(self, target: str) -> GeminiSession | None:
        """A connection to ``/``; ``snapshot`` tells the levels that a book begins with, -1 all."""
        url = urlsplit(target)
        levels = parse_qs(url.query).get("snapshot", ["0"])[0]
        known = url.path in ("", "/") and re.fullmatch(r"-1|\d{1,5}", levels)
        return GeminiSession(self.source, self.symbols, int(levels)) if known else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol and id of a trade."""
        found = _TRADE.match(frame)
        return (found[1].decode(), int(found[2])) if found else None

    def _pair(self, name: str) -> Pair:
        if name.lower() not in self.symbols:
            raise Refusal(_error("InvalidSymbol", f"Supplied value '{name}' is not a valid symbol"), 400)
        return self.source.pairs[self.symbols[name.lower()]]

    def _perpetual(self, name: str) -> str:
        if not name.lower().endswith("perp"):
            raise Refusal(None, 404)
        return self._pair(name).symbol

    def _price(self, symbol: str) -> dict[str, str]:
        day = daily(self.source, symbol, self.now)
        change = (day.close - day.open) * SCALE // day.open
        return {"pair": native(symbol).upper(), "price": short(day.close), "percentChange24h": plain(change)[:-4]}

    def _ticker(self, query: Query, name: str) -> dict[str, Any]:
        pair = self._pair(name)
        day = daily(self.source, pair.symbol, self.now)
        _, _, bid, _, ask, _ = self.source.quote(pair.symbol, self.now)
        volume = {pair.base: short(day.volume), pair.quote: short(day.quote_volume)}
        until = {"timestamp": self.now // MINUTE * MINUTE // MILLI}
        return {"bid": short(bid), "ask": short(ask), "volume": volume | until, "last": short(day.close)}

    def _day(self, query: Query, name: str) -> dict[str, Any]:
        symbol, source, now = self._pair(name).symbol, self.source, self.now
        day = daily(source, symbol, now)
        _, _, bid, _, ask, _ = source.quote(symbol, now)
        hours = [source.span(symbol, now - (back + 1) * HOUR, now - back * HOUR) for back in range(24)]
        figures = {"open": day.open, "high": day.high, "low": day.low, "close": day.close}
        prices = {word: short(figure) for word, figure in figures.items()}
        changes = [short(hour.close) for hour in hours]
        return {"symbol": name.upper(), **prices, "changes": changes, "bid": short(bid), "ask": short(ask)}

    def _book(self, query: Query, name: str) -> dict[str, Any]:
        """The times in it mean nothing, and it bears no number."""
        sides = dict(zip(("bids", "asks"), whole(self.source, self._pair(name).symbol, self.now, DEPTH), strict=True))
        at = str(self.now // SECOND)
        return {
            side: [
                {"price": short(price), "amount": short(amount), "timestamp": at}
                for price, amount in levels[: _count(query, f"limit_{side}", 50) or None]
            ]
            for side, levels in sides.items()
        }

    def _trades(self, query: Query, name: str) -> list[dict[str, Any]]:
        """The oldest after an id or a time, else the newest; newest first."""
        symbol = self._pair(name).symbol
        count, end = min(_count(query, "limit_trades", SHORT), PAGE), self.source.before(symbol, self.now)
        first, oldest = end - count, self.source.before(symbol, self.now - TOLD)
        if "since_tid" in query:
            first = (_count(query, "since_tid", 0) - ident(symbol, 0)) // SPACING + 1
        elif stamp := _count(query, "timestamp", _count(query, "since", 0)):
            milliseconds = stamp if stamp > 10**11 else stamp * 1000
            first = self.source.before(symbol, (milliseconds + 1) * MILLI)
        first = max(first, oldest)
        return [_row(symbol, trade) for trade in self.source.prints(symbol, first, min(end, first + count))][::-1]

    def _candles(self, query: Query, name: str, frame: str) -> list[list[Any]]:
        symbol = self._pair(name).symbol
        if frame not in FRAMES:
            raise Refusal(_error("InvalidTimeFrame", f"Supplied value '{frame}' is not a valid time frame"), 400)
        length, now, rows = FRAMES[frame] * MINUTE, self.now, []
        for at in reversed(ticks(now // length * length - (ROWS - 1) * length, now, length)):
            span = self._past(symbol, at, at + length) if at + length <= now else self.source.span(symbol, at, now)
            figures = (span.open, span.high, span.low, span.close, span.volume)
            rows.append([at // MILLI, *(number(short(figure)) for figure in figures)])
        return rows

    def _risk(self, query: Query, name: str) -> dict[str, Any]:
        symbol = self._perpetual(name)
        _, _, mark, _, index, _ = self.source.quote(symbol, self.now)
        held = interest(self.source, symbol, self.now)
        return {
            "product_type": "PerpetualSwapContract", "mark_price": short(mark), "index_price": short(index),
            "open_interest": short(held), "open_interest_notional": short(held * mark // SCALE),
        }  # fmt: skip

    def _funding(self, query: Query, name: str) -> dict[str, Any]:
        symbol, paid = self._perpetual(name), self.now // HOUR * HOUR
        _, _, mark, *_ = self.source.quote(symbol, self.now)
        return {
            "symbol": native(symbol), "fundingDateTime": iso(paid, 3), "fundingTimestampMilliSecs": paid // MILLI,
            "nextFundingTimestamp": (paid + HOUR) // MILLI,
            "fundingAmount": number(short(payment(symbol, mark, paid))),
            "estimatedFundingAmount": number(short(payment(symbol, mark, paid + HOUR))),
        }  # fmt: skip


def _error(reason: str, message: str) -> dict[str, str]:
    return {"result": "error", "reason": reason, "message": message}


def _count(query: Query, name: str, default: int) -> int:
    word = query.get(name, str(default))
    if not re.fullmatch(r"\d{1,18}", word):
        raise Refusal(_error("InvalidParameter", f"Supplied value '{word}' for '{name}' is not a number"), 400)
    return int(word)


def _listing(pair: Pair) -> dict[str, Any]:
    """``tick_size`` is the step of the amount."""
    step, perpetual = len(str(SCALE // pair.step)) - 1, ":" in pair.symbol
    return {
        "symbol": native(pair.symbol).upper(), "base_currency": pair.base, "quote_currency": pair.quote,
        "tick_size": number(f"1E-{step}"), "quote_increment": number(short(pair.tick)),
        "min_order_size": short(pair.step), "status": "open", "wrap_enabled": False,
        "product_type": "swap" if perpetual else "spot", "contract_type": "linear" if perpetual else "vanilla",
        "contract_price_currency": pair.quote,
    }  # fmt: skip


def _row(symbol: str, trade: Print) -> dict[str, Any]:
    count, at, price, amount, buy = trade
    return {
        "timestamp": at // SECOND, "timestampms": at // MILLI, "tid": ident(symbol, count), "price": short(price),
        "amount": short(amount), "exchange": "gemini", "type": "buy" if buy else "sell",
    }  # fmt: skip
