"""Gate's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._numbers import Number, number, positive, quantities, step
from trioagg.exchanges._records import Market, spot
from trioagg.exchanges._records import candle as candle_of
from trioagg.exchanges._times import nanos, seconds
from trioagg.model import Candle as Told
from trioagg.model import Instrument, Level, Nanos, Side
from trioagg.model import Trade as Traded

SILENCE = 10.0  # seconds, the window of the limit
LIMITED = ("TOO_MANY_REQUESTS", "TOO_FAST")
SPELLED = {"1w": "7d"}
INTERVALS = {theirs: ours for ours, theirs in SPELLED.items()}


class Fault(Struct):
    """Why a request was refused."""

    code: int | str = ""
    message: str = ""


class Envelope(Struct):
    """Whatever comes: a channel's data, the answer to a request, or an announcement."""

    channel: str = ""
    event: str = ""
    time_ms: int | None = None
    payload: list[str] | str | None = None
    result: Raw = Raw()
    error: Fault | None = None
    type: str = ""
    msg: str = ""


class Trade(Struct):
    """One trade; ``id_market`` counts those of its market."""

    id: Number
    create_time_ms: Decimal
    side: Side
    currency_pair: str
    amount: Decimal
    price: Decimal
    id_market: Number | None = None


class Quote(Struct):
    """Best bid and ask as text, which may be empty."""

    t: int
    s: str
    b: str
    B: str
    a: str
    A: str


class Day(Struct):
    """A ticker of the socket or of REST, as text, which may be empty; REST tells sizes of a single market only."""

    currency_pair: str
    last: str
    lowest_ask: str
    highest_bid: str
    base_volume: str
    lowest_size: str = ""
    highest_size: str = ""


class Depth(Struct):
    """Changes ``U`` to ``u`` of a book, or with ``full`` all of it up to ``u``."""

    t: int
    s: str
    u: int
    U: int | None = None
    full: bool = False
    b: list[Level] = []
    a: list[Level] = []


class Candle(Struct):
    """``t`` in seconds; ``n``: interval and market."""

    t: int
    o: Decimal
    h: Decimal
    l: Decimal
    c: Decimal
    a: Decimal
    n: str
    w: bool = False


class RestTrade(Struct):
    """As ``Trade``, with everything as text."""

    id: Number
    create_time_ms: Decimal
    currency_pair: str
    side: Side
    amount: Decimal
    price: Decimal
    sequence_id: int | None = None


class RestBook(Struct):
    """A book with every change up to ``id``, which is told on request alone; ``update``: ms of the last one."""

    update: int
    bids: list[Level]
    asks: list[Level]
    id: Number | None = None


class RestCandle(Struct, array_like=True):
    """One row of ``candlesticks``."""

    time: int
    quote_volume: Decimal
    close: Decimal
    high: Decimal
    low: Decimal
    open: Decimal
    volume: Decimal
    closed: bool = False


class RestPair(Struct):
    """A market; the precisions are numbers of decimals."""

    id: str
    base: str
    quote: str
    precision: int
    amount_precision: int
    trade_status: str


class RestTime(Struct):
    """The exchange's time, ms."""

    server_time: int


class RestError(Struct):
    """What REST answers in place of data."""

    label: str = ""
    message: str = ""


envelope = msgspec.json.Decoder(Envelope)
quote = msgspec.json.Decoder(Quote)
day = msgspec.json.Decoder(Day)
depth = msgspec.json.Decoder(Depth)
# Not strict: most numbers come as text.
trade = msgspec.json.Decoder(Trade, strict=False)
candle = msgspec.json.Decoder(Candle, strict=False)
rest_days = msgspec.json.Decoder(list[Day])
rest_trades = msgspec.json.Decoder(list[RestTrade], strict=False)
rest_book = msgspec.json.Decoder(RestBook)
rest_candles = msgspec.json.Decoder(list[RestCandle], strict=False)
rest_pairs = msgspec.json.Decoder(list[RestPair])
rest_time = msgspec.json.Decoder(RestTime)
_rest_error = msgspec.json.Decoder(RestError)


def figure(text: str) -> Decimal | None:
    """A price or size; None where it is empty.

    Raises:
        decimal.InvalidOperation: it is no number.
        WireError: it is none that can be.
    """
    found = number(text)
    quantities(found)
    return found


def check(body: bytes) -> None:
    """Tell an error that comes in place of data.

    Raises:
        RateLimited: it is a demand for silence.
        WireError, msgspec.DecodeError: it is any other.
    """
    if body.lstrip().startswith(b"{"):
        error = _rest_error.decode(body)
        if not error.label:
            return
        reason = f"{error.label}: {error.message}".removesuffix(": ")[:200]
        raise RateLimited(reason, SILENCE) if error.label in LIMITED else WireError(reason)


def traded(symbol: str, t: Trade | RestTrade, market_id: int | None, at: Nanos) -> Traded:
    """A trade, under its number within the market, else under the one within the exchange."""
    positive(t.price, t.amount)
    positive(t.create_time_ms)
    stamp = nanos(int(t.create_time_ms)) + int(t.create_time_ms % 1 * 1_000_000)
    trade_id = t.id if market_id is None else market_id
    return Traded("gate", symbol, trade_id, t.price, t.amount, t.side, stamp, at)


def streamed_candle(symbol: str, k: Candle, at: Nanos) -> Told:
    """A candle of the socket."""
    market, prices = (symbol, interval_of(k.n.partition("_")[0])), (k.o, k.h, k.l, k.c)
    return candle_of("gate", market, seconds(k.t), prices=prices, volume=k.a, closed=k.w, at=at)


def rest_candle(market: Market, k: RestCandle, at: Nanos) -> Told:
    """A candle of REST."""
    prices = (k.open, k.high, k.low, k.close)
    return candle_of("gate", market, seconds(k.time), prices=prices, volume=k.volume, closed=k.closed, at=at)


def interval_of(name: str) -> str:
    """Our spelling of an interval."""
    return INTERVALS.get(name, name)


def instrument(pair: RestPair) -> Instrument:
    """A market."""
    tick, lot = step(pair.precision), step(pair.amount_precision)
    status = "trading" if pair.trade_status == "tradable" else pair.trade_status.lower()
    return spot("gate", (pair.base, pair.quote), pair.id, tick=tick, step=lot, status=status)
