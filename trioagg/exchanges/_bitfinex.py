"""Bitfinex's wire: arrays of JSON numbers, and how it spells markets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Instrument, Nanos, Side, Ticker, Trade

SECOND = 1_000_000_000  # ns
SILENCE = 60.0  # seconds for which an address is shut out that asked too often
EPOCH_MS = 1_000_000_000_000  # a number behind a frame's data that is larger is a time, else it counts frames

STEPS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "3h": 10800, "6h": 21600, "12h": 43200}
STEPS |= {"1D": 86400, "1W": 604800, "14D": 1209600, "1M": 2678400}  # seconds of a candle, at most
SPELLED = {"1d": "1D", "1w": "1W", "14d": "14D"}
INTERVALS = {theirs: ours for ours, theirs in SPELLED.items()}

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
    status: str = ""
    msg: str = ""
    code: int | None = None


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

    id: int
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


class Status(Struct, array_like=True):
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
statuses = msgspec.json.Decoder(list[Status])
forced = msgspec.json.Decoder(list[Forced])
_frame = msgspec.json.Decoder(_Frame)
_number = msgspec.json.Decoder(int)
_word = msgspec.json.Decoder(str)
_trades = msgspec.json.Decoder(list[_Trade])
_ticker = msgspec.json.Decoder(_Ticker)
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
    for number in [_number.decode(raw) for raw in rest if raw]:
        if number < EPOCH_MS:
            told.number = number
        else:
            told.stamp = nanos(number)
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
    return data if data.lstrip()[1:].lstrip()[:1] in (b"[", b"]") else b"[%b]" % data


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


def candles(market: tuple[str, str], data: bytes, newest: Nanos, at: Nanos) -> list[Candle]:
    """Candles, oldest first: closed once another follows, or twice their time has passed.

    Args:
        market: symbol and interval, as the exchange spells it.
        newest: when the newest candle that is known already began.
    """
    symbol, interval = market
    if interval not in STEPS:
        raise WireError(f"unknown interval {interval[:40]!r}")
    rows = sorted(_candles.decode(many(data)), key=lambda row: row.mts)
    newest = max(newest, nanos(rows[-1].mts) if rows else 0)
    spelled, ended = INTERVALS.get(interval, interval), at - 2 * STEPS[interval] * SECOND
    return [
        _candle(symbol, spelled, row, closed=nanos(row.mts) < newest or nanos(row.mts) <= ended, at=at) for row in rows
    ]


def _candle(symbol: str, interval: str, row: _Candle, *, closed: bool, at: Nanos) -> Candle:
    prices = (row.open, row.high, row.low, row.close)
    positive(*prices)
    quantities(row.volume)
    return Candle("bitfinex", symbol, interval, nanos(row.mts), *prices, row.volume, closed=closed, received=at)


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
    spot, perpetuals, codes = _lists.decode(body)
    known = {**CANONICAL, **dict(codes)}
    pairs = [pair for pair in (*spot, *perpetuals) if not pair.startswith(PAPER)]
    symbols: Sequence[tuple[str, str]] = [(pair, unified(pair, known)) for pair in pairs]
    return [_instrument(pair, symbol) for pair, symbol in symbols if "/" in symbol]


def _instrument(pair: str, symbol: str) -> Instrument:
    base, quote = symbol.partition(":")[0].split("/", 1)
    return Instrument(
        exchange="bitfinex",
        symbol=symbol,
        native=f"t{pair}",
        base=base,
        quote=quote,
        tick_size=None,  # prices have five significant digits instead
        amount_step=Decimal("1E-8"),
        contract_size=Decimal(1),
        amount_unit=base,
        status="trading",
    )
