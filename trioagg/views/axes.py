"""What all charts have in common: where the marks on their axes are, and what stands there."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from trioagg.model import Nanos
from trioagg.store import Series

MINUTE, HOUR, DAY = 60 * 10**9, 3600 * 10**9, 86400 * 10**9
NAMES = {"candles": "candles", "trades": "candles made from trades", "ticker": "candles made from tickers"}


def bounds(series: Series) -> tuple[float, float]:
    """The lowest and the highest price, never the same."""
    low = float(min(bar.low for bar in series.bars))
    high = float(max(bar.high for bar in series.bars))
    return (low, high) if high > low else (low - (abs(low) or 1) / 1000, high + (abs(high) or 1) / 1000)


def price_marks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round prices within bounds, at most so many but one at the least, and how they are written."""
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10, 20) if power * times >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [(number * step, f"{number * step:,.{digits}f}") for number in numbers]


def time_marks(series: Series, least: int) -> list[tuple[int, str]]:
    """Slots that are at least so many apart, on round times, and how those are written."""
    first, length = series.bars[0].open_time, series.length
    apart = next((span for span in _round_spans(length) if span // length >= least), length * least)
    start = -(-first // apart) * apart
    slots = range((start - first) // length, series.slots, max(apart // length, 1))
    marks = [(slot, clock(first + slot * length, length)) for slot in slots]
    return marks or [(0, clock(first, length))]


def clock(at: Nanos, length: Nanos) -> str:
    """A time as exact as an interval asks for, UTC."""
    form = (
        "%H:%M:%S" if length < MINUTE else "%H:%M" if length < HOUR else "%m-%d %H:%M" if length < DAY else "%Y-%m-%d"
    )
    return datetime.fromtimestamp(at // 10**9, UTC).strftime(form)


def title(series: Series) -> str:
    """What a chart shows."""
    return f"{series.exchange} {series.symbol}, {series.interval} {NAMES[series.source]}"


def state(series: Series) -> str:
    """The last price, and when the first and the last candle begin."""
    first, last = (date(bar.open_time) for bar in (series.bars[0], series.bars[-1]))
    return f"last {series.bars[-1].close:f}, {first} to {last} UTC"


def date(at: Nanos) -> str:
    """A time in full, without seconds that are none, UTC."""
    return datetime.fromtimestamp(at // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")


def _round_spans(length: Nanos) -> list[Nanos]:
    seconds = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
    days = (1, 2, 7, 14, 28, 91, 182, 364, 728)
    spans = [second * 10**9 for second in seconds] + [day * DAY for day in days]
    return [span for span in spans if span % length == 0]
