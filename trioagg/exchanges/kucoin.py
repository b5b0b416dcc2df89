"""KuCoin spot, over its classic WebSocket.

Documentation: "Get Public Token - Spot/Margin", "Public Channels: Trade, Ticker, Klines", "Get All Symbols", "Get All
Tickers", "Get Trade History", "Get Klines" and "Rate Limit" of KuCoin API.

- A token is asked for first (``bullet-public``, a POST); the answer names the socket. Nothing may be sent before
  ``welcome``. The client pings every 18 s and is dropped when silent.
- 100 messages may be sent in 10 s, 100 symbols named in one topic, 300 topics held on one connection.
- Trades are known by ``tradeId``, which equals ``sequence``, the only number that REST tells. It rises in steps of more
  than one, so it proves nothing. The oldest ids were hexadecimal.
- Times of trades are nanoseconds, as text on the socket and as a number in REST; of tickers milliseconds; of candles
  seconds, as text.
- The ticker lacks the day's volume, which is merged from REST's list of all tickers, as long as that is fresh.
- Candles are in the order open, close, high, low and have no end mark: one is closed once a later one has come.
- ``symbol`` is for ever, ``name`` follows renamings: markets are known by their name.
- Errors may come with HTTP 200: only the code ``"200000"`` is good.

Understood of REST: ``histories`` (the last 100 trades, no paging), ``candles``, ``allTickers``, ``stats`` and
``orderbook/level1``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from attrs import evolve
from msgspec import Raw

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Daily,
    Exchange,
    Feed,
    Fetch,
    Heartbeat,
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _kucoin as wire
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Instrument, Nanos, Ticker, Trade

TOKEN = "/api/v1/bullet-public"  # noqa: S105  (a path)
PER_MESSAGE = 100  # symbols named in one topic
FRESH = 300 * 1_000_000_000  # ns for which REST's volume may stand beside a newer best bid and ask
SILENCE = 30.0  # seconds, the window of the limit; how much of it is left, a header tells in milliseconds
UNUSED = (
    "/market/level2 /market/level3 /market/snapshot /spotMarket/level2Depth5 /spotMarket/level2Depth50 "
    "/indicator/index /indicator/markPrice /margin/fundingBook /callauction/level2Depth50 /callauction/callauctionData"
).split()
"""Kinds that are known and not collected."""
UNUSED_PATHS = (
    "/api/v1/timestamp /api/v1/status /api/v1/symbols /api/v2/symbols /api/v1/markets /api/v3/currencies "
    "/api/v1/market/orderbook/level2_20 /api/v1/market/orderbook/level2_100 /api/v3/market/orderbook/level2"
).split()


Route = Callable[[wire.Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to KuCoin spot, or the polling of its tickers."""

    name = "kucoin"
    rest_url = "https://api.kucoin.com"
    ws_url = "wss://ws-api-spot.kucoin.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.CANDLES})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=100, sends=8, weight=2000, window=30, cooldown={429: SILENCE, 403: SILENCE})
    heartbeat = Heartbeat(15, '{"id":"ping","type":"ping"}')

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._asked = {_topic(item, feed.candle) for item in feed.subscriptions}
        self._latest: dict[str, Candle] = {}
        self._routes: dict[str, Route] = {}
        self._types: dict[str, Route] = {
            "message": self._on_message,
            "welcome": self._on_welcome,
            "error": self._on_error,
            "ack": self._on_ack,
            **dict.fromkeys(("pong", "notice", "command"), self._unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v2/symbols", weight=4),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        answer = wire.answer.decode(body)
        if answer.code != "200000":
            raise WireError(wire.complaint(answer))
        return [wire.instrument(symbol) for symbol in wire.symbols.decode(answer.data)]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.replace("/", "-").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return native.replace("-", "/") if native.count("-") == 1 else native

    def polls(self) -> Iterable[Fetch]:
        if any(item.channel is Channel.TICKER for item in self.feed.subscriptions):
            yield Fetch("/api/v1/market/allTickers", weight=15, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Fetch(TOKEN, weight=10, body="")

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if told.topic and told.type == "message":
            return (self._routes.get(told.topic) or self._route(told.topic))(told, at)
        if told.type not in self._types:
            raise WireError(f"unknown message kind {told.type[:40]!r}")
        return self._types[told.type](told, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        if url.path in UNUSED_PATHS:
            return ()
        answer = wire.answer.decode(body)
        if answer.code == "429000":
            raise RateLimited(wire.complaint(answer), SILENCE)
        if answer.code != "200000":
            raise WireError(wire.complaint(answer))
        return self._told(url.path, dict(parse_qsl(url.query)), answer.data, at)

    def _told(self, path: str, query: Mapping[str, str], data: Raw, at: Nanos) -> Sequence[Output]:
        match path.removeprefix("/api/v1/"):
            case "bullet-public":
                return (wire.address(wire.token.decode(data), at),)
            case "market/allTickers":
                return self._rest_days(wire.days.decode(data), at)
            case "market/stats":
                return self._rest_days(wire.days_of(wire.day.decode(data)), at)
            case "market/orderbook/level1":
                return (self._ticker(self._symbol(_named(query, "symbol")), wire.quote.decode(data), at),)
            case "market/histories":
                symbol = self._symbol(_named(query, "symbol"))
                return [wire.rest_trade(symbol, trade, at) for trade in wire.rest_trades.decode(data)]
            case "market/candles":
                symbol = self._symbol(_named(query, "symbol"))
                interval, seconds = wire.interval(_named(query, "type"))
                found = [wire.candle(symbol, interval, row, at) for row in wire.rest_candles.decode(data)]
                return [evolve(c, closed=c.open_time + seconds * 1_000_000_000 <= at) for c in reversed(found)]
        raise WireError("unknown REST path")

    def _symbol(self, native: str) -> str:
        if native not in self._symbols:
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _requests(self) -> Iterable[str]:
        """The topics to subscribe to: many symbols in one where the kind allows it."""
        for kind in ("/market/match", "/market/ticker"):
            names = sorted(topic.partition(":")[2] for topic in self._asked if topic.startswith(kind))
            for start in range(0, len(names), PER_MESSAGE):
                yield f"{kind}:{','.join(names[start : start + PER_MESSAGE])}"
        yield from sorted(topic for topic in self._asked if topic.startswith("/market/candles"))

    def _route(self, topic: str) -> Route:
        """The route of a topic's frames: by its kind, unless it is one that nobody asked for."""
        kind, _, name = topic.partition(":")
        route = self._kind(kind, name)
        uninvited = self._asked and topic not in self._asked and name != "all"
        self._routes[topic] = self._unused if uninvited else route
        return self._routes[topic]

    def _kind(self, kind: str, name: str) -> Route:
        match kind:
            case "/market/match":
                return self._on_match
            case "/market/ticker":
                return self._on_any_ticker if name == "all" else partial(self._on_ticker, self._symbol(name))
            case "/spotMarket/level1":
                return partial(self._on_level1, self._symbol(name))
            case "/market/candles":
                native, _, period = name.rpartition("_")
                return partial(self._on_candle, self._symbol(native), wire.interval(period)[0])
        if kind in UNUSED:
            return self._unused
        raise WireError(f"unknown message kind {kind[:40]!r}")

    def _on_message(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        raise WireError("a message without a topic")

    def _on_welcome(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return [_subscribe(number, topic) for number, topic in enumerate(self._requests(), 1)]

    def _on_ack(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (Ack(f"request {frame.id}"),)

    def _on_error(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        said = bytes(frame.data).decode(errors="replace").strip('"')[:160]
        reason = f"{said or 'no reason given'} ({frame.code})"
        return (Retire(reason) if str(frame.code) == "401" else Refused(f"request {frame.id}: {reason}"),)

    def _unused(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return ()

    def _on_match(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        m = wire.match.decode(frame.data)
        positive(m.price, m.size)
        number, stamp = wire.trade_id(m.trade_id), wire.moment(m.time)
        return (Trade("kucoin", self._symbol(m.symbol), number, m.price, m.size, m.side, stamp, at),)

    def _on_ticker(self, symbol: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (self._ticker(symbol, wire.quote.decode(frame.data), at),)

    def _on_any_ticker(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        """Everybody's ticker, whose subject is the symbol."""
        if self._asked and f"/market/ticker:{frame.subject}" not in self._asked:
            return ()
        return self._on_ticker(self._symbol(frame.subject), frame, at)

    def _on_level1(self, symbol: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        told = wire.level1.decode(frame.data)
        sides = (*wire.side(told.bids), *wire.side(told.asks))
        quantities(*sides)
        day = self._daily(symbol, at)
        last, volume = (day.last, day.volume) if day else (None, None)
        return (Ticker("kucoin", symbol, *sides, last, volume, nanos(told.timestamp), at),)

    def _on_candle(self, symbol: str, interval: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        new = wire.candle(symbol, interval, wire.candles.decode(frame.data).candles, at)
        before = self._latest.setdefault(frame.topic, new)
        if new.open_time < before.open_time:
            return (evolve(new, closed=True),)
        self._latest[frame.topic] = new
        ended = new.open_time > before.open_time
        return (evolve(before, closed=True, received=at), new) if ended else (new,)

    def _daily(self, symbol: str, at: Nanos) -> Daily | None:
        day = self.feed.board.get(symbol)
        return day if day and at - day.at < FRESH else None

    def _ticker(self, symbol: str, q: wire.Quote, at: Nanos) -> Ticker:
        sides = (q.best_bid, q.best_bid_size, q.best_ask, q.best_ask_size)
        quantities(*sides, q.price)
        told = q.spelled_otherwise if q.time is None else q.time
        day = self._daily(symbol, at)
        stamp = None if told is None else nanos(told)
        return Ticker("kucoin", symbol, *sides, q.price, day.volume if day else None, stamp, at)

    def _rest_days(self, days: wire.Days, at: Nanos) -> Sequence[Output]:
        ours = [day for day in days.ticker if not self._asked or f"/market/ticker:{day.symbol}" in self._asked]
        return [self._rest_day(day, nanos(days.time), at) for day in ours]

    def _rest_day(self, day: wire.Day, stamp: Nanos, at: Nanos) -> Ticker:
        sides = (day.buy, day.best_bid_size, day.sell, day.best_ask_size)
        quantities(*sides, day.last, day.vol)
        symbol = self._symbol(day.symbol)
        if day.last is not None and day.vol is not None:
            self.feed.board[symbol] = Daily(day.last, day.vol, at)
        return Ticker("kucoin", symbol, *sides, day.last, day.vol, stamp, at)


def _subscribe(number: int, topic: str) -> Send:
    request = {"id": str(number), "type": "subscribe", "topic": topic, "privateChannel": False, "response": True}
    return Send(msgspec.json.encode(request).decode())


def _topic(item: Subscription, candle: str) -> str:
    match item.channel:
        case Channel.TRADES:
            return f"/market/match:{item.native}"
        case Channel.TICKER:
            return f"/market/ticker:{item.native}"
    period = next((name for name, (ours, _) in wire.PERIODS.items() if ours == candle), "1min")
    return f"/market/candles:{item.native}_{period}"


def _named(query: Mapping[str, str], key: str) -> str:
    if key not in query:
        raise WireError(f"the request names no {key}")
    return query[key]
