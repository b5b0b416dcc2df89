"""Binance USD-M futures: perpetual contracts that are margined in a stablecoin.

Documentation: "Websocket Market Streams", "Market Data Endpoints" and "Error Codes" of "USDⓈ-M Futures" on
developers.binance.com.

- Trades come as ``<symbol>@aggTrade``: fills of one taker order at one price within 100 ms. Their id ``a`` is +1 per
  symbol without holes, and REST's ``aggTrades`` repairs by it for 48 hours. Raw trades have other ids, which REST tells
  only to those with a key: they are taken from a capture that has no aggregated ones, and never subscribed to.
- Streams live under two roots, ``/public`` (best bid and ask, books) and ``/market`` (all else). The wrong root
  acknowledges a subscription and stays silent; so a connection has streams of one root only.
- ``<symbol>@depth@100ms`` tells changes of the book; each names by ``pu`` the ``u`` of the one before, the first one
  lies across or follows a snapshot of REST that is asked for once the stream flows. The best levels alone
  (``@depth5`` and the like) look the same but for the stream's name.
- The day's ticker has no bid and ask, the best bid and ask have no last price and volume: REST is polled for both, and
  the stream's quotes are completed from what REST said last.
- Streams of all markets mix in coin-margined contracts since 2026-06: those say ``st`` 2 and are ignored.
- Liquidations are the latest one per symbol and second: incomplete by design. Open interest is REST's alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from trioagg.errors import WireError
from trioagg.exchanges import (
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
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _binance as spot
from trioagg.exchanges import _binanceusdm as wire
from trioagg.exchanges._books import Change, JoinedBook
from trioagg.exchanges._numbers import quantities
from trioagg.exchanges._records import asked, parted
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Instrument, Nanos, Ticker

ROOTS = ("public", "market")
IN_URL = 100  # streams named in the URL
LIFETIME = 23 * 3600 + 50 * 60.0  # the exchange closes a connection after 24 h
PER_MESSAGE = 200  # streams named in one SUBSCRIBE
EACH = 15  # symbols up to which asking for each one's ticker costs no more than asking for all
BOOK = "/fapi/v1/depth"
BEST_ALONE = re.compile("@(depth[0-9]|rpiDepth)")  # streams of books that are no changes, or of another book
QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "USD1", "BTC")

STREAMS = {
    Channel.TRADES: "aggTrade",
    Channel.TICKER: "bookTicker",
    Channel.BOOK: "depth@100ms",
    Channel.FUNDING: "markPrice@1s",
    Channel.LIQUIDATIONS: "forceOrder",
}

Handle = Callable[[Any, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One combined stream of one root, or one of the polled requests."""

    name = "binanceusdm"
    rest_url = "https://fapi.binance.com"
    ws_url = "wss://fstream.binance.com"
    streamed = frozenset({*STREAMS, Channel.CANDLES})
    polled = frozenset({Channel.TICKER, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
        Channel.LIQUIDATIONS: Proof.NOTHING,
    }
    limits = Limits(
        streams=1024, sends=8, weight=2400, window=60, used_header="x-mbx-used-weight-1m", lifetime=LIFETIME
    )
    clock = Fetch("/fapi/v1/time")
    joined = (BOOK,)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._streams = {name: _root(item) for item in feed.subscriptions if (name := self._stream(item))}
        self._books: dict[str, JoinedBook] = {}
        self._quoted: set[str] = set()
        self._raw: dict[str, bool] = {}
        self._handles: dict[type, Handle] = {
            wire.AggTrade: self._on_trade,
            wire.RawTrade: self._on_raw_trade,
            wire.Quote: self._on_quote,
            wire.Day: self._on_day,
            wire.Depth: self._on_depth,
            wire.Kline: self._on_kline,
            wire.Mark: self._on_mark,
            wire.Forced: self._on_forced,
            wire.Shutdown: self._on_shutdown,
            wire.RestDay: self._rest_day,
            wire.RestQuote: self._rest_quote,
            wire.RestMark: self._on_mark,
            wire.RestInterest: self._rest_interest,
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/fapi/v1/exchangeInfo"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        symbols = wire.rest_info.decode(body).symbols
        return [wire.instrument(symbol) for symbol in symbols if symbol.contract_type in wire.PERPETUAL]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.partition(":")[0].replace("/", "").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        pair = parted(native, QUOTES)
        return f"{'/'.join(pair)}:{pair[1]}" if pair else native

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        by_root = [[item for item in subscriptions if _root(item) == root] for root in ROOTS]
        return [some for items in by_root for some in super(Adapter, cls).connections(items)]

    def polls(self) -> Iterable[Fetch]:
        every = self.feed.interval
        quoted, held = self.natives(Channel.TICKER), self.natives(Channel.OPEN_INTEREST)
        if len(quoted) > EACH:
            yield Fetch("/fapi/v1/ticker/24hr", 40, every=every)
            yield Fetch("/fapi/v1/ticker/bookTicker", 5, every=every)
            quoted = []
        for native in quoted:
            yield Fetch(f"/fapi/v1/ticker/24hr?symbol={quote(native)}", 1, every=every)
            yield Fetch(f"/fapi/v1/ticker/bookTicker?symbol={quote(native)}", 2, every=every)
        for native in held:  # asked for one by one: all of them may cost half of what a minute allows
            yield Fetch(f"/fapi/v1/openInterest?symbol={quote(native)}", 1, every=max(every, len(held) / 20))

    def begin(self) -> Iterable[Action]:
        for root in ROOTS:
            if names := self._named(root):
                listed = "/".join(quote(name, safe="@") for name in names[:IN_URL])
                yield Connect(f"/{root}/stream?streams={listed}")

    def opened(self) -> Iterable[Action]:
        rest = [name for root in ROOTS for name in self._named(root)[IN_URL:]]
        for number, start in enumerate(range(0, len(rest), PER_MESSAGE), 1):
            request = {"method": "SUBSCRIBE", "params": rest[start : start + PER_MESSAGE], "id": number}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if isinstance(told, list):
            return self._all(told, at)
        if told.data is UNSET:
            return self._event(wire.event.decode(frame), at) if told.e else (spot.answer(spot.envelope.decode(frame)),)
        if self._uninvited(told.stream) and type(told.data) is not wire.Shutdown:
            return ()
        return self._all(told.data, at) if isinstance(told.data, list) else self._event(told.data, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        match path.removeprefix("/fapi/v1/").removeprefix("/fapi/v2/").removeprefix("/futures/data/"):
            case "depth":
                return self._rest_depth(query["symbol"], wire.rest_depth.decode(body), at)
            case "aggTrades":
                native, deals = query["symbol"], wire.rest_deals.decode(body)
                return [item for deal in deals for item in self._trade(native, deal.a, deal, at=at)]
            case "klines":
                market = self.symbol(query["symbol"]), query["interval"]
                return [wire.rest_candle(market, row, at) for row in spot.rest_candles.decode(body)]
            case path if rows := wire.rest_rows.get(path):
                return [item for row in wire.each(rows.decode(body)) for item in self._handles[type(row)](row, at)]
            case path if path in wire.UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        return Fetch(f"/fapi/v1/aggTrades?symbol={quote(hole.native)}&fromId={hole.first}&limit=1000", weight=20)

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(spot.rest_time.decode(body).serverTime)

    def _stream(self, subscription: Subscription) -> str:
        """The stream of a subscription; empty for what is polled alone."""
        if subscription.channel is Channel.CANDLES:
            return f"{subscription.native.lower()}@kline_{self.feed.candle}"
        kind = STREAMS.get(subscription.channel)
        return f"{subscription.native.lower()}@{kind}" if kind else ""

    def _named(self, root: str) -> list[str]:
        return sorted(name for name, where in self._streams.items() if where == root)

    def _uninvited(self, stream: str) -> bool:
        return stream not in self._streams if self._streams else bool(BEST_ALONE.search(stream))

    def _all(self, events: list[wire.Event], at: Nanos) -> Sequence[Output]:
        return [item for event in events for item in self._event(event, at)]

    def _event(self, event: wire.Event, at: Nanos) -> Sequence[Output]:
        handle = self._handles.get(type(event))
        return handle(event, at) if handle and event.st == 1 else ()

    def _on_trade(self, told: wire.AggTrade, at: Nanos) -> Sequence[Output]:
        return self._trade(told.s, told.a, told, at=at)

    def _on_raw_trade(self, told: wire.RawTrade, at: Nanos) -> Sequence[Output]:
        if self._streams or told.X != "MARKET":
            return ()
        return self._trade(told.s, told.t, told, at=at)

    def _trade(self, native: str, number: int, told: wire.Deal, *, at: Nanos) -> Sequence[Output]:
        trade = wire.trade(self.symbol(native), number, told, at=at)
        if self._raw.setdefault(trade.symbol, type(told) is wire.RawTrade) is not (type(told) is wire.RawTrade):
            return ()  # a capture may hold both kinds, and each has its own ids: the one that came first is taken
        return (trade,)

    def _on_quote(self, told: wire.Quote | wire.RestQuote, at: Nanos) -> Sequence[Output]:
        quantities(told.b, told.B, told.a, told.A)
        stamp, symbol = nanos(told.T), self.symbol(told.s)
        self._quoted.add(symbol)
        sides = (told.b, told.B, told.a, told.A)
        return (Ticker("binanceusdm", symbol, *sides, *self.daily(symbol, at), stamp, at),)

    def _on_day(self, told: wire.Day, at: Nanos) -> Sequence[Output]:
        """The day's figures, for the next quote; they make a row of their own only where no quotes come."""
        stamp, symbol = nanos(told.E), self._day(told, at)
        if symbol in self._quoted:
            return ()
        return (Ticker("binanceusdm", symbol, None, None, None, None, told.c, told.v, stamp, at),)

    def _day(self, told: wire.Day | wire.RestDay, at: Nanos) -> str:
        quantities(told.c, told.v)
        symbol = self.symbol(told.s)
        self.feed.board[symbol] = Daily(told.c, told.v, at)
        return symbol

    def _on_kline(self, told: wire.Kline, at: Nanos) -> Sequence[Output]:
        return (wire.candle(self.symbol(told.s), told.k, at),)

    def _on_depth(self, told: wire.Depth, at: Nanos) -> Sequence[Output]:
        symbol = self.symbol(told.s)
        if BEST_ALONE.search(self.feed.source) or not self.wants(symbol, Channel.BOOK):
            return ()
        book = self._book(symbol)
        out = book.step(Change(told.pu, told.u, told.b, told.a, nanos(told.T)), at)
        if book.due(at):
            return *out, Fetch(f"{BOOK}?symbol={quote(told.s)}&limit=1000", weight=20)
        return out

    def _book(self, symbol: str) -> JoinedBook:
        if symbol not in self._books:
            self._books[symbol] = JoinedBook("binanceusdm", symbol, self.feed.book)
        return self._books[symbol]

    def _on_mark(self, told: wire.Mark | wire.RestMark, at: Nanos) -> Sequence[Output]:
        return (wire.funding(self.symbol(told.s), told, at),) if told.r else ()

    def _on_forced(self, told: wire.Forced, at: Nanos) -> Sequence[Output]:
        return (wire.liquidation(self.symbol(told.o.s), told.o, at),) if told.o.X == "FILLED" else ()

    def _on_shutdown(self, told: wire.Shutdown, at: Nanos) -> Sequence[Output]:
        return (Retire("the exchange announced its shutdown"),)

    def _rest_day(self, told: wire.RestDay, at: Nanos) -> Sequence[Output]:
        if self.wants(self.symbol(told.s), Channel.TICKER):
            self._day(told, at)
        return ()

    def _rest_quote(self, told: wire.RestQuote, at: Nanos) -> Sequence[Output]:
        return self._on_quote(told, at) if self.wants(self.symbol(told.s), Channel.TICKER) else ()

    def _rest_interest(self, told: wire.RestInterest, at: Nanos) -> Sequence[Output]:
        return (wire.rest_interest(self.symbol(told.symbol), told, at),)

    def _rest_depth(self, native: str, told: wire.RestDepth, at: Nanos) -> Sequence[Output]:
        symbol = self.symbol(native)
        if "/market/" in self.feed.source or not self.wants(symbol, Channel.BOOK):
            return ()
        return self._book(symbol).join(told.lastUpdateId, told.bids, told.asks, stamp=nanos(told.T), at=at)


def _root(subscription: Subscription) -> str:
    return "public" if subscription.channel in (Channel.TICKER, Channel.BOOK) else "market"
