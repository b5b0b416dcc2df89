"""USD-M futures' wire: what its messages and answers look like, and what candles and instruments of them mean."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Instrument, Nanos

PERPETUAL = ("PERPETUAL", "TRADIFI_PERPETUAL")


class Told(Struct, tag_field="e", kw_only=True):
    """An event; ``st``: 1 USD-M, 2 COIN-M. Those that add no field are known, and not collected."""

    st: int = 1


class AggTrade(Told, tag="aggTrade"):
    """What one order took at one price; ``m``: the buyer was the maker."""

    s: str
    a: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class RawTrade(Told, tag="trade"):
    """``X``: what brought it about; other than MARKET, it was no trade between two people."""

    s: str
    t: int
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


class Bar(Struct):
    """The ``k`` of ``@kline_…``; ``x``: closed."""

    t: int
    i: str
    o: Decimal
    h: Decimal
    low: Decimal = field(name="l")
    c: Decimal
    v: Decimal
    x: bool


class Kline(Told, tag="kline"):
    """``@kline_…``."""

    s: str
    k: Bar


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
    """Changes of the book."""


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
    """Whatever comes: a combined frame, a bare event, an acknowledgement or an error."""

    stream: str = ""
    data: Event | list[Event] | UnsetType = UNSET
    e: str = ""
    id: int | str | None = None
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    code: int | UnsetType = UNSET
    msg: str = ""


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

    a: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class RestBar(Struct, array_like=True):
    """The first seven columns of ``/fapi/v1/klines``."""

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_time: int


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
days = msgspec.json.Decoder(RestDay | list[RestDay])
quotes = msgspec.json.Decoder(RestQuote | list[RestQuote])
deals = msgspec.json.Decoder(list[RestDeal])
bars = msgspec.json.Decoder(list[RestBar])
marks = msgspec.json.Decoder(RestMark | list[RestMark])
interest = msgspec.json.Decoder(RestInterest)
info = msgspec.json.Decoder(RestInfo)

Row = TypeVar("Row", RestDay, RestQuote, RestMark)


def each(rows: Row | list[Row]) -> list[Row]:
    """An answer about one market is an object, about several a list."""
    return rows if isinstance(rows, list) else [rows]


def instrument(symbol: RestSymbol) -> Instrument:
    """A perpetual contract."""
    rules = {rule.filter_type: rule for rule in symbol.filters}
    ticks, lots = rules.get("PRICE_FILTER"), rules.get("LOT_SIZE")
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


def candle(symbol: str, interval: str, c: RestBar, at: Nanos) -> Candle:
    """A candle of REST, which closes when its time is over."""
    positive(c.open, c.high, c.low, c.close)
    quantities(c.volume)
    prices = (c.open, c.high, c.low, c.close, c.volume)
    return Candle("binanceusdm", symbol, interval, nanos(c.open_time), *prices, nanos(c.close_time) < at, at)
