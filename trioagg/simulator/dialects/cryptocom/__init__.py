"""Crypto.com Exchange v1, as its public market data speaks: spot, and perpetual contracts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import Answer
from trioagg.simulator.dialects._kit import DAY, MILLI, MINUTE, DeskDialect, Handler, Query, Refusal, iso, text, whole
from trioagg.simulator.dialects.cryptocom import words
from trioagg.simulator.dialects.cryptocom.streams import CryptocomSession

_TRADE = re.compile(rb'"channel":"trade".*?"i":"([^"]+)","m":"(\d+)"')


class Dialect(DeskDialect):
    """Crypto.com's REST and WebSocket, without keys."""

    name = "cryptocom"

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot, and perpetual contracts in USD; those in USDT, which its spelling allows, are listed too."""
        return bool(re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+|[A-Z0-9]+/(USDT?):\1", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """The exchange's spelling."""
        return words.native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Below ``/exchange/v1/public/``, and what is said of all others."""
        handlers: dict[str, Handler] = {
            "get-instruments": lambda query: {"data": [words.listing(pair) for pair in self.source.pairs.values()]},
            "get-tickers": self._tickers,
            "get-trades": self._trades,
            "get-candlestick": self._candles,
            "get-book": self._book,
            "get-valuations": self._valuations,
            "get-expired-settlement-price": lambda query: {"data": []},
        }
        answered = {f"/exchange/v1/public/{path}": _answered(path, handler) for path, handler in handlers.items()}
        return {**answered, "(.*)": self._lost}

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Too many requests bear a code, and no time to wait."""
        if status != 429:
            return super().refusal(status, retry_after, now)
        return Answer(text({"code": 42901, "message": "Too many requests"}), status)

    def session(self, target: str) -> CryptocomSession | None:
        """A connection to the market data."""
        path = target.partition("?")[0]
        return CryptocomSession(self.source, self.symbols) if path == "/exchange/v1/market" else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol and match id of a trade frame."""
        found = _TRADE.search(frame)
        return (words.unified(found[1].decode()), int(found[2])) if found else None

    def _lost(self, query: Query, path: str) -> object:
        told = {"timestamp": iso(self.now, 3), "status": 404, "error": "Not Found", "path": path}
        raise Refusal(told, 404)

    def _symbol(self, query: Query) -> str:
        if not (name := query.get("instrument_name", "")):
            raise _refused("Missing instrument_name param")
        if name not in self.symbols:
            raise _refused("Invalid instrument_name")
        return self.symbols[name]

    def _tickers(self, query: Query) -> dict[str, Any]:
        wanted = [self._symbol(query)] if "instrument_name" in query else list(self.source.pairs)
        rows = [words.ticker(self.source, symbol, self.source.quote(symbol, self.now), self.now) for symbol in wanted]
        return {"data": [{name: word for name, word in row.items() if name not in ("bs", "ks")} for row in rows]}

    def _between(self, query: Query, longest: Nanos) -> tuple[Nanos, Nanos]:
        """The times that are asked for; the end is exclusive."""
        end = min(_moment(query, "end_ts", self.now), self.now)
        return max(_moment(query, "start_ts", end - DAY), end - longest), end

    def _trades(self, query: Query) -> dict[str, Any]:
        """The latest of the time that is asked for, these first."""
        symbol, most, times = self._symbol(query), min(_count(query), 150), self._between(query, 7 * DAY)
        start, end = (self.source.before(symbol, at) for at in times)
        rows = [words.trade(symbol, trade) for trade in self.source.prints(symbol, max(start, end - most), end)]
        return {"data": rows[::-1]}

    def _candles(self, query: Query) -> dict[str, Any]:
        symbol, frame = self._symbol(query), query.get("timeframe", "1m")
        if not (length := words.length(frame)):
            raise _refused("Invalid timeframe")
        end = min(_moment(query, "end_ts", self.now), self.now)
        rows = words.history(self.source, symbol, length, end, count=min(_count(query), 300))
        start = _moment(query, "start_ts", 0) // MILLI
        named = {"interval": frame, "instrument_name": self.native(symbol)}
        return {**named, "data": [row for row in rows if row["t"] >= start]}

    def _book(self, query: Query) -> dict[str, Any]:
        symbol, depth = self._symbol(query), query.get("depth", "150")
        if not depth.isdecimal() or not 0 < int(depth) <= 150:
            raise _refused("Invalid depth")
        sides = words.sides(self.source.pairs[symbol], whole(self.source, symbol, self.now, int(depth)))
        row = {**sides, "t": self.now // MILLI}
        return {"depth": int(depth), "instrument_name": self.native(symbol), "data": [row]}

    def _valuations(self, query: Query) -> dict[str, Any]:
        """A value a minute, the newest now and first."""
        symbol, kind, count = self._symbol(query), query.get("valuation_type", ""), min(_count(query), 1000)
        if kind not in words.VALUES:
            raise _refused("Invalid valuation_type")
        times = range(self.now, self.now - count * MINUTE, -MINUTE)
        return {
            "instrument_name": self.native(symbol),
            "data": [words.value(self.source, symbol, kind, at) for at in times],
        }


def _answered(path: str, handler: Handler) -> Handler:
    return lambda query: {"id": -1, "method": f"public/{path}", "code": 0, "result": handler(query)}


def _refused(reason: str) -> Refusal:
    return Refusal({"code": 40004, "message": reason}, 400)


def _count(query: Query) -> int:
    word = query.get("count", "25")
    if not word.isdecimal() or int(word[:9]) < 1:
        raise _refused("Invalid count")
    return int(word[:9])


def _moment(query: Query, name: str, default: Nanos) -> Nanos:
    """Milliseconds, microseconds or nanoseconds, by how many digits they are."""
    if not (word := query.get(name, "")):
        return default
    if not word.isascii() or not word.isdecimal() or len(word) > 19:
        raise _refused(f"Invalid {name}")
    return int(word) * (MILLI if len(word) <= 13 else 1000 if len(word) <= 16 else 1)
