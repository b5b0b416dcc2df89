"""Bitfinex's wire: arrays of JSON numbers, how it spells markets, and the checksum of its books."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest

import msgspec
from attrs import evolve
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._numbers import Number, positive, quantities
from trioagg.exchanges._records import candle, known, spot
from trioagg.exchanges._times import length, nanos
from trioagg.model import Candle, Funding, Instrument, Level, Liquidation, Nanos, OpenInterest, Side, Ticker, Trade

SILENCE = 60.0  # seconds for which an address is shut out that asked too often
CHECKED = 25  # levels of a side that a checksum covers
PLAIN = Decimal("1e-6")  # the smallest number that JavaScript writes without an exponent
EPOCH_MS = 1_000_000_000_000  # a number behind a frame's data that is larger is a time, else it counts frames

SPELLED = {"1d": "1D", "1w": "1W", "14d": "14D"}
INTERVALS = {name: name for name in "1m 5m 15m 30m 1h 3h 6h 12h 1M".split()}
INTERVALS |= {theirs: ours for ours, theirs in SPELLED.items()}

CANONICAL = {
    code: asset
    for code, _, asset in (
        pair.partition("=")
        for pair in (
            "UST=USDT UDC=USDC TSD=TUSD EUT=EURT EUS=EURS TERRAUST=USTC DSH=DASH IOT=IOTA ALG=ALGO ATO=ATOM QTM=QTUM "
            "MNA=MANA DAT=DATA STJ=STORJ SNG=SNGLS WBT=WBTC AMP=AMPL DOG=MDOGE BCHN=BCH BCHABC=XEC VSY=VSYS XCH=XCHF "
            "EDO=PNT IDX=ID IQX=IQ LUNA=LUNC LUNA2=LUNA"
        ).split()
    )
}
"""House code → asset, for spelling a symbol that no instrument list told."""
CODES = {asset: code for code, asset in CANONICAL.items()}
FUTURE = "F0"  # ends both codes of a perpetual
PAPER = "TEST"  # begins the codes of paper trading


class Event(Struct):
    """What comes as an object: an answer or an announcement."""

    event: str
    channel: str = ""
    number: int = msgspec.field(default=0, name="chanId")
    symbol: str = ""
    key: str = ""
    prec: str = ""
    status: str = ""
    msg: str = ""
    code: int | None = None
    flags: int = 0


class _Frame(Struct, array_like=True):
    """What comes as an array: whose it is, a word or data, data if it was a word, then numbers that were asked for."""

    channel: int
    head: Raw
    second: Raw = Raw()
    third: Raw = Raw()
    fourth: Raw = Raw()


class Told(Struct):
    """A frame of data, taken apart.

    Attributes:
        kind: its word; empty for plain data.
        number: counts the frames of the connection; None where it was not asked for.
        stamp: when it was sent, nanoseconds UTC; None where it was not asked for.
    """

    channel: int
    kind: str
    data: bytes
    number: int | None = None
    stamp: Nanos | None = None


class _Trade(Struct, array_like=True):
    """``amount`` below zero: the taker sold."""

    id: Number
    mts: int
    amount: Decimal
    price: Decimal


class _Ticker(Struct, array_like=True):
    """The sizes are sums over 25 levels."""

    bid: Decimal | None
    bid_depth: Raw
    ask: Decimal | None
    ask_depth: Raw
    change: Raw
    change_relative: Raw
    last: Decimal | None
    volume: Decimal | None


class _Candle(Struct, array_like=True):
    mts: int
    open: Decimal
    close: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal


class Row(Struct, array_like=True):
    """``count`` 0: it went; ``amount`` above zero: a bid."""

    price: Decimal
    count: int
    amount: Decimal


class _Status(Struct, array_like=True):
    """A perpetual's state; what is not used is named by its place."""

    mts: int
    _1: Raw
    _2: Raw
    spot: Decimal | None
    _4: Raw
    _5: Raw
    _6: Raw
    due: int | None
    _8: Raw
    _9: Raw
    _10: Raw
    rate: Decimal | None
    _12: Raw
    _13: Raw
    mark: Decimal | None
    _15: Raw
    _16: Raw
    held: Decimal | None


class Forced(Struct, array_like=True):
    """A liquidation; ``is_match`` 0: its beginning, 1: what the market took of it. ``amount`` above 0: a long."""

    _0: str
    id: int
    mts: int
    _3: Raw
    symbol: str
    amount: Decimal
    base_price: Raw
    _7: Raw
    is_match: int
    _9: Raw
    _10: Raw = Raw()
    price: Decimal | None = None


event = msgspec.json.Decoder(Event)
number = msgspec.json.Decoder(int)
_statuses = msgspec.json.Decoder(list[_Status])
_forced = msgspec.json.Decoder(list[Forced])
_frame = msgspec.json.Decoder(_Frame)
_word = msgspec.json.Decoder(str)
_trades = msgspec.json.Decoder(list[_Trade])
_ticker = msgspec.json.Decoder(_Ticker)
_levels = msgspec.json.Decoder(list[Row])
_candles = msgspec.json.Decoder(list[_Candle])
_rows = msgspec.json.Decoder(list[list[Raw]])
_lists = msgspec.json.Decoder(tuple[list[str], list[str], list[tuple[str, str]]])
_object = msgspec.json.Decoder(dict[str, object])
_error = msgspec.json.Decoder(tuple[str, int, str])


def read(frame: bytes) -> Told:
    """Take a frame of data apart.

    Raises:
        WireError, msgspec.DecodeError: it is none.
    """
    got = _frame.decode(frame)
    head = bytes(got.head)
    if head.startswith(b"["):
        told, rest = Told(got.channel, "", head), (got.second, got.third)
    elif (kind := _word.decode(head)) == "hb":
        told, rest = Told(got.channel, kind, b""), (got.second, got.third)
    else:
        told, rest = Told(got.channel, kind, bytes(got.second)), (got.third, got.fourth)
    for extra in [number.decode(raw) for raw in rest if raw]:
        if extra < EPOCH_MS:
            told.number = extra
        else:
            told.stamp = nanos(extra)
    return told


def check(body: bytes) -> None:
    """Tell an error that comes in place of an answer.

    Raises:
        RateLimited: it is a demand for silence.
        WireError, msgspec.DecodeError: it is any other.
    """
    text = body.lstrip()
    if text.startswith(b"{"):
        reason, code = str(_object.decode(body).get("error", "an object in place of an array")), 0
    elif text[1:].lstrip().startswith(b'"error"'):
        _, code, reason = _error.decode(body)
    else:
        return
    if "ratelimit" in reason.replace("_", "").lower():
        raise RateLimited(reason[:200], SILENCE)
    raise WireError(f"{reason[:200]} ({code})" if code else reason[:200])


def many(data: bytes) -> bytes:
    """Rows, where there may be a single one that is not wrapped."""
    return data if is_many(data) else b"[%b]" % data


def is_many(data: bytes) -> bool:
    """Whether it is a list of rows, be it empty, and not a row."""
    return data.lstrip()[1:].lstrip()[:1] in (b"[", b"]")


def keyed(body: bytes) -> list[tuple[str, bytes]]:
    """Rows of REST that begin with whose they are: that, and the rest of the row."""
    return [(_word.decode(row[0]), msgspec.json.encode(row[1:])) for row in _rows.decode(body) if row]


def trades(symbol: str, data: bytes, at: Nanos) -> list[Trade]:
    """Trades, oldest first."""
    return [_traded(symbol, row, at) for row in sorted(_trades.decode(many(data)), key=lambda row: row.id)]


def _traded(symbol: str, row: _Trade, at: Nanos) -> Trade:
    amount = row.amount.copy_abs()
    positive(row.price, amount)
    side: Side = "sell" if row.amount < 0 else "buy"
    return Trade("bitfinex", symbol, row.id, row.price, amount, side, nanos(row.mts), at)


def ticker(symbol: str, data: bytes, stamp: Nanos | None, at: Nanos) -> Ticker:
    """The best bid and ask; their sizes are not known."""
    t = _ticker.decode(data)
    quantities(t.bid, t.ask, t.last, t.volume)
    return Ticker("bitfinex", symbol, t.bid, None, t.ask, None, t.last, t.volume, stamp, at)


def candles(market: tuple[str, str], data: bytes, at: Nanos) -> list[Candle]:
    """Candles, oldest first: closed once another follows, or twice their time has passed.

    Args:
        market: symbol and interval, as the exchange spells it.
    """
    interval = known(market[1], INTERVALS, "interval")
    rows = sorted(_candles.decode(many(data)), key=lambda row: row.mts)
    ours, over = (market[0], interval), at - 2 * length(interval)
    return [_candle(ours, row, closed=row.mts < rows[-1].mts or nanos(row.mts) <= over, at=at) for row in rows]


def _candle(market: tuple[str, str], row: _Candle, *, closed: bool, at: Nanos) -> Candle:
    prices = (row.open, row.high, row.low, row.close)
    return candle("bitfinex", market, nanos(row.mts), prices=prices, volume=row.volume, closed=closed, at=at)


def parted(key: str) -> tuple[str, str]:
    """``trade:1m:tDOGE:USD`` as its interval and its market."""
    interval, _, native = key.removeprefix("trade:").partition(":")
    if not native:
        raise WireError(f"unknown key {key[:40]!r}")
    return interval, native


def levels(data: bytes) -> list[Row]:
    """The levels of a book that a frame tells."""
    rows = _levels.decode(many(data))
    for row in rows:
        positive(row.price, row.amount.copy_abs())
    return rows


def sides(rows: Sequence[Row]) -> tuple[list[Level], list[Level]]:
    """Bids and asks; 0 where one went."""
    told = [(row.amount > 0, (row.price, abs(row.amount) if row.count else Decimal(0))) for row in rows]
    return [level for bid, level in told if bid], [level for bid, level in told if not bid]


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """CRC32, signed, over the best levels in turn, in JavaScript's spelling; amounts of asks are below zero."""
    turns = zip_longest(bids, [(price, -amount) for price, amount in asks], fillvalue=())
    figures = [spelled(figure) for levels in turns for level in levels for figure in level]
    found = zlib.crc32(":".join(figures).encode())
    return found - (found >> 31 << 32)


def spelled(figure: Decimal) -> str:
    """A number as JavaScript writes it: ``1e-7``, ``0.000001``, ``64210``."""
    plain = figure.normalize()
    return f"{plain:f}" if not plain or abs(plain) >= PLAIN else f"{plain:e}"


def states(symbol: str, data: bytes, at: Nanos) -> list[Funding | OpenInterest]:
    """What a perpetual's status tells of funding and open interest; a rate or an amount that is null is left out."""
    out: list[Funding | OpenInterest] = []
    for s in _statuses.decode(many(data)):
        quantities(s.spot, s.mark, s.held, s.rate and s.rate.copy_abs())
        stamp, due = nanos(s.mts), None if s.due is None else nanos(s.due)
        if s.rate is not None:
            out.append(Funding("bitfinex", symbol, s.rate, s.mark, s.spot, due, stamp, at))
        if s.held is not None:
            out.append(OpenInterest("bitfinex", symbol, s.held, stamp, at))
    return out


def begun(data: bytes) -> list[Forced]:
    """The liquidations that began."""
    return [row for row in _forced.decode(many(data)) if row.is_match == 0]


def liquidation(symbol: str, row: Forced, at: Nanos) -> Liquidation:
    """A liquidation, at the price at which the exchange took the position over."""
    if row.price is None:
        raise WireError("a liquidation without a price")
    amount = row.amount.copy_abs()
    positive(row.price, amount)
    side: Side = "sell" if row.amount > 0 else "buy"
    return Liquidation("bitfinex", symbol, side, row.price, amount, nanos(row.mts), at)


def native(symbol: str) -> str:
    """``BTC/USDT`` as ``tBTCUST``, ``DOGE/USD`` as ``tDOGE:USD``, ``BTC/USDT:USDT`` as ``tBTCF0:USTF0``."""
    pair, _, settled = symbol.upper().partition(":")
    ending = FUTURE if settled else ""
    codes = [CODES.get(asset, asset) + ending for asset in pair.split("/")]
    return "t" + (":" if max(map(len, codes)) > 3 else "").join(codes)


def unified(name: str, canonical: Mapping[str, str] = CANONICAL) -> str:
    """The symbol of a pair, with or without its ``t``; ``name`` itself where unclear."""
    pair = name.removeprefix("t")
    base, colon, quote = pair.partition(":") if ":" in pair else (pair[:3], "", pair[3:])
    if not (base and quote) or (not colon and len(pair) != 6):
        return name
    perpetual = base.endswith(FUTURE) and quote.endswith(FUTURE)
    base, quote = (_asset(code, canonical) for code in (base, quote))
    return f"{base}/{quote}:{quote}" if perpetual else f"{base}/{quote}"


def _asset(code: str, canonical: Mapping[str, str]) -> str:
    code = code.removesuffix(FUTURE)
    return canonical.get(code, code).upper()  # the list has USDt and EURt


def instruments(body: bytes) -> list[Instrument]:
    """Every spot market and perpetual; paper trading is none.

    Raises:
        RateLimited, WireError, msgspec.DecodeError: the body is no list of them.
    """
    check(body)
    pairs, perpetuals, codes = _lists.decode(body)
    canonical = {**CANONICAL, **dict(codes)}
    pairs = [pair for pair in (*pairs, *perpetuals) if not pair.startswith(PAPER)]
    symbols: Sequence[tuple[str, str]] = [(pair, unified(pair, canonical)) for pair in pairs]
    return [_instrument(pair, symbol) for pair, symbol in symbols if "/" in symbol]


def _instrument(pair: str, symbol: str) -> Instrument:
    base, quote = symbol.partition(":")[0].split("/", 1)
    step, tick = Decimal("1E-8"), None  # prices have five significant digits instead
    listed = spot("bitfinex", (base, quote), f"t{pair}", tick=tick, step=step, status="trading")
    return evolve(listed, symbol=symbol)
