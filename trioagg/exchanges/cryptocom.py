"""Crypto.com Exchange v1: spot and perpetual contracts under one name.

Documentation: "Websocket Market Data Subscriptions", "REST Market Data" and "Rate Limits" of the Exchange API v1.

- Trades come as ``trade.NAME``; ``s`` is the taker's side, ``tn`` the time in nanoseconds. Their id is the match id
  ``m``, or the unique ``d`` where no ``m`` is sent. Nothing counts them, so only REST's pages by time tell of a loss.
  The first frame replays recent trades.
- ``ticker.NAME`` has everything of a ticker, and the open interest; REST's tickers lack the sizes.
- ``book.NAME.50`` is a snapshot and then what changed; each change names by ``pu`` the number ``u`` of the message
  before it, an idle one its own. Another one begins the channel anew. Of the checksum nobody told how it is made.
- Candles have no mark of being closed: one is, once a later one has come. The first frame holds history.
- ``funding.NAME`` is an hourly rate, charged each hour. Liquidations are not public.
- Perpetuals quote USD and are settled in it: ``BTCUSD-PERP`` is ``BTC/USD:USD``. Dated futures are not listed.
- The exchange asks for a sign of life every 30 s, which is answered with its own id.
- Books, tickers and others acknowledge a subscription each in their own way or not at all; data may carry the request's
  id. Errors name the channel. A refusal for haste, likely in the very second of connecting, replaces the connection.
- Read from REST: get-trades, get-candlestick, get-tickers, get-valuations of ``funding_rate``, get-instruments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import ClassVar

import msgspec

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
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _cryptocom as wire
from trioagg.exchanges._books import ChainedBook
from trioagg.exchanges._cryptocom import Bar, Deal, Result, sized
from trioagg.exchanges._numbers import EXACT, positive, quantities, trade_id
from trioagg.exchanges._records import Newest, asked, candle, known, unused
from trioagg.exchanges._times import length, nanos
from trioagg.model import Candle, Channel, Funding, Instrument, Nanos, OpenInterest, Side, Ticker, Trade

PER_MESSAGE = 100  # channels in one subscription
PAGE, WINDOW = 150, 7 * 86_400_000_000_000  # trades in one answer, and the longest time that one may ask for
MILLI = 1_000_000
HASTE, PAUSE = 42901, 1.0  # the code, and seconds: limits are per second
ONE = Decimal(1)

Route = Callable[[Result, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Crypto.com's market data."""

    name = "cryptocom"
    rest_url = "https://api.crypto.com"
    ws_url = "wss://stream.crypto.com"
    streamed = frozenset(Channel) - {Channel.LIQUIDATIONS}
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(wire.STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.OVERLAP,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=400, sends=2, weight=100, window=1)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._sizes = {item.native: item.contract_size for item in feed.instruments}
        self._streams = dict.fromkeys(wire.stream(item, feed) for item in feed.subscriptions if wire.offered(item))
        self._numbers = count(1)
        self._newest = Newest()
        self._books: dict[str, ChainedBook] = {}
        self._routes: dict[str, Route] = {
            "trade": self._on_trades,
            "ticker": self._on_tickers,
            "book": self._on_books,
            "book.update": self._on_updates,
            "candlestick": self._on_candles,
            "funding": self._on_funding,
            **dict.fromkeys(wire.UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/exchange/v1/public/get-instruments"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return wire.instruments(wire.result(wire.frames.decode(body)).data)

    @classmethod
    def native(cls, symbol: str) -> str:
        return wire.native(symbol)

    @classmethod
    def unified(cls, native: str) -> str:
        return wire.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        return super().connections([item for item in subscriptions if wire.offered(item)])

    def begin(self) -> Iterable[Action]:
        yield Connect("/exchange/v1/market")

    def opened(self) -> Iterable[Action]:
        streams = list(self._streams)
        for start in range(0, len(streams), PER_MESSAGE):
            yield wire.request(next(self._numbers), "subscribe", streams[start : start + PER_MESSAGE])

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frames.decode(frame)
        if told.code or told.result is None:
            return _reply(told)
        result = told.result
        if (route := self._routes.get(result.channel)) is None:
            raise WireError(f"unknown message kind {result.channel[:40]!r}")
        if self._streams and result.subscription not in self._streams:
            return ()
        return route(result, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        told = wire.frames.decode(body)
        if told.code == HASTE:
            raise RateLimited(f"{told.message[:200]} ({told.code})", PAUSE)
        match path.removeprefix("/exchange/v1/public/"):
            case "get-trades":
                return self._on_trades(wire.result(told), at)
            case "get-tickers":
                return self._on_tickers(wire.result(told), at)
            case "get-candlestick":
                return self._rest_candles(wire.result(told), at)
            case "get-valuations" if query.get("valuation_type") == "funding_rate":
                return self._on_funding(wire.result(told), at)
            case path if path == "get-valuations" or path in wire.UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        """The latest page; its end is exclusive, and older trades bear no more than their millisecond."""
        end = hole.until + MILLI
        span = f"start_ts={max(hole.since, end - WINDOW)}&end_ts={end}"
        return Fetch(f"/exchange/v1/public/get-trades?instrument_name={hole.native}&count={PAGE}&{span}")

    def _size(self, native: str) -> Decimal:
        return self._sizes.get(native, ONE)

    def _on_trades(self, result: Result, at: Nanos) -> Sequence[Output]:
        return [self._trade(row, at) for row in wire.deals.decode(result.data)]

    def _trade(self, row: Deal, at: Nanos) -> Trade:
        positive(row.p, row.q)
        amount = EXACT.multiply(row.q, self._size(row.i))
        side: Side = "buy" if row.s == "BUY" else "sell"
        return Trade(
            "cryptocom",
            self.symbol(row.i),
            trade_id(row.m or row.d),
            row.p,
            amount,
            side,
            nanos(row.t if row.tn is None else row.tn),
            at,
        )

    def _on_tickers(self, result: Result, at: Nanos) -> Sequence[Output]:
        """Tickers, and the open interest of perpetuals, of those that are wanted."""
        out: list[Output] = []
        for row in wire.ticks.decode(result.data):
            quantities(row.a, row.b, row.bs, row.k, row.ks, row.v, row.oi)
            symbol, size, stamp = self.symbol(row.i), self._size(row.i), nanos(row.t)
            bid_size, ask_size, held = sized(row.bs, size), sized(row.ks, size), sized(row.oi, size)
            if self.wants(symbol, Channel.TICKER):
                out.append(Ticker("cryptocom", symbol, row.b, bid_size, row.k, ask_size, row.a, row.v, stamp, at))
            if held is not None and ":" in symbol and self.wants(symbol, Channel.OPEN_INTEREST):
                out.append(OpenInterest("cryptocom", symbol, held, stamp, at))
        return out

    def _on_books(self, result: Result, at: Nanos) -> Sequence[Output]:
        book, size = self._book(result), self._size(result.instrument_name)
        return [event for told in wire.wholes.decode(result.data) for event in book.begin(wire.whole(told, size), at)]

    def _on_updates(self, result: Result, at: Nanos) -> Sequence[Output]:
        book, size, out = self._book(result), self._size(result.instrument_name), list[Output]()
        for told in wire.updates.decode(result.data):
            out += book.follow(wire.change(told, size), at)
        return [*out, *self._anew(result.subscription)] if book.due(at) else out

    def _book(self, result: Result) -> ChainedBook:
        name = result.subscription
        if name not in self._books:
            symbol = self.symbol(result.instrument_name)
            self._books[name] = ChainedBook("cryptocom", symbol, self.feed.book, depth=result.depth)
        return self._books[name]

    def _anew(self, stream: str) -> list[Send]:
        """Ask for a channel from its beginning, which is a snapshot."""
        return [wire.request(next(self._numbers), method, [stream]) for method in ("unsubscribe", "subscribe")]

    def _on_candles(self, result: Result, at: Nanos) -> Sequence[Output]:
        """All that came, and before them the one that they close."""
        rows = wire.bars.decode(result.data)
        return self._newest.told([self._candle(result, row, at, closed=False) for row in rows])

    def _rest_candles(self, result: Result, at: Nanos) -> Sequence[Output]:
        over = at - length(known(result.interval, wire.INTERVALS, "interval"))
        rows = wire.bars.decode(result.data)
        return [self._candle(result, row, at, closed=nanos(row.t) <= over) for row in rows]

    def _candle(self, result: Result, row: Bar, at: Nanos, *, closed: bool) -> Candle:
        market = self.symbol(result.instrument_name), known(result.interval, wire.INTERVALS, "interval")
        prices = (row.open, row.high, row.low, row.close)
        return candle("cryptocom", market, nanos(row.t), prices=prices, volume=row.volume, closed=closed, at=at)

    def _on_funding(self, result: Result, at: Nanos) -> Sequence[Output]:
        symbol, points = self.symbol(result.instrument_name), wire.points.decode(result.data)
        quantities(*(abs(point.v) for point in points))
        return [Funding("cryptocom", symbol, point.v, None, None, None, nanos(point.t), at) for point in points]


def _reply(told: wire.Frame) -> Sequence[Output]:
    """What a message without data means; channels refused for haste would stay unsubscribed, so all begins anew."""
    if told.code == HASTE:
        return (Retire(f"{told.message[:200]} ({told.code})"),)
    if told.code:
        return (Refused(f"{told.channel[:80] or f'request {told.id}'}: {told.message[:200]} ({told.code})"),)
    match told.method:
        case "public/heartbeat":
            answer = {"id": told.id, "method": "public/respond-heartbeat"}
            return (Send(msgspec.json.encode(answer).decode()),)
        case "subscribe":
            return (Ack(told.channel or f"request {told.id}"),)
        case "unsubscribe":
            return ()
    raise WireError(f"unknown message kind {told.method[:40]!r}")
