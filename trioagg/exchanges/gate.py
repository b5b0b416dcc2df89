"""Gate spot.

Documentation: "Spot WebSocket v4" (trades, tickers, book ticker, candlesticks) and "Spot" of "API v4" on gate.com.

- Trades are numbered +1 per market in ``id_market``, which REST calls ``sequence_id``; their ``id`` is shared by all
  markets and stands in where an old message has no other.
- ``create_time_ms`` is text, milliseconds with a fraction. The side is the taker's.
- A subscription bears the time and is refused when that is a minute off, so REST is asked for the exchange's time
  first. One request names one market, since a bad one may fail all that are named beside it.
- The best bid and ask come without last price and volume, which are merged from REST's tickers, as long as those are
  fresh. An empty side comes as ``""``.
- Candles: ``a`` is the base volume, ``v`` the quote's. ``w`` marks the end, but may never come: a candle is also closed
  once a later one has come. REST's columns are start, quote volume, close, high, low, open, base volume, closed.
- The announcement of an upgrade names no channel. The exchange pings by itself.
- Since 2026-08 some markets share an order book; their trades keep the market that they were subscribed under.

Understood of REST: ``trades`` (1,000 a page, by seconds), ``candlesticks``, ``tickers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from attrs import evolve
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
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
)
from trioagg.exchanges import _gate as wire
from trioagg.exchanges._numbers import nanos
from trioagg.model import Candle, Channel, Instrument, Nanos, Ticker

FRESH = 300 * 1_000_000_000  # ns for which REST's last price and volume may stand beside a newer best bid and ask
CROWD = 10  # markets beyond which one request for all tickers is better than one for each
CLOCK = "/api/v4/spot/time"
STREAMS = {Channel.TRADES: "spot.trades", Channel.TICKER: "spot.book_ticker", Channel.CANDLES: "spot.candlesticks"}
UNUSED = (
    "spot.pong spot.order_book spot.order_book_update spot.obu spot.trades_v2 spot.book_ticker_v2 spot.candlesticks_v2"
).split()
"""Kinds that are known and not collected."""
UNUSED_PATHS = ("order_book", "currencies", "currency_pairs", "fee")

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
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=100, sends=10, weight=200, window=10)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {item.native: item.symbol for item in feed.subscriptions}
        self._symbols |= {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._asked = {(STREAMS[item.channel], item.native) for item in feed.subscriptions if item.channel in STREAMS}
        self._clock = 0
        self._newest: dict[tuple[str, str], Candle] = {}
        self._routes: dict[str, Route] = {
            "spot.trades": self._on_trade,
            "spot.book_ticker": self._on_quote,
            "spot.tickers": self._on_day,
            "spot.candlesticks": self._on_candle,
            **dict.fromkeys(UNUSED, self._unused),
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

    def polls(self) -> Iterable[Fetch]:
        natives = [item.native for item in self.feed.subscriptions if item.channel is Channel.TICKER]
        paths = [f"/api/v4/spot/tickers?currency_pair={native}" for native in natives]
        for path in paths if len(paths) <= CROWD else ["/api/v4/spot/tickers"]:
            yield Fetch(path, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Fetch(CLOCK)

    def opened(self) -> Iterable[Action]:
        for number, item in enumerate(self.feed.subscriptions, 1):
            payload = [item.native]
            if item.channel is Channel.CANDLES:
                payload.insert(0, wire.SPELLED.get(self.feed.candle, self.feed.candle))
            yield Send(self._request(number, STREAMS[item.channel], payload))

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
        url = urlsplit(fetch.path)
        query = dict(parse_qsl(url.query))
        wire.check(body)
        match url.path.removeprefix("/api/v4/spot/"):
            case "time":
                self._clock = nanos(wire.rest_time.decode(body).server_time) // 1_000_000_000
                return (Connect("/ws/v4/"),)
            case "tickers":
                asked = [day for day in wire.rest_days.decode(body) if self._wanted(Channel.TICKER, day.currency_pair)]
                return [self._ticker(day, None, at) for day in asked]
            case "trades":
                trades = sorted(wire.rest_trades.decode(body), key=lambda t: (t.create_time_ms, t.id))
                return [wire.traded(self._symbol(t.currency_pair), t, t.sequence_id, at) for t in trades]
            case "candlesticks":
                symbol = self._symbol(query.get("currency_pair", ""))
                interval = wire.interval_of(query.get("interval", "30m"))
                return [wire.rest_candle(symbol, interval, row, at) for row in wire.rest_candles.decode(body)]
            case path if path.partition("/")[0] in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def _request(self, number: int, channel: str, payload: Sequence[str]) -> str:
        head = {"time": self._clock, "id": number, "channel": channel}
        text: bytes = msgspec.json.encode({**head, "event": "subscribe", "payload": payload})
        return text.decode()

    def _symbol(self, native: str) -> str:
        if native not in self._symbols:
            if not native:
                raise WireError("no market is named")
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _wanted(self, channel: Channel, native: str) -> bool:
        return not self._asked or (STREAMS[channel], native) in self._asked

    def _on_trade(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        t = wire.trade.decode(data)
        if not self._wanted(Channel.TRADES, t.currency_pair):
            return ()
        return (wire.traded(self._symbol(t.currency_pair), t, t.id_market, at),)

    def _on_quote(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        q = wire.quote.decode(data)
        if not self._wanted(Channel.TICKER, q.s):
            return ()
        symbol = self._symbol(q.s)
        day = self.feed.board.get(symbol)
        last, volume = (day.last, day.volume) if day and at - day.at < FRESH else (None, None)
        sides = (wire.number(q.b), wire.number(q.B), wire.number(q.a), wire.number(q.A))
        return (Ticker("gate", symbol, *sides, last, volume, nanos(q.t), at),)

    def _on_day(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        day = wire.day.decode(data)
        return () if self._asked else (self._ticker(day, None if sent is None else nanos(sent), at),)

    def _ticker(self, day: wire.Day, stamp: Nanos | None, at: Nanos) -> Ticker:
        symbol = self._symbol(day.currency_pair)
        bid = (wire.number(day.highest_bid), wire.number(day.highest_size))
        ask = (wire.number(day.lowest_ask), wire.number(day.lowest_size))
        last, volume = wire.number(day.last), wire.number(day.base_volume)
        if last is not None and volume is not None:
            self.feed.board[symbol] = Daily(last, volume, at)
        return Ticker("gate", symbol, *bid, *ask, last, volume, stamp, at)

    def _on_candle(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        """The newest state of one; the one that it follows is told again, closed."""
        row = wire.candle.decode(data)
        native = row.n.partition("_")[2]
        if not self._wanted(Channel.CANDLES, native):
            return ()
        new = wire.streamed_candle(self._symbol(native), row, at)
        before = self._newest.setdefault((new.symbol, new.interval), new)
        if new.open_time < before.open_time:
            return (evolve(new, closed=True),)
        self._newest[new.symbol, new.interval] = new
        ended = before.open_time < new.open_time and not before.closed
        return (evolve(before, closed=True, received=at), new) if ended else (new,)

    def _unused(self, data: Raw, sent: int | None, at: Nanos) -> Sequence[Output]:
        return ()


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
