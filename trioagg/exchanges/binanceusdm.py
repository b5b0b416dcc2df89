"""Binance USD-M futures: perpetual contracts that are margined in a stablecoin.

Documentation: "Websocket Market Streams", "Market Data Endpoints" and "Error Codes" of "USDⓈ-M Futures" on
developers.binance.com.

- Trades come as ``<symbol>@aggTrade``: fills of one taker order at one price within 100 ms. Their id ``a`` is +1 per
  symbol without holes, and REST's ``aggTrades`` repairs by it for 48 hours. Raw trades have other ids, which REST tells
  only to those with a key: they are taken from a capture that has no aggregated ones, and never subscribed to.
- Streams live under two roots, ``/public`` (best bid and ask) and ``/market`` (all else). The wrong root acknowledges
  a subscription and stays silent; so a connection has streams of one root only.
- The day's ticker has no bid and ask, the best bid and ask have no last price and volume: REST is polled for both, and
  the stream's quotes are completed from what REST said last.
- Streams of all markets mix in coin-margined contracts since 2026-06: those say ``st`` 2 and are ignored.
- Liquidations are the latest one per symbol and second: incomplete by design. Open interest is REST's alone.
- REST answers understood beside the polled ones: ``aggTrades``, ``klines``, ``premiumIndex``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from msgspec import UNSET

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
    Subscription,
)
from trioagg.exchanges import _binanceusdm as wire
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Funding, Instrument, Liquidation, Nanos, OpenInterest, Side, Ticker, Trade

IN_URL = 100  # streams named in the URL
PER_MESSAGE = 200  # streams named in one SUBSCRIBE
EACH = 15  # symbols up to which asking for each one's ticker costs no more than asking for all
FRESH = 300 * 1_000_000_000  # ns for which REST's last price and volume may stand beside a newer best bid and ask
QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "USD1", "BTC")

STREAMS = {
    Channel.TRADES: "aggTrade",
    Channel.TICKER: "bookTicker",
    Channel.FUNDING: "markPrice@1s",
    Channel.LIQUIDATIONS: "forceOrder",
}

UNUSED_PATHS = (
    "ping time exchangeInfo depth rpiDepth trades historicalTrades continuousKlines indexPriceKlines markPriceKlines "
    "premiumIndexKlines ticker/price fundingRate fundingInfo openInterestHist"
).split()
"""Known, and not collected; raw trades among them, since REST tells them without what brought them about."""

Root = Literal["public", "market"]
Query = Mapping[str, str]
Handle = Callable[[Any, Nanos], Sequence[Output]]
Answer = Callable[[Query, bytes, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One combined stream of one root, or one of the polled requests."""

    name = "binanceusdm"
    rest_url = "https://fapi.binance.com"
    ws_url = "wss://fstream.binance.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.CANDLES, Channel.FUNDING, Channel.LIQUIDATIONS})
    polled = frozenset({Channel.TICKER, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
        Channel.LIQUIDATIONS: Proof.NOTHING,
    }
    limits = Limits(streams=1024, sends=8, weight=2400, window=60, used_header="x-mbx-used-weight-1m")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._streams = {name: _root(item) for item in feed.subscriptions if (name := self._stream(item))}
        self._invited = frozenset(self._streams)
        self._quoted: set[str] = set()
        self._raw: dict[str, bool] = {}
        self._handles: dict[type, Handle] = {
            wire.AggTrade: self._on_trade,
            wire.RawTrade: self._on_raw_trade,
            wire.Quote: self._on_quote,
            wire.Day: self._on_day,
            wire.Kline: self._on_kline,
            wire.Mark: self._on_mark,
            wire.Forced: self._on_forced,
            wire.Shutdown: self._on_shutdown,
        }
        self._answers: dict[str, Answer] = {
            "ticker/24hr": self._rest_days,
            "ticker/bookTicker": self._rest_quotes,
            "aggTrades": self._rest_trades,
            "klines": self._rest_candles,
            "premiumIndex": self._rest_marks,
            "openInterest": self._rest_interest,
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/fapi/v1/exchangeInfo"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        symbols = wire.info.decode(body).symbols
        return [wire.instrument(symbol) for symbol in symbols if symbol.contract_type in wire.PERPETUAL]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.partition(":")[0].replace("/", "").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        for asset in QUOTES:
            if native.endswith(asset) and native != asset:
                return f"{native.removesuffix(asset)}/{asset}:{asset}"
        return native

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        by_root = [[item for item in subscriptions if _root(item) == root] for root in ("public", "market")]
        return [some for items in by_root for some in super(Adapter, cls).connections(items)]

    def polls(self) -> Iterable[Fetch]:
        every = self.feed.interval
        quoted, held = self._natives(Channel.TICKER), self._natives(Channel.OPEN_INTEREST)
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
        for root in ("public", "market"):
            if names := self._named(root):
                listed = "/".join(quote(name, safe="@") for name in names[:IN_URL])
                yield Connect(f"/{root}/stream?streams={listed}")

    def opened(self) -> Iterable[Action]:
        rest = [name for root in ("public", "market") for name in self._named(root)[IN_URL:]]
        for number, start in enumerate(range(0, len(rest), PER_MESSAGE), 1):
            request = {"method": "SUBSCRIBE", "params": rest[start : start + PER_MESSAGE], "id": number}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if isinstance(told, list):
            return self._all(told, at)
        if told.data is UNSET:
            return self._event(wire.event.decode(frame), at) if told.e else (_reply(told),)
        if self._invited and told.stream not in self._invited and type(told.data) is not wire.Shutdown:
            return ()
        return self._all(told.data, at) if isinstance(told.data, list) else self._event(told.data, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        path = url.path.removeprefix("/fapi/v1/").removeprefix("/fapi/v2/").removeprefix("/futures/data/")
        if answer := self._answers.get(path):
            return answer(dict(parse_qsl(url.query)), body, at)
        if path not in UNUSED_PATHS:
            raise WireError("unknown REST path")
        return ()

    def _stream(self, subscription: Subscription) -> str:
        """The stream of a subscription; empty for what is polled alone."""
        if subscription.channel is Channel.CANDLES:
            return f"{subscription.native.lower()}@kline_{self.feed.candle}"
        kind = STREAMS.get(subscription.channel)
        return f"{subscription.native.lower()}@{kind}" if kind else ""

    def _named(self, root: str) -> list[str]:
        return sorted(name for name, where in self._streams.items() if where == root)

    def _natives(self, channel: Channel) -> list[str]:
        return [item.native for item in self.feed.subscriptions if item.channel is channel]

    def _symbol(self, native: str) -> str:
        if native not in self._symbols:
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _all(self, events: list[wire.Event], at: Nanos) -> Sequence[Output]:
        return [item for event in events for item in self._event(event, at)]

    def _event(self, event: wire.Event, at: Nanos) -> Sequence[Output]:
        handle = self._handles.get(type(event))
        return handle(event, at) if handle and event.st == 1 else ()

    def _on_trade(self, told: wire.AggTrade, at: Nanos) -> Sequence[Output]:
        return self._trade(told.s, told.a, told, at=at)

    def _on_raw_trade(self, told: wire.RawTrade, at: Nanos) -> Sequence[Output]:
        if self._invited or told.X != "MARKET":
            return ()
        return self._trade(told.s, told.t, told, at=at)

    def _trade(
        self, native: str, number: int, told: wire.AggTrade | wire.RawTrade | wire.RestDeal, *, at: Nanos
    ) -> Sequence[Output]:
        positive(told.p, told.q)
        stamp, symbol = nanos(told.T), self._symbol(native)
        side: Side = "sell" if told.m else "buy"
        if self._raw.setdefault(symbol, type(told) is wire.RawTrade) is not (type(told) is wire.RawTrade):
            return ()  # a capture may hold both kinds, and each has its own ids: the one that came first is taken
        return (Trade("binanceusdm", symbol, number, told.p, told.q, side, stamp, at),)

    def _on_quote(self, told: wire.Quote | wire.RestQuote, at: Nanos) -> Sequence[Output]:
        quantities(told.b, told.B, told.a, told.A)
        stamp, symbol = nanos(told.T), self._symbol(told.s)
        self._quoted.add(symbol)
        day = self.feed.board.get(symbol)
        last, volume = (day.last, day.volume) if day and at - day.at < FRESH else (None, None)
        return (Ticker("binanceusdm", symbol, told.b, told.B, told.a, told.A, last, volume, stamp, at),)

    def _on_day(self, told: wire.Day, at: Nanos) -> Sequence[Output]:
        """The day's figures, for the next quote; they make a row of their own only where no quotes come."""
        stamp, symbol = nanos(told.E), self._day(told, at)
        if symbol in self._quoted:
            return ()
        return (Ticker("binanceusdm", symbol, None, None, None, None, told.c, told.v, stamp, at),)

    def _day(self, told: wire.Day | wire.RestDay, at: Nanos) -> str:
        quantities(told.c, told.v)
        symbol = self._symbol(told.s)
        self.feed.board[symbol] = Daily(told.c, told.v, at)
        return symbol

    def _on_kline(self, told: wire.Kline, at: Nanos) -> Sequence[Output]:
        k = told.k
        positive(k.o, k.h, k.low, k.c)
        quantities(k.v)
        prices = (k.o, k.h, k.low, k.c, k.v)
        return (Candle("binanceusdm", self._symbol(told.s), k.i, nanos(k.t), *prices, k.x, at),)

    def _on_mark(self, told: wire.Mark | wire.RestMark, at: Nanos) -> Sequence[Output]:
        if not told.r:
            return ()
        rate = Decimal(told.r)
        quantities(told.p, told.i, abs(rate))
        symbol, due, stamp = self._symbol(told.s), nanos(told.T), nanos(told.E)
        return (Funding("binanceusdm", symbol, rate, told.p, told.i, due, stamp, at),)

    def _on_forced(self, told: wire.Forced, at: Nanos) -> Sequence[Output]:
        order = told.o
        if order.X != "FILLED":
            return ()
        positive(order.ap, order.z)
        side: Side = "sell" if order.S == "SELL" else "buy"
        return (Liquidation("binanceusdm", self._symbol(order.s), side, order.ap, order.z, nanos(order.T), at),)

    def _on_shutdown(self, told: wire.Shutdown, at: Nanos) -> Sequence[Output]:
        return (Retire("the exchange announced its shutdown"),)

    def _rest_days(self, query: Query, body: bytes, at: Nanos) -> Sequence[Output]:
        days = self._ours(wire.days.decode(body))
        for day in days:
            self._day(day, at)
        return ()

    def _rest_quotes(self, query: Query, body: bytes, at: Nanos) -> Sequence[Output]:
        return [ticker for told in self._ours(wire.quotes.decode(body)) for ticker in self._on_quote(told, at)]

    def _ours(self, rows: wire.Row | list[wire.Row]) -> list[wire.Row]:
        """Of an answer about one market or all, those whose tickers are collected; all in a replay."""
        wanted = set(self._natives(Channel.TICKER))
        return [row for row in wire.each(rows) if not wanted or row.s in wanted]

    def _rest_trades(self, query: Query, body: bytes, at: Nanos) -> Sequence[Output]:
        native = _asked(query, "symbol")
        return [trade for told in wire.deals.decode(body) for trade in self._trade(native, told.a, told, at=at)]

    def _rest_candles(self, query: Query, body: bytes, at: Nanos) -> Sequence[Output]:
        symbol, interval = self._symbol(_asked(query, "symbol")), _asked(query, "interval")
        return [wire.candle(symbol, interval, told, at) for told in wire.bars.decode(body)]

    def _rest_marks(self, query: Query, body: bytes, at: Nanos) -> Sequence[Output]:
        return [funding for told in wire.each(wire.marks.decode(body)) for funding in self._on_mark(told, at)]

    def _rest_interest(self, query: Query, body: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.interest.decode(body)
        quantities(told.open_interest)
        return (OpenInterest("binanceusdm", self._symbol(told.symbol), told.open_interest, nanos(told.time), at),)


def _root(subscription: Subscription) -> Root:
    return "public" if subscription.channel is Channel.TICKER else "market"


def _reply(reply: wire.Frame) -> Ack | Refused:
    if reply.error is not UNSET:
        return Refused(f"request {reply.id}: {bytes(reply.error).decode(errors='replace')[:200]}")
    if reply.code is not UNSET:
        return Refused(f"request {reply.id}: {reply.msg[:200]} ({reply.code})")
    if reply.result is not UNSET:
        return Ack(f"request {reply.id}")
    raise WireError("unknown message kind")


def _asked(query: Mapping[str, str], key: str) -> str:
    if key not in query:
        raise WireError(f"the request names no {key}")
    return query[key]
