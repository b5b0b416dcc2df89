"""What trioagg knows of a market: one record per kind of event, what the ledger tells, and nothing else.

Every exchange's messages become ``events``; every sink and view takes them. ``entries`` are what is known of
completeness.
"""

from __future__ import annotations

from trioagg.model.entries import (
    NOTES,
    Bridged,
    Broken,
    Carried,
    ClockCheck,
    Consulted,
    Forgone,
    Gap,
    GapStatus,
    Loss,
    Note,
    Part,
    Record,
    Session,
)
from trioagg.model.events import (
    CHANNELS,
    Book,
    Candle,
    Channel,
    Delta,
    Event,
    Funding,
    Instrument,
    Level,
    Liquidation,
    Nanos,
    OpenInterest,
    Quarantined,
    Quote,
    Side,
    Ticker,
    Trade,
    TradeId,
)

__all__ = [
    "CHANNELS",
    "NOTES",
    "Book",
    "Bridged",
    "Broken",
    "Candle",
    "Carried",
    "Channel",
    "ClockCheck",
    "Consulted",
    "Delta",
    "Event",
    "Forgone",
    "Funding",
    "Gap",
    "GapStatus",
    "Instrument",
    "Level",
    "Liquidation",
    "Loss",
    "Nanos",
    "Note",
    "OpenInterest",
    "Part",
    "Quarantined",
    "Quote",
    "Record",
    "Session",
    "Side",
    "Ticker",
    "Trade",
    "TradeId",
]
