"""Candles drawn in characters, for a terminal: rising bodies are lines, falling ones are blocks, wicks are thin."""

from __future__ import annotations

from trioagg.store import Bar, Series
from trioagg.views import axes

HEIGHT = 16
"""Lines of prices."""

WIDEST = 3
"""Columns that a candle may take, when there is room."""

NOTHING, WICK, BODY = range(3)
RISING = (" ╷╻", "╵│╽", "╹╿┃")
FALLING = (" ╷▄", "╵│▄", "▀▀█")
"""What a character shows, by what is in its upper and its lower half."""

VOLUME = " volume"
LEVELS = "▁▂▃▄▅▆▇█"
GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def draw(series: Series, width: int, *, colour: bool) -> str:
    """A market's newest bars as lines of at most ``width`` characters: as many as fit into it."""
    low, high = axes.bounds(series)
    marks = axes.price_marks(low, high, HEIGHT // 3)
    margin = max([len(VOLUME), *(len(text) + 2 for _, text in marks)])
    shown = series.tail(max(width - margin, 1))
    apart = max(min((width - margin) // shown.slots, WIDEST), 1)
    columns = {shown.slot(bar) * apart: bar for bar in shown.bars}
    low, high = axes.bounds(shown)
    labels = {_half(price, low, high) // 2: text for price, text in axes.price_marks(low, high, HEIGHT // 3)}
    room = (shown.slots - 1) * apart + 1
    halves = {column: _halves(bar, low, high) for column, bar in columns.items()}
    lines = [axes.title(shown)[:width], axes.state(shown)[:width]]
    for row in range(HEIGHT):
        cells = [_cell(columns.get(n), halves.get(n), row, colour=colour) for n in range(room)]
        lines.append("".join(cells) + (f" ┤{labels[row]}" if row in labels else " │"))
    return "\n".join([*lines, *_volumes(columns, room), _times(shown, apart, room)])


def _half(price: float, low: float, high: float) -> int:
    """The half of a line where a price is, from the top."""
    return min(int((high - price) / (high - low) * 2 * HEIGHT), 2 * HEIGHT - 1)


def _halves(bar: Bar, low: float, high: float) -> list[int]:
    """What a bar puts into each half of a line."""
    top, bottom = _half(float(bar.high), low, high), _half(float(bar.low), low, high)
    ends = sorted(_half(float(price), low, high) for price in (bar.open, bar.close))
    within = range(2 * HEIGHT)
    return [BODY if ends[0] <= n <= ends[1] else WICK if top <= n <= bottom else NOTHING for n in within]


def _cell(bar: Bar | None, halves: list[int] | None, row: int, *, colour: bool) -> str:
    if bar is None or halves is None:
        return " "
    rises = bar.close >= bar.open
    sign = (RISING if rises else FALLING)[halves[2 * row]][halves[2 * row + 1]]
    return f"{GREEN if rises else RED}{sign}{PLAIN}" if colour and sign != " " else sign


def _volumes(columns: dict[int, Bar], room: int) -> list[str]:
    """A line of how much was traded, where anything was."""
    most = max(bar.volume for bar in columns.values())
    if not most:
        return []
    signs = {n: LEVELS[min(int(bar.volume / most * len(LEVELS)), len(LEVELS) - 1)] for n, bar in columns.items()}
    return ["".join(signs[n] if n in signs and columns[n].volume else " " for n in range(room)) + VOLUME]


def _times(series: Series, apart: int, room: int) -> str:
    """The times, each beginning below its column."""
    widest = len(axes.clock(series.bars[0].open_time, series.length)) + 2
    line = ""
    for slot, text in axes.time_marks(series, -(-widest // apart)):
        if slot * apart + len(text) <= room + len(VOLUME):
            line = line.ljust(slot * apart) + text
    return line
