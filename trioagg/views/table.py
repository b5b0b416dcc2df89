"""Rows as text: a table for people, JSON lines and CSV for programs, and the summary that ``run`` prints."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from trioagg.model import Nanos
from trioagg.signs import visible
from trioagg.store import COLUMNS, Look, Row, encodable

Format = Literal["table", "json", "csv"]

TIMES: Mapping[str, Sequence[str]] = {
    "trades": ("timestamp", "received"),
    "ticker": ("timestamp", "received"),
    "candles": ("open_time", "received"),
    "book": ("timestamp", "received"),
    "quotes": ("timestamp", "received"),
    "deltas": ("timestamp", "received"),
    "funding": ("due", "timestamp", "received"),
    "open_interest": ("timestamp", "received"),
    "liquidations": ("timestamp", "received"),
    "gaps": ("detected", "closed"),
    "quarantine": ("received",),
    "sessions": ("opened", "closed"),
    "clocks": ("received",),
    "instruments": (),
    "best": ("received",),
    "bars": ("open_time", "received"),
}
"""The columns of each kind that are nanoseconds UTC."""

SHOWN: Mapping[str, Sequence[str]] = {
    **COLUMNS,
    "best": (
        *("symbol", "bid", "bid_size", "bid_exchange", "ask", "ask_size", "ask_exchange"),
        *("spread", "vwap", "venues", "expired", "received"),
    ),
    "bars": (
        *("exchange", "symbol", "interval", "open_time", "open", "high", "low", "close", "volume"),
        *("trades", "covered", "status", "received"),
    ),
}
"""What can be printed, and the columns of each."""

LONGEST = 60
"""Characters of a cell in a table; programs get the whole."""

UNKNOWN = "-"

FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.]*$)")
"""How texts begin that a spreadsheet calculates; a number with its sign is none."""


def render(rows: Sequence[Row], kind: str, form: Format = "table", *, header: bool = True) -> str:
    """Rows as text, without a line end at its end; empty where nothing is to be printed.

    Args:
        rows: from the store's reading side.
        kind: a key of ``SHOWN``.
        form: ``table`` for people; ``json``, one object a line, and ``csv`` with the database's names and exact values.
        header: whether the names come first (a table that goes on needs them once; ``json`` has none).
    """
    if form == "json":
        return "\n".join(json.dumps(encodable(row), ensure_ascii=False) for row in rows)
    if form == "csv":
        return _csv(rows, SHOWN[kind], header=header)
    return _table(rows, kind, header=header)


def put(text: str) -> None:
    """Print, if there is anything; to a terminal, nothing that it would obey. JSON means the same so."""
    if text:
        print(visible(text, lines=True) if sys.stdout.isatty() else text, flush=True)


def summary_table(quotes: Sequence[Look], now: Nanos) -> str:
    """One line per market: prices, the day's volume, how old the newest event is, and how many come a second.

    Args:
        quotes: from ``summary``.
        now: our time, nanoseconds UTC, from which ages are reckoned.
    """
    names = ("exchange", "symbol", "last", "bid", "ask", "spread", "volume 24h", "age", "msg/s")
    if not quotes:
        return f"{'  '.join(names)}\n(nothing received yet)"
    return aligned([names, *(_look(quote, now) for quote in quotes)], left=2)


def _look(quote: Look, now: Nanos) -> tuple[str, ...]:
    prices = (quote.last, quote.bid, quote.ask, quote.spread)
    volume = UNKNOWN if quote.volume is None else f"{quote.volume:,.2f}"
    age = f"{max(now - quote.received, 0) / 1e9:.1f} s"
    return quote.exchange, quote.symbol, *map(_price, prices), volume, age, f"{quote.rate:.1f}"


def _price(price: Decimal | None) -> str:
    """Without the zeros that carry nothing."""
    if price is None:
        return UNKNOWN
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Columns two spaces apart; the first ``left`` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _table(rows: Sequence[Row], kind: str, *, header: bool) -> str:
    names = SHOWN[kind]
    titles = [name.replace("_", " ") for name in names]
    if not rows:
        return f"{'  '.join(titles)}\n(no {kind} stored yet)" if header else ""
    from pandas import DataFrame, Index

    cells = [[_cell(row[name], is_time=name in TIMES[kind]) for name in names] for row in rows]
    return str(
        DataFrame(cells, columns=Index(titles, dtype=object), dtype=object).to_string(index=False, header=header)
    )


def _cell(value: object, *, is_time: bool) -> str:
    if value is None:
        return UNKNOWN
    if is_time and isinstance(value, int):
        return _instant(value)
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[:LONGEST])
    return shown if len(text) <= LONGEST else f"{shown}…"


def _instant(nanos: Nanos) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(nanos // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos // 10**6 % 1000:03}Z"


def _csv(rows: Sequence[Row], names: Sequence[str], *, header: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(names)
    writer.writerows([plain(row[name]) for name in names] for row in rows)
    return text.getvalue().removesuffix("\n")


def plain(value: Any) -> Any:
    """A value as CSV has it: bytes that are no text with a backslash and two digits for each.

    A text that a spreadsheet would take for a formula has an apostrophe before it, which makes it text there.
    """
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return f"'{text}" if isinstance(text, str) and FORMULA.match(text) else text
