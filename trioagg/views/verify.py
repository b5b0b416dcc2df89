"""``trioagg verify``: where the ledger and the stored rows tell different things."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from trioagg import exchanges
from trioagg.integrity.agreement import differences, holes, size
from trioagg.model import Channel
from trioagg.store import Audit, Readable, Row, examine
from trioagg.views.table import UNKNOWN, aligned, put

COLUMNS = ("exchange", "symbol", "channel", "first", "last", "count", "problem")


def show_differences(db: Readable, form: str) -> bool:
    """Print every difference, in JSON one object a line; where there is none, the table says what agrees.

    Returns:
        Whether there is any.

    Raises:
        StoreError: the database cannot be read.
    """
    counting = [name for name in exchanges.names() if exchanges.counts(name)]
    found = examine(db, counting)
    rows = [*_damage(found), *_differences(found)]
    if form == "json":
        for row in rows:
            put(json.dumps(row, ensure_ascii=False))
    else:
        put(_table(rows) if rows else _agreement(found))
    return bool(rows)


def _damage(found: Audit) -> Iterator[Row]:
    for told in found.damage:
        yield dict.fromkeys(COLUMNS) | {"problem": f"the file is damaged: {told}"}


def _differences(found: Audit) -> Iterator[Row]:
    for market in found.markets:
        for one in differences(stored=market.stored, named=market.named, filled=market.filled):
            cells = (market.exchange, market.symbol, Channel.TRADES.value)
            yield dict(zip(COLUMNS, (*cells, str(one.first), str(one.last), one.count, one.problem), strict=True))


def _table(rows: Sequence[Row]) -> str:
    lines = [[UNKNOWN if row[name] is None else str(row[name]) for name in COLUMNS] for row in rows]
    return aligned([COLUMNS, *lines], left=len(COLUMNS))


def _agreement(found: Audit) -> str:
    stored = sum(size(market.stored) for market in found.markets)
    missing = sum(size(holes(market.stored)) for market in found.markets)
    counts = f"markets: {len(found.markets)}, trades: {stored:,}, missing: {missing:,}"
    return f"the ledger names exactly what the rows lack ({counts})"
