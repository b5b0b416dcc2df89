"""Bybit's REST: ``/v5/market/…``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

from trioagg.model import Nanos
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
    funding,
    next_funding,
    short,
    whole,
)
from trioagg.simulator.dialects.bybit.markets import INTERVALS, Listed, frame, frames, native

HELD = {"5min": 5 * MINUTE, "15min": 15 * MINUTE, "30min": 30 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY}
EXPIRED = {"predictedDeliveryPrice": "", "basisRate": "", "basis": "", "deliveryFeeRate": "", "deliveryTime": "0"}
LISTED = {"preOpenPrice": "", "preQty": "", "curPreListingPhase": ""}


class Desk(DeskDialect):
    """What can be asked for.

    Attributes:
        markets: product → the exchange's spelling → what is listed.
    """

    markets: Mapping[str, Mapping[str, Listed]]

    @classmethod
    @abstractmethod
    def lists(cls, symbol: str) -> bool:
        """Whether Bybit could list a symbol."""

    @classmethod
    def native(cls, symbol: str) -> str:
        """The spelling, which two products may share."""
        return native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Below ``/v5/market/``."""
        handlers: dict[str, Handler] = {
            "time": self._time,
            "instruments-info": self._instruments,
            "tickers": self._tickers,
            "recent-trade": self._trades,
            "orderbook": self._book,
            "kline": self._candles,
            "mark-price-kline": partial(self._candles, bare=True),
            "index-price-kline": partial(self._candles, bare=True),
            "funding/history": self._funding,
            "open-interest": self._interest,
        }
        return {f"/v5/market/{path}": self._answered(handler) for path, handler in handlers.items()}

    def wrapped(self, result: object, code: int = 0, reason: str = "OK", now: Nanos | None = None) -> dict[str, Any]:
        """What every body is wrapped in."""
        time = (self.now if now is None else now) // MILLI
        return {"retCode": code, "retMsg": reason, "result": result, "retExtInfo": {}, "time": time}

    def _answered(self, handler: Handler) -> Handler:
        return lambda query: self.wrapped(handler(query))

    def _refused(self, reason: str) -> Refusal:
        return Refusal(self.wrapped({}, 10001, reason))

    def _category(self, query: Query, default: str = "") -> str:
        if (category := query.get("category", default)) not in self.markets:
            raise self._refused("params error: Category is invalid")
        return category

    def _market(self, query: Query, default: str = "") -> Listed:
        category = self._category(query, default)
        if (name := query.get("symbol", "")) not in self.markets[category]:
            raise self._refused("Not supported symbols" if category == "spot" else "params error: symbol invalid")
        return self.markets[category][name]

    def _number(self, query: Query, name: str, default: int) -> int:
        word = query.get(name, "") or str(default)
        if not word.isascii() or not word.isdecimal() or len(word) > 19:
            raise self._refused(f"params error: {name} is invalid")
        return int(word)

    def _limit(self, query: Query, default: int, most: int) -> int:
        return max(1, min(self._number(query, "limit", default), most))

    def _between(self, query: Query, names: tuple[str, str]) -> tuple[Nanos, Nanos]:
        """The times that are asked for, milliseconds in the query."""
        start, end = self._number(query, names[0], 0) * MILLI, self._number(query, names[1], 0) * MILLI
        return start, min(end or self.now, self.now)

    def _time(self, query: Query) -> dict[str, str]:
        return {"timeSecond": str(self.now // SECOND), "timeNano": str(self.now)}

    def _asked(self, query: Query) -> list[Listed]:
        """The market that is asked for, or all of the product."""
        return [self._market(query)] if query.get("symbol") else list(self.markets[self._category(query)].values())

    def _instruments(self, query: Query) -> dict[str, Any]:
        """Spot is told in one page, whatever is asked for."""
        category, base = self._category(query), query.get("baseCoin", "")
        found = [item for item in self._asked(query) if query.get("status", "Trading") in ("", "Trading")]
        if category == "spot":
            return {"category": category, "list": [item.rule() for item in found]}
        found = [item for item in found if base in ("", item.pair.base)]
        first, limit = self._number(query, "cursor", 0), self._limit(query, 500, 1000)
        after = str(first + limit) if first + limit < len(found) else ""
        rows = [item.rule() for item in found[first : first + limit]]
        return {"category": category, "list": rows, "nextPageCursor": after}

    def _tickers(self, query: Query) -> dict[str, Any]:
        rows = [self._ticker(item) for item in self._asked(query)]
        return {"category": self._category(query), "list": rows}

    def _ticker(self, item: Listed) -> dict[str, str]:
        common = item.day(self.now) | item.quote(self.now)
        return common | (item.index(self.now) if item.product == "spot" else item.contract(self.now) | EXPIRED | LISTED)

    def _trades(self, query: Query) -> dict[str, Any]:
        """The newest only, these first."""
        item = self._market(query)
        count = self._limit(query, *((60, 60) if item.product == "spot" else (500, 1000)))
        end = item.source.before(item.pair.symbol, self.now)
        rows = [item.deal(trade) for trade in item.source.prints(item.pair.symbol, end - count, end)]
        return {"category": item.product, "list": rows[::-1]}

    def _book(self, query: Query) -> dict[str, Any]:
        item = self._market(query)
        depth = self._limit(query, 1 if item.product == "spot" else 25, 1000)
        bids, asks = map(item.levels, whole(item.source, item.pair.symbol, self.now, depth))
        update, now = item.source.update(item.pair.symbol, self.now), self.now // MILLI
        return {"s": item.native, "b": bids, "a": asks, "ts": now, "u": update, "seq": update, "cts": now}

    def _candles(self, query: Query, *, bare: bool = False) -> dict[str, Any]:
        """The latest up to ``end``, these first; with ``start`` alone, the earliest from there on."""
        item, interval = self._market(query, "linear"), query.get("interval", "")
        if interval not in INTERVALS:
            raise self._refused("Invalid period!")
        limit, (start, end) = self._limit(query, 200, 1000), self._between(query, ("start", "end"))
        if start and "end" not in query:
            end = min(end, start + (limit - 1) * (frame(interval, start)[1] - frame(interval, start)[0]))
        rows = [self._candle(item, interval, opens) for opens in islice(frames(interval, start, end), limit)]
        return {"symbol": item.native, "category": item.product, "list": [row[:5] for row in rows] if bare else rows}

    def _candle(self, item: Listed, interval: str, opens: Nanos) -> list[str]:
        span = item.source.span(item.pair.symbol, opens, min(frame(interval, opens)[1], self.now))
        return [str(opens // MILLI), *item.prices(span), item.size(span.volume), item.turnover(span)]

    def _funding(self, query: Query) -> dict[str, Any]:
        item, limit = self._market(query), self._limit(query, 200, 200)
        if query.get("startTime") and not query.get("endTime"):
            raise self._refused("params error: endTime is missing")
        start, end = self._between(query, ("startTime", "endTime"))
        latest = next_funding(end) - 8 * HOUR
        due = [at for at in range(latest, latest - limit * 8 * HOUR, -8 * HOUR) if at >= start]
        rates = [(short(funding(item.pair.symbol, at - 1)), at // MILLI) for at in due]
        rows = [{"symbol": item.native, "fundingRate": rate, "fundingRateTimestamp": str(at)} for rate, at in rates]
        return {"category": item.product, "list": rows}

    def _interest(self, query: Query) -> dict[str, Any]:
        item, every, limit = self._market(query), HELD.get(query.get("intervalTime", "")), self._limit(query, 50, 200)
        if every is None:
            raise self._refused("params error: intervalTime is invalid")
        start, end = self._between(query, ("startTime", "endTime"))
        end = min(end, self._number(query, "cursor", end // MILLI) * MILLI)
        times = [at for at in range(end // every * every, end - limit * every, -every) if at >= start]
        more = times and start and times[-1] - every >= start
        cursor = str((times[-1] - every) // MILLI) if more else ""
        rows = [self._held(item, at) for at in times]
        return {"symbol": item.native, "category": item.product, "list": rows, "nextPageCursor": cursor}

    def _held(self, item: Listed, at: Nanos) -> dict[str, str]:
        held = item.held(at)
        sides = {"openInterest": item.size(2 * held), "singleOpenInterest": item.size(held)}
        return sides | {"timestamp": str(at // MILLI)}
