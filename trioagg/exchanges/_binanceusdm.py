"""USD-M futures' wire: what its messages and answers look like, and what candles and instruments of them mean."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from trioagg.exchanges import _binance as spot
from trioagg.exchanges._numbers import Number, positive, quantities
from trioagg.exchanges._records import Market
from trioagg.exchanges._records import candle as candle_of
from trioagg.exchanges._times import nanos
from trioagg.model import Candle, Funding, Instrument, Level, Liquidation, Nanos, OpenInterest, Side, Trade

PERPETUAL = ("PERPETUAL", "TRADIFI_PERPETUAL")
UNUSED_PATHS = (
    "ping time exchangeInfo rpiDepth trades historicalTrades continuousKlines indexPriceKlines markPriceKlines "
    "premiumIndexKlines ticker/price fundingRate fundingInfo openInterestHist"
).split()
"""Known, and not collected; raw trades among them, since REST tells them without what brought them about."""


class Told(Struct, tag_field="e", kw_only=True):
    """An event; ``st``: 1 USD-M, 2 COIN-M. Those that add no field are known, and not collected."""

    st: int = 1


class AggTrade(Told, tag="aggTrade"):
    """What one order took at one price; ``m``: the buyer was the maker."""

    s: str
    a: Number
    p: Decimal
    q: Decimal
    T: int
    m: bool


class RawTrade(Told, tag="trade"):
    """``X``: what brought it about; other than MARKET, it was no trade between two people."""

    s: str
    t: Number
    p: Decimal
    q: Decimal
    T: int
    m: bool
    X: str = "MARKET"


class Quote(Told, tag="bookTicker"):
    """Best bid and ask."""

    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    T: int


class Day(Told, tag="24hrTicker"):
    """The 24 hours, without bid and ask."""

    s: str
    c: Decimal
    v: Decimal
    E: int


class Kline(Told, tag="kline"):
    """``@kline_…``."""

    s: str
    k: spot.Bar


class Mark(Told, tag="markPriceUpdate"):
    """``r``: the funding rate, empty for delivery contracts; ``T``: when it is next paid."""

    s: str
    p: Decimal
    i: Decimal
    r: str
    T: int
    E: int


class Order(Struct):
    """The ``o`` of ``@forceOrder``; ``z``: what was filled of it, ``ap``: at which average price."""

    s: str
    S: Literal["BUY", "SELL"]
    X: str
    ap: Decimal
    z: Decimal
    T: int


class Forced(Told, tag="forceOrder"):
    """``@forceOrder``."""

    o: Order


class Shutdown(Told, tag="serverShutdown"):
    """The exchange is about to close."""


class Depth(Told, tag="depthUpdate"):
    """Changes of the book up to ``u``, after the message whose last one was ``pu``; ``T``: the matching engine's."""

    s: str
    T: int
    u: int
    pu: int
    b: list[Level]
    a: list[Level]


class Mini(Told, tag="24hrMiniTicker"):
    """The 24 hours in brief."""


class Continuous(Told, tag="continuous_kline"):
    """Candles of a pair."""


class Contract(Told, tag="contractInfo"):
    """News of a contract."""


class Composite(Told, tag="compositeIndex"):
    """An index of many."""


class Assets(Told, tag="assetIndexUpdate"):
    """Indices of margin assets."""


class Session(Told, tag="tradingSession"):
    """Trading sessions."""


Event = (
    AggTrade | RawTrade | Quote | Day | Kline | Mark | Forced | Shutdown
    | Depth | Mini | Continuous | Contract | Composite | Assets | Session
)  # fmt: skip


class Frame(Struct):
    """Whatever comes: a combined frame, a bare event, or a reply as at Binance spot."""

    stream: str = ""
    data: Event | list[Event] | UnsetType = UNSET
    e: str = ""


class RestDay(Struct, rename={"s": "symbol", "c": "lastPrice", "v": "volume"}):
    """One of ``/fapi/v1/ticker/24hr``."""

    s: str
    c: Decimal
    v: Decimal


class RestQuote(
    Struct,
    rename={"s": "symbol", "b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty", "T": "time"},
):
    """One of ``/fapi/v1/ticker/bookTicker``."""

    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    T: int


class RestMark(
    Struct,
    rename={
        "s": "symbol",
        "p": "markPrice",
        "i": "indexPrice",
        "r": "lastFundingRate",
        "T": "nextFundingTime",
        "E": "time",
    },
):
    """One of ``/fapi/v1/premiumIndex``."""

    s: str
    p: Decimal
    i: Decimal
    r: str
    T: int
    E: int


class RestDeal(Struct):
    """One of ``/fapi/v1/aggTrades``."""

    a: Number
    p: Decimal
    q: Decimal
    T: int
    m: bool


Deal = AggTrade | RawTrade | RestDeal


class RestDepth(spot.RestDepth):
    """``/fapi/v1/depth``, which tells the matching engine's time."""

    T: int


class RestInterest(Struct, rename="camel"):
    """``/fapi/v1/openInterest``."""

    symbol: str
    open_interest: Decimal
    time: int


class RestFilter(Struct, rename="camel"):
    """One trading rule; the two that matter are found by ``filterType``."""

    filter_type: str
    tick_size: Decimal = Decimal(0)
    step_size: Decimal = Decimal(0)


class RestSymbol(Struct, rename="camel"):
    """One of ``/fapi/v1/exchangeInfo``."""

    symbol: str
    status: str
    contract_type: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    filters: list[RestFilter] = []


class RestInfo(Struct):
    """``/fapi/v1/exchangeInfo``."""

    symbols: list[RestSymbol]


frame: msgspec.json.Decoder[Frame | list[Event]] = msgspec.json.Decoder(Frame | list[Event])
event: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
rest_depth = msgspec.json.Decoder(RestDepth)
rest_deals = msgspec.json.Decoder(list[RestDeal])
rest_info = msgspec.json.Decoder(RestInfo)

Row = RestDay | RestQuote | RestMark | RestInterest
rest_rows: dict[str, msgspec.json.Decoder[Row | list[Row]]] = {
    "ticker/24hr": msgspec.json.Decoder(RestDay | list[RestDay]),
    "ticker/bookTicker": msgspec.json.Decoder(RestQuote | list[RestQuote]),
    "premiumIndex": msgspec.json.Decoder(RestMark | list[RestMark]),
    "openInterest": msgspec.json.Decoder(RestInterest),
}
"""What answers with a row about one market, or a list of them about several."""


def each(rows: Row | list[Row]) -> list[Row]:
    """An answer about one market is an object, about several a list."""
    return rows if isinstance(rows, list) else [rows]


def instrument(symbol: RestSymbol) -> Instrument:
    """A perpetual contract."""
    rules = {rule.filter_type: rule for rule in symbol.filters}
    ticks, lots = rules.get("PRICE_FILTER"), rules.get("LOT_SIZE")
    quantities(*(rule.tick_size for rule in (ticks, lots) if rule), *(rule.step_size for rule in (ticks, lots) if rule))
    return Instrument(
        exchange="binanceusdm",
        symbol=f"{symbol.base_asset}/{symbol.quote_asset}:{symbol.margin_asset}",
        native=symbol.symbol,
        base=symbol.base_asset,
        quote=symbol.quote_asset,
        tick_size=(ticks and ticks.tick_size) or None,
        amount_step=(lots and lots.step_size) or None,
        contract_size=Decimal(1),
        amount_unit=symbol.base_asset,
        status=symbol.status.lower(),
    )


def trade(symbol: str, number: int, told: Deal, *, at: Nanos) -> Trade:
    """A trade under a number."""
    positive(told.p, told.q)
    side: Side = "sell" if told.m else "buy"
    return Trade("binanceusdm", symbol, number, told.p, told.q, side, nanos(told.T), at)


def candle(symbol: str, k: spot.Bar, at: Nanos) -> Candle:
    """A candle of the stream."""
    prices = (k.o, k.h, k.l, k.c)
    return candle_of("binanceusdm", (symbol, k.i), nanos(k.t), prices=prices, volume=k.v, closed=k.x, at=at)


def rest_candle(market: Market, c: spot.RestCandle, at: Nanos) -> Candle:
    """A candle of REST, which closes when its time is over."""
    prices, closed = (c.open, c.high, c.low, c.close), nanos(c.close_time) < at
    return candle_of("binanceusdm", market, nanos(c.open_time), prices=prices, volume=c.volume, closed=closed, at=at)


def funding(symbol: str, told: Mark | RestMark, at: Nanos) -> Funding:
    """The rate of a perpetual contract, with mark and index price."""
    rate = Decimal(told.r)
    quantities(told.p, told.i, abs(rate))
    return Funding("binanceusdm", symbol, rate, told.p, told.i, nanos(told.T), nanos(told.E), at)


def liquidation(symbol: str, order: Order, at: Nanos) -> Liquidation:
    """An order by force, at its average price."""
    positive(order.ap, order.z)
    side: Side = "sell" if order.S == "SELL" else "buy"
    return Liquidation("binanceusdm", symbol, side, order.ap, order.z, nanos(order.T), at)


def rest_interest(symbol: str, told: RestInterest, at: Nanos) -> OpenInterest:
    """The open interest of one market."""
    quantities(told.open_interest)
    return OpenInterest("binanceusdm", symbol, told.open_interest, nanos(told.time), at)
