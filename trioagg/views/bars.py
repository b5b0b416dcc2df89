"""``trioagg show bars`` and ``export bars``: candles made from trades, and how much of each is sure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from trioagg import exchanges as adapters
from trioagg.settings import length
from trioagg.store import Candles, Readable, Span, renewals
from trioagg.views.export import write_all
from trioagg.views.show import LIMIT, PAUSE
from trioagg.views.table import Format, put, render


def show_bars(
    db: Readable, interval: str, form: Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int | None
) -> None:
    """Print the newest candles of each market.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    found = _candles(db, interval).newest(exchanges, symbols, limit or LIMIT)
    put(render(found, "bars", form))


def show_bars_on(
    db: Readable, interval: str, form: Format, *, exchanges: Sequence[str], symbols: Sequence[str], limit: int | None
) -> None:
    """Print the newest candles, and then those that are new or have changed, until interrupted.

    Raises:
        SettingsError, StoreError: see ``show_bars``.
    """
    for number, found in enumerate(renewals(_candles(db, interval), exchanges, symbols, limit or LIMIT)):
        if found or number == 0:
            put(render(found, "bars", form, header=number == 0))
        time.sleep(PAUSE)


def export_bars(
    db: Readable, interval: str, output: Path, *, exchanges: Sequence[str], symbols: Sequence[str], span: Span
) -> None:
    """Write the candles that begin in a range of times into a file, and print how many they are.

    Raises:
        SettingsError: no file can be made so, or the database knows nothing of an exchange or symbol.
        StoreError: the database cannot be read.
        OSError: the file cannot be written.
    """
    write_all("bars", output, lambda: _candles(db, interval).within(exchanges, symbols, span))


def _candles(db: Readable, interval: str) -> Candles:
    counting = [name for name in adapters.names() if adapters.counts(name)]
    return Candles(db, interval, length(interval), counting)
