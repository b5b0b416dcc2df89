"""Events into rows: one transaction per batch, and the same batch again changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from trioagg.errors import StoreError
from trioagg.integrity.ledger import Ask, Entries, Known
from trioagg.model import Event, Instrument, Nanos
from trioagg.store.cells import (
    Cells,
    Ids,
    Instant,
    Market,
    Moments,
    gap_key,
    gaps_of,
    instrument_row,
    loss_row,
    numbered,
    part_rows,
    quarantine_row,
    session_row,
)
from trioagg.store.kinds import KINDS, Kind, parted
from trioagg.store.opening import Database, transaction, writable
from trioagg.store.trouble import reading, writing

REMEMBERED = 4_096
"""How many instants of a kind are kept in mind, to number the events of one; those of one read follow each other."""

INSERT_QUARANTINED = """
INSERT INTO quarantined (exchange, received, digest, reason, payload) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
NAME_INSTRUMENT = "INSERT INTO instrument (exchange, symbol) VALUES (?, ?) ON CONFLICT DO NOTHING"
FIND_INSTRUMENT = "SELECT id FROM instrument WHERE exchange = ? AND symbol = ?"
MARKET = "exchange = ? AND symbol = ?"
LOWEST = "SELECT trade_id FROM trade WHERE instrument = ? AND trade_id < '' ORDER BY trade_id LIMIT 1"
HIGHEST = "SELECT trade_id FROM trade WHERE instrument = ? AND trade_id < '' ORDER BY trade_id DESC LIMIT 1"
NEWEST_NUMBERED = """
SELECT coalesce(timestamp, received), trade_id FROM trade
WHERE instrument = ? AND trade_id < '' ORDER BY trade_id DESC LIMIT 1
"""
NEWEST_NAMED = """
SELECT coalesce(timestamp, received), trade_id FROM trade
WHERE instrument = ? AND typeof(trade_id) = 'text' ORDER BY coalesce(timestamp, received) DESC LIMIT 1
"""
OPEN_GAPS = """
SELECT channel, origin, coalesce(first_missing, since) AS first, coalesce(last_missing, until),
    cause, status, detected, closed, "before", "after"
FROM gap AS part
WHERE instrument = ? AND channel = 'trades' AND first IS NOT NULL AND EXISTS (
    SELECT 1 FROM gap WHERE (instrument, channel, origin) = (part.instrument, part.channel, part.origin)
    AND status <> 'filled'
)
ORDER BY origin, first
"""
FORGET_GAP = "DELETE FROM gap WHERE (instrument, channel, origin) = (?, ?, ?)"
INSERT_PART = """
INSERT INTO gap
    (instrument, channel, origin, first_missing, last_missing, missing, cause, status, detected, closed,
    since, until, "before", "after")
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
KEEP_SESSION = """
INSERT INTO session (exchange, connection, subscriptions, opened, closed, reason, missed) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange, connection, opened) DO UPDATE SET
    closed = excluded.closed, reason = excluded.reason, missed = excluded.missed
"""
UNFINISHED = "SELECT json_group_array(id) FROM session WHERE closed IS NULL AND reason = ''"
KILLED = """
SELECT EXISTS (SELECT 1 FROM session WHERE exchange = ? AND closed IS NULL AND id IN (SELECT value FROM json_each(?)))
"""
LAST_SESSION = "SELECT coalesce(max(id), 0) FROM session"
END_UNFINISHED = """
UPDATE session SET reason = 'killed' WHERE exchange = ? AND id <= ? AND closed IS NULL AND reason = ''
"""
KEEP_CLOCK = """
INSERT INTO clock (exchange, "offset", uncertainty, lag, received) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
CLOCK = attrgetter("exchange", "offset", "uncertainty", "lag", "received")
EDGE = """
SELECT coalesce(timestamp, received) FROM trade
WHERE instrument = (SELECT id FROM instrument WHERE exchange = ? AND symbol = ?) AND trade_id < ''
"""
BEFORE = f"{EDGE} AND trade_id < ? ORDER BY trade_id DESC LIMIT 1"
AFTER = f"{EDGE} AND trade_id > ? ORDER BY trade_id LIMIT 1"
DESCRIBE_INSTRUMENT = """
INSERT INTO instrument
    (exchange, symbol, native, base, quote, tick_size, amount_step, contract_size, amount_unit, status)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (exchange, symbol) DO UPDATE SET
    native = excluded.native, base = excluded.base, quote = excluded.quote, tick_size = excluded.tick_size,
    amount_step = excluded.amount_step, contract_size = excluded.contract_size,
    amount_unit = excluded.amount_unit, status = excluded.status
"""


@frozen
class Counts:
    """What became of a batch's events; the three add up to their number.

    Attributes:
        stored: rows that were added.
        duplicates: events whose row was there already (a later state of a candle among them).
        quarantined: frames that are in quarantine.
        added: (exchange, kind of event) → rows that were added; empty where a sink does not tell.
    """

    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    added: Mapping[tuple[str, type], int] = field(factory=dict, eq=False)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            Counter(self.added) + Counter(other.added),
        )


class Reckoning(Protocol):
    """Says what belongs into the ledger beside a batch; a ``Draft`` does."""

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """See ``Draft.entries``."""
        ...


class Writer:
    """The writing end of one file, for one thread at a time; between two calls no transaction is open.

    Attributes:
        path: the file.
    """

    def __init__(self, db: Database) -> None:
        self.path = db.path
        self._db = db
        self._file = _identity(db.path)
        self._version = -1
        self._ids: dict[Market, int] = {}
        self._moments: dict[Kind, Moments] = {kind: {} for kind in KINDS.values()}
        with reading(db.path):
            self._unfinished: str = db.execute(UNFINISHED).fetchone()[0]
            self._earlier: int = db.execute(LAST_SESSION).fetchone()[0]

    @classmethod
    def open(cls, path: Path | str, patience: float = 1.0) -> Writer:
        """Open a file, made if there is none.

        Args:
            path: the file; its folder must exist.
            patience: seconds to wait for a lock that another program holds, here and in every write.

        Raises:
            StoreError: it cannot be used; the reason in one line.
        """
        return cls(writable(Path(path), patience))

    def write(self, batch: Sequence[Event], draft: Reckoning | None = None) -> Counts:
        """Make a batch durable: all or none, and the same batch again adds nothing.

        Args:
            batch: the events.
            draft: reckons, inside the transaction, what belongs into the ledger beside them.

        Raises:
            SinkError: nothing was written; the same batch may be offered again.
            StoreError: nothing was written, and nothing ever will be until a person acts.
        """
        parts, bad = parted(batch)
        met: dict[Kind, Moments] = {}
        with self._transaction():
            entries = draft.entries(self._known, stale=self._stale()) if draft else Entries()
            told = (*parts.values(), entries.gaps, entries.losses)
            markets = {(item.exchange, item.symbol) for part in told for item in part}
            ids = self._identified(markets)
            rows = {kind: kind.rows(events, ids) for kind, events in parts.items()}
            for kind in [kind for kind in rows if kind.arriving]:
                rows[kind], met[kind] = numbered(rows[kind], self._moments[kind], partial(self._arrived, kind))
            owners: dict[object, str] = {ids[market]: market[0] for market in markets}
            added = {
                (exchange, kind.record): self._added(kind, some)
                for kind, made in rows.items()
                for exchange, some in _owned(made, owners).items()
            }
            self._db.executemany(INSERT_QUARANTINED, map(quarantine_row, bad))
            self._note(entries, ids)
        self._committed(ids, met)
        stored = sum(added.values())
        return Counts(stored, len(batch) - len(bad) - stored, len(bad), added)

    def instruments(self, listed: Sequence[Instrument]) -> None:
        """Keep what is known of instruments, in place of what was known.

        Raises:
            SinkError: nothing was written; it may be tried again.
            StoreError: nothing was written, and nothing ever will be until a person acts.
        """
        with self._transaction():
            self._db.executemany(DESCRIBE_INSTRUMENT, map(instrument_row, listed))

    def known(self, exchange: str, symbol: str) -> Known:
        """What is stored of a market's trades, and what is known to be missing of them.

        Raises:
            SinkError: it cannot be read now.
            StoreError: it cannot be read at all.
        """
        with writing(self.path):
            return self._known(exchange, symbol)

    def around(self, exchange: str, symbol: str, run: tuple[int, int]) -> tuple[Nanos | None, Nanos | None]:
        """The times of the nearest stored trades before and after some ids, nanoseconds UTC; None where there is none.

        Raises:
            SinkError: it cannot be read now.
            StoreError: it cannot be read at all.
        """
        with writing(self.path):
            before, after = (
                self._db.execute(edge, (exchange, symbol, number)).fetchone()
                for edge, number in zip((BEFORE, AFTER), run, strict=True)
            )
        return before and before[0], after and after[0]

    def close(self) -> None:
        """Fold the write-ahead log into the file, as far as its readers let us, and close it."""
        with suppress(sqlite3.Error):  # what was committed is safe in the log all the same
            self._db.execute("PRAGMA busy_timeout = 0")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.close()

    def _known(self, exchange: str, symbol: str) -> Known:
        found = self._db.execute(f"SELECT id FROM instrument WHERE {MARKET}", (exchange, symbol)).fetchone()
        if found is None:
            return Known(None, None, [])
        edges = [self._db.execute(edge, found).fetchone() for edge in (LOWEST, HIGHEST)]
        parts = self._db.execute(OPEN_GAPS, found).fetchall()
        lowest, highest = (edge and edge[0] for edge in edges)
        newest = [self._db.execute(query, found).fetchone() for query in (NEWEST_NUMBERED, NEWEST_NAMED)]
        told = max(filter(None, newest), key=itemgetter(0), default=None)
        (killed,) = self._db.execute(KILLED, (exchange, self._unfinished)).fetchone()
        return Known(lowest, highest, gaps_of(exchange, symbol, parts), told, killed=bool(killed))

    def _stale(self) -> bool:
        """Whether another connection has written since the last time that this was asked."""
        before, self._version = self._version, self._db.execute("PRAGMA data_version").fetchone()[0]
        return before != self._version

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if _identity(self.path) != self._file:
            raise StoreError(f"database {self.path} was removed or replaced while it was open")
        with writing(self.path), transaction(self._db):
            yield

    def _identified(self, markets: Iterable[Market]) -> dict[Market, int]:
        """The ids of at least these, made where missing; they count only once the transaction is committed."""
        strangers = sorted(market for market in markets if market not in self._ids)
        return self._ids | {market: self._named(market) for market in strangers} if strangers else self._ids

    def _named(self, market: Market) -> int:
        self._db.execute(NAME_INSTRUMENT, market)
        found: int = self._db.execute(FIND_INSTRUMENT, market).fetchone()[0]
        return found

    def _note(self, entries: Entries, ids: Ids) -> None:
        losses = [loss_row(loss, ids) for loss in entries.losses]
        keys = [*(gap_key(gap, ids) for gap in entries.gaps), *(row[:3] for row in losses)]
        self._db.executemany(FORGET_GAP, keys)
        self._db.executemany(INSERT_PART, [*(row for gap in entries.gaps for row in part_rows(gap, ids)), *losses])
        begun = {(session.exchange, self._earlier) for session in entries.sessions if session.closed is None}
        self._db.executemany(END_UNFINISHED, begun)
        self._db.executemany(KEEP_SESSION, map(session_row, entries.sessions))
        self._db.executemany(KEEP_CLOCK, map(CLOCK, entries.clocks))

    def _arrived(self, kind: Kind, instant: Instant, count: int) -> list[Cells]:
        return self._db.execute(kind.arrived, (*instant, count)).fetchall()

    def _added(self, kind: Kind, rows: Sequence[Cells]) -> int:
        before = self._db.total_changes
        self._db.executemany(kind.insert, rows)
        added = self._db.total_changes - before
        if kind.renewal and added < len(rows):
            self._db.executemany(kind.renew, rows)
        return added

    def _committed(self, ids: dict[Market, int], met: Mapping[Kind, Moments]) -> None:
        """Believe what the transaction found, now that it is durable."""
        self._ids = ids
        for kind, moments in met.items():
            known = self._moments[kind]
            known.update(moments)
            if len(known) > REMEMBERED:
                self._moments[kind] = dict(islice(known.items(), REMEMBERED // 2, None))


def _owned(rows: list[Cells], owners: Mapping[object, str]) -> dict[str, list[Cells]]:
    """Rows by exchange, in their order; every kind of row begins with its instrument."""
    if len(names := set(owners.values())) == 1:
        return dict.fromkeys(names, rows)
    parts: dict[str, list[Cells]] = {}
    for row in rows:
        parts.setdefault(owners[row[0]], []).append(row)
    return parts


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None where it leads nowhere."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
