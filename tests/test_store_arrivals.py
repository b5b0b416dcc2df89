"""Events without ids are kept by when they arrived: every one, once, in order, however batches are cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest
from plain_sql import plain

from trioagg.model import Book, Event, Funding, Liquidation, OpenInterest, Quarantined, Ticker, Trade
from trioagg.store import Counts, Writer, database, follow, rows
from trioagg.store.batches import REMEMBERED

T0 = 1_723_161_253_937_085_768


def ticker(bid: str = "1.0", *, received: int = T0, symbol: str = "BTC/USDT") -> Ticker:
    return Ticker("binance", symbol, Decimal(bid), None, Decimal(2), Decimal(3), None, None, None, received)


def book(bid: str = "1.0", *, received: int = T0, symbol: str = "BTC/USDT") -> Book:
    return Book("binance", symbol, ((Decimal(bid), Decimal("0.50")), (Decimal("0.9"), Decimal(7))), (), None, received)


def funding(rate: str = "1.0", *, received: int = T0, symbol: str = "BTC/USDT") -> Funding:
    return Funding("binance", symbol, Decimal(rate), None, Decimal("2.50"), T0 + 9, T0, received)


def open_interest(amount: str = "1.0", *, received: int = T0, symbol: str = "BTC/USDT") -> OpenInterest:
    return OpenInterest("binance", symbol, Decimal(amount), None, received)


def liquidation(price: str = "1.0", *, received: int = T0, symbol: str = "BTC/USDT") -> Liquidation:
    return Liquidation("binance", symbol, "sell", Decimal(price), Decimal("0.10"), T0, received)


NUMBERS = {"ticker": "bid", "book": "bids", "funding": "rate", "open_interest": "amount", "liquidations": "price"}
"""The kinds of events without ids, and the column that tells one from another here."""

Make = Callable[..., Event]
ARRIVING: list[tuple[str, Make]] = list(
    zip(NUMBERS, (ticker, book, funding, open_interest, liquidation), strict=True),
)
arriving = pytest.mark.parametrize(("kind", "make"), ARRIVING, ids=list(NUMBERS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trioagg.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Writer.open(path)) as opened:
        yield opened


def read(path: Path, kind: str) -> list[dict[str, Any]]:
    with database(path) as db:
        return rows(db, kind, limit=1000)


def sql(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a person's own connection answers."""
    with closing(plain(path)) as db:
        return db.execute(query).fetchall()


def numbers(path: Path, kind: str) -> list[str]:
    """The numbers that the rows of a kind were made with, in their order."""
    cells = [row[NUMBERS[kind]] for row in read(path, kind) if row["symbol"] == "BTC/USDT"]
    return [json.loads(cell)[0][0] for cell in cells] if kind == "book" else cells


def test_counts_of_every_kind(writer: Writer) -> None:
    """Stored + duplicates + quarantined is the length of a batch of every kind, and of the same batch again."""
    batch = [make(number) for _, make in ARRIVING for number in ("1", "1", "2")]
    batch.append(Quarantined("binance", T0, "torn", b"{"))
    assert writer.write(batch) == Counts(15, 0, 1)
    assert writer.write(batch) == Counts(0, 15, 1)


@arriving
def test_events_of_one_instant_are_all_kept(writer: Writer, path: Path, kind: str, make: Make) -> None:
    """Events without ids that one read brought are all rows, in their order, though the batch was cut between them."""
    assert writer.write([make("1"), make("1"), make("2")]).stored == 3
    assert writer.write([make("3"), make("9", symbol="ETH/USDT"), make("5", received=T0 + 1)]).stored == 3
    assert writer.write([make("4")]).stored == 1
    assert numbers(path, kind) == ["1", "1", "2", "3", "4", "5"]


@arriving
def test_a_replay_adds_nothing(writer: Writer, path: Path, kind: str, make: Make) -> None:
    """Another writer that is given the same events in the same order finds them all there, however they are cut."""
    batch = [make("1"), make("2"), make("3"), make("4", received=T0 + 1)]
    writer.write(batch)
    with closing(Writer.open(path)) as again:
        assert [again.write(part).duplicates for part in (batch[:1], batch[1:3], batch[3:])] == [1, 2, 1]
    assert numbers(path, kind) == ["1", "2", "3", "4"]


@arriving
def test_a_batch_offered_again_in_a_replay(writer: Writer, path: Path, kind: str, make: Make) -> None:
    """A batch of a replay that is offered twice is known again, though more rows of its instant are stored."""
    writer.write([make("1"), make("2")])
    with closing(Writer.open(path)) as again:
        for part in ([make("1")], [make("1")], [make("2")]):
            assert again.write(part) == Counts(0, 1, 0)
        assert again.write([make("3")]) == Counts(1, 0, 0)
    assert numbers(path, kind) == ["1", "2", "3"]


def test_kinds_do_not_count_each_other(writer: Writer, path: Path) -> None:
    """Events of several kinds at one instant of one market are numbered each kind by itself."""
    for number in ("1", "2"):
        for _, make in ARRIVING:
            assert writer.write([make(number)]).stored == 1
    for kind, make in ARRIVING:
        with closing(Writer.open(path)) as again:
            assert again.write([make("1"), make("2")]) == Counts(0, 2, 0)
        assert numbers(path, kind) == ["1", "2"]


@arriving
def test_a_writer_forgets_old_instants(writer: Writer, kind: str, make: Make) -> None:
    """What a writer keeps in mind of instants is bounded, and so old that it tells nothing any more."""
    writer.write([make(received=n) for n in range(2 * REMEMBERED)])
    assert writer.write([make("7", received=0)]) == Counts(0, 1, 0)
    assert writer.write([make("7", received=REMEMBERED)]) == Counts(0, 1, 0)
    assert writer.write([make("7", received=2 * REMEMBERED - 1)]) == Counts(1, 0, 0)


def test_what_was_refused_is_not_counted(writer: Writer, path: Path) -> None:
    """Events of a batch that was not written take no ordinals: offered again they are rows like any."""
    bad = Trade("binance", "BTC/USDT", 1, Decimal(1), Decimal(1), None, T0, T0)  # type: ignore[arg-type]
    with pytest.raises(apsw.ConstraintError):
        writer.write([ticker("1"), bad])
    assert writer.write([ticker("1"), ticker("2")]).stored == 2
    assert numbers(path, "ticker") == ["1", "2"]


def test_a_book_keeps_every_digit(writer: Writer, path: Path) -> None:
    """Both sides are JSON, best first, each number a string of all its digits and no exponent; no level is ``[]``."""
    asks = ((Decimal("2E-8"), Decimal("123456789012345678901234567890.10")), (Decimal("3.00"), Decimal("0E-3")))
    writer.write([Book("binance", "BTC/USDT", (), asks, T0, T0 + 1)])
    sides = ("[]", '[["0.00000002","123456789012345678901234567890.10"],["3.00","0.000"]]')
    assert sql(path, "SELECT bids, asks, timestamp, received FROM books") == [(*sides, T0, T0 + 1)]
    assert [(row["bids"], row["asks"]) for row in read(path, "book")] == [sides]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ('rate, mark, "index", due, timestamp, received FROM funding', (-0.0001, None, 2.5, T0 + 9, T0, T0)),
        ("amount, timestamp, received FROM open_interest", (1000.5, None, T0)),
        ("side, price, amount, timestamp, received FROM liquidations", ("sell", 100.25, 0.1, T0, T0)),
    ],
)
def test_derivatives_in_plain_sql(writer: Writer, path: Path, query: str, told: tuple[object, ...]) -> None:
    """Funding, open interest and liquidations are numbers to a person's SQL, and null where nothing was told."""
    writer.write([funding("-0.00010000"), open_interest("1000.50"), liquidation("100.25")])
    assert sql(path, f"SELECT {query}") == [told]


@arriving
def test_the_newest_received(writer: Writer, path: Path, kind: str, make: Make) -> None:
    """Rows are ordered and followed by when they were received, all markets together, and a late market too."""
    writer.write([make(received=T0 + n, symbol=f"{'AB'[n % 2]}/C") for n in range(6)])
    with database(path) as db:
        assert [row["received"] for row in rows(db, kind, limit=3)] == [T0 + 3, T0 + 4, T0 + 5]
        assert [row["received"] for row in rows(db, kind, symbols=["A/C"], limit=2)] == [T0 + 2, T0 + 4]
        steps = follow(db, kind, limit=1)
        assert [row["received"] for row in next(steps)] == [T0 + 5]
        writer.write([make("2", received=T0 + 5, symbol="B/C")])
        writer.write([make(received=T0 + 6, symbol="D/C")])
        assert [row["symbol"] for row in next(steps)] == ["B/C", "D/C"]
        assert next(steps) == []
