"""How Binance spells figures, and the objects that REST and streams share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Source, Span

DAY = 86_400 * 10**9
MILLI = 10**6


def plain(figure: int) -> str:
    """Eight decimals, always."""
    sign = "-" if figure < 0 else ""
    return f"{sign}{abs(figure) // SCALE}.{abs(figure) % SCALE:08d}"


def raw(figure: int) -> bytes:
    """``plain`` of something that is not negative, as bytes."""
    return b"%d.%08d" % (figure // SCALE, figure % SCALE)


def rows(levels: Sequence[tuple[int, int]]) -> list[list[str]]:
    """One side of a book."""
    return [[plain(price), plain(amount)] for price, amount in levels]


def book(source: Source, symbol: str, at: Nanos, depth: int) -> dict[str, Any]:
    """The top of the book, as REST and the partial streams print it."""
    update = source.update(symbol, at)
    bids, asks = source.book(symbol, update)
    return {"lastUpdateId": update, "bids": rows(bids[:depth]), "asks": rows(asks[:depth])}


def changes(source: Source, symbol: str, before: int, after: int) -> dict[str, list[list[str]]]:
    """The levels that changed, as ``depthUpdate`` prints them."""
    bids, asks = source.changes(symbol, before, after)
    return {"b": rows(bids[::-1]), "a": rows(asks)}


def day(source: Source, symbol: str, at: Nanos) -> Span:
    """The last 24 hours."""
    return source.span(symbol, at - DAY, at)


def change(span: Span) -> tuple[str, str, str]:
    """The day's change, in percent too, and its mean price weighted by volume."""
    percent = 100 * (span.close - span.open) / span.open if span.open else 0.0
    mean = span.quote_volume * SCALE // span.volume if span.volume else 0
    return plain(span.close - span.open), f"{percent:.3f}", plain(mean)


def ticker(source: Source, symbol: str, name: str, at: Nanos) -> dict[str, Any]:
    """The 24 h ticker as its stream prints it."""
    span, (_, _, bid, bids, ask, asks) = day(source, symbol, at), source.quote(symbol, at)
    difference, percent, mean = change(span)
    return {
        "e": "24hrTicker", "E": at // MILLI, "s": name, "p": difference, "P": percent, "w": mean,
        "x": plain(span.open), "c": plain(span.close), "Q": plain(last_amount(source, symbol, span)),
        "b": plain(bid), "B": plain(bids), "a": plain(ask), "A": plain(asks),
        "o": plain(span.open), "h": plain(span.high), "l": plain(span.low),
        "v": plain(span.volume), "q": plain(span.quote_volume),
        "O": span.start // MILLI, "C": span.end // MILLI, "F": span.first, "L": span.last, "n": span.count,
    }  # fmt: skip


def mini(source: Source, symbol: str, name: str, at: Nanos) -> dict[str, Any]:
    """The small ticker as its stream prints it."""
    span = day(source, symbol, at)
    return {
        "e": "24hrMiniTicker", "E": at // MILLI, "s": name, "c": plain(span.close), "o": plain(span.open),
        "h": plain(span.high), "l": plain(span.low), "v": plain(span.volume), "q": plain(span.quote_volume),
    }  # fmt: skip


def last_amount(source: Source, symbol: str, span: Span) -> int:
    """The amount of the last trade of a span."""
    return next((amount for _, _, _, amount, _ in source.prints(symbol, span.last, span.last + 1)), 0)
