"""Crypto.com's words: what markets, trades, tickers, candles, books and series look like."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Quote, Source, Span
from trioagg.simulator.dialects._kit import DAY, HOUR, MILLI, MINUTE, SECOND, daily, funding, interest, plain, short

LENGTHS = {f"{minutes}m": minutes * MINUTE for minutes in (1, 5, 15, 30)}
LENGTHS |= {f"{hours}h": hours * HOUR for hours in (1, 2, 4, 12)} | {f"{days}D": days * DAY for days in (1, 7, 14)}
LEGACY = {"M1": "1m", "M5": "5m", "M15": "15m", "M30": "30m", "H1": "1h", "H4": "4h", "D1": "1D"}
RATES = ("funding_rate", "funding_hist", "estimated_funding_rate")
VALUES = ("mark_price", "index_price", *RATES)
FIRST = 4_611_686_018_000_000_000  # below the ids ``d`` of all trades
_PERPETUAL = re.compile(r"([A-Z0-9]+?)(USDT?)-PERP")


def unified(native: str) -> str:
    """The symbol that a market is of."""
    if found := _PERPETUAL.fullmatch(native):
        return f"{found[1]}/{found[2]}:{found[2]}"
    return native.replace("_", "/")


def native(symbol: str) -> str:
    """``BTC_USDT`` or ``BTCUSD-PERP``."""
    pair, _, settled = symbol.partition(":")
    return pair.replace("/", "") + "-PERP" if settled else pair.replace("/", "_")


def length(frame: str) -> str:
    """A candle's length as it is spelled today; empty where there is none."""
    today = LEGACY.get(frame, frame)
    return today if today in (*LENGTHS, "1M") else ""


def _fitted(figure: int, step: int) -> str:
    """With the decimals of the smallest step."""
    digits, words = max(0, len(str(SCALE // step)) - 1), plain(figure)
    return words[: len(words) - 8 + digits].rstrip(".")


def listing(pair: Pair) -> dict[str, Any]:
    """One of ``get-instruments``."""
    contract = ":" in pair.symbol
    return {
        "symbol": native(pair.symbol), "inst_type": "PERPETUAL_SWAP" if contract else "CCY_PAIR",
        "display_name": f"{pair.base}{pair.quote} Perpetual" if contract else f"{pair.base}/{pair.quote}",
        "base_ccy": pair.base, "quote_ccy": pair.quote,
        "quote_decimals": len(_fitted(pair.tick, pair.tick).partition(".")[2]),
        "quantity_decimals": len(_fitted(pair.step, pair.step).partition(".")[2]),
        "price_tick_size": _fitted(pair.tick, pair.tick), "qty_tick_size": _fitted(pair.step, pair.step),
        "max_leverage": "50", "tradable": True, "expiry_timestamp_ms": 0, "beta_product": False,
        **({"underlying_symbol": f"{pair.base}{pair.quote}-INDEX", "contract_size": "1"} if contract else {}),
        "margin_buy_enabled": not contract, "margin_sell_enabled": not contract, "product_type": "DIGITAL_CURRENCIES",
    }  # fmt: skip


def ticker(source: Source, symbol: str, quote: Quote, at: Nanos) -> dict[str, Any]:
    """A ticker, as the stream tells it; open interest is the contracts' alone."""
    _, _, bid, bids, ask, asks = quote
    pair, span, held = source.pairs[symbol], daily(source, symbol, at), interest(source, symbol, at)
    prices = {"h": span.high, "l": span.low, "a": span.close, "b": bid, "k": ask}
    sizes = {"v": span.volume, "bs": bids, "ks": asks, "oi": held if ":" in symbol else 0}
    return {
        "i": native(symbol), **{name: _fitted(figure, pair.tick) for name, figure in prices.items()},
        **{name: _fitted(figure, pair.step) for name, figure in sizes.items()}, "vv": short(span.quote_volume),
        "c": _fitted((span.close - span.open) * SCALE // span.open, 10**4), "t": at // MILLI,
    }  # fmt: skip


def trade(symbol: str, done: Print) -> dict[str, Any]:
    """A trade; ``m`` is its number, ``d`` a far larger one."""
    number, at, price, amount, buy = done
    when = {"d": str(FIRST + number), "t": at // MILLI, "tn": str(at)}
    what = {"p": short(price), "q": short(amount), "s": "BUY" if buy else "SELL"}
    return {**when, **what, "i": native(symbol), "m": str(number)}


def bar(source: Source, symbol: str, span: Span) -> dict[str, Any]:
    """A candle."""
    pair, prices = source.pairs[symbol], {"o": span.open, "h": span.high, "l": span.low, "c": span.close}
    words = {name: _fitted(figure, pair.tick) for name, figure in prices.items()}
    return {**words, "v": _fitted(span.volume, pair.step), "t": span.start // MILLI}


def opening(frame: str, at: Nanos) -> Nanos:
    """When the candle that a time falls into began."""
    if frame != "1M":
        return at // LENGTHS[frame] * LENGTHS[frame]
    day = datetime.fromtimestamp(at // SECOND, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int(day.timestamp()) * SECOND


def history(source: Source, symbol: str, frame: str, end: Nanos, *, count: int) -> list[dict[str, Any]]:
    """The last candles up to a time, the latest last."""
    rows: list[dict[str, Any]] = []
    opens, ends = opening(frame, end), end
    while len(rows) < count and opens >= 0:
        rows.append(bar(source, symbol, source.span(symbol, opens, ends)))
        opens, ends = opening(frame, opens - 1), opens
    return rows[::-1]


def value(source: Source, symbol: str, kind: str, at: Nanos) -> dict[str, Any]:
    """A point of a series; rates are those of an hour."""
    _, _, bid, _, ask, _ = source.quote(symbol, at)
    figure = funding(symbol, at) // 8 if kind in RATES else (bid + ask) // 2
    return {"v": short(figure), "t": at // MILLI}


def sides(pair: Pair, book: tuple[Levels, Levels]) -> dict[str, list[list[str]]]:
    """Price, size and how many orders; nothing of all where a level went."""
    bids, asks = ([_level(pair, *level) for level in side] for side in book)
    return {"asks": asks, "bids": bids}


def _level(pair: Pair, price: int, amount: int) -> list[str]:
    stands = [_fitted(amount, pair.step), str(amount % 7 + 1)] if amount else ["0", "0"]
    return [_fitted(price, pair.tick), *stands]
