"""OKX's wire: what its messages and answers look like, the decoders of each, and its names for things."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from trioagg.exchanges._numbers import EXACT, positive, quantities
from trioagg.model import Instrument, Side

BARS = {name: name for name in ("1s", "1m", "3m", "5m", "15m", "30m")}
BARS |= {"1h": "1H", "2h": "2H", "4h": "4H", "6h": "6Hutc", "12h": "12Hutc"}
BARS |= {"1d": "1Dutc", "2d": "2Dutc", "3d": "3Dutc", "1w": "1Wutc", "1M": "1Mutc", "3M": "3Mutc"}
INTERVALS = {f"candle{bar}": interval for interval, bar in BARS.items()}

EASTERN = "6H 12H 1D 2D 3D 5D 1W 1M 3M".split()
"""The candles that begin with a day of UTC+8."""

UNUSED = (
    "books books5 books-elp books-l2-tbt books50-l2-tbt bbo-tbt mark-price index-tickers instruments status "
    "price-limit estimated-price opt-summary option-trades block-tickers public-block-trades adl-warning "
    "public-struc-block-trades call-auction-details economic-calendar"
).split()
"""Channels that are known and not collected."""
UNUSED += [f"candle{bar}" for bar in EASTERN]
UNUSED += [f"{price}-candle{bar}" for price in ("mark-price", "index") for bar in (*BARS.values(), *EASTERN)]
UNUSED_PATHS = (
    "market/books market/books-full market/books-lite market/index-tickers market/index-candles "
    "market/mark-price-candles market/platform-24-volume public/time public/mark-price public/price-limit "
    "public/funding-rate-history public/estimated-price public/underlying system/status"
).split()


class Arg(Struct, rename="camel"):
    """What a message is about: a channel, and its instrument if it is of one."""

    channel: str
    inst_id: str = ""


class Frame(Struct):
    """Whatever comes: data of a channel, or an event with its code."""

    arg: Arg | None = None
    data: Raw = Raw()
    event: str = ""
    id: str = ""
    code: int = 0
    msg: str = ""


class Answer(Struct):
    """The envelope of REST; ``code`` is not 0 for an error."""

    code: int
    msg: str = ""
    data: Raw = Raw()


class Deal(Struct, rename="camel"):
    """A trade; ``sz`` in contracts for swaps."""

    inst_id: str
    trade_id: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    px: Decimal
    sz: Decimal
    side: Side
    ts: int


class Tick(Struct, rename="camel"):
    """A ticker, in texts, since each of them may be empty."""

    inst_id: str
    last: str
    bid_px: str
    bid_sz: str
    ask_px: str
    ask_sz: str
    ts: int
    volume: str = msgspec.field(name="vol24h")
    volume_ccy: str = msgspec.field(name="volCcy24h")


class Bar(Struct, array_like=True):
    """A candle; for swaps ``volume`` is in contracts and ``volume_ccy`` in the base currency, else base and quote."""

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    volume_ccy: Decimal
    volume_quote: Decimal
    confirm: Literal["0", "1"]


class Rate(Struct, rename="camel"):
    """A swap's funding."""

    inst_id: str
    funding_rate: Decimal
    funding_time: int
    ts: int


class Interest(Struct, rename="camel"):
    """A swap's open interest, in contracts."""

    inst_id: str
    oi: Decimal
    ts: int


class Closing(Struct, rename="camel"):
    """One liquidation; ``side`` is that of the order that closes the position."""

    side: Side
    sz: Decimal
    bk_px: Decimal
    ts: int


class Closings(Struct, rename="camel"):
    """The liquidations of one instrument."""

    inst_id: str
    details: list[Closing]


class Listed(Struct, rename="camel"):
    """An instrument; a swap's base and quote are told by ``uly`` alone."""

    inst_id: str
    inst_type: str
    state: str
    base_ccy: str = ""
    quote_ccy: str = ""
    settle_ccy: str = ""
    uly: str = ""
    ct_val: str = ""
    ct_mult: str = ""
    ct_type: str = ""
    tick_sz: str = ""
    lot_sz: str = ""


frames = msgspec.json.Decoder(Frame, strict=False)
answers = msgspec.json.Decoder(Answer, strict=False)
deals = msgspec.json.Decoder(list[Deal], strict=False)
ticks = msgspec.json.Decoder(list[Tick], strict=False)
bars = msgspec.json.Decoder(list[Bar], strict=False)
rates = msgspec.json.Decoder(list[Rate], strict=False)
interests = msgspec.json.Decoder(list[Interest], strict=False)
closings = msgspec.json.Decoder(list[Closings], strict=False)
listed = msgspec.json.Decoder(list[Listed])


def number(text: str) -> Decimal | None:
    """A number that may be an empty text.

    Raises:
        decimal.InvalidOperation: it is neither.
    """
    return Decimal(text) if text else None


def instruments(body: Raw) -> list[Instrument]:
    """The spot markets and swaps of an instrument list; those of which the list does not yet tell all are left out."""
    return [_instrument(row, *assets) for row in listed.decode(body) if (assets := _assets(row))]


def _assets(row: Listed) -> tuple[str, str] | None:
    if row.inst_type == "SPOT" and row.base_ccy and row.quote_ccy:
        return row.base_ccy, row.quote_ccy
    base, _, quote = row.uly.partition("-")
    if row.inst_type == "SWAP" and base and quote and row.ct_val and row.settle_ccy:
        return base, quote
    return None


def _instrument(row: Listed, base: str, quote: str) -> Instrument:
    swap = row.inst_type == "SWAP"
    size = EXACT.multiply(Decimal(row.ct_val), Decimal(row.ct_mult or 1)) if swap else Decimal(1)
    tick, step = number(row.tick_sz), number(row.lot_sz)
    positive(size)
    quantities(tick, step)
    return Instrument(
        exchange="okx",
        symbol=f"{base}/{quote}:{row.settle_ccy}" if swap else f"{base}/{quote}",
        native=row.inst_id,
        base=base,
        quote=quote,
        tick_size=tick,
        amount_step=None if step is None else EXACT.multiply(step, size),
        contract_size=size,
        amount_unit=quote if row.ct_type == "inverse" else base,
        status="trading" if row.state == "live" else row.state.lower(),
    )


def unified(native: str) -> str:
    """The unified spelling by rule; ``native`` itself where there is none."""
    match native.split("-"):
        case [base, quote]:
            return f"{base}/{quote}"
        case [base, quote, term]:
            settled = base if quote == "USD" else quote
            return f"{base}/{quote}:{settled}" + ("" if term == "SWAP" else f"-{term}")
    return native


def size(native: str) -> Decimal | None:
    """The size of a contract that no list told: 1 for spot, an inverse one's fixed face value, else unknown."""
    match native.split("-"):
        case [_, _]:
            return Decimal(1)
        case [base, "USD", _]:
            return Decimal(100 if base == "BTC" else 10)
    return None
