"""Candles made from trades say what they are worth, and say it anew when a hole is repaired."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from far_end import ask, far_end, settings_for
from plain_sql import asked, counted, plans

from trioagg.cli import main
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Channel, Quote, Record, Session, Ticker, Trade, TradeId
from trioagg.pipeline.repair import GRACE
from trioagg.pipeline.run import Job, run
from trioagg.simulator import SCALE
from trioagg.simulator import load as dialect
from trioagg.simulator.market import Market
from trioagg.store import ALWAYS, BARS, Candles, Row, Span, Writer, connect, database, renewals, seek
from trioagg.views.table import SHOWN

T0 = 1_769_860_800_000_000_000
"""2026-01-31, noon, UTC."""

SECOND, MINUTE = 10**9, 60 * 10**9
MARKET = ("binance", "BTC/USDT")
UNCOUNTED = ("hyperliquid", "BTC/USDC:USDC")
PATH = Path("trioagg.db")


def trade(
    number: TradeId, at: float, price: str = "10.0", *, lag: float = 0.1, market: Sequence[str] = MARKET
) -> Trade:
    """A trade so many seconds after noon, and so many later received."""
    when = T0 + round(at * SECOND)
    return Trade(market[0], market[1], number, Decimal(price), Decimal("0.5"), "buy", when, when + round(lag * SECOND))


def trades(*ids: int, every: float = 10, lag: float = 0.1) -> list[Record]:
    """Trades of a market that counts, each so many seconds after the one before."""
    return [trade(number, number * every, lag=lag) for number in ids]


def session(
    opened: float, closed: float | None, reason: str = "stopped", *, name: str = "ws-1", exchange: str = UNCOUNTED[0]
) -> Session:
    """A connection's life, in seconds after noon."""
    end = None if closed is None else T0 + round(closed * SECOND)
    return Session(exchange, name, 1, T0 + round(opened * SECOND), end, "" if closed is None else reason)


class Store:
    """A database and the ledger beside it, as a run keeps them."""

    def __init__(self) -> None:
        self.writer = Writer.open(PATH)
        self.ledger = Ledger(counts, cause="not received", first_cause="not running")

    def take(self, *records: Record) -> None:
        """One batch."""
        draft = self.ledger.draft(records)
        self.writer.write([one for one in records if not isinstance(one, Session)], draft)  # type: ignore[misc]
        self.ledger.keep(draft)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    with closing(made.writer):
        yield made


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def read(span: Span | None = None, limit: int = 100) -> list[Row]:
    with database(PATH) as db:
        candles = Candles(db, "1m", MINUTE, [MARKET[0]])
        return candles.newest((), (), limit) if span is None else list(candles.within((), (), span))


def told(rows: Sequence[Row]) -> list[tuple[int, int, float, str]]:
    """Each candle as minute, trades, seconds covered, status."""
    return [((row["open_time"] - T0) // MINUTE, row["trades"], row["covered"], row["status"]) for row in rows]


def test_every_digit_and_every_column(store: Store) -> None:
    """By time, and by number within an instant; the volume is exact."""
    digits = "0.1234567890123456789012345678"
    store.take(trade(1, 3, "10.10"), trade(3, 3, digits), trade(2, 3, "12"), trade(4, 59, "11.50", lag=0.25))
    (row,) = read()
    assert tuple(row) == BARS == SHOWN["bars"]
    assert list(row.values()) == [
        *MARKET, "1m", T0, "10.10", "12", digits, "11.50", "2.0", 4, 56.0, "partial", T0 + 59 * SECOND + SECOND // 4,
    ]  # fmt: skip


def test_numbers_prove_a_candle_from_edge_to_edge(store: Store) -> None:
    """Not before a trade beyond its end is there, nor after one that is not beyond its beginning."""
    store.take(*trades(*range(19)))
    assert told(read()) == [
        (0, 6, 60.0, "unproven"),
        (1, 6, 60.0, "complete"),
        (2, 6, 60.0, "complete"),
        (3, 1, 0, "partial"),
    ]
    store.take(trade(-1, -0.001))
    assert told(read())[:2] == [(-1, 1, 0.001, "partial"), (0, 6, 60.0, "complete")]


def test_the_greatest_number_that_a_file_holds(store: Store) -> None:
    """No number follows it; a range is found that lies before it, around it and behind it."""
    last = 2**63 - 1
    store.take(trade(0, 10), trade(last - 1, 70), trade(last, 110))
    assert told(read()) == [(0, 1, 0.0, "partial"), (1, 2, 40.0, "partial")]
    ranges = [Span(T0, T0 + MINUTE), Span(T0 + MINUTE, T0 + 2 * MINUTE), Span(T0 + 9 * MINUTE, T0 + 10 * MINUTE)]
    assert [[row["trades"] for row in read(span)] for span in ranges] == [[1], [2], []]


def test_a_hole_takes_its_candles_and_no_flat_ones_are_made(store: Store) -> None:
    """Every minute that the hole touches is partial; those in which nothing is stored are not there."""
    store.take(*trades(-1, *range(9), *range(27, 40)))
    assert told(read()) == [
        (-1, 1, 10.0, "partial"),
        (0, 6, 60.0, "complete"),
        (1, 3, 20.0, "partial"),
        (4, 3, 30.0, "partial"),
        (5, 6, 60.0, "complete"),
        (6, 4, 30.0, "partial"),
    ]
    assert {row["symbol"] for row in read()} == {"BTC/USDT"}


def test_a_repaired_hole_is_backfilled(store: Store) -> None:
    """Its candles are whole, and say that not all of them was heard live; the others stay complete."""
    store.take(*trades(-1, *range(9), *range(27, 40)))
    store.take(*trades(*range(9, 27), lag=5))
    assert [one[::3] for one in told(read())] == [
        (-1, "partial"),
        (0, "complete"),
        (1, "backfilled"),
        (2, "backfilled"),
        (3, "backfilled"),
        (4, "backfilled"),
        (5, "complete"),
        (6, "partial"),
    ]


def test_a_backlog_that_left_no_hole_is_backfilled(store: Store) -> None:
    """What an exchange tells of earlier on connecting comes late, though the ledger never missed it."""
    store.take(*trades(-1, *range(7), lag=11), *trades(*range(7, 13)))
    assert told(read())[1:] == [(0, 6, 60.0, "backfilled"), (1, 6, 60.0, "backfilled"), (2, 1, 0.0, "partial")]


def test_a_quiet_market_is_unproven_until_its_next_trade(store: Store) -> None:
    """Listening covers the seconds after the last trade; only the next number proves them."""
    store.take(*trades(-1, 0, 1, 2), session(-60, 100, exchange=MARKET[0]))
    assert told(read()) == [(-1, 1, 60.0, "unproven"), (0, 3, 60.0, "unproven")]
    store.take(trade(3, 500))
    assert told(read())[1] == (0, 3, 60.0, "complete")


@pytest.mark.parametrize(
    ("around", "covered", "status"),
    [
        ([session(0, 60)], 60.0, "unproven"),
        ([session(0, 60.5)], 60.0, "unproven"),
        ([session(0.25, 60)], 59.75, "partial"),
        ([session(-5, 59.999999999)], 59.999999999, "partial"),
        ([session(-5, 10), session(40, 90)], 30.0, "partial"),
        ([session(-5, 30), session(20, 90, name="ws-2")], 60.0, "unproven"),
        ([session(-5, 30, "reset"), session(20, 90, name="ws-2")], 60.0, "unproven"),
        ([session(-5, 30, "reset"), session(0, 90, name="ws-2"), session(45, 90)], 44.1, "partial"),
        ([session(-5, 59, "no data for 30 s"), session(59, 90)], 55.1, "partial"),
        ([session(-90, -30)], 0.0, "partial"),
        ([], 0.0, "partial"),
    ],
)
def test_exchanges_that_count_nothing(store: Store, around: list[Session], covered: float, status: str) -> None:
    """Connections are all that covers their time, exactly, and nothing ever makes it complete, whatever the ids are."""
    ids = [n * 7919 % 1009 if n < 20 else f"0x{n}" for n in range(60)]
    store.take(*(trade(ids[n], n, market=UNCOUNTED) for n in range(5, 55)), *around)
    assert told(read()) == [(0, 50, covered, status)]


def test_a_killed_run_was_connected_until_its_last_row(store: Store) -> None:
    """Of any market of the exchange; REST's answers say nothing of it, nor what came after the next opening."""
    other = (UNCOUNTED[0], "ETH/USDC:USDC")
    one = Decimal(1)
    store.take(
        session(-10, None),
        *(trade(n, n, market=UNCOUNTED, lag=0) for n in range(30)),
        trade("x", 33, market=other, lag=0),
        Quote(*other, one, one, one, one, None, T0 + 35 * SECOND),
        Quote(*MARKET, one, one, one, one, None, T0 + 40 * SECOND),
        Ticker(*other, one, one, one, one, one, one, None, T0 + 49 * SECOND),
    )
    assert told(read())[0] == (0, 30, 35.0, "partial")
    store.take(session(50, None), *(trade(n, n, market=UNCOUNTED, lag=0) for n in range(50, 70)))
    store.take(trade("late", 38, market=other, lag=12))
    assert told(read(Span(T0, T0 + MINUTE)))[0] == (0, 40, 45.0, "partial")
    assert told(read(Span(T0 + MINUTE)))[0] == (1, 10, 9.0, "partial")


def test_the_range_takes_candles_that_begin_in_it(store: Store) -> None:
    """The first time inclusive and the end exclusive, with the proof from outside of it."""
    store.take(*trades(*range(-7, 40)))
    assert [one[0] for one in told(read(Span(T0 + 1, T0 + 3 * MINUTE)))] == [1, 2]
    assert told(read(Span(T0, T0 + MINUTE))) == [(0, 6, 60.0, "complete")]
    assert [one[0] for one in told(read(Span(T0, T0 + 1)))] == [0]
    assert read(ALWAYS) == read()
    assert [one[0] for one in told(read(limit=2))] == [5, 6]
    store.take(trade(40, 1000), trade(41, 1210), trade(42, 1500))
    assert told(read(Span(T0 + 20 * MINUTE, T0 + 21 * MINUTE))) == [(20, 1, 60.0, "complete")]


def test_times_that_are_a_little_out_of_order(store: Store) -> None:
    """Trades that lie beyond later ones are found."""
    store.take(*(trade(n, at) for n, at in enumerate([-70, -10, 1, 2, -3, -2, -1, 3, 61, 59, 62, 63, 121])))
    assert told(read(Span(T0, T0 + MINUTE))) == [(0, 4, 60.0, "complete")]
    assert told(read(Span(T0 - MINUTE, T0))) == [(-1, 4, 60.0, "complete")]


def test_candles_are_followed_through_a_repair(store: Store) -> None:
    """One comes again when its content or its coverage is another; a step without news is empty."""
    store.take(*trades(*range(-2, 9), *range(27, 40)))
    with database(PATH) as db:
        steps = renewals(Candles(db, "1m", MINUTE, [MARKET[0]]), (), (), 20)
        assert len(next(steps)) == 6
        assert next(steps) == []
        store.take(*trades(40))
        assert told(next(steps)) == [(6, 5, 40.0, "partial")]
        store.take(*trades(*range(13, 27), lag=5))
        assert told(next(steps)) == [
            (1, 3, 20.0, "partial"),
            (2, 5, 50.0, "partial"),
            (3, 6, 60.0, "backfilled"),
            (4, 6, 60.0, "backfilled"),
        ]
        store.take(*trades(*range(9, 13), 41, 42, lag=5))
        assert told(next(steps)) == [
            (1, 6, 60.0, "backfilled"),
            (2, 6, 60.0, "backfilled"),
            (6, 6, 60.0, "complete"),
            (7, 1, 0.0, "partial"),
        ]
        store.take(trade("a", 0, market=UNCOUNTED))
        assert [row["exchange"] for row in next(steps)] == ["hyperliquid"]
        assert next(steps) == []


def test_no_question_scans_a_table(store: Store) -> None:
    """Each goes by key and in its order; the few instruments are listed."""
    store.take(session(-10, None), session(-5, 5, exchange="binance"), *trades(*range(20), *range(25, 60)))
    store.take(*(trade(n if n % 2 else f"x{n}", n, market=UNCOUNTED) for n in range(100)))
    with closing(connect(PATH)) as db:
        with asked(db) as questions:
            steps = renewals(Candles(db, "1m", MINUTE, [MARKET[0]]), (), (), 3)
            next(steps)
            store.take(*trades(*range(20, 25)))
            next(steps)
        found = plans(questions, db)
    assert [plan for plan in found if "trade_by_time (instrument=? AND <expr>>?)" in plan]
    assert [plan for plan in found if "session_by_time (exchange=?)" in plan]
    assert not [plan for plan in found if "TEMP B-TREE" in plan]
    assert [plan for plan in found if "SCAN" in plan and not plan.startswith("SCAN instrument")] == []


def effort(span: Span) -> int:
    """What a reading costs, in tens of SQLite's own steps."""
    with closing(connect(PATH)) as db, counted(db, 10) as taken:
        assert len([*Candles(db, "1m", MINUTE, [MARKET[0]]).within((), (), span)]) == 2
    return len(taken)


def test_work_grows_with_what_is_asked_and_not_with_the_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes cost about the same in the middle of few trades and of many."""
    monkeypatch.setattr(seek, "AT_ONCE", 10)
    span = Span(T0, T0 + 2 * MINUTE)
    store.take(*trades(*range(-20, 40)))
    once = effort(span)
    store.take(*trades(*range(-3000, -20), *range(40, 3000)))
    assert effort(span) < 2 * once


def typed(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


def test_the_command(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, JSON and CSV; the length of a candle by flag, else by the settings."""
    store.take(*trades(*range(-2, 80)))
    assert typed("show", "bars", "-n", "1", "--format", "json", "-s", "btc/usdt") == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["interval"], row["open"], row["covered"], row["trades"]) == ("1m", "10.0", 10.0, 2)
    monkeypatch.setenv("TRIOAGG_RUN_CANDLE", "5m")
    assert typed("show", "bars", "--format", "csv") == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == ",".join(BARS)
    assert [line.split(",")[2:4] + line.split(",")[-3:-1] for line in lines][1:] == [
        ["5m", f"{T0}", "300.0", "complete"],
        ["5m", f"{T0 + 5 * MINUTE}", "300.0", "complete"],
        ["5m", f"{T0 + 10 * MINUTE}", "190.0", "partial"],
    ]
    assert typed("show", "bars", "--interval", "30s", "-n", "1") == 0
    assert "2026-01-31T12:13:00.000Z" in capsys.readouterr().out
    for words in (["show", "bars"], ["export", "bars", "-o", "a.csv"]):
        assert typed(*words, "--interval", "often") == 2
        assert "--interval: bad value 'often': must look like 10s, 1m" in capsys.readouterr().err
        assert typed(*words, "-s", "BTC/USDC") == 2
        assert "nearest: BTC/USDT" in capsys.readouterr().err


def test_exported_candles(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Market after market, of a range of times; Parquet has exact decimals and seconds as numbers."""
    store.take(*trades(*range(-2, 80)), trade("a", 5, market=UNCOUNTED))
    assert typed("export", "bars", "-o", "a.csv", "--from", "2026-01-31T12:00", "--to", "2026-01-31T12:05") == 0
    assert typed("export", "bars", "-o", "a.parquet", "--interval", "5m") == 0
    assert capsys.readouterr().out == "6 rows in a.csv\n5 rows in a.parquet\n"
    with Path("a.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["status"] for row in rows] == ["complete"] * 5 + ["partial"]
    table = pq.read_table("a.parquet")
    assert tuple(table.column_names) == BARS
    assert table.to_pylist()[1] == {
        **dict(zip(BARS[:3], (*MARKET, "5m"), strict=True)), "open_time": T0, "trades": 30, "covered": 300.0,
        **dict.fromkeys(("open", "high", "low", "close"), Decimal("10.0")), "volume": Decimal(15),
        "status": "complete", "received": T0 + 290 * SECOND + SECOND // 10,
    }  # fmt: skip


def test_an_empty_database(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Says so, with the columns."""
    assert typed("show", "bars") == 0
    assert "(no bars stored yet)" in capsys.readouterr().out


async def test_the_candles_of_a_run_with_a_cut_are_the_far_end_s() -> None:
    """Frames never sent and a cut are repaired (which takes seconds): each candle has the source's own figures."""
    async with far_end(faults=["skip,share=0.03,for=1", "cut,at=0.7"]) as urls:
        await run(Job(settings_for(urls, PATH, channels=(Channel.TRADES,)), duration=1 + GRACE + 1))
    market = Market(symbols=["BTC/USDT"], rate=400, lists=dialect("binance").lists)
    length = SECOND // 4
    ((opened,),) = ask(PATH, "SELECT min(opened) FROM sessions")
    with database(PATH) as db:
        rows = [*Candles(db, "quarters", length, ["binance"]).within((), (), ALWAYS)]
    first = "partial" if opened > rows[0]["open_time"] else "unproven"
    assert [row["status"] for row in (rows[0], rows[-1])] == [first, "partial"]
    assert {row["status"] for row in rows[1:-1]} == {"complete", "backfilled"}
    for row in rows[1:-1]:
        source = market.span("BTC/USDT", row["open_time"], row["open_time"] + length)
        figures = [Decimal(row[name]) * SCALE for name in ("open", "high", "low", "close", "volume")]
        assert figures == [source.open, source.high, source.low, source.close, source.volume]
        assert (row["trades"], row["covered"]) == (source.last - source.first + 1, 0.25)
