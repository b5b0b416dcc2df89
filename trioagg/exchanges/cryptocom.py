"""Crypto.com Exchange v1: spot and perpetual contracts under one name.

Documentation: "Websocket Market Data Subscriptions", "REST Market Data" and "Rate Limits" of the Exchange API v1.

- Trades come as ``trade.NAME``; ``s`` is the taker's side, ``tn`` the time in nanoseconds. Their id is the match id
  ``m``, or the unique ``d`` where no ``m`` is sent. Nothing counts them, so only REST's pages by time tell of a loss.
  The first frame replays recent trades.
- ``ticker.NAME`` has everything of a ticker, and the open interest; REST's tickers lack the sizes.
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
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from trioagg.errors import RateLimited, WireError
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
    _cryptocom,
)
from trioagg.exchanges._cryptocom import Bar, Deal, Frame, Result, sized
from trioagg.exchanges._numbers import EXACT, nanos, positive, quantities
from trioagg.model import Candle, Channel, Funding, Instrument, Nanos, OpenInterest, Side, Ticker, Trade

PER_MESSAGE = 100  # channels in one subscription
HASTE, PAUSE = 42901, 1.0  # the code, and seconds: limits are per second

STREAMS = {
    Channel.TRADES: "trade",
    Channel.TICKER: "ticker",
    Channel.FUNDING: "funding",
    Channel.OPEN_INTEREST: "ticker",
}
OF_PERPETUALS = (Channel.FUNDING, Channel.OPEN_INTEREST)

Market = tuple[str, Decimal]
"""(unified symbol, size of a contract)."""

Route = Callable[[Result, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Crypto.com's market data."""

    name = "cryptocom"
    rest_url = "https://api.crypto.com"
    ws_url = "wss://stream.crypto.com"
    streamed = frozenset({Channel.CANDLES, *STREAMS})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.OVERLAP,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=400, sends=2, weight=100, window=1)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._markets: dict[str, Market] = {item.native: (item.symbol, item.contract_size) for item in feed.instruments}
        self._streams = dict.fromkeys(_stream(item, feed.candle) for item in feed.subscriptions if _offered(item))
        self._whose = {
            channel: {item.native for item in feed.subscriptions if item.channel is channel} for channel in Channel
        }
        self._open: dict[str, tuple[Bar, ...]] = {}
        self._routes: dict[str, Route] = {
            "trade": self._on_trades,
            "ticker": self._on_tickers,
            "candlestick": self._on_candles,
            "funding": self._on_funding,
            **dict.fromkeys(_cryptocom.UNUSED, _unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/exchange/v1/public/get-instruments"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return _cryptocom.instruments(_result(_cryptocom.frames.decode(body)).data)

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.partition(":")
        if not settled:
            return pair.replace("/", "_")
        return pair.replace("/", "") + "-" + (settled.partition("-")[2] or "PERP")

    @classmethod
    def unified(cls, native: str) -> str:
        return _cryptocom.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        return super().connections([item for item in subscriptions if _offered(item)])

    def begin(self) -> Iterable[Action]:
        yield Connect("/exchange/v1/market")

    def opened(self) -> Iterable[Action]:
        streams = list(self._streams)
        for number, start in enumerate(range(0, len(streams), PER_MESSAGE), 1):
            params = {"channels": streams[start : start + PER_MESSAGE]}
            yield Send(msgspec.json.encode({"id": number, "method": "subscribe", "params": params}).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = _cryptocom.frames.decode(frame)
        if told.code or told.result is None:
            return _reply(told)
        result = told.result
        if (route := self._routes.get(result.channel)) is None:
            raise WireError(f"unknown message kind {result.channel[:40]!r}")
        if self._streams and result.subscription not in self._streams:
            return ()
        return route(result, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        told = _cryptocom.frames.decode(body)
        if told.code == HASTE:
            raise RateLimited(f"{told.message[:200]} ({told.code})", PAUSE)
        path = url.path.removeprefix("/exchange/v1/public/")
        query = dict(parse_qsl(url.query))
        match path:
            case "get-trades":
                return self._on_trades(_result(told), at)
            case "get-tickers":
                return self._on_tickers(_result(told), at)
            case "get-candlestick":
                return self._rest_candles(_result(told), at)
            case "get-valuations" if query.get("valuation_type") == "funding_rate":
                return self._on_funding(_result(told), at)
            case _ if path == "get-valuations" or path in _cryptocom.UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def _market(self, native: str) -> Market:
        if native not in self._markets:
            self._markets[native] = self.unified(native), Decimal(1)
        return self._markets[native]

    def _wants(self, channel: Channel, native: str) -> bool:
        return not self._streams or native in self._whose[channel]

    def _on_trades(self, result: Result, at: Nanos) -> Sequence[Output]:
        return [self._trade(row, at) for row in _cryptocom.deals.decode(result.data)]

    def _trade(self, row: Deal, at: Nanos) -> Trade:
        positive(row.p, row.q)
        symbol, size = self._market(row.i)
        amount = EXACT.multiply(row.q, size)
        side: Side = "buy" if row.s == "BUY" else "sell"
        stamp = _cryptocom.stamp(row)
        return Trade("cryptocom", symbol, _cryptocom.trade_id(row), row.p, amount, side, stamp, at)

    def _on_tickers(self, result: Result, at: Nanos) -> Sequence[Output]:
        """Tickers, and the open interest of perpetuals, of those that are wanted."""
        out: list[Output] = []
        for row in _cryptocom.ticks.decode(result.data):
            quantities(row.a, row.b, row.bs, row.k, row.ks, row.v, row.oi)
            (symbol, size), stamp = self._market(row.i), nanos(row.t)
            bid_size, ask_size, held = sized(row.bs, size), sized(row.ks, size), sized(row.oi, size)
            if self._wants(Channel.TICKER, row.i):
                out.append(Ticker("cryptocom", symbol, row.b, bid_size, row.k, ask_size, row.a, row.v, stamp, at))
            if held is not None and ":" in symbol and self._wants(Channel.OPEN_INTEREST, row.i):
                out.append(OpenInterest("cryptocom", symbol, held, stamp, at))
        return out

    def _on_candles(self, result: Result, at: Nanos) -> Sequence[Output]:
        """All that came, and before them the one that they close."""
        rows = _cryptocom.bars.decode(result.data)
        if not rows:
            return ()
        known = self._open.get(result.subscription, ())
        states = {row.t: row for row in (*known, *rows)}
        newest = max(states)
        out = [self._candle(result, states[start], at, closed=start < newest) for start in sorted(states)]
        self._open[result.subscription] = (states[newest],)
        return out

    def _rest_candles(self, result: Result, at: Nanos) -> Sequence[Output]:
        length = _cryptocom.length(_cryptocom.interval(result.interval))
        rows = _cryptocom.bars.decode(result.data)
        return [self._candle(result, row, at, closed=nanos(row.t) + length <= at) for row in rows]

    def _candle(self, result: Result, row: Bar, at: Nanos, *, closed: bool) -> Candle:
        positive(row.open, row.high, row.low, row.close)
        quantities(row.volume)
        symbol, interval = self._market(result.instrument_name)[0], _cryptocom.interval(result.interval)
        prices = (row.open, row.high, row.low, row.close, row.volume)
        return Candle("cryptocom", symbol, interval, nanos(row.t), *prices, closed, at)

    def _on_funding(self, result: Result, at: Nanos) -> Sequence[Output]:
        symbol, points = self._market(result.instrument_name)[0], _cryptocom.points.decode(result.data)
        quantities(*(abs(point.v) for point in points))
        return [Funding("cryptocom", symbol, point.v, None, None, None, nanos(point.t), at) for point in points]


def _offered(subscription: Subscription) -> bool:
    return ":" in subscription.symbol or subscription.channel not in OF_PERPETUALS


def _stream(subscription: Subscription, candle: str) -> str:
    kind = STREAMS.get(subscription.channel) or f"candlestick.{_cryptocom.FRAMES[candle]}"
    return f"{kind}.{subscription.native}"


def _unused(*_: object) -> Sequence[Output]:
    return ()


def _reply(told: Frame) -> Sequence[Output]:
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


def _result(told: Frame) -> Result:
    if told.code:
        raise WireError(f"refused: {told.message[:200]} ({told.code})")
    if told.result is None:
        raise WireError("an answer without a result")
    return told.result
