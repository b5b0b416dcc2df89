"""The completeness ledger in the database: in step with the rows, whatever ends a run between."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from far_end import ask

from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Event, Trade
from trioagg.sinks import sqlite
from trioagg.sinks.sqlite import url_of

ONE = Decimal(1)
GAPS = (
    "SELECT first_missing, last_missing, missing, cause, status, closed FROM gaps ORDER BY CAST(first_missing AS INT)"
)


def trades(*ids: int, exchange: str = "binance") -> list[Event]:
    """Trades of one market; the id is the time as well."""
    return [Trade(exchange, "BTC/USDT", number, ONE, ONE, "buy", number, number) for number in ids]


async def store(file: Path, *batches: list[Event]) -> None:
    """Write batches, each with what the ledger makes of it, in a session of its own."""
    async with sqlite.connect(url_of(file)) as sink:
        ledger = Ledger(counts, cause="not received", first_cause="not running")
        for batch in batches:
            draft = ledger.draft(batch)
            await sink.write(batch, draft)
            ledger.keep(draft)


async def test_a_hole_is_a_row_until_it_is_filled(tmp_path: Path) -> None:
    """Exactly the missing ids, as text; filled ones name when, never before it was noticed; one hole is one row."""
    file = tmp_path / "a.db"

    await store(file, trades(1, 2, 3), trades(7, 10))
    assert ask(file, GAPS) == [("4", "6", 3, "not received", "open", None), ("8", "9", 2, "not received", "open", None)]

    await store(file, trades(5), trades(6, 4), trades(8))
    assert ask(file, GAPS) == [
        ("4", "6", 3, "not received", "filled", 10),
        ("8", "8", 1, "not received", "filled", 10),
        ("9", "9", 1, "not received", "open", None),
    ]


async def test_what_passed_between_two_sessions_is_missing(tmp_path: Path) -> None:
    """The check runs from the last stored id at every start; nothing is missing before the first id ever."""
    file = tmp_path / "a.db"

    await store(file, trades(50, 51))
    await store(file, trades(60), trades(61))

    assert ask(file, GAPS) == [("52", "59", 8, "not running", "open", None)]


async def test_the_same_batch_again_changes_nothing(tmp_path: Path) -> None:
    """A batch that was offered twice, and a session that repeats all of it."""
    file = tmp_path / "a.db"
    for _ in range(2):
        await store(file, trades(1, 5), trades(1, 5))

    assert ask(file, GAPS) == [("2", "4", 3, "not received", "open", None)]
    assert ask(file, "SELECT count(*) FROM trades") == [(2,)]
