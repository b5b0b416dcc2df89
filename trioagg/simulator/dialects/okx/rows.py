"""What OKX's REST and streams both tell: rows of text, sizes of swaps in contracts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    daily,
    funding,
    interest,
    last,
    lately,
    next_funding,
    short,
)

_SHAPE = re.compile(r"([A-Z0-9]+)/([A-Z0-9]+)(?::([A-Z0-9]+))?")
_FACE = {"BTC": "0.01", "ETH": "0.1", "XRP": "100", "DOGE": "1000", "BNB": "0.01", "ADA": "100"}
"""Coins in one contract of a linear swap, where it is not one."""

LENGTHS = {f"{n}m": n * MINUTE for n in (1, 3, 5, 15, 30)} | {f"{n}H": n * HOUR for n in (1, 2, 4, 6, 12)}
LENGTHS |= {"1s": SECOND, "1D": DAY, "2D": 2 * DAY, "3D": 3 * DAY, "1W": 7 * DAY, "1M": 30 * DAY, "3M": 90 * DAY}
ZONED = ("6H", "12H", "1D", "2D", "3D", "1W", "1M", "3M")
BARS = (*LENGTHS, *(f"{bar}utc" for bar in ZONED))
"""The candles that there are; those of ``ZONED`` open at UTC+8 without ``utc``."""


def lists(symbol: str) -> bool:
    """Whether OKX could list it."""
    found = _SHAPE.fullmatch(symbol)
    if found is None:
        return False
    base, quote, settled = found.groups()
    return settled is None or (quote in ("USDT", "USDC") and settled == quote) or (quote == "USD" and settled == base)


def native(symbol: str) -> str:
    """``BTC-USDT`` or ``BTC-USDT-SWAP``."""
    pair, _, settled = symbol.partition(":")
    return pair.replace("/", "-") + ("-SWAP" if settled else "")


def kind(symbol: str) -> str:
    """The instrument's type."""
    return "SWAP" if ":" in symbol else "SPOT"


def inverse(symbol: str) -> bool:
    """Whether a contract is worth a number of dollars."""
    return symbol.endswith("/USD:" + symbol.partition("/")[0])


def face(symbol: str) -> str:
    """What one contract is worth: dollars of an inverse swap, coins of a linear one."""
    base = symbol.partition("/")[0]
    return ("100" if base == "BTC" else "10") if inverse(symbol) else _FACE.get(base, "1")


def size(symbol: str, amount: int, price: int) -> str:
    """An amount as OKX tells it: whole contracts of an inverse swap, parts of them of a linear one, coins of spot."""
    if kind(symbol) == "SPOT" or not amount:
        return short(amount)
    if inverse(symbol):
        return str(max(1, round(amount * price / SCALE / SCALE / int(face(symbol)))))
    return short(amount * SCALE // round(float(face(symbol)) * SCALE))


def ms(at: Nanos) -> str:
    """A time."""
    return str(at // MILLI)


def instrument(pair: Pair) -> dict[str, Any]:
    """One of ``public/instruments``."""
    symbol, swap = pair.symbol, kind(pair.symbol) == "SWAP"
    index = f"{pair.base}-{pair.quote}" if swap else ""
    step = "1" if inverse(symbol) else size(symbol, pair.step, SCALE)
    worth = ("USD" if inverse(symbol) else pair.base) if swap else ""
    most = dict.fromkeys(("maxIcebergSz", "maxLmtSz", "maxStopSz", "maxTriggerSz", "maxTwapSz"), "9999999999")
    return {
        "alias": "", "auctionEndTime": "", "baseCcy": "" if swap else pair.base, "category": "1",
        "ctMult": "1" if swap else "", "ctType": ("inverse" if inverse(symbol) else "linear") if swap else "",
        "ctVal": face(symbol) if swap else "", "ctValCcy": worth, "contTdSwTime": "", "expTime": "",
        "futureSettlement": False, "groupId": "1", "instFamily": index, "instId": native(symbol),
        "instType": kind(symbol), "lever": "10", "listTime": "1611907686000", "lotSz": step, **most,
        "maxLmtAmt": "1000000", "maxMktAmt": "" if swap else "1000000", "maxMktSz": "1000000", "minSz": step,
        "optType": "", "openType": "", "preMktSwTime": "", "quoteCcy": "" if swap else pair.quote,
        "tradeQuoteCcyList": [] if swap else [pair.quote], "settleCcy": symbol.partition(":")[2], "state": "live",
        "ruleType": "normal", "stk": "", "tickSz": short(pair.tick), "uly": index,
        "instIdCode": 1_000_000_000 + sum(symbol.encode()), "instCategory": "1", "upcChg": [],
    }  # fmt: skip


def ticker(source: Source, symbol: str, at: Nanos) -> dict[str, str]:
    """The day until ``at``."""
    span, latest = daily(source, symbol, at), last(source, symbol, at)
    _, _, bid, bids, ask, asks = source.quote(symbol, at)
    volume, turnover = volumes(symbol, span)[:2]
    opened = [lately(source, symbol, at, (at // SECOND * SECOND + zone) % DAY).open for zone in (0, 8 * HOUR)]
    return {
        "instType": kind(symbol), "instId": native(symbol), "last": short(span.close),
        "lastSz": size(symbol, latest[3], latest[2]), "askPx": short(ask), "askSz": size(symbol, asks, ask),
        "bidPx": short(bid), "bidSz": size(symbol, bids, bid), "open24h": short(span.open),
        "high24h": short(span.high), "low24h": short(span.low), "volCcy24h": turnover, "vol24h": volume,
        "ts": ms(at), "sodUtc0": short(opened[0]), "sodUtc8": short(opened[1]),
    }  # fmt: skip


def volumes(symbol: str, span: Span) -> tuple[str, str, str]:
    """``vol``, ``volCcy`` and ``volCcyQuote``: base, quote, quote of spot; contracts, base, quote of a swap."""
    if kind(symbol) == "SPOT":
        return short(span.volume), short(span.quote_volume), short(span.quote_volume)
    contracts = size(symbol, span.volume, span.close)
    return contracts, short(span.volume), short(span.quote_volume)


def trade(symbol: str, told: Print) -> dict[str, str]:
    """One match."""
    ident, at, price, amount, buy = told
    return {
        "instId": native(symbol), "tradeId": str(ident), "px": short(price), "sz": size(symbol, amount, price),
        "side": "buy" if buy else "sell", "ts": ms(at), "source": "0",
    }  # fmt: skip


def levels(symbol: str, side: Levels) -> list[list[str]]:
    """One side of a book: price, size, nothing any more, number of orders."""
    return [[short(price), size(symbol, amount, price), "0", orders(price, amount)] for price, amount in side]


def orders(price: int, amount: int) -> str:
    """How many orders make up a level: a made-up figure."""
    return str(1 + (price + amount) % 13) if amount else "0"


def candle(symbol: str, span: Span, *, closed: bool) -> list[str]:
    """The nine columns."""
    prices = [short(price) for price in (span.open, span.high, span.low, span.close)]
    return [ms(span.start), *prices, *volumes(symbol, span), "1" if closed else "0"]


def opening(bar: str, at: Nanos) -> Nanos:
    """When the candle that holds a time opens; weeks begin on Mondays."""
    name = bar.removesuffix("utc")
    zone = 8 * HOUR if name == bar and bar in ZONED else 0
    if name.endswith("M"):
        day, months = datetime.fromtimestamp((at + zone) // SECOND, UTC), int(name[:-1])
        first = datetime(day.year, (day.month - 1) // months * months + 1, 1, tzinfo=UTC)
        return int(first.timestamp()) * SECOND - zone
    shift = 4 * DAY if name == "1W" else 0
    return (at + zone - shift) // LENGTHS[name] * LENGTHS[name] + shift - zone


def rate(symbol: str, at: Nanos) -> dict[str, str]:
    """A swap's funding."""
    due = next_funding(at)
    return {
        "formulaType": "withRate", "fundingRate": short(funding(symbol, at)), "fundingTime": ms(due),
        "impactValue": "20000", "instId": native(symbol), "instType": "SWAP", "interestRate": "0.0001",
        "maxFundingRate": "0.00375", "method": "current_period", "minFundingRate": "-0.00375", "nextFundingRate": "",
        "nextFundingTime": ms(due + 8 * HOUR), "premium": short(funding(symbol, at) // 2),
        "settFundingRate": short(funding(symbol, at - 8 * HOUR)), "settState": "settled", "ts": ms(at),
    }  # fmt: skip


def open_interest(source: Source, symbol: str, at: Nanos) -> dict[str, str]:
    """A swap's open interest in contracts, coins and dollars."""
    coins, price = interest(source, symbol, at), source.quote(symbol, at)[2]
    return {
        "instId": native(symbol), "instType": "SWAP", "oi": size(symbol, coins, price), "oiCcy": short(coins),
        "oiUsd": short(coins * price // SCALE), "ts": ms(at),
    }  # fmt: skip


def mark(source: Source, symbol: str, at: Nanos) -> dict[str, str]:
    """The mark price: between bid and ask."""
    quote = source.quote(symbol, at)
    middle, told = short((quote[2] + quote[4]) // 2), "MARGIN" if kind(symbol) == "SPOT" else "SWAP"
    return {"instType": told, "instId": native(symbol), "markPx": middle, "ts": ms(at)}


def liquidation(symbol: str, told: Print) -> dict[str, Any]:
    """A position that was closed by force."""
    _, at, price, amount, buy = told
    detail = {
        "bkLoss": "0", "bkPx": short(price), "ccy": "", "posSide": "short" if buy else "long",
        "side": "buy" if buy else "sell", "sz": size(symbol, amount, price), "ts": ms(at),
    }  # fmt: skip
    name = native(symbol)
    index = name.removesuffix("-SWAP")
    return {"details": [detail], "instFamily": index, "instId": name, "instType": "SWAP", "uly": index}
