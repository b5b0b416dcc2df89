"""How Hyperliquid spells markets, and what it tells of them: the rows that REST and the streams share."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Source, Span
from trioagg.simulator.dialects._kit import DAY, HOUR, MILLI, MINUTE, daily, funding, interest, plain, short, whole

THOUSANDS = tuple(f"K{coin}" for coin in ("PEPE", "SHIB", "BONK", "FLOKI", "LUNC", "DOGS", "NEIRO"))
"""Coins that are traded by the thousand: the exchange's spelling begins with a small letter."""

TOKENS = {"BTC": "UBTC", "ETH": "UETH", "SOL": "USOL", "USDT": "USDT0"}
"""The exchange's names of tokens that are bridged from elsewhere."""

NUMBERS = {"HYPE/USDC": 107, "BTC/USDC": 142, "BTC/USDT": 166}
LENGTHS = {
    **{f"{minutes}m": minutes * MINUTE for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}h": hours * HOUR for hours in (1, 2, 4, 8, 12)},
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": 7 * DAY,
    "1M": 30 * DAY,
}
"""Of candles."""

DEPTH, FEW = 20, 5
"""Levels of a side in a book, and in a fast one."""


def coin(symbol: str) -> str:
    """``BTC``, ``kPEPE``, ``PURR/USDC``, ``@107``."""
    base = symbol.partition("/")[0]
    if ":" in symbol:
        return f"k{base[1:]}" if base in THOUSANDS else base
    return symbol if symbol == "PURR/USDC" else f"@{number(symbol)}"


def number(symbol: str) -> int:
    """The number of a spot market."""
    return NUMBERS.get(symbol) or (0 if symbol == "PURR/USDC" else 1000 + crc32(symbol.encode()) % 1_000_000)


def decimals(pair: Pair) -> int:
    """Of sizes."""
    return len(str(SCALE // pair.step)) - 1


def price(figure: int) -> str:
    """With one decimal at least."""
    told = short(figure)
    return told if "." in told else f"{told}.0"


def size(pair: Pair, figure: int) -> str:
    """With the market's decimals, always."""
    told = plain(figure)
    return told[: len(told) - 8 + decimals(pair)].rstrip(".")


def tid(ident: int) -> int:
    """A trade's number of 50 bits, which has no order."""
    return ident * 0x2545F4914F6CD % 2**50


def trade(pair: Pair, told: Print) -> dict[str, Any]:
    """A trade; ``side`` is the taker's, ``users`` are buyer and seller."""
    ident, at, paid, amount, buy = told
    return {
        "coin": coin(pair.symbol), "side": "B" if buy else "A", "px": price(paid), "sz": size(pair, amount),
        "time": at // MILLI, "hash": f"0x{tid(ident):064x}", "tid": tid(ident),
        "users": [f"0x{ident * 31 + who:040x}" for who in (1, 2)],
    }  # fmt: skip


def level(pair: Pair, place: tuple[int, int]) -> dict[str, Any]:
    """One price of a book, and how many orders are there."""
    return {"px": price(place[0]), "sz": size(pair, place[1]), "n": 1 + place[1] // pair.step % 9}


def book(source: Source, pair: Pair, at: Nanos, *, depth: int = DEPTH, unit: tuple[int, int] | None = None) -> Any:
    """The top of a book.

    Args:
        unit: significant figures and mantissa that prices are brought together by; None for none.
    """
    sides = whole(source, pair.symbol, at, DEPTH * DEPTH if unit else depth)
    if unit:
        sides = grouped(sides[0], *unit, up=False), grouped(sides[1], *unit, up=True)
    rows = [[level(pair, place) for place in side[:depth]] for side in sides]
    spread = {"spread": price(sides[1][0][0] - sides[0][0][0])} if unit else {}
    return {"coin": coin(pair.symbol), "time": at // MILLI, "levels": rows, **spread}


def grouped(side: Levels, figures: int, mantissa: int, *, up: bool) -> Levels:
    """One side by fewer prices: bids are rounded down, asks up."""
    step = 10 ** max(0, len(str(side[0][0])) - figures) * mantissa
    out: dict[int, int] = {}
    for paid, amount in side:
        rounded = -(-paid // step) * step if up else paid // step * step
        out[rounded] = out.get(rounded, 0) + amount
    return list(out.items())


def candle(pair: Pair, span: Span, interval: str) -> dict[str, Any]:
    """A candle: ``t`` and ``T`` are its first and last millisecond."""
    opens = span.start // MILLI
    return {
        "t": opens, "T": opens + LENGTHS[interval] // MILLI - 1, "s": coin(pair.symbol), "i": interval,
        "o": price(span.open), "c": price(span.close), "h": price(span.high), "l": price(span.low),
        "v": size(pair, span.volume), "n": span.count,
    }  # fmt: skip


def hourly(symbol: str, at: Nanos) -> int:
    """The funding rate of an hour."""
    return funding(symbol, at) // 8


def mid(source: Source, symbol: str, at: Nanos) -> int:
    """Half-way between the best prices."""
    _, _, bid, _, ask, _ = source.quote(symbol, at)
    return (bid + ask) // 2


def state(source: Source, pair: Pair, at: Nanos) -> dict[str, Any]:
    """The figures of a market: the day's, and for contracts funding, open interest and the oracle's price."""
    symbol = pair.symbol
    told, between = daily(source, symbol, at), price(mid(source, symbol, at))
    figures = {
        "prevDayPx": price(told.open), "dayNtlVlm": price(told.quote_volume), "markPx": between, "midPx": between,
        "dayBaseVlm": size(pair, told.volume),
    }  # fmt: skip
    if ":" not in symbol:
        return {**figures, "circulatingSupply": "596637182.35", "totalSupply": "596637182.35"}
    _, _, bid, _, ask, _ = source.quote(symbol, at)
    premium = (mid(source, symbol, at) - told.close) * SCALE // told.close
    return {
        "funding": price(hourly(symbol, at)), "openInterest": size(pair, interest(source, symbol, at)), **figures,
        "premium": price(premium), "oraclePx": price(told.close), "impactPxs": [price(bid), price(ask)],
    }  # fmt: skip
