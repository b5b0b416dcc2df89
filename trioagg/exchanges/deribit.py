"""Deribit: perpetual contracts, inverse and linear, and spot.

Documentation: "JSON-RPC Overview", "Rate Limits", "Connection Management", "Market Data" (public/get_instruments,
get_last_trades_by_instrument, get_tradingview_chart_data, ticker) and "Subscriptions" on docs.deribit.com.

- Trades come as ``trades.I.100ms``, several in one frame. Their ``trade_seq`` is +1 per instrument and is the id here;
  their ``trade_id`` is shared by all instruments of a currency. ``direction`` is the taker's.
- ``amount`` is in USD for inverse contracts, else in the base currency: never in contracts.
- ``ticker.I.100ms`` tells best bid and ask, last price, volume, funding and open interest at once. Funding is paid
  without pause; its rate is that of eight hours.
- ``book.I.100ms`` begins with the whole book and goes on with changes; each names by ``prev_change_id`` the one before
  it, and the numbers jump. A book whose chain breaks is unsubscribed from and begun anew: subscribing again alone
  brings no snapshot.
- Liquidations have no channel: a trade says whose position it closed by force.
- Numbers and times are JSON numbers, exponents included. An empty side of the book has the price nought.
- Unknown channels are left out of the acknowledgement, without a word: what is missing in it was refused.
- ``.raw`` channels need a login and would refuse a whole request. Breaking the limits closes the session.
- The server is asked to test the connection every 30 s; its ``test_request`` must be answered.
- Candles bear no mark of their end: one is closed once a later one has come. REST's: once its time is over.
- Read from REST: ``get_last_trades_by_…``, ``ticker``, ``get_tradingview_chart_data``, ``get_time``.
- Futures with an end and options are not listed; what a capture holds of them keeps Deribit's names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from msgspec import UNSET, Raw

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
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
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _deribit as wire
from trioagg.exchanges._books import ChainedBook
from trioagg.exchanges._records import Newest, Query, asked, known, unused
from trioagg.exchanges._times import length, nanos
from trioagg.model import Channel, Event, Instrument, Nanos

HEARTBEAT, TEST, SUBSCRIBE, FORGET, ANEW = 1, 2, 3, 4, 5  # the numbers of our requests
PASSING = (wire.HASTE, 10040, 10047, 11051, 13028, 13888)  # codes of refusals that a later try may not meet

STREAMS = {
    Channel.TRADES: "trades.{}.100ms",
    Channel.LIQUIDATIONS: "trades.{}.100ms",
    Channel.TICKER: "ticker.{}.100ms",
    Channel.BOOK: "book.{}.100ms",
    Channel.FUNDING: "ticker.{}.100ms",
    Channel.OPEN_INTEREST: "ticker.{}.100ms",
}
OF_CONTRACTS = (Channel.LIQUIDATIONS, Channel.FUNDING, Channel.OPEN_INTEREST)

Route = Callable[[str, Raw, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Deribit."""

    name = "deribit"
    rest_url = "https://www.deribit.com"
    ws_url = "wss://www.deribit.com"
    streamed = frozenset({Channel.CANDLES, *STREAMS})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.ID,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=500, sends=3, weight=20, window=2)
    clock = Fetch("/api/v2/public/get_time")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        ours = [item for item in feed.subscriptions if _offered(item)]
        self._streams = {stream for item in ours if (stream := _stream(item, feed.candle))}
        self._newest = Newest()
        self._ticks: dict[str, wire.Tick] = {}
        self._books: dict[str, ChainedBook] = {}
        self._routes: dict[str, Route] = {
            "trades": self._on_trades,
            "ticker": self._on_ticker,
            "book": self._on_book,
            "quote": self._on_quote,
            "chart": self._on_candle,
            **dict.fromkeys(wire.UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        path = "/api/v2/public/get_instruments?currency=any&kind="
        return Fetch(f"{path}future", weight=10), Fetch(f"{path}spot", weight=10)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return wire.instruments(wire.result(wire.answer(body)))

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.partition(":")
        base, _, quoted = pair.partition("/")
        if not settled:
            return f"{base}_{quoted}"
        return f"{base}-PERPETUAL" if settled == base else f"{base}_{quoted}-PERPETUAL"

    @classmethod
    def unified(cls, native: str) -> str:
        return wire.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        return super().connections([item for item in subscriptions if _offered(item)])

    def begin(self) -> Iterable[Action]:
        yield Connect("/ws/api/v2")

    def opened(self) -> Iterable[Action]:
        yield _request(HEARTBEAT, "set_heartbeat", interval=30)
        if self._streams:
            yield _request(SUBSCRIBE, "subscribe", channels=sorted(self._streams))
        if self.feed.candle not in wire.RESOLUTIONS and self.natives(Channel.CANDLES):
            yield Refused(f"there are no candles of {self.feed.candle}")

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frames.decode(frame)
        channel = told.params.channel
        if told.method == "subscription" and channel:
            if (route := self._routes.get(channel.partition(".")[0])) is None:
                raise WireError(f"unknown message kind {channel[:40]!r}")
            if self._streams and channel not in self._streams:
                return ()
            return route(channel, told.params.data, at)
        if told.method:
            return _beat(told)
        return self._reply(told)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        path, told = path.removeprefix("/api/v2/public/"), wire.answer(body)
        if path in wire.UNUSED_PATHS:
            return ()
        match path:
            case "ticker":
                return self._on_ticker("", wire.result(told), at)
            case "get_tradingview_chart_data":
                return self._rest_candles(query, wire.result(told), at)
            case _ if path.startswith("get_last_trades_by_"):
                trades = wire.rest_deals.decode(wire.result(told)).trades
                return [wire.trade(self.symbol(trade.instrument_name), trade, at) for trade in trades]
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch | None:
        if hole.first is None:
            return None
        numbers = f"start_seq={hole.first}&end_seq={hole.last}&count=1000&sorting=asc"
        return Fetch(f"/api/v2/public/get_last_trades_by_instrument?instrument_name={hole.native}&{numbers}")

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.integer.decode(wire.result(wire.answer(body))))

    def _reply(self, told: wire.Frame) -> Sequence[Output]:
        if told.error is not UNSET:
            return _refused(told.error, told.id)
        if told.result is UNSET:
            raise WireError("unknown message kind")
        if told.id == FORGET or not bytes(told.result).startswith(b"["):
            return ()
        heard = wire.names.decode(told.result)
        if any(stream.startswith("chart.") for stream in heard):
            self._newest = Newest()  # in a replay, what was the newest candle before may be stale
        lacking = sorted(self._streams - set(heard)) if told.id == SUBSCRIBE else []
        return [*map(Ack, heard), *(Refused(f"{stream}: passed over without a word") for stream in lacking)]

    def _on_trades(self, channel: str, data: Raw, at: Nanos) -> Sequence[Output]:
        out: list[Output] = []
        for told in wire.deals.decode(data):
            symbol = self.symbol(told.instrument_name)
            trade = wire.trade(symbol, told, at)
            if self.wants(symbol, Channel.TRADES):
                out.append(trade)
            if told.liquidation and self.wants(symbol, Channel.LIQUIDATIONS):
                out += wire.liquidations(symbol, told, at)
        return out

    def _on_ticker(self, channel: str, data: Raw, at: Nanos) -> Sequence[Output]:
        """What a ticker tells, as far as it is collected; funding and open interest only where they changed."""
        told = wire.tick.decode(data)
        symbol, volume = self.symbol(told.instrument_name), told.stats.volume
        before = self._ticks.get(symbol)
        quote = wire.ticker(symbol, told, told.last_price, volume, at=at)
        events: list[Event] = [quote] if self.wants(symbol, Channel.TICKER) else []
        if self.wants(symbol, Channel.FUNDING) and wire.paid(told) != wire.paid(before):
            events += wire.funding(symbol, told, at)
        if self.wants(symbol, Channel.OPEN_INTEREST) and (not before or told.open_interest != before.open_interest):
            events += wire.interest(symbol, told, at)
        self._ticks[symbol] = told
        if told.last_price is not None and volume is not None:
            self.feed.board[symbol] = Daily(told.last_price, volume, at)
        return events

    def _on_quote(self, channel: str, data: Raw, at: Nanos) -> Sequence[Output]:
        told = wire.quote.decode(data)
        symbol = self.symbol(told.instrument_name)
        return (wire.ticker(symbol, told, *self.daily(symbol, at), at=at),)

    def _on_book(self, channel: str, data: Raw, at: Nanos) -> Sequence[Output]:
        if channel.count(".") != 2:  # grouped: a few levels, whole each time
            return ()
        told, book = wire.book.decode(data), self._books.get(channel)
        if book is None:
            book = self._books[channel] = ChainedBook("deribit", self.symbol(told.instrument_name), self.feed.book)
        out = (book.begin if told.type == "snapshot" else book.follow)(wire.change(told), at)
        return [*out, *_anew(channel)] if book.due(at) else out

    def _on_candle(self, channel: str, data: Raw, at: Nanos) -> Sequence[Output]:
        """A candle's newest state; before it, the one that it closes."""
        match channel.split("."):
            case ["chart", "trades", native, resolution]:
                market = self.symbol(native), known(resolution, wire.INTERVALS, "resolution")
                return self._newest.told([wire.told_candle(market, wire.bar.decode(data), at, closed=False)])
        raise WireError(f"unknown message kind {channel[:40]!r}")

    def _rest_candles(self, query: Query, data: Raw, at: Nanos) -> Sequence[Output]:
        interval = known(query["resolution"], wire.INTERVALS, "resolution")
        market, over = (self.symbol(query["instrument_name"]), interval), at - length(interval)
        rows = wire.bars(wire.rest_bars.decode(data))
        return [wire.told_candle(market, row, at, closed=nanos(row.tick) <= over) for row in rows]


def _offered(subscription: Subscription) -> bool:
    return ":" in subscription.symbol or subscription.channel not in OF_CONTRACTS


def _stream(subscription: Subscription, candle: str) -> str:
    """The channel to subscribe to; empty for candles of a length that there is none of."""
    if subscription.channel is not Channel.CANDLES:
        return STREAMS[subscription.channel].format(subscription.native)
    resolution = wire.RESOLUTIONS.get(candle)
    return f"chart.trades.{subscription.native}.{resolution}" if resolution else ""


def _request(number: int, method: str, **params: object) -> Send:
    request = {"jsonrpc": "2.0", "id": number, "method": f"public/{method}", "params": params}
    return Send(msgspec.json.encode(request).decode())


def _anew(channel: str) -> list[Send]:
    """Ask for a market's book from its beginning."""
    requests = ((FORGET, "unsubscribe"), (ANEW, "subscribe"))
    return [_request(number, method, channels=[channel]) for number, method in requests]


def _beat(told: wire.Frame) -> Sequence[Output]:
    match told.method, told.params.type:
        case "heartbeat", "test_request":
            return (_request(TEST, "test"),)
        case "heartbeat", "heartbeat":
            return ()
    raise WireError(f"unknown message kind {told.method[:40]!r}")


def _refused(error: wire.Complaint, number: int | str | None) -> Sequence[Output]:
    """A request that may pass later is tried again on a new connection: else its channels would stay silent."""
    if error.code in PASSING and number != TEST:
        return (Retire(wire.complaint(error)),)
    return (Refused(f"request {'?' if number is None else number}: {wire.complaint(error)}"[:300]),)
