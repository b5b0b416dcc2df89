"""Bitstamp's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from attrs import evolve
from msgspec import Raw, Struct

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges._numbers import Number, quantities, step
from trioagg.exchanges._records import candle, known, parted, spot
from trioagg.exchanges._times import length, nanos, seconds
from trioagg.model import Candle, Instrument, Level, Nanos
from trioagg.model import Funding as Rate

PERPETUAL = "-perp"
LIMITED = {b"400.002", b"400.067", b"400.068"}  # response codes that are rate limits
SILENCE = 60.0  # seconds after one, which names none

STEPS = {name: length(name) // length("1s") for name in "1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d 3d".split()}
"""The lengths of candles, in seconds."""
INTERVALS = {str(step): interval for interval, step in STEPS.items()}

QUOTES = "USDT USDC RLUSD EURC USD EUR GBP PAX BTC ETH".split()  # for spelling a symbol that no instrument list told
ODD = {"perlusd": "PERL/USD"}  # what that rule would spell wrongly


class Envelope(Struct):
    """Whatever comes: an event of a channel."""

    event: str
    channel: str = ""
    data: Raw = Raw()


class Trade(Struct):
    """One of ``live_trades_…``; ``type`` 0: the taker bought. ``timestamp`` is in seconds or milliseconds."""

    id: Number
    price_str: Decimal
    amount_str: Decimal
    type: Literal[0, 1]
    microtimestamp: int


class Book(Struct):
    """The best levels of ``order_book_…``, all of them each time."""

    microtimestamp: int
    bids: list[Level]
    asks: list[Level]


class Funding(Struct):
    """What ``funding_rate_…`` tells every second, and ``/funding_rate/`` without the prices."""

    market: str
    funding_rate: Decimal
    timestamp: int
    next_funding_time: int | None = None
    mark_price: Decimal | None = None
    index_price: Decimal | None = None


class RestMarket(Struct):
    """One of ``/markets/``; only perpetuals tell what they pay and how large a contract is."""

    name: str
    market_symbol: str
    base_decimals: int
    counter_decimals: int
    trading: str
    market_type: str = "SPOT"
    payoff_type: str = "Linear"
    contract_size: Decimal = Decimal(1)


class RestTicker(Struct):
    """One market of ``/ticker/``; only perpetuals have open interest, older answers about one market do not name it."""

    timestamp: int
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    volume: Decimal | None
    market: str = ""
    open_interest: Decimal | None = None


class RestTrade(Struct):
    """One of ``/transactions/``, in whole seconds."""

    date: int
    tid: Number
    price: Decimal
    amount: Decimal
    type: Literal[0, 1]


class RestCandle(Struct):
    """One of ``/ohlc/``."""

    timestamp: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class RestCandles(Struct):
    """Oldest first."""

    ohlc: list[RestCandle]


class RestOhlc(Struct):
    """What ``/ohlc/`` answers."""

    data: RestCandles


class RestError(Struct):
    """What an object may be instead of an answer: a refusal, by one of two forms."""

    response_code: Raw = Raw()
    status: str = ""
    reason: Raw = Raw()


envelope = msgspec.json.Decoder(Envelope)
# Not strict: most numbers and all times come as text.
trade = msgspec.json.Decoder(Trade, strict=False)
book = msgspec.json.Decoder(Book, strict=False)
funding = msgspec.json.Decoder(Funding, strict=False)
rest_markets = msgspec.json.Decoder(list[RestMarket])
rest_tickers = msgspec.json.Decoder(RestTicker | list[RestTicker], strict=False)
rest_trades = msgspec.json.Decoder(list[RestTrade], strict=False)
rest_ohlc = msgspec.json.Decoder(RestOhlc, strict=False)
rest_error = msgspec.json.Decoder(RestError, strict=False)


def time(stamp: int) -> Nanos:
    """A time in seconds, or in anything finer."""
    return seconds(stamp) if stamp < 9_000_000_000 else nanos(stamp)


def words(raw: Raw) -> str:
    """What an error says, in short."""
    return bytes(raw).decode(errors="replace")[:200]


def refuse(body: bytes) -> None:
    """Tell a refusal that comes in place of an answer.

    Raises:
        RateLimited: it is a demand for silence.
        WireError, msgspec.DecodeError: it is any other.
    """
    if not body.lstrip().startswith(b"{"):
        return
    error = rest_error.decode(body)
    if bytes(error.response_code).strip(b'"') in LIMITED:
        raise RateLimited(f"response code {words(error.response_code)}", SILENCE)
    if error.status == "error" or bytes(error.response_code):
        raise WireError(f"refused: {words(error.reason) or words(error.response_code)}")


def unified(native: str) -> str:
    """``btcusd-perp`` as ``BTC/USD:USD``; ``native`` in capitals where unclear."""
    pair = native.removesuffix(PERPETUAL)
    symbol = ODD.get(pair) or "/".join(parted(pair.upper(), QUOTES) or [pair.upper()])
    return f"{symbol}:{symbol.partition('/')[2]}" if "/" in symbol and pair != native else symbol


def named(name: str) -> str:
    """``BTC/USD-PERP`` as it is written elsewhere."""
    pair = name.upper().removesuffix(PERPETUAL.upper())
    return pair if pair == name.upper() else f"{pair}:{pair.partition('/')[2]}"


def is_ours(market: RestMarket) -> bool:
    """Whether it is a spot market or a linear perpetual."""
    linear = market.payoff_type == "Linear" and market.market_symbol.endswith(PERPETUAL)
    return "/" in market.name and (linear if market.market_type == "PERPETUAL" else market.market_type == "SPOT")


def instrument(market: RestMarket) -> Instrument:
    """A market."""
    symbol = named(market.name)
    base, quote = symbol.partition(":")[0].split("/", 1)
    tick, lot = step(market.counter_decimals), step(market.base_decimals)
    status = "trading" if market.trading == "Enabled" else market.trading.lower()
    listed = spot("bitstamp", (base, quote), market.market_symbol, tick=tick, step=lot, status=status)
    return evolve(listed, symbol=symbol, contract_size=market.contract_size)


def rate(symbol: str, f: Funding, at: Nanos) -> Rate:
    """The funding rate; negative ones are paid by shorts."""
    quantities(abs(f.funding_rate), f.mark_price, f.index_price)
    due = None if f.next_funding_time is None else time(f.next_funding_time)
    return Rate("bitstamp", symbol, f.funding_rate, f.mark_price, f.index_price, due, time(f.timestamp), at)


def candles(symbol: str, step: str, rows: Sequence[RestCandle], at: Nanos) -> list[Candle]:
    """Candles, closed once another follows, or twice their time has passed.

    Args:
        step: seconds of one, as the request spelled them.
    """
    interval = known(step, INTERVALS, "step")
    newest, over = max((row.timestamp for row in rows), default=0), at - 2 * length(interval)
    return [
        _candle((symbol, interval), row, closed=row.timestamp < newest or time(row.timestamp) <= over, at=at)
        for row in rows
    ]


def _candle(market: tuple[str, str], row: RestCandle, *, closed: bool, at: Nanos) -> Candle:
    prices = (row.open, row.high, row.low, row.close)
    return candle("bitstamp", market, time(row.timestamp), prices=prices, volume=row.volume, closed=closed, at=at)
