"""Gate spot, as its public market data speaks: REST and WebSocket of version 4.

``streams`` makes frames, ``text`` writes what they share with the answers of REST.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Pair, Print, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    MILLI,
    SECOND,
    DeskDialect,
    Handler,
    Query,
    Refusal,
    plain,
    short,
    text,
    whole,
)
from trioagg.simulator.dialects.gate.streams import GateSession
from trioagg.simulator.dialects.gate.text import ELSEWHERE, LENGTHS, opening, rows, stamp, ticker

MOST = 1000  # rows of an answer
PAGED = 100_000  # trades that pages reach
_TRADE = re.compile(rb'"channel":"spot.trades".*?"id_market":(\d+),.*?"currency_pair":"([^"]+)"')


class Dialect(DeskDialect):
    """Gate's REST and WebSocket, without keys."""

    name = "gate"

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot only."""
        return bool(re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTC_USDT``."""
        return symbol.replace("/", "_")

    def paths(self) -> Mapping[str, Handler]:
        """Everything below ``/spot/``."""
        return {
            "/api/v4/spot/time": lambda query: {"server_time": self.now // MILLI},
            "/api/v4/spot/currency_pairs": lambda query: [_listing(pair) for pair in self.source.pairs.values()],
            "/api/v4/spot/currency_pairs/([^/]+)": lambda query, name: _listing(self._pair({"currency_pair": name})),
            "/api/v4/spot/tickers": self._tickers,
            "/api/v4/spot/order_book": self._book,
            "/api/v4/spot/trades": self._trades,
            "/api/v4/spot/candlesticks": self._candles,
        }

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """A label and a message; too many requests bring the second of the next window, and no ``Retry-After``."""
        if status == 429:
            reset = now // SECOND + int(retry_after or 10)
            limits = {"x-gate-ratelimit-limit": "200", "x-gate-ratelimit-requests-remain": "0"}
            told = {"label": "TOO_MANY_REQUESTS", "message": "Request Rate limit Exceeded (311)"}
            return Answer(text(told), 429, {**limits, "x-gate-ratelimit-reset-timestamp": str(reset)})
        answer = super().refusal(status, retry_after, now)
        return Answer(text({"label": "SERVER_ERROR", "message": "Internal error"}), status, answer.headers)

    def session(self, target: str) -> GateSession | None:
        """A connection to ``/ws/v4/``."""
        there = target.partition("?")[0].rstrip("/") == "/ws/v4"
        return GateSession(self.source, self.symbols) if there else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol (Gate's spelling) and the number within its market, of a trade's frame."""
        found = _TRADE.search(frame)
        return (found[2].decode(), int(found[1])) if found else None

    def _pair(self, query: Query) -> Pair:
        name = query.get("currency_pair", "")
        if not name:
            _refuse("MISSING_REQUIRED_PARAM", "Missing required parameter: currency_pair")
        if name not in self.symbols:
            _refuse("INVALID_CURRENCY_PAIR", f"Invalid currency pair {name}")
        return self.source.pairs[self.symbols[name]]

    def _tickers(self, query: Query) -> object:
        if "currency_pair" in query:
            return [ticker(self.source, self._pair(query), self.now, sizes=True)]
        return [ticker(self.source, pair, self.now, sizes=False) for pair in self.source.pairs.values()]

    def _book(self, query: Query) -> object:
        pair, limit = self._pair(query), _number(query, "limit", 10, MOST)
        bids, asks = whole(self.source, pair.symbol, self.now, limit)
        number = {"id": self.source.update(pair.symbol, self.now)} if query.get("with_id") == "true" else {}
        times = {"current": self.now // MILLI, "update": self.now // MILLI}
        return {**number, **times, "asks": rows(asks), "bids": rows(bids)}

    def _trades(self, query: Query) -> object:
        pair, limit = self._pair(query), _number(query, "limit", 100, MOST)
        first, end = self._window(pair, query)
        skipped = limit * (_number(query, "page", 1) - 1)
        if skipped + limit > PAGED:
            _refuse("INVALID_PARAM_VALUE", "limit * (page - 1) exceeds 100000")
        if query.get("reverse") == "true":
            some = self.source.prints(pair.symbol, first + skipped, min(first + skipped + limit, end))
            return [_row(pair, trade) for trade in some]
        some = self.source.prints(pair.symbol, max(first, end - skipped - limit), max(first, end - skipped))
        return [_row(pair, trade) for trade in some][::-1]

    def _window(self, pair: Pair, query: Query) -> tuple[int, int]:
        """The numbers that are asked for, from the first to before the last; both seconds are inclusive."""
        end = self.source.before(pair.symbol, self.now)
        if "last_id" in query:
            return min(_number(query, "last_id", 0) - ELSEWHERE + 1, end), end
        since = _number(query, "from", (self.now - 30 * DAY) // SECOND) * SECOND
        until = (_number(query, "to", self.now // SECOND) + 1) * SECOND
        return self.source.before(pair.symbol, since), min(end, self.source.before(pair.symbol, until))

    def _candles(self, query: Query) -> object:
        pair, interval = self._pair(query), query.get("interval", "30m")
        if interval not in LENGTHS:
            _refuse("INVALID_PARAM_VALUE", "Invalid interval")
        if "limit" in query and ("from" in query or "to" in query):
            _refuse("INVALID_PARAM_VALUE", "limit conflicts with from and to")
        length, until = LENGTHS[interval], min(self.now, _number(query, "to", self.now // SECOND) * SECOND)
        since = _number(query, "from", 0) * SECOND if "from" in query else None
        opens = [opening(until, interval)]
        count = MOST if since is not None else _number(query, "limit", 100, MOST)
        while len(opens) < count and (since is None or opens[-1] - length >= since):
            opens.append(opens[-1] - length)
        spans = [self.source.span(pair.symbol, at, min(at + length, self.now)) for at in reversed(opens)]
        return [_bar(span, closed=span.start + length <= self.now) for span in spans]


def _refuse(label: str, message: str) -> NoReturn:
    raise Refusal({"label": label, "message": message}, 400)


def _number(query: Query, name: str, default: int, most: int | None = None) -> int:
    word = query.get(name, str(default))
    if not re.fullmatch(r"\d{1,18}", word):
        _refuse("INVALID_PARAM_VALUE", f"Invalid request parameter `{name}` value: {word[:40]}")
    if most is not None and int(word) > most:
        _refuse("TOO_BIG", f"{name} {word}")
    return int(word)


def _places(step: int) -> int:
    return len(str(SCALE // step)) - 1


def _listing(pair: Pair) -> dict[str, Any]:
    name = f"{pair.base}_{pair.quote}"
    return {
        "id": name, "base": pair.base, "base_name": pair.base, "quote": pair.quote, "quote_name": pair.quote,
        "fee": "0.2", "min_base_amount": short(pair.step), "min_quote_amount": "3", "max_quote_amount": "5000000",
        "amount_precision": _places(pair.step), "precision": _places(pair.tick), "trade_status": "tradable",
        "sell_start": 1516378650, "buy_start": 1516378650, "delisting_time": 0, "type": "normal",
        "trade_url": f"https://www.gate.com/trade/{name}", "st_tag": False,
    }  # fmt: skip


def _row(pair: Pair, trade: Print) -> dict[str, str]:
    number, at, price, amount, buy = trade
    return {
        "id": str(number + ELSEWHERE), "create_time": str(at // SECOND), "create_time_ms": stamp(at),
        "currency_pair": f"{pair.base}_{pair.quote}", "side": "buy" if buy else "sell", "amount": short(amount),
        "price": short(price), "sequence_id": str(number),
    }  # fmt: skip


def _bar(span: Span, *, closed: bool) -> list[str]:
    prices = [short(figure) for figure in (span.close, span.high, span.low, span.open)]
    volumes = plain(span.quote_volume), plain(span.volume)
    return [str(span.start // SECOND), volumes[0], *prices, volumes[1], "true" if closed else "false"]
