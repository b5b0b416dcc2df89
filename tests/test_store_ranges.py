"""All rows of a range of times come out once, exact, in the order of time, and no step holds the writer up."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from plain_sql import asked, counted, plans

from trioagg.errors import SettingsError
from trioagg.model import Candle, Event, Quarantined, Ticker, Trade, TradeId
from trioagg.store import Span, Writer, connect, database, scan, seek
from trioagg.store.opening import Database, writable

T0 = 1_723_161_253_000_000_000
ONE = Decimal(1)


def trade(trade_id: TradeId, at: int | None, market: str = "binance BTC/USDT", received: int = T0) -> Trade:
    return Trade(*market.split(), trade_id, ONE, ONE, "buy", at, received)  # type: ignore[call-arg, arg-type]


def ticker(at: int | None, received: int) -> Ticker:
    return Ticker("binance", "BTC/USDT", ONE, None, None, None, None, None, at, received)


def candle(opened: int, interval: str = "1m") -> Candle:
    return Candle("binance", "BTC/USDT", interval, opened, ONE, ONE, ONE, ONE, ONE, True, T0)  # noqa: FBT003


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a step, so that a handful of rows is many steps."""
    monkeypatch.setattr(seek, "AT_ONCE", 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trioagg.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Writer.open(path)) as opened:
        yield opened


@pytest.fixture
def db(writer: Writer, path: Path) -> Iterator[Database]:
    with database(path) as opened:
        yield opened


def ids(db: Database, **choice: Any) -> list[str]:
    return [row["trade_id"] for row in scan(db, "trades", **choice)]


def test_trades_come_in_the_order_of_time(writer: Writer, db: Database) -> None:
    """Whether their ids are in order, hashes, or texts beside numbers; each market by itself, once."""
    times: dict[TradeId, int] = {
        -(2**63): 9,
        5: 4,
        17: 8,
        99: 1,
        2**62: 3,
        2**63 - 1: 7,
        "a": 2,
        "b": 6,
        "c": 6,
        "2": 5,
        "z": 10,
    }
    writer.write([trade(name, T0 + at) for name, at in times.items()])
    writer.write([trade(number, T0 + number, "kraken BTC/USDT") for number in range(7)])
    ours = [str(name) for name in sorted(times, key=lambda name: times[name])]
    assert ids(db) == [*ours, *map(str, range(7))]
    assert ids(db, exchanges=["kraken"]) == [*map(str, range(7))]


def test_a_range_takes_its_first_time_and_not_its_end(writer: Writer, db: Database) -> None:
    """Of the exchange's time, or of the arrival where it sent none; of a candle's beginning."""
    writer.write([trade(number, T0 + number) for number in range(10)])
    writer.write([trade(100, None, received=T0 + 5), *(trade(f"x{n}", T0 + n) for n in range(10))])
    writer.write([ticker(T0 - n, T0 + n) for n in range(5)] + [ticker(None, T0 + 2)])
    writer.write([candle(T0 + n, interval) for n in range(10) for interval in ("1m", "1h")])
    writer.write([Quarantined("binance", T0 + n, "torn", b"{") for n in range(10)])
    span = Span(T0 + 4, T0 + 6)
    assert sorted(ids(db, span=span)) == ["100", "4", "5", "x4", "x5"]
    found = [(row["timestamp"], row["received"]) for row in scan(db, "ticker", span=Span(T0 - 1, T0 + 3))]
    assert found == [(T0 - 1, T0 + 1), (T0, T0), (None, T0 + 2)]
    assert [row["open_time"] for row in scan(db, "candles", span=span)] == [T0 + 4, T0 + 4, T0 + 5, T0 + 5]
    assert [row["received"] for row in scan(db, "quarantine", span=span)] == [T0 + 4, T0 + 5]
    assert list(scan(db, "trades", span=Span(T0 + 100))) == []


def test_what_cannot_be_asked_for(writer: Writer, db: Database) -> None:
    """A market that is not there, a range of what has no times."""
    writer.write([trade(1, T0)])
    with pytest.raises(SettingsError, match="nearest: BTC/USDT"):
        scan(db, "trades", symbols=["BTC/USDC"])
    assert len(list(scan(db, "instruments"))) == 1
    with pytest.raises(SettingsError, match="instruments have no times"):
        scan(db, "instruments", span=Span(end=T0))


def test_steps_hold_nobody_up(writer: Writer, path: Path) -> None:
    """Between two rows no transaction is open, so that the log of the file can be cut back to nothing."""
    writer.write([trade(number, T0 - number) for number in range(20)])
    with closing(connect(path)) as db, closing(writable(path)) as other:
        for _ in scan(db, "trades"):
            assert not db.in_transaction
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def test_every_step_goes_by_key(writer: Writer, path: Path) -> None:
    """None reads a table from its beginning, or sorts one; trades with texts for ids are found by their time."""
    writer.write([trade(n, T0 + n) for n in range(9)] + [trade(f"x{n}", T0 + n) for n in range(9)])
    with closing(connect(path)) as db:
        found = scan(db, "trades")
        with asked(db) as questions:
            assert len([next(found) for _ in range(17)]) == 17
        steps = plans(questions, db)
    assert len(steps) == 4
    assert not [plan for plan in steps if "SCAN" in plan or "TEMP B-TREE" in plan]
    assert [plan for plan in steps if "trade_by_time (instrument=? AND <expr>>?)" in plan]


def effort(path: Path) -> int:
    """What a scan costs, in hundreds of SQLite's own steps."""
    with closing(connect(path)) as db, counted(db, 100) as taken:
        assert len([*scan(db, "trades", span=Span(first=T0 - 1))]) == 2
    return len(taken)


def test_work_grows_with_the_rows_and_not_with_their_square(writer: Writer, path: Path) -> None:
    """Twice the trades to choose from, about twice the work."""
    writer.write([trade(number, T0 - number) for number in range(300)])
    once = effort(path)
    writer.write([trade(number, T0 - number) for number in range(300, 600)])
    assert effort(path) < 2.3 * once


def test_memory_does_not_grow_with_the_rows(writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the rows need no more (a quarter of a second: every allocation is traced)."""
    monkeypatch.undo()
    monkeypatch.setattr(seek, "AT_ONCE", 100)
    batch: list[Event] = [trade(number, T0 - number) for number in range(10_000)]
    writer.write(batch)
    peaks = []
    with closing(connect(path)) as db:
        for span in (Span(first=T0 - 999), Span()):
            tracemalloc.start()
            count = sum(1 for _ in scan(db, "trades", span=span))
            peaks.append((count, tracemalloc.get_traced_memory()[1]))
            tracemalloc.stop()
    (few, low), (many, high) = peaks
    assert (few, many) == (1000, 10_000)
    assert high < low * 1.2
