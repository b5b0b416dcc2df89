"""PostgreSQL and MariaDB as stores to be read: every question is answered as by the file that holds the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import trio
from servers import Server
from test_sinks_servers import LISTED, T0, begun, everything, store, trades

import trioagg
from trioagg import sinks
from trioagg.cli import main
from trioagg.errors import SettingsError, StoreError
from trioagg.model import Broken, Carried, Record, Session, Trade
from trioagg.sinks.sqlite import url_of
from trioagg.store import (
    COLUMNS,
    Candles,
    Readable,
    Row,
    Scale,
    Span,
    Writer,
    database,
    examine,
    follow,
    latest,
    renewals,
    rows,
    scan,
    series,
    summary,
)
from trioagg.store.seek import parts

MINUTE = 60 * 10**9
TICK = Decimal("0.010")
EDGE = 2**63 - 1
"""The greatest id, which no number can follow."""


def typed(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


def many() -> list[Record]:
    """All that is awkward, and many trades of one instant whose order is that of their ids as bytes, not as words."""
    ids = ["b", "B", "a-9", "a10", "\u00e4", "Z", "~"]
    twins = [Trade("bybit", "BTC/USDT", one, TICK, TICK, "buy", T0 + n // 4, T0 - n) for n, one in enumerate(ids)]
    return [*everything(), *twins]


@pytest.fixture
def both(server: Server, tmp_path: Path) -> Server:
    """A server and ``a.db`` with the same in them."""
    for url in (server.url(), url_of(tmp_path / "a.db")):
        trio.run(filled, url)
    return server


async def filled(url: str) -> None:
    """All of it, markets described."""
    await store(url, many())
    async with sinks.connect(url) as sink:
        await sink.describe(LISTED)


Question = Callable[[Readable], Any]


def all_of(db: Readable, kind: str) -> list[Row]:
    """Every row."""
    return [*scan(db, kind)]


def followed(db: Readable, kind: str) -> list[list[Row]]:
    """The newest rows, and that no others came since."""
    return [*islice(follow(db, kind), 2)]


def questions() -> Iterator[tuple[str, Question]]:
    """Whatever a store can be asked, by name."""
    for kind in COLUMNS:
        yield f"rows-{kind}", partial(rows, kind=kind, limit=3)
        yield f"scan-{kind}", partial(all_of, kind=kind)
        yield f"follow-{kind}", partial(followed, kind=kind)
    yield "one exchange", lambda db: rows(db, "trades", exchanges=["coinbase"], symbols=[])
    yield "a while", lambda db: [*scan(db, "trades", span=Span(T0 + 1, T0 + 3))]
    yield "latest", lambda db: [latest(db, kind) for kind in ("ticker", "quotes")]
    yield "summary", lambda db: summary(db, now=T0 + 5)
    yield "audit", lambda db: examine(db, ["binance"])
    yield "bars", lambda db: Candles(db, "1m", MINUTE, ["binance"]).newest((), (), 5)
    yield "bars-all", lambda db: [*Candles(db, "1m", MINUTE, ["binance"]).within((), (), Span(T0 - 9, T0 + 9))]
    yield "bars-on", lambda db: next(renewals(Candles(db, "1m", MINUTE, ["binance"]), (), (), 5))
    yield "chart", lambda db: series(db, "BTC/USDT", Scale("5m", 5 * MINUTE, 3))


def test_every_question_is_answered_as_by_the_file(both: Server, tmp_path: Path) -> None:
    """Digit for digit, in the same order, and nothing but the same types."""
    with sinks.stored(both.url()) as db, database(tmp_path / "a.db") as file:
        for name, ask in questions():
            assert repr(ask(db)) == repr(ask(file)), name


async def test_the_greatest_ids_are_read(server: Server) -> None:
    """To both ends of 64 bits."""
    await store(server.url(), trades(-(2**63), EDGE, exchange="htx"))
    with sinks.stored(server.url()) as db:
        assert [row["trade_id"] for row in scan(db, "trades")] == [str(-(2**63)), str(EDGE)]
        assert examine(db, ["htx"]).markets[0].stored == [(-(2**63), -(2**63)), (EDGE, EDGE)]
        bars = Candles(db, "1m", MINUTE, ["htx"])
        assert [row["trades"] for row in bars.newest((), (), 5)] == [2]
        assert [*bars.within((), (), Span(T0 + MINUTE, T0 + 2 * MINUTE))] == []


def sorts(db: Readable, plan: Sequence[tuple[Any, ...]]) -> bool:
    """Whether an answer is sorted, or comes from a whole table."""
    told = " ".join(str(cell) for row in plan for cell in row)
    return "Sort" in told or "Seq Scan on t" in told or "filesort" in told or " ALL " in told


def test_no_question_sorts_or_scans_a_table(both: Server) -> None:
    """Each of a lane's goes along an index, in its order."""
    scale = "insert into ticker (instrument, received, ordinal) select 77, {n}, 0 from {numbers}"
    numbers = {"postgresql": "generate_series(1, 2000) as g(n)", "mysql": "(select seq as n from seq_1_to_2000) as g"}
    both.ask(scale.format(n="n", numbers=numbers[both.scheme]))
    text = {"postgresql": "cast(n as text)", "mysql": "cast(n as char)"}[both.scheme]
    for name, number in ((text, "n"), (f"concat('x', {text})", "null")):
        columns = "instrument, trade_id, price, amount, side, timestamp, received, number"
        told = f"select 77, {name}, 1, 1, 'buy', n, n, {number} from {numbers[both.scheme]}"
        both.ask(f"insert into trade ({columns}) {told}")
    both.ask({"postgresql": "analyze trade, ticker", "mysql": "analyze table trade, ticker"}[both.scheme])
    unsorted = "options=-cenable_seqscan%3Doff%20-cenable_sort%3Doff%20-c"  # a small table is read whole unless asked
    with sinks.stored(both.url().replace("options=-c", unsorted)) as db:
        places = [place for kind in ("trades", "ticker") for place in parts(db, kind, ["bybit"], ())]
        assert len(places) == 3
        for lane, part in places:
            key, middle = (77, *part.key[1:]), lane.start(1000)
            for question, values in (
                (lane.newest, (20,)),
                (lane.after, (*lane.told(middle), 20)),
                (lane.after, (*lane.told(lane.start()), 20)),
                (lane.before, (*lane.told(middle), 20)),
                (lane.before, (*lane.told(lane.end), 20)),
                (lane.keys, ()),
            ):
                assert not sorts(db, db.ask(f"EXPLAIN {question}", *key, *values)), question


def test_show_prints_the_same(both: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON to the digit, tables, CSV; files of all rows, and a chart."""
    file = str(tmp_path / "a.db")
    commands = [
        *(["show", kind, "--format", "json"] for kind in COLUMNS if kind != "gaps"),
        ["show", "trades", "-e", "binance", "-s", "btc/usdt", "-n", "2"],
        ["show", "best", "--format", "csv"],
        ["show", "bars", "--format", "json"],
        ["gaps", "--format", "json"],
        ["verify"],
        ["chart", "BTC/USDT", "-e", "binance"],
    ]
    for words in commands:
        codes = [typed(*words, "-d", address) for address in (both.url(), file)]
        told = capsys.readouterr().out
        assert codes[0] == codes[1], words
        assert told[: len(told) // 2] == told[len(told) // 2 :] != "", words
    for number, address in enumerate((both.url(), file)):
        assert typed("export", "trades", "-o", str(tmp_path / f"{number}.csv"), "-d", address) == 0
    assert (tmp_path / "0.csv").read_text() == (tmp_path / "1.csv").read_text() != ""


def test_python_reads_it_too(both: Server, tmp_path: Path) -> None:
    """By the same function, with exact decimals."""
    for kind in ("trades", "candles", "quarantine"):
        assert trioagg.rows(both.url(), kind) == trioagg.rows(tmp_path / "a.db", kind) != []


async def test_what_comes_is_followed(server: Server) -> None:
    """New rows of old markets and of new ones, once each."""
    await store(server.url(), trades(1), trades("a", exchange="coinbase"))
    with sinks.stored(server.url()) as db:
        steps = follow(db, "trades")
        assert len(next(steps)) == 2
        await store(server.url(), trades(1, 2), trades("a", "b", exchange="coinbase"), trades(1, exchange="kraken"))
        assert [row["trade_id"] for row in next(steps)] == ["1", "2", "b"]
        assert next(steps) == []


async def test_an_audit_is_of_one_moment(server: Server) -> None:
    """What a writer fills while it reads is not seen: neither the rows nor the ledger's word of it."""
    async with sinks.connect(server.url()) as sink:
        sitting = begun(sink)
        await sitting.write(*trades(1, 4))
        with sinks.stored(server.url()) as db, db.snapshot():
            before = examine_within(db)
            await sitting.write(*trades(2))
            assert examine_within(db) == before
        with sinks.stored(server.url()) as db, db.snapshot():
            assert examine_within(db) == [(1,), (2,), (4,)]


def examine_within(db: Readable) -> list[tuple[Any, ...]]:
    """The ids of the first market."""
    lane, part = parts(db, "trades", (), ())[0]
    return [*db.each(lane.keys, *part.key)]


def life(opened: int, closed: int | None = None) -> Session:
    """A connection that lives, or one that ended."""
    return Session("binance", "ws-1", 1, opened, closed, "" if closed is None else "broke", None)


UP, DOWN = Carried("bybit", ("BTC/USDT",), 1), Broken("bybit", ("BTC/USDT",), "disconnected", 2)
STEPS: list[list[list[Record]]] = [
    [[life(1), UP, *trades(1, 2, 5), *trades("a", exchange="bybit")], [DOWN, UP, *trades("b", exchange="bybit")]],
    [[life(10), *trades(9, 12)], [life(10, 13), *trades(3, 7)], trades(4)],
    [[UP, *trades(20, 6, 8, 10), *trades("c", exchange="bybit")], trades(11), trades(*range(13, 18))],
]
"""Runs of batches: a kill, a restart, a pause; repairs within a run and by a later one, whole and in parts."""


async def test_the_ledger_is_right_after_restarts_and_repairs(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After every batch: the same entries as the file's, in the same order, and the rows agree with them."""
    file, told = tmp_path / "a.db", [""]
    for run in STEPS:
        for count in range(1, len(run) + 1):
            for url in (server.url(), url_of(file)):
                await store(url, *run[:count])
            assert typed("verify", "-d", server.url()) == 0
            capsys.readouterr()
            codes = [typed("gaps", "-d", address, "--format", "json") for address in (server.url(), str(file))]
            told = capsys.readouterr().out.splitlines()
            assert codes == [1, 1] and told[: len(told) // 2] == told[len(told) // 2 :] != []
    causes = {(gap["cause"], gap["status"]) for gap in map(json.loads, told)}
    assert {("not received", "filled"), ("killed", "filled"), ("not running", "open")} <= causes


async def test_the_ledger_of_two_collectors(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Each lacks what the other has; what both lack is one entry, which either fills."""
    async with sinks.connect(server.url()) as one, sinks.connect(server.url()) as two:
        first, second = begun(one), begun(two)
        await first.write(*trades(1, 3, 7))
        await second.write(*trades(2, 4, 9))
        assert (typed("verify", "-d", server.url()), typed("gaps", "-d", server.url())) == (0, 1)
        await first.write(*trades(5, 8))
        await second.write(*trades(6))
    capsys.readouterr()
    assert (typed("verify", "-d", server.url()), typed("gaps", "-d", server.url())) == (0, 0)
    assert "missing: 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("DELETE FROM trade WHERE trade_id = '3'", "missing, not in the ledger"),
        ("DELETE FROM trade WHERE trade_id = '5'", "filled in the ledger, but not stored"),
        ("UPDATE gap SET status = 'open' WHERE status = 'filled'", "in the ledger, but stored"),
    ],
)
async def test_rows_and_ledger_that_differ(
    server: Server, harm: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, and which ids of which market."""
    await store(server.url(), trades(1, 2, 3, 4, 6, 8), trades(5))
    assert typed("verify", "-d", server.url()) == 0
    server.ask(harm)
    capsys.readouterr()
    assert typed("verify", "-d", server.url(), "--format", "json") == 1
    assert problem in [json.loads(line)["problem"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("command", [["show"], ["gaps"], ["verify"], ["chart", "BTC/USDT"]])
def test_a_store_that_is_not_there(fresh: Server, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit 1, and nothing is made: no tables, no such database, no server."""
    nowhere = fresh.url().replace("/test?", "/absent?").replace(f"/{fresh.name}", "/absent")
    for url in (fresh.url(), nowhere, fresh.url(port=1)):
        assert typed(*command, "-d", url) == 1
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1) and "pa%40ss" not in err and "pa@ss" not in err
    there = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}'"
    assert fresh.ask(there.format(fresh.name)) == []


async def test_a_reader_cannot_write(server: Server) -> None:
    """The session itself refuses."""
    await store(server.url(), trades(1))
    with sinks.stored(server.url()) as db, pytest.raises(StoreError, match=r"(?i)read.only"):
        db.ask("DELETE FROM trade")


async def test_a_newer_store_is_refused(fresh: Server) -> None:
    """And says that it is newer."""
    await store(fresh.url(), trades(1))
    fresh.ask("UPDATE trioagg SET version = 99")
    with pytest.raises(StoreError, match="made by a newer trioagg: its schema is 99"), sinks.stored(fresh.url()):
        pass


async def test_a_server_that_goes_away_meanwhile(server: Server) -> None:
    """One line, and no traceback."""
    await store(server.url(), trades(1))
    with sinks.stored(server.url()) as db:
        assert server.kill() >= 1  # the backend of the one that wrote may still be on its way out
        with pytest.raises(StoreError, match="does not work now") as error:
            rows(db, "trades")
    assert "\n" not in str(error.value)


async def test_an_unknown_symbol_names_the_store(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, with the nearest, and without who logs in."""
    await store(server.url(), trades(1))
    assert typed("show", "trades", "-s", "BTC/USD", "-d", server.url()) == 2
    err = capsys.readouterr().err
    assert (
        f"no symbol 'BTC/USD' in {server.scheme}://127.0.0.1" in err and "nearest: BTC/USDT" in err and "@" not in err
    )


@pytest.mark.parametrize(
    "url", ["redis://me:secret@host", "parquet:///a", "nothing://me:secret@host", "postgresql://me:se@cret@host/db"]
)
def test_what_cannot_be_read(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the flag and what would do; exit 2."""
    assert typed("gaps", "-d", url) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("trioagg: --database: ") and len(err.splitlines()) == 1
    assert "cret" not in err


@pytest.mark.parametrize("command", [["run", "--simulated", "--duration", "1"], ["replay"]])
def test_a_run_keeps_its_own_store_in_a_file(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server named for it is told in one line, exit 2, before anything is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").touch()
    words = [*command, *(["a.jsonl"] if command == ["replay"] else [])]
    assert typed(*words, "-d", "postgresql://me:secret@host/db") == 2
    err = capsys.readouterr().err
    assert "must be a file" in err and "--sink" in err and "secret" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_file_s_url_is_its_path(tmp_path: Path) -> None:
    """``sqlite:///`` is read as well."""
    with pytest.raises(StoreError, match="no database at"), sinks.stored(url_of(tmp_path / "a.db")):
        pass
    with pytest.raises(SettingsError, match=r"^--database: .*must look like sqlite:///"), sinks.stored("sqlite://a.db"):
        pass
    with closing(Writer.open(tmp_path / "a.db")), sinks.stored(url_of(tmp_path / "a.db")) as db:
        assert rows(db, "trades") == []
