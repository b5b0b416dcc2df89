"""The store contract: events become rows of one SQLite file, and rows come back exact.

``Writer.open(path)`` makes or opens the file; ``Writer.write(batch)`` makes a batch durable, all or none, and the same
batch again adds nothing. ``database(path)`` opens the file for reading only, beside any number of writers; ``rows``,
``latest``, ``summary``, ``follow``, ``gaps``, ``examine``, ``scan``, ``series``, ``Candles`` ask it, or any other
``Readable``. All of it blocks: call it in a worker thread.

The tables (``trade``, ``ticker``, …) hold each decimal as the text that the exchange sent. The contract's names
(``trades``, ``tickers``, …) are views over them for a person's SQL, with binary doubles. This folder alone knows
the schema, and alone imports apsw.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trioagg.store.kinds import COLUMNS, RECORDS
from trioagg.store.opening import Database
from trioagg.store.order import ALWAYS, Row, Span
from trioagg.store.ranges import scan
from trioagg.store.read import (
    Look,
    connect,
    database,
    follow,
    gaps,
    latest,
    open_gaps,
    open_gaps_of,
    rows,
    summary,
)
from trioagg.store.readable import Readable

if TYPE_CHECKING:
    from trioagg.store.audit import Audit, Holdings, examine
    from trioagg.store.bars import Bar, Scale, Series, series
    from trioagg.store.batches import Counts
    from trioagg.store.candles import BARS, Candles, TradeBar
    from trioagg.store.recall import recalled
    from trioagg.store.renewal import renewals
    from trioagg.store.texts import Arrivals, Texts, Told, encodable, instrument
    from trioagg.store.write import Writer
else:
    LATER = {
        "audit": ("Audit", "Holdings", "examine"),
        "bars": ("Bar", "Scale", "Series", "series"),
        "batches": ("Counts",),
        "candles": ("BARS", "Candles", "TradeBar"),
        "recall": ("recalled",),
        "renewal": ("renewals",),
        "texts": ("Arrivals", "Texts", "Told", "encodable", "instrument"),
        "write": ("Writer",),
    }
    """Files that are imported when one of their names is asked for: who only shows rows starts without them."""

    def __getattr__(name: str) -> Any:
        for home, names in LATER.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{home}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ALWAYS",
    "BARS",
    "COLUMNS",
    "RECORDS",
    "Arrivals",
    "Audit",
    "Bar",
    "Candles",
    "Counts",
    "Database",
    "Holdings",
    "Look",
    "Readable",
    "Row",
    "Scale",
    "Series",
    "Span",
    "Texts",
    "Told",
    "TradeBar",
    "Writer",
    "connect",
    "database",
    "encodable",
    "examine",
    "follow",
    "gaps",
    "instrument",
    "latest",
    "open_gaps",
    "open_gaps_of",
    "recalled",
    "renewals",
    "rows",
    "scan",
    "series",
    "summary",
]
