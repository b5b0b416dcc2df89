"""Binance USD-M's public REST: paths, parameters, weights, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from trioagg.model import Nanos
from trioagg.simulator import Answer, Print, Request, Source
from trioagg.simulator.dialects._kit import HOUR, MILLI, MINUTE, Handler, Query, Refusal, interest, plain, text
from trioagg.simulator.dialects.binance import candles
from trioagg.simulator.dialects.binanceusdm.text import RAW, ROWS, Contract, cut, decimals

LIMIT = 2400
"""Weight of a minute."""
KEPT = 48 * HOUR
"""How long ago aggregated trades may be to be told."""
DEPTHS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
"""Levels of a side that may be asked for, and what they cost."""
ALONE_OR_ALL = {
    "/fapi/v1/ticker/24hr": (1, 40), "/fapi/v1/ticker/price": (1, 2), "/fapi/v2/ticker/price": (1, 2),
    "/fapi/v1/ticker/bookTicker": (2, 5), "/fapi/v1/premiumIndex": (1, 10),
}  # fmt: skip
COSTS = {"/fapi/v1/trades": 5, "/fapi/v1/historicalTrades": 200, "/fapi/v1/aggTrades": 20, "/fapi/v1/rpiDepth": 20}
PERIODS = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "12h": 720, "1d": 1440}


def fault(status: int, retry_after: float | None, now: Nanos) -> bytes:
    """The error body of a status."""
    until = now // MILLI + int((retry_after or 0) * 1000)
    known = {
        418: (-1003, f"Way too many requests; IP banned until {until}. Please use the websocket to avoid bans."),
        429: (-1003, f"Too many requests; current limit is {LIMIT} request weight per 1 MINUTE."),
        451: (0, "Service unavailable from a restricted location."),
        503: (-1008, "Request throttled by system-level protection."),
    }
    code, reason = known.get(status, (-1000, "An unknown error occurred while processing the request."))
    return text({"code": code, "msg": reason})


def _refuse(code: int, reason: str, status: int = 400) -> NoReturn:
    raise Refusal({"code": code, "msg": reason}, status)


def _number(query: Query, name: str, default: int, most: int | None = None) -> int:
    """An integer parameter; more than ``most`` is refused."""
    word = query.get(name, str(default))
    if not re.fullmatch(r"\d{1,19}", word):
        _refuse(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    if most is not None and not 0 < int(word) <= most:
        _refuse(-1130, f"Data sent for parameter '{name}' is not valid.")
    return int(word)


def weight(request: Request) -> int:
    """What a request costs."""
    limit = int(request.query["limit"]) if request.query.get("limit", "").isdigit() else 500
    if request.path in ALONE_OR_ALL:
        return ALONE_OR_ALL[request.path]["symbol" not in request.query]
    if request.path == "/fapi/v1/depth":
        return DEPTHS.get(limit, 2)
    if request.path.lower().endswith("klines"):
        return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
    return 0 if request.path.startswith("/futures/data/") else COSTS.get(request.path, 1)


class Desk:
    """Answers requests out of a source, and counts what they cost.

    Attributes:
        now: the exchange's time of the request that is being answered.
    """

    def __init__(self, source: Source, symbols: Mapping[str, str]) -> None:
        self.now: Nanos = 0
        self._source = source
        self._contracts = {name: Contract(source, source.pairs[symbol]) for name, symbol in symbols.items()}
        self._minute = self._used = 0

    def afford(self, request: Request) -> bool:
        """Count a request; whether it was still within the limit of the minute, which begins at second :00."""
        if self.now // MINUTE != self._minute:
            self._minute, self._used = self.now // MINUTE, 0
        self._used += weight(request)
        return self._used <= LIMIT

    def weighed(self, answer: Answer) -> Answer:
        """An answer with the weight used."""
        return Answer(answer.body, answer.status, {**answer.headers, "x-mbx-used-weight-1m": str(self._used)})

    def paths(self) -> dict[str, Handler]:
        """Whole paths, and what answers them."""
        return {
            "/fapi/v1/ping": lambda query: {},
            "/fapi/v1/time": lambda query: {"serverTime": self.now // MILLI},
            "/fapi/v1/exchangeInfo": self._exchange_info,
            "/fapi/v1/(?:depth|rpiDepth)": self._depth,
            "/fapi/v1/trades": self._trades,
            "/fapi/v1/historicalTrades": lambda query: _refuse(-2014, "API-key format invalid.", 401),
            "/fapi/v1/aggTrades": self._aggregates,
            "/fapi/v1/klines": lambda query: self._klines(self._contract(query), query),
            "/fapi/v1/continuousKlines": self._continuous,
            "/fapi/v1/ticker/24hr": lambda query: self._each(query, self._day),
            "/fapi/v[12]/ticker/price": lambda query: self._each(query, self._price),
            "/fapi/v1/ticker/bookTicker": lambda query: self._each(query, lambda contract: contract.best(self.now)),
            "/fapi/v1/premiumIndex": lambda query: self._each(query, self._premium),
            "/fapi/v1/fundingRate": self._funding,
            "/fapi/v1/fundingInfo": lambda query: [],
            "/fapi/v1/openInterest": self._interest,
            "/futures/data/openInterestHist": self._interests,
        }

    def _contract(self, query: Query, name: str = "symbol") -> Contract:
        if not query.get(name):
            _refuse(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        if query[name].upper() not in self._contracts:
            _refuse(-1121, "Invalid symbol.")
        return self._contracts[query[name].upper()]

    def _each(self, query: Query, tell: Callable[[Contract], dict[str, Any]]) -> object:
        """An object for ``symbol``, an array without."""
        if "symbol" in query:
            return tell(self._contract(query))
        return [tell(contract) for contract in self._contracts.values()]

    def _exchange_info(self, query: Query) -> object:
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": LIMIT}
        margins = sorted({contract.pair.quote for contract in self._contracts.values()})
        return {
            "timezone": "UTC", "serverTime": self.now // MILLI, "futuresType": "U_MARGINED", "rateLimits": [limit],
            "exchangeFilters": [],
            "assets": [{"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"} for asset in margins],
            "symbols": [_listing(contract) for contract in self._contracts.values()],
        }  # fmt: skip

    def _depth(self, query: Query) -> object:
        contract, limit = self._contract(query), _number(query, "limit", 500)
        if limit not in DEPTHS:
            _refuse(-4021, f"{limit} is not valid depth limit")
        return contract.book(self.now, min(limit, ROWS))

    def _prints(self, contract: Contract, first: int, count: int) -> list[Print]:
        end = self._source.before(contract.pair.symbol, self.now)
        return list(self._source.prints(contract.pair.symbol, max(first, 0), min(max(first, 0) + count, end)))

    def _trades(self, query: Query) -> object:
        contract, limit = self._contract(query), _number(query, "limit", 500, 1000)
        first = self._source.before(contract.pair.symbol, self.now) - limit
        return [
            {
                "id": number + RAW, "price": contract.price(price), "qty": contract.amount(amount),
                "quoteQty": cut(price * amount // 10**8, 2), "time": at // MILLI, "isBuyerMaker": not buy,
                "isRPITrade": False,
            }
            for number, at, price, amount, buy in self._prints(contract, first, limit)
        ]  # fmt: skip

    def _aggregates(self, query: Query) -> object:
        contract, limit = self._contract(query), _number(query, "limit", 500, 1000)
        first, end = self._range(contract, query, limit)
        return [contract.dealt(trade) for trade in self._prints(contract, first, max(0, min(limit, end - first)))]

    def _range(self, contract: Contract, query: Query, limit: int) -> tuple[int, int]:
        """The ids that are asked for, from the first to before the last."""
        symbol, times = contract.pair.symbol, [name for name in ("startTime", "endTime") if name in query]
        end, oldest = (self._source.before(symbol, at) for at in (self.now, self.now - KEPT))
        since, until = (_number(query, name, 0) * MILLI for name in ("startTime", "endTime"))
        if "fromId" in query:
            if times:
                _refuse(-1128, "Combination of optional parameters invalid.")
            return max(_number(query, "fromId", 0), oldest), end
        if len(times) == 2 and until - since > HOUR:
            _refuse(-4166, "Search window is restricted to recent 1 hour.")
        if "endTime" in query:
            end = min(end, self._source.before(symbol, until + MILLI))
        return max(self._source.before(symbol, since) if "startTime" in query else end - limit, oldest), end

    def _klines(self, contract: Contract, query: Query) -> object:
        interval, limit = query.get("interval", ""), _number(query, "limit", 500, 1500)
        if interval not in candles.INTERVALS or interval == "1s":
            _refuse(-1120, "Invalid interval.")
        start, end = (_number(query, key, 0) * MILLI if key in query else None for key in ("startTime", "endTime"))
        spans = candles.table(
            self._source, contract.pair.symbol, interval, start=start, end=end, limit=limit, now=self.now
        )
        return [self._bar(contract, row) for row in spans]

    def _bar(self, contract: Contract, row: list[Any]) -> list[Any]:
        opens, closes = row[0] * MILLI, (row[6] + 1) * MILLI
        span = self._source.span(contract.pair.symbol, opens, min(closes, self.now))
        *prices, volume, turnover, count, bought, spent = contract.candle(span)
        return [row[0], *prices, volume, row[6], turnover, count, bought, spent, "0"]

    def _continuous(self, query: Query) -> object:
        if query.get("contractType") != "PERPETUAL":
            _refuse(-4104, "Invalid contract type")
        return self._klines(self._contract(query, "pair"), query)

    def _day(self, contract: Contract) -> dict[str, Any]:
        told = contract.ticker(self.now)
        return {"symbol": contract.name, **{name: told[key] for name, key in _DAY}}

    def _price(self, contract: Contract) -> dict[str, Any]:
        return {"symbol": contract.name, "price": contract.ticker(self.now)["c"], "time": self.now // MILLI}

    def _premium(self, contract: Contract) -> dict[str, Any]:
        mark, index = contract.mark(self.now)
        return {
            "symbol": contract.name, "markPrice": mark, "indexPrice": index, "estimatedSettlePrice": index,
            "lastFundingRate": contract.rate(self.now), "interestRate": "0.00010000",
            "nextFundingTime": contract.due(self.now), "time": self.now // MILLI,
        }  # fmt: skip

    def _funding(self, query: Query) -> object:
        contract, limit = self._contract(query), _number(query, "limit", 100, 1000)
        last = self.now // (8 * HOUR)
        until = min(last, _number(query, "endTime", self.now // MILLI) * MILLI // (8 * HOUR))
        since = -(-_number(query, "startTime", 0) * MILLI // (8 * HOUR))
        paid = [turn * 8 * HOUR for turn in range(max(since, until - limit + 1), until + 1)]
        return [
            {
                "symbol": contract.name, "fundingRate": contract.rate(at), "fundingTime": at // MILLI,
                "markPrice": contract.mark(at)[0], "rateType": "Regular",
            }
            for at in paid
        ]  # fmt: skip

    def _interest(self, query: Query) -> object:
        contract = self._contract(query)
        held = contract.amount(interest(self._source, contract.pair.symbol, self.now))
        return {"openInterest": held, "symbol": contract.name, "time": self.now // MILLI}

    def _interests(self, query: Query) -> object:
        contract, limit = self._contract(query), _number(query, "limit", 30, 500)
        if query.get("period") not in PERIODS:
            _refuse(-1102, "Mandatory parameter 'period' was not sent, was empty/null, or malformed.")
        length = PERIODS[query["period"]] * MINUTE
        newest = self.now // length
        return [self._held(contract, turn * length) for turn in range(newest - limit + 1, newest + 1)]

    def _held(self, contract: Contract, at: Nanos) -> dict[str, Any]:
        held, price = interest(self._source, contract.pair.symbol, at), contract.day(at).close
        worth = plain(held * price // 10**8)
        return {
            "symbol": contract.name, "sumOpenInterest": plain(held), "sumOpenInterestValue": worth,
            "CMCCirculatingSupply": "19900000.00000000", "timestamp": at // MILLI,
        }  # fmt: skip


_DAY = (
    ("priceChange", "p"), ("priceChangePercent", "P"), ("weightedAvgPrice", "w"), ("lastPrice", "c"), ("lastQty", "Q"),
    ("openPrice", "o"), ("highPrice", "h"), ("lowPrice", "l"), ("volume", "v"), ("quoteVolume", "q"),
    ("openTime", "O"), ("closeTime", "C"), ("firstId", "F"), ("lastId", "L"), ("count", "n"),
)  # fmt: skip


def _listing(contract: Contract) -> dict[str, Any]:
    pair = contract.pair
    tick, step = contract.price(pair.tick), contract.amount(pair.step)
    return {
        "symbol": contract.name, "pair": contract.name, "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000, "status": "TRADING", "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": pair.base, "quoteAsset": pair.quote, "marginAsset": pair.quote,
        "pricePrecision": decimals(pair.tick), "quantityPrecision": decimals(pair.step), "baseAssetPrecision": 8,
        "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": ["PoW"], "settlePlan": 0,
        "triggerProtect": "0.0500", "liquidationFee": "0.012500", "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
        "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }  # fmt: skip
