"""Candles as a page of its own: SVG within HTML, which needs no script, no network and no library.

Each candle tells its exact prices when the pointer rests on it.
"""

from __future__ import annotations

from decimal import Decimal
from html import escape

from attrs import frozen

from trioagg.store import Bar, Series
from trioagg.views import axes

WIDTH, HEIGHT, LEFT, RIGHT, VOLUME, TOP = 960, 420, 24, 90, 60, 30
"""Of a chart: all of it, the margins beside it (prices are in the right one), the room for volumes, for the title."""

PRICES = HEIGHT - TOP - VOLUME - 40
FLOOR = HEIGHT - 24

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #222; --faint: #ddd; --up: #1a7f4b; --down: #c0392b; --paper: #fff; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #ddd; --faint: #333; --paper: #16181c; }} }}
body {{ margin: 1em auto; max-width: 1200px; background: var(--paper); }}
svg {{ width: 100%; height: auto; font: 12px sans-serif; fill: var(--ink); }}
.grid {{ stroke: var(--faint); }}
.up {{ stroke: var(--up); fill: var(--paper); }}
.down {{ stroke: var(--down); fill: var(--down); }}
.volume {{ opacity: 0.5; }}
</style>
</head>
<body>
{charts}
</body>
</html>
"""


def page(found: list[Series]) -> str:
    """A page with a chart for each market."""
    title = ", ".join(f"{series.exchange} {series.symbol}" for series in found)
    return PAGE.format(title=escape(title), charts="\n".join(map(_chart, found)))


@frozen
class _Frame:
    """Where things are in a chart.

    Attributes:
        pitch: from candle to candle.
        low, high: the prices at the bottom and the top.
        most: the greatest volume; 1 where nothing was traded.
    """

    pitch: float
    low: float
    high: float
    most: Decimal

    def x(self, slot: int) -> float:
        return LEFT + (slot + 0.5) * self.pitch

    def y(self, price: float) -> float:
        return TOP + 8 + (self.high - price) / (self.high - self.low) * PRICES


def _chart(series: Series) -> str:
    most = max(bar.volume for bar in series.bars) or Decimal(1)
    frame = _Frame((WIDTH - LEFT - RIGHT) / series.slots, *axes.bounds(series), most)
    title = escape(f"{axes.title(series)}: {axes.state(series)}")
    lines = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f'<text x="{LEFT}" y="18">{title}</text>',
        *(_price(frame.y(price), text) for price, text in axes.price_marks(frame.low, frame.high, 6)),
        *(_time(frame.x(slot), text) for slot, text in axes.time_marks(series, int(90 / frame.pitch) + 1)),
        *(_candle(bar, frame.x(series.slot(bar)), frame) for bar in series.bars),
        "</svg>",
    ]
    return "\n".join(lines)


def _price(y: float, text: str) -> str:
    end = WIDTH - RIGHT
    return f'<path class="grid" d="M{LEFT} {y:.1f}H{end}"/><text x="{end + 8}" y="{y + 4:.1f}">{text}</text>'


def _time(x: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{x:.1f} {TOP}V{FLOOR}"/>'
        f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{text}</text>'
    )


def _candle(bar: Bar, x: float, frame: _Frame) -> str:
    width = max(frame.pitch * 0.7, 1)
    opened, high, low, closed = (frame.y(float(price)) for price in (bar.open, bar.high, bar.low, bar.close))
    top, bottom = min(opened, closed), max(opened, closed)
    tall = float(bar.volume / frame.most) * VOLUME
    left = x - width / 2
    return (
        f'<g class="{"up" if bar.close >= bar.open else "down"}"><title>{_told(bar)}</title>'
        f'<path d="M{x:.1f} {high:.1f}V{top:.1f}M{x:.1f} {bottom:.1f}V{low:.1f}"/>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(bottom - top, 1):.1f}"/>'
        f'<rect class="volume" x="{left:.1f}" y="{FLOOR - tall:.1f}" width="{width:.1f}" height="{tall:.1f}"/></g>'
    )


def _told(bar: Bar) -> str:
    prices = f"open {bar.open:f}, high {bar.high:f}, low {bar.low:f}, close {bar.close:f}"
    return f"{axes.date(bar.open_time)} UTC: {prices}" + (f", volume {bar.volume:f}" if bar.volume else "")
