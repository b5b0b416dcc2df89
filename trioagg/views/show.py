"""``trioagg show`` and ``gaps``: rows from the database to standard output."""

from __future__ import annotations

import time
from collections.abc import Sequence

from trioagg.store import Readable, follow, gaps, latest, rows
from trioagg.views import table

PAUSE = 0.5
"""Seconds between two looks for new rows."""


LIMIT = 20
"""Rows, where the user names no number."""


def show(
    db: Readable, kind: str, form: table.Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int | None
) -> None:
    """Print the newest rows of a kind; for tickers without a limit, the newest of every market.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    if kind == "ticker" and limit is None:
        found = latest(db, "ticker", exchanges, symbols)
    else:
        found = rows(db, kind, exchanges=exchanges, symbols=symbols, limit=limit or LIMIT)
    table.put(table.render(found, kind, form))


def show_on(
    db: Readable, kind: str, form: table.Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int
) -> None:
    """Print the newest rows, and then those that come, until interrupted.

    Raises:
        SettingsError, StoreError: see ``show``.
    """
    for number, found in enumerate(follow(db, kind, exchanges=exchanges, symbols=symbols, limit=limit)):
        if found or number == 0:
            table.put(table.render(found, kind, form, header=number == 0))
        time.sleep(PAUSE)


def show_gaps(db: Readable, form: table.Format) -> bool:
    """Print the ledger.

    Returns:
        Whether anything is missing.

    Raises:
        StoreError: the database cannot be read.
    """
    found = gaps(db)
    table.put(table.render(found, "gaps", form))
    return any(gap["status"] != "filled" for gap in found)
