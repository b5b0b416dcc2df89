"""OKX's public REST: paths, parameters, quotas, errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from trioagg.model import Nanos
from trioagg.simulator import Answer, Print, Request, Source
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    SECOND,
    DeskDialect,
    Handler,
    Query,
    Refusal,
    funding,
    short,
    whole,
)
from trioagg.simulator.dialects.okx import rows

TYPES = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS")
WINDOW = 2 * SECOND
QUOTAS = {"public/time": 10, "market/books": 40, "market/books-full": 10, "market/candles": 40, "market/trades": 100}
QUOTAS |= dict.fromkeys(("public/funding-rate", "public/funding-rate-history", "public/mark-price"), 10)
"""Requests of a path in two seconds, where they are not 20."""
KEPT = 90 * DAY
"""How far back trades are told."""
NEWEST = 1440
"""How many candles of a length ``market/candles`` goes back."""


class Desk(DeskDialect):
    """Answers requests out of a source."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._window, self._used = 0, Counter[str]()

    def paths(self) -> Mapping[str, Handler]:
        """Below ``/api/v5/``."""
        handlers: dict[str, Callable[[Query], object]] = {
            "public/time": lambda query: [{"ts": rows.ms(self.now)}],
            "public/instruments": lambda query: [rows.instrument(self.source.pairs[s]) for s in self._typed(query)],
            "market/tickers": lambda query: [rows.ticker(self.source, s, self.now) for s in self._typed(query)],
            "market/ticker": lambda query: [rows.ticker(self.source, self._one(query), self.now)],
            "market/books": lambda query: [self._book(query, 400)],
            "market/books-full": self._full,
            "market/candles": lambda query: self._candles(query, recent=True),
            "market/history-candles": lambda query: self._candles(query, recent=False),
            "market/trades": self._trades,
            "market/history-trades": self._history,
            "public/funding-rate": lambda query: [rows.rate(s, self.now) for s in self._swaps(query)],
            "public/funding-rate-history": self._rates,
            "public/open-interest": lambda query: [
                rows.open_interest(self.source, s, self.now) for s in self._typed(query) if rows.kind(s) == "SWAP"
            ],
            "public/mark-price": lambda query: [rows.mark(self.source, s, self.now) for s in self._marked(query)],
            "system/status": lambda query: [],
        }
        return {f"/api/v5/{path}": _answered(handler) for path, handler in handlers.items()}

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer, as long as the path's quota of these two seconds lasts."""
        if now // WINDOW != self._window:
            self._window, self._used = now // WINDOW, Counter()
        path = request.path.removeprefix("/api/v5/")
        self._used[path] += 1
        return self.refusal(429, None, now) if self._used[path] > QUOTAS.get(path, 20) else super().answer(request, now)

    def _one(self, query: Query) -> str:
        """The symbol of ``instId``."""
        name = query.get("instId") or _lacking("instId")
        if name not in self.symbols:
            raise Refusal(_said("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."))
        return self.symbols[name]

    def _typed(self, query: Query) -> list[str]:
        """The symbols of ``instType``, narrowed by ``instFamily``, ``uly`` and ``instId``."""
        kind = query.get("instType") or _lacking("instType")
        if kind not in TYPES:
            raise Refusal(_said("51000", "Parameter instType error"), 400)
        if query.get("instId"):
            self._one(query)
        family = query.get("instFamily") or query.get("uly") or ""
        return [
            symbol
            for name, symbol in self.symbols.items()
            if rows.kind(symbol) == kind
            and query.get("instId") in (None, "", name)
            and (not family or name == f"{family}-SWAP")
        ]

    def _marked(self, query: Query) -> list[str]:
        """Spot markets have mark prices as what is lent on margin; ``instId`` alone will do."""
        if query.get("instId") and not query.get("instType"):
            return [self._one(query)]
        margin = query.get("instType") == "MARGIN"
        return self._typed({**query, "instType": "SPOT"}) if margin else self._typed(query)

    def _swaps(self, query: Query) -> list[str]:
        if query.get("instId") == "ANY":
            return [symbol for symbol in self.symbols.values() if rows.kind(symbol) == "SWAP"]
        symbol = self._one(query)
        if rows.kind(symbol) != "SWAP":
            raise Refusal(_said("51000", "Parameter instId error"), 400)
        return [symbol]

    def _book(self, query: Query, most: int) -> dict[str, Any]:
        symbol, count = self._one(query), _count(query, "sz", 1, most)
        bids, asks = (rows.levels(symbol, side) for side in whole(self.source, symbol, self.now, count))
        number = self.source.update(symbol, self.now)
        return {"asks": asks, "bids": bids, "ts": rows.ms(self.now), "seqId": number}

    def _full(self, query: Query) -> list[dict[str, Any]]:
        """Levels without the column that means nothing any more, and no number."""
        book = self._book(query, 5000)
        bids, asks = ([[price, size, orders] for price, size, _, orders in book[side]] for side in ("bids", "asks"))
        return [{"asks": asks, "bids": bids, "ts": book["ts"]}]

    def _trades(self, query: Query) -> list[dict[str, str]]:
        symbol, count = self._one(query), _count(query, "limit", 100, 500)
        end = self.source.before(symbol, self.now)
        return self._newest(symbol, end - count, end)

    def _history(self, query: Query) -> list[dict[str, str]]:
        """Newest first; ``after`` and ``before`` leave their own trade out."""
        symbol, count = self._one(query), _count(query, "limit", 100, 100)
        first, end = (self.source.before(symbol, at) for at in (self.now - KEPT, self.now))
        after = _whole(query, "after")
        if after is not None:
            by_time = query.get("type") == "2"
            end = min(end, self.source.before(symbol, after * MILLI) if by_time else after)
        if (before := _whole(query, "before")) is not None:
            first = max(first, before + 1)
        return self._newest(symbol, max(first, end - count), end)

    def _newest(self, symbol: str, first: int, end: int) -> list[dict[str, str]]:
        found: list[Print] = list(self.source.prints(symbol, first, max(first, end)))
        return [rows.trade(symbol, told) for told in reversed(found)]

    def _candles(self, query: Query, *, recent: bool) -> list[list[str]]:
        """Newest first, the running one too; ``after`` and ``before`` leave their own candle out."""
        symbol, bar, count = self._one(query), query.get("bar") or "1m", _count(query, "limit", 100, 300)
        if bar not in rows.BARS or (recent and bar == "1s"):
            raise Refusal(_said("51000", "Parameter bar error"), 400)
        after, before = _whole(query, "after"), _whole(query, "before")
        opens = rows.opening(bar, min(self.now, self.now if after is None else after * MILLI) - 1)
        oldest = self.now - NEWEST * rows.LENGTHS[bar.removesuffix("utc")] if recent else 0
        found: list[list[str]] = []
        while len(found) < count and opens >= oldest and (before is None or opens > before * MILLI):
            ends = rows.opening(bar, opens + rows.LENGTHS[bar.removesuffix("utc")] * 3 // 2)
            span = self.source.span(symbol, opens, min(ends, self.now))
            found.append(rows.candle(symbol, span, closed=ends <= self.now))
            opens = rows.opening(bar, opens - 1)
        return found

    def _rates(self, query: Query) -> list[dict[str, str]]:
        """What was paid, newest first."""
        (symbol,), count = self._swaps(query), _count(query, "limit", 400, 400)
        after, before = _whole(query, "after"), _whole(query, "before")
        last = (self.now if after is None else min(self.now, after * MILLI - 1)) // (8 * HOUR)
        due = (last * 8 * HOUR - n * 8 * HOUR for n in range(count))
        return [_paid(symbol, at) for at in due if before is None or at > before * MILLI]


def _paid(symbol: str, at: Nanos) -> dict[str, str]:
    rate = short(funding(symbol, at - 1))
    return {
        "formulaType": "withRate", "fundingRate": rate, "fundingTime": rows.ms(at), "instId": rows.native(symbol),
        "instType": "SWAP", "method": "current_period", "realizedRate": rate,
    }  # fmt: skip


def _answered(handler: Handler) -> Handler:
    return lambda query: {"code": "0", "msg": "", "data": handler(query)}


def _said(code: str, reason: str) -> dict[str, Any]:
    return {"code": code, "msg": reason, "data": list[Any]()}


def _lacking(name: str) -> NoReturn:
    raise Refusal(_said("50014", f"Parameter {name} can not be empty."), 400)


def _whole(query: Query, name: str) -> int | None:
    """A whole number of the query, None where it is not there."""
    if not (told := query.get(name)):
        return None
    if not (told.isascii() and told.isdecimal() and len(told) < 20):
        raise Refusal(_said("51000", f"Parameter {name} error"), 400)
    return int(told)


def _count(query: Query, name: str, usual: int, most: int) -> int:
    """How many are asked for; more than there can be are as many as there can be."""
    told = _whole(query, name)
    return usual if told is None else max(1, min(told, most))
