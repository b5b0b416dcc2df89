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
- Candles are in the order open, close, high, low and have no end mark: one is closed once a later one has come.
- ``UST`` is USDT, and a few other assets have house codes too; perpetuals are ``tBTCF0:USTF0``. ``TEST…`` is paper.
- Asking too often shuts an address out for a minute, with ``ERR_RATE_LIMIT`` and no waiting time.

Understood of REST: ``trades/…/hist`` (10,000 a page, by time), ``candles/…``, tickers, ``status/deriv``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import msgspec
from attrs import evolve

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
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
from trioagg.exchanges import _bitfinex as wire
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Funding, Instrument, Liquidation, Nanos, OpenInterest, Side

FLAGS = 32768 + 65536  # TIMESTAMP and SEQ_ALL
CROWD = 50  # markets beyond which everybody's tickers are asked for
EARLY = 10_000  # trades whose confirmation is waited for, at most
UNUSED = ("hb", "cs", "fte", "ftu")  # known and not collected
UNUSED_PATHS = ("conf", "platform", "book", "liquidations", "stats1", "rankings", "pulse", "calc")
ENDS = {20051: "the exchange asked for a new connection", 20061: "the exchange's maintenance is over"}
LIST = "/v2/conf/pub:list:pair:exchange,pub:list:pair:futures,pub:map:currency:sym"
LIQUIDATIONS = ("status", "liq:global")
KEYED = ("candles", "status")  # kinds whose subscription names a key instead of a symbol

Topic = tuple[str, str]
Route = Callable[[wire.Told, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Bitfinex, or the polling of its tickers."""

    name = "bitfinex"
    rest_url = "https://api-pub.bitfinex.com"
    ws_url = "wss://api-pub.bitfinex.com"
    streamed = frozenset(set(Channel) - {Channel.BOOK})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.SEQUENCE,
        Channel.TICKER: Proof.SEQUENCE,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.SEQUENCE,
        Channel.OPEN_INTEREST: Proof.SEQUENCE,
        Channel.LIQUIDATIONS: Proof.SEQUENCE,
    }
    limits = Limits(streams=25, sends=5, weight=60, window=60, cooldown={429: wire.SILENCE})

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {item.native: item.symbol for item in feed.subscriptions}
        self._symbols |= {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._asked = {(item.channel, item.native) for item in feed.subscriptions}
        self._routes: dict[int, Route] = {}
        self._number: int | None = None
        self._early: dict[int | str, None] = {}
        self._newest: dict[tuple[str, str], Candle] = {}

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
        natives = [item.native for item in self.feed.subscriptions if item.channel is Channel.TICKER]
        if natives:
            asked = ",".join(natives) if len(natives) <= CROWD else "ALL"
            yield Fetch(f"/v2/tickers?symbols={asked}", weight=2, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Connect("/ws/2")

    def opened(self) -> Iterable[Action]:
        yield Send(f'{{"event":"conf","flags":{FLAGS}}}')
        for kind, whose in dict.fromkeys(topic for item in self.feed.subscriptions if (topic := _topic(item))):
            market = {"key" if kind in KEYED else "symbol": self._spell(kind, whose)}
            request = {"event": "subscribe", "channel": kind, **market}
            yield Send(msgspec.json.encode(request).decode())

    def _spell(self, kind: str, whose: str) -> str:
        candle = self.feed.candle
        return f"trade:{wire.SPELLED.get(candle, candle)}:{whose}" if kind == "candles" else whose

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        if frame.lstrip().startswith(b"{"):
            return self._on_event(wire.event.decode(frame))
        before, self._number = self._number, None  # the number of a garbled frame is not known
        told = wire.read(frame)
        self._number = told.number
        out = self._data(told, at)
        if before is None or told.number is None or told.number == before + 1:
            return out
        return (*out, Retire(f"frames were lost: number {told.number} came after {before}"))

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        wire.check(body)
        match unquote(urlsplit(fetch.path).path).removeprefix("/v2/").split("/"):
            case ["tickers"]:
                rows = [(native, row) for native, row in wire.keyed(body) if native.startswith("t")]
                ours = [(native, row) for native, row in rows if self._wanted(native, Channel.TICKER)]
                return [wire.ticker(self._symbol(native), row, None, at) for native, row in ours]
            case ["ticker", native]:
                return [wire.ticker(self._symbol(native), body, None, at)]
            case ["trades", native, "hist"]:
                return wire.trades(self._symbol(native), body, at)
            case ["candles", key, "hist" | "last"]:
                interval, native = _parted(key)
                return wire.candles((self._symbol(native), interval), body, 0, at)
            case ["status", "deriv"]:
                return [event for key, row in wire.keyed(body) for event in self._on_status(key, row, at)]
            case [head, *_] if head in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def _symbol(self, native: str) -> str:
        if native not in self._symbols:
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _wanted(self, native: str, *channels: Channel) -> bool:
        return not self._asked or any((channel, native) in self._asked for channel in channels)

    def _on_event(self, told: wire.Event) -> Sequence[Output]:
        what = f"{told.channel} {told.symbol or told.key}".strip()
        match told.event:
            case "subscribed":
                self._routes[told.number] = self._route(told)
                return (Ack(what),)
            case "unsubscribed":
                self._routes.pop(told.number, None)
                return (Ack(f"unsubscribed {told.number}"),)
            case "conf":
                return (Ack("conf"),) if told.status == "OK" else (Refused(f"conf: {told.msg[:200]} ({told.code})"),)
            case "error":
                return (Refused(f"{what or 'request'}: {told.msg[:200]} ({told.code})"),)
            case "info":
                return (Retire(ENDS[told.code]),) if told.code in ENDS else ()
            case "pong":
                return ()
        raise WireError(f"unknown message kind {told.event[:40]!r}")

    def _route(self, told: wire.Event) -> Route:
        """The route of a channel's frames; nowhere for one that nobody asked for."""
        native = told.symbol
        match told.channel:
            case "trades" if self._wanted(native, Channel.TRADES) and native.startswith("t"):
                return partial(self._on_trades, self._symbol(native))
            case "ticker" if self._wanted(native, Channel.TICKER) and native.startswith("t"):
                return partial(_on_ticker, self._symbol(native))
            case "candles":
                return self._candle_route(told.key)
            case "status" if told.key == LIQUIDATIONS[1]:
                return self._on_liquidations
            case "status" if told.key.startswith("deriv:"):
                return partial(self._on_derivative, told.key.removeprefix("deriv:"))
            case "trades" | "ticker" | "book" | "status":
                return self._unused
        raise WireError(f"unknown channel {told.channel[:40]!r}")

    def _candle_route(self, key: str) -> Route:
        interval, native = _parted(key)
        ours = self._wanted(native, Channel.CANDLES) and native.startswith("t")
        return partial(self._on_candles, (self._symbol(native), interval)) if ours else self._unused

    def _data(self, told: wire.Told, at: Nanos) -> Sequence[Output]:
        if told.kind in UNUSED:
            return ()
        if told.kind not in ("", "te", "tu"):
            raise WireError(f"unknown message kind {told.kind[:40]!r}")
        if told.channel not in self._routes:
            raise WireError(f"a channel that no answer told: {told.channel}"[:120])
        return self._routes[told.channel](told, at)

    def _unused(self, told: wire.Told, at: Nanos) -> Sequence[Output]:
        return ()

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
        """The newest state of each; the one that a newer one follows is told again, closed."""
        before = self._newest.get(market)
        candles = wire.candles(market, told.data, before.open_time if before else 0, at)
        if not candles:
            return ()
        if before and candles[-1].open_time < before.open_time:
            return candles
        self._newest[market] = candles[-1]
        ended = before is not None and before.open_time < candles[0].open_time
        return [evolve(before, closed=True, received=at), *candles] if before and ended else candles

    def _on_derivative(self, native: str, told: wire.Told, at: Nanos) -> Sequence[Output]:
        return self._on_status(native, told.data, at)

    def _on_status(self, native: str, data: bytes, at: Nanos) -> list[Output]:
        out: list[Output] = []
        for s in wire.statuses.decode(wire.many(data)):
            quantities(s.spot, s.mark, s.held, s.rate and s.rate.copy_abs())
            symbol, stamp = self._symbol(native), nanos(s.mts)
            if s.rate is not None and self._wanted(native, Channel.FUNDING):
                due = None if s.due is None else nanos(s.due)
                out.append(Funding("bitfinex", symbol, s.rate, s.mark, s.spot, due, stamp, at))
            if s.held is not None and self._wanted(native, Channel.OPEN_INTEREST):
                out.append(OpenInterest("bitfinex", symbol, s.held, stamp, at))
        return out

    def _on_liquidations(self, told: wire.Told, at: Nanos) -> Sequence[Output]:
        rows = [row for row in wire.forced.decode(wire.many(told.data)) if row.is_match == 0]
        ours = [row for row in rows if self._wanted(row.symbol, Channel.LIQUIDATIONS)]
        return [self._liquidation(row, at) for row in ours]

    def _liquidation(self, row: wire.Forced, at: Nanos) -> Liquidation:
        if row.price is None:
            raise WireError("a liquidation without a price")
        amount = row.amount.copy_abs()
        positive(row.price, amount)
        side: Side = "sell" if row.amount > 0 else "buy"
        return Liquidation("bitfinex", self._symbol(row.symbol), side, row.price, amount, nanos(row.mts), at)


def _topic(item: Subscription) -> Topic | None:
    """The topic of a subscription; None where its market lacks the channel."""
    match item.channel:
        case Channel.TRADES | Channel.TICKER | Channel.CANDLES:
            return item.channel.value, item.native
        case Channel.FUNDING | Channel.OPEN_INTEREST if item.native.endswith(wire.FUTURE):
            return "status", f"deriv:{item.native}"
        case Channel.LIQUIDATIONS:
            return LIQUIDATIONS
    return None


def _parted(key: str) -> tuple[str, str]:
    """``trade:1m:tDOGE:USD`` as its interval and its market."""
    interval, _, native = key.removeprefix("trade:").partition(":")
    if not native:
        raise WireError(f"unknown key {key[:40]!r}")
    return interval, native


def _on_ticker(symbol: str, told: wire.Told, at: Nanos) -> Sequence[Output]:
    return (wire.ticker(symbol, told.data, told.stamp, at),)
