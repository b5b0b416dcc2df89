"""What a soak's database holds, beside what its far end had."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import product, zip_longest
from pathlib import Path

from attrs import define

from trioagg import exchanges
from trioagg.integrity.agreement import differences
from trioagg.simulator import SCALE
from trioagg.simulator.market import Market
from trioagg.store import database, examine, open_gaps

MS = 1_000_000
COUNT = "SELECT count(*), count(DISTINCT exchange || symbol || trade_id) FROM trades"
MISSING = "SELECT coalesce(sum(missing), 0) FROM gaps WHERE channel = 'trades' AND status <> 'filled'"
TRADES = """
SELECT trade_id, price, amount, side, timestamp / 1000000
FROM instrument JOIN trade ON instrument = instrument.id
WHERE exchange = ? AND symbol = ? ORDER BY trade_id
"""


@define
class Count:
    """What is stored.

    Attributes:
        twice: rows beyond the first of their trade.
        missing: trades that the ledger names, and that may still come.
    """

    stored: int = 0
    twice: int = 0
    missing: int = 0


def count(file: Path) -> Count:
    """What a database holds, which need not be there yet."""
    if not file.exists():
        return Count()
    with closing(sqlite3.connect(file)) as db:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'gaps'").fetchone():
            return Count()
        stored, kinds = db.execute(COUNT).fetchone()
        return Count(stored, stored - kinds, db.execute(MISSING).fetchone()[0])


def wrong(file: Path, had: Mapping[str, Market], symbols: Sequence[str]) -> list[str]:
    """Where the database is not what the far end had, a line each.

    Args:
        had: exchange → what happened there.
        symbols: the markets that were collected.
    """
    with database(file) as db:
        audit, gaps = examine(db, set(filter(exchanges.counts, exchanges.names()))), open_gaps(db)
    found = [f"the file is damaged: {told}" for told in audit.damage]
    found += [f"{gaps} gaps are open"] if gaps else []
    for market in audit.markets:
        for one in differences(stored=market.stored, named=market.named, filled=market.filled):
            found.append(f"{market.exchange} {market.symbol} {one.first} to {one.last}: {one.problem}")
    for (exchange, there), symbol in product(had.items(), symbols):
        found += _unlike(file, exchange, symbol, there)
    return found


def _unlike(file: Path, exchange: str, symbol: str, there: Market) -> list[str]:
    """Each row beside the trade that the far end had."""
    with closing(sqlite3.connect(file)) as db:
        rows = db.execute(TRADES, (exchange, symbol)).fetchall()
    if not rows:
        return [f"{exchange} {symbol}: nothing is stored"]
    for row, trade in zip_longest(rows, there.prints(symbol, rows[0][0], rows[-1][0] + 1)):
        if row is None or trade is None or not _same(row, trade):
            return [f"{exchange} {symbol}: stored {row}, the far end had {trade}"]
    return []


def _same(row: tuple[int, str, str, str, int], trade: tuple[int, int, int, int, bool]) -> bool:
    number, price, amount, side, at = row
    told, moment, *figures, buy = trade
    same = [Decimal(price) * SCALE, Decimal(amount) * SCALE] == figures
    return same and (number, side, at) == (told, "buy" if buy else "sell", moment // MS)
