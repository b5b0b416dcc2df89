"""``trioagg verify`` over real files: exit 0 where the ledger names exactly what the rows lack, 1 on any difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from far_end import ask
from plain_sql import plain

from trioagg.cli import main
from trioagg.integrity.ledger import Ask, Entries
from trioagg.model import Gap, GapStatus, Part, Trade, TradeId
from trioagg.store import Writer, database, examine

ONE = Decimal(1)
UNNAMED, STORED, UNFILLED = (
    "missing, not in the ledger",
    "in the ledger, but stored",
    "filled in the ledger, but not stored",
)


def trades(*ids: TradeId, exchange: str = "binance", symbol: str = "BTC/USDT") -> list[Any]:
    return [Trade(exchange, symbol, number, ONE, ONE, "buy", 1, 1) for number in ids]


def gap(*parts: tuple[int, int, GapStatus], exchange: str = "binance", symbol: str = "BTC/USDT") -> Gap:
    """An entry of the ledger."""
    whole = tuple(Part(first, last, status, None if status == "open" else 2) for first, last, status in parts)
    return Gap(exchange, symbol, "trades", whole[0].first, whole[-1].last, "not received", 1, whole)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is not there yet, in the folder where commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "a.db"


@frozen
class Told:
    """A ledger that says what it is told to say."""

    gaps: Sequence[Gap]

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """It, whatever the store has."""
        return Entries(self.gaps)


def write(path: Path, events: list[Any], *gaps: Gap) -> None:
    with closing(Writer.open(path)) as writer:
        writer.write(events, Told(gaps))


def typed(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(["verify", *words])
    return int(ended.value.code or 0)


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[tuple[Any, ...]]]:
    """The exit code, and each difference as (first, last, count, problem) or, of another market, with its name."""
    code = typed("-d", str(path), "--format", "json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(list(row) == ["exchange", "symbol", "channel", "first", "last", "count", "problem"] for row in rows)
    return code, [tuple(row.values())[3:] for row in rows]


def test_a_whole_record_agrees(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In any order of arrival, with an empty ledger; JSON has no line for what is well."""
    write(path, trades(3, 1, 2, -1, 0))

    assert verified(path, capsys) == (0, [])
    assert typed("-d", str(path)) == 0
    assert "markets: 1, trades: 5, missing: 0" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["open", "unfillable"])
def test_a_hole_that_is_named_agrees(path: Path, status: GapStatus, capsys: pytest.CaptureFixture[str]) -> None:
    """Something is missing, and the ledger says exactly that; what it names beyond the edges is no difference."""
    filled = gap((8, 8, "filled"), (9, 9, status))
    write(path, trades(1, 2, 3, 7, 8, 10), gap((4, 6, status)), filled, gap((11, 20, status)), gap((-5, 0, status)))

    assert verified(path, capsys) == (0, [])
    assert typed("-d", str(path)) == 0
    assert "missing: 4)" in capsys.readouterr().out


def test_a_hole_that_is_not_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run of it is a difference, with its bounds as text."""
    write(path, trades(1, 3, 9), gap((5, 6, "open")))

    unnamed = [("2", "2", 1, UNNAMED), ("4", "4", 1, UNNAMED), ("7", "8", 2, UNNAMED)]
    assert verified(path, capsys) == (1, unnamed)


@pytest.mark.parametrize("status", ["open", "unfillable"])
def test_a_ledger_that_names_what_is_stored(path: Path, status: GapStatus, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the ids that are there are a difference."""
    write(path, trades(1, 2, 3, 7), gap((3, 6, status)))

    assert verified(path, capsys) == (1, [("3", "3", 1, STORED)])


def test_a_filled_part_that_is_not_stored(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between the edges or beyond them."""
    write(path, trades(1, 5), gap((2, 3, "filled"), (4, 4, "open")), gap((7, 8, "filled")))

    assert verified(path, capsys) == (1, [("2", "3", 2, UNFILLED), ("7", "8", 2, UNFILLED)])


def test_each_market_is_its_own(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger of one says nothing of another, and differences name the market."""
    write(path, [*trades(1, 3), *trades(1, 3, symbol="ETH/USDT"), *trades(1, 2, 3, exchange="kraken")])
    write(path, trades(1), gap((2, 2, "open")), gap((2, 2, "open"), exchange="kraken"))

    assert typed("-d", str(path)) == 1
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["exchange", "symbol", "channel", "first", "last", "count", "problem"]
    assert [line.split(maxsplit=6) for line in lines] == [
        ["binance", "ETH/USDT", "trades", "2", "2", "1", UNNAMED],
        ["kraken", "BTC/USDT", "trades", "2", "2", "1", STORED],
    ]


def test_ids_that_do_not_count_are_no_matter(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts beside numbers, exchanges whose ids only grow, and exchanges that this version does not know."""
    write(path, [*trades(1, 2, "1f8a-22", "z", 2**70), *trades(5, 900, exchange="htx"), *trades(5, 9, exchange="old")])

    assert verified(path, capsys) == (0, [])


def test_ids_of_every_size(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To both ends of 64 bits, digit for digit."""
    write(path, trades(-(2**63), 2**63 - 1))

    hole = (str(1 - 2**63), str(2**63 - 2), 2**64 - 2, UNNAMED)
    assert verified(path, capsys) == (1, [hole])


def test_a_writer_beside_it_is_not_seen(path: Path) -> None:
    """Before every look into the file a writer fills a bit of the hole; what is read is of one moment all the same."""
    write(path, trades(1, 100), gap((2, 99, "open")))
    asked: list[str] = []

    def fill(_: object, statement: str, _values: object) -> bool:
        asked.append(statement)
        last = len(asked) + 1
        writer.write(trades(*range(2, last + 1)), Told([gap((2, last, "filled"), (last + 1, 99, "open"))]))
        return True

    with closing(Writer.open(path)) as writer, database(path) as db:
        db.set_exec_trace(fill)
        (market,) = examine(db, ["binance"]).markets
        db.set_exec_trace(None)
        (later,) = examine(db, ["binance"]).markets

    lowest, (end, _) = market.stored
    assert (market.filled, market.named) == ([(2, lowest[1])], [(lowest[1] + 1, end - 1)])
    assert len(asked) >= 5 and later.filled == [(2, len(asked) + 1)] != market.filled


def test_nothing_is_written(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is the same, byte for byte, whatever was found."""
    write(path, trades(1, 3))
    before = path.read_bytes()

    assert verified(path, capsys)[0] == 1
    assert path.read_bytes() == before


def torn(path: Path) -> None:
    """Overwrites the first page of the trades, as a bad disk may."""
    ((root,),) = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'trade'")
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 64)


def bent(path: Path) -> None:
    """Makes the schema forbid what is stored, as a careless program may."""
    with closing(plain(path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'cause TEXT', 'cause INTEGER') WHERE name = 'gap'")


@pytest.mark.parametrize(("damage", "word"), [(torn, ""), (bent, "non-INTEGER value in gap.cause")])
def test_a_damaged_file_is_a_difference(
    path: Path, damage: Callable[[Path], None], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What SQLite's own check stumbles over or finds is told, and no row of such a file is believed."""
    write(path, trades(1, 3), gap((2, 2, "open")))
    damage(path)

    code, [row] = verified(path, capsys)
    assert code == 1
    assert row[:3] == (None, None, None)
    assert row[3].startswith(f"the file is damaged: {word}")
    assert typed("-d", str(path)) == 1
    assert "-         -       -        -" in capsys.readouterr().out


def test_no_database_is_one_line_and_exit_1(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And none is created."""
    assert typed("-d", str(path)) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "no database at" in err and not path.exists()


def test_an_empty_database_agrees(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No rows lack nothing."""
    write(path, [])

    assert verified(path, capsys) == (0, [])
