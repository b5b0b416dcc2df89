"""Events and rows without us: a class with slots, as any program has, and the same cells in a table of that shape."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import trio
from attrs import define, field

from bench.figures import Figures, Load, Watch
from bench.frames import natives

SCHEMA = """
CREATE TABLE trade (
    instrument INTEGER, trade_id INTEGER, price TEXT, amount TEXT, side TEXT, timestamp INTEGER, received INTEGER,
    PRIMARY KEY (instrument, trade_id)
) WITHOUT ROWID
"""
INSERT = "INSERT INTO trade VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"


@define
class Trade:
    """An event."""

    exchange: str
    symbol: str
    trade_id: int
    price: Decimal
    amount: Decimal
    side: str
    timestamp: int
    received: int


@define(eq=False)
class Table:
    """One table of trades, and how late each was committed."""

    load: Load
    db: sqlite3.Connection
    watch: Watch = field(factory=Watch)
    latencies: list[int] = field(factory=list)

    async def store(self, batch: Sequence[Trade], ids: Mapping[str, int]) -> None:
        """One transaction, in a worker thread."""
        await trio.to_thread.run_sync(self._insert, batch, ids)
        if self.load.rate:
            committed = time.time_ns()
            self.latencies += [committed - (trade.timestamp or 0) for trade in batch]

    def _insert(self, batch: Sequence[Trade], ids: Mapping[str, int]) -> None:
        rows = [
            (ids[t.symbol], t.trade_id, str(t.price), str(t.amount), t.side, t.timestamp, t.received) for t in batch
        ]
        with self.db:
            self.db.executemany(INSERT, rows)

    def figures(self) -> Figures:
        """Up to now; all must be there."""
        figures = self.watch.stop(self.load.messages, self.latencies)
        assert self.db.execute("SELECT count(*) FROM trade").fetchone() == (self.load.messages,)
        return figures


@contextmanager
def table(load: Load) -> Iterator[Table]:
    """A new table in a file that is gone at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(Path(folder) / "plain.db", check_same_thread=False)) as db,
    ):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(SCHEMA)
        yield Table(load, db)


def ids(load: Load) -> dict[str, int]:
    """Each market's number."""
    return {symbol: number for number, symbol in enumerate(natives(load.symbols).values())}
