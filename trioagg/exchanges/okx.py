"""OKX v5: spot and perpetual swaps under one name.

Documentation: "Public Data", "Order Book Trading: Market Data" and "WebSocket" of the OKX API guide.

- Trades come one match each as ``trades-all``; their ids are +1 per instrument. That channel and the candles live on
  the business socket, everything else on the public one. The aggregated ``trades`` of a capture are understood too:
  one row each, under the last id of the aggregate.
- ``side`` is the taker's. Sizes of swaps are in contracts: times ``ctVal`` times ``ctMult``, which only the instrument
  list tells; a connection that lacks it asks for it first. Inverse contracts are worth 100 USD (BTC) or 10 USD. What
  comes of a linear contract of unknown size is refused rather than stored wrong; its ticker lacks the sizes.
- Numbers and times are text; before listing, and where a side of the book is empty, the text is empty.
- ``ping`` and ``pong`` are bare words, no JSON. Each argument is acknowledged or refused by itself, a refusal naming
  only the request. REST tells errors with status 200 too. A refusal for haste replaces the connection.
- Candles of six hours and more open at UTC+8 unless their name ends in ``utc``; only those are collected.
- Read from REST: ``market/`` trades, history-trades, candles, history-candles, ticker, tickers, and ``public/``
  instruments, funding-rate, open-interest.
- Dated futures and options are not listed; a capture's futures are spelled by rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, TypeVar
from urllib.parse import parse_qsl, urlsplit

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
    Heartbeat,
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
    _okx,
)
from trioagg.exchanges._numbers import EXACT, nanos, positive, quantities
from trioagg.exchanges._okx import INTERVALS, Arg, number
from trioagg.model import Candle, Channel, Funding, Instrument, Liquidation, Nanos, OpenInterest, Ticker, Trade

PER_MESSAGE = 100  # arguments in one subscription; 64 KB are allowed
PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
LISTING = "/api/v5/public/instruments?instType="
HASTE = (50011, 50013, 50040, 50061)  # REST: too many requests, busy
PAUSE = 2.0  # seconds: the window of all limits of REST
HASTE_WS, SHUTDOWN = 60014, 64008

STREAMS = {
    Channel.TRADES: "trades-all",
    Channel.TICKER: "tickers",
    Channel.FUNDING: "funding-rate",
    Channel.OPEN_INTEREST: "open-interest",
    Channel.LIQUIDATIONS: "liquidation-orders",
}
REST = {
    "market/trades": "trades",
    "market/history-trades": "trades",
    "market/ticker": "tickers",
    "market/tickers": "tickers",
    "public/funding-rate": "funding-rate",
    "public/open-interest": "open-interest",
    "market/candles": "candle",
    "market/history-candles": "candle",
}
"""Path → the channel whose rows its answer holds."""
ON_BUSINESS = (Channel.TRADES, Channel.CANDLES)
OF_SWAPS = (Channel.FUNDING, Channel.OPEN_INTEREST, Channel.LIQUIDATIONS)

Row = TypeVar("Row")
Route = Callable[[Arg, Raw, Nanos], Sequence[Output]]
Market = tuple[str, Decimal | None]
"""(unified symbol, size of a contract); None where nothing told the size."""


class Adapter(Exchange):
    """One connection to OKX's public or business socket."""

    name = "okx"
    rest_url = "https://openapi.okx.com"
    ws_url = "wss://ws.okx.com:8443"
    streamed = frozenset({Channel.CANDLES, *STREAMS})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.ID,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=300, sends=2, weight=20, window=PAUSE)
    heartbeat = Heartbeat(25, "ping")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._markets: dict[str, Market] = {}
        self._learn(feed.instruments)
        self._args = dict.fromkeys(_arg(item, feed.candle) for item in feed.subscriptions if _offered(item))
        self._liquidated = {item.native for item in feed.subscriptions if item.channel is Channel.LIQUIDATIONS}
        self._routes: dict[str, Route] = {
            "trades-all": _each(_okx.deals, self._trade),
            "trades": _each(_okx.deals, self._trade),
            "tickers": _each(_okx.ticks, self._ticker),
            "funding-rate": _each(_okx.rates, self._funding),
            "open-interest": _each(_okx.interests, self._interest),
            "liquidation-orders": self._on_closings,
            **dict.fromkeys(INTERVALS, self._on_bars),
            **dict.fromkeys(_okx.UNUSED, _unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return Fetch(LISTING + "SPOT"), Fetch(LISTING + "SWAP")

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return _okx.instruments(_data(_okx.answers.decode(body)))

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.partition(":")
        term = [settled.partition("-")[2] or "SWAP"] if settled else []
        return "-".join([*pair.split("/"), *term])

    @classmethod
    def unified(cls, native: str) -> str:
        return _okx.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        ours = [item for item in subscriptions if _offered(item)]
        business = [item for item in ours if item.channel in ON_BUSINESS]
        public = [item for item in ours if item.channel not in ON_BUSINESS]
        return [*super().connections(business), *super().connections(public)]

    def begin(self) -> Iterable[Action]:
        subscribed = self.feed.subscriptions
        if any(":" in item.symbol and item.native not in self._markets for item in subscribed):
            yield Fetch(LISTING + "SWAP")
        yield Connect(BUSINESS if any(item.channel in ON_BUSINESS for item in subscribed) else PUBLIC)

    def opened(self) -> Iterable[Action]:
        args = [_named(*arg) for arg in self._args]
        for count, start in enumerate(range(0, len(args), PER_MESSAGE), 1):
            request = {"id": str(count), "op": "subscribe", "args": args[start : start + PER_MESSAGE]}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        if frame == b"pong":
            return ()
        told = _okx.frames.decode(frame)
        if told.event:
            return _event(told)
        if (arg := told.arg) is None:
            raise WireError("unknown message kind")
        route = self._route(arg.channel)
        if self._args and (arg.channel, arg.inst_id) not in self._args:
            return ()
        return route(arg, told.data, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        path = url.path.removeprefix("/api/v5/")
        answer = _okx.answers.decode(body)
        if answer.code in HASTE:
            raise RateLimited(f"{answer.msg[:200]} ({answer.code})", PAUSE)
        if path == "public/instruments":
            self._learn(self.instruments(fetch, body))
        if path == "public/instruments" or path in _okx.UNUSED_PATHS:
            return ()
        if path not in REST:
            raise WireError("unknown REST path")
        query = dict(parse_qsl(url.query))
        bar = query.get("bar", "1m") if REST[path] == "candle" else ""
        arg = Arg(REST[path] + bar, query.get("instId", ""))
        return self._route(arg.channel)(arg, _data(answer), at)

    def _route(self, channel: str) -> Route:
        if (route := self._routes.get(channel)) is None:
            raise WireError(f"unknown message kind {channel[:40]!r}")
        return route

    def _learn(self, listed: Sequence[Instrument]) -> None:
        self._markets |= {item.native: (item.symbol, item.contract_size) for item in listed}

    def _market(self, native: str) -> Market:
        if native not in self._markets:
            self._markets[native] = _okx.unified(native), _okx.size(native)
        return self._markets[native]

    def _measured(self, native: str, contracts: Decimal) -> tuple[str, Decimal]:
        """The symbol, and a size in the currency of ``Trade.amount``."""
        symbol, size = self._markets.get(native) or self._market(native)
        if size is None:
            raise WireError(f"unknown contract size of {native[:40]!r}")
        return symbol, EXACT.multiply(contracts, size)

    def _trade(self, row: _okx.Deal, at: Nanos) -> Trade:
        positive(row.px, row.sz)
        symbol, amount = self._measured(row.inst_id, row.sz)
        return Trade("okx", symbol, row.trade_id, row.px, amount, row.side, nanos(row.ts), at)

    def _ticker(self, row: _okx.Tick, at: Nanos) -> Ticker:
        symbol, size = self._market(row.inst_id)
        bid, ask, last = number(row.bid_px), number(row.ask_px), number(row.last)
        bid_size, ask_size = _sized(row.bid_sz, size), _sized(row.ask_sz, size)
        volume = number(row.volume_ccy if ":" in symbol else row.volume)
        quantities(bid, bid_size, ask, ask_size, last, volume)
        return Ticker("okx", symbol, bid, bid_size, ask, ask_size, last, volume, nanos(row.ts), at)

    def _on_bars(self, arg: Arg, data: Raw, at: Nanos) -> Sequence[Output]:
        symbol, interval = self._market(arg.inst_id)[0], INTERVALS[arg.channel]
        return [_candle(symbol, interval, row, at) for row in _okx.bars.decode(data)]

    def _funding(self, row: _okx.Rate, at: Nanos) -> Funding:
        quantities(abs(row.funding_rate))
        symbol, due = self._market(row.inst_id)[0], nanos(row.funding_time)
        return Funding("okx", symbol, row.funding_rate, None, None, due, nanos(row.ts), at)

    def _interest(self, row: _okx.Interest, at: Nanos) -> OpenInterest:
        quantities(row.oi)
        return OpenInterest("okx", *self._measured(row.inst_id, row.oi), nanos(row.ts), at)

    def _on_closings(self, arg: Arg, data: Raw, at: Nanos) -> Sequence[Output]:
        """One frame holds those of any swaps, ours or not."""
        rows = [row for row in _okx.closings.decode(data) if not self._args or row.inst_id in self._liquidated]
        return [self._liquidation(row.inst_id, item, at) for row in rows for item in row.details]

    def _liquidation(self, native: str, item: _okx.Closing, at: Nanos) -> Liquidation:
        positive(item.bk_px, item.sz)
        symbol, amount = self._measured(native, item.sz)
        return Liquidation("okx", symbol, item.side, item.bk_px, amount, nanos(item.ts), at)


def _offered(subscription: Subscription) -> bool:
    return ":" in subscription.symbol or subscription.channel not in OF_SWAPS


def _arg(subscription: Subscription, candle: str) -> tuple[str, str]:
    """The channel and the instrument to subscribe to; liquidations come for all swaps at once."""
    channel = STREAMS.get(subscription.channel) or f"candle{_okx.BARS[candle]}"
    return channel, "" if subscription.channel is Channel.LIQUIDATIONS else subscription.native


def _named(channel: str, native: str) -> dict[str, str]:
    return {"channel": channel, "instId": native} if native else {"channel": channel, "instType": "SWAP"}


def _each(decoder: msgspec.json.Decoder[list[Row]], event: Callable[[Row, Nanos], Output]) -> Route:
    """The route of a channel whose rows are one event each."""
    return lambda arg, data, at: [event(row, at) for row in decoder.decode(data)]


def _unused(*_: object) -> Sequence[Output]:
    return ()


def _event(told: _okx.Frame) -> Sequence[Output]:
    """What a message of an event means; channels refused for haste would stay unsubscribed, so all begins anew."""
    match told.event:
        case "subscribe" if told.arg is not None:
            return (Ack(f"{told.arg.channel} {told.arg.inst_id}".rstrip()),)
        case "error" if told.code == HASTE_WS:
            return (Retire(f"{told.msg[:200]} ({told.code})"),)
        case "error":
            return (Refused(f"request {told.id[:40] or '?'}: {told.msg[:200]} ({told.code})"),)
        case "notice" if told.code == SHUTDOWN:
            return (Retire(told.msg[:200]),)
        case "notice" | "unsubscribe" | "channel-conn-count":
            return ()
    raise WireError(f"unknown message kind {told.event[:40]!r}")


def _data(answer: _okx.Answer) -> Raw:
    if answer.code:
        raise WireError(f"refused: {answer.msg[:200]} ({answer.code})")
    return answer.data


def _sized(text: str, size: Decimal | None) -> Decimal | None:
    """A ticker's size in the currency of ``Trade.amount``; None where it, or the contract's, is not known."""
    return EXACT.multiply(Decimal(text), size) if text and size is not None else None


def _candle(symbol: str, interval: str, row: _okx.Bar, at: Nanos) -> Candle:
    positive(row.open, row.high, row.low, row.close)
    volume = row.volume_ccy if ":" in symbol else row.volume
    quantities(volume)
    prices = (row.open, row.high, row.low, row.close, volume)
    return Candle("okx", symbol, interval, nanos(row.open_time), *prices, row.confirm == "1", at)
