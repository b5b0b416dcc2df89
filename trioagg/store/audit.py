"""What the rows of numbered markets hold, and what their ledger says of it: both as of one moment.

Rows are read in the order of their key and kept as runs of consecutive ids, so memory grows with the holes alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from attrs import frozen

from trioagg.store.order import Part
from trioagg.store.readable import Readable
from trioagg.store.seek import markets

Run = tuple[int, int]
"""Consecutive ids: the first and the last of them."""

RUNS = "SELECT status, first_missing, last_missing FROM gap WHERE instrument = ? AND channel = 'trades'"


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
    """What a store holds.

    Attributes:
        damage: what is wrong with the store itself; if anything, its rows prove nothing.
        markets: those that have numbered trades, or a ledger of them; none from a damaged store.
    """

    damage: Sequence[str]
    markets: Sequence[Holdings]


def examine(db: Readable, exchanges: Collection[str]) -> Audit:
    """Read every row of the exchanges that count their trades up by one, and their ledger, as of one moment.

    Args:
        db: an open store; a writer beside it is neither held up nor seen.
        exchanges: those that count.

    Raises:
        StoreError: the database cannot be read.
    """
    with db.snapshot():
        if damage := db.damage():
            return Audit(damage, ())
        known = [_holdings(db, market) for market in markets(db, (), ()) if market.exchange in exchanges]
    return Audit((), [market for market in known if market.stored or market.named or market.filled])


def numbered_parts(db: Readable, market: Part) -> list[tuple[str, int, int]]:
    """The ids of a market that are or were missing: what has become of them, the first, the last."""
    told = db.ask(RUNS, *market.key)
    numbered = [part for part in told if isinstance(part[1], int) and isinstance(part[2], int)]
    return [(fate, first, last) for fate, first, last in numbered if first <= last]


def _holdings(db: Readable, market: Part) -> Holdings:
    by_id, _ = db.lanes["trades"]
    stored = _runs(number for (number,) in db.each(by_id.keys, *market.key))
    named: list[Run] = []
    filled: list[Run] = []
    for status, first, last in numbered_parts(db, market):
        (filled if status == "filled" else named).append((first, last))
    return Holdings(market.exchange, market.symbol, stored, named, filled)


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
