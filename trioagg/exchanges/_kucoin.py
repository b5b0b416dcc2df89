"""KuCoin's wire: what its messages and answers look like, and what parts of them mean by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from urllib.parse import quote as escaped

import msgspec
from msgspec import Raw, Struct

from trioagg.errors import WireError
from trioagg.exchanges import Connect
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Instrument, Nanos, Side, Trade, TradeId

ENDPOINT = re.compile(r"(?P<host>wss?://[^/?#\s]+)(?P<path>/[^?#\s]*)?")
PERIODS = {
    "1min": ("1m", 60),
    "3min": ("3m", 180),
    "5min": ("5m", 300),
    "15min": ("15m", 900),
    "30min": ("30m", 1800),
    "1hour": ("1h", 3600),
    "2hour": ("2h", 7200),
    "4hour": ("4h", 14_400),
    "6hour": ("6h", 21_600),
    "8hour": ("8h", 28_800),
    "12hour": ("12h", 43_200),
    "1day": ("1d", 86_400),
    "1week": ("1w", 604_800),
    "1month": ("1M", 31 * 86_400),
}
"""Their intervals: ours, and its seconds at most."""


class Frame(Struct):
    """Whatever comes; a reply has no topic."""

    type: str
    topic: str = ""
    subject: str = ""
    data: Raw = Raw()
    id: str | int | None = None
    code: int | str | None = None


class Match(Struct, rename="camel"):
    """A trade; ``time`` in nanoseconds."""

    symbol: str
    side: Side
    price: Decimal
    size: Decimal
    trade_id: str
    time: str | int


class Quote(Struct, rename="camel"):
    """Best bid and ask, with the last price; null where there is none."""

    price: Decimal | None
    best_bid: Decimal | None
    best_bid_size: Decimal | None
    best_ask: Decimal | None
    best_ask_size: Decimal | None
    time: int | None = None
    spelled_otherwise: int | None = msgspec.field(default=None, name="Time")


class Level1(Struct):
    """The faster best bid and ask: a side is price and size; it is empty where nobody offers."""

    bids: list[Decimal]
    asks: list[Decimal]
    timestamp: int


class Row(Struct, array_like=True):
    """A candle; its begin in seconds."""

    begin: str
    open: Decimal
    close: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal


class Candles(Struct):
    """One candle on the socket."""

    symbol: str
    candles: Row


class Server(Struct):
    """A server that the token is good for."""

    endpoint: str


class Token(Struct, rename="camel"):
    """The answer to the request for a token."""

    token: str
    instance_servers: list[Server]


class Day(Struct, rename="camel"):
    """One symbol of ``allTickers``, or ``stats``, which tells the time itself; idle pairs have nulls."""

    symbol: str
    buy: Decimal | None
    sell: Decimal | None
    last: Decimal | None
    vol: Decimal | None
    best_bid_size: Decimal | None = None
    best_ask_size: Decimal | None = None
    time: int | None = None


class Days(Struct):
    """Everybody's day."""

    time: int
    ticker: list[Day]


class RestTrade(Struct):
    """A trade in REST; ``time`` in nanoseconds."""

    sequence: str
    price: Decimal
    size: Decimal
    side: Side
    time: int


class Symbol(Struct, rename="camel"):
    """A market."""

    symbol: str
    name: str
    base_currency: str
    quote_currency: str
    base_increment: Decimal
    price_increment: Decimal
    enable_trading: bool


class Answer(Struct):
    """The envelope of every answer."""

    code: str
    data: Raw = Raw()
    msg: str = ""


frame = msgspec.json.Decoder(Frame)
match = msgspec.json.Decoder(Match)
quote = msgspec.json.Decoder(Quote)
level1 = msgspec.json.Decoder(Level1)
candles = msgspec.json.Decoder(Candles)
token = msgspec.json.Decoder(Token)
day = msgspec.json.Decoder(Day)
days = msgspec.json.Decoder(Days)
rest_trades = msgspec.json.Decoder(list[RestTrade])
rest_candles = msgspec.json.Decoder(list[Row])
symbols = msgspec.json.Decoder(list[Symbol])
answer = msgspec.json.Decoder(Answer)


def address(told: Token, at: Nanos) -> Connect:
    """Where the token is good; its host is named apart, so that a user's own address can stand in its place."""
    if not told.instance_servers:
        raise WireError("the token's answer names no server")
    endpoint = told.instance_servers[0].endpoint
    parts = ENDPOINT.fullmatch(endpoint)
    if not parts:
        raise WireError(f"no WebSocket address: {endpoint[:80]}")
    return Connect(f"{parts['path'] or '/'}?token={escaped(told.token, safe='')}&connectId={at}", parts["host"])


def complaint(told: Answer) -> str:
    """What a bad answer says."""
    return f"refused: {told.msg[:160] or 'no reason given'} ({told.code[:20]})"


def interval(period: str) -> tuple[str, int]:
    """Our spelling of an interval, and its seconds at most."""
    if period not in PERIODS:
        raise WireError(f"unknown interval {period[:40]!r}")
    return PERIODS[period]


def days_of(told: Day) -> Days:
    """The answer of ``stats`` as a list of one."""
    if told.time is None:
        raise WireError("the day's figures without a time")
    return Days(told.time, [told])


def side(told: Sequence[Decimal]) -> tuple[Decimal | None, Decimal | None]:
    """Price and size; nothing where nobody offers."""
    return (told[0], told[1]) if len(told) == 2 else (None, None)


def trade_id(text: str) -> TradeId:
    """A number, wherever it is one: the oldest ids were hexadecimal."""
    return int(text) if _plain(text) else text


def _plain(text: str) -> bool:
    """Whether a text is a plain decimal number of a sane length, as the exchange would write it."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and (text[0] != "0" or text == "0")


def moment(told: str | int) -> Nanos:
    """A time in nanoseconds, as number or text."""
    if isinstance(told, str) and not _plain(told):
        raise WireError(f"impossible time: {told[:40]}")
    stamp = int(told)
    if not 0 <= stamp < 9_000_000_000_000_000_000:
        raise WireError(f"impossible time: {told}"[:60])
    return stamp


def candle(symbol: str, length: str, row: Row, at: Nanos) -> Candle:
    """A candle, which may still change."""
    positive(row.open, row.high, row.low, row.close)
    quantities(row.volume)
    if not _plain(row.begin):
        raise WireError(f"impossible time: {row.begin[:40]}")
    prices = (row.open, row.high, row.low, row.close, row.volume)
    return Candle("kucoin", symbol, length, nanos(int(row.begin) * 1000), *prices, closed=False, received=at)


def rest_trade(symbol: str, t: RestTrade, at: Nanos) -> Trade:
    """A trade of REST."""
    positive(t.price, t.size)
    return Trade("kucoin", symbol, trade_id(t.sequence), t.price, t.size, t.side, moment(t.time), at)


def instrument(told: Symbol) -> Instrument:
    """A market, under its present name."""
    known = told.name.count("-") == 1
    base, _, quoted = told.name.partition("-") if known else (told.base_currency, "-", told.quote_currency)
    return Instrument(
        exchange="kucoin",
        symbol=f"{base}/{quoted}",
        native=told.symbol,
        base=base,
        quote=quoted,
        tick_size=told.price_increment,
        amount_step=told.base_increment,
        contract_size=Decimal(1),
        amount_unit=base,
        status="trading" if told.enable_trading else "disabled",
    )
