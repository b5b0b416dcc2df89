"""Kraken spot, as its public market data speaks: REST version 0, WebSocket version 2."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Levels, Pair, Print, Quote, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
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
    iso,
    last_tick,
    number,
    plain,
    quotes,
    text,
    ticks,
    trades,
    whole,
)

DEPTHS = (10, 25, 100, 500, 1000)
MINUTES = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
EVERY = 100 * MILLI  # between two messages of a book
_TRADE = re.compile(rb'"channel":"trade".*?"symbol":"([^"]+)".*?"trade_id":(\d+)')
SPELLED = {"BTC": "XBT", "DOGE": "XDG"}
CLASSIC = {"XBT": "X", "XDG": "X", **dict.fromkeys("ETH ETC LTC XLM XRP ZEC".split(), "X"), "USD": "Z", "EUR": "Z"}
FEES = {"fees": [[0, 0.4], [10000, 0.35]], "fees_maker": [[0, 0.25], [10000, 0.2]], "fee_volume_currency": "ZUSD"}


def altname(symbol: str) -> str:
    """``XBTUSD``."""
    return "".join(SPELLED.get(asset, asset) for asset in symbol.split("/"))


def code(asset: str) -> str:
    """``XXBT``, ``ZUSD``: the older assets have a letter before them."""
    spelled = SPELLED.get(asset, asset)
    return CLASSIC.get(spelled, "") + spelled


class Dialect(DeskDialect):
    """Kraken's REST and WebSocket, without keys."""

    name = "kraken"

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot only."""
        return bool(re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """REST's altname."""
        return altname(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Below ``/0/public/``."""
        handlers = {
            "Time": lambda query: {"unixtime": self.now // SECOND},
            "SystemStatus": lambda query: {"status": "online", "timestamp": iso(self.now, 0)},
            "Assets": self._assets,
            "AssetPairs": lambda query: {altname(pair.symbol): _listing(pair) for pair in self._asked(query)},
            "Ticker": lambda query: {altname(pair.symbol): self._day(pair.symbol) for pair in self._asked(query)},
            "Trades": self._trades,
            "OHLC": self._candles,
            "Depth": self._depth,
        }
        return {f"/0/public/{path}": _answered(handler) for path, handler in handlers.items()}

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Too many requests are an error inside HTTP 200; one with a time names the second until which to be silent."""
        if status != 429:
            return super().refusal(status, retry_after, now)
        until = f"EService: Throttled: {now // SECOND + int(retry_after or 0) + 1}"
        return Answer(text({"error": ["EGeneral:Too many requests" if retry_after is None else until]}))

    def session(self, target: str) -> KrakenSession | None:
        """A connection to ``/v2``."""
        return KrakenSession(self.source) if target.partition("?")[0] == "/v2" else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol and id of a trade frame."""
        found = _TRADE.search(frame)
        return (found[1].decode(), int(found[2])) if found else None

    def _assets(self, query: Query) -> dict[str, Any]:
        assets = sorted({asset for pair in self.source.pairs.values() for asset in (pair.base, pair.quote)})
        wanted = [asset for asset in assets if query.get("asset", code(asset)) in (code(asset), asset)]
        return {
            code(asset): {
                "aclass": "currency", "altname": SPELLED.get(asset, asset), "decimals": 10, "display_decimals": 5,
                "collateral_value": 1.0, "status": "enabled", "margin_rate": 0.01,
            }
            for asset in wanted
        }  # fmt: skip

    def _asked(self, query: Query) -> list[Pair]:
        """The markets of ``pair``, or all."""
        names = query["pair"].split(",") if "pair" in query else list(self.symbols)
        return [self.source.pairs[self._symbol(name)] for name in names]

    def _symbol(self, name: str) -> str:
        plainly = name.replace("/", "")
        if plainly not in self.symbols:
            raise Refusal({"error": ["EQuery:Unknown asset pair"]})
        return self.symbols[plainly]

    def _day(self, symbol: str) -> dict[str, Any]:
        span, today = daily(self.source, symbol, self.now), self.now // DAY * DAY
        _, _, bid, bids, ask, asks = self.source.quote(symbol, self.now)
        so_far = self.source.span(symbol, today, self.now)
        return {
            "a": [plain(ask), "1", plain(asks)], "b": [plain(bid), "1", plain(bids)],
            "c": [plain(span.close), plain(SCALE)], "v": [plain(so_far.volume), plain(span.volume)],
            "p": [plain(so_far.close), plain(span.close)], "t": [so_far.count, span.count],
            "l": [plain(so_far.low), plain(span.low)], "h": [plain(so_far.high), plain(span.high)],
            "o": plain(so_far.open),
        }  # fmt: skip

    def _trades(self, query: Query) -> dict[str, Any]:
        symbol, count = self._symbol(query.get("pair", "")), min(int(query.get("count", "1000")), 1000)
        end = self.source.before(symbol, self.now)
        first = self.source.before(symbol, int(query["since"])) if "since" in query else end - count
        rows = list(self.source.prints(symbol, first, min(end, first + count)))
        last = rows[-1][1] if rows else int(query.get("since", self.now))
        return {altname(symbol): [_row(trade) for trade in rows], "last": str(last)}

    def _candles(self, query: Query) -> dict[str, Any]:
        symbol, length = self._symbol(query.get("pair", "")), int(query.get("interval", "1")) * MINUTE
        if length // MINUTE not in MINUTES:
            raise Refusal({"error": ["EGeneral:Invalid arguments:interval"]})
        opens = ticks(max(self.now - 719 * length, int(query.get("since", "0")) * SECOND), self.now, length)
        rows = [_bar(self.source.span(symbol, at, min(at + length, self.now))) for at in opens]
        return {altname(symbol): rows, "last": (self.now // length - 1) * length // SECOND}

    def _depth(self, query: Query) -> dict[str, Any]:
        symbol, count = self._symbol(query.get("pair", "")), int(query.get("count", "100"))
        sides = whole(self.source, symbol, self.now, count)
        bids, asks = ([[plain(price), plain(amount), self.now // SECOND] for price, amount in side] for side in sides)
        return {altname(symbol): {"asks": asks, "bids": bids}}


def _answered(handler: Handler) -> Handler:
    return lambda query: {"error": [], "result": handler(query)}


def _listing(pair: Pair) -> dict[str, Any]:
    return {
        "altname": altname(pair.symbol), "wsname": "/".join(SPELLED.get(a, a) for a in pair.symbol.split("/")),
        "aclass_base": "currency", "base": code(pair.base), "aclass_quote": "currency", "quote": code(pair.quote),
        "lot": "unit", "cost_decimals": 5, "leverage_buy": [2, 3], "leverage_sell": [2, 3], **FEES,
        "margin_call": 80, "margin_stop": 40, "long_position_limit": 250, "short_position_limit": 200,
        "pair_decimals": len(str(SCALE // pair.tick)) - 1, "lot_decimals": len(str(SCALE // pair.step)) - 1,
        "lot_multiplier": 1, "ordermin": plain(pair.step), "costmin": "0.5", "tick_size": plain(pair.tick),
        "status": "online",
    }  # fmt: skip


def _row(trade: Print) -> list[Any]:
    ident, at, price, amount, buy = trade
    seconds = number(f"{at // SECOND}.{at % SECOND:09d}")
    return [plain(price), plain(amount), seconds, "b" if buy else "s", "m", "", ident]


def _bar(span: Span) -> list[Any]:
    prices = [plain(figure) for figure in (span.open, span.high, span.low, span.close, span.close, span.volume)]
    return [span.start // SECOND, *prices, span.count]


class Params(msgspec.Struct):
    """What a request names."""

    channel: str = ""
    symbol: list[str] = []
    depth: int = 10
    interval: int = 1
    snapshot: bool | None = None
    event_trigger: str = "trades"


class Call(msgspec.Struct):
    """A message of the client."""

    method: str
    params: Params = msgspec.field(default_factory=Params)
    req_id: int | None = None


class KrakenSession(TopicSession):
    """One connection to version 2; a heartbeat comes every second."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """An acknowledgement or a refusal for each symbol, and the snapshots."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [b'{"error":"Malformed request","success":false}']
        match call.method:
            case "ping":
                return [_reply("pong", call, now)]
            case "subscribe" | "unsubscribe":
                return [frame for symbol in call.params.symbol for frame in self._one(call, symbol, now)]
        return [_reply(call.method, call, now, error="Method not found", success=False)]

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """The heartbeat."""
        return [b'{"channel":"heartbeat"}'] * (len(ticks(start, end, SECOND)) if self.subscribed else 0)

    def unknown(self, now: Nanos) -> bytes:
        """A channel that the documentation does not have."""
        return b'{"channel":"weather","type":"update","data":[{"fog":true}]}'

    def _one(self, call: Call, symbol: str, now: Nanos) -> list[bytes]:
        params, topic = call.params, f"{call.params.channel} {symbol}"
        if problem := self._problem(call, symbol):
            return [_reply(call.method, call, now, error=problem, success=False, symbol=symbol)]
        result = {"channel": params.channel, "symbol": symbol}
        ack = _reply(call.method, call, now, result=result, success=True)
        if call.method == "unsubscribe":
            self.end(topic)
            return [ack]
        maker, first = self._topic(params, symbol, now)
        self.begin(topic, maker)
        return [ack, *first]

    def _problem(self, call: Call, symbol: str) -> str:
        params = call.params
        if params.channel not in ("trade", "ticker", "ohlc", "book"):
            return f"Channel not supported {params.channel}".rstrip()
        if symbol not in self._source.pairs:
            return f"Currency pair not supported {symbol}"
        if params.channel == "book" and params.depth not in DEPTHS:
            return "Invalid depth"
        if params.channel == "ohlc" and params.interval not in MINUTES:
            return "Invalid interval"
        there = f"{params.channel} {symbol}" in self._topics
        return "Already subscribed" if there and call.method == "subscribe" else ""

    def _topic(self, params: Params, symbol: str, now: Nanos) -> tuple[Maker, list[bytes]]:
        """What a topic says, and what it begins with."""
        source = self._source
        match params.channel:
            case "trade":
                last = source.before(symbol, now)
                rows = [_trade(symbol, trade) for trade in source.prints(symbol, last - 50, last)]
                first = [_frame("trade", "snapshot", rows)] if params.snapshot else []
                return trades(source, symbol, lambda trade: _frame("trade", "update", [_trade(symbol, trade)])), first
            case "ticker":
                first = [_frame("ticker", "snapshot", [self._ticker(symbol, source.quote(symbol, now))])]
                return quotes(source, symbol, lambda q: _frame("ticker", "update", [self._ticker(symbol, q)])), first
            case "ohlc":
                length = params.interval * MINUTE
                running = source.span(symbol, now // length * length, now)
                first = [_frame("ohlc", "snapshot", [_candle(symbol, running, params.interval)])]
                return candles(source, symbol, length, lambda span, at: _ohlc(symbol, span, params.interval)), first
        since = last_tick(now, EVERY)
        first = [_frame("book", "snapshot", [_book(symbol, whole(source, symbol, since, params.depth), since)])]
        return books(source, symbol, EVERY, lambda c: _update(symbol, c), depth=params.depth, since=since), first

    def _ticker(self, symbol: str, quote: Quote) -> dict[str, Any]:
        _, at, bid, bids, ask, asks = quote
        span = daily(self._source, symbol, at)
        figures = {
            "bid": bid, "bid_qty": bids, "ask": ask, "ask_qty": asks, "last": span.close, "volume": span.volume,
            "vwap": span.close, "low": span.low, "high": span.high, "change": span.close - span.open,
        }  # fmt: skip
        numbers = {name: number(plain(figure)) for name, figure in figures.items()}
        return {"symbol": symbol, **numbers, "change_pct": 0.1, "timestamp": iso(at)}


def _reply(method: str, call: Call, now: Nanos, **said: object) -> bytes:
    ident = {} if call.req_id is None else {"req_id": call.req_id}
    return text({"method": method, **ident, **said, "time_in": iso(now), "time_out": iso(now)})


def _frame(channel: str, kind: str, rows: Sequence[dict[str, Any]]) -> bytes:
    return text({"channel": channel, "type": kind, "data": rows})


def _trade(symbol: str, trade: Print) -> dict[str, Any]:
    ident, at, price, amount, buy = trade
    return {
        "symbol": symbol, "side": "buy" if buy else "sell", "price": number(plain(price)),
        "qty": number(plain(amount)), "ord_type": "market", "trade_id": ident, "timestamp": iso(at),
    }  # fmt: skip


def _ohlc(symbol: str, span: Span, minutes: int) -> bytes:
    return text(
        {"channel": "ohlc", "type": "update", "timestamp": iso(span.end), "data": [_candle(symbol, span, minutes)]}
    )


def _candle(symbol: str, span: Span, minutes: int) -> dict[str, Any]:
    figures = {"open": span.open, "high": span.high, "low": span.low, "close": span.close, "volume": span.volume}
    numbers = {name: number(plain(figure)) for name, figure in figures.items()}
    ends = {"interval_begin": iso(span.start, 9), "timestamp": iso(span.start + minutes * MINUTE)}
    return {"symbol": symbol, **numbers, "trades": span.count, "vwap": numbers["close"], "interval": minutes, **ends}


def _levels(levels: Levels) -> list[dict[str, Raw]]:
    return [{"price": number(plain(price)), "qty": number(plain(amount))} for price, amount in levels]


def _checksum(book: tuple[Levels, Levels]) -> int:
    bids, asks = (side[:10] for side in book)
    figures = [plain(figure).replace(".", "").lstrip("0") for level in (*asks, *bids) for figure in level]
    return zlib.crc32("".join(figures).encode())


def _book(symbol: str, book: tuple[Levels, Levels], at: Nanos) -> dict[str, Any]:
    sides = {"bids": _levels(book[0]), "asks": _levels(book[1])}
    return {"symbol": symbol, **sides, "checksum": _checksum(book), "timestamp": iso(at)}


def _update(symbol: str, change: Change) -> bytes:
    sides = {"bids": _levels(change.bids), "asks": _levels(change.asks)}
    row = {"symbol": symbol, **sides, "checksum": _checksum(change.book), "timestamp": iso(change.at)}
    return _frame("book", "update", [row])
