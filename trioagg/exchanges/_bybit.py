"""Bybit's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import (
    Candle,
    Funding,
    Instrument,
    Level,
    Liquidation,
    Nanos,
    OpenInterest,
    Side,
    Ticker,
    Trade,
    TradeId,
)

Market = Literal["spot", "linear"]
MARKETS: tuple[Market, ...] = ("spot", "linear")

SILENCE = {10006: 5.0, 10018: 600.0, 429: 10.0}  # retCode → seconds

MINUTE = 60_000
INTERVALS = {
    "1": ("1m", MINUTE),
    "3": ("3m", 3 * MINUTE),
    "5": ("5m", 5 * MINUTE),
    "15": ("15m", 15 * MINUTE),
    "30": ("30m", 30 * MINUTE),
    "60": ("1h", 60 * MINUTE),
    "120": ("2h", 120 * MINUTE),
    "240": ("4h", 240 * MINUTE),
    "360": ("6h", 360 * MINUTE),
    "720": ("12h", 720 * MINUTE),
    "D": ("1d", 1440 * MINUTE),
    "W": ("1w", 7 * 1440 * MINUTE),
    "M": ("1M", 31 * 1440 * MINUTE),
}
"""The exchange's spelling → ours, and how long at the most, ms."""
SPELLED = {ours: theirs for theirs, (ours, _) in INTERVALS.items()}


class Frame(Struct):
    """Whatever comes: a topic's data, or the answer to a request."""

    topic: str = ""
    type: str = ""
    ts: int | None = None
    cts: int | None = None
    data: Raw = Raw()
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class Deal(Struct):
    """One of ``publicTrade``."""

    i: str
    p: Decimal
    v: Decimal
    S: Literal["Buy", "Sell"]
    T: int


class Top(Struct):
    """``orderbook.1``."""

    b: list[Level]
    a: list[Level]


class Fields(Struct, rename="camel"):
    """A ticker, or what changed of it; empty text: there is none."""

    symbol: str
    bid1_price: str | UnsetType = UNSET
    bid1_size: str | UnsetType = UNSET
    ask1_price: str | UnsetType = UNSET
    ask1_size: str | UnsetType = UNSET
    last_price: str | UnsetType = UNSET
    volume24h: str | UnsetType = UNSET
    mark_price: str | UnsetType = UNSET
    index_price: str | UnsetType = UNSET
    funding_rate: str | UnsetType = UNSET
    next_funding_time: str | UnsetType = UNSET
    open_interest: str | UnsetType = UNSET
    single_open_interest: str | UnsetType = UNSET


class Bar(Struct):
    """One of ``kline``; ``confirm``: closed."""

    start: int
    interval: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    confirm: bool


class Forced(Struct):
    """``S``: the position's side, not the order's."""

    S: Literal["Buy", "Sell"]
    p: Decimal
    v: Decimal
    T: int


class Answer(Struct, rename="camel"):
    """What every REST body is wrapped in."""

    ret_code: int
    ret_msg: str = ""
    result: Raw = Raw()
    time: int | None = None


class Category(Struct):
    """The product that an answer is about."""

    category: str = ""


class RestTickers(Struct):
    """``tickers``."""

    rows: list[Fields] = field(name="list")


class RestDeal(Struct, rename={"i": "execId", "p": "price", "v": "size", "S": "side", "T": "time"}):
    """One of ``recent-trade``."""

    symbol: str
    i: str
    p: Decimal
    v: Decimal
    S: Literal["Buy", "Sell"]
    T: int


class RestDeals(Struct):
    """``recent-trade``, the newest first."""

    rows: list[RestDeal] = field(name="list")


class RestBar(Struct, array_like=True):
    """The first six columns of ``kline``."""

    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class RestBars(Struct):
    """``kline``, the newest first."""

    symbol: str
    rows: list[RestBar] = field(name="list")


class RestPrices(Struct, rename="camel"):
    """The rules of a price."""

    tick_size: Decimal


class RestLots(Struct, rename="camel"):
    """The step of the amount: ``basePrecision`` on spot, ``qtyStep`` on linear."""

    base_precision: Decimal | None = None
    qty_step: Decimal | None = None


class RestSymbol(Struct, rename="camel"):
    """One of ``instruments-info``."""

    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    price_filter: RestPrices
    lot_size_filter: RestLots
    contract_type: str = ""
    settle_coin: str = ""


class RestSymbols(Struct):
    """``instruments-info``."""

    rows: list[RestSymbol] = field(name="list")


frame = msgspec.json.Decoder(Frame)
deals = msgspec.json.Decoder(list[Deal])
top = msgspec.json.Decoder(Top)
fields = msgspec.json.Decoder(Fields)
bars = msgspec.json.Decoder(list[Bar])
forced = msgspec.json.Decoder(list[Forced])
answer = msgspec.json.Decoder(Answer)
category = msgspec.json.Decoder(Category)
rest_tickers = msgspec.json.Decoder(RestTickers)
rest_deals = msgspec.json.Decoder(RestDeals, strict=False)  # numbers come as text
rest_bars = msgspec.json.Decoder(RestBars, strict=False)
rest_symbols = msgspec.json.Decoder(RestSymbols)

Told = dict[str, Decimal | None]
Half = tuple[Decimal | None, Decimal | None]
"""One side of a quote: the price, and how much stands there."""


def market_of(symbol: str) -> Market:
    """Which product a unified symbol is of."""
    return "linear" if ":" in symbol else "spot"


def spelled(market: Market, symbol: str) -> str:
    """The contract that is spelled as this spot market is."""
    if market == "spot" or ":" in symbol or "/" not in symbol:
        return symbol
    return f"{symbol}:{symbol.partition('/')[2]}"


def stamp(milliseconds: int | None) -> Nanos | None:
    """Milliseconds, where there are any, as nanoseconds."""
    return None if milliseconds is None else nanos(milliseconds)


def check(answer: Answer) -> None:
    """Raise what a return code means.

    Raises:
        RateLimited: it asks for silence.
        WireError: it is another refusal.
    """
    reason = f"{answer.ret_msg[:200]} ({answer.ret_code})"
    if answer.ret_code in SILENCE:
        raise RateLimited(reason, SILENCE[answer.ret_code])
    raise WireError(reason)


def interval(native: str) -> tuple[str, int]:
    """Our spelling of an interval, and its length in ms.

    Raises:
        WireError: there is no such interval.
    """
    if native not in INTERVALS:
        raise WireError(f"unknown interval {native[:10]!r}")
    return INTERVALS[native]


def trade_id(text: str) -> TradeId:
    """A number where the exchange writes one, and exactly so.

    Raises:
        WireError: there is none.
    """
    if text.isascii() and text.isdigit() and len(text) < 30 and text[0] != "0":
        return int(text)
    if not text:
        raise WireError("a trade without an id")
    return text


def trade(symbol: str, t: Deal | RestDeal, at: Nanos) -> Trade:
    """A trade, from either road."""
    positive(t.p, t.v)
    side: Side = "buy" if t.S == "Buy" else "sell"
    return Trade("bybit", symbol, trade_id(t.i), t.p, t.v, side, nanos(t.T), at)


def best(levels: Sequence[Level], before: Half) -> Half:
    """The best level of one side; a size of zero takes a level away, no level leaves what was before."""
    if not levels:
        return before
    return next(((price, size) for price, size in levels if size), (None, None))


def numbers(fields: Fields) -> Told:
    """The fields that were sent; None for those that were sent empty."""
    told: Told = {}
    for name in Fields.__struct_fields__[1:]:
        text = getattr(fields, name)
        if text is not UNSET:
            told[name] = number = Decimal(text) if text else None
            quantities(abs(number) if number and name == "funding_rate" else number)
    return told


def ticker(symbol: str, known: Told, stamp: Nanos | None, at: Nanos) -> Ticker:
    """A ticker as far as its fields are known."""
    bid, ask = (known.get("bid1_price"), known.get("bid1_size")), (known.get("ask1_price"), known.get("ask1_size"))
    return Ticker("bybit", symbol, *bid, *ask, known.get("last_price"), known.get("volume24h"), stamp, at)


def funding(symbol: str, known: Told, stamp: Nanos | None, at: Nanos) -> list[Funding]:
    """None where there is no rate: a dated contract, or a change that came before the whole."""
    rate, due = known.get("funding_rate"), known.get("next_funding_time")
    if rate is None:
        return []
    mark, index = known.get("mark_price"), known.get("index_price")
    return [Funding("bybit", symbol, rate, mark, index, nanos(int(due)) if due else None, stamp, at)]


def interest(symbol: str, told: Told, stamp: Nanos | None, at: Nanos) -> list[OpenInterest]:
    """One side of what is held; none where nothing was told."""
    one, both = told.get("single_open_interest"), told.get("open_interest")
    amount = one if one is not None else both and both * Decimal("0.5")
    return [] if amount is None else [OpenInterest("bybit", symbol, amount, stamp, at)]


def candle(symbol: str, interval: str, k: Bar | RestBar, *, closed: bool, at: Nanos) -> Candle:
    """A candle, from either road."""
    positive(k.open, k.high, k.low, k.close)
    quantities(k.volume)
    prices = (k.open, k.high, k.low, k.close, k.volume)
    return Candle("bybit", symbol, interval, nanos(k.start), *prices, closed, at)


def rest_candle(symbol: str, interval: tuple[str, int], k: RestBar, at: Nanos) -> Candle:
    """A candle of REST, which closes when its time is over."""
    name, length = interval
    return candle(symbol, name, k, closed=nanos(k.start + length) <= at, at=at)


def liquidation(symbol: str, forced: Forced, at: Nanos) -> Liquidation:
    """A liquidation, by the side of the order."""
    positive(forced.p, forced.v)
    side: Side = "sell" if forced.S == "Buy" else "buy"
    return Liquidation("bybit", symbol, side, forced.p, forced.v, nanos(forced.T), at)


def instrument(item: RestSymbol) -> Instrument:
    """A spot market or a perpetual contract."""
    pair = f"{item.base_coin}/{item.quote_coin}"
    return Instrument(
        exchange="bybit",
        symbol=f"{pair}:{item.settle_coin}" if item.contract_type else pair,
        native=item.symbol,
        base=item.base_coin,
        quote=item.quote_coin,
        tick_size=item.price_filter.tick_size,
        amount_step=item.lot_size_filter.base_precision or item.lot_size_filter.qty_step,
        contract_size=Decimal(1),
        amount_unit=item.base_coin,
        status=item.status.lower(),
    )
