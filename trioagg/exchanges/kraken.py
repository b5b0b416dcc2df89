"""Kraken spot.

Documentation: "WebSocket v2" (trade, ticker, book, "Book Checksum", ohlc, status, heartbeat, ping) and "Market Data" of
the Spot REST API (AssetPairs, Ticker, Trades, OHLC) on docs.kraken.com.

- The WebSocket spells ``BTC/USD`` as everyone does. REST has three more spellings of the same market: ``XBT/USD``
  (wsname), ``XBTUSD`` (altname) and ``XXBTZUSD`` (the key of its answers, which may differ from what was asked for).
- Trades are numbered +1 per market; the documentation promises a sequence, one sample of it shows holes. The newest 50
  come again on subscribing, which closes short gaps.
- Numbers are JSON numbers with every digit, times are RFC 3339. One acknowledgement comes per market.
- Each message of a book carries a checksum over its ten best levels, which needs every digit as it was sent; a level
  that falls out of the depth subscribed to is not told. A book that fails it is unsubscribed from and begun anew.
- Candles bear no mark of their end: one is closed when the next of its market comes. REST tells: up to ``last``.
- REST answers errors with HTTP 200; ``EService: Throttled`` names the second until which to be silent.
- A heartbeat comes every second without data, so none is owed to the exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from msgspec import Raw

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Limits,
    Missed,
    Output,
    Proof,
    Refused,
    Send,
)
from trioagg.exchanges import _kraken as wire
from trioagg.exchanges._books import OrderBook
from trioagg.exchanges._kraken import altname, unified
from trioagg.exchanges._numbers import plain, positive, quantities
from trioagg.exchanges._records import Newest, asked
from trioagg.exchanges._times import rfc3339, seconds
from trioagg.model import Channel, Instrument, Nanos, Ticker, Trade

PER_MESSAGE = 100  # markets named in one subscription, or in one request

DEPTHS = (10, 25, 100, 500, 1000)
CHECKED = 10  # levels of a side that a checksum covers

SILENCES = {
    "Too many requests": 15.0,
    "Rate limit exceeded": 15.0,
    "Throttled": 15.0,
    "Temporary lockout": 900.0,
    "EService:": 5.0,
}  # errors that pass, and the seconds to leave the exchange alone where it names none

REQUESTS: Mapping[Channel, Mapping[str, object]] = {
    Channel.TRADES: {"channel": "trade"},
    Channel.TICKER: {"channel": "ticker", "event_trigger": "bbo"},
    Channel.BOOK: {"channel": "book"},
    Channel.CANDLES: {"channel": "ohlc"},
}
UNUSED = ("heartbeat", "status", "instrument", "level3")  # known and not collected
UNUSED_PATHS = ("Time", "SystemStatus", "Assets", "AssetPairs", "Depth", "GroupedBook", "Spread")


class Adapter(Exchange):
    """One connection to Kraken's public stream, or the polling of its tickers."""

    name = "kraken"
    rest_url = "https://api.kraken.com"
    ws_url = "wss://ws.kraken.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.BOOK, Channel.CANDLES})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.CHECKSUM,
        Channel.CANDLES: Proof.OVERLAP,
    }
    clock = Fetch("/0/public/Time")
    limits = Limits(streams=500, sends=2, weight=5, window=5)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._newest = Newest()
        self._books: dict[str, OrderBook] = {}
        self._depth = next((depth for depth in DEPTHS if depth >= feed.book.levels), DEPTHS[-1])
        self._routes: Mapping[str, Callable[[wire.Envelope, Nanos], Sequence[Output]]] = {
            "trade": self._on_trades,
            "ticker": self._on_tickers,
            "book": self._on_books,
            "ohlc": self._on_candles,
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/0/public/AssetPairs"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        pairs = [wire.rest_pair.decode(raw) for raw in _result(body).values()]
        return [wire.instrument(pair) for pair in pairs if "/" in pair.wsname]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return unified(native)

    def polls(self) -> Iterable[Fetch]:
        natives = self.natives(Channel.TICKER)
        for start in range(0, len(natives), PER_MESSAGE):
            pairs = ",".join(altname(native) for native in natives[start : start + PER_MESSAGE])
            yield Fetch(f"/0/public/Ticker?pair={pairs}", every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Connect("/v2")

    def opened(self) -> Iterable[Action]:
        for number, params in enumerate(self._requests(), 1):
            request = {"method": "subscribe", "params": params, "req_id": number}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        envelope = wire.envelope.decode(frame)
        if route := self._routes.get(envelope.channel):
            return route(envelope, at)
        if envelope.channel in UNUSED:
            return ()
        if envelope.channel:
            raise WireError(f"unknown message kind {envelope.channel[:40]!r}")
        return _reply(envelope)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        _silence(body, at)
        result = _result(body)
        last = result.pop("last", Raw())
        rows = [(unified(query.get("pair", key)), raw) for key, raw in result.items()]
        match path.removeprefix("/0/public/"):
            case "Ticker":
                found = [(unified(key), raw) for key, raw in result.items()]
                ours = [(symbol, raw) for symbol, raw in found if self.wants(symbol, Channel.TICKER)]
                return [wire.rest_day(symbol, wire.rest_ticker.decode(raw), at) for symbol, raw in ours]
            case "Trades":
                return [
                    wire.rest_trade(symbol, row, at) for symbol, raw in rows for row in wire.rest_trades.decode(raw)
                ]
            case "OHLC":
                newest, interval = wire.integer.decode(last), wire.interval(query.get("interval", "1"))
                return [
                    wire.candle((symbol, interval), wire.moment(row.time), row, closed=row.time <= newest, at=at)
                    for symbol, raw in rows
                    for row in wire.rest_candles.decode(raw)
                ]
            case path if path in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        return Fetch(f"/0/public/Trades?pair={altname(hole.native)}&since={hole.since - 1}&count=1000")

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return seconds(wire.clock.decode(body).result.unixtime)

    def _requests(self) -> Iterable[dict[str, object]]:
        for channel, request in REQUESTS.items():
            natives = self.natives(channel)
            for start in range(0, len(natives), PER_MESSAGE):
                some = natives[start : start + PER_MESSAGE]
                yield {**request, **self._detail(channel), "symbol": some, "snapshot": True}

    def _detail(self, channel: Channel) -> dict[str, object]:
        match channel:
            case Channel.CANDLES:
                return {"interval": wire.MINUTES[self.feed.candle]}
            case Channel.BOOK:
                return {"depth": self._depth}
        return {}

    def _on_trades(self, message: wire.Envelope, at: Nanos) -> Sequence[Output]:
        out = []
        for t in wire.trades.decode(message.data):
            if self.wants(symbol := self.symbol(t.symbol), Channel.TRADES):
                positive(t.price, t.qty)
                out.append(Trade("kraken", symbol, t.trade_id, t.price, t.qty, t.side, rfc3339(t.timestamp), at))
        return out

    def _on_tickers(self, message: wire.Envelope, at: Nanos) -> Sequence[Output]:
        out = []
        for t in wire.tickers.decode(message.data):
            if self.wants(symbol := self.symbol(t.symbol), Channel.TICKER):
                prices = (t.bid, t.bid_qty, t.ask, t.ask_qty, t.last, t.volume)
                quantities(*prices)
                stamp = None if t.timestamp is None else rfc3339(t.timestamp)
                out.append(Ticker("kraken", symbol, *prices, stamp, at))
        return out

    def _on_books(self, message: wire.Envelope, at: Nanos) -> Sequence[Output]:
        told = [(self.symbol(book.symbol), book) for book in wire.books.decode(message.data)]
        whole = message.type == "snapshot"
        ours = [(symbol, book) for symbol, book in told if self.wants(symbol, Channel.BOOK)]
        return [out for symbol, book in ours for out in self._on_book(symbol, book, at, whole=whole)]

    def _on_book(self, symbol: str, told: wire.Book, at: Nanos, *, whole: bool) -> Sequence[Output]:
        if symbol not in self._books:
            self._books[symbol] = OrderBook("kraken", symbol, self.feed.book, depth=self._depth)
        book = self._books[symbol]
        bids, asks = ([(level.price, level.qty) for level in side] for side in (told.bids, told.asks))
        stamp = None if told.timestamp is None else rfc3339(told.timestamp)
        events = (book.replace if whole else book.change)(bids, asks, stamp, at)
        if not book.standing:
            return self._anew(told.symbol) if book.due(at) else ()
        if told.checksum == wire.checksum(book.asks(CHECKED), book.bids(CHECKED)):
            return events
        book.fall()
        again = self._anew(told.symbol) if book.due(at) else []
        return [Missed(symbol, Channel.BOOK, "the checksum of the order book is another"), *again]

    def _anew(self, native: str) -> list[Send]:
        """Ask for a market's book from its beginning."""
        params = {"channel": "book", "depth": self._depth, "symbol": [native]}
        told = {"unsubscribe": params, "subscribe": {**params, "snapshot": True}}
        requests = [{"method": method, "params": details} for method, details in told.items()]
        return [Send(msgspec.json.encode(request).decode()) for request in requests]

    def _on_candles(self, message: wire.Envelope, at: Nanos) -> Sequence[Output]:
        """Each candle's newest state; those before a snapshot may be stale."""
        told = [(self.symbol(row.symbol), row) for row in wire.candles.decode(message.data)]
        states = [
            wire.candle((symbol, wire.interval(row.interval)), rfc3339(row.interval_begin), row, closed=False, at=at)
            for symbol, row in told
            if self.wants(symbol, Channel.CANDLES)
        ]
        if message.type == "snapshot":
            self._newest = Newest()
        return self._newest.told(states)


def _reply(reply: wire.Envelope) -> Sequence[Output]:
    if reply.error is not None:
        return (Refused(f"{reply.method or 'request'} {reply.symbol}: {reply.error[:200]}".replace(" :", ":")),)
    if reply.method == "pong":
        return ()
    if reply.method in ("subscribe", "unsubscribe") and reply.success and reply.result:
        return (Ack(f"{reply.method} {reply.result.channel} {reply.result.symbol}".rstrip()),)
    raise WireError(f"unknown message kind {reply.method[:40]!r}")


def _result(body: bytes) -> dict[str, Raw]:
    answer = wire.answer.decode(body)
    if errors := [error for error in answer.error if not error.startswith("W")]:  # those are warnings
        raise WireError(errors[0][:200])
    if not answer.result:
        raise WireError("an answer without a result")
    return answer.result


def _silence(body: bytes, at: Nanos) -> None:
    """Obey a demand for silence; one that names a unix time means until then, kept within bounds."""
    for error in wire.answer.decode(body).error:
        wait = next((wait for words, wait in SILENCES.items() if words in error), None)
        until = error.rpartition(":")[2].strip()
        if wait and plain(until):
            wait = min(max(int(until) - at / 1_000_000_000, 1.0), 900.0)
        if wait:
            raise RateLimited(error[:200], wait)
