"""Bybit's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Generic, Literal, TypeVar

import msgspec
from attrs import evolve
from msgspec import UNSET, Raw, Struct, UnsetType, field

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Feed, Send, Subscription
from trioagg.exchanges._books import NOBODY, Half
from trioagg.exchanges._numbers import number, positive, quantities, trade_id
from trioagg.exchanges._records import candle, known, parted, spot
from trioagg.exchanges._times import length, nanos
from trioagg.model import (
    Candle,
    Channel,
    Funding,
    Instrument,
    Level,
    Liquidation,
    Nanos,
    OpenInterest,
    Side,
    Ticker,
    Trade,
)

Row = TypeVar("Row")
Product = str
"""What a socket, and an answer of REST, is about."""
PRODUCTS: tuple[Product, ...] = ("spot", "linear")

SILENCE = {10006: 5.0, 10018: 600.0, 429: 10.0}  # retCode → seconds

SPELLED = {"1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240"}
SPELLED |= {"6h": "360", "12h": "720", "1d": "D", "1w": "W", "1M": "M"}
INTERVALS = {theirs: ours for ours, theirs in SPELLED.items()}
QUOTES = "USDT USDC USDE USD1 EUR BRL TRY BTC ETH MNT USD".split()
"""For spelling a symbol that no instrument list told."""

BEST = ("bid1_price", "bid1_size", "ask1_price", "ask1_size", "last_price", "volume24h")
FUNDING = {"funding_rate", "next_funding_time", "mark_price", "index_price"}
NEEDED = {"spot": {"last_price", "volume24h"}, "linear": {"last_price", "volume24h", "bid1_price", "ask1_price"}}
"""What a whole ticker must have."""

DEPTHS = (50, 200, 1000)
BOOKS = {f"orderbook.{depth}": depth for depth in (*DEPTHS, 500)}  # 500: until 2025
TOPICS: Mapping[Product, Mapping[Channel, Sequence[str]]] = {
    "spot": {Channel.TICKER: ("orderbook.1", "tickers")},
    "linear": {
        **dict.fromkeys((Channel.TICKER, Channel.FUNDING, Channel.OPEN_INTEREST), ("tickers",)),
        Channel.LIQUIDATIONS: ("allLiquidation",),
    },
}
"""What the products do not have alike."""

UNUSED = "orderbook liquidation lt kline_lt tickers_lt insurance adlAlert priceLimit system".split()
"""Topics that are known and not collected; of ``orderbook`` those that no number names."""
UNUSED_PATHS = ("time", "instruments-info", "orderbook")


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


class Book(Struct):
    """``orderbook``: all of it, or what changed; ``u`` counts the messages of one topic."""

    b: list[Level]
    a: list[Level]
    u: int


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


class Clock(Struct, rename="camel"):
    """``time``; nanoseconds, as text."""

    time_nano: int


class Rows(Struct, Generic[Row]):
    """Most results; those of ``recent-trade`` begin with the newest."""

    rows: list[Row] = field(name="list")


class RestDeal(Struct, rename={"i": "execId", "p": "price", "v": "size", "S": "side", "T": "time"}):
    """One of ``recent-trade``."""

    symbol: str
    i: str
    p: Decimal
    v: Decimal
    S: Literal["Buy", "Sell"]
    T: int


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


frame = msgspec.json.Decoder(Frame)
deals = msgspec.json.Decoder(list[Deal])
book = msgspec.json.Decoder(Book)
fields = msgspec.json.Decoder(Fields)
bars = msgspec.json.Decoder(list[Bar])
forced = msgspec.json.Decoder(list[Forced])
answer = msgspec.json.Decoder(Answer)
category = msgspec.json.Decoder(Category)
clock = msgspec.json.Decoder(Clock, strict=False)
rest_tickers = msgspec.json.Decoder(Rows[Fields])
rest_deals = msgspec.json.Decoder(Rows[RestDeal], strict=False)  # numbers come as text
rest_bars = msgspec.json.Decoder(RestBars, strict=False)
rest_symbols = msgspec.json.Decoder(Rows[RestSymbol])

Told = dict[str, Decimal | None]


def product(symbol: str) -> Product:
    """Which product a unified symbol is of."""
    return "linear" if ":" in symbol else "spot"


def topics(wanted: Subscription, feed: Feed) -> list[tuple[Product, str]]:
    """What to subscribe to; nothing where the product does not have it."""
    depth = next((depth for depth in DEPTHS if depth >= feed.book.levels), DEPTHS[-1])
    whose = product(wanted.symbol)
    kinds: Mapping[Channel, Sequence[str]] = {
        Channel.TRADES: ("publicTrade",),
        Channel.BOOK: (f"orderbook.{depth}",),
        Channel.CANDLES: (f"kline.{SPELLED[feed.candle]}",),
        **TOPICS[whose],
    }
    return [(whose, f"{kind}.{wanted.native}") for kind in kinds.get(wanted.channel, ())]


def request(number: str, operation: str, topic: str) -> Send:
    """A request about one topic."""
    return Send(msgspec.json.encode({"req_id": number, "op": operation, "args": [topic]}).decode())


def native(symbol: str) -> str:
    """The spelling by rule: ``BTCUSDT`` on both products, ``BTCPERP`` for the contract in USDC."""
    pair, _, settled = symbol.upper().partition(":")
    base, _, quote = pair.partition("/")
    return f"{base}PERP" if settled == "USDC" else f"{base}{quote}"


def unified(native: str) -> str:
    """The spot market of a spelling, unless there is only a contract; ``native`` itself where unclear."""
    if native.endswith("PERP") and native != "PERP":
        return f"{native.removesuffix('PERP')}/USDC:USDC"
    return "/".join(parted(native, QUOTES) or [native])


def spelled(whose: Product, symbol: str) -> str:
    """The market of a product that is spelled as this spot market is."""
    contract = whose == "linear" and "/" in symbol and ":" not in symbol
    return f"{symbol}:{symbol.partition('/')[2]}" if contract else symbol


def stamp(milliseconds: int | None) -> Nanos | None:
    """Milliseconds, where there are any, as nanoseconds."""
    return None if milliseconds is None else nanos(milliseconds)


def answered(body: bytes) -> Answer:
    """An answer that is no refusal.

    Raises:
        RateLimited: it asks for silence.
        WireError: it is another refusal.
    """
    told = answer.decode(body)
    reason = f"{told.ret_msg[:200]} ({told.ret_code})"
    if told.ret_code in SILENCE:
        raise RateLimited(reason, SILENCE[told.ret_code])
    if told.ret_code:
        raise WireError(reason)
    return told


def trade(symbol: str, t: Deal | RestDeal, at: Nanos) -> Trade:
    """A trade, from either road."""
    positive(t.p, t.v)
    side: Side = "buy" if t.S == "Buy" else "sell"
    return Trade("bybit", symbol, trade_id(t.i), t.p, t.v, side, nanos(t.T), at)


def best(levels: Sequence[Level], before: Half) -> Half:
    """The best level of one side; a size of zero takes a level away, no level leaves what was before."""
    if not levels:
        return before
    return next(((price, size) for price, size in levels if size), NOBODY)


def numbers(fields: Fields) -> Told:
    """The fields that were sent; None for those that were sent empty."""
    texts = {name: getattr(fields, name) for name in Fields.__struct_fields__[1:]}
    told = {name: number(text) for name, text in texts.items() if text is not UNSET}
    quantities(*(abs(figure) if figure and name == "funding_rate" else figure for name, figure in told.items()))
    return told


def ticker(symbol: str, known: Told, stamp: Nanos | None, at: Nanos) -> Ticker:
    """A ticker as far as its fields are known."""
    bid, bid_size, ask, ask_size, last, volume = map(known.get, BEST)
    return Ticker("bybit", symbol, bid, bid_size, ask, ask_size, last, volume, stamp, at)


def events(
    symbol: str, told: Told, known: Told, *, stamp: Nanos | None, at: Nanos
) -> Iterator[Ticker | Funding | OpenInterest]:
    """What a ticker means, as far as it ``told`` anything new of it; of what is held, one side.

    A dated contract has no funding, nor has a change that came before the whole.
    """
    if told.keys() & BEST:
        yield ticker(symbol, known, stamp, at)
    if told.keys() & FUNDING and (rate := known.get("funding_rate")) is not None:
        due, prices = known.get("next_funding_time"), (known.get("mark_price"), known.get("index_price"))
        yield Funding("bybit", symbol, rate, *prices, nanos(int(due)) if due else None, stamp, at)
    one, both = told.get("single_open_interest"), told.get("open_interest")
    if (amount := one if one is not None else both and both * Decimal("0.5")) is not None:
        yield OpenInterest("bybit", symbol, amount, stamp, at)


def bar(symbol: str, spelled: str, k: Bar | RestBar, *, at: Nanos) -> Candle:
    """A candle, from either road; one of REST closes when its time is over."""
    interval = known(spelled, INTERVALS, "interval")
    opens, prices = nanos(k.start), (k.open, k.high, k.low, k.close)
    closed = k.confirm if isinstance(k, Bar) else opens + length(interval) <= at
    return candle("bybit", (symbol, interval), opens, prices=prices, volume=k.volume, closed=closed, at=at)


def liquidation(symbol: str, forced: Forced, at: Nanos) -> Liquidation:
    """A liquidation, by the side of the order."""
    positive(forced.p, forced.v)
    side: Side = "sell" if forced.S == "Buy" else "buy"
    return Liquidation("bybit", symbol, side, forced.p, forced.v, nanos(forced.T), at)


def instrument(item: RestSymbol) -> Instrument:
    """A spot market or a perpetual contract."""
    pair, lots = (item.base_coin, item.quote_coin), item.lot_size_filter
    tick, step, status = item.price_filter.tick_size, lots.base_precision or lots.qty_step, item.status.lower()
    market = spot("bybit", pair, item.symbol, tick=tick, step=step, status=status)
    return evolve(market, symbol=f"{market.symbol}:{item.settle_coin}") if item.contract_type else market
