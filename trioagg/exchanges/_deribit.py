"""Deribit's wire: what its messages and answers look like, the decoders of each, and its names for things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._books import Change
from trioagg.exchanges._numbers import Number, positive, quantities
from trioagg.exchanges._records import Market, candle
from trioagg.exchanges._times import nanos
from trioagg.model import Candle, Funding, Instrument, Level, Liquidation, Nanos, OpenInterest, Side, Ticker, Trade

RESOLUTIONS = {"1m": "1", "3m": "3", "5m": "5", "10m": "10", "15m": "15", "30m": "30", "1h": "60", "2h": "120"}
RESOLUTIONS |= {"3h": "180", "6h": "360", "12h": "720", "1d": "1D"}
INTERVALS = {resolution: interval for interval, resolution in RESOLUTIONS.items()}

HASTE, SILENCE = 10028, 10.0
"""The code of too many requests, and the seconds to leave the exchange alone then: it names none."""

UNUSED = (
    "incremental_ticker perpetual markprice estimated_expiration_price deribit_price_index deribit_price_ranking "
    "deribit_price_statistics deribit_volatility_index instrument_state platform_state rfq block_rfq announcements"
).split()
"""Channels that are known and not collected."""
UNUSED_PATHS = ("get_time", "test", "get_instrument", "get_instruments", "get_order_book")


class Params(Struct, frozen=True):
    """What a notification holds: data of a channel, or the ``type`` of a heartbeat."""

    channel: str = ""
    data: Raw = Raw()
    type: str = ""


class Complaint(Struct):
    """Why a request was refused."""

    code: int
    message: str = ""
    data: Raw = Raw()


class Frame(Struct):
    """Whatever comes: a notification, or the answer to a request, which REST gives in the same envelope."""

    params: Params = Params()
    method: str = ""
    id: int | str | None = None
    result: Raw | UnsetType = UNSET
    error: Complaint | UnsetType = UNSET


class Deal(Struct):
    """A trade; ``liquidation`` says whose position was closed by force: the maker's (M), the taker's (T), both (MT)."""

    instrument_name: str
    trade_seq: Number
    price: Decimal
    amount: Decimal
    direction: Side
    timestamp: int
    liquidation: str | None = None


class Stats(Struct, frozen=True):
    """The last 24 hours; ``volume`` in the base currency."""

    volume: Decimal | None = None


class Quote(Struct):
    """The best bid and ask; an empty side is null, or nought at a price of nought."""

    instrument_name: str
    timestamp: int
    best_bid_price: Decimal | None
    best_bid_amount: Decimal | None
    best_ask_price: Decimal | None
    best_ask_amount: Decimal | None


class Tick(Quote):
    """A ticker; funding comes with perpetuals only, open interest with all derivatives."""

    last_price: Decimal | None
    stats: Stats = Stats()
    mark_price: Decimal | None = None
    index_price: Decimal | None = None
    open_interest: Decimal | None = None
    current_funding: Decimal | None = None


class Row(Struct, array_like=True):
    """What became of a price of a book, and what stands there now, in the unit of ``Deal.amount``."""

    became: Literal["new", "change", "delete"]
    price: Decimal
    amount: Decimal


class Book(Struct):
    """A whole book, or changes after those up to ``prev_change_id``."""

    type: Literal["snapshot", "change"]
    instrument_name: str
    timestamp: int
    change_id: int
    bids: list[Row]
    asks: list[Row]
    prev_change_id: int | None = None


class Bar(Struct):
    """A candle; ``volume`` in the base currency."""

    tick: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Deals(Struct):
    """What REST answers of trades."""

    trades: list[Deal]


class Columns(Struct):
    """What REST answers of candles: one list for each of their fields."""

    ticks: list[int]
    open: list[Decimal]
    high: list[Decimal]
    low: list[Decimal]
    close: list[Decimal]
    volume: list[Decimal]


class Listed(Struct):
    """An instrument; ``quote_currency`` of an option is its coin, ``counter_currency`` never."""

    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    min_trade_amount: Decimal
    tick_size: Decimal
    contract_size: Decimal | None = None
    counter_currency: str = ""
    settlement_currency: str = ""
    settlement_period: str = ""
    instrument_type: str = ""
    is_active: bool = True
    state: str = "open"


frames = msgspec.json.Decoder(Frame)
deals = msgspec.json.Decoder(list[Deal])
tick = msgspec.json.Decoder(Tick)
quote = msgspec.json.Decoder(Quote)
book = msgspec.json.Decoder(Book)
integer = msgspec.json.Decoder(int)
bar = msgspec.json.Decoder(Bar)
names = msgspec.json.Decoder(list[str])
rest_deals = msgspec.json.Decoder(Deals)
rest_bars = msgspec.json.Decoder(Columns)
listed = msgspec.json.Decoder(list[Listed])


def result(told: Frame) -> Raw:
    """The result of an answer.

    Raises:
        WireError: it has none, but maybe a complaint.
    """
    if told.error is not UNSET:
        raise WireError(f"refused: {complaint(told.error)}")
    if told.result is UNSET:
        raise WireError("an answer without a result")
    return told.result


def answer(body: bytes) -> Frame:
    """An answer of REST.

    Raises:
        RateLimited: it is a demand for silence.
    """
    told = frames.decode(body)
    if told.error is not UNSET and told.error.code == HASTE:
        raise RateLimited(complaint(told.error), SILENCE)
    return told


def complaint(error: Complaint) -> str:
    """A complaint in one line, with what it is about where that is told."""
    detail = bytes(error.data).decode(errors="replace")[:120]
    return " ".join(word for word in (error.message[:120], f"({error.code})", detail) if word)


def trade(symbol: str, told: Deal, at: Nanos) -> Trade:
    """A trade under its number within the instrument, which counts up by one."""
    positive(told.price, told.amount)
    return Trade("deribit", symbol, told.trade_seq, told.price, told.amount, told.direction, nanos(told.timestamp), at)


def liquidations(symbol: str, told: Deal, at: Nanos) -> Iterable[Liquidation]:
    """The positions that a trade closed by force: none, the taker's, the maker's, or both."""
    maker: Side = "buy" if told.direction == "sell" else "sell"
    sides: dict[str, Side] = {"T": told.direction, "M": maker}
    for who, side in sides.items():
        if who in (told.liquidation or ""):
            yield Liquidation("deribit", symbol, side, told.price, told.amount, nanos(told.timestamp), at)


def ticker(symbol: str, told: Quote, last: Decimal | None, volume: Decimal | None, *, at: Nanos) -> Ticker:
    """A ticker with the last price and the day's volume as far as known."""
    bid, ask = _side(told.best_bid_price, told.best_bid_amount), _side(told.best_ask_price, told.best_ask_amount)
    quantities(*bid, *ask, last, volume)
    return Ticker("deribit", symbol, *bid, *ask, last, volume, nanos(told.timestamp), at)


def funding(symbol: str, told: Tick, at: Nanos) -> Iterable[Funding]:
    """The funding of a perpetual contract: paid without pause, so it is never due."""
    if told.current_funding is not None:
        quantities(abs(told.current_funding), told.mark_price, told.index_price)
        prices = (told.current_funding, told.mark_price, told.index_price)
        yield Funding("deribit", symbol, *prices, None, nanos(told.timestamp), at)


def paid(told: Tick | None) -> object:
    """What funding is told of: it is told again where this changes."""
    return told and (told.current_funding, told.mark_price, told.index_price)


def interest(symbol: str, told: Tick, at: Nanos) -> Iterable[OpenInterest]:
    """The open interest of a derivative."""
    if told.open_interest is not None:
        quantities(told.open_interest)
        yield OpenInterest("deribit", symbol, told.open_interest, nanos(told.timestamp), at)


def change(told: Book) -> Change:
    """A whole book or its changes."""
    after, stamp = -1 if told.prev_change_id is None else told.prev_change_id, nanos(told.timestamp)
    return Change(after, told.change_id, _levels(told.bids), _levels(told.asks), stamp)


def _levels(rows: Sequence[Row]) -> list[Level]:
    """One side; 0 where nothing stands any more."""
    return [(row.price, Decimal(0) if row.became == "delete" else row.amount) for row in rows]


def told_candle(market: Market, told: Bar, at: Nanos, *, closed: bool) -> Candle:
    """A candle of a market."""
    prices = (told.open, told.high, told.low, told.close)
    return candle("deribit", market, nanos(told.tick), prices=prices, volume=told.volume, closed=closed, at=at)


def bars(told: Columns) -> list[Bar]:
    """REST's columns as rows.

    Raises:
        WireError: they are not of one length.
    """
    columns = (told.ticks, told.open, told.high, told.low, told.close, told.volume)
    if len({len(column) for column in columns}) != 1:
        raise WireError("candles whose columns differ in length")
    return [Bar(*row) for row in zip(*columns, strict=True)]


def instruments(body: Raw) -> list[Instrument]:
    """The spot markets and perpetual contracts of a list; futures with an end, options and combos are left out."""
    return [
        _instrument(row)
        for row in listed.decode(body)
        if row.kind == "spot" or (row.kind == "future" and row.settlement_period == "perpetual")
    ]


def unified(native: str) -> str:
    """The unified spelling by rule; ``native`` itself where it is no spot market nor perpetual contract."""
    pair, dash, term = native.partition("-")
    base, _, quoted = pair.partition("_")
    if base and quoted and term in ("", "PERPETUAL"):
        return f"{base}/{quoted}:{quoted}" if dash else f"{base}/{quoted}"
    return f"{base}/USD:{base}" if base and not quoted and term == "PERPETUAL" else native


def _side(price: Decimal | None, size: Decimal | None) -> tuple[Decimal | None, Decimal | None]:
    return (price, size) if price else (None, None)


def _instrument(row: Listed) -> Instrument:
    base, quoted = row.base_currency, row.counter_currency or row.quote_currency
    spot = row.kind == "spot"
    size = Decimal(1) if spot or row.contract_size is None else row.contract_size
    positive(size)
    quantities(row.tick_size, row.min_trade_amount)
    return Instrument(
        exchange="deribit",
        symbol=f"{base}/{quoted}" if spot else f"{base}/{quoted}:{row.settlement_currency}",
        native=row.instrument_name,
        base=base,
        quote=quoted,
        tick_size=row.tick_size,
        amount_step=row.min_trade_amount,
        contract_size=size,
        amount_unit=quoted if row.instrument_type == "reversed" and not spot else base,
        status=_status(row),
    )


def _status(row: Listed) -> str:
    if row.state != "open":
        return row.state.lower()
    return "trading" if row.is_active else "inactive"
