"""The completeness ledger in the database: in step with the rows, whatever ends a run between."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from far_end import ask

from trioagg.exchanges import counts
from trioagg.integrity.ledger import Known, Ledger
from trioagg.model import Broken, Consulted, Event, Note, Record, Session, Trade
from trioagg.sinks import sqlite
from trioagg.sinks.sqlite import url_of

ONE = Decimal(1)
GAPS = (
    "SELECT first_missing, last_missing, missing, cause, status, closed FROM gaps ORDER BY CAST(first_missing AS INT)"
)


def trades(*ids: int, exchange: str = "binance", symbol: str = "BTC/USDT") -> list[Event]:
    """Trades of one market; the id is the time as well."""
    return [Trade(exchange, symbol, number, ONE, ONE, "buy", number, number) for number in ids]


def at(received: int, *ids: int, symbol: str = "BTC/USDT") -> list[Event]:
    """Trades that arrived at a time."""
    return [Trade("binance", symbol, number, ONE, ONE, "buy", number, received) for number in ids]


async def store(file: Path, *batches: Sequence[Record]) -> None:
    """Write batches, each with what the ledger makes of it, in a session of its own."""
    async with sqlite.connect(url_of(file)) as sink:
        ledger = Ledger(counts, cause="not received", first_cause="not running")
        for batch in batches:
            draft = ledger.draft(batch)
            await sink.write([record for record in batch if not isinstance(record, Note)], draft)
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


FILLED = "SELECT first_missing, last_missing, status, filled_by FROM gaps ORDER BY CAST(first_missing AS INT)"


async def test_what_filled_a_hole_is_told(tmp_path: Path) -> None:
    """A connection or REST, in whatever batches its answer comes, of each market by itself; a later run knows it."""
    file = tmp_path / "a.db"
    told = [Consulted("binance", 99), *at(99, 3), *at(99, 9, symbol="ETH/USDT"), *at(98, 5)]

    await store(file, [*trades(1, 10), *trades(1, 10, symbol="ETH/USDT")], told, [*at(99, 6), *at(100, 7)])
    await store(file, trades(2))

    named = f"{FILLED.replace('FROM gaps', 'FROM gaps WHERE symbol = {}')}"
    assert ask(file, named.format("'BTC/USDT'")) == [
        ("2", "2", "filled", "stream"),
        ("3", "3", "filled", "rest"),
        ("4", "4", "open", None),
        ("5", "5", "filled", "stream"),
        ("6", "6", "filled", "rest"),
        ("7", "7", "filled", "stream"),
        ("8", "9", "open", None),
    ]
    assert ask(file, named.format("'ETH/USDT'")) == [("2", "8", "open", None), ("9", "9", "filled", "rest")]


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


def life(opened: int, closed: int | None = None, *, connection: str = "ws-1", exchange: str = "binance") -> Session:
    """A connection's beginning, or its end."""
    return Session(exchange, connection, 1, opened, closed, "" if closed is None else "it broke")


CAUSED = "SELECT first_missing, last_missing, cause FROM gaps ORDER BY CAST(first_missing AS INT)"


@pytest.mark.parametrize("batches", [1, 2, 9])
async def test_what_a_lost_connection_cost_is_told_apart(tmp_path: Path, batches: int) -> None:
    """Only the hole that the connection was down in; whatever batches the records come in, and old trades between."""
    file = tmp_path / "a.db"
    told = [
        *(life(1), *trades(1, 2, 5)),
        *(life(1, 6), *trades(3), life(6), *trades(4, 9, 12)),
    ]
    size = -(-len(told) // batches)

    await store(file, *(told[start : start + size] for start in range(0, len(told), size)))

    assert ask(file, CAUSED) == [
        ("3", "4", "not received"),
        ("6", "8", "disconnected"),
        ("10", "11", "not received"),
    ]


@pytest.mark.parametrize("batches", [1, 3, 5])
async def test_lost_frames_are_the_cause_of_what_follows_them(tmp_path: Path, batches: int) -> None:
    """Once, whatever batches the records come in."""
    file = tmp_path / "a.db"
    told = [*trades(1, 3), Broken("binance", ("BTC/USDT",), "frames lost", 3), *trades(6, 8)]
    size = -(-len(told) // batches)

    await store(file, *(told[start : start + size] for start in range(0, len(told), size)))

    assert ask(file, CAUSED) == [("2", "2", "not received"), ("4", "5", "frames lost"), ("7", "7", "not received")]


def test_what_another_writer_stored_is_seen_after_a_failure() -> None:
    """The store says once that another wrote; the offer that it says it to may fail."""
    ledger = Ledger(counts, cause="not received", first_cause="not running")
    first, second = ledger.draft(trades(1, 2)), ledger.draft(trades(9))
    first.entries(lambda *market: Known(None, None, []), stale=True)
    ledger.keep(first)

    second.entries(lambda *market: Known(1, 5, []), stale=True)
    (gap,) = second.entries(lambda *market: Known(1, 5, []), stale=False).gaps

    assert (gap.first, gap.last) == (6, 8)


async def test_a_connection_that_is_replaced_without_a_break_tears_nothing(tmp_path: Path) -> None:
    """The next one is open before the last one ends; another exchange's end is none of ours."""
    file = tmp_path / "a.db"
    await store(
        file,
        [life(1), life(1, exchange="okx"), *trades(1, 2), life(3), life(1, 4), life(1, 4, exchange="okx"), *trades(7)],
    )

    assert ask(file, CAUSED) == [("3", "6", "not received")]


async def test_a_connection_with_another_beside_it_tears_nothing(tmp_path: Path) -> None:
    """Until that one is gone too."""
    file = tmp_path / "a.db"
    await store(
        file,
        [life(1), life(1, connection="ws-1b"), *trades(1, 2), life(1, 3), *trades(4)],
        [life(1, 5, connection="ws-1b"), life(6), *trades(6)],
    )

    assert ask(file, CAUSED) == [("3", "3", "not received"), ("5", "5", "disconnected")]


async def test_a_process_that_was_killed_is_the_cause(tmp_path: Path) -> None:
    """Its connection was never closed; it is the cause once, for every market, and its session says so then."""
    file = tmp_path / "a.db"
    await store(file, [life(1), *trades(1, 2), *trades(1, symbol="ETH/USDT")])
    await store(file, [life(10)], [*trades(12), *trades(3, symbol="ETH/USDT"), life(10, 13)])
    await store(file, [life(20), *trades(22), life(20, 23)])

    assert ask(file, CAUSED) == [("2", "2", "killed"), ("3", "11", "killed"), ("13", "21", "not running")]
    assert ask(file, "SELECT opened, closed, reason FROM sessions") == [
        (1, None, "killed"),
        (10, 13, "it broke"),
        (20, 23, "it broke"),
    ]


async def test_what_no_connection_brought_was_not_killed(tmp_path: Path) -> None:
    """A replay beside a run: the run's connection is open, and it is no cause of what the captures lack."""
    file = tmp_path / "a.db"
    await store(file, [life(1), *trades(1, 2)])
    await store(file, trades(12))

    assert ask(file, CAUSED) == [("3", "11", "not running")]
    assert ask(file, "SELECT reason FROM sessions") == [("",)]
