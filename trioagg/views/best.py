"""``trioagg show best``: each symbol's best bid and ask across exchanges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from attrs import asdict

from trioagg.integrity.consolidation import Venue, consolidated
from trioagg.store import Readable, Row, latest
from trioagg.views.table import Format, put, render

STALE = 30.0
"""Seconds that a venue's prices may be older than the newest ones of a symbol, where the user says nothing."""


def show_best(
    db: Readable, form: Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int | None, stale: float
) -> None:
    """Print one line per symbol.

    Args:
        stale: see ``consolidated``.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    tickers, quotes = (latest(db, kind, exchanges, symbols) for kind in ("ticker", "quotes"))
    found = [asdict(best, value_serializer=_plain) for best in consolidated(_venues(tickers, quotes), stale)]
    put(render(found[:limit], "best", form))


def _venues(tickers: Sequence[Row], quotes: Sequence[Row]) -> Iterator[Venue]:
    """Each market by its newest best prices, whether a ticker or an order book told them."""
    days = {(row["exchange"], row["symbol"]): row for row in tickers}
    books = {(row["exchange"], row["symbol"]): row for row in quotes}
    for market in sorted(days | books):
        day, book = days.get(market, {}), books.get(market, {})
        newest = max(day, book, key=lambda row: row.get("received", 0))
        exchange, symbol = market
        yield Venue(
            exchange=exchange,
            symbol=symbol,
            bid=_number(newest, "bid"),
            bid_size=_number(newest, "bid_size"),
            ask=_number(newest, "ask"),
            ask_size=_number(newest, "ask_size"),
            last=_number(day, "last"),
            volume=_number(day, "volume"),
            received=newest["received"],
        )


def _number(row: Row, name: str) -> Decimal | None:
    text = row.get(name)
    return None if text is None else Decimal(text)


def _plain(_best: object, _field: object, value: Any) -> Any:
    """Decimals as digits, lists as words."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return ", ".join(value) if isinstance(value, tuple) else value
