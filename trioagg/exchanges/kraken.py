"""Kraken spot.

Documentation: "WebSocket v2" (trade, ticker, ohlc, status, heartbeat, ping) and "Market Data" of the Spot REST API
(AssetPairs, Ticker, Trades, OHLC) on docs.kraken.com.

- The WebSocket spells ``BTC/USD`` as everyone does. REST has three more spellings of the same market: ``XBT/USD``
  (wsname), ``XBTUSD`` (altname) and ``XXBTZUSD`` (the key of its answers, which may differ from what was asked for).
- Trades are numbered +1 per market; the documentation promises a sequence, one sample of it shows holes. The newest 50
  come again on subscribing, which closes short gaps.
- Numbers are JSON numbers with every digit, times are RFC 3339. One acknowledgement comes per market.
- Candles bear no mark of their end: one is closed when the next of its market comes. REST tells: up to ``last``.
- REST answers errors with HTTP 200; ``EService: Throttled`` names the second until which to be silent.
- A heartbeat comes every second without data, so none is owed to the exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from attrs import evolve
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Ack, Action, Connect, Exchange, Feed, Fetch, Limits, Output, Proof, Refused, Send
from trioagg.exchanges._kraken import altname, rfc3339, unified
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Instrument, Nanos, Side, Ticker, Trade

PER_MESSAGE = 100  # markets named in one subscription, or in one request
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440, "1w": 10080, "15d": 21600}
INTERVALS = {str(minutes): interval for interval, minutes in MINUTES.items()}

SILENCES = {
    "Too many requests": 15.0,
    "Rate limit exceeded": 15.0,
    "Throttled": 15.0,
    "Temporary lockout": 900.0,
    "EService:": 5.0,
}  # errors that pass, and the seconds to leave the exchange alone where it names none


class _Subscribed(Struct):
    channel: str = ""
    symbol: str = ""


class _Envelope(Struct):
    """Whatever comes: a channel's message, the answer to a request, or an error."""

    channel: str = ""
    type: str = ""
    data: Raw = Raw()
    method: str = ""
    success: bool = False
    result: _Subscribed | None = None
    error: str | None = None
    symbol: str = ""


class _Trade(Struct):
    symbol: str
    side: Side
    price: Decimal
    qty: Decimal
    trade_id: int
    timestamp: str


class _Ticker(Struct):
    """Best bid and ask, with the last price and the day's volume; older messages lack the time."""

    symbol: str
    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    last: Decimal
    volume: Decimal
    timestamp: str | None = None


class _Candle(Struct):
    """One ``ohlc``; ``interval`` in minutes."""

    symbol: str
    interval: int
    interval_begin: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class _Answer(Struct):
    """What REST always answers; ``result`` is absent after an error."""

    error: list[str]
    result: dict[str, Raw] = {}


class _RestPair(Struct):
    """A market; dark pools have no ``wsname``."""

    lot_decimals: int
    wsname: str = ""
    tick_size: Decimal | None = None
    status: str = "online"


class _Figures(Struct, array_like=True):
    """A price with the size in whole lots and the size, or a volume of today and of 24 hours."""

    first: Decimal
    second: Decimal
    third: Decimal = Decimal(0)


class _RestTicker(Struct):
    """Ask, bid, last and volume."""

    a: _Figures
    b: _Figures
    c: _Figures
    v: _Figures


class _RestTrade(Struct, array_like=True):
    """``time`` in seconds; ``b`` and ``s`` are the taker's side."""

    price: Decimal
    amount: Decimal
    time: Decimal
    side: Literal["b", "s"]
    kind: str
    misc: str
    trade_id: int


class _RestCandle(Struct, array_like=True):
    """One row of ``OHLC``; ``time`` in seconds."""

    time: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal


_envelope = msgspec.json.Decoder(_Envelope)
_trades = msgspec.json.Decoder(list[_Trade])
_tickers = msgspec.json.Decoder(list[_Ticker])
_candles = msgspec.json.Decoder(list[_Candle])
_answer = msgspec.json.Decoder(_Answer)
_rest_pair = msgspec.json.Decoder(_RestPair)
_rest_ticker = msgspec.json.Decoder(_RestTicker)
_rest_trades = msgspec.json.Decoder(list[_RestTrade])
_rest_candles = msgspec.json.Decoder(list[_RestCandle])
_integer = msgspec.json.Decoder(int)

REQUESTS: Mapping[Channel, Mapping[str, object]] = {
    Channel.TRADES: {"channel": "trade"},
    Channel.TICKER: {"channel": "ticker", "event_trigger": "bbo"},
    Channel.CANDLES: {"channel": "ohlc"},
}
UNUSED = ("heartbeat", "status", "instrument", "book", "level3")  # known and not collected
UNUSED_PATHS = ("Time", "SystemStatus", "Assets", "AssetPairs", "Depth", "GroupedBook", "Spread")


class _Markets(dict[str, str | None]):
    """A market in any spelling → its symbol, or None where nobody asked for it on this channel."""

    def __init__(self, feed: Feed, channel: Channel) -> None:
        super().__init__()
        self._wanted = {item.symbol for item in feed.subscriptions if item.channel is channel}
        self._all = not feed.subscriptions

    def __missing__(self, name: str) -> str | None:
        symbol = unified(name)
        self[name] = symbol if self._all or symbol in self._wanted else None
        return self[name]


class Adapter(Exchange):
    """One connection to Kraken's public stream, or the polling of its tickers."""

    name = "kraken"
    rest_url = "https://api.kraken.com"
    ws_url = "wss://ws.kraken.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.CANDLES})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=500, sends=2, weight=5, window=5)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._trades = _Markets(feed, Channel.TRADES)
        self._tickers = _Markets(feed, Channel.TICKER)
        self._candles = _Markets(feed, Channel.CANDLES)
        self._newest: dict[tuple[str, str], Candle] = {}
        routes = {"trade": self._on_trades, "ticker": self._on_tickers, "ohlc": self._on_candles}
        self._routes: Mapping[str, Callable[[_Envelope, Nanos], Sequence[Output]]] = routes

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/0/public/AssetPairs"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        pairs = [_rest_pair.decode(raw) for raw in _result(body).values()]
        return [_instrument(pair) for pair in pairs if "/" in pair.wsname]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return unified(native)

    def polls(self) -> Iterable[Fetch]:
        natives = self._natives(Channel.TICKER)
        for start in range(0, len(natives), PER_MESSAGE):
            pairs = ",".join(altname(native) for native in natives[start : start + PER_MESSAGE])
            yield Fetch(f"/0/public/Ticker?pair={pairs}", every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Connect("/v2")

    def opened(self) -> Iterable[Action]:
        for number, params in enumerate(self._requests(), 1):
            request = {"method": "subscribe", "params": params, "req_id": number}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        envelope = _envelope.decode(frame)
        if route := self._routes.get(envelope.channel):
            return route(envelope, at)
        if envelope.channel in UNUSED:
            return ()
        if envelope.channel:
            raise WireError(f"unknown message kind {envelope.channel[:40]!r}")
        return _reply(envelope)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        _silence(body, at)
        result = _result(body)
        last = result.pop("last", Raw())
        rows = [(unified(query.get("pair", key)), raw) for key, raw in result.items()]
        match url.path.removeprefix("/0/public/"):
            case "Ticker":
                found = [(self._tickers[key], raw) for key, raw in result.items()]
                return [_rest_day(symbol, _rest_ticker.decode(raw), at) for symbol, raw in found if symbol]
            case "Trades":
                return [_rest_trade(symbol, row, at) for symbol, raw in rows for row in _rest_trades.decode(raw)]
            case "OHLC":
                newest, interval = _integer.decode(last), _interval(query.get("interval", "1"))
                return [
                    _candle((symbol, interval), _moment(row.time), row, closed=row.time <= newest, at=at)
                    for symbol, raw in rows
                    for row in _rest_candles.decode(raw)
                ]
            case path if path in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def _natives(self, channel: Channel) -> list[str]:
        return [item.native for item in self.feed.subscriptions if item.channel is channel]

    def _requests(self) -> Iterable[dict[str, object]]:
        for channel, request in REQUESTS.items():
            minutes = {"interval": MINUTES[self.feed.candle]} if channel is Channel.CANDLES else {}
            natives = self._natives(channel)
            for start in range(0, len(natives), PER_MESSAGE):
                yield {**request, **minutes, "symbol": natives[start : start + PER_MESSAGE], "snapshot": True}

    def _on_trades(self, message: _Envelope, at: Nanos) -> Sequence[Output]:
        out = []
        for t in _trades.decode(message.data):
            if symbol := self._trades[t.symbol]:
                positive(t.price, t.qty)
                out.append(Trade("kraken", symbol, t.trade_id, t.price, t.qty, t.side, rfc3339(t.timestamp), at))
        return out

    def _on_tickers(self, message: _Envelope, at: Nanos) -> Sequence[Output]:
        out = []
        for t in _tickers.decode(message.data):
            if symbol := self._tickers[t.symbol]:
                prices = (t.bid, t.bid_qty, t.ask, t.ask_qty, t.last, t.volume)
                quantities(*prices)
                stamp = None if t.timestamp is None else rfc3339(t.timestamp)
                out.append(Ticker("kraken", symbol, *prices, stamp, at))
        return out

    def _on_candles(self, message: _Envelope, at: Nanos) -> Sequence[Output]:
        """Each candle's newest state; the one that a newer one follows is told again, closed."""
        newest = {} if message.type == "snapshot" else dict(self._newest)  # those before a pause may be stale
        out: dict[tuple[str, str, Nanos], Candle] = {}
        for row in _candles.decode(message.data):
            if symbol := self._candles[row.symbol]:
                market = (symbol, _interval(row.interval))
                begin = rfc3339(row.interval_begin)
                before = newest.get(market)
                late = before is not None and begin < before.open_time
                if before and before.open_time < begin:
                    out[(*market, before.open_time)] = evolve(before, closed=True, received=at)
                candle = out[(*market, begin)] = _candle(market, begin, row, closed=late, at=at)
                newest |= {} if late else {market: candle}
        self._newest |= newest
        return list(out.values())


def _reply(reply: _Envelope) -> Sequence[Output]:
    if reply.error is not None:
        return (Refused(f"{reply.method or 'request'} {reply.symbol}: {reply.error[:200]}".replace(" :", ":")),)
    if reply.method == "pong":
        return ()
    if reply.method in ("subscribe", "unsubscribe") and reply.success and reply.result:
        return (Ack(f"{reply.method} {reply.result.channel} {reply.result.symbol}".rstrip()),)
    raise WireError(f"unknown message kind {reply.method[:40]!r}")


def _result(body: bytes) -> dict[str, Raw]:
    answer = _answer.decode(body)
    if errors := [error for error in answer.error if not error.startswith("W")]:  # those are warnings
        raise WireError(errors[0][:200])
    if not answer.result:
        raise WireError("an answer without a result")
    return answer.result


def _silence(body: bytes, at: Nanos) -> None:
    """Obey a demand for silence; one that names a unix time means until then, kept within bounds."""
    for error in _answer.decode(body).error:
        seconds = next((seconds for words, seconds in SILENCES.items() if words in error), None)
        until = error.rpartition(":")[2].strip()
        if seconds and until.isascii() and until.isdecimal() and len(until) < 12:
            seconds = min(max(int(until) - at / 1_000_000_000, 1.0), 900.0)
        if seconds:
            raise RateLimited(error[:200], seconds)


def _interval(minutes: int | str) -> str:
    return INTERVALS.get(str(minutes), f"{minutes}m")


def _moment(seconds: Decimal) -> Nanos:
    positive(seconds)
    return nanos(int(seconds) * 1000) + int(seconds % 1 * 1_000_000_000)


def _instrument(pair: _RestPair) -> Instrument:
    base, quote = unified(pair.wsname).split("/", 1)
    return Instrument(
        exchange="kraken",
        symbol=f"{base}/{quote}",
        native=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick_size=pair.tick_size,
        amount_step=Decimal(1).scaleb(-pair.lot_decimals),
        contract_size=Decimal(1),
        amount_unit=base,
        status="trading" if pair.status == "online" else pair.status.lower(),
    )


def _candle(market: tuple[str, str], begin: Nanos, row: _Candle | _RestCandle, *, closed: bool, at: Nanos) -> Candle:
    prices = (row.open, row.high, row.low, row.close)
    positive(*prices)
    quantities(row.volume)
    return Candle("kraken", *market, begin, *prices, row.volume, closed=closed, received=at)


def _rest_day(symbol: str, t: _RestTicker, at: Nanos) -> Ticker:
    prices = (t.b.first, t.b.third, t.a.first, t.a.third, t.c.first, t.v.second)
    quantities(*prices)
    return Ticker("kraken", symbol, *prices, None, at)


def _rest_trade(symbol: str, t: _RestTrade, at: Nanos) -> Trade:
    positive(t.price, t.amount)
    side: Side = "buy" if t.side == "b" else "sell"
    return Trade("kraken", symbol, t.trade_id, t.price, t.amount, side, _moment(t.time), at)
