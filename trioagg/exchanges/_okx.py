"""OKX's wire: what its messages and answers look like, its names for things, and the checksum of its books."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from trioagg.errors import WireError
from trioagg.exchanges import Ack, Output, Refused, Retire
from trioagg.exchanges._books import OrderBook
from trioagg.exchanges._numbers import EXACT, Number, number, positive, quantities
from trioagg.exchanges._records import Market, candle
from trioagg.exchanges._times import nanos
from trioagg.model import Book as Snapshot
from trioagg.model import Candle, Delta, Funding, Instrument, Level, Nanos, Quote, Side, Ticker

BARS = {name: name for name in ("1s", "1m", "3m", "5m", "15m", "30m")}
BARS |= {"1h": "1H", "2h": "2H", "4h": "4H", "6h": "6Hutc", "12h": "12Hutc"}
BARS |= {"1d": "1Dutc", "2d": "2Dutc", "3d": "3Dutc", "1w": "1Wutc", "1M": "1Mutc", "3M": "3Mutc"}
INTERVALS = {f"candle{bar}": interval for interval, bar in BARS.items()}

EASTERN = "6H 12H 1D 2D 3D 5D 1W 1M 3M".split()
"""The candles that begin with a day of UTC+8."""

UNUSED = (
    "books5 books-elp books-l2-tbt books50-l2-tbt bbo-tbt mark-price index-tickers instruments status "
    "price-limit estimated-price opt-summary option-trades block-tickers public-block-trades adl-warning "
    "public-struc-block-trades call-auction-details economic-calendar"
).split()
"""Channels that are known and not collected."""
UNUSED += [f"candle{bar}" for bar in EASTERN]
UNUSED += [f"{price}-candle{bar}" for price in ("mark-price", "index") for bar in (*BARS.values(), *EASTERN)]
UNUSED_PATHS = ("market/books", "public/time")
REST = {
    "market/trades": "trades",
    "market/history-trades": "trades",
    "market/ticker": "tickers",
    "market/tickers": "tickers",
    "public/funding-rate": "funding-rate",
    "public/open-interest": "open-interest",
    "market/candles": "candle",
    "market/history-candles": "candle",
}
"""Path → the channel whose rows its answer holds."""

CHECKED = 25
"""Levels of a side that a checksum covers."""
HASTE, SHUTDOWN = 60014, 64008
"""Codes that begin a connection anew: what was refused for haste would stay unsubscribed."""


class Arg(Struct, rename="camel", frozen=True):
    """What a message is about: a channel, and its instrument if it is of one."""

    channel: str
    inst_id: str = ""


class Frame(Struct):
    """Whatever comes: data of a channel, or an event with its code; ``action`` tells a book from its changes."""

    arg: Arg = Arg("")
    data: Raw = Raw()
    action: str = ""
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
    trade_id: Number
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


class Row(Struct, array_like=True):
    """A price of a book, and what stands there, in contracts for swaps; two more columns follow."""

    px: Decimal
    sz: Decimal


class Book(Struct, rename="camel"):
    """A whole book or changes of it; recordings from before the sequence numbers lack those."""

    bids: list[Row]
    asks: list[Row]
    ts: int
    checksum: int = 0
    prev_seq_id: int = -1
    seq_id: int = -1


class Clock(Struct):
    """``public/time``, in milliseconds."""

    ts: int


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
books = msgspec.json.Decoder(list[Book], strict=False)
clocks = msgspec.json.Decoder(list[Clock], strict=False)
rates = msgspec.json.Decoder(list[Rate], strict=False)
interests = msgspec.json.Decoder(list[Interest], strict=False)
closings = msgspec.json.Decoder(list[Closings], strict=False)
listed = msgspec.json.Decoder(list[Listed])


def data(answer: Answer) -> Raw:
    """The rows of an answer.

    Raises:
        WireError: it is a refusal.
    """
    if answer.code:
        raise WireError(f"refused: {answer.msg[:200]} ({answer.code})")
    return answer.data


def event(told: Frame) -> Sequence[Output]:
    """What a message of an event means.

    Raises:
        WireError: nobody knows.
    """
    match told.event:
        case "subscribe" if told.arg.channel:
            return (Ack(f"{told.arg.channel} {told.arg.inst_id}".rstrip()),)
        case "error" if told.code == HASTE:
            return (Retire(f"{told.msg[:200]} ({told.code})"),)
        case "error":
            return (Refused(f"request {told.id[:40] or '?'}: {told.msg[:200]} ({told.code})"),)
        case "notice" if told.code == SHUTDOWN:
            return (Retire(told.msg[:200]),)
        case "notice" | "unsubscribe" | "channel-conn-count":
            return ()
    raise WireError(f"unknown message kind {told.event[:40]!r}")


def bar(market: Market, row: Bar, at: Nanos) -> Candle:
    """A candle, its volume in the base currency."""
    prices, closed = (row.open, row.high, row.low, row.close), row.confirm == "1"
    volume = row.volume_ccy if ":" in market[0] else row.volume
    return candle("okx", market, nanos(row.open_time), prices=prices, volume=volume, closed=closed, at=at)


def levels(rows: Sequence[Row]) -> list[Level]:
    """One side of a book, in contracts for swaps."""
    return [(row.px, row.sz) for row in rows]


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """CRC32 over the digits of the best levels as they were sent: bid and ask by turns, as long as there are any."""
    by_turns = [level for pair in zip_longest(bids, asks) for level in pair if level]
    return zlib.crc32(":".join(f"{figure:f}" for level in by_turns for figure in level).encode())


def checks(wanted: int, book: OrderBook) -> bool:
    """Whether a book is what its checksum says; 0 is none."""
    return not wanted or wanted % 2**32 == checksum(book.bids(CHECKED), book.asks(CHECKED))


def measured(told: Output, size: Decimal) -> Output:
    """What a book in contracts told, in the currency of ``Trade.amount``."""
    if isinstance(told, Quote):
        bid, ask = (None if sz is None else EXACT.multiply(sz, size) for sz in (told.bid_size, told.ask_size))
        return replace(told, bid_size=bid, ask_size=ask)
    if isinstance(told, Snapshot | Delta):
        bids, asks = (tuple((px, EXACT.multiply(sz, size)) for px, sz in side) for side in (told.bids, told.asks))
        return replace(told, bids=bids, asks=asks)
    return told


def ticker(symbol: str, row: Tick, size: Decimal | None, at: Nanos) -> Ticker:
    """A ticker; without its sizes where that of the contract is not known."""
    bid, ask, last = number(row.bid_px), number(row.ask_px), number(row.last)
    bid_size, ask_size = _sized(row.bid_sz, size), _sized(row.ask_sz, size)
    volume = number(row.volume_ccy if ":" in symbol else row.volume)
    quantities(bid, bid_size, ask, ask_size, last, volume)
    return Ticker("okx", symbol, bid, bid_size, ask, ask_size, last, volume, nanos(row.ts), at)


def _sized(text: str, size: Decimal | None) -> Decimal | None:
    figure = number(text)
    return None if figure is None or size is None else EXACT.multiply(figure, size)


def funding(symbol: str, row: Rate, at: Nanos) -> Funding:
    """A swap's funding; its mark and index prices are other channels."""
    quantities(abs(row.funding_rate))
    return Funding("okx", symbol, row.funding_rate, None, None, nanos(row.funding_time), nanos(row.ts), at)


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
