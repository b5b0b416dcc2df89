"""Bitstamp: spot and linear perpetuals under one name.

Documentation: "WebSocket API v2" (public channels, heartbeat, forced reconnection) and "HTTP API" (markets, ticker,
OHLC data, transactions, funding rate, request limits) on bitstamp.net.

- A market is ``btcusd`` or ``btcusd-perp`` in paths and channels, and ``BTC/USD`` or ``BTC/USD-PERP`` in answers of
  REST: the same without the slash and in capitals.
- Trades are numbered across all markets, so a missed one cannot be seen; ``transactions`` of the last minute, hour or
  day overlap. ``type`` 0: the taker bought. ``timestamp`` is in seconds, for perpetuals in milliseconds, so
  ``microtimestamp`` is taken; REST tells a trade's whole second only.
- ``order_book_…`` tells the best 100 levels of each side whole, at every change: what is missed of it is mended by the
  next. ``diff_order_book_…`` would have to be joined with REST by time alone, and what it missed would stay.
- Best bid and ask, candles and open interest come from REST alone: ticker and OHLC are polled. The ticker has no sizes.
- ``/ticker/NAME/`` of an unknown market answers with all markets; a subscription to one is acknowledged and silent.
- A connection holds 1,024 channels and closes without a word at the next; one message subscribes to one channel.
- ``bts:request_reconnect`` announces the end of a connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

from trioagg.errors import WireError
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
from trioagg.exchanges import _bitstamp as wire
from trioagg.exchanges._bitstamp import PERPETUAL
from trioagg.exchanges._books import OrderBook
from trioagg.exchanges._numbers import EXACT, positive, quantities
from trioagg.exchanges._records import asked
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Instrument, Level, Nanos, OpenInterest, Side, Ticker, Trade

CROWD = 10  # markets beyond which one request for all tickers is better than one for each
NEAR: Nanos = 3_000_000_000_000  # what the transactions of an hour still cover when they come

UNUSED = ("data", "order_created", "order_changed", "order_deleted", "bts:heartbeat")  # known and not collected
UNUSED_PATHS = (
    "markets trading-pairs-info order_book ticker_hour funding_rate_history order_data currencies eur_usd"
).split()

STREAMS = {Channel.TRADES: "live_trades_", Channel.BOOK: "order_book_", Channel.FUNDING: "funding_rate_"}


class Adapter(Exchange):
    """One connection to Bitstamp, or the polling of its tickers and candles."""

    name = "bitstamp"
    rest_url = "https://www.bitstamp.net"
    ws_url = "wss://ws.bitstamp.net"
    streamed = frozenset({Channel.TRADES, Channel.BOOK, Channel.FUNDING})
    polled = frozenset({Channel.TICKER, Channel.CANDLES, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
    }
    limits = Limits(streams=500, sends=20, weight=900, window=60)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._sizes = {item.native: item.contract_size for item in feed.instruments if item.contract_size != 1}
        self._books: dict[str, OrderBook] = {}
        self._streams = [STREAMS[item.channel] + item.native for item in _streamed(feed.subscriptions)]

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v2/markets/"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [wire.instrument(market) for market in wire.rest_markets.decode(body) if wire.is_ours(market)]

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.lower().partition(":")
        return pair.replace("/", "") + (PERPETUAL if settled else "")

    @classmethod
    def unified(cls, native: str) -> str:
        return wire.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        return super().connections(_streamed(subscriptions))

    def polls(self) -> Iterable[Fetch]:
        every = self.feed.interval
        perpetuals = [native for native in self.natives(Channel.OPEN_INTEREST) if native.endswith(PERPETUAL)]
        paths = [f"/api/v2/ticker/{native}/" for native in dict.fromkeys(self.natives(Channel.TICKER) + perpetuals)]
        yield from (Fetch(path, every=every) for path in (paths if len(paths) <= CROWD else ["/api/v2/ticker/"]))
        if step := wire.STEPS.get(self.feed.candle):
            rows = min(1000, 3 + int(every // step))  # so many that a late poll misses none
            for native in self.natives(Channel.CANDLES):
                yield Fetch(f"/api/v2/ohlc/{native}/?step={step}&limit={rows}", every=every)

    def begin(self) -> Iterable[Action]:
        yield Connect("/")

    def opened(self) -> Iterable[Action]:
        for stream in self._streams:
            yield Send(f'{{"event":"bts:subscribe","data":{{"channel":"{stream}"}}}}')

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        envelope = wire.envelope.decode(frame)
        match envelope.event:
            case "trade":
                return self._on_trade(envelope, at)
            case "funding_rate_saved":
                return self._on_funding(envelope, at)
            case "data" if envelope.channel.startswith(STREAMS[Channel.BOOK]):
                return self._on_book(envelope, at)
        return _said(envelope)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        kind, _, native = path.lower().removeprefix("/api/v2/").strip("/").partition("/")
        wire.refuse(body)
        match kind:
            case "ticker":
                answer = wire.rest_tickers.decode(body)
                rows = answer if isinstance(answer, list) else [answer]
                return [event for row in rows for event in self._rest_ticker(row, native, at)]
            case "transactions":
                return [self._rest_trade(native, trade, at) for trade in wire.rest_trades.decode(body)]
            case "ohlc":
                rows = wire.rest_ohlc.decode(body).data.ohlc
                return wire.candles(self.symbol(native), query.get("step", ""), rows, at)
            case "funding_rate":
                return [wire.rate(self.symbol(native), wire.funding.decode(body), at)]
            case _ if kind in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        """The last hour's transactions, or the day's for a long hole; a hole is taken to have ended just now."""
        window = "hour" if hole.until - hole.since < NEAR else "day"
        return Fetch(f"/api/v2/transactions/{hole.native}/?time={window}")

    def _market(self, channel: Channel, stream: str) -> tuple[str, str] | None:
        """The symbol of a stream and its native spelling; None where nobody asked for it."""
        native = stream.removeprefix(STREAMS[channel])
        if native == stream:
            raise WireError(f"unknown message kind {stream[:40]!r}")
        symbol = self.symbol(native)
        return (symbol, native) if self.wants(symbol, channel) else None

    def _on_trade(self, envelope: wire.Envelope, at: Nanos) -> Sequence[Output]:
        if (market := self._market(Channel.TRADES, envelope.channel)) is None:
            return ()
        symbol, native = market
        t = wire.trade.decode(envelope.data)
        amount = self._amount(native, t.amount_str)
        positive(t.price_str, amount)
        side: Side = "sell" if t.type else "buy"
        return (Trade("bitstamp", symbol, t.id, t.price_str, amount, side, nanos(t.microtimestamp), at),)

    def _on_funding(self, envelope: wire.Envelope, at: Nanos) -> Sequence[Output]:
        market = self._market(Channel.FUNDING, envelope.channel)
        return () if market is None else (wire.rate(market[0], wire.funding.decode(envelope.data), at),)

    def _on_book(self, envelope: wire.Envelope, at: Nanos) -> Sequence[Output]:
        if (market := self._market(Channel.BOOK, envelope.channel)) is None:
            return ()
        symbol, native = market
        told = wire.book.decode(envelope.data)
        bids, asks, stamp = self._levels(native, told.bids), self._levels(native, told.asks), nanos(told.microtimestamp)
        if symbol not in self._books:
            self._books[symbol] = OrderBook("bitstamp", symbol, self.feed.book)
        return self._books[symbol].retold(bids, asks, stamp, at)

    def _levels(self, native: str, levels: Sequence[Level]) -> Sequence[Level]:
        return [(price, self._amount(native, amount)) for price, amount in levels] if native in self._sizes else levels

    def _amount(self, native: str, amount: Decimal) -> Decimal:
        size = self._sizes.get(native)
        return amount if size is None else EXACT.multiply(amount, size)

    def _rest_ticker(self, row: wire.RestTicker, whose: str, at: Nanos) -> Iterable[Ticker | OpenInterest]:
        native = row.market.replace("/", "").lower() or whose
        symbol, stamp = wire.named(row.market) if row.market else self.symbol(whose), wire.time(row.timestamp)
        if self.wants(symbol, Channel.TICKER):
            quantities(row.bid, row.ask, row.last, row.volume)
            yield Ticker("bitstamp", symbol, row.bid, None, row.ask, None, row.last, row.volume, stamp, at)
        if row.open_interest is not None and self.wants(symbol, Channel.OPEN_INTEREST):
            quantities(row.open_interest)
            yield OpenInterest("bitstamp", symbol, self._amount(native, row.open_interest), stamp, at)

    def _rest_trade(self, native: str, trade: wire.RestTrade, at: Nanos) -> Trade:
        amount = self._amount(native, trade.amount)
        positive(trade.price, amount)
        side: Side = "sell" if trade.type else "buy"
        return Trade("bitstamp", self.symbol(native), trade.tid, trade.price, amount, side, wire.time(trade.date), at)


def _said(envelope: wire.Envelope) -> Sequence[Output]:
    match envelope.event:
        case "bts:subscription_succeeded" | "bts:unsubscription_succeeded":
            return (Ack(envelope.channel),)
        case "bts:error":
            return (Refused(f"{envelope.channel} {wire.words(envelope.data)}".strip()),)
        case "bts:request_reconnect":
            return (Retire("the exchange asked for a new connection"),)
        case event if event in UNUSED:
            return ()
    raise WireError(f"unknown message kind {envelope.event[:40]!r}")


def _streamed(subscriptions: Sequence[Subscription]) -> list[Subscription]:
    """Those that a stream can bring: a spot market has no funding, and would be silent for ever."""
    there = [item for item in subscriptions if item.channel in STREAMS]
    return [item for item in there if item.channel is not Channel.FUNDING or item.native.endswith(PERPETUAL)]
