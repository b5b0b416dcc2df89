"""HTX's wire: what its messages and answers look like, and what parts of them mean by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec
from attrs import evolve, frozen
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Instrument, Nanos, Side, Trade

SILENCE = 3.0  # seconds, the window of the swaps' limit
TOO_MANY = {"429", "510", "1006", "1032", "40403", "too-many-request", "too-many-requests"}
PERIODS = {
    "1min": ("1m", 60),
    "5min": ("5m", 300),
    "15min": ("15m", 900),
    "30min": ("30m", 1800),
    "60min": ("1h", 3600),
    "4hour": ("4h", 14_400),
    "1day": ("1d", 86_400),
    "1week": ("1w", 604_800),
    "1mon": ("1M", 31 * 86_400),
    "1hour": ("1h", 3600),
}
"""Their intervals: ours, and its seconds at most; of two names for one, the last is for reading only."""
STATES = {0: "delisted", 1: "trading", 2: "pending", 3: "suspended", 4: "suspended", 5: "settling", 6: "delivering"}

T = TypeVar("T")


class Frame(Struct):
    """Whatever comes over a socket, in either dialect."""

    ch: str = ""
    tick: Raw = Raw()
    ts: int | str | None = None
    ping: int | None = None
    id: int | str | None = None
    status: str = ""
    subbed: str = ""
    unsubbed: str = ""
    rep: str = ""
    op: str = ""
    topic: str = ""
    data: Raw = Raw()
    code: int | str | None = msgspec.field(default=None, name="err-code")
    said: str | None = msgspec.field(default=None, name="err-msg")


class Data(Struct, Generic[T]):
    """A list under ``data``, as trades have even within each other."""

    data: list[T]


class Stamped(Struct, Generic[T]):
    """The same in an answer that says when it was given."""

    ts: int
    data: list[T]


class Deal(Struct):
    """A trade, of whichever house."""

    ts: int
    price: Decimal
    amount: Decimal
    direction: Side


class SpotDeal(Deal, rename="camel"):
    """A spot trade on the socket."""

    trade_id: int


class SpotRestDeal(SpotDeal):
    """A spot trade in REST."""

    trade_id: int = msgspec.field(name="trade-id")


class SwapDeal(Deal):
    """``amount`` is in contracts, ``quantity`` in the base currency; old ones lack it."""

    id: int
    quantity: Decimal | None = None


class SpotQuote(Struct, rename="camel"):
    """Best bid and ask of a spot market."""

    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    quote_time: int | None = None


class SwapQuote(Struct):
    """A side is price and contracts; it is not there where nobody offers."""

    ts: int
    bid: list[Decimal] | None = None
    ask: list[Decimal] | None = None


class Day(Struct):
    """One market's 24 hours in all their forms: sides are numbers with sizes beside them, or pairs, or not there."""

    close: Decimal
    amount: Decimal
    bid: Decimal | list[Decimal] | None = None
    bid_size: Decimal | None = msgspec.field(default=None, name="bidSize")
    ask: Decimal | list[Decimal] | None = None
    ask_size: Decimal | None = msgspec.field(default=None, name="askSize")
    last_price: Decimal | None = msgspec.field(default=None, name="lastPrice")
    symbol: str = ""
    contract_code: str = ""
    ts: int | None = None


class Merged(Struct):
    """One market's day in REST."""

    tick: Day
    ts: int


class Days(Struct):
    """Everybody's day; swaps say ``ticks``."""

    ts: int
    data: list[Day] = []
    ticks: list[Day] = []


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


class Rates(Struct):
    """Funding rates in REST: of one contract, or of all."""

    ts: int
    data: Rate | list[Rate]


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


class Answer(Struct):
    """What every answer of REST tells of itself, in both spellings."""

    status: str | int = ""
    code: int | str | None = msgspec.field(default=None, name="err-code")
    said: str | None = msgspec.field(default=None, name="err-msg")
    swap_code: int | str | None = msgspec.field(default=None, name="err_code")
    swap_said: str | None = msgspec.field(default=None, name="err_msg")


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
    symbol: str
    contract_size: Decimal
    price_tick: Decimal
    contract_status: int
    business_type: str = "swap"


frame = msgspec.json.Decoder(Frame)
deals: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(Data[SpotDeal]),
    True: msgspec.json.Decoder(Data[SwapDeal]),
}
"""Trades on the socket, by whether they are of swaps."""
histories: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(Data[Data[SpotRestDeal]]),
    True: msgspec.json.Decoder(Data[Data[SwapDeal]]),
}
"""The same in REST."""
spot_quote = msgspec.json.Decoder(SpotQuote)
swap_quote = msgspec.json.Decoder(SwapQuote)
day = msgspec.json.Decoder(Day)
merged = msgspec.json.Decoder(Merged)
days = msgspec.json.Decoder(Days)
bar = msgspec.json.Decoder(Bar)
bars = msgspec.json.Decoder(Stamped[Bar])
noticed_rates = msgspec.json.Decoder(list[Rate])
rates = msgspec.json.Decoder(Rates)
held = msgspec.json.Decoder(Stamped[Held])
forced = msgspec.json.Decoder(list[Forced])
answer = msgspec.json.Decoder(Answer)
symbols = msgspec.json.Decoder(Data[Symbol])
contracts = msgspec.json.Decoder(Data[Contract])


@frozen
class Market:
    """One market; ``size`` is the base currency in one contract, None where no list told it."""

    symbol: str
    swap: bool
    size: Decimal | None


def trades(market: Market, told: Sequence[SpotDeal | SwapDeal], at: Nanos) -> list[Trade]:
    """Trades that were told newest first, oldest first."""
    return [_trade(market, deal, at) for deal in reversed(told)]


def history(market: Market, body: bytes, at: Nanos) -> list[Trade]:
    """The trades in an answer, oldest first."""
    told = histories[market.swap].decode(body).data
    return [trade for tick in reversed(told) for trade in trades(market, tick.data, at)]


def _trade(market: Market, deal: SpotDeal | SwapDeal, at: Nanos) -> Trade:
    number, amount = (deal.id, _base(deal, market)) if isinstance(deal, SwapDeal) else (deal.trade_id, deal.amount)
    positive(deal.price, amount)
    return Trade("htx", market.symbol, number, deal.price, amount, deal.direction, nanos(deal.ts), at)


def _base(deal: SwapDeal, market: Market) -> Decimal:
    """The amount in the base currency."""
    if deal.quantity is not None:
        return deal.quantity
    if market.size is None:
        raise WireError("an amount in contracts of unknown size")
    return deal.amount * market.size


def candle(symbol: str, interval: str, bar: Bar, at: Nanos) -> Candle:
    """A candle, which may still change."""
    positive(bar.open, bar.high, bar.low, bar.close)
    quantities(bar.amount)
    prices = (bar.open, bar.high, bar.low, bar.close, bar.amount)
    return Candle("htx", symbol, interval, nanos(bar.id * 1000), *prices, closed=False, received=at)


def candles(symbol: str, period: str, body: bytes, at: Nanos) -> list[Candle]:
    """The candles in an answer, oldest first; closed are those whose time was over by the exchange's clock."""
    ours, seconds = interval(period)
    told = bars.decode(body)
    over = nanos(told.ts) - seconds * 1_000_000_000
    found = [candle(symbol, ours, bar, at) for bar in sorted(told.data, key=attrgetter("id"))]
    return [evolve(item, closed=item.open_time <= over) for item in found]


def interval(period: str) -> tuple[str, int]:
    """Our spelling of an interval, and its seconds at most."""
    if period not in PERIODS:
        raise WireError(f"unknown interval {period[:40]!r}")
    return PERIODS[period]


def time(told: int | str | None) -> Nanos | None:
    """A time in milliseconds as number or text; None where there is none."""
    if told is None:
        return None
    if isinstance(told, str) and not (told.isascii() and told.isdecimal() and len(told) < 20):
        raise WireError(f"impossible time: {told[:40]}")
    return nanos(int(told))


def check(body: bytes) -> None:
    """See to it that an answer is well.

    Raises:
        RateLimited: it complains about too many requests.
        WireError: it complains about something else.
    """
    told = answer.decode(body)
    if told.status == "ok":
        return
    code, said = told.code or told.swap_code, told.said or told.swap_said or "no reason given"
    complaint = f"refused: {said} ({code})"[:200]
    if str(code) in TOO_MANY:
        raise RateLimited(complaint, SILENCE)
    raise WireError(complaint)


def spot_instruments(body: bytes) -> list[Instrument]:
    """The spot markets."""
    return [_spot(told) for told in symbols.decode(body).data]


def swap_instruments(body: bytes) -> list[Instrument]:
    """The perpetual swaps; dated futures are passed over."""
    listed = contracts.decode(body).data
    return [_swap(told) for told in listed if told.business_type == "swap" and told.contract_code.count("-") == 1]


def _spot(told: Symbol) -> Instrument:
    base, quote = told.base_currency.upper(), told.quote_currency.upper()
    return Instrument(
        exchange="htx",
        symbol=f"{base}/{quote}",
        native=told.symbol,
        base=base,
        quote=quote,
        tick_size=_step(told.price_precision),
        amount_step=_step(told.amount_precision),
        contract_size=Decimal(1),
        amount_unit=base,
        status="trading" if told.state == "online" else told.state,
    )


def _swap(told: Contract) -> Instrument:
    base, _, quote = told.contract_code.partition("-")
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


def _step(decimals: int) -> Decimal | None:
    """10 to the minus ``decimals``."""
    return Decimal(1).scaleb(-decimals) if 0 <= decimals <= 40 else None
