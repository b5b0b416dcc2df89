"""What the rows of numbered markets hold, and what their ledger says of it: both as of one moment.

Rows are read in the order of their key and kept as runs of consecutive ids, so memory grows with the holes alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from attrs import frozen

from trioagg.store.opening import Database, snapshot
from trioagg.store.trouble import damaged, reading

Run = tuple[int, int]
"""Consecutive ids: the first and the last of them."""

MARKETS = "SELECT id, exchange, symbol FROM instrument ORDER BY exchange, symbol"
IDS = "SELECT trade_id FROM trade WHERE instrument = ? AND trade_id < '' ORDER BY trade_id"
PARTS = """
SELECT status, first_missing, last_missing FROM gap
WHERE instrument = ? AND channel = 'trades' AND typeof(first_missing) = 'integer' AND first_missing <= last_missing
    AND last_missing < ''
"""


@frozen
class Holdings:
    """The numbered trades of one market.

    Attributes:
        stored: the ids of its rows, ascending.
        named: those that the ledger names as missing, whether they may still be filled or not.
        filled: those that it says were missing and came later.
    """

    exchange: str
    symbol: str
    stored: Sequence[Run]
    named: Sequence[Run]
    filled: Sequence[Run]


@frozen
class Audit:
    """What a file holds.

    Attributes:
        damage: what SQLite finds wrong with the file itself; if anything, its rows prove nothing.
        markets: those that have numbered trades, or a ledger of them; none from a damaged file.
    """

    damage: Sequence[str]
    markets: Sequence[Holdings]


def examine(db: Database, exchanges: Collection[str]) -> Audit:
    """Read every row of the exchanges that count their trades up by one, and their ledger, as of one moment.

    Args:
        db: from ``connect`` or ``database``; a writer beside it is neither held up nor seen.
        exchanges: those that count.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(db.path), snapshot(db):
        if damage := _damage(db):
            return Audit(damage, ())
        known = [_holdings(db, market) for market in db.execute(MARKETS).fetchall() if market[1] in exchanges]
    return Audit((), [market for market in known if market.stored or market.named or market.filled])


def _damage(db: Database) -> list[str]:
    """What SQLite's own check finds, a line each."""
    lines: list[str] = []
    try:
        for (told,) in db.execute("PRAGMA quick_check"):
            lines += told.splitlines()
    except sqlite3.DatabaseError as error:  # the worst of it stops the check itself
        if not damaged(error):
            raise
        lines.append(str(error))
    return [line for line in lines if line != "ok" and not line.startswith("***")]


def _holdings(db: Database, market: tuple[int, str, str]) -> Holdings:
    key, exchange, symbol = market
    stored = _runs(number for (number,) in db.execute(IDS, (key,)))
    named: list[Run] = []
    filled: list[Run] = []
    for status, first, last in db.execute(PARTS, (key,)):
        (filled if status == "filled" else named).append((first, last))
    return Holdings(exchange, symbol, stored, named, filled)


def _runs(ids: Iterable[int]) -> list[Run]:
    """Ids in ascending order, each once, as runs."""
    runs: list[Run] = []
    first: int | None = None
    last = 0
    for number in ids:
        if first is None:
            first = number
        elif number != last + 1:
            runs.append((first, last))
            first = number
        last = number
    return runs if first is None else [*runs, (first, last)]
