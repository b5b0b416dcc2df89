"""Batches become rows: exactly once, exactly counted, digit for digit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from plain_sql import plain

from trioagg.model import Candle, Event, Instrument, Quarantined, Ticker, Trade, TradeId
from trioagg.store import Counts, Writer, database, rows

T0 = 1_723_161_253_937_085_768


def trade(trade_id: TradeId = 1, *, symbol: str = "BTC/USDT", price: str = "61234.50", at: int = T0) -> Trade:
    return Trade("binance", symbol, trade_id, Decimal(price), Decimal("0.00100000"), "buy", at, at + 5)


def ticker(bid: str = "1.0", *, received: int = T0, symbol: str = "BTC/USDT") -> Ticker:
    return Ticker("binance", symbol, Decimal(bid), None, Decimal(2), Decimal(3), None, None, None, received)


def candle(close: str, *, received: int, closed: bool = False, open_time: int = T0) -> Candle:
    one = Decimal(1)
    return Candle("binance", "BTC/USDT", "1m", open_time, one, one, one, Decimal(close), one, closed, received)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trioagg.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    opened = Writer.open(path)
    yield opened
    opened.close()


def sql(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a person's own connection answers."""
    db = plain(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def read(path: Path, kind: str) -> list[dict[str, Any]]:
    with database(path) as db:
        return rows(db, kind, limit=1000)


def test_counts_add_up_to_the_batch(writer: Writer) -> None:
    """Stored + duplicates + quarantined is the length of every batch, whatever is in it."""
    bad = Quarantined("binance", T0, "torn", b"{")
    batch: list[Event] = [trade(1), trade(1), trade(2), ticker(), candle("1", received=1), bad, bad]
    assert writer.write(batch) == Counts(4, 1, 2)
    assert writer.write(batch) == Counts(0, 5, 2)
    assert Counts(1, 2, 3) + Counts(10, 20, 30) == Counts(11, 22, 33)


def test_rows_are_told_by_exchange_and_kind(writer: Writer) -> None:
    """Exactly those that were added, however the exchanges are mixed in the batch."""
    others = [replace(trade(number), exchange="kraken") for number in (1, 2, 3)]
    assert writer.write([trade(1), others[0], ticker(), trade(1)]).added == {
        ("binance", Trade): 1,
        ("kraken", Trade): 1,
        ("binance", Ticker): 1,
    }
    more = Counts(2, 2, 0) + writer.write([others[0], trade(1), others[1], trade(2), others[2]])
    assert more.added == {("binance", Trade): 1, ("kraken", Trade): 2} and more == Counts(5, 4, 0)


def test_the_same_batch_again_adds_nothing(writer: Writer, path: Path) -> None:
    """After a second writing of everything, the tables hold the same rows."""
    batch: list[Event] = [*(trade(n) for n in range(50)), Quarantined("binance", T0, "torn", b"{")]
    writer.write(batch)
    before = [read(path, "trades"), read(path, "quarantine")]
    writer.write(batch)
    assert [read(path, "trades"), read(path, "quarantine")] == before


def test_an_empty_batch_is_nothing(writer: Writer) -> None:
    """No event, no row, no count."""
    assert writer.write([]) == Counts(0, 0, 0)


@pytest.mark.parametrize(
    "digits",
    ["123456789012345678901234567890.12", "0.100000000000000000000000000001", "61234.50000000", "0.00000000"],
)
def test_every_digit_comes_back(writer: Writer, path: Path, digits: str) -> None:
    """Thirty digits and trailing zeros survive the way through the file."""
    writer.write([trade(price=digits)])
    assert read(path, "trades")[0]["price"] == digits


@pytest.mark.parametrize(("sent", "stored"), [("2E-8", "0.00000002"), ("1E+5", "100000"), ("0E-8", "0.00000000")])
def test_exponents_are_written_out(writer: Writer, path: Path, sent: str, stored: str) -> None:
    """No stored decimal has an exponent."""
    writer.write([trade(price=sent)])
    assert read(path, "trades")[0]["price"] == stored


def test_plain_sql_is_numerically_right(writer: Writer, path: Path) -> None:
    """max, comparison and ordering on the contract's names go by value, not by text."""
    writer.write([trade(n, price=price) for n, price in enumerate(["9.5", "100.25", "20"])])
    assert sql(path, "SELECT max(price), min(price), sum(price) FROM trades") == [(100.25, 9.5, 129.75)]
    assert sql(path, "SELECT count(*) FROM trades WHERE price > 10") == [(2,)]
    assert sql(path, "SELECT price FROM trades ORDER BY price") == [(9.5,), (20.0,), (100.25,)]


@pytest.mark.parametrize("trade_id", [0, -7, 2**63 - 1, 2**63, 10**30, "1f8a-22", "007", "12 ", "٣"])
def test_an_id_comes_back_as_its_text(writer: Writer, path: Path, trade_id: TradeId) -> None:
    """Ids of any size and spelling are text, unchanged, for SQL and Python alike."""
    writer.write([trade(trade_id)])
    assert [row["trade_id"] for row in read(path, "trades")] == [str(trade_id)]
    assert sql(path, "SELECT trade_id FROM trades") == [(str(trade_id),)]


def test_an_id_is_one_row_however_often_it_comes(writer: Writer) -> None:
    """A number too large for SQLite's integers is kept as its text."""
    assert writer.write([trade(77), trade(77), trade("77"), trade(2**64), trade(str(2**64))]) == Counts(3, 2, 0)


def test_the_same_id_on_two_markets_is_two_trades(writer: Writer) -> None:
    """Ids are unique within (exchange, symbol) only."""
    assert writer.write([trade(1), trade(1, symbol="ETH/USDT")]).stored == 2


def test_a_candle_moves_forward_only(writer: Writer, path: Path) -> None:
    """The newest state wins; an open or older state never replaces a closed one."""
    states = [
        (candle("1", received=10), "1"),
        (candle("2", received=20), "2"),
        (candle("3", received=20), "3"),
        (candle("4", received=15), "3"),
        (candle("5", received=18, closed=True), "5"),
        (candle("6", received=30), "5"),
        (candle("7", received=17, closed=True), "5"),
        (candle("8", received=40, closed=True), "8"),
    ]
    for number, (state, close) in enumerate(states):
        assert writer.write([state]) == Counts(int(number == 0), int(number != 0), 0)
        assert [row["close"] for row in read(path, "candles")] == [close]


def test_states_of_a_candle_in_one_batch(writer: Writer, path: Path) -> None:
    """One batch with several states of one candle stores one row, the last state."""
    batch = [candle("1", received=1), candle("2", received=2), candle("3", received=3, closed=True)]
    assert writer.write([*batch, candle("9", received=4, open_time=T0 + 1)]) == Counts(2, 2, 0)
    assert [row["close"] for row in read(path, "candles")] == ["3", "9"]


def test_a_bad_frame_is_kept_whole(writer: Writer, path: Path) -> None:
    """Text stays text, other bytes stay bytes, and neither is cut at a NUL."""
    payloads = [b'{"a":1', "päivää".encode(), b"\xff\xfe\x00", b"a\x00b", b""]
    writer.write([Quarantined("binance", T0 + n, "torn", payload) for n, payload in enumerate(payloads)])
    assert [row["payload"] for row in read(path, "quarantine")] == ['{"a":1', "päivää", b"\xff\xfe\x00", b"a\x00b", ""]


def test_what_is_known_of_an_instrument(writer: Writer, path: Path) -> None:
    """A market has a row from its first event on; its details come and change later, and it stays one row."""
    writer.write([trade()])
    assert read(path, "instruments") == [
        dict.fromkeys(["native", "base", "quote", "tick_size", "amount_step", "contract_size", "amount_unit", "status"])
        | {"exchange": "binance", "symbol": "BTC/USDT"}
    ]
    for status in ("break", "trading"):
        tick = Decimal("0.01000000")
        writer.instruments(
            [Instrument("binance", "BTC/USDT", "BTCUSDT", "BTC", "USDT", tick, None, Decimal(1), "BTC", status)]
        )
    assert [(row["tick_size"], row["status"]) for row in read(path, "instruments")] == [("0.01000000", "trading")]
    assert sql(path, "SELECT tick_size, contract_size FROM instruments") == [(0.01, 1.0)]
    assert writer.write([trade()]).duplicates == 1


def test_an_event_without_a_table_is_refused_whole(writer: Writer, path: Path) -> None:
    """An unknown kind of event is a bug, never a silent loss."""
    with pytest.raises(KeyError):
        writer.write([trade(), object()])  # type: ignore[list-item]
    assert writer.write([trade()]).stored == 1


def test_two_writers_share_a_file(path: Path) -> None:
    """Two writers that begin together on one new file both succeed, and each trade is stored once."""
    batches = [[trade(n, symbol=f"S{n % 7}/USDT") for n in range(start, start + 50)] for start in range(0, 1000, 50)]
    counts: list[Counts] = []

    def write() -> None:
        writer = Writer.open(path, patience=5)
        counts.extend(writer.write(batch) for batch in batches)
        writer.close()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts, Counts()) == Counts(1000, 1000, 0)
    assert sql(path, "SELECT count(*), count(DISTINCT symbol) FROM trades") == [(1000, 7)]


def test_others_read_while_one_writes(writer: Writer, path: Path) -> None:
    """Every written batch is visible to another connection at once: no transaction stays open."""
    for number in range(3):
        writer.write([trade(number)])
        assert sql(path, "SELECT count(*) FROM trades") == [(number + 1,)]


def test_closing_beside_a_reader(path: Path) -> None:
    """While another program reads, ``close`` still brings all rows into the file itself."""
    writer = Writer.open(path)
    with database(path) as db:
        writer.write([trade()])
        assert len(rows(db, "trades")) == 1
        writer.close()
        assert path.with_name(f"{path.name}-wal").stat().st_size == 0


def test_closing_leaves_one_file(path: Path) -> None:
    """After ``close`` the database is a single file, nothing beside it."""
    writer = Writer.open(path)
    writer.write([trade()])
    writer.close()
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert len(read(path, "trades")) == 1
