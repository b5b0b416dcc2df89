"""What HTX's messages and answers look like, of spot markets and of swaps; a swap's contract is its smallest step."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Quote, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    daily,
    funding,
    number,
    plain,
    short,
    whole,
)

PERIODS = {
    "1min": MINUTE, "5min": 5 * MINUTE, "15min": 15 * MINUTE, "30min": 30 * MINUTE, "60min": HOUR, "1hour": HOUR,
    "4hour": 4 * HOUR, "1day": DAY, "1week": 7 * DAY, "1mon": 30 * DAY, "1year": 365 * DAY,
}  # fmt: skip
SHIFT = 8 * HOUR  # days begin at midnight UTC+8
TICK = 10_000  # the id of a swap's trade is its tick's, and four digits more


def native(symbol: str) -> str:
    """``btcusdt``, ``BTC-USDT``."""
    pair, _, swap = symbol.partition(":")
    return pair.replace("/", "-") if swap else pair.replace("/", "").lower()


def is_swap(symbol: str) -> bool:
    """Whether it is one."""
    return ":" in symbol


def figure(value: int) -> Raw:
    """A JSON number; a small one with an exponent, as HTX writes it."""
    if not 0 < value < SCALE // 1000:
        return number(short(value))
    digits = str(value).rstrip("0")
    return number(f"{digits[0]}.{digits[1:] or '0'}E{len(str(value)) - 9}")


def error(at: Nanos, *, code: str | int, said: str, low: bool = False) -> dict[str, Any]:
    """What went wrong, in either spelling; ``low`` for the one with an underscore."""
    mark = "_" if low else "-"
    return {"status": "error", f"err{mark}code": code, f"err{mark}msg": said, "ts": at // MILLI}


def listing(pair: Pair) -> dict[str, Any]:
    """A spot market."""
    return {
        "symbol": native(pair.symbol), "base-currency": pair.base.lower(), "quote-currency": pair.quote.lower(),
        "price-precision": len(str(SCALE // pair.tick)) - 1, "amount-precision": len(str(SCALE // pair.step)) - 1,
        "value-precision": 8, "symbol-partition": "main", "state": "online", "min-order-amt": figure(pair.step),
        "max-order-amt": 10000, "min-order-value": 10, "limit-order-min-order-amt": figure(pair.step),
        "limit-order-max-order-amt": 10000, "sell-market-min-order-amt": figure(pair.step),
        "sell-market-max-order-amt": 1000, "buy-market-max-order-value": 1000000, "leverage-ratio": 5,
        "api-trading": "enabled",
    }  # fmt: skip


def contract(pair: Pair) -> dict[str, Any]:
    """A swap."""
    return {
        "symbol": pair.base, "contract_code": native(pair.symbol), "contract_size": figure(pair.step),
        "price_tick": figure(pair.tick), "create_date": "20201021", "delivery_time": "", "delivery_date": "",
        "contract_status": 1, "settlement_date": "1772467200000", "support_margin_mode": "all",
        "business_type": "swap", "pair": native(pair.symbol), "contract_type": "swap", "trade_partition": "USDT",
    }  # fmt: skip


def size(pair: Pair, amount: int) -> Raw:
    """An amount in a book: contracts of swaps."""
    return number(str(amount // pair.step)) if is_swap(pair.symbol) else figure(amount)


def levels(pair: Pair, side: Levels) -> list[list[Raw]]:
    """One side of a book."""
    return [[figure(price), size(pair, amount)] for price, amount in side]


def book(source: Source, pair: Pair, at: Nanos, depth: int) -> dict[str, Any]:
    """The best levels, whole."""
    bids, asks = whole(source, pair.symbol, at, depth)
    return {"ts": at // MILLI, "bids": levels(pair, bids), "asks": levels(pair, asks)}


def deal(pair: Pair, trade: Print, *, rest: bool = False) -> dict[str, Any]:
    """A match with its one trade; spot names the id in two ways, with one of 27 digits beside it."""
    ident, at, price, amount, buy = trade
    stamp, rest_of = {"ts": at // MILLI}, {"price": figure(price), "direction": "buy" if buy else "sell"}
    if not is_swap(pair.symbol):
        long = number(f"{100_000_000_000 + ident}{ident % 10**15:015d}")
        named = {"trade-id" if rest else "tradeId": ident, "amount": figure(amount)}
        return {"id": 100_000_000_000 + ident, **stamp, "data": [{"id": long, **stamp, **named, **rest_of}]}
    amounts = {"amount": amount // pair.step, "quantity": figure(amount)}
    turnover = {"trade_turnover": figure(amount * price // SCALE)}
    row = {**amounts, **turnover, **stamp, "id": ident * TICK, **rest_of}
    return {"id": ident, **stamp, "data": [row]}


def best(pair: Pair, quote: Quote) -> dict[str, Any]:
    """Best bid and ask."""
    update, at, bid, bids, ask, asks = quote
    if not is_swap(pair.symbol):
        sides = {"ask": figure(ask), "askSize": figure(asks), "bid": figure(bid), "bidSize": figure(bids)}
        return {"seqId": update, **sides, "quoteTime": at // MILLI, "symbol": native(pair.symbol)}
    pairs = {"bid": levels(pair, [(bid, bids)])[0], "ask": levels(pair, [(ask, asks)])[0]}
    ends = {"ts": at // MILLI, "version": update, "ch": f"market.{native(pair.symbol)}.bbo"}
    return {"mrid": update, "id": at // SECOND, **pairs, **ends}


def bar(source: Source, pair: Pair, start: Nanos, end: Nanos) -> dict[str, Any]:
    """A candle."""
    return _figures(pair, source.span(pair.symbol, start, end))


def _figures(pair: Pair, span: Span) -> dict[str, Any]:
    prices = {
        "open": figure(span.open),
        "close": figure(span.close),
        "low": figure(span.low),
        "high": figure(span.high),
    }
    amount, turnover = figure(span.volume), figure(span.quote_volume)
    ends = {"amount": amount, "vol": turnover, "count": span.count}
    if is_swap(pair.symbol):
        ends = {"amount": amount, "vol": span.volume // pair.step, "trade_turnover": turnover, "count": span.count}
    return {"id": span.start // SECOND, **prices, **ends}


def begins(at: Nanos, length: Nanos) -> Nanos:
    """When the candle around a time begins."""
    shift = SHIFT if length >= DAY else 0
    return (at + shift) // length * length - shift


def day(source: Source, pair: Pair, at: Nanos) -> dict[str, Any]:
    """The last 24 hours with the best bid and ask; prices of swaps are text."""
    told = _figures(pair, daily(source, pair.symbol, at))
    update, _, bid, bids, ask, asks = source.quote(pair.symbol, at)
    sides = {"bid": levels(pair, [(bid, bids)])[0], "ask": levels(pair, [(ask, asks)])[0]}
    if not is_swap(pair.symbol):
        return {**told, "id": update, "version": update, **sides}
    texts = {name: bytes(value).decode() for name, value in told.items() if isinstance(value, Raw)}
    return {**texts, "vol": str(told["vol"]), "count": told["count"], "id": at // SECOND, **sides, "ts": at // MILLI}


def rate(pair: Pair, at: Nanos) -> dict[str, Any]:
    """A funding rate, without its times."""
    told = {"symbol": pair.base, "contract_code": native(pair.symbol), "fee_asset": "USDT"}
    return {**told, "funding_rate": plain(funding(pair.symbol, at)) + "0" * 10, "estimated_rate": None}
