"""Events as rows of text, for stores that know no tables: the contract's columns, and what tells events apart.

The cells are those of the tables, so every store tells the same digits. Events that have no ids are numbered within
the instant of their arrival, on from earlier batches, as the tables number them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field

from trioagg.model import Event, Instrument, Nanos, Ordinal, Quarantined
from trioagg.store.cells import Cells, Instant, instrument_row, newest, numbered, quarantine_row
from trioagg.store.kinds import COLUMNS, Kind, parted
from trioagg.store.order import Row

REMEMBERED = 1_024
"""How many instants of a kind are kept in mind, to number the events of one; those of one read follow each other."""

TRUTHS = {"closed", "whole"}
"""Columns that are 0 or 1."""

Arrivals = dict[str, dict[Instant, list[Cells]]]
"""What came of each kind at an instant, without ordinals."""


@define(eq=False)
class Told:
    """One event, as text.

    Attributes:
        kind: as users name it: ``trades``, ``ticker``, …, ``quarantine``.
        symbol: empty for a quarantined frame.
        id: tells it from all others of its kind and market; the same event has the same wherever it comes from.
        ordinal: its number among those of its kind, market and instant; None where ids or beginnings tell them apart.
        row: by the contract's columns: decimals and ids as text, times and truths as integers.
    """

    kind: str
    exchange: str
    symbol: str
    id: str
    ordinal: int | None
    row: Row

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What no other event has."""
        return self.kind, self.exchange, self.symbol, self.id

    @property
    def moment(self) -> Nanos:
        """When it happened: by the exchange's clock for a trade, its beginning for a candle, else when it arrived."""
        row = self.row
        if self.kind == "candles":
            return int(row["open_time"])
        return int(row["received"] if self.kind != "trades" or row["timestamp"] is None else row["timestamp"])


@define(eq=False)
class Texts:
    """Makes the texts of one store's batches."""

    _recent: Arrivals = field(factory=dict, init=False)

    def of(self, batch: Sequence[Event]) -> tuple[list[Told], Arrivals]:
        """A batch as text, kind after kind, and what to ``keep`` of it once it is durable."""
        parts, bad = parted(batch)
        met: Arrivals = {}
        told = [text for kind, events in parts.items() for text in self._told(kind, events, met)]
        return [*told, *map(_quarantined, bad)], met

    def keep(self, met: Arrivals) -> None:
        """Number on from these."""
        for kind, instants in met.items():
            recent = self._recent.setdefault(kind, {})
            recent.update(instants)
            self._recent[kind] = newest(recent, REMEMBERED)

    def _told(self, kind: Kind, events: Sequence[Any], met: Arrivals) -> Iterator[Told]:
        ids = {market: market for market in {(event.exchange, event.symbol) for event in events}}
        rows = kind.rows(events, ids)
        rows = self._numbered(kind, rows, [event.ordinal for event in events], met) if kind.arriving else rows
        return (_text(kind, cells) for cells in rows)

    def _numbered(self, kind: Kind, rows: Sequence[Cells], given: Sequence[Ordinal], met: Arrivals) -> list[Cells]:
        recent = self._recent.get(kind.name, {})
        known = {instant: len(recent[instant]) for row in rows if (instant := row[:2]) in recent}
        counted, moments = numbered(rows, given, known, lambda instant, count: recent[instant][:count])
        there = {instant: list(recent.get(instant, ())) for instant in moments}
        for row in counted:
            if row[-1] == len(there.get(row[:2], ())) and row[:2] in there:
                there[row[:2]].append(row[:-1])
        met[kind.name] = there
        return counted


def instrument(listed: Instrument) -> Row:
    """An instrument as a row of text."""
    return dict(zip(COLUMNS["instruments"], instrument_row(listed), strict=True))


def encodable(row: Row) -> Row:
    """A row that JSON can hold: bytes that are no text as base64, under the name that raw captures have for it."""
    if not isinstance(row.get("payload"), bytes):
        return row
    return {name: cell for name, cell in row.items() if name != "payload"} | {
        "payload_base64": base64.b64encode(row["payload"]).decode()
    }


def _text(kind: Kind, cells: Cells) -> Told:
    cell: dict[str, Any] = dict(zip(kind.stored, cells, strict=True))
    exchange, symbol = cell["instrument"]  # the market itself takes the place of its number
    row = {"exchange": exchange, "symbol": symbol} | {name: cell[name] for name in COLUMNS[kind.name][2:]}
    for name in TRUTHS & row.keys():
        row[name] = int(row[name])
    ordinal = cell.get("ordinal")
    if kind.name == "trades":
        row["trade_id"] = text = str(row["trade_id"])
    elif kind.name == "candles":
        text = "|".join(str(row[name]) for name in ("interval", "open_time", "received", "closed"))
    else:
        text = f"{row['received']}|{ordinal}"
    return Told(kind.name, exchange, symbol, text, ordinal, row)


def _quarantined(frame: Quarantined) -> Told:
    names = ("exchange", "received", "digest", "reason", "payload")
    cell: dict[str, Any] = dict(zip(names, quarantine_row(frame), strict=True))
    row = {name: cell[name] for name in COLUMNS["quarantine"]}
    return Told("quarantine", frame.exchange, "", f"{frame.received}|{cell['digest'].hex()}", None, row)
