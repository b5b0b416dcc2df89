"""Coinbase Exchange's wire: what its messages and answers look like, and what those mean that need no memory."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Struct

from trioagg.exchanges._numbers import Number
from trioagg.exchanges._records import Market, candle, spot
from trioagg.exchanges._times import length, rfc3339, seconds
from trioagg.model import Candle, Instrument, Level, Nanos

NEVER = "0001-01-01T00:00:00Z"
"""How the exchange says that it has no time."""

INTERVALS = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "21600": "6h", "86400": "1d"}
GRANULARITIES = {interval: seconds for seconds, interval in INTERVALS.items()}


class Head(Struct):
    """Whatever comes."""

    type: str = ""


class Trade(Struct):
    """A trade of REST; ``side`` is the maker's."""

    trade_id: Number
    side: Literal["buy", "sell"]
    size: Decimal
    price: Decimal
    time: str


class Match(Trade, kw_only=True):
    """``match`` and ``last_match``."""

    product_id: str


class Ticker(Struct):
    """Best bid and ask, with the last price and the day's volume; ``side`` would be the taker's."""

    product_id: str
    price: Decimal
    best_bid: Decimal
    best_ask: Decimal
    best_bid_size: Decimal | None = None
    best_ask_size: Decimal | None = None
    volume_24h: Decimal | None = None
    time: str = NEVER


class Snapshot(Struct):
    """A whole book."""

    product_id: str
    bids: list[Level]
    asks: list[Level]
    time: str = NEVER


class Update(Struct):
    """What stands at some prices of a book now, in order: side, price, amount."""

    product_id: str
    changes: list[tuple[Literal["buy", "sell"], Decimal, Decimal]]
    time: str = NEVER

    def levels(self, side: str) -> Sequence[Level]:
        """The changes of one side."""
        return [(price, amount) for where, price, amount in self.changes if where == side]


class Heartbeat(Struct):
    """``last_trade_id``: by now."""

    product_id: str
    last_trade_id: Number


class Subscribed(Struct):
    """One channel of the acknowledgement, which lists all that is subscribed to."""

    name: str
    product_ids: list[str] | None = None


class Subscriptions(Struct):
    """The acknowledgement."""

    channels: list[Subscribed]


class Error(Struct):
    """A refusal, or what the exchange says before it hangs up."""

    message: str
    reason: str = ""


class RestTicker(Struct):
    """``/products/ID/ticker``."""

    price: Decimal
    bid: Decimal
    ask: Decimal
    volume: Decimal
    time: str


class RestTime(Struct):
    """``/time``."""

    iso: str


class RestCandle(Struct, array_like=True):
    """``time`` in seconds; mind the order of the prices."""

    time: int
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal


class RestProduct(Struct):
    """One of ``/products``."""

    id: str
    base_currency: str
    quote_currency: str
    status: str
    quote_increment: Decimal = Decimal(0)
    base_increment: Decimal = Decimal(0)
    trading_disabled: bool = False
    cancel_only: bool = False
    post_only: bool = False
    limit_only: bool = False
    auction_mode: bool = False


head = msgspec.json.Decoder(Head)
match = msgspec.json.Decoder(Match)
ticker = msgspec.json.Decoder(Ticker)
snapshot = msgspec.json.Decoder(Snapshot)
update = msgspec.json.Decoder(Update)
heartbeat = msgspec.json.Decoder(Heartbeat)
subscriptions = msgspec.json.Decoder(Subscriptions)
error = msgspec.json.Decoder(Error)
rest_trades = msgspec.json.Decoder(list[Trade])
rest_ticker = msgspec.json.Decoder(RestTicker)
rest_time = msgspec.json.Decoder(RestTime)
rest_candles = msgspec.json.Decoder(list[RestCandle])
rest_products = msgspec.json.Decoder(list[RestProduct])


def moment(text: str) -> Nanos | None:
    """An ISO time in UTC; None for the year 1.

    Raises:
        WireError: it is no such time.
    """
    return None if text.startswith(NEVER[:11]) else rfc3339(text)


def instrument(product: RestProduct) -> Instrument:
    """A spot market."""
    pair, steps = (product.base_currency, product.quote_currency), (product.quote_increment, product.base_increment)
    return spot("coinbase", pair, product.id, tick=steps[0], step=steps[1], status=_status(product))


def _status(product: RestProduct) -> str:
    """The product's status, and where that is ``online``, what else keeps it from trading freely."""
    if product.status != "online":
        return product.status.lower()
    for restriction in ("trading_disabled", "cancel_only", "post_only", "limit_only", "auction_mode"):
        if getattr(product, restriction):
            return restriction
    return "trading"


def rest_candle(market: Market, c: RestCandle, at: Nanos) -> Candle:
    """A candle of REST, which closes when its time is over."""
    opens, prices = seconds(c.time), (c.open, c.high, c.low, c.close)
    closed = opens + length(market[1]) <= at
    return candle("coinbase", market, opens, prices=prices, volume=c.volume, closed=closed, at=at)
