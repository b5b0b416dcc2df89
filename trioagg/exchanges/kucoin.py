"""KuCoin spot, over its classic WebSocket.

Documentation: "Get Public Token - Spot/Margin", "Public Channels: Trade, Ticker, Orderbook - Increment, Klines", "Get
All Symbols", "Get All Tickers", "Get Trade History", "Get Part OrderBook", "Get Klines" and "Rate Limit" of KuCoin API.

- A token is asked for first (``bullet-public``, a POST); the answer names the socket. Nothing may be sent before
  ``welcome``. The client pings as often as that answer says, every 18 s, and is dropped when silent.
- 100 messages may be sent in 10 s, 100 symbols named in one topic, 300 topics held on one connection.
- Trades are known by ``tradeId``, which equals ``sequence``, the only number that REST tells. It rises in steps of more
  than one, so it proves nothing. The oldest ids were hexadecimal.
- ``level2`` tells all changes of a book, from ``sequenceStart`` to ``sequenceEnd``, without holes. Without a key, a
  snapshot of REST tells the best 100 levels of a side only; when the price came near their end, a new one is asked for.
- Times of trades are nanoseconds, as text on the socket and as a number in REST; of tickers milliseconds; of candles
  seconds, as text.
- The ticker lacks the day's volume, which is merged from REST's list of all tickers, as long as that is fresh.
- Candles are in the order open, close, high, low and have no end mark: one is closed once a later one has come.
- ``symbol`` is for ever, ``name`` follows renamings: markets are known by their name.
- Errors may come with HTTP 200: only the code ``"200000"`` is good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Daily,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _kucoin as wire
from trioagg.exchanges._books import Change
from trioagg.exchanges._numbers import positive, quantities, trade_id
from trioagg.exchanges._records import Newest, Query, asked, known, unused
from trioagg.exchanges._times import length, nanos
from trioagg.model import Channel, Instrument, Nanos, Ticker, Trade

TOKEN = "/api/v1/bullet-public"  # noqa: S105  (a path)
BOOK = "/api/v1/market/orderbook/level2_100"
PER_MESSAGE = 100  # symbols named in one topic
TOPICS = {Channel.TRADES: "/market/match", Channel.TICKER: "/market/ticker", Channel.BOOK: "/market/level2"}
UNUSED = (
    "/market/level3 /market/snapshot /spotMarket/level2Depth5 /spotMarket/level2Depth50 "
    "/indicator/index /indicator/markPrice /margin/fundingBook /callauction/level2Depth50 /callauction/callauctionData"
).split()
"""Kinds that are known and not collected."""
UNUSED_PATHS = ("/api/v1/timestamp", "/api/v2/symbols", "/api/v1/market/orderbook/level2_20")


Route = Callable[[wire.Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to KuCoin spot, or the polling of its tickers."""

    name = "kucoin"
    rest_url = "https://api.kucoin.com"
    ws_url = "wss://ws-api-spot.kucoin.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.BOOK, Channel.CANDLES})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(
        streams=100,
        sends=8,
        weight=2000,
        window=30,
        cooldown={429: wire.SILENCE, 403: wire.SILENCE},
        lifetime=85_800.0,  # a token is good for 24 h
    )
    clock = Fetch("/api/v1/timestamp", weight=3)
    joined = (BOOK,)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._topics = {_topic(item, feed.candle) for item in feed.subscriptions}
        self._newest = Newest()
        self._books: dict[str, wire.Shallow] = {}
        self._routes: dict[str, Route] = {}

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v2/symbols", weight=4),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [wire.instrument(symbol) for symbol in wire.symbols.decode(wire.data(wire.answer.decode(body)))]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.replace("/", "-").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return native.replace("-", "/") if native.count("-") == 1 else native

    def polls(self) -> Iterable[Fetch]:
        if self.natives(Channel.TICKER):
            yield Fetch("/api/v1/market/allTickers", weight=15, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Fetch(TOKEN, weight=10, body="")

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        match told.type:
            case "message" if told.topic:
                return (self._routes.get(told.topic) or self._route(told.topic))(told, at)
            case "message":
                raise WireError("a message without a topic")
            case "welcome":
                return [_subscribe(number, topic) for number, topic in enumerate(self._requests(), 1)]
            case "ack":
                return (Ack(f"request {told.id}"),)
            case "error":
                return (_refusal(told),)
            case "pong" | "notice" | "command":
                return ()
        raise WireError(f"unknown message kind {told.type[:40]!r}")

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        if path in UNUSED_PATHS:
            return ()
        data = wire.data(wire.answer.decode(body))
        match path.removeprefix("/api/v1/"):
            case "bullet-public":
                token = wire.token.decode(data)
                connect, self.heartbeat = wire.address(token, at), wire.heartbeat(wire.server(token).ping_interval)
                return (connect,)
            case "market/allTickers":
                return self._rest_days(wire.days.decode(data), at)
            case "market/stats":
                return self._rest_days(wire.days_of(wire.day.decode(data)), at)
        return self._of_one(path.removeprefix("/api/v1/market/"), query, data, at)

    def _of_one(self, path: str, query: Query, data: Raw, at: Nanos) -> Sequence[Output]:
        """What is told of the market that was asked for."""
        match path:
            case "orderbook/level1":
                return (self._ticker(self.symbol(query["symbol"]), wire.quote.decode(data), at),)
            case "orderbook/level2_100":
                return self._rest_book(self.symbol(query["symbol"]), wire.rest_book.decode(data), at)
            case "histories":
                symbol = self.symbol(query["symbol"])
                return [wire.rest_trade(symbol, trade, at) for trade in wire.rest_trades.decode(data)]
            case "candles":
                symbol, interval = self.symbol(query["symbol"]), known(query["type"], wire.INTERVALS, "interval")
                found = [wire.candle(symbol, interval, row, at) for row in wire.rest_candles.decode(data)]
                return [replace(c, closed=c.open_time + length(interval) <= at) for c in reversed(found)]
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        return Fetch(f"/api/v1/market/histories?symbol={hole.native}", weight=3)

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.integer.decode(wire.data(wire.answer.decode(body))))

    def _requests(self) -> Iterable[str]:
        """The topics to subscribe to: many symbols in one where the kind allows it."""
        for channel, kind in TOPICS.items():
            names = sorted(self.natives(channel))
            for start in range(0, len(names), PER_MESSAGE):
                yield f"{kind}:{','.join(names[start : start + PER_MESSAGE])}"
        yield from sorted(topic for topic in self._topics if topic.startswith("/market/candles"))

    def _route(self, topic: str) -> Route:
        """The route of a topic's frames: by its kind, unless it is one that nobody asked for."""
        kind, _, name = topic.partition(":")
        route = self._kind(kind, name)
        uninvited = self._topics and topic not in self._topics and name != "all"
        self._routes[topic] = unused if uninvited else route
        return self._routes[topic]

    def _kind(self, kind: str, name: str) -> Route:
        native, _, period = name.rpartition("_") if kind == "/market/candles" else (name, "", "")
        match kind:
            case "/market/match":
                return self._on_match
            case "/market/ticker":
                return self._on_any_ticker if name == "all" else partial(self._on_ticker, self.symbol(name))
            case "/spotMarket/level1":
                return partial(self._on_level1, self.symbol(name))
            case "/market/level2":
                return partial(self._on_level2, native)
            case "/market/candles":
                return partial(self._on_candle, self.symbol(native), known(period, wire.INTERVALS, "interval"))
        if kind in UNUSED:
            return unused
        raise WireError(f"unknown message kind {kind[:40]!r}")

    def _on_match(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        m = wire.match.decode(frame.data)
        positive(m.price, m.size)
        number, stamp = trade_id(m.trade_id), wire.moment(m.time)
        return (Trade("kucoin", self.symbol(m.symbol), number, m.price, m.size, m.side, stamp, at),)

    def _on_ticker(self, symbol: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (self._ticker(symbol, wire.quote.decode(frame.data), at),)

    def _on_any_ticker(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        """Everybody's ticker, whose subject is the symbol."""
        symbol = self.symbol(frame.subject)
        return self._on_ticker(symbol, frame, at) if self.wants(symbol, Channel.TICKER) else ()

    def _on_level1(self, symbol: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        told = wire.level1.decode(frame.data)
        sides = (*wire.side(told.bids), *wire.side(told.asks))
        quantities(*sides)
        return (Ticker("kucoin", symbol, *sides, *self.daily(symbol, at), nanos(told.timestamp), at),)

    def _on_level2(self, native: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        told = wire.update.decode(frame.data)
        book, stamp = self._book(self.symbol(native)), None if told.time is None else nanos(told.time)
        sides = wire.levels(told.changes.bids), wire.levels(told.changes.asks)
        out = book.step(Change(told.sequence_start - 1, told.sequence_end, *sides, stamp), at)
        return [*out, Fetch(f"{BOOK}?symbol={native}", weight=2)] if book.due(at) else out

    def _rest_book(self, symbol: str, told: wire.RestBook, at: Nanos) -> Sequence[Output]:
        """A snapshot; one that is older than a change that was taken is of no use."""
        number = wire.sequence(told.sequence)
        if not self.wants(symbol, Channel.BOOK) or number < self._book(symbol).held:
            return ()
        return self._book(symbol).join(number, told.bids, told.asks, stamp=nanos(told.time), at=at)

    def _book(self, symbol: str) -> wire.Shallow:
        if symbol not in self._books:
            self._books[symbol] = wire.Shallow("kucoin", symbol, self.feed.book)
        return self._books[symbol]

    def _on_candle(self, symbol: str, interval: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return self._newest.told([wire.candle(symbol, interval, wire.candles.decode(frame.data).candles, at)])

    def _ticker(self, symbol: str, q: wire.Quote, at: Nanos) -> Ticker:
        sides = (q.best_bid, q.best_bid_size, q.best_ask, q.best_ask_size)
        quantities(*sides, q.price)
        told = q.spelled_otherwise if q.time is None else q.time
        stamp = None if told is None else nanos(told)
        return Ticker("kucoin", symbol, *sides, q.price, self.daily(symbol, at)[1], stamp, at)

    def _rest_days(self, days: wire.Days, at: Nanos) -> Sequence[Output]:
        named = [(self.symbol(day.symbol), day) for day in days.ticker]
        ours = [(symbol, day) for symbol, day in named if self.wants(symbol, Channel.TICKER)]
        return [self._rest_day(symbol, day, nanos(days.time), at) for symbol, day in ours]

    def _rest_day(self, symbol: str, day: wire.Day, stamp: Nanos, at: Nanos) -> Ticker:
        sides = (day.buy, day.best_bid_size, day.sell, day.best_ask_size)
        quantities(*sides, day.last, day.vol)
        if day.last is not None and day.vol is not None:
            self.feed.board[symbol] = Daily(day.last, day.vol, at)
        return Ticker("kucoin", symbol, *sides, day.last, day.vol, stamp, at)


def _subscribe(number: int, topic: str) -> Send:
    request = {"id": str(number), "type": "subscribe", "topic": topic, "privateChannel": False, "response": True}
    return Send(msgspec.json.encode(request).decode())


def _refusal(told: wire.Frame) -> Action:
    """Code 401: the token is no good any more, and only a new connection helps."""
    said = bytes(told.data).decode(errors="replace").strip('"')[:160]
    reason = f"{said or 'no reason given'} ({told.code})"
    return Retire(reason) if str(told.code) == "401" else Refused(f"request {told.id}: {reason}")


def _topic(item: Subscription, candle: str) -> str:
    if item.channel in TOPICS:
        return f"{TOPICS[item.channel]}:{item.native}"
    return f"/market/candles:{item.native}_{wire.PERIODS.get(candle, '1min')}"
