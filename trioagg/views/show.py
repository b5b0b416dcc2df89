"""``trioagg show`` and ``gaps``: rows from the database to standard output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from trioagg.store import database, follow, gaps, latest, rows
from trioagg.views import table

PAUSE = 0.5
"""Seconds between two looks for new rows."""


LIMIT = 20
"""Rows, where the user names no number."""


def show(
    path: Path, kind: str, form: table.Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int | None
) -> None:
    """Print the newest rows of a kind; for tickers without a limit, the newest of every market.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it is not there, or cannot be read.
    """
    with database(path) as db:
        if kind == "ticker" and limit is None:
            found = latest(db, "ticker", exchanges, symbols)
        else:
            found = rows(db, kind, exchanges=exchanges, symbols=symbols, limit=limit or LIMIT)
    table.put(table.render(found, kind, form))


def show_on(
    path: Path, kind: str, form: table.Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int
) -> None:
    """Print the newest rows, and then those that come, until interrupted.

    Raises:
        SettingsError, StoreError: see ``show``.
    """
    with database(path) as db:
        for number, found in enumerate(follow(db, kind, exchanges=exchanges, symbols=symbols, limit=limit)):
            if found or number == 0:
                table.put(table.render(found, kind, form, header=number == 0))
            time.sleep(PAUSE)


def show_gaps(path: Path, form: table.Format) -> bool:
    """Print the ledger.

    Returns:
        Whether anything is missing.

    Raises:
        StoreError: the database is not there, or cannot be read.
    """
    with database(path) as db:
        found = gaps(db)
    table.put(table.render(found, "gaps", form))
    return any(gap["status"] != "filled" for gap in found)
