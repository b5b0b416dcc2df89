"""Binance spot's public REST: paths, parameters, weights, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import define

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Pair, Request, Source, key
from trioagg.simulator.dialects.binance import candles, streams, text
from trioagg.simulator.dialects.binance.text import MILLI, plain

SECOND = 10**9
LIMIT = 6000
"""Weight of a minute."""

Query = Mapping[str, str]


class Refusal(Exception):
    """Binance says no: a code of its own and a sentence."""

    def __init__(self, code: int, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.code, self.reason, self.status = code, reason, status


def native(symbol: str) -> str:
    """``BTCUSDT``."""
    return symbol.replace("/", "")


def _error(code: int, reason: str, status: int) -> Answer:
    return Answer(msgspec.json.encode({"code": code, "msg": reason}), status)


@define
class Meter:
    """The weight used in the present minute, which begins at second :00."""

    minute: int = 0
    used: int = 0

    def add(self, weight: int, now: Nanos) -> bool:
        """Count; whether it was still within the limit."""
        minute = now // (60 * SECOND)
        if minute != self.minute:
            self.minute, self.used = minute, 0
        self.used += weight
        return self.used <= LIMIT

    def left(self, now: Nanos) -> float:
        """Seconds to the next minute."""
        return 60 - now % (60 * SECOND) / SECOND


class Desk:
    """Answers requests out of a source."""

    def __init__(self, source: Source) -> None:
        self._source, self._meter = source, Meter()
        self._symbols = {native(symbol): symbol for symbol in source.pairs}
        self._now = 0
        self._paths: dict[str, tuple[Callable[[Query], object], Callable[[Query], int]]] = {
            "ping": (lambda query: {}, lambda query: 1),
            "time": (lambda query: {"serverTime": self._now // MILLI}, lambda query: 1),
            "exchangeInfo": (self._exchange_info, lambda query: 20),
            "depth": (self._depth, _depth_weight),
            "trades": (self._trades, lambda query: 25),
            "historicalTrades": (self._history, lambda query: 25),
            "aggTrades": (self._aggregates, lambda query: 4),
            "klines": (self._klines, lambda query: 2),
            "uiKlines": (self._klines, lambda query: 2),
            "avgPrice": (self._average, lambda query: 2),
            "ticker/24hr": (self._day, _day_weight),
            "ticker/price": (self._price, lambda query: 2 if "symbol" in query else 4),
            "ticker/bookTicker": (self._best, lambda query: 2 if "symbol" in query else 4),
        }

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer at our time ``now``, with the header that tells the weight used."""
        self._now = self._source.now(now)
        found = self._paths.get(request.path.removeprefix("/api/v3/")) if "/api/v3/" in request.path else None
        if found is None or request.method not in ("GET", "HEAD"):
            return Answer(b"<html><body><h2>404 Not found</h2></body></html>", 404, {"Content-Type": "text/html"})
        if not self._meter.add(found[1](request.query), now):
            return self.refusal(429, self._meter.left(now), now)
        try:
            body = self._recorded(request) or msgspec.json.encode(found[0](request.query))
        except Refusal as refusal:
            return self._weighed(_error(refusal.code, refusal.reason, refusal.status))
        return self._weighed(Answer(body))

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """What Binance says with a status."""
        until = now // MILLI + int((retry_after or 0) * 1000)
        known = {
            418: (-1003, f"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams."),
            429: (-1003, f"Too much request weight used; current limit is {LIMIT} request weight per 1 MINUTE."),
            451: (0, "Service unavailable from a restricted location."),
        }
        answer = self._weighed(_error(*known.get(status, (-1000, "An unknown error occurred.")), status))
        wait = {} if retry_after is None else {"Retry-After": str(-int(-retry_after // 1))}
        return Answer(answer.body, status, {**answer.headers, **wait})

    def _weighed(self, answer: Answer) -> Answer:
        used = str(self._meter.used)
        weight = {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}
        return Answer(answer.body, answer.status, {**answer.headers, **weight})

    def _recorded(self, request: Request) -> bytes | None:
        """What a recording has; trades are answered out of all that it tells instead."""
        return None if "rades" in request.path else self._source.recorded(key(request.path, request.query))

    def _symbol(self, query: Query) -> str:
        if "symbol" not in query:
            raise Refusal(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return self._known(query["symbol"])

    def _known(self, name: str) -> str:
        if not re.fullmatch(r"[\w\-.]{1,50}", name) or name != name.upper():
            legal = "legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'."
            raise Refusal(-1100, f"Illegal characters found in parameter 'symbol'; {legal}")
        if name not in self._symbols:
            raise Refusal(-1121, "Invalid symbol.")
        return self._symbols[name]

    def _asked(self, query: Query) -> list[str]:
        """The symbols that ``symbol``, ``symbols`` or nothing stands for."""
        if "symbol" in query and "symbols" in query:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        if "symbol" in query:
            return [self._known(query["symbol"])]
        if "symbols" not in query:
            return list(self._symbols.values())
        try:
            names = msgspec.json.decode(query["symbols"], type=list[str])
        except msgspec.DecodeError:
            raise Refusal(-1100, "Illegal characters found in parameter 'symbols'.") from None
        return [self._known(name) for name in names]

    def _each(self, query: Query, tell: Callable[[str], dict[str, Any]]) -> object:
        """An object for ``symbol``, else an array."""
        rows = [tell(symbol) for symbol in self._asked(query)]
        return rows[0] if "symbol" in query else rows

    def _exchange_info(self, query: Query) -> object:
        return {
            "timezone": "UTC",
            "serverTime": self._now // MILLI,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": LIMIT},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
            ],
            "exchangeFilters": [],
            "symbols": [_listing(self._source.pairs[symbol]) for symbol in self._asked(query)],
        }

    def _depth(self, query: Query) -> object:
        return text.book(self._source, self._symbol(query), self._now, _number(query, "limit", 100, 5000))

    def _trades(self, query: Query) -> object:
        symbol, limit = self._symbol(query), _number(query, "limit", 500, 1000)
        return self._told(symbol, self._source.before(symbol, self._now) - limit, limit)

    def _history(self, query: Query) -> object:
        if "fromId" not in query:
            return self._trades(query)
        return self._told(self._symbol(query), _number(query, "fromId", 0), _number(query, "limit", 500, 1000))

    def _happened(self, symbol: str, first: int, limit: int) -> Iterable[tuple[int, Nanos, int, int, bool]]:
        end = min(max(first, 0) + limit, self._source.before(symbol, self._now))
        return self._source.prints(symbol, max(first, 0), end)

    def _told(self, symbol: str, first: int, limit: int) -> object:
        return [
            {
                "id": number, "price": plain(price), "qty": plain(amount), "quoteQty": plain(price * amount // SCALE),
                "time": at // MILLI, "isBuyerMaker": not buy, "isBestMatch": True,
            }
            for number, at, price, amount, buy in self._happened(symbol, first, limit)
        ]  # fmt: skip

    def _aggregates(self, query: Query) -> object:
        symbol, limit = self._symbol(query), _number(query, "limit", 500, 1000)
        end = self._source.before(symbol, self._now)
        if "endTime" in query:
            end = min(end, self._source.before(symbol, (_number(query, "endTime", 0) + 1) * MILLI))
        if "fromId" in query:
            first = streams.disaggregate(_number(query, "fromId", 0))
        elif "startTime" in query:
            first = self._source.before(symbol, _number(query, "startTime", 0) * MILLI)
        else:
            first = end - limit
        return [
            {
                "a": streams.aggregate(number), "p": plain(price), "q": plain(amount), "f": number, "l": number,
                "T": at // MILLI, "m": not buy, "M": True,
            }
            for number, at, price, amount, buy in self._happened(symbol, first, min(limit, max(0, end - first)))
        ]  # fmt: skip

    def _klines(self, query: Query) -> object:
        symbol, interval = self._symbol(query), query.get("interval", "")
        if interval not in candles.INTERVALS:
            raise Refusal(-1120, "Invalid interval.")
        start, end = (_number(query, key, -1) * MILLI if key in query else None for key in ("startTime", "endTime"))
        limit = _number(query, "limit", 500, 1000)
        return candles.table(self._source, symbol, interval, start=start, end=end, limit=limit, now=self._now)

    def _average(self, query: Query) -> object:
        span = self._source.span(self._symbol(query), self._now - 300 * SECOND, self._now)
        return {"mins": 5, "price": text.change(span)[2], "closeTime": self._now // MILLI}

    def _price(self, query: Query) -> object:
        def tell(symbol: str) -> dict[str, Any]:
            span = self._source.span(symbol, self._now - SECOND, self._now)
            return {"symbol": native(symbol), "price": plain(span.close)}

        return self._each(query, tell)

    def _best(self, query: Query) -> object:
        def tell(symbol: str) -> dict[str, Any]:
            _, _, bid, bids, ask, asks = self._source.quote(symbol, self._now)
            sides = {"bidPrice": plain(bid), "bidQty": plain(bids), "askPrice": plain(ask), "askQty": plain(asks)}
            return {"symbol": native(symbol), **sides}

        return self._each(query, tell)

    def _day(self, query: Query) -> object:
        tell = {"FULL": self._full, "MINI": self._mini}.get(query.get("type", "FULL"))
        if tell is None:
            raise Refusal(-1100, "Illegal characters found in parameter 'type'.")
        return self._each(query, tell)

    def _full(self, symbol: str) -> dict[str, Any]:
        told = text.ticker(self._source, symbol, native(symbol), self._now)
        return {name: told[key] for name, key in _FULL}

    def _mini(self, symbol: str) -> dict[str, Any]:
        return {key: value for key, value in self._full(symbol).items() if key in _MINI}


_FULL = (
    ("symbol", "s"), ("priceChange", "p"), ("priceChangePercent", "P"), ("weightedAvgPrice", "w"),
    ("prevClosePrice", "x"), ("lastPrice", "c"), ("lastQty", "Q"), ("bidPrice", "b"), ("bidQty", "B"),
    ("askPrice", "a"), ("askQty", "A"), ("openPrice", "o"), ("highPrice", "h"), ("lowPrice", "l"), ("volume", "v"),
    ("quoteVolume", "q"), ("openTime", "O"), ("closeTime", "C"), ("firstId", "F"), ("lastId", "L"), ("count", "n"),
)  # fmt: skip
_MINI = {
    "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "closeTime",
    "firstId", "lastId", "count",
}  # fmt: skip


def _depth_weight(query: Query) -> int:
    limit = int(query["limit"]) if query.get("limit", "").isdigit() else 100
    return next((weight for most, weight in ((100, 5), (500, 25), (1000, 50)) if limit <= most), 250)


def _day_weight(query: Query) -> int:
    if "symbol" in query:
        return 2
    count = query["symbols"].count('"') // 2 if "symbols" in query else 101
    return 2 if count <= 20 else 40 if count <= 100 else 80


def _number(query: Query, name: str, default: int, most: int | None = None) -> int:
    """An integer parameter; more than ``most`` counts as ``most``."""
    word = query.get(name, str(default))
    if not re.fullmatch(r"-?\d{1,19}", word):
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(word) if most is None else min(int(word), most)


def _filters(pair: Pair) -> Sequence[dict[str, Any]]:
    tick, step = plain(pair.tick), plain(pair.step)
    return (
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "92141578.00000000", "stepSize": step},
        {
            "filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
            "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5,
        },
    )  # fmt: skip


def _listing(pair: Pair) -> dict[str, Any]:
    yes = ("icebergAllowed", "ocoAllowed", "otoAllowed", "opoAllowed", "quoteOrderQtyMarketAllowed",
           "allowTrailingStop", "cancelReplaceAllowed", "amendAllowed", "pegInstructionsAllowed",
           "isSpotTradingAllowed", "isMarginTradingAllowed")  # fmt: skip
    return {
        "symbol": native(pair.symbol), "status": "TRADING", "baseAsset": pair.base, "baseAssetPrecision": 8,
        "quoteAsset": pair.quote, "quotePrecision": 8, "quoteAssetPrecision": 8, "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8, "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        **dict.fromkeys(yes, True),
        "filters": _filters(pair), "permissions": [], "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }  # fmt: skip
