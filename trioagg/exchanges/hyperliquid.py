"""Hyperliquid: perpetual contracts and spot.

Documentation: "Websocket", "Subscriptions", "Timeouts and heartbeats", "Info endpoint", "Notation", "Tick and lot size"
and "Rate limits" of the Hyperliquid gitbook.

- All requests are posted to ``/info``; an answer is known by its shape alone.
- Nothing numbers the trades. ``tid`` is a hash of the two orders, not in order; about 30 trades come again on
  subscribing. ``side`` is the taker's: B buys, A sells.
- Best bid and ask come as ``bbo``. The day's volume, hourly funding and open interest come as ``activeAssetCtx``, for
  spot ``activeSpotAssetCtx``, without a time. The last price is that of the last trade on the connection.
- ``l2Book`` is the whole top of a book each time: 20 levels of a side, with ``fast`` 5 and more often. Nothing numbers
  or proves it; one that is lost is made good by the next.
- An unknown coin, or one in the wrong case, closes the socket without a word: so a connection that lacks the list of
  markets asks for it first, and what is not in it is never subscribed to.
- One subscription per message. The server closes after 60 s of its own silence, so it is pinged.
- Contracts are quoted in USDC; ``kPEPE`` is a thousand PEPE and ``KPEPE`` here. A spot market is a number: ``@107``.
  Tokens bridged from elsewhere have their asset's name here (``UBTC`` is BTC).
- Candles bear no mark of their end: one is closed once a later one has come. REST's: once its time is over.
- Read from REST: ``meta``, ``spotMeta``, ``recentTrades``, ``candleSnapshot``, ``fundingHistory``, ``exchangeStatus``.
  ``recentTrades`` has fewer trades than come again on subscribing, and no paging: so a hole is not asked for.
- Markets of other builders (``xyz:TSLA``) and outcomes (``#12090``) are not listed; a capture's keep their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import ClassVar

import msgspec
from msgspec import Raw

from trioagg.errors import WireError
from trioagg.exchanges import (
    FRESH,
    Ack,
    Action,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Heartbeat,
    Limits,
    Output,
    Proof,
    Refused,
    Send,
    Subscription,
)
from trioagg.exchanges import _hyperliquid as wire
from trioagg.exchanges._books import OrderBook
from trioagg.exchanges._numbers import quantities
from trioagg.exchanges._records import Newest, unused
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Event, Instrument, Nanos, Ticker

GREETING = b"Websocket connection established."
HEARD = "Already subscribed"
FEW = 5  # levels of a side in a fast book

STREAMS = {
    Channel.TRADES: ("trades",),
    Channel.TICKER: ("bbo", "activeAssetCtx"),
    Channel.BOOK: ("l2Book",),
    Channel.CANDLES: ("candle",),
    Channel.FUNDING: ("activeAssetCtx",),
    Channel.OPEN_INTEREST: ("activeAssetCtx",),
}
OF_CONTRACTS = (Channel.FUNDING, Channel.OPEN_INTEREST)

Route = Callable[[Raw, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Hyperliquid."""

    name = "hyperliquid"
    rest_url = "https://api.hyperliquid.xyz"
    ws_url = "wss://api.hyperliquid.xyz"
    numbered = False  # the ids are hashes
    streamed = frozenset(STREAMS)
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.OVERLAP,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=400, sends=20, weight=1200, window=60)  # a ticker is two of the 1,000 subscriptions
    heartbeat = Heartbeat(30, '{"method":"ping"}')
    clock = Fetch("/info", 2, body='{"type":"exchangeStatus"}')

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._listed: dict[str, str] = {}
        self._coins = {item.symbol: item.native for item in feed.instruments}
        self._last: dict[str, tuple[int, Decimal]] = {}
        self._volumes: dict[str, tuple[Decimal, Nanos]] = {}
        self._newest = Newest()
        self._books: dict[str, OrderBook] = {}
        self._routes: dict[str, Route] = {
            "trades": self._on_trades,
            "bbo": self._on_best,
            "l2Book": self._on_book,
            "candle": self._on_candles,
            "activeAssetCtx": partial(self._on_state, contract=True),
            "activeSpotAssetCtx": partial(self._on_state, contract=False),
            "subscriptionResponse": self._on_heard,
            "error": _on_error,
            **dict.fromkeys(wire.UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return tuple(Fetch("/info", 20, body=f'{{"type":"{kind}"}}') for kind in ("meta", "spotMeta"))

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
        offered = [item for item in subscriptions if ":" in item.symbol or item.channel not in OF_CONTRACTS]
        return super().connections(offered)

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.status.decode(body).time)

    def symbol(self, native: str) -> str:
        """The unified spelling: as the newest list has it."""
        return self._listed.get(native) or super().symbol(native)

    def begin(self) -> Iterable[Action]:
        if any(item.symbol not in self._coins for item in self.feed.subscriptions):
            yield from self.listing()
        yield Connect("/ws")

    def opened(self) -> Iterable[Action]:
        known = set(self._coins.values())
        for kind, coin in dict.fromkeys(self._wanted()):
            if known and coin not in known:
                yield Refused(f"there is no market {coin!r}")
            else:
                request = {"method": "subscribe", "subscription": self._subscription(kind, coin)}
                yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        if frame == GREETING:
            return ()
        told = wire.frames.decode(frame)
        if (route := self._routes.get(told.channel)) is None:
            raise WireError(f"unknown message kind {told.channel[:40]!r}")
        return route(told.data, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        match wire.kind(body):
            case "meta" | "spotMeta":
                self._learn(wire.instruments(body))
            case "recentTrades":
                return [wire.trade(self.symbol(row.coin), row, at) for row in wire.deals.decode(body)]
            case "candleSnapshot":
                rows = wire.rest_bars.decode(body)
                return [wire.bar(self.symbol(row.s), row, at, closed=nanos(row.T) < at) for row in rows]
            case "fundingHistory":
                return [wire.paid(self.symbol(row.coin), row, at) for row in wire.rates.decode(body)]
        return ()

    def _learn(self, listed: Sequence[Instrument]) -> None:
        """Take a list of markets; what is wanted is spelled as it says."""
        self._listed |= {item.native: item.symbol for item in listed}
        self._coins |= {item.symbol: item.native for item in listed}

    def _wanted(self) -> Iterator[tuple[str, str]]:
        """What is to be subscribed to: (stream, coin)."""
        for item in self.feed.subscriptions:
            for kind in STREAMS[item.channel]:
                yield kind, self._coins.get(item.symbol, item.native)

    def _subscription(self, kind: str, coin: str) -> wire.Wanted:
        fast = kind == "l2Book" and self.feed.book.levels <= FEW
        return wire.Wanted(kind, coin, self.feed.candle if kind == "candle" else "", fast)

    def _on_trades(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = [(self.symbol(row.coin), row) for row in wire.deals.decode(data)]
        rows = [(symbol, row) for symbol, row in told if self.wants(symbol, Channel.TRADES)]
        out = [wire.trade(symbol, row, at) for symbol, row in rows]
        for symbol, row in rows:
            if symbol not in self._last or self._last[symbol][0] <= row.time:  # a backlog comes in any order
                self._last[symbol] = row.time, row.px
        return out

    def _on_best(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.best.decode(data)
        if not self.wants(symbol := self.symbol(told.coin), Channel.TICKER):
            return ()
        (bid, ask), last = map(wire.half, told.bbo), self._last.get(symbol)
        volume, noted = self._volumes.get(symbol, (None, at))
        volume = volume if at - noted < FRESH else None
        return (Ticker("hyperliquid", symbol, *bid, *ask, last and last[1], volume, nanos(told.time), at),)

    def _on_book(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.books.decode(data)
        if not self.wants(symbol := self.symbol(told.coin), Channel.BOOK):
            return ()
        (bids, asks), stamp = map(wire.levels, told.levels), nanos(told.time)
        if symbol not in self._books:
            self._books[symbol] = OrderBook("hyperliquid", symbol, self.feed.book)
        return self._books[symbol].retold(bids, asks, stamp, at)

    def _on_state(self, data: Raw, at: Nanos, *, contract: bool) -> Sequence[Output]:
        told = wire.state.decode(data)
        state, symbol = told.ctx, self.symbol(told.coin)
        events: list[Event] = []
        if contract and self.wants(symbol, Channel.FUNDING):
            events.append(wire.funding(symbol, state, at))
        if contract and self.wants(symbol, Channel.OPEN_INTEREST):
            events.append(wire.interest(symbol, state, at))
        if state.volume is not None:
            quantities(state.volume)
            self._volumes[symbol] = state.volume, at
        return events

    def _on_candles(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.bars.decode(data)
        rows = [(self.symbol(row.s), row) for row in (told if isinstance(told, list) else [told])]
        ours = [(symbol, row) for symbol, row in rows if self.wants(symbol, Channel.CANDLES)]
        return self._newest.told([wire.bar(symbol, row, at, closed=False) for symbol, row in ours])

    def _on_heard(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.heard.decode(data)
        what = told.subscription
        if told.method != "subscribe":
            return ()
        self._newest.pop((self.symbol(what.coin), what.interval), None)  # in a replay it may be from before a pause
        return (Ack(" ".join(word for word in (what.type, what.coin, what.interval) if word)),)


def _on_error(data: Raw, *_: object) -> Sequence[Output]:
    told = wire.text.decode(data)
    if told.startswith("Already unsubscribed"):
        return ()
    return (Ack(told[:200]) if told.startswith(HEARD) else Refused(told[:200]),)
