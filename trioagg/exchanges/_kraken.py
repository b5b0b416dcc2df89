"""Kraken's wire: what its messages and answers look like and mean, how it spells markets, the checksum of its books."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from trioagg.exchanges._numbers import Number, positive, quantities, step
from trioagg.exchanges._records import Market, parted, spot
from trioagg.exchanges._records import candle as candle_of
from trioagg.exchanges._times import seconds
from trioagg.model import Candle as Told
from trioagg.model import Instrument, Level, Nanos, Side
from trioagg.model import Ticker as Quoted
from trioagg.model import Trade as Traded

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440, "1w": 10080, "15d": 21600}
INTERVALS = {str(minutes): interval for interval, minutes in MINUTES.items()}

CANONICAL = {"XBT": "BTC", "XDG": "DOGE"}
KRAKENS = {asset: spelled for spelled, asset in CANONICAL.items()}
CLASSIC = {
    **{f"X{asset}": asset for asset in "ETH ETC LTC MLN REP XLM XMR XRP ZEC".split()},
    **{f"X{spelled}": asset for spelled, asset in CANONICAL.items()},
    **{f"Z{asset}": asset for asset in "USD EUR GBP CAD JPY AUD".split()},
}
"""The assets that keys of REST's answers spell with a letter before them; ``XTZ`` and ``ZRX`` are none of these."""

QUOTES = (
    "PYUSD RLUSD USDT USDC USDG USDQ USDR USD1 EURC EURQ EURR XBT BTC ETH EUR USD GBP CAD JPY AUD CHF AED DAI DOT SOL"
).split()
"""The second assets of markets, longer ones before those that they end with."""


class Subscribed(Struct):
    """What an acknowledgement is about."""

    channel: str = ""
    symbol: str = ""


class Envelope(Struct):
    """Whatever comes: a channel's message, the answer to a request, or an error."""

    channel: str = ""
    type: str = ""
    data: Raw = Raw()
    method: str = ""
    success: bool = False
    result: Subscribed | None = None
    error: str | None = None
    symbol: str = ""


class Trade(Struct):
    """One ``trade``; ``side`` is the taker's."""

    symbol: str
    side: Side
    price: Decimal
    qty: Decimal
    trade_id: Number
    timestamp: str


class Ticker(Struct):
    """Best bid and ask, with the last price and the day's volume; older messages lack the time."""

    symbol: str
    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    last: Decimal
    volume: Decimal
    timestamp: str | None = None


class Candle(Struct):
    """One ``ohlc``; ``interval`` in minutes."""

    symbol: str
    interval: int
    interval_begin: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Row(Struct):
    """A level; 0: it went."""

    price: Decimal
    qty: Decimal


class Book(Struct):
    """A whole book or what changed in it; a level that is told twice stands as it was told last."""

    symbol: str
    bids: list[Row]
    asks: list[Row]
    checksum: int
    timestamp: str | None = None


class Answer(Struct):
    """What REST always answers; ``result`` is absent after an error."""

    error: list[str]
    result: dict[str, Raw] = {}


class Second(Struct):
    """Seconds since 1970."""

    unixtime: int


class Clock(Struct):
    """``Time``."""

    result: Second


class RestPair(Struct):
    """A market; dark pools have no ``wsname``."""

    lot_decimals: int
    wsname: str = ""
    tick_size: Decimal | None = None
    status: str = "online"


class Figures(Struct, array_like=True):
    """A price with the size in whole lots and the size, or a volume of today and of 24 hours."""

    first: Decimal
    second: Decimal
    third: Decimal = Decimal(0)


class RestTicker(Struct):
    """Ask, bid, last and volume."""

    a: Figures
    b: Figures
    c: Figures
    v: Figures


class RestTrade(Struct, array_like=True):
    """``time`` in seconds; ``b`` and ``s`` are the taker's side."""

    price: Decimal
    amount: Decimal
    time: Decimal
    side: Literal["b", "s"]
    kind: str
    misc: str
    trade_id: Number


class RestCandle(Struct, array_like=True):
    """One row of ``OHLC``; ``time`` in seconds."""

    time: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal


envelope = msgspec.json.Decoder(Envelope)
trades = msgspec.json.Decoder(list[Trade])
tickers = msgspec.json.Decoder(list[Ticker])
candles = msgspec.json.Decoder(list[Candle])
books = msgspec.json.Decoder(list[Book])
answer = msgspec.json.Decoder(Answer)
clock = msgspec.json.Decoder(Clock)
rest_pair = msgspec.json.Decoder(RestPair)
rest_ticker = msgspec.json.Decoder(RestTicker)
rest_trades = msgspec.json.Decoder(list[RestTrade])
rest_candles = msgspec.json.Decoder(list[RestCandle])
integer = msgspec.json.Decoder(int)


def unified(name: str) -> str:
    """The symbol of a market in any spelling; ``name`` itself where unclear."""
    base, slash, quote = name.partition("/")
    if not slash:
        base, quote = _parted(name)
    return f"{CANONICAL.get(base, base)}/{CANONICAL.get(quote, quote)}" if base and quote else name


def altname(native: str) -> str:
    """``BTC/USD`` as REST takes it: ``XBTUSD``."""
    return "".join(KRAKENS.get(asset, asset) for asset in native.split("/"))


def _parted(name: str) -> tuple[str, str]:
    """``XXBTZUSD`` or ``XBTUSD`` as its two assets; the second is empty where unclear."""
    if len(name) == 8 and name[4:] in CLASSIC:
        return CLASSIC.get(name[:4], name[:4]), CLASSIC[name[4:]]
    return parted(name, QUOTES) or (name, "")


def checksum(asks: Sequence[Level], bids: Sequence[Level]) -> int:
    """CRC32 over the digits of the best levels, best first: asks, then bids; without points and leading zeros."""
    figures = [f"{number:f}".replace(".", "").lstrip("0") for level in (*asks, *bids) for number in level]
    return zlib.crc32("".join(figures).encode())


def interval(minutes: int | str) -> str:
    """Our spelling of an interval."""
    return INTERVALS.get(str(minutes), f"{minutes}m")


def moment(told: Decimal) -> Nanos:
    """A time in seconds with a fraction."""
    positive(told)
    return seconds(int(told)) + int(told % 1 * 1_000_000_000)


def instrument(pair: RestPair) -> Instrument:
    """A spot market."""
    base, quote = unified(pair.wsname).split("/", 1)
    lot, status = step(pair.lot_decimals), "trading" if pair.status == "online" else pair.status.lower()
    return spot("kraken", (base, quote), f"{base}/{quote}", tick=pair.tick_size, step=lot, status=status)


def candle(market: Market, begin: Nanos, row: Candle | RestCandle, *, closed: bool, at: Nanos) -> Told:
    """A candle, from either road."""
    prices = (row.open, row.high, row.low, row.close)
    return candle_of("kraken", market, begin, prices=prices, volume=row.volume, closed=closed, at=at)


def rest_day(symbol: str, t: RestTicker, at: Nanos) -> Quoted:
    """A ticker of REST, which tells no time."""
    prices = (t.b.first, t.b.third, t.a.first, t.a.third, t.c.first, t.v.second)
    quantities(*prices)
    return Quoted("kraken", symbol, *prices, None, at)


def rest_trade(symbol: str, t: RestTrade, at: Nanos) -> Traded:
    """A trade of REST."""
    positive(t.price, t.amount)
    side: Side = "buy" if t.side == "b" else "sell"
    return Traded("kraken", symbol, t.trade_id, t.price, t.amount, side, moment(t.time), at)
