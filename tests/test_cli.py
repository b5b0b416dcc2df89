"""The commands as a user types them: exit codes, one-line answers, and what goes where."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from far_end import ask, ids

from trioagg.cli import main
from trioagg.store import Writer

QUICK = ["run", "--simulated", "--duration", "0.4", "--no-display"]


def typed(words: list[str]) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, without our settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TRIOAGG_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--exchange", "binanse"], ["--exchange", "'binanse'", "binance"]),
        (["run", "--symbol", "BTCUSDT"], ["--symbol", "'BTCUSDT'", "BTC/USDT"]),
        (["run", "--channel", "trade"], ["--channel", "'trade'", "trades"]),
        (["run", "--interval", "soon"], ["--interval", "'soon'", "number"]),
        (["run", "--duration", "-1"], ["--duration", "'-1'", "at least 0"]),
        (["run", "--duration", "nan"], ["--duration", "'nan'"]),
        (["run", "--intervl", "5"], ["--intervl", "--interval"]),
        (["run", "--log-level", "loud"], ["--log-level", "'loud'", "DEBUG"]),
        (["run", "--sink", "kafak://x"], ["--sink", "'kafak'", "sqlite"]),
        (["run", "--config", "none.ini"], ["none.ini", "No such file"]),
        (["run", "--record", __file__], ["--record", "test_cli.py", "folder"]),
        (["run", "-e", "binance", "-e", "krakn"], ["bad value 'krakn'", "kraken"]),
        (["run", "-s", "\udcff/USDT"], ["--symbol", "udcff"]),
        (["show", "-n", "99999999999999999999"], ["--limit", "'99999999999999999999'"]),
        (["show", "--format", "xml"], ["--format", "'xml'", "'csv'"]),
        (["show", "trade"], ["kind", "'trade'", "'trades'"]),
        (["load", "--from", "kafka://localhost/a"], ["--to"]),
        (["simulate", "--host", "a" * 300], ["--host"]),
        (["run", "--simulated", "--symbol", "BTC/USDX"], ["binance", "'BTC/USDX'", "BTC/USDT"]),
        (["run", "--serve", "localhost"], ["--serve", "'localhost'", "HOST:PORT"]),
        (["run", "--serve", "127.0.0.1:70000"], ["--serve", "'127.0.0.1:70000'", "65535"]),
        (["run", "--serve", "::1:80"], ["--serve", "'::1:80'", "[::1]:PORT"]),
        (["run", "--simulated", "--serve", "192.0.2.1:0"], ["--serve", "'192.0.2.1'", "assign"]),
        (["run", "--shard", "6/5"], ["--shard", "'6/5'", "2/5"]),
        (["run", "--shard", "0/5"], ["--shard", "'0/5'", "2/5"]),
        (["run", "--shard", "x"], ["--shard", "'x'", "2/5"]),
        (["rnu"], ["rnu", "run"]),
        ([], ["Missing command", "trioagg --help"]),
        (["show", "tikcer"], ["tikcer", "ticker"]),
        (["show", "--limit", "0"], ["--limit", "'0'"]),
        (["replay", "none.jsonl"], ["none.jsonl", "no such file"]),
        (["replay"], ["FILE"]),
        (["simulate", "--fault", "gable"], ["gable", "garble"]),
        (["simulate", "--exchange", "binanse"], ["binanse", "binance"]),
        (["init", "no/such/folder.ini"], ["folder.ini"]),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    words: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the bad value and the nearest good ones; nothing on standard output, no traceback."""
    assert typed(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert all(word in err for word in told), err


@pytest.mark.parametrize("words", [["show"], ["show", "trades", "--follow"], ["gaps"]])
def test_no_database_is_one_line_and_exit_1(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And none is created."""
    assert typed([*words, "--database", "none.db"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "none.db" in err and not Path("none.db").exists()


def test_a_run_and_what_it_left(capsys: pytest.CaptureFixture[str]) -> None:
    """The account on standard error is what the database holds; show gives exact decimals."""
    assert typed([*QUICK, "-d", "a.db", "--log-format", "json"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    last = json.loads(err.splitlines()[-1])
    counts = {name: last[name] for name in ("received", "stored", "duplicates", "quarantined", "conflated", "lost")}
    assert counts["received"] == sum(counts.values()) - counts["received"] > 0
    rows = ask(Path("a.db"), "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers)")
    assert rows == [(counts["stored"],)] and last["open_gaps"] == 0

    assert typed(["show", "trades", "-d", "a.db", "--format", "json", "-n", "3", "-s", "btc/usdt"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["trade_id"] for row in shown] == [str(number) for number in ids_of("BTC/USDT")[-3:]]
    assert all(isinstance(row["price"], str) and "." in row["price"] for row in shown)

    assert typed(["show", "-d", "a.db", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("exchange,symbol,bid,bid_size,")
    assert typed(["gaps", "-d", "a.db"]) == 0


def ids_of(symbol: str) -> list[int]:
    """The stored ids of one market."""
    sql = f"SELECT CAST(trade_id AS INTEGER) FROM trades WHERE symbol = '{symbol}' ORDER BY 1"
    return [row[0] for row in ask(Path("a.db"), sql)]


def test_the_summary_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """A table of prices at the end, and nothing else there."""
    assert typed(["run", "--simulated", "--duration", "0.4", "-d", "a.db"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["exchange", "symbol", "last", "bid", "ask", "spread", "volume", "24h", "age", "msg/s"]
    assert {line.split()[1] for line in lines} == {"BTC/USDT", "ETH/USDT"}


def test_open_gaps_are_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    """As long as something is missing."""
    line = '{"exchange":"binance","received":%d,"source":"wss://x/ws","payload":"%s"}\n'
    trade = (
        '{\\"e\\":\\"trade\\",\\"s\\":\\"BTCUSDT\\",\\"t\\":%d,\\"p\\":\\"1\\",\\"q\\":\\"1\\",\\"T\\":5,\\"m\\":true}'
    )
    Path("a.jsonl").write_text("".join(line % (number, trade % number) for number in (1, 2, 5)))
    Path("b.jsonl").write_text("".join(line % (number, trade % number) for number in (3, 4)))

    assert typed(["replay", "a.jsonl", "-d", "a.db"]) == 0
    capsys.readouterr()
    assert typed(["gaps", "-d", "a.db", "--format", "json"]) == 1
    (gap,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (gap["first_missing"], gap["last_missing"], gap["missing"], gap["status"]) == ("3", "4", 2, "open")

    assert typed(["replay", "b.jsonl", "-d", "a.db"]) == 0
    assert typed(["gaps", "-d", "a.db"]) == 0
    assert ids(Path("a.db")) == [1, 2, 3, 4, 5]


def test_init_writes_a_file_that_is_read_and_never_overwrites(capsys: pytest.CaptureFixture[str]) -> None:
    """What it wrote is taken as it is; a second time is refused."""
    assert typed(["init"]) == 0
    assert typed([*QUICK, "-d", "a.db"]) == 0
    capsys.readouterr()
    assert typed(["init"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_exchanges_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """With their channels and what each can prove."""
    assert typed(["exchanges", "--format", "json"]) == 0
    listed = {entry["exchange"]: entry for entry in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed["binance"]["proofs"]["trades"] == "contiguous id"
    assert typed(["exchanges"]) == 0
    assert "binance" in capsys.readouterr().out


def command(*words: str) -> list[str]:
    """The program in a process of its own."""
    return [sys.executable, "-m", "trioagg", *words]


HEAVY = {"pandas", "httpx", "trio", "trio_websocket", "structlog", "pydantic"}


def loaded(*words: str) -> set[str]:
    """The modules that a command loads."""
    code = (
        "import sys\nfrom trioagg.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    """--help and --version start fast: no pandas, no httpx, no database driver, no Trio."""
    assert not loaded("--help") & {*HEAVY, "apsw", "trioagg.settings"}
    assert not loaded("--version") & {*HEAVY, "apsw", "trioagg.settings"}


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_rows_are_shown_without_what_collects_them(form: str) -> None:
    """No form loads what writes, what runs, or what typer would take options with; nor pandas where no row is."""
    Writer.open("a.db").close()
    there = loaded("show", "trades", "-d", "a.db", "-n", "5", "--format", form)
    assert not there & HEAVY
    assert not there & {f"trioagg.{name}" for name in ("logs", "store.write", "store.candles", "transport", "pipeline")}


@contextmanager
def spawned(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that runs while the block lasts; a test that fails leaves nothing behind."""
    with subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_full_flow_loses_nothing(number: signal.Signals) -> None:
    """At some thousand messages a second: exit 0, lost=0, and the rows are what the account says."""
    with spawned("simulate", "--rate", "6000", "-s", "BTC/USDT", "-s", "ETH/USDT") as far_end:
        assert far_end.stdout is not None
        urls = far_end.stdout.readline().split()
        environment = {
            **os.environ,
            "TRIOAGG_EXCHANGE_BINANCE_REST_URL": urls[2],
            "TRIOAGG_EXCHANGE_BINANCE_WS_URL": urls[4],
        }
        with spawned("run", "-d", "a.db", "--log-format", "json", env=environment) as run:
            assert run.stderr is not None
            assert any("connected" in line for line in run.stderr)
            wait_for_rows(Path("a.db"), 5000)
            run.send_signal(number)
            out, err = run.communicate(timeout=30)
        far_end.send_signal(signal.SIGTERM)
        assert far_end.wait(30) == 0

    last = json.loads(err.splitlines()[-1])
    assert (run.returncode, last["lost"], last["open_gaps"]) == (0, 0, 0)
    rows = ask(Path("a.db"), "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers)")
    assert rows == [(last["stored"],)] and last["received"] == last["stored"]
    assert "BTC/USDT" in out


def test_a_signal_while_starting_is_a_clean_stop() -> None:
    """However early it comes once the command is known: the account is told, and it is exit 0."""
    codes = []
    for patience in (0.25, 0.5, math.inf):
        file = Path(f"{patience}.db")
        words = command("run", "--simulated", "--no-display", "-d", str(file))
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as run:
            began = time.monotonic()
            while time.monotonic() < began + patience and not file.exists():
                time.sleep(0.01)
            run.send_signal(signal.SIGTERM)
            _, err = run.communicate(timeout=30)
        assert (run.returncode, "lost=0" in err) in ((0, True), (-signal.SIGTERM, False)), err
        codes.append(run.returncode)
    assert codes[-1] == 0


def wait_for_rows(database: Path, count: int) -> None:
    """Read beside the writer, with Python's own SQLite, until so many trades are there, for half a minute at most."""
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(database)) as db:
        while time.monotonic() < deadline:
            time.sleep(0.1)
            ((there,),) = db.execute("SELECT count(*) FROM trades")
            if there >= count:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                return
    raise TimeoutError(f"{count} trades never came")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_closed_standard_output_ends_nothing() -> None:
    """A run goes on collecting without a reader; other commands say so in one line, or end quietly."""
    with Path("/dev/full").open("w") as full:
        words = command("run", "--simulated", "--duration", "0.5", "-d", "a.db")
        run = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        show = subprocess.run(
            command("show", "-d", "a.db"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert run.returncode == 0 and "lost=0" in run.stderr and "Traceback" not in run.stderr
    assert ids(Path("a.db"))
    assert (show.returncode, len(show.stderr.splitlines())) == (1, 1), show.stderr
