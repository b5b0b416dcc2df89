"""Bitfinex v2: spot and perpetuals under one name.

Documentation: "General", "Public Channels: Ticker, Trades, Candles, Status", "Sequencing" and "Checksums and Flags" of
"WebSocket API v2", and "REST Public Endpoints" on docs.bitfinex.com.

- Everything is an array of JSON numbers, some with exponents (``2e-8``); every digit is kept. Arrays may grow.
- Data are routed by a channel number that the answer to each subscription tells; 25 channels fit on a connection.
- Each trade comes twice, ``te`` at once and ``tu`` confirmed: one is taken, whichever comes first. An amount below
  zero: the taker sold. The newest 30 come again on subscribing.
- Trade ids are shared by all markets, so they prove nothing. Instead every frame is numbered (``SEQ_ALL``): a jump
  means that frames were lost, and the connection is replaced. Frames tell when they were sent, too (``TIMESTAMP``).
- The sizes in a ticker are sums over 25 levels: they are not stored.
- Each change of a level is a frame; one that falls out of the length subscribed to is told. A frame with a checksum of
  the best 25 levels, of numbers as JavaScript writes them, ends what changed together: in between the book stood at no
  time, so changes are held until then. A book that fails is left, and subscribed to again.
- Candles are in the order open, close, high, low and have no end mark: one is closed once a later one has come.
- ``UST`` is USDT, and a few other assets have house codes too; perpetuals are ``tBTCF0:USTF0``. ``TEST…`` is paper.
- Asking too often shuts an address out for a minute, with ``ERR_RATE_LIMIT`` and no waiting time.

Understood of REST: ``trades/…/hist`` (10,000 a page, by time), ``candles/…``, tickers, ``status/deriv``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import unquote

import msgspec

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    BookPlan,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Limits,
    Lost,
    Missed,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _bitfinex as wire
from trioagg.exchanges._books import OrderBook
from trioagg.exchanges._records import Newest, asked, unused
from trioagg.model import CHANNELS, Channel, Event, Instrument, Nanos

OB_CHECKSUM = 131072
FLAGS = 32768 + 65536 + OB_CHECKSUM  # TIMESTAMP and SEQ_ALL
LENGTHS = (25, 100, 250)  # levels of a book, of which a checksum covers 25
MILLI = 1_000_000  # ns
HELD = 1000  # changes of a book that wait for their checksum, at most
CROWD = 50  # markets beyond which everybody's tickers are asked for
EARLY = 10_000  # trades whose confirmation is waited for, at most
UNUSED = ("hb", "fte", "ftu")  # known and not collected
UNUSED_PATHS = ("conf", "platform", "book")
ENDS = {20051: "the exchange asked for a new connection", 20061: "the exchange's maintenance is over"}
LIST = "/v2/conf/pub:list:pair:exchange,pub:list:pair:futures,pub:map:currency:sym"
LIQUIDATIONS = ("status", "liq:global")

Topic = tuple[str, str]
Route = Callable[[wire.Told, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Bitfinex, or the polling of its tickers."""

    name = "bitfinex"
    rest_url = "https://api-pub.bitfinex.com"
    ws_url = "wss://api-pub.bitfinex.com"
    streamed = frozenset(Channel)
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(Channel, Proof.SEQUENCE),
        Channel.BOOK: Proof.CHECKSUM,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=25, sends=5, weight=60, window=60, cooldown={429: wire.SILENCE})

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._routes: dict[int, Route] = {}
        self._books: dict[int, str] = {}
        self._checked = False
        self._length = next((length for length in LENGTHS if length >= feed.book.levels), LENGTHS[-1])
        self._number: int | None = None
        self._early: dict[int | str, None] = {}
        self._newest = Newest()

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch(LIST),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return wire.instruments(body)

    @classmethod
    def native(cls, symbol: str) -> str:
        return wire.native(symbol)

    @classmethod
    def unified(cls, native: str) -> str:
        return wire.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        """Subscriptions that share a topic lie on one connection."""
        topics: dict[Topic, list[Subscription]] = {}
        for item in subscriptions:
            if topic := _topic(item):
                topics.setdefault(topic, []).append(item)
        groups, size = list(topics.values()), cls.limits.streams
        parts = [groups[start : start + size] for start in range(0, len(groups), size)]
        return [[item for group in part for item in group] for part in parts]

    def polls(self) -> Iterable[Fetch]:
        if natives := self.natives(Channel.TICKER):
            whose = ",".join(natives) if len(natives) <= CROWD else "ALL"
            yield Fetch(f"/v2/tickers?symbols={whose}", weight=2, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Connect("/ws/2")

    def opened(self) -> Iterable[Action]:
        yield Send(f'{{"event":"conf","flags":{FLAGS}}}')
        for topic in dict.fromkeys(topic for item in self.feed.subscriptions if (topic := _topic(item))):
            yield self._subscribe(*topic)

    def _subscribe(self, kind: str, whose: str) -> Send:
        request = {"event": "subscribe", "channel": kind, **self._detail(kind, whose)}
        return Send(msgspec.json.encode(request).decode())

    def _detail(self, kind: str, whose: str) -> Mapping[str, str]:
        match kind:
            case "candles":
                return {"key": f"trade:{wire.SPELLED.get(self.feed.candle, self.feed.candle)}:{whose}"}
            case "status":
                return {"key": whose}
            case "book":
                return {"symbol": whose, "prec": "P0", "freq": "F0", "len": str(self._length)}
        return {"symbol": whose}

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        if frame.lstrip().startswith(b"{"):
            return self._on_event(wire.event.decode(frame))
        before, self._number = self._number, None  # the number of a garbled frame is not known
        told = wire.read(frame)
        self._number = told.number
        out = self._data(told, at)
        if before is None or told.number is None or told.number == before + 1:
            return out
        return (Lost(), *out, Retire(f"frames were lost: number {told.number} came after {before}"))

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        wire.check(body)
        path, _ = asked(fetch)
        match unquote(path).removeprefix("/v2/").split("/"):
            case ["tickers"]:
                days = [wire.ticker(self.symbol(key), row, None, at) for key, row in wire.keyed(body) if key[:1] == "t"]
                return [day for day in days if self.wants(day.symbol, Channel.TICKER)]
            case ["ticker", native]:
                return [wire.ticker(self.symbol(native), body, None, at)]
            case ["trades", native, "hist"]:
                return wire.trades(self.symbol(native), body, at)
            case ["candles", key, "hist" | "last"]:
                interval, native = wire.parted(key)
                return wire.candles((self.symbol(native), interval), body, at)
            case ["status", "deriv"]:
                return [
                    event for key, row in wire.keyed(body) for event in self._on_status(key, wire.Told(0, "", row), at)
                ]
            case [head, *_] if head in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        span = f"start={hole.since // MILLI}&end={-(-hole.until // MILLI)}"
        return Fetch(f"/v2/trades/{hole.native}/hist?{span}&sort=1&limit=10000", weight=4)

    def _on_event(self, told: wire.Event) -> Sequence[Output]:
        what = f"{told.channel} {told.symbol or told.key}".strip()
        match told.event:
            case "subscribed":
                self._routes[told.number] = self._route(told)
                return (Ack(what),)
            case "unsubscribed":
                self._routes.pop(told.number, None)
                native = self._books.pop(told.number, None)
                again = [] if native is None else [self._subscribe("book", native)]
                return Ack(f"unsubscribed {told.number}"), *again
            case "conf" if told.status == "OK":
                self._checked = bool(told.flags & OB_CHECKSUM)
                return (Ack("conf"),)
            case "conf":
                return (Refused(f"conf: {told.msg[:200]} ({told.code})"),)
            case "error":
                return (Refused(f"{what or 'request'}: {told.msg[:200]} ({told.code})"),)
            case "info" | "pong":
                return (Retire(ENDS[told.code]),) if told.code in ENDS else ()
        raise WireError(f"unknown message kind {told.event[:40]!r}")

    def _route(self, told: wire.Event) -> Route:
        """The route of a channel's frames; nowhere for one that nobody asked for."""
        match told.channel:
            case "status" if told.key == LIQUIDATIONS[1]:
                return self._on_liquidations
            case "status" if told.key.startswith("deriv:"):
                return partial(self._on_status, told.key.removeprefix("deriv:"))
            case "status":
                return unused
            case "candles":
                interval, native = wire.parted(told.key)
                return self._market_route(told, native, interval)
            case "trades" | "ticker" | "book":
                return self._market_route(told, told.symbol)
        raise WireError(f"unknown channel {told.channel[:40]!r}")

    def _market_route(self, told: wire.Event, native: str, interval: str = "") -> Route:
        symbol = self.symbol(native)
        if not native.startswith("t") or not self.wants(symbol, Channel(told.channel)):
            return unused
        match told.channel:
            case "trades":
                return partial(self._on_trades, symbol)
            case "ticker":
                return partial(_on_ticker, symbol)
            case "candles":
                return partial(self._on_candles, (symbol, interval))
        if told.prec != "P0":
            return unused
        self._books[told.number] = native
        return partial(self._on_book, _Book("bitfinex", symbol, self.feed.book))

    def _data(self, told: wire.Told, at: Nanos) -> Sequence[Output]:
        if told.kind in UNUSED:
            return ()
        if told.kind not in ("", "te", "tu", "cs"):
            raise WireError(f"unknown message kind {told.kind[:40]!r}")
        if told.channel not in self._routes:
            raise WireError(f"a channel that no answer told: {told.channel}"[:120])
        return self._routes[told.channel](told, at)

    def _on_trades(self, symbol: str, told: wire.Told, at: Nanos) -> Sequence[Output]:
        trades = wire.trades(symbol, told.data, at)
        if told.kind == "te":
            self._early |= {trade.trade_id: None for trade in trades}
            if len(self._early) > EARLY:
                del self._early[next(iter(self._early))]
        elif told.kind == "tu":
            return [trade for trade in trades if self._early.pop(trade.trade_id, self) is self]
        return trades

    def _on_candles(self, market: tuple[str, str], told: wire.Told, at: Nanos) -> Sequence[Output]:
        return self._newest.told(wire.candles(market, told.data, at))

    def _on_book(self, book: _Book, told: wire.Told, at: Nanos) -> Sequence[Output]:
        out = book.check(told, at) if told.kind == "cs" else book.take(told, at, checked=self._checked)
        if book.due(at):
            return *out, Send(f'{{"event":"unsubscribe","chanId":{told.channel}}}')
        return out

    def _on_status(self, native: str, told: wire.Told, at: Nanos) -> list[Output]:
        events = wire.states(self.symbol(native), told.data, at)
        return [event for event in events if self.wants(event.symbol, CHANNELS[type(event)])]

    def _on_liquidations(self, told: wire.Told, at: Nanos) -> Sequence[Output]:
        rows = [(self.symbol(row.symbol), row) for row in wire.begun(told.data)]
        return [wire.liquidation(symbol, row, at) for symbol, row in rows if self.wants(symbol, Channel.LIQUIDATIONS)]


class _Book(OrderBook):
    """A book whose changes are told together, once they passed the checksum that ends them."""

    def __init__(self, exchange: str, symbol: str, plan: BookPlan) -> None:
        super().__init__(exchange, symbol, plan)
        self._held: list[wire.Row] = []

    def take(self, told: wire.Told, at: Nanos, *, checked: bool) -> Sequence[Event]:
        """Take the whole book, which the first of many rows is, or changes; without checksums they are told at once."""
        rows = wire.levels(told.data)
        if not self.standing:
            return self.replace(*wire.sides(rows), told.stamp, at) if wire.is_many(told.data) else ()
        self._held += rows
        return () if checked and len(self._held) < HELD else self._release(told.stamp, at)

    def check(self, told: wire.Told, at: Nanos) -> Sequence[Event | Missed]:
        """Take the checksum of everything before it."""
        wanted, events = wire.number.decode(told.data), self._release(told.stamp, at)
        if not self.standing or wire.checksum(self.bids(wire.CHECKED), self.asks(wire.CHECKED)) == wanted:
            return events
        self.fall()
        return (Missed(self.symbol, Channel.BOOK, "the checksum of the order book is another"),)

    def _release(self, stamp: Nanos | None, at: Nanos) -> Sequence[Event]:
        rows, self._held = self._held, []
        return self.change(*wire.sides(rows), stamp, at) if rows else ()


def _topic(item: Subscription) -> Topic | None:
    """The topic of a subscription; None where its market lacks the channel."""
    match item.channel:
        case Channel.TRADES | Channel.TICKER | Channel.BOOK | Channel.CANDLES:
            return item.channel.value, item.native
        case Channel.FUNDING | Channel.OPEN_INTEREST if item.native.endswith(wire.FUTURE):
            return "status", f"deriv:{item.native}"
        case Channel.LIQUIDATIONS:
            return LIQUIDATIONS
    return None


def _on_ticker(symbol: str, told: wire.Told, at: Nanos) -> Sequence[Output]:
    return (wire.ticker(symbol, told.data, told.stamp, at),)
