"""One record per kind of event, and the instrument that it is of.

Every exchange's messages become these; every sink and view takes these. Times are integer nanoseconds since
1970-01-01 UTC: ``timestamp`` by the exchange's clock (None where it sends none), ``received`` by ours when the bytes
arrived. Prices and amounts are exact decimals with every digit that the exchange sent. Records are msgspec's structs:
one costs a third of a slotted class to make, the garbage collector need not look at it, and it packs itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Literal, final

from attrs import frozen
from msgspec import Struct

Nanos = int
"""Nanoseconds since 1970-01-01 UTC, or a length of time in nanoseconds."""

TradeId = int | str
"""A trade's id: an int where the exchange numbers the trades of a market upwards, else its text; every road of an
exchange brings the same kind. Views show both as text."""

Side = Literal["buy", "sell"]
"""The taker's (aggressor's) side, whatever the exchange prints."""

Ordinal = int | None
"""Of an event that has no id: how many of its kind and market came before it at its instant. A feed leaves it None, and
the stores number alike; an event that is read back from one of them has it."""


class Channel(StrEnum):
    """The kinds of market data, as users name them."""

    TRADES = "trades"
    TICKER = "ticker"
    BOOK = "book"
    CANDLES = "candles"
    FUNDING = "funding"
    OPEN_INTEREST = "open_interest"
    LIQUIDATIONS = "liquidations"


class Packed(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Whatever flows: packed, it is an array that begins with the name of its kind."""


class Trade(Packed, frozen=True):
    """One execution, as fine as the exchange tells them.

    Attributes:
        exchange: the exchange's id.
        symbol: unified, ``BTC/USDT``.
        trade_id: unique within (exchange, symbol).
        price: in the quote currency.
        amount: in the base currency (for inverse contracts: the value in the quote currency).
        side: the taker's side.
        timestamp: the matching engine's time, nanoseconds UTC.
        received: our time, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    trade_id: TradeId
    price: Decimal
    amount: Decimal
    side: Side
    timestamp: Nanos | None
    received: Nanos


class Ticker(Packed, frozen=True):
    """The best bid and ask, with the last price and the day's volume where known.

    Attributes:
        bid, ask, last: prices in the quote currency.
        bid_size, ask_size: amounts at the best price, base currency.
        volume: of the last 24 hours, base currency.
        timestamp: the exchange's time, nanoseconds UTC; None where it sends none.
        received: our time, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    last: Decimal | None
    volume: Decimal | None
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


class Candle(Packed, frozen=True):
    """One candlestick in its newest state; the same (interval, open_time) comes again until ``closed``.

    Attributes:
        interval: the exchange-independent spelling: ``1m``, ``1h``, ``1d``.
        open_time: its first instant, nanoseconds UTC.
        volume: base currency.
        closed: whether the exchange said that it will not change any more.
        received: our time, nanoseconds UTC: of two states of one candle, the later one counts.
    """

    exchange: str
    symbol: str
    interval: str
    open_time: Nanos
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    closed: bool
    received: Nanos


Level = tuple[Decimal, Decimal]
"""One price of an order book: the price, and the amount that stands there."""


class Book(Packed, frozen=True):
    """The best levels of an order book, as they stood at one moment.

    Attributes:
        bids, asks: best first; amounts in the base currency.
        timestamp: the matching engine's time, nanoseconds UTC; None where the exchange sends none.
    """

    exchange: str
    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


class Quote(Packed, frozen=True):
    """The best bid and ask of an order book, told when either of them changed; None where a side is empty.

    Attributes:
        bid, ask: prices in the quote currency.
        bid_size, ask_size: what stands there, as ``Trade.amount``.
        timestamp: the matching engine's time, nanoseconds UTC; None where the exchange sends none.
    """

    exchange: str
    symbol: str
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


class Delta(Packed, frozen=True):
    """What one message told of an order book, as it came: the levels that changed, or with ``whole`` all of them.

    Attributes:
        bids, asks: in the exchange's order; an amount of 0 takes its level away.
        whole: they take the place of everything before.
    """

    exchange: str
    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    whole: bool
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


class Funding(Packed, frozen=True):
    """What holders of a perpetual contract pay each other.

    Attributes:
        rate: for one funding period, as a fraction (0.0001 is one basis point); positive: longs pay.
        mark, index: the prices that it is reckoned from, quote currency; None where not told.
        due: when it is next paid, nanoseconds UTC; None where not told.
    """

    exchange: str
    symbol: str
    rate: Decimal
    mark: Decimal | None
    index: Decimal | None
    due: Nanos | None
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


class OpenInterest(Packed, frozen=True):
    """How much of a derivative is held.

    Attributes:
        amount: in the base currency for linear contracts, in the quote currency for inverse ones.
    """

    exchange: str
    symbol: str
    amount: Decimal
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


class Liquidation(Packed, frozen=True):
    """A position that the exchange closed by force.

    Attributes:
        side: of the order that closes it: ``sell`` liquidates a long.
        price: of the order, or of its bankruptcy, quote currency.
        amount: as in ``Trade``.
    """

    exchange: str
    symbol: str
    side: Side
    price: Decimal
    amount: Decimal
    timestamp: Nanos | None
    received: Nanos
    ordinal: Ordinal = None


@final
class Quarantined(Packed, frozen=True):
    """A frame or REST body that could not be understood, whole.

    Attributes:
        reason: what is wrong with it, for a person.
        payload: the bytes as they came.
    """

    exchange: str
    received: Nanos
    reason: str
    payload: bytes


@frozen
class Instrument:
    """One market of one exchange.

    Attributes:
        symbol: unified: ``BTC/USDT`` spot, ``BTC/USDT:USDT`` linear, ``BTC/USD:BTC`` inverse.
        native: the exchange's own spelling.
        base, quote: canonical assets (BTC, never XBT).
        tick_size: the smallest step of the price, quote currency; None where there is no rule.
        amount_step: the smallest step of the amount, in ``amount_unit``.
        contract_size: what one contract is worth, in ``amount_unit``; 1 for spot.
        amount_unit: the currency of ``Trade.amount``.
        status: ``trading``, or the exchange's own word, in lower case, for anything else.
    """

    exchange: str
    symbol: str
    native: str
    base: str
    quote: str
    tick_size: Decimal | None
    amount_step: Decimal | None
    contract_size: Decimal
    amount_unit: str
    status: str


Event = Trade | Ticker | Candle | Book | Quote | Delta | Funding | OpenInterest | Liquidation | Quarantined
"""What flows from the feeds to the sinks."""

CHANNELS: Mapping[type, Channel] = {
    Trade: Channel.TRADES,
    Ticker: Channel.TICKER,
    Candle: Channel.CANDLES,
    Book: Channel.BOOK,
    Quote: Channel.BOOK,
    Delta: Channel.BOOK,
    Funding: Channel.FUNDING,
    OpenInterest: Channel.OPEN_INTEREST,
    Liquidation: Channel.LIQUIDATIONS,
}
"""The kind of an event → the channel that brings it."""

STATES: frozenset[type] = frozenset({Ticker, Book, Quote})
"""Events that tell how a market stands, whole: who has a newer one can do without the older ones of its kind."""
