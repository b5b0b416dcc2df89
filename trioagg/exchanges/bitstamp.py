"""Bitstamp: spot and linear perpetuals under one name.

Documentation: "WebSocket API v2" (public channels, heartbeat, forced reconnection) and "HTTP API" (markets, ticker,
OHLC data, transactions, funding rate, request limits) on bitstamp.net.

- A market is ``btcusd`` or ``btcusd-perp`` in paths and channels, and ``BTC/USD`` or ``BTC/USD-PERP`` in answers of
  REST: the same without the slash and in capitals.
- Trades are numbered across all markets, so a missed one cannot be seen; ``transactions`` of the last minute, hour or
  day overlap. ``type`` 0: the taker bought. ``timestamp`` is in seconds, for perpetuals in milliseconds, so
  ``microtimestamp`` is taken; REST tells a trade's whole second only.
- Best bid and ask, candles and open interest come from REST alone: ticker and OHLC are polled. The ticker has no sizes.
- ``/ticker/NAME/`` of an unknown market answers with all markets; a subscription to one is acknowledged and silent.
- A connection holds 1,024 channels and closes without a word at the next; one message subscribes to one channel.
- ``bts:request_reconnect`` announces the end of a connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Raw, Struct

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
)
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Funding, Instrument, Nanos, OpenInterest, Side, Ticker, Trade

PERPETUAL = "-perp"
CROWD = 10  # markets beyond which one request for all tickers is better than one for each
SECOND = 1_000_000_000  # ns
LIMITED = {b"400.002", b"400.067", b"400.068"}  # response codes that are rate limits
SILENCE = 60.0  # seconds after one, which names none

STEPS = {"1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600}  # seconds of a candle
STEPS |= {"2h": 7200, "4h": 14400, "6h": 21600, "12h": 43200, "1d": 86400, "3d": 259200}
INTERVALS = {str(step): interval for interval, step in STEPS.items()}

QUOTES = "USDT USDC RLUSD EURC USD EUR GBP PAX BTC ETH".split()  # for spelling a symbol that no instrument list told
ODD = {"perlusd": "PERL/USD"}  # what that rule would spell wrongly


class _Envelope(Struct):
    event: str
    channel: str = ""
    data: Raw = Raw()


class _Trade(Struct):
    id: int
    price_str: Decimal
    amount_str: Decimal
    type: Literal[0, 1]
    microtimestamp: int


class _Funding(Struct):
    """What ``funding_rate_…`` tells every second, and ``/funding_rate/`` without the prices."""

    market: str
    funding_rate: Decimal
    timestamp: int
    next_funding_time: int | None = None
    mark_price: Decimal | None = None
    index_price: Decimal | None = None


class _RestMarket(Struct):
    name: str
    market_symbol: str
    base_decimals: int
    counter_decimals: int
    trading: str
    market_type: str = "SPOT"
    payoff_type: str = "Linear"
    contract_size: Decimal = Decimal(1)


class _RestTicker(Struct):
    """One market of ``/ticker/``; only perpetuals have open interest, older answers about one market do not name it."""

    timestamp: int
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    volume: Decimal | None
    market: str = ""
    open_interest: Decimal | None = None


class _RestTrade(Struct):
    date: int
    tid: int
    price: Decimal
    amount: Decimal
    type: Literal[0, 1]


class _RestCandle(Struct):
    timestamp: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class _RestCandles(Struct):
    ohlc: list[_RestCandle]


class _RestOhlc(Struct):
    data: _RestCandles


class _RestError(Struct):
    """What an object may be instead of an answer: a refusal, by one of two forms."""

    response_code: Raw = Raw()
    status: str = ""
    reason: Raw = Raw()


_envelope = msgspec.json.Decoder(_Envelope)
# Not strict: most numbers and all times come as text.
_trade = msgspec.json.Decoder(_Trade, strict=False)
_funding = msgspec.json.Decoder(_Funding, strict=False)
_rest_markets = msgspec.json.Decoder(list[_RestMarket])
_rest_tickers = msgspec.json.Decoder(_RestTicker | list[_RestTicker], strict=False)
_rest_trades = msgspec.json.Decoder(list[_RestTrade], strict=False)
_rest_ohlc = msgspec.json.Decoder(_RestOhlc, strict=False)
_rest_error = msgspec.json.Decoder(_RestError, strict=False)

UNUSED = ("data", "order_created", "order_changed", "order_deleted", "bts:heartbeat")  # known and not collected
UNUSED_PATHS = (
    "markets trading-pairs-info order_book ticker_hour funding_rate_history order_data currencies eur_usd"
).split()

STREAMS = {Channel.TRADES: "live_trades_", Channel.FUNDING: "funding_rate_"}


class Adapter(Exchange):
    """One connection to Bitstamp, or the polling of its tickers and candles."""

    name = "bitstamp"
    rest_url = "https://www.bitstamp.net"
    ws_url = "wss://ws.bitstamp.net"
    streamed = frozenset({Channel.TRADES, Channel.FUNDING})
    polled = frozenset({Channel.TICKER, Channel.CANDLES, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
    }
    limits = Limits(streams=500, sends=20, weight=900, window=60)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {item.native: item.symbol for item in feed.subscriptions}
        self._symbols |= {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._sizes = {item.native: item.contract_size for item in feed.instruments if item.contract_size != 1}
        self._wanted = {(item.channel, item.native) for item in feed.subscriptions}
        self._streams = [STREAMS[item.channel] + item.native for item in _streamed(feed.subscriptions)]

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v2/markets/"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [_instrument(market) for market in _rest_markets.decode(body) if _is_ours(market)]

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.lower().partition(":")
        return pair.replace("/", "") + (PERPETUAL if settled else "")

    @classmethod
    def unified(cls, native: str) -> str:
        pair = native.removesuffix(PERPETUAL)
        symbol = ODD.get(pair) or _parted(pair.upper())
        return f"{symbol}:{symbol.partition('/')[2]}" if "/" in symbol and pair != native else symbol

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        return super().connections(_streamed(subscriptions))

    def polls(self) -> Iterable[Fetch]:
        every = self.feed.interval
        tickers = self._natives(Channel.TICKER)
        tickers |= {native: None for native in self._natives(Channel.OPEN_INTEREST) if native.endswith(PERPETUAL)}
        paths = [f"/api/v2/ticker/{native}/" for native in tickers]
        yield from (Fetch(path, every=every) for path in (paths if len(paths) <= CROWD else ["/api/v2/ticker/"]))
        if step := STEPS.get(self.feed.candle):
            rows = min(1000, 3 + int(every // step))  # so many that a late poll misses none
            for native in self._natives(Channel.CANDLES):
                yield Fetch(f"/api/v2/ohlc/{native}/?step={step}&limit={rows}", every=every)

    def begin(self) -> Iterable[Action]:
        yield Connect("/")

    def opened(self) -> Iterable[Action]:
        for stream in self._streams:
            yield Send(f'{{"event":"bts:subscribe","data":{{"channel":"{stream}"}}}}')

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        envelope = _envelope.decode(frame)
        match envelope.event:
            case "trade":
                return self._on_trade(envelope, at)
            case "funding_rate_saved":
                return self._on_funding(envelope, at)
            case "bts:subscription_succeeded" | "bts:unsubscription_succeeded":
                return (Ack(envelope.channel),)
            case "bts:error":
                return (Refused(f"{envelope.channel} {_text(envelope.data)}".strip()),)
            case "bts:request_reconnect":
                return (Retire("the exchange asked for a new connection"),)
            case event if event in UNUSED:
                return ()
        raise WireError(f"unknown message kind {envelope.event[:40]!r}")

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        kind, _, native = url.path.lower().removeprefix("/api/v2/").strip("/").partition("/")
        _refuse(body)
        match kind:
            case "ticker":
                answer = _rest_tickers.decode(body)
                rows = answer if isinstance(answer, list) else [answer]
                return [event for row in rows for event in self._rest_ticker(row, native, at)]
            case "transactions":
                return [self._rest_trade(native, trade, at) for trade in _rest_trades.decode(body)]
            case "ohlc":
                step = parse_qs(url.query).get("step", [""])[0]
                return _rest_candles(self._symbol(native), step, _rest_ohlc.decode(body).data.ohlc, at)
            case "funding_rate":
                return [_rate(self._symbol(native), _funding.decode(body), at)]
            case _ if kind in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def _natives(self, channel: Channel) -> dict[str, None]:
        return dict.fromkeys(item.native for item in self.feed.subscriptions if item.channel is channel)

    def _is_wanted(self, channel: Channel, native: str) -> bool:
        return not self._wanted or (channel, native) in self._wanted

    def _symbol(self, native: str) -> str:
        if native not in self._symbols:
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _market(self, channel: Channel, stream: str) -> str | None:
        """The market of a stream; None where nobody asked for it."""
        native = stream.removeprefix(STREAMS[channel])
        if native == stream:
            raise WireError(f"unknown message kind {stream[:40]!r}")
        return native if self._is_wanted(channel, native) else None

    def _on_trade(self, envelope: _Envelope, at: Nanos) -> Sequence[Output]:
        native = self._market(Channel.TRADES, envelope.channel)
        if native is None:
            return ()
        t = _trade.decode(envelope.data)
        amount = self._amount(native, t.amount_str)
        positive(t.price_str, amount)
        side: Side = "sell" if t.type else "buy"
        return (Trade("bitstamp", self._symbol(native), t.id, t.price_str, amount, side, nanos(t.microtimestamp), at),)

    def _on_funding(self, envelope: _Envelope, at: Nanos) -> Sequence[Output]:
        native = self._market(Channel.FUNDING, envelope.channel)
        return () if native is None else (_rate(self._symbol(native), _funding.decode(envelope.data), at),)

    def _amount(self, native: str, amount: Decimal) -> Decimal:
        size = self._sizes.get(native)
        return amount if size is None else amount * size

    def _rest_ticker(self, row: _RestTicker, asked: str, at: Nanos) -> Iterable[Ticker | OpenInterest]:
        native = row.market.replace("/", "").lower() or asked
        if row.market:
            self._symbols.setdefault(native, _symbol_of(row.market))
        symbol, stamp = self._symbol(native), _time(row.timestamp)
        if self._is_wanted(Channel.TICKER, native):
            quantities(row.bid, row.ask, row.last, row.volume)
            yield Ticker("bitstamp", symbol, row.bid, None, row.ask, None, row.last, row.volume, stamp, at)
        if row.open_interest is not None and self._is_wanted(Channel.OPEN_INTEREST, native):
            quantities(row.open_interest)
            yield OpenInterest("bitstamp", symbol, self._amount(native, row.open_interest), stamp, at)

    def _rest_trade(self, native: str, trade: _RestTrade, at: Nanos) -> Trade:
        amount = self._amount(native, trade.amount)
        positive(trade.price, amount)
        side: Side = "sell" if trade.type else "buy"
        return Trade("bitstamp", self._symbol(native), trade.tid, trade.price, amount, side, _time(trade.date), at)


def _streamed(subscriptions: Sequence[Subscription]) -> list[Subscription]:
    """Those that a stream can bring: a spot market has no funding, and would be silent for ever."""
    there = [item for item in subscriptions if item.channel in STREAMS]
    return [item for item in there if item.channel is Channel.TRADES or item.native.endswith(PERPETUAL)]


def _parted(pair: str) -> str:
    """``BTCUSD`` as ``BTC/USD``; ``pair`` itself where unclear."""
    for asset in QUOTES:
        if pair.endswith(asset) and pair != asset:
            return f"{pair.removesuffix(asset)}/{asset}"
    return pair


def _time(stamp: int) -> Nanos:
    """A time in seconds, or in anything finer."""
    return stamp * SECOND if 0 <= stamp < 9_000_000_000 else nanos(stamp)


def _refuse(body: bytes) -> None:
    """Tell a refusal that comes in place of an answer."""
    if not body.lstrip().startswith(b"{"):
        return
    error = _rest_error.decode(body)
    if bytes(error.response_code).strip(b'"') in LIMITED:
        raise RateLimited(f"response code {_text(error.response_code)}", SILENCE)
    if error.status == "error" or bytes(error.response_code):
        raise WireError(f"refused: {_text(error.reason) or _text(error.response_code)}")


def _text(raw: Raw) -> str:
    return bytes(raw).decode(errors="replace")[:200]


def _symbol_of(name: str) -> str:
    """``BTC/USD-PERP`` as it is written elsewhere."""
    pair = name.upper().removesuffix(PERPETUAL.upper())
    return pair if pair == name.upper() else f"{pair}:{pair.partition('/')[2]}"


def _is_ours(market: _RestMarket) -> bool:
    linear = market.payoff_type == "Linear" and market.market_symbol.endswith(PERPETUAL)
    return "/" in market.name and (linear if market.market_type == "PERPETUAL" else market.market_type == "SPOT")


def _instrument(market: _RestMarket) -> Instrument:
    symbol = _symbol_of(market.name)
    base, quote = symbol.partition(":")[0].split("/", 1)
    return Instrument(
        exchange="bitstamp",
        symbol=symbol,
        native=market.market_symbol,
        base=base,
        quote=quote,
        tick_size=Decimal(1).scaleb(-market.counter_decimals),
        amount_step=Decimal(1).scaleb(-market.base_decimals),
        contract_size=market.contract_size,
        amount_unit=base,
        status="trading" if market.trading == "Enabled" else market.trading.lower(),
    )


def _rate(symbol: str, f: _Funding, at: Nanos) -> Funding:
    quantities(abs(f.funding_rate), f.mark_price, f.index_price)
    due = None if f.next_funding_time is None else _time(f.next_funding_time)
    return Funding("bitstamp", symbol, f.funding_rate, f.mark_price, f.index_price, due, _time(f.timestamp), at)


def _rest_candles(symbol: str, step: str, rows: Sequence[_RestCandle], at: Nanos) -> list[Candle]:
    """Candles are closed once another follows, or twice their time has passed."""
    if step not in INTERVALS:
        raise WireError(f"unknown step {step[:40]!r}")
    newest = max((row.timestamp for row in rows), default=0)
    candles = []
    for row in rows:
        prices = (row.open, row.high, row.low, row.close)
        positive(*prices)
        quantities(row.volume)
        begin = _time(row.timestamp)
        closed = row.timestamp < newest or begin + 2 * int(step) * SECOND <= at
        candles.append(Candle("bitstamp", symbol, INTERVALS[step], begin, *prices, row.volume, closed, at))
    return candles
