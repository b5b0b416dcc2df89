"""How Gate spells figures, and what REST and streams share."""

from __future__ import annotations

from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import Levels, Pair, Source
from trioagg.simulator.dialects._kit import DAY, HOUR, MILLI, MINUTE, SECOND, daily, short

LENGTHS = {
    "1s": SECOND, "10s": 10 * SECOND, "1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1h": HOUR, "4h": 4 * HOUR, "8h": 8 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY,
}  # fmt: skip
"""How long candles are."""
MONDAY = 4 * DAY  # 1970-01-01 was a Thursday
ELSEWHERE = 851_000_000
"""How far the count of all markets' trades is ahead of one market's."""


def opening(at: Nanos, interval: str) -> Nanos:
    """When the candle that holds a time opens."""
    shift = MONDAY if interval == "7d" else 0
    return (at - shift) // LENGTHS[interval] * LENGTHS[interval] + shift


def ticker(source: Source, pair: Pair, at: Nanos, *, sizes: bool) -> dict[str, Any]:
    """The day's figures; ``sizes``: with those of the best prices, as REST tells them of a single market."""
    span, (_, _, bid, bids, ask, asks) = daily(source, pair.symbol, at), source.quote(pair.symbol, at)
    change = f"{100 * (span.close - span.open) / span.open if span.open else 0:.2f}"
    best = {
        "lowest_ask": short(ask),
        "lowest_size": short(asks),
        "highest_bid": short(bid),
        "highest_size": short(bids),
    }
    return {
        "currency_pair": f"{pair.base}_{pair.quote}", "last": short(span.close),
        **{name: figure for name, figure in best.items() if sizes or not name.endswith("size")},
        "change_percentage": change, "base_volume": short(span.volume), "quote_volume": short(span.quote_volume),
        "high_24h": short(span.high), "low_24h": short(span.low),
    }  # fmt: skip


def rows(levels: Levels) -> list[list[str]]:
    """One side of a book."""
    return [[short(price), short(amount)] for price, amount in levels]


def stamp(at: Nanos) -> str:
    """Milliseconds with a fraction."""
    return f"{at // MILLI}.{at % MILLI:06d}"
