"""Events into rows: one transaction per batch, and the same batch again changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import itemgetter
from pathlib import Path

import apsw
from attrs import define, field

from trioagg.errors import StoreError
from trioagg.integrity.ledger import Known
from trioagg.model import Event, Instrument, Nanos
from trioagg.store.batches import Batches, Counts, Past, Reckoning
from trioagg.store.cells import Beside, Cells, Instant, Market, gaps_of, instrument_row
from trioagg.store.kinds import Kind
from trioagg.store.opening import Database, transaction, writable
from trioagg.store.trouble import reading, writing

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
    cause, status, detected, closed, filled_by, "before", "after"
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
    since, until, "before", "after", filled_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
KEEP_SESSION = """
INSERT INTO session (exchange, connection, subscriptions, opened, closed, reason, missed) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange, connection, opened) DO UPDATE SET
    closed = excluded.closed, reason = excluded.reason, missed = excluded.missed
"""
UNFINISHED = "SELECT id, opened FROM session WHERE closed IS NULL AND reason = ''"
ENDLESS = "SELECT id FROM session WHERE exchange = ? AND id <= ? AND closed IS NULL"
LAST_SESSION = "SELECT coalesce(max(id), 0) FROM session"
END_UNFINISHED = """
UPDATE session SET reason = 'killed' WHERE exchange = ? AND id = ? AND closed IS NULL AND reason = ''
"""
KEEP_CLOCK = """
INSERT INTO clock (exchange, "offset", uncertainty, lag, received) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
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


WORTH = 1_000
"""Pages of the write-ahead log that are worth folding into the file when nobody waits."""
LONG = 4_000
"""Pages of it that are folded by the write that reaches them."""


class Writer:
    """The writing end of one file, for one thread at a time; between two calls no transaction is open.

    Attributes:
        path: the file.
        log: pages of the write-ahead log, as of the last commit.
    """

    def __init__(self, db: Database) -> None:
        self.path = db.path
        self.log = 0
        self._db = db
        self._file = _identity(db.path)
        with reading(db.path):
            self._tables = _Tables.of(db)
        self._batches = Batches(self._tables)
        db.set_wal_hook(self._grown)

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
        with self._present():
            return self._batches.write(batch, draft)

    def instruments(self, listed: Sequence[Instrument]) -> None:
        """Keep what is known of instruments, in place of what was known.

        Raises:
            SinkError: nothing was written; it may be tried again.
            StoreError: nothing was written, and nothing ever will be until a person acts.
        """
        with self._present(), transaction(self._db):
            self._db.executemany(DESCRIBE_INSTRUMENT, map(instrument_row, listed))

    def known(self, exchange: str, symbol: str) -> Known:
        """What is stored of a market's trades, and what is known to be missing of them.

        Raises:
            SinkError: it cannot be read now.
            StoreError: it cannot be read at all.
        """
        with writing(self.path):
            return self._tables.known(exchange, symbol)

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

    def fold(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> None:
        """Fold the write-ahead log into the file, as far as its readers let us."""
        with suppress(apsw.Error):  # what was committed is safe in the log all the same
            self._db.wal_checkpoint(mode=mode)

    def close(self) -> None:
        """Fold the log for good, and close the file."""
        self._batches.close()
        self._db.set_busy_timeout(0)
        self.fold(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._db.close()

    def _grown(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self.log = pages
        if pages >= LONG:
            self.fold()
        return apsw.SQLITE_OK

    @contextmanager
    def _present(self) -> Iterator[None]:
        if _identity(self.path) != self._file:
            raise StoreError(f"database {self.path} was removed or replaced while it was open")
        with writing(self.path):
            yield


@define(eq=False)
class _Tables:
    """See ``Tables``."""

    _db: Database
    _past: Past
    _version: int = field(default=-1, init=False)

    @classmethod
    def of(cls, db: Database) -> _Tables:
        return cls(db, Past.of(db.execute(UNFINISHED), db.execute(LAST_SESSION).get))

    def transaction(self) -> AbstractContextManager[None]:
        return transaction(self._db)

    def stale(self) -> bool:
        before, self._version = self._version, self._db.execute("PRAGMA data_version").get
        return before != self._version

    def known(self, exchange: str, symbol: str) -> Known:
        found = self._db.execute(f"SELECT id FROM instrument WHERE {MARKET}", (exchange, symbol)).fetchone()
        if found is None:
            return Known(None, None, [])
        edges = [self._db.execute(edge, found).fetchone() for edge in (LOWEST, HIGHEST)]
        parts = self._db.execute(OPEN_GAPS, found).fetchall()
        lowest, highest = (edge and edge[0] for edge in edges)
        newest = [self._db.execute(query, found).fetchone() for query in (NEWEST_NUMBERED, NEWEST_NAMED)]
        told = max(filter(None, newest), key=itemgetter(0), default=None)
        return Known(lowest, highest, gaps_of(exchange, symbol, parts), told, killed=self._killed(exchange))

    def named(self, market: Market) -> int:
        self._db.execute(NAME_INSTRUMENT, market)
        found: int = self._db.execute(FIND_INSTRUMENT, market).get
        return found

    def arrived(self, kind: Kind, instant: Instant, count: int) -> list[Cells]:
        return [*self._db.execute(kind.arrived, (*instant, count))]

    def added(self, kind: Kind, rows: Sequence[Cells]) -> int:
        before = self._db.total_changes()
        self._db.executemany(kind.insert, rows)
        added = self._db.total_changes() - before
        if kind.judged and added < len(rows):
            self._db.executemany(kind.renew, rows)
        return added

    def note(self, rows: Beside) -> None:
        self._db.executemany(INSERT_QUARANTINED, rows.quarantined)
        self._db.executemany(FORGET_GAP, rows.forgotten)
        self._db.executemany(INSERT_PART, rows.gaps)
        self._db.executemany(END_UNFINISHED, self._past.killed(rows.begun))
        self._db.executemany(KEEP_SESSION, rows.sessions)
        self._db.executemany(KEEP_CLOCK, rows.clocks)

    def _killed(self, exchange: str) -> bool:
        endless = self._db.execute(ENDLESS, (exchange, self._past.last))
        return not self._past.unfinished.isdisjoint(number for (number,) in endless)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None where it leads nowhere."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
