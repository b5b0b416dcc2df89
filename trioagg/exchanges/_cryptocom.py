"""Crypto.com's wire: what its messages and answers look like, the decoders of each, and its names for things."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from trioagg.errors import WireError
from trioagg.exchanges._numbers import EXACT, nanos, positive, quantities
from trioagg.model import Instrument, Nanos, TradeId

LATEST = 9_000_000_000_000_000_000  # ns: the year 2255

FRAMES = {name: name for name in ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "12h", "1M")}
FRAMES |= {"1d": "1D", "7d": "7D", "14d": "14D"}
INTERVALS = {frame: interval for interval, frame in FRAMES.items()}
INTERVALS |= {"M1": "1m", "M5": "5m", "M15": "15m", "M30": "30m", "H1": "1h", "H4": "4h", "D1": "1d"}
SECONDS = {"m": 60, "h": 3600, "d": 86400, "M": 31 * 86400}

UNUSED = ("book", "book.update", "mark", "index", "settlement", "estimatedfunding", "otc_book")
"""Channels that are known and not collected."""
UNUSED_PATHS = ("get-book", "get-expired-settlement-price", "get-risk-parameters", "get-insurance")


class Result(Struct):
    """What a channel or a request brought."""

    data: Raw = Raw()
    channel: str = ""
    subscription: str = ""
    instrument_name: str = ""
    interval: str = ""


class Frame(Struct):
    """Whatever comes, by socket or REST; ``code`` is not 0 for an error."""

    method: str = ""
    id: int = -1
    code: int = 0
    message: str = ""
    channel: str = ""
    result: Result | None = None


class Deal(Struct):
    """A trade: the ids ``m`` and ``d``, the times ``t`` in ms and ``tn`` in ns."""

    d: str
    t: int
    p: Decimal
    q: Decimal
    s: Literal["BUY", "SELL"]
    i: str
    m: str | None = None
    tn: int | None = None


class Tick(Struct):
    """Best bid ``b`` and ask ``k`` with their sizes, last price ``a``, base volume ``v``, open interest ``oi``."""

    i: str
    t: int
    a: Decimal | None
    b: Decimal | None
    k: Decimal | None
    v: Decimal | None
    bs: Decimal | None = None
    ks: Decimal | None = None
    oi: Decimal | None = None


class Bar(Struct, rename={"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}):
    """A candle; ``t``: its first instant, ms."""

    t: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Point(Struct):
    """One value of a series."""

    v: Decimal
    t: int


class Listed(Struct):
    """An instrument."""

    symbol: str
    inst_type: str
    base_ccy: str = ""
    quote_ccy: str = ""
    tradable: bool = False
    price_tick_size: Decimal | None = None
    qty_tick_size: Decimal | None = None
    contract_size: Decimal | None = None


frames = msgspec.json.Decoder(Frame, strict=False)
deals = msgspec.json.Decoder(list[Deal], strict=False)
ticks = msgspec.json.Decoder(list[Tick], strict=False)
bars = msgspec.json.Decoder(list[Bar], strict=False)
points = msgspec.json.Decoder(list[Point], strict=False)
listed = msgspec.json.Decoder(list[Listed])


def sized(count: Decimal | None, size: Decimal) -> Decimal | None:
    """A number of contracts in the base currency."""
    return None if count is None else EXACT.multiply(count, size)


def trade_id(deal: Deal) -> TradeId:
    """The match's id where it is sent, else the trade's; a number where that is one, digit for digit.

    Raises:
        WireError: there is neither.
    """
    if not (text := deal.m or deal.d):
        raise WireError("a trade without an id")
    plain = text.isascii() and text.isdecimal() and len(text) < 20 and (text[0] != "0" or text == "0")
    return int(text) if plain else text


def stamp(deal: Deal) -> Nanos:
    """When the trade happened, as finely as told.

    Raises:
        WireError: it lies outside the years 1970 to 2255.
    """
    if deal.tn is None:
        return nanos(deal.t)
    if not 0 <= deal.tn < LATEST:
        raise WireError(f"impossible time: {deal.tn}"[:80])
    return deal.tn


def interval(frame: str) -> str:
    """The unified spelling of a candle's length.

    Raises:
        WireError: there is no such length.
    """
    if frame not in INTERVALS:
        raise WireError(f"unknown interval {frame[:40]!r}")
    return INTERVALS[frame]


def length(interval: str) -> Nanos:
    """How long a candle lasts, at most."""
    return int(interval[:-1]) * SECONDS[interval[-1]] * 1_000_000_000


def unified(native: str) -> str:
    """The unified spelling by rule; ``native`` itself where there is none."""
    pair, _, term = native.partition("-")
    if not term:
        return native.replace("_", "/")
    for quote in ("USDT", "USDC", "USD"):
        if pair.endswith(quote) and pair != quote:
            return f"{pair.removesuffix(quote)}/{quote}:{quote}" + ("" if term == "PERP" else f"-{term}")
    return native


def instruments(body: Raw) -> list[Instrument]:
    """The spot markets and perpetuals of an instrument list."""
    kinds = ("CCY_PAIR", "PERPETUAL_SWAP")
    return [
        _instrument(row) for row in listed.decode(body) if row.inst_type in kinds and row.base_ccy and row.quote_ccy
    ]


def _instrument(row: Listed) -> Instrument:
    size, pair = row.contract_size or Decimal(1), f"{row.base_ccy}/{row.quote_ccy}"
    positive(size)
    quantities(row.price_tick_size, row.qty_tick_size)
    return Instrument(
        exchange="cryptocom",
        symbol=pair if row.inst_type == "CCY_PAIR" else f"{pair}:{row.quote_ccy}",
        native=row.symbol,
        base=row.base_ccy,
        quote=row.quote_ccy,
        tick_size=row.price_tick_size or None,
        amount_step=sized(row.qty_tick_size, size) or None,
        contract_size=size,
        amount_unit=row.base_ccy,
        status="trading" if row.tradable else "not tradable",
    )
