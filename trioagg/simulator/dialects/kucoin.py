"""KuCoin spot, as its public market data speaks: REST, and the classic WebSocket behind its token."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from attrs import evolve

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Levels, Pair, Print, Quote, Request, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    Change,
    DeskDialect,
    Handler,
    Maker,
    Query,
    Refusal,
    TopicSession,
    books,
    candles,
    daily,
    last_tick,
    quotes,
    short,
    text,
    ticks,
    timed,
    trades,
    whole,
)

TOKEN = "/api/v1/bullet-public"  # noqa: S105  (a path)
TOKENS = 1000  # the last ones that are good
INTERVAL, TIMEOUT = 18_000, 10_000  # milliseconds: between a client's pings, and how late one may be
EVERY = 100 * MILLI  # between two messages of a book, or of a ticker
DEEP = 1000  # more levels than a book has
PER_TOPIC, TOPICS = 100, 300  # symbols of one message, and of one connection
STEP = 4  # between the numbers of two trades
WINDOW = {"gw-ratelimit-limit": "2000", "gw-ratelimit-remaining": "1990", "gw-ratelimit-reset": "30000"}
PERIODS = {
    "1min": MINUTE, "3min": 3 * MINUTE, "5min": 5 * MINUTE, "15min": 15 * MINUTE, "30min": 30 * MINUTE, "1hour": HOUR,
    "2hour": 2 * HOUR, "4hour": 4 * HOUR, "6hour": 6 * HOUR, "8hour": 8 * HOUR, "12hour": 12 * HOUR, "1day": DAY,
    "1week": 7 * DAY, "1month": 30 * DAY,
}  # fmt: skip
_TRADE = re.compile(rb'"topic":"/market/match:([^"]+)".*"tradeId":"(\d+)"')


class Dialect(DeskDialect):
    """KuCoin's REST and WebSocket, without keys."""

    name = "kucoin"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._tokens: deque[str] = deque(maxlen=TOKENS)

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot only."""
        return bool(re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTC-USDT``."""
        return symbol.replace("/", "-")

    def paths(self) -> Mapping[str, Handler]:
        """Everything but the token, which is posted for."""
        handlers: Mapping[str, Handler] = {
            "/api/v1/timestamp": lambda query: self.now // MILLI,
            "/api/v1/status": lambda query: {"status": "open", "msg": ""},
            "/api/v[12]/symbols": lambda query: [_listing(pair) for pair in self.source.pairs.values()],
            "/api/v1/market/allTickers": self._days,
            "/api/v1/market/stats": self._stats,
            "/api/v1/market/orderbook/level1": self._level1,
            "/api/v1/market/orderbook/level2_(20|100)": self._level2,
            "/api/v1/market/histories": self._trades,
            "/api/v1/market/candles": self._candles,
        }
        return {path: partial(_good, handler) for path, handler in handlers.items()}

    def answer(self, request: Request, now: Nanos) -> Answer:
        """Every answer but that to a request for the time tells how much of the window is left."""
        if request.path == TOKEN and request.method == "POST":
            return Answer(text(_good(lambda: self._granted(request.headers.get("host", "127.0.0.1"), now))))
        answer = super().answer(request, now)
        if answer.status == 404:
            body = {"code": "404", "msg": "Not Found", "retry": False, "success": False}
            return Answer(text(body), 404)
        return answer if request.path.endswith("timestamp") else evolve(answer, headers=WINDOW)

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Too many requests: a header tells the milliseconds that the window lasts; without one, the server is busy."""
        if status != 429:
            return super().refusal(status, retry_after, now)
        spent = {"gw-ratelimit-remaining": "0", "gw-ratelimit-reset": str(round((retry_after or 0) * 1000))}
        headers = {} if retry_after is None else WINDOW | spent
        return Answer(text({"code": "429000", "msg": "Too many requests in a short period of time"}), 429, headers)

    def session(self, target: str) -> KucoinSession | None:
        """A connection with a token that was granted here."""
        query = parse_qs(urlsplit(target).query)
        good = query.get("token", [""])[0] in self._tokens
        return KucoinSession(self.source, self.symbols, query.get("connectId", [""])[0]) if good else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol and id of a trade frame."""
        found = _TRADE.search(frame)
        return (found[1].decode().replace("-", "/"), int(found[2])) if found else None

    def _granted(self, host: str, now: Nanos) -> dict[str, Any]:
        """A token, and this server as it was called: below the exchange's name, which is always understood."""
        token = f"{b64encode(str(now).encode()).decode()}.{len(self._tokens)}=="
        self._tokens.append(token)
        server = {"endpoint": f"ws://{host}/kucoin/", "encrypt": False, "protocol": "websocket"}
        return {"token": token, "instanceServers": [server | {"pingInterval": INTERVAL, "pingTimeout": TIMEOUT}]}

    def _symbol(self, query: Query) -> str:
        if query.get("symbol") not in self.symbols:
            raise Refusal({"msg": "Invalid symbol.", "code": "200003"})
        return self.symbols[query["symbol"]]

    def _days(self, query: Query) -> dict[str, Any]:
        rows = [{"symbolName": self.native(symbol), **self._day(symbol)} for symbol in self.source.pairs]
        return {"time": self.now // MILLI, "ticker": rows}

    def _stats(self, query: Query) -> dict[str, Any]:
        day = self._day(self._symbol(query))
        del day["bestBidSize"], day["bestAskSize"]
        return {"time": self.now // MILLI, **day}

    def _day(self, symbol: str) -> dict[str, Any]:
        span = daily(self.source, symbol, self.now)
        _, _, bid, bids, ask, asks = self.source.quote(symbol, self.now)
        return {
            "symbol": self.native(symbol), "buy": short(bid), "bestBidSize": short(bids), "sell": short(ask),
            "bestAskSize": short(asks), "changeRate": short((span.close - span.open) * SCALE // span.open),
            "changePrice": short(span.close - span.open), "high": short(span.high), "low": short(span.low),
            "vol": short(span.volume), "volValue": short(span.quote_volume), "last": short(span.close),
            "averagePrice": short((span.high + span.low) // 2), "takerFeeRate": "0.001", "makerFeeRate": "0.001",
            "takerCoefficient": "1", "makerCoefficient": "1",
        }  # fmt: skip

    def _level1(self, query: Query) -> dict[str, Any]:
        symbol = self._symbol(query)
        return {"time": self.now // MILLI, **_quote(self.source, symbol, self.source.quote(symbol, self.now))}

    def _level2(self, query: Query, depth: str) -> dict[str, Any]:
        symbol, at = self._symbol(query), last_tick(self.now, EVERY)
        bids, asks = (_levels(side) for side in whole(self.source, symbol, at, int(depth)))
        return {"time": at // MILLI, "sequence": str(self.source.update(symbol, at)), "bids": bids, "asks": asks}

    def _trades(self, query: Query) -> list[dict[str, Any]]:
        symbol = self._symbol(query)
        end = self.source.before(symbol, self.now)
        return [_row(trade) for trade in self.source.prints(symbol, end - 100, end)]

    def _candles(self, query: Query) -> list[list[str]]:
        symbol, length = self._symbol(query), PERIODS.get(query.get("type", ""))
        if length is None:
            raise Refusal({"code": "400100", "msg": "type is invalid"})
        end = min(int(query.get("endAt", "0")) * SECOND or self.now, self.now)
        start = max(int(query.get("startAt", "0")) * SECOND, end - 1500 * length)
        opens = ticks(start, end, length)
        return [_bar(self.source.span(symbol, at, min(at + length, self.now))) for at in reversed(opens)]


class Call(msgspec.Struct):
    """A message of the client."""

    type: str
    id: str | int = ""
    topic: str = ""
    response: bool = False


class KucoinSession(TopicSession):
    """One connection: it says welcome first, and hears nothing before."""

    patience = (INTERVAL + TIMEOUT) / 1000

    def __init__(self, source: Source, symbols: Mapping[str, str], ident: str) -> None:
        super().__init__()
        self._source, self._symbols, self._ident = source, symbols, ident
        self._welcomed = False

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """The welcome."""
        if self._welcomed:
            return []
        self._welcomed = True
        return [text({"id": self._ident, "type": "welcome"})]

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """Pongs, acknowledgements where they are wanted, and errors."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [_error(Call(""), 400, "invalid json")]
        if not self._welcomed:
            return []
        if call.type == "ping":
            return [_pong(call, now)]
        if call.type not in ("subscribe", "unsubscribe"):
            return [_error(call, 400, f"type {call.type[:40]} is not supported")]
        return self._subscribed(call, now)

    def unknown(self, now: Nanos) -> bytes:
        """A topic that the documentation does not have."""
        return _message("/market/weather:all", "weather", {"fog": True})

    def _subscribed(self, call: Call, now: Nanos) -> Sequence[bytes]:
        kind, _, names = call.topic.partition(":")
        topics = {f"{kind}:{name}": self._maker(kind, name, now) for name in names.split(",")}
        if None in topics.values():
            return [_error(call, 404, f"topic {call.topic[:160]} is not found")]
        if call.type == "subscribe" and (len(topics) > PER_TOPIC or len({*self._topics, *topics}) > TOPICS):
            return [_error(call, 509, f"exceed max subscription count limitation of {TOPICS} per session")]
        for topic, maker in topics.items():
            if call.type == "unsubscribe":
                self.end(topic)
            elif maker and topic not in self._topics:
                self.begin(topic, maker)
        return [text({"id": str(call.id), "type": "ack"})] if call.response else []

    def _maker(self, kind: str, name: str, now: Nanos) -> Maker | None:
        """What a topic says; None where there is none of that name."""
        native, _, period = name.rpartition("_") if kind == "/market/candles" else (name, "", "")
        if kind == "/market/ticker" and name == "all":
            return self._all_tickers
        if native not in self._symbols or (kind == "/market/candles" and period not in PERIODS):
            return None
        return self._of_one(f"{kind}:{name}", self._symbols[native], PERIODS.get(period, MINUTE), now)

    def _of_one(self, topic: str, symbol: str, length: Nanos, now: Nanos) -> Maker | None:
        source, since, depth = self._source, last_tick(now, EVERY), partial(self._depth, topic, symbol)
        makers: Mapping[str, Maker] = {
            "/market/match": trades(source, symbol, partial(_match, topic)),
            "/market/ticker": timed(EVERY, partial(self._ticker, topic, "trade.ticker", symbol)),
            "/market/candles": candles(source, symbol, length, partial(_candle, topic)),
            "/market/level2": books(source, symbol, EVERY, partial(_changed, topic), depth=DEEP, since=since),
            "/spotMarket/level1": quotes(source, symbol, partial(_level1, topic)),
            "/spotMarket/level2Depth5": timed(EVERY, partial(depth, 5)),
            "/spotMarket/level2Depth50": timed(EVERY, partial(depth, 50)),
        }
        return makers.get(topic.partition(":")[0])

    def _ticker(self, topic: str, subject: str, symbol: str, at: Nanos) -> bytes:
        told = _quote(self._source, symbol, self._source.quote(symbol, at))
        return _message(topic, subject, {**told, "time": at // MILLI})

    def _all_tickers(self, start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, SECOND):
            for native, symbol in self._symbols.items():
                yield self._ticker("/market/ticker:all", native, symbol, at)

    def _depth(self, topic: str, symbol: str, depth: int, at: Nanos) -> bytes:
        bids, asks = (_levels(side) for side in whole(self._source, symbol, at, depth))
        return _message(topic, "level2", {"asks": asks, "bids": bids, "timestamp": at // MILLI})


def _good(handler: Handler, *asked: object) -> dict[str, object]:
    return {"code": "200000", "data": handler(*asked)}


def _pong(call: Call, now: Nanos) -> bytes:
    return text({"id": str(call.id), "type": "pong", "timestamp": now // 1000})


def _error(call: Call, code: int, said: str) -> bytes:
    return text({"id": str(call.id), "type": "error", "code": code, "data": said})


def _message(topic: str, subject: str, data: object) -> bytes:
    return text({"type": "message", "topic": topic, "subject": subject, "data": data})


def _listing(pair: Pair) -> dict[str, Any]:
    native = pair.symbol.replace("/", "-")
    limits = {f"callauction{end}": None for end in ("PriceFloor", "PriceCeiling")}
    stages = {f"callauction{stage}StageStartTime": None for stage in ("First", "Second", "Third")}
    return {
        "symbol": native, "name": native, "baseCurrency": pair.base, "quoteCurrency": pair.quote,
        "feeCurrency": pair.quote, "market": "USDS", "baseMinSize": short(pair.step), "quoteMinSize": "0.1",
        "baseMaxSize": "10000000000", "quoteMaxSize": "99999999", "baseIncrement": short(pair.step),
        "quoteIncrement": "0.000001", "priceIncrement": short(pair.tick), "priceLimitRate": "0.1", "minFunds": "0.1",
        "isMarginEnabled": True, "enableTrading": True, "feeCategory": 1, "makerFeeCoefficient": "1.00",
        "takerFeeCoefficient": "1.00", "st": False, "callauctionIsEnabled": False, **limits, **stages,
        "tradingStartTime": None,
    }  # fmt: skip


def _levels(side: Levels) -> list[list[str]]:
    return [[short(price), short(amount)] for price, amount in side]


def _quote(source: Source, symbol: str, quote: Quote) -> dict[str, Any]:
    """The best prices with the last trade before them."""
    update, at, bid, bids, ask, asks = quote
    before = source.before(symbol, at)
    _, _, price, amount, _ = next(iter(source.prints(symbol, before - 1, before)))
    best = {"bestBid": short(bid), "bestBidSize": short(bids), "bestAsk": short(ask), "bestAskSize": short(asks)}
    return {"sequence": str(update), "price": short(price), "size": short(amount), **best}


def _row(trade: Print) -> dict[str, Any]:
    ident, at, price, amount, buy = trade
    sized = {"price": short(price), "size": short(amount), "side": "buy" if buy else "sell"}
    return {"sequence": str(ident * STEP), **sized, "time": at}


def _match(topic: str, trade: Print) -> bytes:
    row, orders = _row(trade), {"takerOrderId": f"{trade[0] * 2:024x}", "makerOrderId": f"{trade[0] * 2 + 1:024x}"}
    data = {"type": "match", "symbol": topic.partition(":")[2], **row, "tradeId": row["sequence"], **orders}
    return _message(topic, "trade.l3match", {**data, "time": str(row["time"])})


def _bar(span: Span) -> list[str]:
    prices = [short(figure) for figure in (span.open, span.close, span.high, span.low, span.volume, span.quote_volume)]
    return [str(span.start // SECOND), *prices]


def _candle(topic: str, span: Span, at: Nanos) -> bytes:
    native = topic.partition(":")[2].rpartition("_")[0]
    return _message(topic, "trade.candles.update", {"symbol": native, "candles": _bar(span), "time": at})


def _level1(topic: str, quote: Quote) -> bytes:
    _, at, bid, bids, ask, asks = quote
    data = {"asks": [short(ask), short(asks)], "bids": [short(bid), short(bids)], "timestamp": at // MILLI}
    return _message(topic, "level1", data)


def _changed(topic: str, change: Change) -> bytes:
    sides = {"asks": change.asks, "bids": change.bids}
    changes = {name: [[*level, str(change.after)] for level in _levels(side)] for name, side in sides.items()}
    ends = {"sequenceEnd": change.after, "sequenceStart": change.before + 1}
    data = {"changes": changes, **ends, "symbol": topic.partition(":")[2], "time": change.at // MILLI}
    return _message(topic, "trade.l2update", data)
