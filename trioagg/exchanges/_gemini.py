"""Gemini's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from attrs import evolve
from msgspec import UNSET, Raw, Struct, UnsetType

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Ack, Refused, Retire, Subscription
from trioagg.exchanges._numbers import Number, positive
from trioagg.exchanges._records import Market, candle, spot
from trioagg.exchanges._times import length, nanos
from trioagg.model import Candle, Channel, Instrument, Level, Nanos, Trade

FRAMES = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1hr", "6h": "6hr", "1d": "1day"}
INTERVALS = {frame: interval for interval, frame in FRAMES.items()}
"""REST's names of candles → ours."""
SILENCE = 10.0
"""Seconds after a demand for silence, which names none."""


class Frame(Struct):
    """Whatever comes: an event of a named type or of none, a reply, or an error of REST."""

    e: str = ""
    type: str = ""
    t: Raw | UnsetType = UNSET
    B: Raw | UnsetType = UNSET
    lastUpdateId: Raw | UnsetType = UNSET
    id: int | str | None = None
    status: int | UnsetType = UNSET
    error: dict[str, int | str] = {}
    reason: str = ""
    message: str = ""


class Deal(Struct):
    """``@trade``; ``m``: the buyer was the maker."""

    s: str
    t: Number
    p: Decimal
    q: Decimal
    E: int
    m: bool


class Quote(Struct):
    """Best bid and ask: numbers as text, which may be empty; ``c`` is the last price."""

    s: str
    b: str
    B: str
    a: str
    A: str
    E: int
    c: str = ""


class Depth(Struct):
    """Changes ``U`` to ``u`` of a book; the whole one where both are the same."""

    s: str
    E: int
    U: int
    u: int
    b: list[Level]
    a: list[Level]


class Funding(Struct):
    """``f``: to be paid for one unit of the base at ``T``; ``p``: the mark price; ``R``: it was paid."""

    s: str
    f: Decimal
    p: Decimal
    T: int
    R: bool


class RestTrade(Struct, rename={"id": "tid", "time": "timestampms", "side": "type"}):
    """One of ``/v1/trades``; ``side`` is the taker's, where there is one."""

    id: Number
    time: int
    price: Decimal
    amount: Decimal
    side: Literal["buy", "sell", "block", "auction"]


class OldTrade(Struct, tag="trade", rename={"id": "event_id", "time": "timestamp", "amount": "quantity"}):
    """A trade of the archived socket."""

    symbol: str
    id: Number
    time: int
    price: Decimal
    amount: Decimal
    side: Literal["buy", "sell", "block", "auction"]


class OldBook(Struct, tag="l2_updates"):
    """A book of the archived socket; the first one tells trades, too."""

    trades: list[OldTrade] = []


class RestCandle(Struct, array_like=True):
    """``time`` in milliseconds."""

    time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class RestTicker(Struct):
    """``/v1/pubticker``; the volume by currency, and a ``timestamp``."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    volume: dict[str, Decimal]


class RestRisk(Struct):
    """``/v1/riskstats``."""

    open_interest: Decimal


class RestSymbol(Struct):
    """A market; ``tick_size`` is the step of the amount."""

    symbol: str
    base_currency: str
    quote_currency: str
    status: str
    tick_size: Decimal = Decimal(0)
    quote_increment: Decimal = Decimal(0)
    product_type: str = "spot"
    contract_type: str = ""


frame = msgspec.json.Decoder(Frame)
trade = msgspec.json.Decoder(Deal)
quote = msgspec.json.Decoder(Quote)
depth = msgspec.json.Decoder(Depth)
funding = msgspec.json.Decoder(Funding)
old = msgspec.json.Decoder(OldTrade | OldBook)
rest_trades = msgspec.json.Decoder(list[RestTrade])
rest_candles = msgspec.json.Decoder(list[RestCandle])
rest_ticker = msgspec.json.Decoder(RestTicker)
rest_risk = msgspec.json.Decoder(RestRisk)
rest_symbols = msgspec.json.Decoder(list[RestSymbol])


def figure(text: str) -> Decimal | None:
    """A number of a quote; None where its side is empty."""
    return msgspec.convert(text, Decimal) if text else None


def reply(head: Frame) -> Ack | Refused | Retire:
    """The answer to a message.

    Raises:
        WireError: it is none.
    """
    code, text = head.error.get("code"), head.error.get("msg")
    if code == -1003:
        return Retire(f"too many requests: {text}"[:200])
    if head.error or head.reason:
        return Refused(f"request {head.id}: {text} ({code})"[:200] if head.error else head.reason[:200])
    if head.status is not UNSET:
        return Ack(f"request {head.id}")
    raise WireError("unknown message kind")


def complain(body: bytes) -> None:
    """Raise where an answer is an error, whatever its status.

    Raises:
        RateLimited: it is a demand for silence.
        WireError: it is another one.
    """
    error = frame.decode(body) if body.lstrip().startswith(b"{") else Frame()
    if error.reason in ("Too Many Requests", "RateLimit"):
        raise RateLimited(error.message or error.reason, SILENCE)
    if error.reason:
        raise WireError(f"{error.reason}: {error.message}")


def taken(symbol: str, told: RestTrade | OldTrade, at: Nanos) -> list[Trade]:
    """A trade, if it has a taker."""
    if told.side not in ("buy", "sell"):
        return []
    positive(told.price, told.amount)
    return [Trade("gemini", symbol, told.id, told.price, told.amount, told.side, nanos(told.time), at)]


def rest_candle(market: Market, row: RestCandle, at: Nanos) -> Candle:
    """A candle of REST, which closes when its time is over."""
    opens, prices = nanos(row.time), (row.open, row.high, row.low, row.close)
    closed = opens + length(market[1]) <= at
    return candle("gemini", market, opens, prices=prices, volume=row.volume, closed=closed, at=at)


def instrument(listed: RestSymbol) -> Instrument:
    """A market; a perpetual is one unit of its base."""
    base, asset = listed.base_currency.upper(), listed.quote_currency.upper()
    steps, status = (listed.quote_increment, listed.tick_size), listed.status.lower()
    status = "trading" if status == "open" else status
    made = spot("gemini", (base, asset), listed.symbol.lower(), tick=steps[0], step=steps[1], status=status)
    return evolve(made, symbol=f"{made.symbol}:{asset}") if listed.product_type == "swap" else made


def polled(item: Subscription, interval: str) -> str:
    """The request that a subscription is polled with; empty where there is none."""
    native, perpetual = item.native, item.native.endswith("perp")
    match item.channel:
        case Channel.TICKER:
            return f"/v1/pubticker/{native}"
        case Channel.OPEN_INTEREST if perpetual:
            return f"/v1/riskstats/{native}"
        case Channel.CANDLES if perpetual:
            return f"/v2/derivatives/candles/{native}/1m" if interval == "1m" else ""
        case Channel.CANDLES if interval in FRAMES:
            return f"/v2/candles/{native}/{FRAMES[interval]}"
    return ""
