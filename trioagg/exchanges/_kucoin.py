"""KuCoin's wire: what its messages and answers look like, and what parts of them mean by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from urllib.parse import quote as escaped

import msgspec
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Connect, Heartbeat, _records
from trioagg.exchanges._books import JoinedBook
from trioagg.exchanges._numbers import plain, positive, trade_id
from trioagg.exchanges._times import nanos, seconds
from trioagg.model import Candle, Delta, Event, Instrument, Level, Nanos, Side, Trade

TOLD = 100  # levels of a side in a snapshot
SILENCE = 30.0  # seconds, the window of the limit; how much of it is left, a header tells in milliseconds
ENDPOINT = re.compile(r"(?P<host>wss?://[^/?#\s]+)(?P<path>/[^?#\s]*)?")
PERIODS = {f"{number}m": f"{number}min" for number in (1, 3, 5, 15, 30)}
PERIODS |= {f"{number}h": f"{number}hour" for number in (1, 2, 4, 6, 8, 12)}
PERIODS |= {"1d": "1day", "1w": "1week", "1M": "1month"}
INTERVALS = {period: interval for interval, period in PERIODS.items()}


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


class Entry(Struct, array_like=True):
    """A level that changed; behind it stands the number of the change."""

    price: Decimal
    size: Decimal


class Sides(Struct):
    """The levels that changed."""

    bids: list[Entry]
    asks: list[Entry]


class Update(Struct, rename="camel"):
    """Changes of a book, from number to number, both of them in it."""

    changes: Sides
    sequence_start: int
    sequence_end: int
    time: int | None = None


class RestBook(Struct):
    """The best levels of a book, as change ``sequence`` left it."""

    sequence: str
    time: int
    bids: list[Level]
    asks: list[Level]


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


class Server(Struct, rename="camel"):
    """A server that the token is good for, and how often the client is to ping it, ms."""

    endpoint: str
    ping_interval: int = 18_000


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
update = msgspec.json.Decoder(Update)
rest_book = msgspec.json.Decoder(RestBook)
candles = msgspec.json.Decoder(Candles)
token = msgspec.json.Decoder(Token)
day = msgspec.json.Decoder(Day)
days = msgspec.json.Decoder(Days)
rest_trades = msgspec.json.Decoder(list[RestTrade])
rest_candles = msgspec.json.Decoder(list[Row])
symbols = msgspec.json.Decoder(list[Symbol])
integer = msgspec.json.Decoder(int)
answer = msgspec.json.Decoder(Answer)


class Shallow(JoinedBook):
    """A book of which a snapshot tells the best levels only: of those beyond, just what changed since is known."""

    def replace(self, bids: Sequence[Level], asks: Sequence[Level], stamp: Nanos | None, at: Nanos) -> list[Event]:
        """Take a snapshot, and note how far it reaches: a side that it does not fill, it tells whole."""
        self._lowest = min(bids)[0] if len(bids) >= TOLD else None
        self._highest = max(asks)[0] if len(asks) >= TOLD else None
        return super().replace(bids, asks, stamp, at)

    def change(self, bids: Sequence[Level], asks: Sequence[Level], stamp: Nanos | None, at: Nanos) -> list[Event]:
        """Take changes; when they wear the book out, it falls, and tells no levels that may not be the market's."""
        events = super().change(bids, asks, stamp, at)
        if not self.standing or not self._worn():
            return events
        self.fall()
        return [event for event in events if isinstance(event, Delta)]

    def _worn(self) -> bool:
        """Whether levels that are wanted, or half of what a snapshot tells, lie beyond its reach."""
        count = min(self._plan.levels, TOLD // 2)
        bids, asks = self.bids(count), self.asks(count)
        low = self._lowest is not None and (len(bids) < count or bids[-1][0] < self._lowest)
        return low or (self._highest is not None and (len(asks) < count or asks[-1][0] > self._highest))


def heartbeat(milliseconds: int) -> Heartbeat:
    """A ping a sixth earlier than the server wants it; a second to ten minutes, whatever it says."""
    every = min(max(milliseconds, 1000), 600_000) / 1200
    return Heartbeat(every, '{"id":"ping","type":"ping"}')


def server(told: Token) -> Server:
    """The server to connect to."""
    if not told.instance_servers:
        raise WireError("the token's answer names no server")
    return told.instance_servers[0]


def address(told: Token, at: Nanos) -> Connect:
    """Where the token is good; its host is named apart, so that a user's own address can stand in its place."""
    endpoint = server(told).endpoint
    parts = ENDPOINT.fullmatch(endpoint)
    if not parts:
        raise WireError(f"no WebSocket address: {endpoint[:80]}")
    return Connect(f"{parts['path'] or '/'}?token={escaped(told.token, safe='')}&connectId={at}", parts["host"])


def data(told: Answer) -> Raw:
    """What a good answer tells.

    Raises:
        RateLimited: it complains about too many requests.
        WireError: it complains about something else.
    """
    complaint = f"refused: {told.msg[:160] or 'no reason given'} ({told.code[:20]})"
    if told.code == "429000":
        raise RateLimited(complaint, SILENCE)
    if told.code != "200000":
        raise WireError(complaint)
    return told.data


def days_of(told: Day) -> Days:
    """The answer of ``stats`` as a list of one."""
    if told.time is None:
        raise WireError("the day's figures without a time")
    return Days(told.time, [told])


def side(told: Sequence[Decimal]) -> tuple[Decimal | None, Decimal | None]:
    """Price and size; nothing where nobody offers."""
    return (told[0], told[1]) if len(told) == 2 else (None, None)


def levels(told: Sequence[Entry]) -> list[Level]:
    """The levels that changed; a price of 0 means that only the number went on."""
    return [(entry.price, entry.size) for entry in told if entry.price]


def sequence(text: str) -> int:
    """The number of a change."""
    if not plain(text):
        raise WireError(f"impossible number: {text[:40]}")
    return int(text)


def moment(told: str | int) -> Nanos:
    """A time as number or text."""
    if isinstance(told, str) and not plain(told):
        raise WireError(f"impossible time: {told[:40]}")
    return nanos(int(told))


def candle(symbol: str, length: str, row: Row, at: Nanos) -> Candle:
    """A candle, which may still change."""
    if not plain(row.begin):
        raise WireError(f"impossible time: {row.begin[:40]}")
    opens, prices = seconds(int(row.begin)), (row.open, row.high, row.low, row.close)
    return _records.candle("kucoin", (symbol, length), opens, prices=prices, volume=row.volume, closed=False, at=at)


def rest_trade(symbol: str, t: RestTrade, at: Nanos) -> Trade:
    """A trade of REST."""
    positive(t.price, t.size)
    return Trade("kucoin", symbol, trade_id(t.sequence), t.price, t.size, t.side, moment(t.time), at)


def instrument(told: Symbol) -> Instrument:
    """A market, under its present name."""
    known = told.name.count("-") == 1
    base, _, quoted = told.name.partition("-") if known else (told.base_currency, "-", told.quote_currency)
    tick, step, status = told.price_increment, told.base_increment, "trading" if told.enable_trading else "disabled"
    return _records.spot("kucoin", (base, quoted), told.symbol, tick=tick, step=step, status=status)
