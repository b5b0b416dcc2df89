"""Crypto.com's wire: what its messages and answers look like, and its names for things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from attrs import evolve
from msgspec import Raw, Struct

from trioagg.errors import WireError
from trioagg.exchanges import Feed, Send, Subscription
from trioagg.exchanges._books import Change
from trioagg.exchanges._numbers import EXACT, positive, quantities
from trioagg.exchanges._records import parted, spot
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Instrument, Level

FRAMES = {name: name for name in ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "12h", "1M")}
FRAMES |= {"1d": "1D", "7d": "7D", "14d": "14D"}
INTERVALS = {frame: interval for interval, frame in FRAMES.items()}
INTERVALS |= {"M1": "1m", "M5": "5m", "M15": "15m", "M30": "30m", "H1": "1h", "H4": "4h", "D1": "1d"}

STREAMS = {
    Channel.TRADES: "trade",
    Channel.TICKER: "ticker",
    Channel.FUNDING: "funding",
    Channel.OPEN_INTEREST: "ticker",
}
OF_PERPETUALS = (Channel.FUNDING, Channel.OPEN_INTEREST)
SHALLOW, DEEP = 10, 50  # levels of a side in a book that tells what changed

UNUSED = ("mark", "index", "settlement", "estimatedfunding", "otc_book")
"""Channels that are known and not collected."""
UNUSED_PATHS = ("get-book", "get-expired-settlement-price", "get-risk-parameters", "get-insurance")


class Result(Struct):
    """What a channel or a request brought."""

    data: Raw = Raw()
    channel: str = ""
    subscription: str = ""
    instrument_name: str = ""
    interval: str = ""
    depth: int | None = None


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


class Row(Struct, array_like=True):
    """What stands at a price, and of how many orders it is made; 0: nothing."""

    price: Decimal
    amount: Decimal
    orders: str


class Sides(Struct):
    """Levels of a book."""

    bids: list[Row]
    asks: list[Row]


class Whole(Sides):
    """A book; ``tt``: when it changed last, ``t``: when it was told, ``u``: its number."""

    t: int
    tt: int | None = None
    u: int = -1


class Update(Struct):
    """What changed in a book since its number was ``pu``."""

    update: Sides
    t: int
    u: int
    pu: int
    tt: int | None = None


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
wholes = msgspec.json.Decoder(list[Whole], strict=False)
updates = msgspec.json.Decoder(list[Update], strict=False)
bars = msgspec.json.Decoder(list[Bar], strict=False)
points = msgspec.json.Decoder(list[Point], strict=False)
listed = msgspec.json.Decoder(list[Listed])


def offered(wanted: Subscription) -> bool:
    """Whether the market has such a channel: spot has no funding and no open interest."""
    return ":" in wanted.symbol or wanted.channel not in OF_PERPETUALS


def stream(wanted: Subscription, feed: Feed) -> str:
    """The name of a channel of a market."""
    if wanted.channel is Channel.BOOK:
        return f"book.{wanted.native}.{SHALLOW if feed.book.levels <= SHALLOW else DEEP}"
    return f"{STREAMS.get(wanted.channel) or f'candlestick.{FRAMES[feed.candle]}'}.{wanted.native}"


def request(number: int, method: str, streams: Sequence[str]) -> Send:
    """A request about channels; books are asked to tell what changes."""
    params: Mapping[str, object] = {"channels": streams}
    if method == "subscribe" and any(name.startswith("book.") for name in streams):
        params = {**params, "book_subscription_type": "SNAPSHOT_AND_UPDATE", "book_update_frequency": 10}
    return Send(msgspec.json.encode({"id": number, "method": method, "params": params}).decode())


def result(told: Frame) -> Result:
    """What an answer holds.

    Raises:
        WireError: it is a refusal, or holds nothing.
    """
    if told.code:
        raise WireError(f"refused: {told.message[:200]} ({told.code})")
    if told.result is None:
        raise WireError("an answer without a result")
    return told.result


def sized(count: Decimal | None, size: Decimal) -> Decimal | None:
    """A number of contracts in the base currency."""
    return None if count is None else EXACT.multiply(count, size)


def whole(told: Whole, size: Decimal) -> Change:
    """A whole book, in the base currency; it follows nothing."""
    return Change(-1, told.u, _levels(told.bids, size), _levels(told.asks, size), nanos(told.tt or told.t))


def change(told: Update, size: Decimal) -> Change:
    """What changed in a book, in the base currency."""
    bids, asks = _levels(told.update.bids, size), _levels(told.update.asks, size)
    return Change(told.pu, told.u, bids, asks, nanos(told.tt or told.t))


def _levels(rows: Sequence[Row], size: Decimal) -> list[Level]:
    return [(row.price, EXACT.multiply(row.amount, size)) for row in rows]


def native(symbol: str) -> str:
    """The exchange's spelling by rule."""
    pair, _, settled = symbol.partition(":")
    if not settled:
        return pair.replace("/", "_")
    return pair.replace("/", "") + "-" + (settled.partition("-")[2] or "PERP")


def unified(native: str) -> str:
    """The unified spelling by rule; ``native`` itself where there is none."""
    pair, _, term = native.partition("-")
    if not term:
        return native.replace("_", "/")
    assets = parted(pair, ("USDT", "USDC", "USD"))
    return f"{'/'.join(assets)}:{assets[1]}" + ("" if term == "PERP" else f"-{term}") if assets else native


def instruments(body: Raw) -> list[Instrument]:
    """The spot markets and perpetuals of an instrument list."""
    kinds = ("CCY_PAIR", "PERPETUAL_SWAP")
    return [
        _instrument(row) for row in listed.decode(body) if row.inst_type in kinds and row.base_ccy and row.quote_ccy
    ]


def _instrument(row: Listed) -> Instrument:
    size, tick = row.contract_size or Decimal(1), row.price_tick_size
    positive(size)
    quantities(tick, row.qty_tick_size)
    step, status = sized(row.qty_tick_size, size), "trading" if row.tradable else "not tradable"
    market = spot("cryptocom", (row.base_ccy, row.quote_ccy), row.symbol, tick=tick, step=step, status=status)
    contract = row.inst_type != "CCY_PAIR"
    return evolve(market, symbol=f"{market.symbol}:{row.quote_ccy}" if contract else market.symbol, contract_size=size)
