"""Hyperliquid's wire: what its messages and answers look like, the decoders of each, and its names for things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from trioagg.errors import WireError
from trioagg.exchanges._numbers import Number, positive, quantities, step
from trioagg.exchanges._records import candle, spot
from trioagg.exchanges._times import nanos
from trioagg.model import Candle, Funding, Instrument, Level, Nanos, OpenInterest, Side, Trade

INTERVALS = "1m 3m 5m 15m 30m 1h 2h 4h 8h 12h 1d 3d 1w 1M".split()
THOUSANDS = "PEPE SHIB BONK FLOKI LUNC DOGS NEIRO".split()
"""Coins that are traded by the thousand, under a name with a small ``k`` before it."""

BRIDGED = {
    "UBTC": "BTC",
    "UETH": "ETH",
    "USOL": "SOL",
    "UFART": "FARTCOIN",
    "UPUMP": "PUMP",
    "UBONK": "BONK",
    "UXPL": "XPL",
    "USDT0": "USDT",
    "USD₮0": "USDT",
    "XAUT0": "XAUT",
}
"""Tokens that stand for an asset of another chain."""

UNUSED = (
    "pong post allMids allDexsAssetCtxs fastAssetCtxs notification webData2 webData3 orderUpdates user "
    "userEvents userFills userFundings userNonFundingLedgerUpdates activeAssetData userTwapSliceFills "
    "userTwapHistory twapStates clearinghouseState openOrders spotState allDexsClearinghouseState"
).split()
"""Channels that are known and not collected."""


CONTEXT = {"volume": "dayBaseVlm", "interest": "openInterest", "mark": "markPx", "index": "oraclePx"}


class Frame(Struct):
    """Whatever comes."""

    channel: str
    data: Raw = Raw()


class Wanted(Struct, omit_defaults=True):
    """What a subscription is to."""

    type: str
    coin: str = ""
    interval: str = ""
    fast: bool = False


class Heard(Struct):
    """A subscription that was heard, or its end."""

    method: str
    subscription: Wanted


class Deal(Struct):
    """A trade; ``side`` is the taker's: B buys, A sells."""

    coin: str
    side: Literal["A", "B"]
    px: Decimal
    sz: Decimal
    time: int
    tid: Number


class Place(Struct):
    """One price of the book."""

    px: Decimal
    sz: Decimal


class Best(Struct):
    """Best bid and ask, either of which may be null."""

    coin: str
    time: int
    bbo: tuple[Place | None, Place | None]


class Depth(Struct):
    """The top of a book: bids and asks, best first."""

    coin: str
    time: int
    levels: tuple[list[Place], list[Place]]


class Bar(Struct):
    """A candle: ``s`` is the coin, ``t`` and ``T`` its first and last millisecond."""

    t: int
    T: int
    s: str
    i: str
    o: Decimal
    h: Decimal
    low: Decimal = msgspec.field(name="l")
    c: Decimal
    v: Decimal


class Context(Struct, rename=CONTEXT):
    """The state of a market; the funding is that of an hour. Spot has neither funding nor open interest."""

    volume: Decimal | None = None
    funding: Decimal | None = None
    interest: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None


class State(Struct):
    """The state of one market."""

    coin: str
    ctx: Context


class Rate(Struct):
    """One hour's funding, as it was paid."""

    coin: str
    rate: Decimal = msgspec.field(name="fundingRate")
    time: int


class Status(Struct):
    """The answer to ``exchangeStatus``."""

    time: int


class Perpetual(Struct):
    """A perpetual contract; sizes have ``decimals`` digits after the point."""

    name: str
    decimals: Annotated[int, Meta(ge=0, le=30)] = msgspec.field(name="szDecimals")
    delisted: bool = msgspec.field(name="isDelisted", default=False)


class Pair(Struct):
    """A spot market: its base and quote by the numbers of tokens."""

    name: str
    tokens: tuple[int, int]


class Token(Struct):
    """What spot markets trade."""

    name: str
    index: int
    decimals: Annotated[int, Meta(ge=0, le=30)] = msgspec.field(name="szDecimals")


class Perpetuals(Struct):
    """The answer to ``meta``."""

    universe: list[Perpetual]


class Spots(Struct):
    """The answer to ``spotMeta``."""

    universe: list[Pair]
    tokens: list[Token]


frames = msgspec.json.Decoder(Frame)
heard = msgspec.json.Decoder(Heard)
deals = msgspec.json.Decoder(list[Deal])
best = msgspec.json.Decoder(Best)
books = msgspec.json.Decoder(Depth)
bars = msgspec.json.Decoder(Bar | list[Bar])
state = msgspec.json.Decoder(State)
text = msgspec.json.Decoder(str)
answers = msgspec.json.Decoder(dict[str, Raw] | list[Raw])
rest_bars = msgspec.json.Decoder(list[Bar])
rates = msgspec.json.Decoder(list[Rate])
status = msgspec.json.Decoder(Status)
perpetuals = msgspec.json.Decoder(Perpetuals)
spots = msgspec.json.Decoder(Spots)


def kind(body: bytes) -> str:
    """What an answer is, since all come from one path: the request's type, or empty for one that is not collected.

    Raises:
        WireError: it is null: the coin that was asked for is unknown.
    """
    if body.strip() == b"null":
        raise WireError("null: an unknown coin")
    told = answers.decode(body)
    if isinstance(told, dict):
        return "" if "universe" not in told else "spotMeta" if "tokens" in told else "meta"
    row = answers.decode(told[0]) if told and bytes(told[0])[:1] in (b"{", b"[") else {}
    marks = {"tid": "recentTrades", "fundingRate": "fundingHistory", "o": "candleSnapshot"}
    return next((kind for mark, kind in marks.items() if mark in row), "")


def instruments(body: bytes) -> list[Instrument]:
    """The markets of ``meta`` or ``spotMeta``; of two that would have one name, the first.

    Raises:
        WireError: the answer is neither.
    """
    match kind(body):
        case "meta":
            rows = [_perpetual(row) for row in perpetuals.decode(body).universe]
        case "spotMeta":
            rows = list(_spots(spots.decode(body)))
        case _:
            raise WireError("no instrument list")
    found: dict[str, Instrument] = {}
    for row in rows:
        found.setdefault(row.symbol, row)
    return list(found.values())


def native(symbol: str) -> str:
    """The exchange's spelling by rule: that of a contract is its coin."""
    pair, colon, _ = symbol.partition(":")
    base = pair.partition("/")[0]
    if not colon:
        return pair
    return f"k{base[1:]}" if base[:1] == "K" and base[1:] in THOUSANDS else base


def unified(coin: str) -> str:
    """The unified spelling by rule; ``coin`` itself where only a list tells, or where there is none."""
    if not coin or any(sign in coin for sign in "@/:#"):
        return coin
    return f"{coin.upper()}/USDC:USDC"


def trade(symbol: str, told: Deal, at: Nanos) -> Trade:
    """A trade."""
    positive(told.px, told.sz)
    side: Side = "buy" if told.side == "B" else "sell"
    return Trade("hyperliquid", symbol, str(told.tid), told.px, told.sz, side, nanos(told.time), at)


def bar(symbol: str, told: Bar, at: Nanos, *, closed: bool) -> Candle:
    """A candle."""
    if told.i not in INTERVALS:
        raise WireError(f"unknown interval {told.i[:40]!r}")
    prices, market = (told.o, told.h, told.low, told.c), (symbol, told.i)
    return candle("hyperliquid", market, nanos(told.t), prices=prices, volume=told.v, closed=closed, at=at)


def funding(symbol: str, told: Context, at: Nanos) -> Funding:
    """The funding of the running hour.

    Raises:
        WireError: there is none.
    """
    if told.funding is None:
        raise WireError("no funding")
    quantities(abs(told.funding), told.mark, told.index)
    return Funding("hyperliquid", symbol, told.funding, told.mark, told.index, None, None, at)


def paid(symbol: str, told: Rate, at: Nanos) -> Funding:
    """The funding of an hour that is over."""
    quantities(abs(told.rate))
    return Funding("hyperliquid", symbol, told.rate, None, None, None, nanos(told.time), at)


def interest(symbol: str, told: Context, at: Nanos) -> OpenInterest:
    """The open interest, in the base currency.

    Raises:
        WireError: there is none.
    """
    if told.interest is None:
        raise WireError("no open interest")
    quantities(told.interest)
    return OpenInterest("hyperliquid", symbol, told.interest, None, at)


def half(place: Place | None) -> tuple[Decimal | None, Decimal | None]:
    """Price and size; nothing where nobody offers."""
    if place is None:
        return None, None
    quantities(place.px, place.sz)
    return place.px, place.sz


def levels(side: Sequence[Place]) -> list[Level]:
    """One side of a book."""
    return [(place.px, place.sz) for place in side]


def _perpetual(row: Perpetual) -> Instrument:
    base = row.name.upper()
    return Instrument(
        exchange="hyperliquid",
        symbol=f"{base}/USDC:USDC",
        native=row.name,
        base=base,
        quote="USDC",
        tick_size=None,
        amount_step=step(row.decimals),
        contract_size=Decimal(1),
        amount_unit=base,
        status="delisted" if row.delisted else "trading",
    )


def _spots(told: Spots) -> Iterator[Instrument]:
    tokens = {token.index: token for token in told.tokens}
    names = {token.index: token.name.upper() for token in told.tokens}
    there = set(names.values())
    for index, name in names.items():
        ours = BRIDGED.get(name, name)
        names[index] = name if ours in there else ours
    for pair in told.universe:
        base, quote = pair.tokens
        if base in tokens and quote in tokens:
            market, lot = (names[base], names[quote]), step(tokens[base].decimals)
            yield spot("hyperliquid", market, pair.name, tick=None, step=lot, status="trading")
