"""Binance's candles: their intervals, rows and stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Source, Span
from trioagg.simulator.dialects.binance.text import MILLI, plain

SECOND = 10**9
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND, "w": 7 * 86_400 * SECOND}
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
_MONDAY = 4 * 86_400 * SECOND  # 1970-01-01 was a Thursday


def bounds(interval: str, at: Nanos) -> tuple[Nanos, Nanos]:
    """When the candle that holds ``at`` opens, and when the next one does."""
    if interval == "1M":
        return _month(at)
    length = int(interval[:-1]) * _UNITS[interval[-1]]
    shift = _MONDAY if interval == "1w" else 0
    start = (at - shift) // length * length + shift
    return start, start + length


def _month(at: Nanos) -> tuple[Nanos, Nanos]:
    day = datetime.fromtimestamp(at // SECOND, UTC).replace(day=1, hour=0, minute=0, second=0)
    after = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    return int(day.timestamp()) * SECOND, int(after.timestamp()) * SECOND


def stream(source: Source, symbol: str, native: str, interval: str) -> Callable[[Nanos, Nanos], Iterator[bytes]]:
    """The candle's state every two seconds (every second for ``1s``), and once more when it closes."""
    every = SECOND if interval == "1s" else 2 * SECOND

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in range(-(-start // SECOND) * SECOND, end, SECOND):
            opened, closes = bounds(interval, at - 1)
            if at == closes or not at % every:
                span = source.span(symbol, opened, min(at, closes))
                yield msgspec.json.encode(_event(span, native, interval, at=at, closes=closes))

    return make


def _event(span: Span, native: str, interval: str, *, at: Nanos, closes: Nanos) -> dict[str, Any]:
    return {
        "e": "kline", "E": at // MILLI, "s": native,
        "k": {
            "t": span.start // MILLI, "T": closes // MILLI - 1, "s": native, "i": interval,
            "f": span.first if span.count else -1, "L": span.last if span.count else -1,
            "o": plain(span.open), "c": plain(span.close), "h": plain(span.high), "l": plain(span.low),
            "v": plain(span.volume), "n": span.count, "x": at == closes, "q": plain(span.quote_volume),
            "V": plain(span.bought), "Q": plain(span.quote_bought), "B": "0",
        },
    }  # fmt: skip


def row(span: Span, closes: Nanos) -> list[object]:
    """One row of ``/klines``."""
    return [
        span.start // MILLI, plain(span.open), plain(span.high), plain(span.low), plain(span.close),
        plain(span.volume), closes // MILLI - 1, plain(span.quote_volume), span.count,
        plain(span.bought), plain(span.quote_bought), "0",
    ]  # fmt: skip


def table(
    source: Source, symbol: str, interval: str, *, start: Nanos | None, end: Nanos | None, limit: int, now: Nanos
) -> list[list[object]]:
    """The rows of ``/klines``, oldest first: the newest ones where no ``start`` is given; ``end`` is inclusive."""
    last = min(now, end) if end is not None else now
    if start is not None:
        at = bounds(interval, start)[0]
        at = at if at >= start else bounds(interval, start)[1]
        found = _forward(interval, at, last, limit)
    else:
        found = _backward(interval, last, limit)
    return [row(source.span(symbol, opens, min(closes, now)), closes) for opens, closes in found]


def _forward(interval: str, at: Nanos, last: Nanos, limit: int) -> list[tuple[Nanos, Nanos]]:
    found: list[tuple[Nanos, Nanos]] = []
    while at <= last and len(found) < limit:
        found.append(bounds(interval, at))
        at = found[-1][1]
    return found


def _backward(interval: str, last: Nanos, limit: int) -> list[tuple[Nanos, Nanos]]:
    found: list[tuple[Nanos, Nanos]] = []
    at = last
    while at > 0 and len(found) < limit:
        found.append(bounds(interval, at))
        at = found[-1][0] - 1
    return found[::-1]
