"""Binance spot's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Generic, TypeVar, Union, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from trioagg.errors import WireError
from trioagg.exchanges import Ack, Refused
from trioagg.exchanges._numbers import Number, positive
from trioagg.exchanges._records import Market, candle, spot
from trioagg.exchanges._times import nanos
from trioagg.model import Candle, Instrument, Level, Nanos, Side, Trade

E = TypeVar("E")

UNUSED = (
    "aggTrade blockTrade 24hrMiniTicker miniTicker avgPrice depth5 depth10 depth20 "
    "1hTicker 4hTicker 1dTicker ticker_1h ticker_4h ticker_1d"
).split()
"""Kinds that are known and not collected."""

STREAMS = 10_000
"""Streams whose types are kept: more than a process has."""

STEPS = (("PRICE_FILTER", "tickSize"), ("LOT_SIZE", "stepSize"))
"""Which rule tells the smallest step of the price and of the amount."""


class Deal(Struct, tag_field="e", tag="trade", gc=False):
    """``@trade``; ``m``: the buyer was the maker."""

    s: str
    t: Number
    p: Decimal
    q: Decimal
    T: int
    m: bool


class Quote(Struct, gc=False):
    """Best bid and ask of ``@bookTicker``: no event type, no time."""

    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal


class Day(Struct, tag_field="e", tag="24hrTicker"):
    """``@ticker``."""

    s: str
    E: int
    c: Decimal
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    v: Decimal


class Depth(Struct, tag_field="e", tag="depthUpdate"):
    """Changes ``U`` to ``u`` of a book."""

    s: str
    E: int
    U: int
    u: int
    b: list[Level]
    a: list[Level]


class Bar(Struct):
    """The ``k`` of ``@kline_…``; ``x``: closed."""

    t: int
    i: str
    o: Decimal
    h: Decimal
    l: Decimal
    c: Decimal
    v: Decimal
    x: bool


class Kline(Struct, tag_field="e", tag="kline"):
    """``@kline_…``."""

    s: str
    k: Bar


class Shutdown(Struct, tag_field="e", tag="serverShutdown"):
    """``serverShutdown``, which is about no market."""

    s: str = ""


class Combined(Struct, Generic[E], gc=False):
    """A frame of a combined stream."""

    data: E


class Envelope(Struct):
    """Whatever comes: a combined frame, a bare event, an acknowledgement or an error."""

    stream: str = ""
    e: str = ""
    u: int | UnsetType = UNSET
    lastUpdateId: int | UnsetType = UNSET
    id: int | str | None = None
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    code: int | UnsetType = UNSET
    msg: str = ""


class RestDay(Struct):
    """One symbol of ``/api/v3/ticker/24hr``; the MINI form lacks bid and ask."""

    symbol: str
    lastPrice: Decimal
    volume: Decimal
    closeTime: int
    bidPrice: Decimal | None = None
    bidQty: Decimal | None = None
    askPrice: Decimal | None = None
    askQty: Decimal | None = None


class RestDepth(Struct):
    """A book with every change up to ``lastUpdateId``."""

    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]


class RestTime(Struct):
    """``time``."""

    serverTime: int


class RestTrade(Struct):
    """One of ``trades`` and ``historicalTrades``."""

    id: Number
    price: Decimal
    qty: Decimal
    time: int
    isBuyerMaker: bool


class RestCandle(Struct, array_like=True):
    """The first seven columns of ``/api/v3/klines``."""

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_time: int


class RestFilter(Struct):
    """One trading rule; the two that matter are found by ``filterType``."""

    filterType: str
    tickSize: Decimal = Decimal(0)
    stepSize: Decimal = Decimal(0)


class RestSymbol(Struct):
    """One of ``exchangeInfo``."""

    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str
    filters: list[RestFilter] = []


class RestInfo(Struct):
    """``exchangeInfo``."""

    symbols: list[RestSymbol]


Kind = type[Deal] | type[Quote] | type[Day] | type[Depth] | type[Kline] | type[Shutdown] | type[Raw]
"""What a stream brings; raw bytes where nothing of it is collected."""

KINDS: Mapping[str, Kind] = {
    "trade": Deal,
    "bookTicker": Quote,
    "ticker": Day,
    "24hrTicker": Day,
    "depth": Depth,
    "depthUpdate": Depth,
    "kline": Kline,
    "serverShutdown": Shutdown,
    **dict.fromkeys(UNUSED, Raw),
}
"""By the names of the streams' kinds and of the events."""

OF_MARKETS: frozenset[Kind] = frozenset({Deal, Quote, Day, Depth, Kline})

envelope = msgspec.json.Decoder(Envelope)
combined: Mapping[Kind, msgspec.json.Decoder[Combined[Any]]] = {
    kind: msgspec.json.Decoder(cast(type[Combined[Any]], Combined[kind]))  # type: ignore[valid-type]
    for kind in set(KINDS.values())
}
rest_days = msgspec.json.Decoder(RestDay | list[RestDay])
rest_depth = msgspec.json.Decoder(RestDepth)
rest_time = msgspec.json.Decoder(RestTime)
rest_trades = msgspec.json.Decoder(list[RestTrade])
rest_candles = msgspec.json.Decoder(list[RestCandle])
rest_info = msgspec.json.Decoder(RestInfo)


@lru_cache(maxsize=STREAMS)
def frame(stream: str, kind: Kind) -> type[Struct]:
    """The frames of one stream: a type of their own, so that the decoder tells them apart by the stream's name."""
    return msgspec.defstruct("Frame", [("data", kind)], tag_field="stream", tag=stream, gc=False)


def frames(types: Iterable[type[Struct]]) -> Callable[[bytes], Any]:
    """Decodes the frames of some streams."""
    return msgspec.json.Decoder(Union[tuple(types)]).decode  # noqa: UP007


def kind(name: str) -> Kind:
    """What a kind of stream or event brings.

    Raises:
        WireError: there is no such kind.
    """
    if name not in KINDS:
        raise WireError(f"unknown message kind {name[:40]!r}")
    return KINDS[name]


def kind_of(stream: str) -> Kind:
    """What a stream brings, by its name.

    Raises:
        WireError: its kind is unknown.
    """
    whose, _, told = stream.partition("@")
    told = told.partition("@")[0] if told not in ("", "arr") else whose.removeprefix("!")
    return kind("kline" if told.startswith("kline_") else told)


def bare_kind(envelope: Envelope) -> str:
    """The kind of a frame that came without a stream's name; empty for a reply."""
    if envelope.lastUpdateId is not UNSET:
        return "depth20"
    return envelope.e or ("bookTicker" if envelope.u is not UNSET else "")


def answer(told: Envelope) -> Ack | Refused:
    """The reply to a request.

    Raises:
        WireError: it is none.
    """
    if told.error is not UNSET:
        return Refused(f"request {told.id}: {bytes(told.error).decode(errors='replace')[:200]}")
    if told.code is not UNSET:
        return Refused(f"request {told.id}: {told.msg[:200]} ({told.code})")
    if told.result is not UNSET:
        return Ack(f"request {told.id}")
    raise WireError("unknown message kind")


def instrument(told: RestSymbol) -> Instrument:
    """A spot market."""
    rules = {rule.filterType: rule for rule in told.filters}
    tick, step = (getattr(rules.get(name), rule, None) for name, rule in STEPS)
    pair, status = (told.baseAsset, told.quoteAsset), told.status.lower()
    return spot("binance", pair, told.symbol, tick=tick, step=step, status=status)


def rest_trade(symbol: str, trade: RestTrade, at: Nanos) -> Trade:
    """A trade of REST."""
    positive(trade.price, trade.qty)
    side: Side = "sell" if trade.isBuyerMaker else "buy"
    return Trade("binance", symbol, trade.id, trade.price, trade.qty, side, nanos(trade.time), at)


def rest_candle(market: Market, c: RestCandle, at: Nanos) -> Candle:
    """A candle of REST, which closes when its time is over."""
    prices, closed = (c.open, c.high, c.low, c.close), nanos(c.close_time) < at
    return candle("binance", market, nanos(c.open_time), prices=prices, volume=c.volume, closed=closed, at=at)
