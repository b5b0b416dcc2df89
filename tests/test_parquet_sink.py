"""The Parquet sink: whole files, exact numbers, each row once, and nothing lost by a crash."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from told_rows import KINDS, LONG, MARKET, T0, draft, everything, expected, ordered, replayed, shortened, stored, trade

from trioagg import sinks
from trioagg.errors import SinkError, StoreError
from trioagg.model import Event, Instrument, Trade
from trioagg.sinks._journal import Journal
from trioagg.sinks.parquet import Options, ParquetDriver
from trioagg.store import COLUMNS, Counts, Row

SYMBOL = "binance/symbol=BTC%2FUSDT"
NUMBERS = {
    *("price", "amount", "bid", "bid_size", "ask", "ask_size", "last", "volume", "open", "high", "low", "close"),
    *("rate", "mark", "index"),
}


def rows(root: Path) -> dict[str, list[Row]]:
    """All rows of a folder by kind, under the columns of the database."""
    found: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for file in root.glob("*/date=*/**/*.parquet"):
        place = file.relative_to(root).parts
        parts = dict(part.split("=") for part in place if "=" in part)
        told = {"exchange": parts["exchange"], "symbol": unquote(parts.get("symbol", ""))}
        kind = place[0].removesuffix("_text")
        found[kind] += [{**told, **row} for row in pq.ParquetFile(file).read().to_pylist()]
    return plain(found)


def plain(told: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Rows with numbers as text, without the zeros that a type may have added, and payloads as bytes."""
    return {
        kind: ordered([{name: _plain(name, row[name]) for name in COLUMNS[kind]} for row in found])
        for kind, found in told.items()
    }


def _plain(name: str, value: Any) -> object:
    if name in NUMBERS and value is not None:
        text = f"{Decimal(value):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return value.encode() if name == "payload" and isinstance(value, str) else value


def files(root: Path) -> list[str]:
    """All that is in a folder, the journal left out."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "_journal")


def driver(root: Path, **options: Any) -> ParquetDriver:
    """The sink without its thread."""
    return ParquetDriver(root, Options(**options))


def trades(*numbers: int) -> list[Event]:
    return [trade(number) for number in numbers]


async def test_every_kind_is_there_as_the_database_has_it(tmp_path: Path) -> None:
    """No digit is lost: a number that fits no decimal is text, and its row is in a data set of its own."""
    batch = everything()
    async with sinks.connect(f"parquet:///{tmp_path / 'a'}") as sink:
        assert await sink.write(batch, draft(batch)) == Counts(19, 0, 2)
        assert files(tmp_path / "a") == []
    assert rows(tmp_path / "a") == plain(expected(tmp_path / "a.db", batch))
    (odd,) = pq.ParquetFile(next((tmp_path / "a").glob("trades_text/**/*.parquet"))).read().to_pylist()
    assert (odd["trade_id"], odd["price"]) == ("a-1", str(LONG))
    (file,) = (tmp_path / "a").glob(f"trades/date=2026-01-31/exchange={SYMBOL}/*.parquet")
    opened = pq.ParquetFile(file)
    assert opened.schema_arrow.field("price").type == pa.decimal128(38, 18)
    assert opened.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("options", [{"rows": 1}, {"seconds": 0, "files": 2}, {"rows": 4}, {}])
def test_the_same_again_adds_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    """Whole or in parts, in one run or in three, however often files are made: one file, and each row once."""
    batch = everything()
    for _ in range(2):
        sink = driver(tmp_path / "a", **options)
        for part in (batch, batch, batch[:7], batch[7:], batch[5:8]):
            sink.write(part)
        sink.close()
        assert rows(tmp_path / "a") == plain(expected(tmp_path / "a.db", batch))
        assert all(len([*folder.parent.glob("*.parquet")]) == 1 for folder in (tmp_path / "a").rglob("*.parquet"))


async def test_a_recording_is_the_same_in_the_files_and_in_the_database(captures: Path, tmp_path: Path) -> None:
    """Row for row, and replayed twice it is still the same (a second: a real recording)."""
    recording, path = shortened(captures, tmp_path), tmp_path / "a.db"
    url = f"parquet:///{tmp_path / 'a'}"
    outcome = await replayed(recording, path, url)
    assert outcome.problems == [] and outcome.beside[url].lost == 0
    before = files(tmp_path / "a")
    assert rows(tmp_path / "a") == plain(stored(path)) and len(stored(path)["trades"]) > 100
    await replayed(recording, path, f"{url}?rows=100&files=3")
    assert rows(tmp_path / "a") == plain(stored(path)) and len(files(tmp_path / "a")) == len(before)


async def test_three_other_programs_read_it(tmp_path: Path) -> None:
    """pandas, DuckDB and Polars find exchange, symbol and date in the folders' names, and exact decimals."""
    batch = [*trades(1, 2, 3), trade(9, market=("kraken", "ETH/USD:USD"))]
    async with sinks.connect(f"parquet:///{tmp_path}") as sink:
        await sink.write(batch, draft(batch))
    told = {("binance", "BTC/USDT", n) for n in "123"} | {("kraken", "ETH/USD:USD", "9")}

    frame = pd.read_parquet(tmp_path / "trades")
    assert {*zip(frame["exchange"], frame["symbol"], frame["trade_id"], strict=True)} == told
    assert {*frame["price"]} == {Decimal("60000.10")} and {*frame["date"].astype(str)} == {"2026-01-31"}

    lazy = pl.scan_parquet(f"{tmp_path}/trades/**/*.parquet", hive_partitioning=True).collect()
    assert {*lazy.select("exchange", "symbol", "trade_id").iter_rows()} == told
    assert {*lazy["price"]} == {Decimal("60000.10")}

    with duckdb.connect() as db:
        source = f"read_parquet('{tmp_path}/trades/**/*.parquet', hive_partitioning = true)"
        found = db.execute(f"SELECT exchange, symbol, trade_id FROM {source} WHERE date = '2026-01-31'").fetchall()
        assert {*found} == told
        assert db.execute(f"SELECT max(price), sum(amount) FROM {source}").fetchall() == [(Decimal("60000.10"), 2)]


def test_files_are_made_of_so_many_rows_or_after_so_long(tmp_path: Path) -> None:
    """And are one again as soon as there are ``files`` of them."""
    sink = driver(tmp_path, rows=2, files=3)
    counts = []
    for number in range(0, 10, 2):
        sink.write(trades(number, number + 1))
        counts.append(len(files(tmp_path)))
    assert counts == [0, 1, 2, 1, 2]
    sink.close()
    assert len(files(tmp_path)) == 1
    hasty = driver(tmp_path / "b", seconds=0)
    for number in range(3):
        hasty.write(trades(number))
    assert len(files(tmp_path / "b")) == 2
    hasty.close()


def test_what_a_crash_leaves_in_the_journal_is_in_the_files_of_the_next_run(tmp_path: Path) -> None:
    """Whole batches are; one that was torn never was, and may be offered again."""
    sink = driver(tmp_path)
    sink.write(trades(1, 2))
    sink._journal.close()
    with (tmp_path / "_journal").open("ab") as journal:
        journal.write(b"\x00\x00\x00\x09\x00\x00\x00\x00torn")
    again = driver(tmp_path)
    again.write(trades(3))
    assert [row["trade_id"] for row in rows(tmp_path)["trades"]] == ["1", "2"]
    again.close()
    assert [row["trade_id"] for row in rows(tmp_path)["trades"]] == ["1", "2", "3"]


def test_a_crash_between_files_and_journal_makes_the_same_files_again(tmp_path: Path) -> None:
    """Under the same names."""
    sink = driver(tmp_path)
    sink.write(everything())
    journal = (tmp_path / "_journal").read_bytes()
    sink.close()
    before = files(tmp_path)
    (tmp_path / "_journal").write_bytes(journal)
    driver(tmp_path).close()
    assert files(tmp_path) == before


def test_an_unfinished_file_of_a_crash_is_taken_away(tmp_path: Path) -> None:
    """Ours alone."""
    (tmp_path / "trades").mkdir()
    (tmp_path / "trades" / "5-ab.parquet.77.part").write_bytes(b"PAR1")
    (tmp_path / "mine.part").write_bytes(b"mine")
    driver(tmp_path).close()
    assert files(tmp_path) == ["mine.part"]


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    """The second is told so."""
    sink = driver(tmp_path)
    with pytest.raises(StoreError, match="in use by another trioagg"):
        driver(tmp_path)
    sink.close()
    driver(tmp_path).close()


async def test_instruments_are_listed_and_the_newest_counts(tmp_path: Path) -> None:
    """Others stay as they were."""
    one = Decimal("0.10")
    btc = Instrument(*MARKET, "BTCUSDT", "BTC", "USDT", one, None, Decimal(1), "BTC", "trading")
    eth = Instrument("binance", "ETH/USDT", "ETHUSDT", "ETH", "USDT", one, None, Decimal(1), "ETH", "trading")
    halted = Instrument(*MARKET, "BTCUSDT", "BTC", "USDT", one, None, Decimal(1), "BTC", "halted")
    async with sinks.connect(f"parquet:///{tmp_path}") as sink:
        await sink.describe([btc, eth])
        await sink.describe([halted])
    found = pd.read_parquet(tmp_path / "instruments")
    assert {*zip(found["symbol"], found["status"], found["tick_size"], strict=True)} == {
        ("BTC/USDT", "halted", "0.10"),
        ("ETH/USDT", "trading", "0.10"),
    }


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """At once, and for a person to mend."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as told:
        driver(tmp_path / "file" / "a")
    assert str(tmp_path / "file") in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, SinkError), (errno.EROFS, StoreError)])
def test_a_disk_that_fills_up_may_have_room_later(number: int, kind: type[Exception], tmp_path: Path) -> None:
    """A folder that became read-only stays so."""
    sink = driver(tmp_path)
    with pytest.raises(kind, match=os.strerror(number)), sink._translated():
        raise OSError(number, os.strerror(number))
    sink.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX's")
def test_a_full_disk_is_one_line_and_leaves_only_whole_files(tmp_path: Path) -> None:
    """Batches that were written are there at the next start, the refused one is not (a process of its own, which may
    write 20 kB into a file: half a second).
    """
    code = """
import resource, signal, sys
from pathlib import Path
from told_rows import trade
from trioagg.errors import SinkError
from trioagg.sinks.parquet import Options, ParquetDriver
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sink, taken = ParquetDriver(Path(sys.argv[1]), Options()), 0
try:
    while taken < 1000:
        sink.write([trade(taken * 10 + n) for n in range(10)])
        taken += 1
except SinkError as error:
    print(taken, error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    taken, _, line = done.stdout.strip().partition(" ")
    assert os.strerror(errno.EFBIG) in line and "\n" not in line
    driver(tmp_path).close()
    assert len(rows(tmp_path)["trades"]) == int(taken) * 10 > 0


def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """Every batch that was told to be written is in the files of the next run (a process: half a second)."""
    code = """
import sys
from pathlib import Path
from told_rows import trade
from trioagg.sinks.parquet import Options, ParquetDriver
sink, number = ParquetDriver(Path(sys.argv[1]), Options(rows=40)), 0
while True:
    sink.write([trade(number)])
    print(number, flush=True)
    number += 1
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        told = [int(process.stdout.readline()) for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    driver(tmp_path).close()
    found = {int(row["trade_id"]) for row in rows(tmp_path)["trades"]}
    assert {*told} <= found <= {*told, told[-1] + 1}


def test_a_journal_that_cannot_take_a_batch_keeps_the_others(tmp_path: Path) -> None:
    """What a failed attempt has left is cut off by the next."""
    journal = Journal(tmp_path / "j")
    journal.append(b"one")
    with (tmp_path / "j").open("ab") as torn:
        torn.write(b"half of a batch")
    journal.append(b"two")
    assert [*journal.batches()] == [b"one", b"two"] and not journal.empty
    journal.clear()
    assert [*journal.batches()] == [] and journal.empty
    journal.close()


def test_trades_of_one_id_from_two_roads_are_one_row(tmp_path: Path) -> None:
    """The one that arrived first stays."""
    late = Trade(*MARKET, 1, Decimal("60000.10"), Decimal("0.5"), "sell", T0 + 1, T0 + 500)
    sink = driver(tmp_path, rows=1)
    for event in (late, trade(1), late):
        sink.write([event])
    sink.close()
    assert [row["received"] for row in rows(tmp_path)["trades"]] == [T0 + 6]
