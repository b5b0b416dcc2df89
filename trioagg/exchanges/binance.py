"""Binance spot.

Documentation: "REST API", "Web Socket Streams for Binance" and "Rest API: Limits" of binance-spot-api-docs.

- Trades come as ``<symbol>@trade``; their ids are +1 per symbol without holes. ``m`` true: the buyer was the maker, so
  the taker sold. ``T`` is the matching engine's time, ``E`` only the event's.
- The best bid and ask come as ``<symbol>@bookTicker``, which names no event type and no time; the last price and the
  day's volume are merged from REST's 24 h ticker, as long as that is fresh.
- ``<symbol>@depth@100ms`` tells changes of the book; each follows the one before by ``U`` and ``u``, the first one a
  snapshot of REST that is asked for once the stream flows ("How to manage a local order book correctly").
- A subscription to an unknown symbol is acknowledged and stays silent; so symbols are checked against exchangeInfo.
- Streams are named in the URL; those beyond ``IN_URL`` are subscribed to by message, since a very long URL is refused.
- A connection is closed after 24 h, and before that where the exchange shuts down, which ``serverShutdown`` announces.
- Five messages a second may be sent on one connection, pings and pongs included; 1,024 streams fit on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

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
from trioagg.exchanges import _binance as wire
from trioagg.exchanges._books import Change, JoinedBook
from trioagg.exchanges._numbers import positive, quantities
from trioagg.exchanges._records import asked, candle, parted
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Instrument, Nanos, Side, Ticker, Trade

LIFETIME = 23 * 3600 + 50 * 60.0  # the exchange closes a connection after 24 h
IN_URL = 100  # streams named in the URL
PAGE = 1000  # trades in one answer
PER_MESSAGE = 200  # streams named in one SUBSCRIBE
BOOK = "/api/v3/depth"
QUOTES = (
    "USDT USDC FDUSD TUSD BUSD USDP USD1 USDS BTC ETH BNB EUR TRY BRL JPY GBP AUD DAI UAH RUB IDRT BIDR NGN ZAR PLN "
    "RON ARS MXN COP CZK EURI AEUR XRP TRX DOGE SOL VAI PAX BKRW DOT USD"
).split()  # for spelling a symbol that no instrument list told

UNUSED_PATHS = (
    "ping time exchangeInfo aggTrades avgPrice uiKlines ticker ticker/price ticker/bookTicker ticker/tradingDay"
).split()

STREAMS = {Channel.TRADES: "trade", Channel.TICKER: "bookTicker", Channel.BOOK: "depth@100ms"}

LEARNT = 100
"""Streams that a replay learns to tell apart by their names; a frame of another one is read thrice."""

ELSEWHERE = "a stream tells of another market"

Handle = Callable[[str, Any, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One combined stream of Binance spot, or the polling of its 24 h tickers."""

    name = "binance"
    rest_url = "https://api.binance.com"
    ws_url = "wss://stream.binance.com:9443"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.BOOK, Channel.CANDLES})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(
        streams=1024, sends=4, weight=6000, window=60, used_header="x-mbx-used-weight-1m", lifetime=LIFETIME
    )
    clock = Fetch("/api/v3/time")
    joined = (BOOK,)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._streams = sorted(map(self._stream, feed.subscriptions))
        self._books: dict[str, JoinedBook] = {}
        self._handles: dict[wire.Kind, Handle] = {
            wire.Deal: self._on_trade,
            wire.Quote: self._on_quote,
            wire.Day: self._on_day,
            wire.Depth: self._on_depth,
            wire.Kline: self._on_kline,
            wire.Shutdown: self._on_shutdown,
            msgspec.Raw: _unused,
        }
        self._frames: dict[type, tuple[Handle, str, str]] = {}
        markets = {self._stream(item): (item.native, item.symbol) for item in feed.subscriptions}
        self._tell_apart({"!serverShutdown": ("", ""), **markets})

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v3/exchangeInfo", weight=20),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [wire.instrument(symbol) for symbol in wire.rest_info.decode(body).symbols]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.replace("/", "").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return "/".join(parted(native, QUOTES) or [native])

    def polls(self) -> Iterable[Fetch]:
        if natives := self.natives(Channel.TICKER):
            listed = quote("[" + ",".join(f'"{native}"' for native in natives) + "]", safe=",")
            weight = 2 if len(natives) <= 20 else 40 if len(natives) <= 100 else 80
            yield Fetch(f"/api/v3/ticker/24hr?symbols={listed}", weight, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Connect("/stream?streams=" + "/".join(quote(stream, safe="@") for stream in self._streams[:IN_URL]))

    def opened(self) -> Iterable[Action]:
        rest = self._streams[IN_URL:]
        for number, start in enumerate(range(0, len(rest), PER_MESSAGE), 1):
            request = {"method": "SUBSCRIBE", "params": rest[start : start + PER_MESSAGE], "id": number}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        try:
            told = self._decode(frame)
        except msgspec.ValidationError:
            return self._on_other(frame, at)
        handle, native, symbol = self._frames[type(told)]
        if told.data.s != native:
            raise WireError(ELSEWHERE)
        return handle(symbol, told.data, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        match path.removeprefix("/api/v3/"):
            case "ticker/24hr":
                days = wire.rest_days.decode(body)
                return [self._rest_day(day, at) for day in (days if isinstance(days, list) else [days])]
            case "depth":
                return self._rest_depth(query["symbol"], wire.rest_depth.decode(body), at)
            case "trades" | "historicalTrades":
                symbol = self.symbol(query["symbol"])
                return [wire.rest_trade(symbol, trade, at) for trade in wire.rest_trades.decode(body)]
            case "klines":
                market = self.symbol(query["symbol"]), query["interval"]
                return [wire.rest_candle(market, row, at) for row in wire.rest_candles.decode(body)]
            case path if path in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        limit = PAGE if hole.first is None or hole.last is None else min(PAGE, hole.last - hole.first + 1)
        return Fetch(f"/api/v3/historicalTrades?symbol={hole.native}&fromId={hole.first}&limit={limit}", weight=25)

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.rest_time.decode(body).serverTime)

    def _stream(self, subscription: Subscription) -> str:
        kind = STREAMS.get(subscription.channel, f"kline_{self.feed.candle}")
        return f"{subscription.native.lower()}@{kind}"

    def _tell_apart(self, streams: Mapping[str, tuple[str, str]]) -> None:
        """Read the frames of more streams at once.

        Args:
            streams: by name, the native and the unified symbol that each is about.
        """
        for stream, market in streams.items():
            kind = wire.kind_of(stream)
            self._frames[wire.frame(stream, kind)] = self._handles[kind], *market
        self._decode = wire.frames(self._frames)

    def _on_other(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        """What is no frame of a stream that is known, or not as such a one is."""
        told = wire.envelope.decode(frame)
        if told.stream:
            return self._on_stream(told.stream, frame, at)
        if name := wire.bare_kind(told):
            return self._on_kind(wire.kind(name), b'{"data":%b}' % frame, at)
        return (wire.answer(told),)

    def _on_stream(self, stream: str, frame: bytes, at: Nanos) -> Sequence[Output]:
        """A stream that told its name alone: nothing of it is of use if nobody asked for it."""
        kind, of_all = wire.kind_of(stream), stream.startswith("!")
        if self._streams and stream not in self._streams and not of_all:
            kind = msgspec.Raw
        native = "" if of_all or kind not in wire.OF_MARKETS else stream.partition("@")[0].upper()
        out = self._on_kind(kind, frame, at, native=native)
        if native and not self._streams and len(self._frames) < LEARNT:
            self._tell_apart({stream: (native, self.symbol(native))})
        return out

    def _on_kind(self, kind: wire.Kind, frame: bytes, at: Nanos, *, native: str = "") -> Sequence[Output]:
        data = wire.combined[kind].decode(frame).data
        if native and data.s != native:
            raise WireError(ELSEWHERE)
        symbol = self.symbol(data.s) if kind in wire.OF_MARKETS else ""
        return self._handles[kind](symbol, data, at)

    def _on_trade(self, symbol: str, trade: wire.Deal, at: Nanos) -> Sequence[Output]:
        positive(trade.p, trade.q)
        side: Side = "sell" if trade.m else "buy"
        return (Trade("binance", symbol, trade.t, trade.p, trade.q, side, nanos(trade.T), at),)

    def _on_quote(self, symbol: str, q: wire.Quote, at: Nanos) -> Sequence[Output]:
        quantities(q.b, q.B, q.a, q.A)
        return (Ticker("binance", symbol, q.b, q.B, q.a, q.A, *self.daily(symbol, at), None, at),)

    def _on_day(self, symbol: str, day: wire.Day, at: Nanos) -> Sequence[Output]:
        quantities(day.b, day.B, day.a, day.A, day.c, day.v)
        self.feed.board[symbol] = Daily(day.c, day.v, at)
        return (Ticker("binance", symbol, day.b, day.B, day.a, day.A, day.c, day.v, nanos(day.E), at),)

    def _on_kline(self, symbol: str, kline: wire.Kline, at: Nanos) -> Sequence[Output]:
        k, market = kline.k, (symbol, kline.k.i)
        prices = (k.o, k.h, k.l, k.c)
        return (candle("binance", market, nanos(k.t), prices=prices, volume=k.v, closed=k.x, at=at),)

    def _on_depth(self, symbol: str, told: wire.Depth, at: Nanos) -> Sequence[Output]:
        if not self.wants(symbol, Channel.BOOK):
            return ()
        book = self._book(symbol)
        out = book.step(Change(told.U - 1, told.u, told.b, told.a, nanos(told.E)), at)
        if book.due(at):
            return *out, Fetch(f"{BOOK}?symbol={told.s}&limit=1000", weight=50)
        return out

    def _book(self, symbol: str) -> JoinedBook:
        if symbol not in self._books:
            self._books[symbol] = JoinedBook("binance", symbol, self.feed.book)
        return self._books[symbol]

    def _rest_depth(self, native: str, told: wire.RestDepth, at: Nanos) -> Sequence[Output]:
        symbol = self.symbol(native)
        if not self.wants(symbol, Channel.BOOK):
            return ()
        return self._book(symbol).join(told.lastUpdateId, told.bids, told.asks, stamp=None, at=at)

    def _on_shutdown(self, _symbol: str, _told: wire.Shutdown, _at: Nanos) -> Sequence[Output]:
        return (Retire("the exchange announced its shutdown"),)

    def _rest_day(self, day: wire.RestDay, at: Nanos) -> Ticker:
        quantities(day.bidPrice, day.bidQty, day.askPrice, day.askQty, day.lastPrice, day.volume)
        symbol = self.symbol(day.symbol)
        self.feed.board[symbol] = Daily(day.lastPrice, day.volume, at)
        sides = (day.bidPrice, day.bidQty, day.askPrice, day.askQty)
        return Ticker("binance", symbol, *sides, day.lastPrice, day.volume, nanos(day.closeTime), at)


def _unused(_symbol: str, _data: msgspec.Raw, _at: Nanos) -> Sequence[Output]:
    return ()
