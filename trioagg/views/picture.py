"""Candles as a PNG picture."""

from __future__ import annotations

from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trioagg.store import Series
from trioagg.views import axes

UP, DOWN = "#1a7f4b", "#c0392b"


def paint(found: list[Series], file: BinaryIO) -> None:
    """Write a picture with a chart for each market, one below another."""
    figure = Figure(figsize=(12, 5 * len(found)), dpi=100, layout="constrained")
    panels = figure.subplots(2 * len(found), 1, squeeze=False, height_ratios=[4, 1] * len(found))[:, 0]
    for number, series in enumerate(found):
        _prices(panels[2 * number], series)
        _volumes(panels[2 * number + 1], series)
    figure.savefig(file, format="png")


def _prices(panel: Axes, series: Series) -> None:
    slots = [series.slot(bar) for bar in series.bars]
    colours = [UP if bar.close >= bar.open else DOWN for bar in series.bars]
    least = (axes.bounds(series)[1] - axes.bounds(series)[0]) / 400
    tops = [float(max(bar.open, bar.close)) for bar in series.bars]
    bottoms = [float(min(bar.open, bar.close)) for bar in series.bars]
    heights = [max(top - bottom, least) for top, bottom in zip(tops, bottoms, strict=True)]
    fills = ["white" if colour == UP else DOWN for colour in colours]
    panel.vlines(slots, [float(bar.low) for bar in series.bars], bottoms, colors=colours, linewidth=1)
    panel.vlines(slots, tops, [float(bar.high) for bar in series.bars], colors=colours, linewidth=1)
    panel.bar(slots, heights, 0.7, bottoms, color=fills, edgecolor=colours, linewidth=1)
    panel.set_title(f"{axes.title(series)}: {axes.state(series)}", loc="left", fontsize=10, parse_math=False)
    marks = axes.price_marks(*axes.bounds(series), 6)
    panel.set_yticks([price for price, _ in marks], [text for _, text in marks])
    _frame(panel, series)
    panel.tick_params(labelbottom=False)


def _volumes(panel: Axes, series: Series) -> None:
    colours = [UP if bar.close >= bar.open else DOWN for bar in series.bars]
    volumes = [float(bar.volume) for bar in series.bars]
    panel.bar([series.slot(bar) for bar in series.bars], volumes, 0.7, color=colours, alpha=0.5)
    panel.set_ylabel("volume")
    panel.yaxis.set_label_position("right")
    panel.set_yticks([])
    _frame(panel, series)


def _frame(panel: Axes, series: Series) -> None:
    marks = axes.time_marks(series, -(-series.slots // 10))
    panel.set_xticks([slot for slot, _ in marks], [text for _, text in marks])
    panel.set_xlim(-1, series.slots)
    panel.yaxis.tick_right()
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)
