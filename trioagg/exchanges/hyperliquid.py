"""Hyperliquid: perpetual contracts and spot.

Documentation: "Websocket", "Subscriptions", "Timeouts and heartbeats", "Info endpoint", "Notation", "Tick and lot size"
and "Rate limits" of the Hyperliquid gitbook.

- All requests are posted to ``/info``; an answer is known by its shape alone.
- Nothing numbers the trades. ``tid`` is a hash of the two orders, not in order; about 30 trades come again on
  subscribing. ``side`` is the taker's: B buys, A sells.
- Best bid and ask come as ``bbo``. The day's volume, hourly funding and open interest come as ``activeAssetCtx``, for
  spot ``activeSpotAssetCtx``, without a time. The last price is that of the last trade on the connection.
- An unknown coin, or one in the wrong case, closes the socket without a word: so a connection that lacks the list of
  markets asks for it first, and what is not in it is never subscribed to.
- One subscription per message. The server closes after 60 s of its own silence, so it is pinged.
- Contracts are quoted in USDC; ``kPEPE`` is a thousand PEPE and ``KPEPE`` here. A spot market is a number: ``@107``.
  Tokens bridged from elsewhere have their asset's name here (``UBTC`` is BTC).
- Candles bear no mark of their end: one is closed once a later one has come. REST's: once its time is over.
- Read from REST: ``meta``, ``spotMeta``, ``recentTrades``, ``candleSnapshot``, ``fundingHistory``.
- Markets of other builders (``xyz:TSLA``) and outcomes (``#12090``) are not listed; a capture's keep their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import ClassVar

import msgspec
from attrs import evolve
from msgspec import Raw

from trioagg.errors import WireError
from trioagg.exchanges import (
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
from trioagg.exchanges._numbers import nanos, quantities
from trioagg.model import Candle, Channel, Event, Instrument, Nanos, Ticker

FRESH = 300 * 1_000_000_000  # ns for which the day's volume may stand beside a newer best bid and ask
GREETING = b"Websocket connection established."
HEARD = "Already subscribed"

STREAMS = {
    Channel.TRADES: ("trades",),
    Channel.TICKER: ("bbo", "activeAssetCtx"),
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
    streamed = frozenset(STREAMS)
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.OVERLAP,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=400, sends=20, weight=1200, window=60)  # a ticker is two of the 1,000 subscriptions
    heartbeat = Heartbeat(30, '{"method":"ping"}')

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols: dict[str, str] = {}
        self._coins: dict[str, str] = {}
        self._wanted: dict[tuple[Channel, str], None] = {}  # a dict keeps their order
        self._learn(feed.instruments)
        self._last: dict[str, tuple[int, Decimal]] = {}
        self._volumes: dict[str, tuple[Decimal, Nanos]] = {}
        self._newest: dict[tuple[str, str], Candle] = {}
        self._routes: dict[str, Route] = {
            "trades": self._on_trades,
            "bbo": self._on_best,
            "candle": self._on_candles,
            "activeAssetCtx": partial(self._on_state, contract=True),
            "activeSpotAssetCtx": partial(self._on_state, contract=False),
            "subscriptionResponse": self._on_heard,
            "error": _on_error,
            **dict.fromkeys(wire.UNUSED, _unused),
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
        return super().connections([item for item in subscriptions if _offered(item)])

    def begin(self) -> Iterable[Action]:
        if any(item.symbol not in self._coins for item in self.feed.subscriptions):
            yield from self.listing()
        yield Connect("/ws")

    def opened(self) -> Iterable[Action]:
        known = set(self._coins.values())
        for kind, coin in dict.fromkeys((kind, coin) for channel, coin in self._wanted for kind in STREAMS[channel]):
            if known and coin not in known:
                yield Refused(f"there is no market {coin!r}")
            else:
                wanted = wire.Wanted(kind, coin, self.feed.candle if kind == "candle" else "")
                yield Send(msgspec.json.encode({"method": "subscribe", "subscription": wanted}).decode())

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
                return [wire.trade(self._symbol(row.coin), row, at) for row in wire.deals.decode(body)]
            case "candleSnapshot":
                rows = wire.rest_bars.decode(body)
                return [wire.candle(self._symbol(row.s), row, at, closed=nanos(row.T) < at) for row in rows]
            case "fundingHistory":
                return [wire.paid(self._symbol(row.coin), row, at) for row in wire.rates.decode(body)]
        return ()

    def _learn(self, listed: Sequence[Instrument]) -> None:
        """Take a list of markets; what is wanted is spelled as it says."""
        self._symbols |= {item.native: item.symbol for item in listed}
        self._coins |= {item.symbol: item.native for item in listed}
        ours = [item for item in self.feed.subscriptions if _offered(item)]
        self._wanted = dict.fromkeys((item.channel, self._coins.get(item.symbol, item.native)) for item in ours)

    def _symbol(self, coin: str) -> str:
        if coin not in self._symbols:
            self._symbols[coin] = self.unified(coin)
        return self._symbols[coin]

    def _wants(self, channel: Channel, coin: str) -> bool:
        return not self._wanted or (channel, coin) in self._wanted

    def _on_trades(self, data: Raw, at: Nanos) -> Sequence[Output]:
        rows = [row for row in wire.deals.decode(data) if self._wants(Channel.TRADES, row.coin)]
        out = [wire.trade(self._symbols.get(row.coin) or self._symbol(row.coin), row, at) for row in rows]
        for row in rows:
            if row.coin not in self._last or self._last[row.coin][0] <= row.time:  # a backlog comes in any order
                self._last[row.coin] = row.time, row.px
        return out

    def _on_best(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.best.decode(data)
        if not self._wants(Channel.TICKER, told.coin):
            return ()
        (bid, ask), last = map(wire.half, told.bbo), self._last.get(told.coin)
        volume, noted = self._volumes.get(told.coin, (None, at))
        volume = volume if at - noted < FRESH else None
        symbol, stamp = self._symbol(told.coin), nanos(told.time)
        return (Ticker("hyperliquid", symbol, *bid, *ask, last and last[1], volume, stamp, at),)

    def _on_state(self, data: Raw, at: Nanos, *, contract: bool) -> Sequence[Output]:
        told = wire.state.decode(data)
        coin, state, symbol = told.coin, told.ctx, self._symbol(told.coin)
        events: list[Event] = []
        if contract and self._wants(Channel.FUNDING, coin):
            events.append(wire.funding(symbol, state, at))
        if contract and self._wants(Channel.OPEN_INTEREST, coin):
            events.append(wire.interest(symbol, state, at))
        if state.volume is not None:
            quantities(state.volume)
            self._volumes[coin] = state.volume, at
        return events

    def _on_candles(self, data: Raw, at: Nanos) -> Sequence[Output]:
        """Each candle's newest state; the one that a newer one follows is told again, closed."""
        told = wire.bars.decode(data)
        out, newest = [], dict(self._newest)
        for row in told if isinstance(told, list) else [told]:
            if self._wants(Channel.CANDLES, row.s):
                new = wire.candle(self._symbol(row.s), row, at, closed=False)
                before = newest.get((row.s, row.i), new)
                if before.open_time < new.open_time:
                    out.append(evolve(before, closed=True, received=at))
                late = new.open_time < before.open_time
                out.append(evolve(new, closed=True) if late else new)
                newest |= {} if late else {(row.s, row.i): new}
        self._newest = newest
        return out

    def _on_heard(self, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.heard.decode(data)
        what = told.subscription
        if told.method != "subscribe":
            return ()
        self._newest.pop((what.coin, what.interval), None)  # in a replay, what came before a pause may be stale
        return (Ack(" ".join(word for word in (what.type, what.coin, what.interval) if word)),)


def _offered(subscription: Subscription) -> bool:
    return ":" in subscription.symbol or subscription.channel not in OF_CONTRACTS


def _unused(*_: object) -> Sequence[Output]:
    return ()


def _on_error(data: Raw, *_: object) -> Sequence[Output]:
    told = wire.text.decode(data)
    if told.startswith("Already unsubscribed"):
        return ()
    return (Ack(told[:200]) if told.startswith(HEARD) else Refused(told[:200]),)
