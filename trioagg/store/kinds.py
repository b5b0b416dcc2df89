"""The kinds of events, one entry each: its record, its table, its rows, and where its newest are.

Another kind of event is another entry here and its table and view in ``schema``. A kind whose events have no ids is
keyed by when they arrived: ``_arriving`` says all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from trioagg.model import (
    Book,
    Candle,
    ClockCheck,
    Delta,
    Event,
    Funding,
    Instrument,
    Liquidation,
    OpenInterest,
    Quarantined,
    Quote,
    Session,
    Ticker,
    Trade,
)
from trioagg.store.cells import (
    Cells,
    Ids,
    book_cells,
    candle_rows,
    delta_cells,
    funding_cells,
    liquidation_cells,
    open_interest_cells,
    quote_cells,
    ticker_cells,
    trade_rows,
)
from trioagg.store.order import MOMENT, Lane, quoted


@frozen(eq=False)
class Kind:
    """What the store knows of one kind of event.

    Attributes:
        name: as users name it.
        record: its class, whose fields are the contract's columns.
        table: where its rows are.
        stored: the table's columns, in the order in which rows are made; ``ordinal``, where there is one, is last.
        rows: makes the rows of events, without the ordinal.
        lanes: how its newest rows are found.
        key: the columns that tell one row from another.
        judged: a row takes the place of the one that is there unless these columns of it are less; empty where the
            first stays.
    """

    name: str
    record: type[Any]
    table: str
    stored: Sequence[str]
    rows: Callable[[Sequence[Any], Ids], list[Cells]]
    lanes: Sequence[Lane]
    key: Sequence[str]
    judged: Sequence[str] = ()

    @property
    def arriving(self) -> bool:
        """Whether its rows are keyed by the instant of their arrival, and numbered within it."""
        return self.stored[-1] == "ordinal"

    @property
    def insert(self) -> str:
        """Adds a row that is not there."""
        return f"{self._insert()} ON CONFLICT DO NOTHING"

    @property
    def renew(self) -> str:
        """Adds a row, or puts it in the place of the one that is there, as ``judged`` says."""
        return f"{self._insert()} {self.renewal}"

    @property
    def renewal(self) -> str:
        """The clause of an insert that does so, where SQL knows ON CONFLICT."""
        new = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in self.stored if name not in self.key)
        theirs, ours = (", ".join(f"{row}.{quoted(name)}" for name in self.judged) for row in ("excluded", self.table))
        return f"ON CONFLICT ({', '.join(map(quoted, self.key))}) DO UPDATE SET {new} WHERE ({theirs}) >= ({ours})"

    @property
    def arrived(self) -> str:
        """The first rows of one instant, without their ordinals: instrument, received, how many."""
        names = ", ".join(map(quoted, self.stored[:-1]))
        return (
            f"SELECT {names} FROM {self.table} WHERE instrument = ? AND received = ? AND ordinal < ? ORDER BY ordinal"
        )

    def _insert(self) -> str:
        names, places = ", ".join(map(quoted, self.stored)), ", ".join("?" * len(self.stored))
        return f"INSERT INTO {self.table} ({names}) VALUES ({places})"


def _names(record: type[Any]) -> tuple[str, ...]:
    """The contract's columns of a kind of event."""
    return tuple(name for name in record.__match_args__ if name != "ordinal")


def _arriving(name: str, record: type[Any], table: str, cells: Callable[[Any], Cells]) -> Kind:
    """A kind whose events have no ids.

    Args:
        cells: the fields between ``symbol`` and ``received``, as the table takes them.
    """

    def rows(events: Sequence[Any], ids: Ids) -> list[Cells]:
        return [(ids[event.exchange, event.symbol], event.received, *cells(event)) for event in events]

    names = _names(record)
    lane = Lane(names, table, part=("instrument",), order=("received", "ordinal"), moment="received")
    stored = ("instrument", "received", *names[2:-1], "ordinal")
    return Kind(name, record, table, stored, rows, (lane,), key=("instrument", "received", "ordinal"))


def _trades() -> Kind:
    """Keyed by ids; in an index numbers come before texts, so the first lane is the numbered ones."""
    names = _names(Trade)
    by_id = Lane(names, "trade", ("instrument",), ("trade_id",), MOMENT, "trade_id < ''", "+(trade_id < '')")
    by_time = Lane(names, "trade", ("instrument",), (MOMENT, "trade_id"), MOMENT, "typeof(trade_id) = 'text'")
    stored = ("instrument", *names[2:])
    return Kind("trades", Trade, "trade", stored, trade_rows, (by_id, by_time), key=("instrument", "trade_id"))


def _candles() -> Kind:
    """Keyed by their beginning; a newer state takes the place of an older one, unless that one was final."""
    names, key = _names(Candle), ("instrument", "interval", "open_time")
    lane = Lane(names, "candle", ("instrument", "interval"), ("open_time", "received"), "open_time")
    stored, judged = ("instrument", *names[2:]), ("closed", "received")
    return Kind("candles", Candle, "candle", stored, candle_rows, (lane,), key=key, judged=judged)


KINDS: Mapping[type, Kind] = {
    kind.record: kind
    for kind in (
        _arriving("ticker", Ticker, "ticker", ticker_cells),
        _trades(),
        _candles(),
        _arriving("book", Book, "book", book_cells),
        _arriving("quotes", Quote, "quote", quote_cells),
        _arriving("deltas", Delta, "delta", delta_cells),
        # The views took the names of these channels, so the tables have others.
        _arriving("funding", Funding, "funding_rate", funding_cells),
        _arriving("open_interest", OpenInterest, "interest", open_interest_cells),
        _arriving("liquidations", Liquidation, "liquidation", liquidation_cells),
    )
}

GAPS = (
    *("exchange", "symbol", "channel", "first_missing", "last_missing", "missing", "cause"),
    *("status", "detected", "closed", "filled_by"),
)
INSTRUMENTS = (
    *("exchange", "symbol", "native", "base", "quote", "tick_size", "amount_step", "contract_size"),
    *("amount_unit", "status"),
)

LANES: Mapping[str, Sequence[Lane]] = {kind.name: kind.lanes for kind in KINDS.values()} | {
    "gaps": (Lane(GAPS, "gap", ("instrument",), ("id",), "id"),),
    "quarantine": (Lane(_names(Quarantined), "quarantined", ("exchange",), ("received", "digest"), "received"),),
    "sessions": (Lane(_names(Session), "session", ("exchange",), ("opened", "id"), "opened"),),
    "clocks": (Lane(_names(ClockCheck), "clock", ("exchange",), ("received",), "received"),),
    "instruments": (Lane(INSTRUMENTS, "instrument", ("id",), ("id",), "id"),),
}
"""Where the rows of everything that can be shown lie."""

COLUMNS: Mapping[str, Sequence[str]] = {name: lanes[0].columns for name, lanes in LANES.items()}
"""What can be shown, and the columns of each, in the contract's order."""

RECORDS: Mapping[str, type[Any]] = {
    **{kind.name: kind.record for kind in KINDS.values()},
    "quarantine": Quarantined,
    "sessions": Session,
    "clocks": ClockCheck,
    "instruments": Instrument,
}
"""The class of what a row tells, whose fields are its columns and say their types."""


def parted(batch: Sequence[Event]) -> tuple[dict[Kind, list[Any]], list[Quarantined]]:
    """A batch by kind, each part in the batch's order; KeyError for a kind that has no entry."""
    parts: dict[type, list[Any]] = {record: [] for record in (*KINDS, Quarantined)}
    for event in batch:
        parts[type(event)].append(event)
    bad = parts.pop(Quarantined)
    return {KINDS[record]: events for record, events in parts.items() if events}, bad
