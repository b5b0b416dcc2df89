"""HTX's wire: what its messages and answers look like, and what parts of them mean by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

import msgspec
from attrs import frozen
from msgspec import Raw, Struct
from msgspec.structs import replace

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import _records
from trioagg.exchanges._books import NOBODY, Half
from trioagg.exchanges._numbers import EXACT, Number, plain, positive, quantities, step
from trioagg.exchanges._times import length, nanos, seconds
from trioagg.model import Candle, Instrument, Level, Nanos, Side, Trade

SILENCE = 3.0  # seconds, the window of the swaps' limit
TOO_MANY = {"429", "510", "1006", "1032", "40403", "too-many-request", "too-many-requests"}
PERIODS = {"1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "60min", "4h": "4hour"}
PERIODS |= {"1d": "1day", "1w": "1week", "1M": "1mon"}
INTERVALS = {period: interval for interval, period in PERIODS.items()} | {"1hour": "1h"}
STATES = {0: "delisted", 1: "trading", 2: "pending", 3: "suspended", 4: "suspended", 5: "settling", 6: "delivering"}

T = TypeVar("T")


class Frame(Struct):
    """Whatever comes: over a socket in either dialect, or from REST, which spells errors in two ways."""

    ch: str = ""
    tick: Raw = Raw()
    ts: int | str | None = None
    ping: int | None = None
    id: int | str | None = None
    status: str | int = ""
    subbed: str = ""
    unsubbed: str = ""
    rep: str = ""
    op: str = ""
    topic: str = ""
    data: Raw = Raw()
    ticks: Raw = Raw()
    code: int | str | None = msgspec.field(default=None, name="err-code")
    said: str | None = msgspec.field(default=None, name="err-msg")
    swap_code: int | str | None = msgspec.field(default=None, name="err_code")
    swap_said: str | None = msgspec.field(default=None, name="err_msg")


class Data(Struct, Generic[T]):
    """What stands under ``data``; trades stand so even within each other."""

    data: T


class Deal(Struct, kw_only=True):
    """A trade of a swap: ``amount`` is in contracts, ``quantity`` in the base currency; old ones lack it."""

    number: Number = msgspec.field(name="id")
    ts: int
    price: Decimal
    amount: Decimal
    direction: Side
    quantity: Decimal | None = None


class SpotDeal(Deal, kw_only=True):
    """A spot trade on the socket, which has one amount only."""

    number: Number = msgspec.field(name="tradeId")


class SpotRestDeal(Deal, kw_only=True):
    """A spot trade in REST."""

    number: Number = msgspec.field(name="trade-id")


class SpotQuote(Struct, rename="camel"):
    """Best bid and ask of a spot market."""

    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    ts: int | None = msgspec.field(default=None, name="quoteTime")


class Quote(Struct, kw_only=True):
    """Best bid and ask in the other forms: numbers with sizes beside them, or pairs, or not there."""

    bid: Decimal | list[Decimal] | None = None
    bid_size: Decimal | None = msgspec.field(default=None, name="bidSize")
    ask: Decimal | list[Decimal] | None = None
    ask_size: Decimal | None = msgspec.field(default=None, name="askSize")
    ts: int | None = None


class SpotBook(Struct, kw_only=True):
    """A spot market's book as change ``number`` left it; a side may not be there."""

    number: int = msgspec.field(name="seqNum")
    bids: list[Level] = []
    asks: list[Level] = []


class SpotChange(SpotBook, kw_only=True):
    """What changed in it; ``after`` is the change before."""

    after: int = msgspec.field(name="prevSeqNum")


class Book(Struct):
    """A swap's book, or what changed in it since ``version - 1``; without an event, the whole of it each time."""

    ts: int
    version: int
    event: Literal["snapshot", "update", ""] = ""
    bids: list[Level] = []
    asks: list[Level] = []


class Day(Quote, kw_only=True):
    """One market's 24 hours in all their forms."""

    close: Decimal
    amount: Decimal
    last_price: Decimal | None = msgspec.field(default=None, name="lastPrice")
    symbol: str = ""
    contract_code: str = ""


class Bar(Struct):
    """A candle; ``id`` is its begin in seconds, ``amount`` its volume in the base currency."""

    id: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    amount: Decimal


class Rate(Struct):
    """``funding_time`` is when it is due in REST, where the socket says ``settlement_time``."""

    contract_code: str
    funding_rate: Decimal | None
    funding_time: str | None = None
    settlement_time: str | None = None


class Held(Struct):
    """A contract's open interest; ``amount`` is in the base currency."""

    contract_code: str
    amount: Decimal


class Forced(Struct):
    """A liquidation; ``direction`` is of the order, ``amount`` in the base currency."""

    contract_code: str
    direction: Side
    price: Decimal
    amount: Decimal
    created_at: int


class Symbol(Struct, rename="kebab"):
    """A spot market; precisions are numbers of decimals."""

    symbol: str
    base_currency: str
    quote_currency: str
    price_precision: int
    amount_precision: int
    state: str


class Contract(Struct):
    """A swap or a dated future."""

    contract_code: str
    contract_size: Decimal
    price_tick: Decimal
    contract_status: int
    business_type: str = "swap"

    @property
    def perpetual(self) -> bool:
        """Whether it is a swap."""
        return self.business_type == "swap" and self.contract_code.count("-") == 1


frame = msgspec.json.Decoder(Frame)
deals: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(Data[list[SpotDeal]]),
    True: msgspec.json.Decoder(Data[list[Deal]]),
}
"""Trades on the socket, by whether they are of swaps."""
histories: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(list[Data[list[SpotRestDeal]]]),
    True: msgspec.json.Decoder(list[Data[list[Deal]]]),
}
"""The same in REST."""
quotes: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(SpotQuote),
    True: msgspec.json.Decoder(Quote),
}
"""Best bids and asks, likewise."""
spot_book = msgspec.json.Decoder(SpotBook)
spot_change = msgspec.json.Decoder(SpotChange)
book = msgspec.json.Decoder(Book)
day = msgspec.json.Decoder(Day)
days = msgspec.json.Decoder(list[Day])
bar = msgspec.json.Decoder(Bar)
bars = msgspec.json.Decoder(list[Bar])
rates = msgspec.json.Decoder(Rate | list[Rate])
held = msgspec.json.Decoder(list[Held])
forced = msgspec.json.Decoder(list[Forced])
clock = msgspec.json.Decoder(Data[int])
symbols = msgspec.json.Decoder(Data[list[Symbol]])
contracts = msgspec.json.Decoder(Data[list[Contract]])


@frozen
class Market:
    """One market; ``size`` is the base currency in one unit of its amounts, None where no list told it."""

    symbol: str
    swap: bool
    size: Decimal | None

    def base(self, amount: Decimal) -> Decimal:
        """An amount in the base currency.

        Raises:
            WireError: it is in contracts of unknown size.
        """
        if self.size is None:
            raise WireError("an amount in contracts of unknown size")
        return EXACT.multiply(amount, self.size)

    def levels(self, told: Sequence[Level]) -> list[Level]:
        """The levels of a book in the base currency."""
        return [(price, self.base(amount)) for price, amount in told]

    def sides(self, told: SpotQuote | Quote) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
        """Best bid and its size, best ask and its size; nothing where nobody offers."""
        return (*self._half(told.bid, told.bid_size), *self._half(told.ask, told.ask_size))

    def _half(self, price: Decimal | list[Decimal] | None, amount: Decimal | None) -> Half:
        if isinstance(price, list):
            price, amount = price if len(price) == 2 else (None, None)
        quantities(price, amount)
        if not price:
            return NOBODY
        return price, None if amount is None or self.size is None else EXACT.multiply(amount, self.size)


def trades(market: Market, told: Sequence[Deal], at: Nanos) -> list[Trade]:
    """Trades that were told newest first, oldest first."""
    return [_trade(market, deal, at) for deal in reversed(told)]


def history(market: Market, answer: Frame, at: Nanos) -> list[Trade]:
    """The trades in an answer, oldest first."""
    told = histories[market.swap].decode(answer.data)
    return [trade for tick in reversed(told) for trade in trades(market, tick.data, at)]


def _trade(market: Market, deal: Deal, at: Nanos) -> Trade:
    amount = market.base(deal.amount) if deal.quantity is None else deal.quantity
    positive(deal.price, amount)
    return Trade("htx", market.symbol, deal.number, deal.price, amount, deal.direction, nanos(deal.ts), at)


def candle(market: Market, interval: str, bar: Bar, at: Nanos) -> Candle:
    """A candle, which may still change."""
    prices, opens = (bar.open, bar.high, bar.low, bar.close), seconds(bar.id)
    return _records.candle(
        "htx", (market.symbol, interval), opens, prices=prices, volume=bar.amount, closed=False, at=at
    )


def candles(market: Market, period: str, answer: Frame, at: Nanos) -> list[Candle]:
    """The candles in an answer, oldest first; closed are those whose time was over by the exchange's clock."""
    ours = _records.known(period, INTERVALS, "interval")
    over = (time(answer.ts) or 0) - length(ours)
    told = sorted(bars.decode(answer.data), key=attrgetter("id"))
    return [replace(item, closed=item.open_time <= over) for item in (candle(market, ours, bar, at) for bar in told)]


def time(told: int | str | None) -> Nanos | None:
    """A time in milliseconds as number or text; None where there is none."""
    if told is None:
        return None
    if isinstance(told, str) and not plain(told):
        raise WireError(f"impossible time: {told[:40]}")
    return nanos(int(told))


def check(answer: Frame) -> None:
    """See to it that an answer is well.

    Raises:
        RateLimited: it complains about too many requests.
        WireError: it complains about something else.
    """
    if answer.status == "ok":
        return
    code, said = answer.code or answer.swap_code, answer.said or answer.swap_said or "no reason given"
    complaint = f"refused: {said} ({code})"[:200]
    if str(code) in TOO_MANY:
        raise RateLimited(complaint, SILENCE)
    raise WireError(complaint)


def spot(told: Symbol) -> Instrument:
    """A spot market."""
    pair = told.base_currency.upper(), told.quote_currency.upper()
    tick, lot = step(told.price_precision), step(told.amount_precision)
    status = "trading" if told.state == "online" else told.state
    return _records.spot("htx", pair, told.symbol, tick=tick, step=lot, status=status)


def swap(told: Contract) -> Instrument:
    """A perpetual swap."""
    base, _, quote = told.contract_code.partition("-")
    quantities(told.price_tick, told.contract_size)
    return Instrument(
        exchange="htx",
        symbol=f"{base}/{quote}:{quote}",
        native=told.contract_code,
        base=base,
        quote=quote,
        tick_size=told.price_tick,
        amount_step=told.contract_size,
        contract_size=told.contract_size,
        amount_unit=base,
        status=STATES.get(told.contract_status, f"state {told.contract_status}"),
    )
