"""Binance spot.

Documentation: "REST API", "Web Socket Streams for Binance" and "Rest API: Limits" of binance-spot-api-docs.

- Trades come as ``<symbol>@trade``; their ids are +1 per symbol without holes. ``m`` true: the buyer was the maker, so
  the taker sold. ``T`` is the matching engine's time, ``E`` only the event's.
- The best bid and ask come as ``<symbol>@bookTicker``, which names no event type and no time; the last price and the
  day's volume are merged from REST's 24 h ticker, as long as that is fresh.
- A subscription to an unknown symbol is acknowledged and stays silent; so symbols are checked against exchangeInfo.
- Streams are named in the URL; those beyond ``IN_URL`` are subscribed to by message, since a very long URL is refused.
- Five messages a second may be sent on one connection, pings and pongs included; 1,024 streams fit on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

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
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Instrument, Nanos, Side, Ticker, Trade

IN_URL = 100  # streams named in the URL
PER_MESSAGE = 200  # streams named in one SUBSCRIBE
FRESH = 300 * 1_000_000_000  # ns for which REST's last price and volume may stand beside a newer best bid and ask
QUOTES = (
    "USDT USDC FDUSD TUSD BUSD USDP USD1 USDS BTC ETH BNB EUR TRY BRL JPY GBP AUD DAI UAH RUB IDRT BIDR NGN ZAR PLN "
    "RON ARS MXN COP CZK EURI AEUR XRP TRX DOGE SOL VAI PAX BKRW DOT USD"
).split()  # for spelling a symbol that no instrument list told


class _Trade(Struct, tag_field="e", tag="trade"):
    s: str
    t: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class _Quote(Struct):
    """Best bid and ask of ``@bookTicker``: no event type, no time."""

    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal


class _Day(Struct, tag_field="e", tag="24hrTicker"):
    s: str
    E: int
    c: Decimal
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    v: Decimal


class _Candle(Struct):
    """The ``k`` of ``@kline_…``; ``x``: closed."""

    t: int
    i: str
    o: Decimal
    h: Decimal
    l: Decimal
    c: Decimal
    v: Decimal
    x: bool


class _Kline(Struct, tag_field="e", tag="kline"):
    s: str
    k: _Candle


class _Envelope(Struct):
    """Whatever comes: a combined frame, a bare event, an acknowledgement or an error."""

    stream: str = ""
    data: Raw = Raw()
    e: str = ""
    u: int | UnsetType = UNSET
    lastUpdateId: int | UnsetType = UNSET
    id: int | str | None = None
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    code: int | UnsetType = UNSET
    msg: str = ""


class _RestDay(Struct):
    """One symbol of ``/api/v3/ticker/24hr``; the MINI form lacks bid and ask."""

    symbol: str
    lastPrice: Decimal
    volume: Decimal
    closeTime: int
    bidPrice: Decimal | None = None
    bidQty: Decimal | None = None
    askPrice: Decimal | None = None
    askQty: Decimal | None = None


class _RestTrade(Struct):
    id: int
    price: Decimal
    qty: Decimal
    time: int
    isBuyerMaker: bool


class _RestCandle(Struct, array_like=True):
    """The first seven columns of ``/api/v3/klines``."""

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_time: int


class _RestFilter(Struct):
    """One trading rule; the two that matter are found by ``filterType``."""

    filterType: str
    tickSize: Decimal = Decimal(0)
    stepSize: Decimal = Decimal(0)


class _RestSymbol(Struct):
    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str
    filters: list[_RestFilter] = []


class _RestInfo(Struct):
    symbols: list[_RestSymbol]


_envelope = msgspec.json.Decoder(_Envelope)
_trade = msgspec.json.Decoder(_Trade)
_quote = msgspec.json.Decoder(_Quote)
_day = msgspec.json.Decoder(_Day)
_kline = msgspec.json.Decoder(_Kline)
_rest_days = msgspec.json.Decoder(_RestDay | list[_RestDay])
_rest_trades = msgspec.json.Decoder(list[_RestTrade])
_rest_candles = msgspec.json.Decoder(list[_RestCandle])
_rest_info = msgspec.json.Decoder(_RestInfo)

UNUSED = (
    "aggTrade blockTrade 24hrMiniTicker miniTicker avgPrice depthUpdate depth depth5 depth10 depth20 "
    "1hTicker 4hTicker 1dTicker ticker_1h ticker_4h ticker_1d"
).split()
"""Kinds that are known and not collected."""
UNUSED_PATHS = (
    "ping time depth exchangeInfo aggTrades avgPrice uiKlines ticker ticker/price ticker/bookTicker ticker/tradingDay"
).split()

STREAMS = {Channel.TRADES: "trade", Channel.TICKER: "bookTicker"}

Route = Callable[[bytes | Raw, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One combined stream of Binance spot, or the polling of its 24 h tickers."""

    name = "binance"
    rest_url = "https://api.binance.com"
    ws_url = "wss://stream.binance.com:9443"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.CANDLES})
    polled = frozenset({Channel.TICKER})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=1024, sends=4, weight=6000, window=60, used_header="x-mbx-used-weight-1m")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._streams = sorted(self._stream(subscription) for subscription in feed.subscriptions)
        self._routes: dict[str, Route] = {}
        self._kinds: dict[str, Route] = {
            "trade": self._on_trade,
            "bookTicker": self._on_quote,
            "ticker": self._on_day,
            "24hrTicker": self._on_day,
            "kline": self._on_kline,
            "serverShutdown": self._on_shutdown,
            **dict.fromkeys(UNUSED, self._unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/api/v3/exchangeInfo", weight=20),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [_instrument(symbol) for symbol in _rest_info.decode(body).symbols]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.replace("/", "").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        for asset in QUOTES:
            if native.endswith(asset) and native != asset:
                return f"{native.removesuffix(asset)}/{asset}"
        return native

    def polls(self) -> Iterable[Fetch]:
        natives = [item.native for item in self.feed.subscriptions if item.channel is Channel.TICKER]
        if natives:
            listed = quote("[" + ",".join(f'"{native}"' for native in natives) + "]", safe=",")
            weight = 2 if len(natives) <= 20 else 40 if len(natives) <= 100 else 80
            yield Fetch(f"/api/v3/ticker/24hr?symbols={listed}", weight, every=self.feed.interval)

    def begin(self) -> Iterable[Action]:
        yield Connect("/stream?streams=" + "/".join(quote(stream, safe="@") for stream in self._streams[:IN_URL]))

    def opened(self) -> Iterable[Action]:
        rest = self._streams[IN_URL:]
        for number, start in enumerate(range(0, len(rest), PER_MESSAGE), 1):
            request = {"method": "SUBSCRIBE", "params": rest[start : start + PER_MESSAGE], "id": number}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        envelope = _envelope.decode(frame)
        if envelope.stream:
            route = self._routes.get(envelope.stream) or self._route(envelope.stream)
            return route(envelope.data, at)
        if kind := _bare_kind(envelope):
            return self._kind(kind)(frame, at)
        return (_reply(envelope),)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        query = dict(parse_qsl(url.query))
        match url.path.removeprefix("/api/v3/"):
            case "ticker/24hr":
                days = _rest_days.decode(body)
                return [self._rest_day(day, at) for day in (days if isinstance(days, list) else [days])]
            case "trades" | "historicalTrades":
                symbol = self._symbol(_named(query, "symbol"))
                return [_rest_trade(symbol, trade, at) for trade in _rest_trades.decode(body)]
            case "klines":
                symbol, interval = self._symbol(_named(query, "symbol")), _named(query, "interval")
                return [_rest_candle(symbol, interval, candle, at) for candle in _rest_candles.decode(body)]
            case path if path in UNUSED_PATHS:
                return ()
        raise WireError("unknown REST path")

    def _stream(self, subscription: Subscription) -> str:
        kind = STREAMS.get(subscription.channel, f"kline_{self.feed.candle}")
        return f"{subscription.native.lower()}@{kind}"

    def _route(self, stream: str) -> Route:
        """The route of a stream's frames: by its name, unless it is one that nobody asked for."""
        whose, _, kind = stream.partition("@")
        kind = kind.partition("@")[0] if kind not in ("", "arr") else whose.removeprefix("!")
        route = self._kind("kline" if kind.startswith("kline_") else kind)
        uninvited = self._streams and stream not in self._streams and not whose.startswith("!")
        self._routes[stream] = self._unused if uninvited else route
        return self._routes[stream]

    def _kind(self, kind: str) -> Route:
        if kind not in self._kinds:
            raise WireError(f"unknown message kind {kind[:40]!r}")
        return self._kinds[kind]

    def _symbol(self, native: str) -> str:
        if native not in self._symbols:
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _on_trade(self, data: bytes | Raw, at: Nanos) -> Sequence[Output]:
        trade = _trade.decode(data)
        positive(trade.p, trade.q)
        side: Side = "sell" if trade.m else "buy"
        return (Trade("binance", self._symbol(trade.s), trade.t, trade.p, trade.q, side, nanos(trade.T), at),)

    def _on_quote(self, data: bytes | Raw, at: Nanos) -> Sequence[Output]:
        q = _quote.decode(data)
        quantities(q.b, q.B, q.a, q.A)
        symbol = self._symbol(q.s)
        day = self.feed.board.get(symbol)
        last, volume = (day.last, day.volume) if day and at - day.at < FRESH else (None, None)
        return (Ticker("binance", symbol, q.b, q.B, q.a, q.A, last, volume, None, at),)

    def _on_day(self, data: bytes | Raw, at: Nanos) -> Sequence[Output]:
        day = _day.decode(data)
        quantities(day.b, day.B, day.a, day.A, day.c, day.v)
        symbol = self._symbol(day.s)
        self.feed.board[symbol] = Daily(day.c, day.v, at)
        return (Ticker("binance", symbol, day.b, day.B, day.a, day.A, day.c, day.v, nanos(day.E), at),)

    def _on_kline(self, data: bytes | Raw, at: Nanos) -> Sequence[Output]:
        kline = _kline.decode(data)
        k = kline.k
        positive(k.o, k.h, k.l, k.c)
        quantities(k.v)
        prices = (k.o, k.h, k.l, k.c, k.v)
        return (Candle("binance", self._symbol(kline.s), k.i, nanos(k.t), *prices, k.x, at),)

    def _on_shutdown(self, data: bytes | Raw, at: Nanos) -> Sequence[Output]:
        return (Retire("the exchange announced its shutdown"),)

    def _unused(self, data: bytes | Raw, at: Nanos) -> Sequence[Output]:
        return ()

    def _rest_day(self, day: _RestDay, at: Nanos) -> Ticker:
        quantities(day.bidPrice, day.bidQty, day.askPrice, day.askQty, day.lastPrice, day.volume)
        symbol = self._symbol(day.symbol)
        self.feed.board[symbol] = Daily(day.lastPrice, day.volume, at)
        sides = (day.bidPrice, day.bidQty, day.askPrice, day.askQty)
        return Ticker("binance", symbol, *sides, day.lastPrice, day.volume, nanos(day.closeTime), at)


def _bare_kind(envelope: _Envelope) -> str:
    """The kind of a frame that came without a stream's name; empty for a reply."""
    if envelope.lastUpdateId is not UNSET:
        return "depth"
    return envelope.e or ("bookTicker" if envelope.u is not UNSET else "")


def _reply(reply: _Envelope) -> Ack | Refused:
    if reply.error is not UNSET:
        return Refused(f"request {reply.id}: {bytes(reply.error).decode(errors='replace')[:200]}")
    if reply.code is not UNSET:
        return Refused(f"request {reply.id}: {reply.msg[:200]} ({reply.code})")
    if reply.result is not UNSET:
        return Ack(f"request {reply.id}")
    raise WireError("unknown message kind")


def _named(query: Mapping[str, str], key: str) -> str:
    if key not in query:
        raise WireError(f"the request names no {key}")
    return query[key]


def _instrument(symbol: _RestSymbol) -> Instrument:
    rules = {rule.filterType: rule for rule in symbol.filters}
    ticks, lots = rules.get("PRICE_FILTER"), rules.get("LOT_SIZE")
    return Instrument(
        exchange="binance",
        symbol=f"{symbol.baseAsset}/{symbol.quoteAsset}",
        native=symbol.symbol,
        base=symbol.baseAsset,
        quote=symbol.quoteAsset,
        tick_size=(ticks and ticks.tickSize) or None,
        amount_step=(lots and lots.stepSize) or None,
        contract_size=Decimal(1),
        amount_unit=symbol.baseAsset,
        status=symbol.status.lower(),
    )


def _rest_trade(symbol: str, trade: _RestTrade, at: Nanos) -> Trade:
    positive(trade.price, trade.qty)
    side: Side = "sell" if trade.isBuyerMaker else "buy"
    return Trade("binance", symbol, trade.id, trade.price, trade.qty, side, nanos(trade.time), at)


def _rest_candle(symbol: str, interval: str, c: _RestCandle, at: Nanos) -> Candle:
    positive(c.open, c.high, c.low, c.close)
    quantities(c.volume)
    prices = (c.open, c.high, c.low, c.close, c.volume)
    return Candle("binance", symbol, interval, nanos(c.open_time), *prices, nanos(c.close_time) < at, at)
