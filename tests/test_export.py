"""Exported files hold every digit, and are there only when they are whole."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trioagg.cli import main
from trioagg.model import Book, Candle, Event, Instrument, Quarantined, Ticker, Trade
from trioagg.store import COLUMNS, RECORDS, Writer

T0 = 1_769_860_800_000_000_000
"""2026-01-31, noon, UTC."""

SECOND = 10**9
DIGITS = "0.1234567890123456789012345678"


def trade(number: int, price: str = "60000.10", amount: str = "0.50", market: str = "binance BTC/USDT") -> Trade:
    exchange, symbol = market.split()
    at = T0 + number * SECOND
    return Trade(exchange, symbol, number, Decimal(price), Decimal(amount), "sell", at, at + 7)


def stored(*events: Event) -> None:
    """A database with these in it."""
    with closing(Writer.open(Path("trioagg.db"))) as writer:
        writer.write(events)


def typed(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in an empty folder, and what SIGTERM did before, it does again."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def files() -> set[str]:
    """What is in the folder beside the database."""
    return {path.name for path in Path().iterdir() if not path.name.startswith("trioagg.db")}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
def test_csv_has_the_text_that_the_exchange_sent(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Digit for digit, empty where nothing was sent, market after market."""
    stored(trade(2, DIGITS), trade(1, "60000.10", "1000000000000000000000"), trade(3, market="kraken ETH/USDT"))
    assert typed("export", "-o", name) == 0
    assert capsys.readouterr().out == f"3 rows in {name}\n"
    with gzip.open(name, "rt", newline="") if name.endswith(".gz") else Path(name).open(newline="") as file:
        lines = file.read().split("\n")
    assert lines == [
        "exchange,symbol,trade_id,price,amount,side,timestamp,received",
        f"binance,BTC/USDT,1,60000.10,1000000000000000000000,sell,{T0 + SECOND},{T0 + SECOND + 7}",
        f"binance,BTC/USDT,2,{DIGITS},0.50,sell,{T0 + 2 * SECOND},{T0 + 2 * SECOND + 7}",
        f"kraken,ETH/USDT,3,60000.10,0.50,sell,{T0 + 3 * SECOND},{T0 + 3 * SECOND + 7}",
        "",
    ]
    assert files() == {name}


def test_parquet_has_exact_decimals_and_integer_times(capsys: pytest.CaptureFixture[str]) -> None:
    """``decimal128(38, 18)`` and int64, under the database's names, as pandas reads them."""
    stored(trade(1), trade(2, "-0.000000000000000001", "99999999999999999999.5"), trade(3))
    assert typed("export", "-o", "a.parquet") == 0
    assert capsys.readouterr().out == "3 rows in a.parquet\n"
    table = pq.read_table("a.parquet")
    assert table.schema.field("price").type == table.schema.field("amount").type == pa.decimal128(38, 18)
    assert table.schema.field("timestamp").type == table.schema.field("received").type == pa.int64()
    frame = pd.read_parquet("a.parquet")
    assert [*frame.columns] == [*COLUMNS["trades"]]
    assert [*frame["price"]] == [Decimal("60000.10"), Decimal("-0.000000000000000001"), Decimal("60000.10")]
    assert [*frame["amount"]] == [Decimal("0.5"), Decimal("99999999999999999999.5"), Decimal("0.5")]
    assert [*frame["trade_id"]] == ["1", "2", "3"] and [*frame["timestamp"]] == [T0 + n * SECOND for n in (1, 2, 3)]


@pytest.mark.parametrize("price", [DIGITS, "100000000000000000000", "1234567890123456789012345678901234567890123"])
def test_decimals_that_fit_no_parquet_type_are_text(price: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column with one such value, at its end even, is text in every row; another column keeps its type."""
    monkeypatch.setattr("trioagg.views.parquet.GROUP", 2)
    stored(*map(trade, range(5)), trade(5, price))
    assert typed("export", "-o", "a.parquet") == 0
    table = pq.read_table("a.parquet")
    assert table.schema.field("amount").type == pa.decimal128(38, 18)
    assert table["price"].to_pylist() == ["60000.10"] * 5 + [price]


def test_every_kind_can_be_exported(capsys: pytest.CaptureFixture[str]) -> None:
    """With its columns, and with bytes where a frame was no text."""
    one = Decimal("1.50")
    market = ("binance", "BTC/USDT")
    stored(
        Ticker(*market, one, None, one, one, None, None, None, T0),
        Candle(*market, "1m", T0, one, one, one, one, one, closed=False, received=T0),
        Book(*market, ((one, one),), (), None, T0),
        Quarantined("binance", T0, "torn", b"\xff\x00"),
        Quarantined("binance", T0 + 1, "torn", '{"é'.encode()),
    )
    with closing(Writer.open(Path("trioagg.db"))) as writer:
        writer.instruments([Instrument(*market, "BTCUSDT", "BTC", "USDT", one, None, one, "BTC", "trading")])
    for kind in RECORDS:
        assert typed("export", kind, "-o", f"{kind}.parquet") == typed("export", kind, "-o", f"{kind}.csv") == 0
        assert tuple(pq.read_table(f"{kind}.parquet").column_names) == tuple(COLUMNS[kind])
        rows = [*csv.reader(Path(f"{kind}.csv").read_text().splitlines())]
        assert len(rows) == pq.read_metadata(f"{kind}.parquet").num_rows + 1
    assert pq.read_table("quarantine.parquet")["payload"].to_pylist() == [b"\xff\x00", '{"é'.encode()]
    (candle,) = pq.read_table("candles.parquet").to_pylist()
    assert (candle["open_time"], candle["close"], candle["closed"]) == (T0, one, 0)
    (quote,) = pq.read_table("ticker.parquet").to_pylist()
    assert (quote["bid"], quote["bid_size"], quote["timestamp"]) == (one, None, None)
    assert "0 rows in funding.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--from", "2026-01-31T12:00:02"], 8),
        (["--to", "2026-01-31T12:00:02Z"], 2),
        (["--from", "2026-01-31T12:00:02", "--to", "2026-01-31T13:00:05+01:00"], 3),
        (["--from", "2026-01-31T12:00:02.000000001", "--to", "2026-01-31 12:00:04,000000001"], 2),
        (["--from", "2026-01-31", "--to", "2026-02-01"], 10),
        (["--to", "2026-01-31"], 0),
        (["-s", "btc/usdt", "-e", "binance"], 10),
    ],
)
def test_a_range_of_times(words: list[str], count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """From a time on, up to another and without it, UTC unless an offset is told."""
    stored(*map(trade, range(10)))
    assert typed("export", "trades", *words, "-o", "a.csv") == 0
    assert capsys.readouterr().out == f"{count} rows in a.csv\n"
    assert Path("a.csv").read_bytes().count(b"\n") == count + 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "a.json"], ["'a.json'", ".csv, .csv.gz or .parquet"]),
        (["-o", ".csv"], ["'.csv'"]),
        (["-o", "none/a.csv"], ["'none/a.csv'", "no folder none"]),
        (["-o", "there.csv"], ["'there.csv'", "there already"]),
        ([], ["--output"]),
        (["-o", "a.csv", "--from", "yesterday"], ["--from", "'yesterday'", "2026-01-31"]),
        (["-o", "a.csv", "--to", "2026-01-31T12:00:00.1234567891"], ["--to", "9 digits"]),
        (["-o", "a.csv", "--to", "2300-01-01"], ["--to", "2262"]),
        (["-o", "a.csv", "--from", "2026-02-01", "--to", "2026-02-01"], ["--to", "'2026-02-01'", "later than --from"]),
        (["-o", "a.csv", "-s", "BTC/USDC"], ["'BTC/USDC'", "BTC/USDT"]),
        (["-o", "a.csv", "-e", "binanse"], ["'binanse'", "binance"]),
        (["trade", "-o", "a.csv"], ["'trade'", "trades"]),
        (["instruments", "-o", "a.csv", "--to", "2026-02-01"], ["instruments", "no times"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2; a file that was there is as it was."""
    stored(trade(1))
    Path("there.csv").write_text("mine")
    assert typed("export", *words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert all(word in err for word in told), err
    assert files() == {"there.csv"} and Path("there.csv").read_text() == "mine"


def test_no_database_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    """And no file is made."""
    assert typed("export", "-o", "a.csv") == 1
    assert "trioagg.db" in capsys.readouterr().err and files() == set()


def test_parquet_without_its_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, exit 2."""
    stored(trade(1))
    monkeypatch.delitem(sys.modules, "trioagg.views.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert typed("export", "-o", "a.parquet") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "trioagg[parquet]" in line and files() == set()


SLOW = """
import sys, time
from trioagg.cli import main
from trioagg.views import export

def slowly(*words, **options):
    for row in scan(*words, **options):
        yield row
        time.sleep(0.01)

scan, export.scan = export.scan, slowly
main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(number: signal.Signals) -> None:
    """Neither the file nor a part of it (a process of its own, which takes half a minute over its rows)."""
    stored(*map(trade, range(3000)))
    words = [sys.executable, "-c", SLOW, "export", "-o", "a.csv"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        try:
            while not files() and process.poll() is None:
                time.sleep(0.001)
            assert files() == {f"a.csv.{process.pid}.part"}
            process.send_signal(number)
            out, err = process.communicate(timeout=25)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (130, "", "")
    assert files() == set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX's")
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_full_disk_is_one_line_and_leaves_nothing(name: str) -> None:
    """Exit 1, and nothing that looks whole (a process of its own, which may write 20 kB)."""
    stored(*(trade(number, f"{number * 7919 % 99991}.{number}") for number in range(5000)))
    code = (
        "import resource, signal, sys; from trioagg.cli import main; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, "export", "-o", name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert files() == set()
