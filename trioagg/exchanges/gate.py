"""Gate spot.

Documentation: "Spot WebSocket v4" (trades, tickers, book ticker, candlesticks) and "Spot" of "API v4" on gate.com.

- Trades are numbered +1 per market in ``id_market``, which REST calls ``sequence_id``; their ``id`` is shared by all
  markets and stands in where an old message has no other.
- ``create_time_ms`` is text, milliseconds with a fraction. The side is the taker's.
- A subscription bears the time and is refused when that is a minute off, so REST is asked for the exchange's time
  first. One request names one market, since a bad one may fail all that are named beside it.
- The best bid and ask come without last price and volume, which are merged from REST's tickers, as long as those are
  fresh. An empty side comes as ``""``.
- ``spot.order_book_update`` tells changes of the 100 best levels every 100 ms; each follows the one before by ``U`` and
  ``u``, the first one a snapshot of REST, which tells its ``id`` on request alone. One that is ``full`` is all of it.
- Candles: ``a`` is the base volume, ``v`` the quote's. ``w`` marks the end, but may never come: a candle is also closed
  once a later one has come. REST's columns are start, quote volume, close, high, low, open, base volume, closed.
- The announcement of an upgrade names no channel. The exchange pings by itself.
- Since 2026-08 some markets share an order book; their trades keep the market that they were subscribed under.
- REST's ``trades`` are told by seconds, 1,000 a page, the newest first; ``sequence_id`` tells those that were missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from msgspec import Raw

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
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
)
from trioagg.exchanges import _gate as wire
from trioagg.exchanges._books import Change, JoinedBook
from trioagg.exchanges._records import Newest, asked, unused
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Instrument, Nanos, Ticker

SECOND = 1_000_000_000
CROWD = 10  # markets beyond which one request for all tickers is better than one for each
CLOCK = Fetch("/api/v4/spot/time")
BOOK = "/api/v4/spot/order_book"
DEPTH = 100  # levels of a side that the changes tell of
STREAMS = {
    Channel.TRADES: "spot.trades",
    Channel.TICKER: "spot.book_ticker",
    Channel.BOOK: "spot.order_book_update",
    Channel.CANDLES: "spot.candlesticks",
}
UNUSED = "spot.pong spot.order_book spot.obu spot.trades_v2 spot.book_ticker_v2 spot.candlesticks_v2".split()
"""Kinds that are known and not collected."""
UNUSED_PATHS = ("currencies", "currency_pairs", "fee")

Route = Callable[[Raw, Nanos | None, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Gate's spot markets, or the polling of their tickers."""

    name = "gate"
    rest_url = "https://api.gateio.ws"
    ws_url = "wss://api.gateio.ws"
    streamed = frozenset(STREAMS)
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=100, sends=10, weight=200, window=10)
    clock = CLOCK
    joined = (BOOK,)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._clock = 0
        self._newest = Newest()
        self._books: dict[str, JoinedBook] = {}
        self._routes: dict[str, Route] = {
            "spot.trades": self._on_trade,
            "spot.book_ticker": self._on_quote,
            "spot.tickers": self._on_day,
            "spot.order_book_update": self._on_book,
            "spot.candlesticks": self._on_candle,
            **dict.fromkeys(UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v4/spot/currency_pairs"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        wire.check(body)
        return [wire.instrument(pair) for pair in wire.rest_pairs.decode(body)]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.upper().replace("/", "_")

    @classmethod
    def unified(cls, native: str) -> str:
        base, _, quote = native.rpartition("_")
        return f"{base}/{quote}" if base and quote else native

    def symbol(self, native: str) -> str:
        if not native:
            raise WireError("no market is named")
        return super().symbol(native)

    def polls(self) -> Iterable[Fetch]:
        paths = [f"/api/v4/spot/tickers?currency_pair={native}" for native in self.natives(Channel.TICKER)]
        for path in paths if len(paths) <= CROWD else ["/api/v4/spot/tickers"]:
            yield Fetch(path, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield CLOCK

    def opened(self) -> Iterable[Action]:
        for number, item in enumerate(self.feed.subscriptions, 1):
            interval = wire.SPELLED.get(self.feed.candle, self.feed.candle)
            payloads = {Channel.CANDLES: [interval, item.native], Channel.BOOK: [item.native, "100ms"]}
            yield Send(self._request(number, STREAMS[item.channel], payloads.get(item.channel, [item.native])))

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.envelope.decode(frame)
        if told.event == "update":
            if route := self._routes.get(told.channel):
                return route(told.result, told.time_ms, at)
            raise WireError(f"unknown message kind {told.channel[:40]!r}")
        if told.type == "upgrade":
            return (Retire(told.msg[:200]),)
        return _reply(told)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        wire.check(body)
        match path.removeprefix("/api/v4/spot/"):
            case "time":
                self._clock = self.time(body) // SECOND
                return (Connect("/ws/v4/"),)
            case "tickers":
                days = [(self.symbol(day.currency_pair), day) for day in wire.rest_days.decode(body)]
                return [self._ticker(s, day, None, at=at) for s, day in days if self.wants(s, Channel.TICKER)]
            case "order_book":
                return self._rest_book(query.get("currency_pair", ""), wire.rest_book.decode(body), at)
            case "trades":
                trades = sorted(wire.rest_trades.decode(body), key=lambda t: (t.create_time_ms, t.id))
                return [wire.traded(self.symbol(t.currency_pair), t, t.sequence_id, at) for t in trades]
            case "candlesticks":
                market = self.symbol(query.get("currency_pair", "")), wire.interval_of(query.get("interval", "30m"))
                return [wire.rest_candle(market, row, at) for row in wire.rest_candles.decode(body)]
            case path if path.partition("/")[0] in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        since, until = hole.since // SECOND, hole.until // SECOND + 1
        market = f"currency_pair={hole.native}"
        return Fetch(f"/api/v4/spot/trades?{market}&from={since}&to={until}&limit=1000")

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.rest_time.decode(body).server_time)

    def _request(self, number: int, channel: str, payload: Sequence[str]) -> str:
        head = {"time": self._clock, "id": number, "channel": channel}
        text: bytes = msgspec.json.encode({**head, "event": "subscribe", "payload": payload})
        return text.decode()

    def _on_trade(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        t = wire.trade.decode(data)
        symbol = self.symbol(t.currency_pair)
        return (wire.traded(symbol, t, t.id_market, at),) if self.wants(symbol, Channel.TRADES) else ()

    def _on_quote(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        q = wire.quote.decode(data)
        symbol = self.symbol(q.s)
        if not self.wants(symbol, Channel.TICKER):
            return ()
        sides = (wire.figure(q.b), wire.figure(q.B), wire.figure(q.a), wire.figure(q.A))
        return (Ticker("gate", symbol, *sides, *self.daily(symbol, at), nanos(q.t), at),)

    def _on_day(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        day, stamp = wire.day.decode(data), None if sent is None else nanos(sent)
        return () if self.feed.subscriptions else (self._ticker(self.symbol(day.currency_pair), day, stamp, at=at),)

    def _ticker(self, symbol: str, day: wire.Day, stamp: Nanos | None, *, at: Nanos) -> Ticker:
        bid = (wire.figure(day.highest_bid), wire.figure(day.highest_size))
        ask = (wire.figure(day.lowest_ask), wire.figure(day.lowest_size))
        last, volume = wire.figure(day.last), wire.figure(day.base_volume)
        if last is not None and volume is not None:
            self.feed.board[symbol] = Daily(last, volume, at)
        return Ticker("gate", symbol, *bid, *ask, last, volume, stamp, at)

    def _on_book(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        told = wire.depth.decode(data)
        symbol = self.symbol(told.s)
        if not self.wants(symbol, Channel.BOOK):
            return ()
        book, stamp = self._book(symbol), nanos(told.t)
        if told.full:
            return book.join(told.u, told.b, told.a, stamp=stamp, at=at)
        if told.U is None:
            raise WireError("changes that do not name their first number")
        out = book.step(Change(told.U - 1, told.u, told.b, told.a, stamp), at)
        if book.due(at):
            return *out, Fetch(f"{BOOK}?currency_pair={told.s}&limit={DEPTH}&with_id=true")
        return out

    def _book(self, symbol: str) -> JoinedBook:
        if symbol not in self._books:
            self._books[symbol] = JoinedBook("gate", symbol, self.feed.book, depth=DEPTH)
        return self._books[symbol]

    def _rest_book(self, native: str, told: wire.RestBook, at: Nanos) -> Sequence[Output]:
        symbol = self.symbol(native)
        if told.id is None or not self.wants(symbol, Channel.BOOK):
            return ()
        return self._book(symbol).join(told.id, told.bids, told.asks, stamp=nanos(told.update), at=at)

    def _on_candle(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        """The newest state of one; the one that it follows is told again, closed, unless its end was marked."""
        row = wire.candle.decode(data)
        symbol = self.symbol(row.n.partition("_")[2])
        if not self.wants(symbol, Channel.CANDLES):
            return ()
        new = wire.streamed_candle(symbol, row, at)
        before, states = self._newest.get((symbol, new.interval)), self._newest.told([new])
        return states[-1:] if before and before.closed else states


def _reply(told: wire.Envelope) -> Sequence[Output]:
    """The answer to a request: an error first, since it may come under any event."""
    named = told.payload if isinstance(told.payload, list) else [told.payload or ""]
    what = " ".join([told.channel, *named]).strip() or "request"
    if told.error:
        return (Refused(f"{what}: {told.error.message[:200]} ({told.error.code})"),)
    if told.channel in UNUSED and not told.event:
        return ()
    if told.event not in ("subscribe", "unsubscribe"):
        raise WireError(f"unknown message kind {(told.event or told.channel or told.type)[:40]!r}")
    if b'"fail"' in bytes(told.result):
        return (Refused(f"{what}: no reason given"),)
    return (Ack(f"{told.event} {what}"),)
